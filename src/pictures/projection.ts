/** Embeddings as points on a plane: their first two principal components (Pearson 1901), found in float64 from the smaller of XᵀX and XXᵀ. */
import { fail } from "../errors.ts";
import { symmetricEigen, timesTransposed, transpose } from "../linalg/eigen.ts";

export interface Projection {
	/** Centred at the mean; of each component the number of largest magnitude is positive, so that the picture does not flip. */
	readonly points: Float64Array; // [n, 2]
	/** Share of the whole variance that each component shows. */
	readonly explained: readonly [number, number];
}

/** Rows [n, d], one embedding each, onto the two directions in which they vary most. `rows` is left as it is. */
export function project(rows: Float64Array, n: number, d: number): Projection {
	if (rows.length !== n * d)
		throw fail("SHAPE_MISMATCH", {
			op: "project",
			shapes: [[rows.length], [n, d]],
			hint: "Pass n · d numbers, row by row.",
		});
	const points = new Float64Array(2 * n);
	if (n === 0 || d === 0) return { points, explained: [0, 0] };
	const x = centred(rows, n, d);
	const coordinates = n <= d ? fromGram(x, n, d) : fromCovariance(x, n, d); // [2, n]
	let total = 0;
	for (const value of x) total += value * value;
	const explained = [0, 1].map((k) => {
		const component = coordinates.subarray(k * n, (k + 1) * n);
		const sign = Math.sign(largest(component)) || 1;
		let sum = 0;
		component.forEach((value, i) => {
			points[2 * i + k] = sign * value + 0; // no −0
			sum += value * value;
		});
		return total > 0 ? sum / total : 0;
	});
	return { points, explained: explained as [number, number] };
}

function centred(rows: Float64Array, n: number, d: number): Float64Array {
	const mean = new Float64Array(d);
	rows.forEach((value, i) => {
		mean[i % d] = (mean[i % d] as number) + value / n;
	});
	return rows.map((value, i) => value - (mean[i % d] as number));
}

/** X Xᵀ = U Λ Uᵀ: the coordinates along component k are √λₖ uₖ. */
function fromGram(x: Float64Array, n: number, d: number): Float64Array {
	const { values, vectors } = symmetricEigen(timesTransposed(x, x, d), n);
	return Float64Array.from({ length: 2 * n }, (_, i) => {
		const k = i < n ? 0 : 1;
		return k < n
			? Math.sqrt(Math.max(values[k] as number, 0)) * (vectors[i] as number)
			: 0;
	});
}

/** Xᵀ X = V Λ Vᵀ: the coordinates along component k are X vₖ. */
function fromCovariance(x: Float64Array, n: number, d: number): Float64Array {
	const columns = transpose(x, d); // [d, n]
	const { vectors } = symmetricEigen(timesTransposed(columns, columns, n), d);
	const leading = new Float64Array(2 * d);
	leading.set(vectors.subarray(0, Math.min(2, d) * d));
	return timesTransposed(leading, x, d);
}

/** The entry of largest magnitude; of several the first, up to what rounding may decide. */
function largest(values: Float64Array): number {
	let found = 0;
	for (const value of values)
		if (Math.abs(value) > Math.abs(found) * (1 + 1e-9)) found = value;
	return found;
}
