/**
 * Linear functions of least squared error, from sums over rows: what is fitted need not be in memory at once.
 * Ridge regression (Hoerl and Kennard 1970) with an intercept that is not penalised. Matrices are row-major, float64.
 */
import { factor, solve } from "./cholesky.ts";
import { timesTransposed, transpose } from "./eigen.ts";

/** y = W x + b. */
export interface Linear {
	readonly weight: Float64Array; // [out, in]
	readonly bias: Float64Array; // [out]
}

/** Sums over rows of x [in], y [out], x xᵀ [in, in] and x yᵀ [in, out]. */
export interface RowSums {
	readonly x: Float64Array;
	readonly y: Float64Array;
	readonly xx: Float64Array;
	readonly xy: Float64Array;
}

/** W and b of the least Σ ‖y − W x − b‖² / rows + penalty · (mean variance of x) · ‖W‖². */
export function ridge(sums: RowSums, rows: number, penalty: number): Linear {
	const x = sums.x.map((sum) => sum / rows);
	const y = sums.y.map((sum) => sum / rows);
	const [n, out] = [x.length, y.length];
	const xx = sums.xx.map(
		(sum, i) =>
			sum / rows - (x[Math.floor(i / n)] as number) * (x[i % n] as number),
	);
	const xy = sums.xy.map(
		(sum, i) =>
			sum / rows - (x[Math.floor(i / out)] as number) * (y[i % out] as number),
	);
	let trace = 0;
	for (let i = 0; i < n; i++) trace += xx[i * n + i] as number;
	for (let i = 0; i < n; i++)
		xx[i * n + i] = (xx[i * n + i] as number) + (penalty * trace) / n;
	const l = factor(xx, n);
	const right = transpose(xy, out); // [out, in]
	const weight = new Float64Array(out * n);
	for (let o = 0; o < out; o++)
		weight.set(solve(l, n, right.subarray(o * n, (o + 1) * n)), o * n);
	const shift = timesTransposed(weight, x, n);
	return { weight, bias: y.map((mean, o) => mean - (shift[o] as number)) };
}

/** The same dimension by dimension, y = w x + b, from sums of x, y, x² and x y; where x does not vary w is 0. */
export function scales(sums: RowSums, rows: number): Linear {
	const mean = (part: Float64Array) => part.map((sum) => sum / rows);
	const [x, y] = [mean(sums.x), mean(sums.y)];
	const [xx, xy] = [mean(sums.xx), mean(sums.xy)];
	const weight = xy.map((product, i) => {
		const centre = x[i] as number;
		const variance = (xx[i] as number) - centre ** 2;
		return variance > 0 ? (product - centre * (y[i] as number)) / variance : 0;
	});
	return {
		weight,
		bias: y.map((m, i) => m - (weight[i] as number) * (x[i] as number)),
	};
}
