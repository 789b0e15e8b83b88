/**
 * Anomaly maps: one score a patch, enlarged to the image. Linear interpolation between the centres of patches (which lie half a patch
 * from the border; beyond them the outermost value holds), then a Gaussian. Both are linear and separable, so each axis is one matrix
 * with a few weights a row, and a map of any size costs a few operations a pixel.
 */
import { float32, type Tensor } from "./engine/tensor.ts";

/** Of maps that are measured. */
const SMOOTHING = 0.3;

/** Weights of the cells from `start` on, for one row of pixels. */
interface Blend {
	readonly start: number;
	readonly weights: Float64Array;
}

/** [gh, gw] row by row, to [H, W]. `smoothing`: deviation of the Gaussian in sides of a patch; 0: interpolation alone. */
export function enlarge(
	map: Float32Array,
	[gh, gw]: readonly [number, number],
	[h, w]: readonly [number, number],
	smoothing = SMOOTHING,
): Tensor {
	const down = blends(gh, h, smoothing);
	const across = blends(gw, w, smoothing);
	const wide = new Float32Array(gh * w); // rows of cells, columns of pixels
	for (let r = 0; r < gh; r++)
		for (const [x, { start, weights }] of across.entries()) {
			let sum = 0;
			for (let k = 0; k < weights.length; k++)
				sum += (weights[k] as number) * (map[r * gw + start + k] as number);
			wide[r * w + x] = sum;
		}
	const out = float32([h, w]);
	for (const [y, { start, weights }] of down.entries()) {
		const row = out.data.subarray(y * w, (y + 1) * w);
		for (let k = 0; k < weights.length; k++) {
			const weight = weights[k] as number;
			const from = (start + k) * w;
			for (let x = 0; x < w; x++)
				row[x] = (row[x] as number) + weight * (wide[from + x] as number);
		}
	}
	return out;
}

/** 1 for every patch of which at least half is white (128 or more) in the mask [H, W] of any size. */
export function patchesOf(
	{ shape, data }: Tensor<"uint8">,
	[gh, gw]: readonly [number, number],
): Uint8Array {
	const [h, w] = shape as [number, number];
	return Uint8Array.from({ length: gh * gw }, (_, i) => {
		const [r, c] = [Math.floor(i / gw), i % gw];
		const [top, bottom] = cell(r, gh, h);
		const [left, right] = cell(c, gw, w);
		let set = 0;
		for (let y = top; y < bottom; y++)
			for (let x = left; x < right; x++)
				if ((data[y * w + x] as number) >= 128) set++;
		return set * 2 >= (bottom - top) * (right - left) ? 1 : 0;
	});
}

/** Pixels of a cell along an axis, at least one: [start, end). */
function cell(i: number, cells: number, pixels: number): [number, number] {
	const start = Math.min(pixels - 1, Math.floor((i * pixels) / cells));
	return [start, Math.max(start + 1, Math.floor(((i + 1) * pixels) / cells))];
}

/** Kept, the newest: pictures of a product mostly have one size. */
const KEPT = 64;
const kept = new Map<string, readonly Blend[]>();

/** For each of `pixels` along an axis, what the `cells` count. */
function blends(
	cells: number,
	pixels: number,
	smoothing: number,
): readonly Blend[] {
	const key = `${cells} ${pixels} ${smoothing}`;
	const known = kept.get(key) ?? blended(cells, pixels, smoothing);
	kept.delete(key);
	kept.set(key, known);
	for (const oldest of kept.keys()) {
		if (kept.size <= KEPT) break;
		kept.delete(oldest);
	}
	return known;
}

function blended(cells: number, pixels: number, smoothing: number): Blend[] {
	const reach = Math.ceil(3 * smoothing * 8);
	return Array.from({ length: pixels }, (_, x) => {
		const centre = ((x + 0.5) * cells) / pixels - 0.5; // in cells, 0 = middle of the first
		const weights = new Map<number, number>();
		let total = 0;
		// the Gaussian as a sum over eighths of a cell
		for (let step = -reach; step <= reach; step++) {
			const shift = step / 8;
			const share =
				smoothing > 0 ? Math.exp(-0.5 * (shift / smoothing) ** 2) : 1;
			total += share;
			const at = Math.min(cells - 1, Math.max(0, centre + shift));
			const left = Math.min(cells - 1, Math.floor(at));
			const right = Math.min(cells - 1, left + 1);
			for (const [cell, part] of [
				[left, 1 - (at - left)],
				[right, at - left],
			] as const)
				weights.set(cell, (weights.get(cell) ?? 0) + share * part);
		}
		const used = [...weights.keys()].sort((a, b) => a - b);
		const start = used[0] as number;
		return {
			start,
			weights: Float64Array.from(
				{ length: (used.at(-1) as number) - start + 1 },
				(_, k) => (weights.get(start + k) ?? 0) / total,
			),
		};
	});
}
