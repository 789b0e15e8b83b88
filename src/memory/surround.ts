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
	const near = new Float32Array(d);
	for (let p = 0; p < pictures; p++) {
		const first = p * rows * columns;
		across.fill(0);
		for (let r = 0; r < rows; r++)
			for (let c = 0; c < columns; c++)
				for (const k of within(c, columns))
					addTo(
						across.subarray((r * columns + c) * d),
						data,
						first + r * columns + k,
						d,
					);
		for (let r = 0; r < rows; r++)
			for (let c = 0; c < columns; c++) {
				near.fill(0);
				for (const k of within(r, rows))
					addTo(near, across, k * columns + c, d);
				const count = within(r, rows).length * within(c, columns).length;
				const at = (first + r * columns + c) * d;
				let square = 0;
				for (let i = 0; i < d; i++) {
					const x =
						(data[at + i] as number) - (strength * (near[i] as number)) / count;
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

/** i and its neighbours among n. */
const within = (i: number, n: number): readonly number[] =>
	[i - 1, i, i + 1].filter((k) => k >= 0 && k < n);

function addTo(
	sums: Float32Array,
	from: Float32Array /* [., D] */,
	row: number,
	d: number,
): void {
	const at = row * d;
	for (let i = 0; i < d; i++)
		sums[i] = (sums[i] as number) + (from[at + i] as number);
}
