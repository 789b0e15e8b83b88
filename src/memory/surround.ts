/**
 * Centre and surround: how a patch differs from those about it. The mean of its 3 x 3 neighbourhood is taken off in part, so that what all
 * of them share (the material, the lighting, the pose) counts less than what one of them shows. Ours; what it is worth:
 * docs/experiments.md.
 */
import { float32, type Tensor } from "../engine/tensor.ts";

/**
 * Rows x − strength · mean(neighbourhood of x), at length 1; rows are one or more pictures' patches [k · rows · columns, D], each row by row.
 * The neighbourhood is the patch itself and those that touch it, as far as they lie in the picture.
 */
export function lessSurround(
	{ shape, data }: Tensor,
	[rows, columns]: readonly [number, number],
	strength: number,
): Tensor {
	const d = shape[1] as number;
	const out = float32(shape);
	const pictures = (shape[0] as number) / (rows * columns);
	const across = new Float32Array(rows * columns * d); // sums of up to 3 patches
	const sums = new Float32Array(d);
	const [rowsNear, columnsNear] = [neighbours(rows), neighbours(columns)];
	for (let p = 0; p < pictures; p++) {
		const first = p * rows * columns;
		across.fill(0);
		for (let r = 0; r < rows; r++)
			for (const [c, near] of columnsNear.entries())
				for (const k of near)
					addRow(across, r * columns + c, data, first + r * columns + k, d);
		for (const [r, above] of rowsNear.entries())
			for (const [c, beside] of columnsNear.entries()) {
				sums.fill(0);
				for (const k of above) addRow(sums, 0, across, k * columns + c, d);
				const count = above.length * beside.length;
				const at = (first + r * columns + c) * d;
				let square = 0;
				for (let i = 0; i < d; i++) {
					const x =
						(data[at + i] as number) - (strength * (sums[i] as number)) / count;
					out.data[at + i] = x;
					square += x * x;
				}
				const length = Math.sqrt(square);
				if (length > 0)
					for (let i = 0; i < d; i++)
						out.data[at + i] = (out.data[at + i] as number) / length;
			}
	}
	return out;
}

/** Of each of n places along an axis: itself and those beside it. */
const neighbours = (n: number): readonly (readonly number[])[] =>
	Array.from({ length: n }, (_, i) =>
		[i - 1, i, i + 1].filter((k) => k >= 0 && k < n),
	);

/** Adds a row of `from` [., D] to one of `to` [., D]. */
function addRow(
	to: Float32Array,
	toRow: number,
	from: Float32Array,
	fromRow: number,
	d: number,
): void {
	const [a, b] = [toRow * d, fromRow * d];
	for (let i = 0; i < d; i++)
		to[a + i] = (to[a + i] as number) + (from[b + i] as number);
}
