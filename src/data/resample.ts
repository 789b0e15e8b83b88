/**
 * Cubic resampling as Pillow 13 does it (BICUBIC): Keys' kernel with a = -0.5, widened when it shrinks, weights renormalised at the
 * border, one axis after the other with rounding to 8 bits in between: across first, but down first where it shrinks while the width grows
 * (found by comparing 4000 random sizes with Pillow's results, not read in its source; where both shrink Pillow's order is less simple).
 * Used where an image is enlarged along either axis: there libvips interpolates about half a pixel off (on five real parts its worst
 * pixel was 36 to 111 of 255 away from Pillow; here 1). Where an image shrinks libvips agrees and runs on its own threads.
 */

/** Keys 1981, equation 4 with a = -1/2. */
function cubic(x: number): number {
	const a = -0.5;
	const t = Math.abs(x);
	if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
	if (t < 2) return ((t - 5) * t + 8) * t * a - 4 * a;
	return 0;
}

interface Taps {
	readonly first: Int32Array; // [to]
	readonly weights: readonly Float64Array[]; // [to] of [taps]
}

function tapsFor(from: number, to: number): Taps {
	const scale = from / to;
	const widen = Math.max(scale, 1);
	const first = new Int32Array(to);
	const weights: Float64Array[] = [];
	for (let i = 0; i < to; i++) {
		const centre = (i + 0.5) * scale;
		const low = Math.max(0, Math.trunc(centre - 2 * widen + 0.5));
		const high = Math.min(from, Math.trunc(centre + 2 * widen + 0.5));
		const w = Float64Array.from({ length: high - low }, (_, k) =>
			cubic((low + k - centre + 0.5) / widen),
		);
		const sum = w.reduce((s, v) => s + v, 0);
		first[i] = low;
		weights.push(w.map((v) => v / sum));
	}
	return { first, weights };
}

/** [H, W, 3] to [to[0], to[1], 3]. */
export function resample(
	pixels: Uint8Array,
	[h, w]: readonly [number, number],
	[toH, toW]: readonly [number, number],
): Uint8Array {
	// the order decides where the rounding in between falls
	return toH >= h || toW <= w
		? down(across(pixels, h, w, toW), h, toW, toH)
		: across(down(pixels, h, w, toH), toH, w, toW);
}

/** [h, w, 3] to [h, to, 3]. */
function across(
	pixels: Uint8Array,
	h: number,
	w: number,
	to: number,
): Uint8Array {
	const taps = tapsFor(w, to);
	const out = new Uint8ClampedArray(h * to * 3);
	for (let x = 0; x < to; x++) {
		const weights = taps.weights[x] as Float64Array;
		const start = taps.first[x] as number;
		for (let y = 0; y < h; y++) {
			let r = 0;
			let g = 0;
			let b = 0;
			for (
				let k = 0, at = (y * w + start) * 3;
				k < weights.length;
				k++, at += 3
			) {
				const weight = weights[k] as number;
				r += weight * (pixels[at] as number);
				g += weight * (pixels[at + 1] as number);
				b += weight * (pixels[at + 2] as number);
			}
			const at = (y * to + x) * 3;
			out[at] = rounded(r);
			out[at + 1] = rounded(g);
			out[at + 2] = rounded(b);
		}
	}
	return new Uint8Array(out.buffer);
}

/** [h, w, 3] to [to, w, 3]. */
function down(
	pixels: Uint8Array,
	h: number,
	w: number,
	to: number,
): Uint8Array {
	const taps = tapsFor(h, to);
	const row = w * 3;
	const out = new Uint8ClampedArray(to * row);
	const sums = new Float64Array(row);
	for (let y = 0; y < to; y++) {
		const weights = taps.weights[y] as Float64Array;
		sums.fill(0);
		for (let k = 0; k < weights.length; k++) {
			const weight = weights[k] as number;
			const at = ((taps.first[y] as number) + k) * row;
			for (let i = 0; i < row; i++)
				sums[i] = (sums[i] as number) + weight * (pixels[at + i] as number);
		}
		for (let i = 0; i < row; i++) out[y * row + i] = rounded(sums[i] as number);
	}
	return new Uint8Array(out.buffer);
}

/** Halves upwards; the clamped arrays alone would round them to even. */
const rounded = (v: number): number => Math.floor(v + 0.5);
