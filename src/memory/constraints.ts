/**
 * What may narrow the comparison of patches: where in the picture they lie, and whether they show the part or what is behind it.
 * Both cost nothing to good parts, or they are not taken (patches.ts).
 */
import { float32, type Tensor } from "../engine/tensor.ts";
import { dot, momentsOf } from "../linalg/covariance.ts";
import { symmetricEigen } from "../linalg/eigen.ts";

/** What no similarity outweighs, in the units of the search (nearest.ts): up to 63 times the square root of the width. */
export const EXCLUDED = -1e6;

/** Added to the similarities [n, M] of patches in these cells of the grid: 0 up to `window` cells away, down and across, else EXCLUDED. */
export function windowBias(
	cells: ArrayLike<number>,
	centres: ArrayLike<number>,
	columns: number,
	window: number,
): Tensor {
	const m = centres.length;
	const bias = float32([cells.length, m]);
	for (let i = 0; i < cells.length; i++) {
		const cell = cells[i] as number;
		const [row, column] = [Math.floor(cell / columns), cell % columns];
		for (let k = 0; k < m; k++) {
			const centre = centres[k] as number;
			const near =
				Math.abs(Math.floor(centre / columns) - row) <= window &&
				Math.abs((centre % columns) - column) <= window;
			if (!near) bias.data[i * m + k] = EXCLUDED;
		}
	}
	return bias;
}

/** A plane between what shows the part and what is behind it. */
export interface Foreground {
	/** Patches whose product with it is above `offset` show the part. */
	readonly direction: Float64Array; // [D]
	readonly offset: number;
}

/** Patches that the plane is found from: enough for one direction. */
const SAMPLED = 5000;

/**
 * The first principal component of good parts' patches, about their mean, tells part from background (Damm et al., AnomalyDINO, WACV
 * 2025); the side that is rarer along the picture's border is the part.
 */
export function foregroundOf(
	images: readonly {
		readonly rows: Tensor; // [n, D]
		/** Where they lie in the grid, row by row. */
		readonly cells: ArrayLike<number>; // [n]
	}[],
	[rows, columns]: readonly [number, number],
): Foreground {
	const d = images[0]?.rows.shape[1] as number;
	const total = images.reduce((sum, { cells }) => sum + cells.length, 0);
	const stride = Math.ceil(total / SAMPLED);
	const taken: number[] = [];
	let at = 0;
	for (const { rows: image, cells } of images)
		for (let i = 0; i < cells.length; i++)
			if (at++ % stride === 0)
				taken.push(...image.data.subarray(i * d, (i + 1) * d));
	const { mean, covariance } = momentsOf({
		n: taken.length / d,
		d,
		data: Float64Array.from(taken),
	});
	const direction = symmetricEigen(covariance, d).vectors.slice(0, d);
	const plane = { direction, offset: dot(direction, mean) };
	const count = { border: 0, inside: 0 };
	const front = { border: 0, inside: 0 };
	for (const { rows: image, cells } of images)
		for (const [i, isFront] of inFront(image, plane).entries()) {
			const cell = cells[i] as number;
			const [r, c] = [Math.floor(cell / columns), cell % columns];
			const outermost =
				r === 0 || c === 0 || r === rows - 1 || c === columns - 1;
			const where = outermost ? "border" : "inside";
			count[where]++;
			front[where] += isFront;
		}
	const share = (where: keyof typeof count) =>
		count[where] === 0 ? 0.5 : front[where] / count[where];
	return share("border") <= share("inside")
		? plane
		: { direction: direction.map((x) => -x), offset: -plane.offset };
}

/** 1 for every row that shows the part. */
export function inFront(
	{ shape, data }: Tensor,
	{ direction, offset }: Foreground,
): Uint8Array {
	const [n, d] = shape as [number, number];
	return Uint8Array.from({ length: n }, (_, i) => {
		let sum = 0;
		for (let k = 0; k < d; k++)
			sum += (direction[k] as number) * (data[i * d + k] as number);
		return sum > offset ? 1 : 0;
	});
}
