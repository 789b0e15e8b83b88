/** The outline of a region, drawn into a picture: a white line with a dark rim on both sides, so that it shows on any ground. */

const line = 255;
const rim = 16;

/**
 * Draws into `pixels` [H, W, 3]. `inside` [H, W] is 1 in the region; the line is 2 · `thickness` px wide and centred on the
 * region's edge, each rim `thickness` px. Along the picture's own border there is no line.
 */
export function drawContour(
	pixels: Uint8Array,
	inside: Uint8Array,
	[h, w]: readonly [number, number],
	thickness = 1,
): void {
	let outer = inside;
	let inner = complement(inside);
	const bands: Uint8Array[] = []; // 1 near the edge, from either side
	for (const _ of ["line", "rim"]) {
		for (let step = 0; step < thickness; step++) {
			outer = grow(outer, h, w);
			inner = grow(inner, h, w);
		}
		const [from, to] = [outer, inner];
		bands.push(from.map((value, i) => value & (to[i] as number)));
	}
	const [near, wide] = bands as [Uint8Array, Uint8Array];
	for (let i = 0; i < h * w; i++)
		if (wide[i] === 1)
			pixels.fill(near[i] === 1 ? line : rim, 3 * i, 3 * i + 3);
}

/** The set and all that touches it from left, right, above or below. */
export function grow(set: Uint8Array, h: number, w: number): Uint8Array {
	const out = set.slice(); // [H, W]
	for (let y = 0; y < h; y++)
		for (let x = 0; x < w; x++) {
			const i = y * w + x;
			if (set[i] !== 1) continue;
			if (x > 0) out[i - 1] = 1;
			if (x + 1 < w) out[i + 1] = 1;
			if (y > 0) out[i - w] = 1;
			if (y + 1 < h) out[i + w] = 1;
		}
	return out;
}

const complement = (set: Uint8Array): Uint8Array =>
	set.map((value) => 1 - value);
