/**
 * Memories as graphs, for `keepsight export`. A graph of several categories scores an image as one of them, which it finds out itself:
 * what is kept of all lies stacked in the graph, and what is kept of the chosen one is taken out of it. So scoring an image costs the
 * same however many products there are.
 */
import { constant, scalar, type Value } from "../engine/graph.ts";
import {
	cast,
	div,
	gather,
	gemm,
	max,
	mul,
	reduceSum,
	sqrt,
	sub,
} from "../engine/ops/index.ts";
import {
	type AnyTensor,
	float32,
	float64,
	type Tensor,
} from "../engine/tensor.ts";
import { solveLower } from "../linalg/cholesky.ts";
import type { Gaussian } from "../linalg/covariance.ts";

/** Which of some categories an image is scored as. */
export class Chosen {
	readonly ids: readonly string[];
	/** Position in `ids`, int64 []; null: there is one alone. */
	readonly #index: Value | null;

	constructor(ids: readonly string[], index: Value | null) {
		this.ids = ids;
		this.#index = index;
	}

	/** The chosen one of tensors of one shape, one a category. */
	pick(tensors: readonly AnyTensor[]): Value {
		const distinct = [...new Set(tensors)];
		const [first] = distinct as [AnyTensor];
		if (!this.#index || distinct.length === 1) return constant(first);
		const own = tensors.map((tensor) => distinct.indexOf(tensor));
		const at =
			distinct.length === tensors.length
				? this.#index
				: gather(constant(positions(own)), this.#index);
		return gather(constant(stacked(distinct)), at);
	}

	/** float64 []. */
	number(of: (id: string) => number): Value {
		const values = this.ids.map(of);
		const [first] = values as [number];
		return values.every((value) => value === first)
			? scalar(first, "float64")
			: this.pick(values.map((value) => float64([], Float64Array.of(value))));
	}
}

/** int64 [n]. */
export const positions = (values: readonly number[]): AnyTensor => ({
	dtype: "int64",
	shape: [values.length],
	data: BigInt64Array.from(values, BigInt),
});

function stacked(tensors: readonly AnyTensor[]): AnyTensor {
	const [{ dtype, shape, data }] = tensors as [Tensor];
	const Data = data.constructor as new (length: number) => Float32Array;
	const all = new Data(tensors.length * data.length);
	tensors.forEach((tensor, i) => {
		all.set(tensor.data as Float32Array, i * data.length);
	});
	return { dtype, shape: [tensors.length, ...shape], data: all };
}

/** Rows [m, ...] with further rows of zeros, `rows` in all. */
export function padded<T extends AnyTensor>(tensor: T, rows: number): T {
	const [m = 0, ...rest] = tensor.shape;
	if (m === rows) return tensor;
	const width = tensor.data.length / m;
	const Data = tensor.data.constructor as new (length: number) => Float32Array;
	const data = new Data(rows * width);
	data.set(tensor.data as Float32Array);
	return { ...tensor, shape: [rows, ...rest], data } as T;
}

/** 0 for the rows that are there, and `beyond` for those that `padded` adds; null where it adds none anywhere. */
export function padding(
	chosen: Chosen,
	counts: readonly number[],
	beyond: number,
): Value | null {
	const rows = Math.max(...counts);
	if (counts.every((count) => count === rows)) return null;
	return chosen.pick(
		counts.map((count) => {
			const bias = float32([rows]);
			bias.data.fill(beyond, count);
			return bias;
		}),
	);
}

/** Rows [n, D] at length 1, rounded to float32 as `unitRows` does, in float64; zeros stay zeros. */
export function unitRowsOf(x: Value): Value {
	const wide = cast(x, "float64");
	const length = sqrt(reduceSum(mul(wide, wide), [-1]));
	return cast(cast(div(wide, max(length, 1e-300)), "float32"), "float64");
}

/** (x−μ)ᵀΣ⁻¹(x−μ) of a row [1, d], float64 [1, 1]. Gaussians of fewer dimensions are widened by some that do not count. */
export function squaredDistanceOf(
	chosen: Chosen,
	gaussians: readonly Gaussian[],
	x: Value,
): Value {
	const d = x.shape[1] as number;
	const kept = new Map(
		[...new Set(gaussians)].map((gaussian) => [
			gaussian,
			{ mean: widened(gaussian.mean, d), whitener: whitenerOf(gaussian, d) },
		]),
	);
	const parts = gaussians.map(
		(gaussian) =>
			kept.get(gaussian) as { mean: AnyTensor; whitener: AnyTensor },
	);
	const v = gemm(
		sub(x, chosen.pick(parts.map(({ mean }) => mean))),
		chosen.pick(parts.map(({ whitener }) => whitener)),
		{ transB: true },
	);
	return reduceSum(mul(v, v), [1]);
}

const widened = (mean: Float64Array, d: number): AnyTensor =>
	padded(float64([mean.length], mean), d);

/** L⁻¹ of the covariance LLᵀ, [d, d]. */
function whitenerOf({ factor, mean }: Gaussian, d: number): AnyTensor {
	const inverse = inverseLower(factor, mean.length);
	const out = float64([d, d]);
	for (let i = 0; i < mean.length; i++)
		out.data.set(
			inverse.subarray(i * mean.length, (i + 1) * mean.length),
			i * d,
		);
	return out;
}

/** L⁻¹ [d, d] of a lower triangle. */
export function inverseLower(l: Float64Array, d: number): Float64Array {
	const out = new Float64Array(d * d);
	const column = new Float64Array(d);
	for (let j = 0; j < d; j++) {
		column.fill(0);
		column[j] = 1;
		solveLower(l, d, column, column);
		for (let i = j; i < d; i++) out[i * d + j] = column[i] as number;
	}
	return out;
}
