/**
 * Centre and surround: how a patch differs from those about it. The mean of its 3 x 3 neighbourhood is taken off in part, so that what all
 * of them share (the material, the lighting, the pose) counts less than what one of them shows. Ours; what it is worth:
 * docs/experiments.md.
 */
import { constant, type Value } from "../engine/graph.ts";
import {
	add,
	concat,
	div,
	max,
	mul,
	reduceSum,
	reshape,
	slice,
	sqrt,
	sub,
} from "../engine/ops/index.ts";
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
	const size = rows * columns * d;
	const nothing = new Float32Array(columns * d); // beyond the edge
	const across = new Float32Array(size); // sums of up to 3 patches of a row
	const line = (of: Float32Array, r: number) =>
		r >= 0 && r < rows
			? of.subarray(r * columns * d, (r + 1) * columns * d)
			: nothing;
	for (let p = 0; p < pictures; p++) {
		const picture = data.subarray(p * size, (p + 1) * size);
		for (let r = 0; r < rows; r++)
			sumAlong(line(across, r), line(picture, r), d);
		for (let r = 0; r < rows; r++)
			contrasted(
				out.data.subarray(p * size + r * columns * d),
				line(picture, r),
				[line(across, r - 1), line(across, r), line(across, r + 1)],
				{ d, strength, near: beside(r, rows) },
			);
	}
	return out;
}

/** The same as a graph, for one picture's patches [rows · columns, D]. */
export function lessSurroundOf(
	x: Value,
	[rows, columns]: readonly [number, number],
	strength: number,
): Value {
	const d = x.shape[1] as number;
	const shares = float32([rows * columns, 1]);
	for (let r = 0; r < rows; r++)
		for (let c = 0; c < columns; c++)
			shares.data[r * columns + c] =
				strength / (beside(r, rows) * beside(c, columns));
	const down = sumAlongOf(reshape(x, [1, rows, columns * d]));
	const sums = sumAlongOf(reshape(down, [rows, columns, d]));
	const rest = sub(
		x,
		mul(reshape(sums, [rows * columns, d]), constant(shares)),
	);
	const length = sqrt(reduceSum(mul(rest, rest), [1]));
	return div(rest, max(length, 1e-30)); // zeros stay zeros
}

/** Of x [a, n, b], each element along the second axis with the one before and the one after it. */
function sumAlongOf(x: Value): Value {
	const [a, n, b] = x.shape as [number, number, number];
	if (n === 1) return x;
	const nothing = constant(float32([a, 1, b]));
	return add(
		add(x, concat([nothing, slice(x, 1, 0, n - 1)], 1)),
		concat([slice(x, 1, 1, n), nothing], 1),
	);
}

/** How many of n places along an axis touch the i-th, itself counted. */
const beside = (i: number, n: number): number =>
	Math.min(i + 1, n - 1) - Math.max(i - 1, 0) + 1;

/** Every patch of a line [columns · D] and those at its left and right. */
function sumAlong(out: Float32Array, line: Float32Array, d: number): void {
	const inner = line.length - d;
	for (let i = 0; i < line.length; i++)
		out[i] =
			(line[i] as number) +
			(i >= d ? (line[i - d] as number) : 0) +
			(i < inner ? (line[i + d] as number) : 0);
}

/** A line of patches less the share of their neighbourhoods, whose sums are those of three lines; every patch at length 1. */
function contrasted(
	out: Float32Array,
	line: Float32Array,
	[above, here, below]: readonly [Float32Array, Float32Array, Float32Array],
	{
		d,
		strength,
		near,
	}: { readonly d: number; readonly strength: number; readonly near: number },
): void {
	const columns = line.length / d;
	for (let c = 0; c < columns; c++) {
		const [from, to] = [c * d, (c + 1) * d];
		const share = strength / (near * beside(c, columns));
		let square = 0;
		for (let i = from; i < to; i++) {
			const sum =
				(above[i] as number) + (here[i] as number) + (below[i] as number);
			const x = (line[i] as number) - share * sum;
			out[i] = x;
			square += x * x;
		}
		if (square === 0) continue;
		const factor = 1 / Math.sqrt(square);
		for (let i = from; i < to; i++) out[i] = (out[i] as number) * factor;
	}
}
