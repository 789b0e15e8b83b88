/**
 * Moments and score lists as named tensors, and back with every shape checked.
 * The covariance is symmetric, so its lower triangle is stored, row by row, in float32, a quarter of the full float64 matrix. It is
 * rounded when it is learnt (`rounded`), so a restored memory scores bit for bit. In Python:
 * `S = np.zeros((D, D)); S[np.tril_indices(D)] = t; S += np.tril(S, -1).T`.
 */
import {
	type AnyTensor,
	type Arrays,
	type DType,
	float32,
	float64,
	type Tensor,
} from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import {
	type Gaussian,
	gaussianOf,
	type Moments,
} from "../linalg/covariance.ts";

export type Stored = Readonly<Record<string, AnyTensor>>;

export const list = (values: Float64Array): Tensor<"float64"> =>
	float64([values.length], values);
export const integer = (value: number): Tensor<"int32"> => ({
	dtype: "int32",
	shape: [1],
	data: Int32Array.of(value),
});

/** The moments as they are stored. */
export const rounded = (moments: Moments): Moments => ({
	...moments,
	covariance: moments.covariance.map(Math.fround),
});

/** Of moments that are `rounded`. */
export function storeMoments({
	n,
	mean,
	covariance,
	third,
	fourth,
}: Moments): Record<string, AnyTensor> {
	const d = mean.length;
	const triangle = new Float32Array((d * (d + 1)) / 2);
	for (let i = 0, at = 0; i < d; i++)
		for (let j = 0; j <= i; j++)
			triangle[at++] = covariance[i * d + j] as number;
	return {
		n: integer(n),
		mean: list(mean),
		covariance: float32([triangle.length], triangle),
		third: list(third),
		fourth: list(Float64Array.of(fourth)),
	};
}

export function restoreMoments(
	id: string,
	tensors: Stored,
	d: number,
): Moments {
	const n = restoreInteger(id, tensors, "n");
	if (n < 1)
		throw fail("MEMORY_DAMAGED", { id, tensor: "n", problem: `is ${n}` });
	const triangle = restoreReals(
		id,
		tensors,
		"covariance",
		(d * (d + 1)) / 2,
		tensors.covariance?.dtype === "float64" ? "float64" : "float32",
	);
	const covariance = new Float64Array(d * d);
	for (let i = 0, at = 0; i < d; i++)
		for (let j = 0; j <= i; j++)
			covariance[i * d + j] = covariance[j * d + i] = Math.fround(
				triangle[at++] as number, // the first runs kept it unrounded
			);
	return {
		n,
		mean: restoreReals(id, tensors, "mean", d),
		covariance,
		third: restoreReals(id, tensors, "third", d),
		fourth: restoreReals(id, tensors, "fourth", 1)[0] as number,
	};
}

/** The density of moments that may have come from a file: numbers that are the covariance of nothing are damage. */
export function storedGaussian(id: string, moments: Moments): Gaussian {
	try {
		return gaussianOf(moments);
	} catch (error) {
		throw fail("MEMORY_DAMAGED", {
			id,
			tensor: "covariance",
			problem: `is none (${(error as Error).message.replace(/\.$/, "")})`,
		});
	}
}

/** A copy of a stored list of this length (any length if undefined); all its values are finite. */
export function restoreReals(
	id: string,
	tensors: Stored,
	tensor: string,
	length?: number,
	dtype: "float64" | "float32" = "float64",
): Float64Array {
	const data = restoreArray(id, tensors, tensor, dtype);
	if (length !== undefined && data.length !== length)
		throw fail("MEMORY_DAMAGED", {
			id,
			tensor,
			problem: `has ${data.length} values instead of ${length}`,
		});
	if (!data.every(Number.isFinite))
		throw fail("MEMORY_DAMAGED", {
			id,
			tensor,
			problem: "holds a value that is not finite",
		});
	return Float64Array.from(data);
}

export function restoreInteger(
	id: string,
	tensors: Stored,
	tensor: string,
): number {
	const value = restoreArray(id, tensors, tensor, "int32")[0];
	if (value === undefined)
		throw fail("MEMORY_DAMAGED", { id, tensor, problem: "is empty" });
	return value;
}

export function restoreArray<T extends DType>(
	id: string,
	tensors: Stored,
	tensor: string,
	dtype: T,
): Arrays[T] {
	const found = Object.hasOwn(tensors, tensor) ? tensors[tensor] : undefined;
	if (found === undefined)
		throw fail("MEMORY_DAMAGED", { id, tensor, problem: "is missing" });
	if (found.dtype !== dtype)
		throw fail("MEMORY_DAMAGED", {
			id,
			tensor,
			problem: `is ${found.dtype} instead of ${dtype}`,
		});
	return found.data as Arrays[T];
}
