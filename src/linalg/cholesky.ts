/**
 * Cholesky factorisation of a symmetric positive definite matrix, A = L·Lᵀ, and what follows from it.
 * Golub & Van Loan, Matrix Computations, section 4.2. All matrices are [D, D], row-major, float64.
 * No jitter is ever added here: a matrix that is not positive definite is an error, since whoever builds
 * a covariance states its floor there (covariance.ts).
 */

/** L, lower triangular with zeros above the diagonal. Only the lower triangle of `a` is read. */
export function factor(a: Float64Array, d: number): Float64Array {
	const l = new Float64Array(d * d);
	for (let i = 0; i < d; i++) {
		const row = i * d;
		for (let j = 0; j <= i; j++) {
			const other = j * d;
			let sum = a[row + j] as number;
			for (let k = 0; k < j; k++)
				sum -= (l[row + k] as number) * (l[other + k] as number);
			if (i !== j) l[row + j] = sum / (l[other + j] as number);
			else if (sum > 0 && Number.isFinite(sum)) l[row + i] = Math.sqrt(sum);
			else
				throw new Error(
					`Cholesky: pivot ${i} of ${d} is ${sum}; the matrix is not positive definite.`,
				);
		}
	}
	return l;
}

/** y with L·y = b. ‖y‖² is bᵀA⁻¹b: the squared Mahalanobis form costs this one pass. `out` may be `b`. */
export function solveLower(
	l: Float64Array,
	d: number,
	b: Float64Array,
	out = new Float64Array(d),
): Float64Array {
	for (let i = 0; i < d; i++) {
		const row = i * d;
		let sum = b[i] as number;
		for (let k = 0; k < i; k++)
			sum -= (l[row + k] as number) * (out[k] as number);
		out[i] = sum / (l[row + i] as number);
	}
	return out;
}

/** x with A·x = b. */
export function solve(
	l: Float64Array,
	d: number,
	b: Float64Array,
): Float64Array {
	const x = solveLower(l, d, b);
	for (let i = d - 1; i >= 0; i--) {
		const row = i * d;
		const value = (x[i] as number) / (l[row + i] as number);
		x[i] = value;
		for (let k = 0; k < i; k++)
			x[k] = (x[k] as number) - (l[row + k] as number) * value;
	}
	return x;
}

/** A⁻¹ [D, D], column by column. */
export function inverse(l: Float64Array, d: number): Float64Array {
	const out = new Float64Array(d * d);
	const unit = new Float64Array(d);
	for (let i = 0; i < d; i++) {
		unit.fill(0);
		unit[i] = 1;
		out.set(solve(l, d, unit), i * d);
	}
	return out;
}

/** log det A = 2 Σ log L_ii. */
export function logDet(l: Float64Array, d: number): number {
	let sum = 0;
	for (let i = 0; i < d; i++) sum += Math.log(l[i * d + i] as number);
	return 2 * sum;
}
