/**
 * Moments of a sample, their exact merging, Ledoit-Wolf shrinkage, Mahalanobis and leave-one-out distances.
 *
 * Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", as scikit-learn
 * computes it: Σ = (1−s)S + s·T·I with T = tr(S)/D. Its s needs of the samples only n, S and Σᵢ‖xᵢ−μ‖⁴, so it can be
 * derived from stored moments; the third moment is what makes the fourth one mergeable.
 *
 * Departures, which only matter where scikit-learn would hand out a singular matrix:
 *   s >= 1 at n = 1, >= 1/2 at n = 2 (there the formula gives 0), >= 1e-6 beyond;
 *   T >= 1e-8 of the mean square of the data (1 if all data are 0), so that constant data have a covariance too.
 */
import { factor, inverse, solveLower } from "./cholesky.ts";

/** Samples as rows. */
export interface Rows {
	readonly n: number;
	readonly d: number;
	readonly data: Float64Array; // [n, D]
}

export interface Moments {
	readonly n: number;
	readonly mean: Float64Array; // [D]
	readonly covariance: Float64Array; // [D, D], centred, divided by n
	/** Σ‖x−μ‖²(x−μ) */
	readonly third: Float64Array; // [D]
	/** Σ‖x−μ‖⁴ */
	readonly fourth: number;
}

export interface Shrinkage {
	/** s: 0 keeps the empirical covariance, 1 keeps only the target. */
	readonly shrinkage: number;
	/** T: the variance of the isotropic target T·I. */
	readonly target: number;
}

const SHRINKAGE_FLOOR = 1e-6;
const TARGET_FLOOR = 1e-8;

export const rowOf = (rows: Rows, i: number): Float64Array =>
	rows.data.subarray(i * rows.d, (i + 1) * rows.d);

export function concatRows(parts: readonly Rows[], d: number): Rows {
	const data = new Float64Array(
		parts.reduce((sum, part) => sum + part.data.length, 0),
	);
	let at = 0;
	for (const part of parts) {
		data.set(part.data, at);
		at += part.data.length;
	}
	return { n: data.length / d, d, data };
}

export function momentsOf(rows: Rows): Moments {
	const { n, d } = rows;
	const mean = new Float64Array(d);
	for (let r = 0; r < n; r++)
		for (let i = 0; i < d; i++)
			mean[i] = (mean[i] as number) + (rows.data[r * d + i] as number);
	for (let i = 0; i < d; i++) mean[i] = (mean[i] as number) / n;
	const covariance = new Float64Array(d * d);
	const third = new Float64Array(d);
	let fourth = 0;
	const v = new Float64Array(d);
	for (let r = 0; r < n; r++) {
		let square = 0;
		for (let i = 0; i < d; i++) {
			const value = (rows.data[r * d + i] as number) - (mean[i] as number);
			v[i] = value;
			square += value * value;
		}
		fourth += square * square;
		for (let i = 0; i < d; i++) {
			const value = v[i] as number;
			third[i] = (third[i] as number) + square * value;
			for (let j = 0, at = i * d; j <= i; j++, at++)
				covariance[at] = (covariance[at] as number) + value * (v[j] as number);
		}
	}
	for (let i = 0; i < d; i++)
		for (let j = 0; j <= i; j++)
			covariance[j * d + i] = covariance[i * d + j] =
				(covariance[i * d + j] as number) / n;
	return { n, mean, covariance, third, fourth };
}

/**
 * Moments of the union of two samples, as if they had never been apart. With y = x − μ_part and δ = μ_part − μ:
 *   Σ(y+δ)(y+δ)ᵀ   = n S + n δδᵀ
 *   Σ‖y+δ‖²(y+δ)   = third + n tr(S) δ + 2n Sδ + n‖δ‖² δ
 *   Σ‖y+δ‖⁴        = fourth + 4 third·δ + 4n δᵀSδ + 2n tr(S)‖δ‖² + n‖δ‖⁴        (Σy = 0 cancels the rest)
 */
export function mergeMoments(a: Moments, b: Moments): Moments {
	const d = a.mean.length;
	const n = a.n + b.n;
	const mean = new Float64Array(d);
	for (let i = 0; i < d; i++)
		mean[i] =
			(a.mean[i] as number) +
			((b.mean[i] as number) - (a.mean[i] as number)) * (b.n / n);
	const covariance = new Float64Array(d * d);
	const third = new Float64Array(d);
	let fourth = 0;
	for (const part of [a, b]) {
		const delta = part.mean.map((value, i) => value - (mean[i] as number));
		const along = multiply(part.covariance, delta); // Sδ
		const trace = traceOf(part.covariance, d);
		const square = dot(delta, delta);
		for (let i = 0; i < d; i++) {
			const di = delta[i] as number;
			third[i] =
				(third[i] as number) +
				(part.third[i] as number) +
				part.n * ((trace + square) * di + 2 * (along[i] as number));
			for (let j = 0; j < d; j++) {
				const at = i * d + j;
				covariance[at] =
					(covariance[at] as number) +
					(part.n / n) *
						((part.covariance[at] as number) + di * (delta[j] as number));
			}
		}
		fourth +=
			part.fourth +
			4 * dot(part.third, delta) +
			part.n * (4 * dot(delta, along) + 2 * trace * square + square * square);
	}
	return { n, mean, covariance, third, fourth };
}

/**
 * Moments after every sample x became Ax. Mean and covariance are exact (Aμ, ASAᵀ). The third and fourth moments cannot
 * be known; they keep their ratio to what a Gaussian of the same covariance has, which only touches the shrinkage.
 */
export function mapMoments(m: Moments, a: Float64Array): Moments {
	const d = m.mean.length;
	const half = new Float64Array(d * d); // A·S; S is symmetric, so rows serve as columns
	for (let i = 0; i < d; i++)
		half.set(multiply(m.covariance, a.subarray(i * d, (i + 1) * d)), i * d);
	const covariance = new Float64Array(d * d);
	for (let i = 0; i < d; i++)
		for (let j = 0; j <= i; j++)
			covariance[j * d + i] = covariance[i * d + j] = dot(
				half.subarray(i * d, (i + 1) * d),
				a.subarray(j * d, (j + 1) * d),
			);
	const before = traceOf(m.covariance, d);
	const scale = before > 0 ? traceOf(covariance, d) / before : 0;
	const fourthBefore = gaussianFourth(m.covariance, d);
	return {
		n: m.n,
		mean: multiply(a, m.mean),
		covariance,
		third: multiply(a, m.third).map((value) => value * scale),
		fourth:
			fourthBefore > 0
				? (m.fourth * gaussianFourth(covariance, d)) / fourthBefore
				: 0,
	};
}

/** What n draws of N(μ, Σ) have on average: third moment 0, E‖y‖⁴ = (tr Σ)² + 2 tr(Σ²). */
export const gaussianMoments = (
	n: number,
	mean: Float64Array,
	covariance: Float64Array,
): Moments => ({
	n,
	mean,
	covariance,
	third: new Float64Array(mean.length),
	fourth: n * gaussianFourth(covariance, mean.length),
});

/** β = (Σ‖x−μ‖⁴/n − ‖S‖²) / (nD), δ = (‖S‖² − D T²) / D, s = min(β, δ) / δ. Reads n, covariance, fourth, and the mean for the floor. */
export function ledoitWolf(m: Moments): Shrinkage {
	const d = m.mean.length;
	const empirical = traceOf(m.covariance, d) / d;
	const norm = dot(m.covariance, m.covariance);
	const beta = (m.fourth / m.n - norm) / (m.n * d);
	const delta = norm / d - empirical * empirical;
	const floor = m.n <= 2 ? 1 / m.n : SHRINKAGE_FLOOR;
	const meanSquare = empirical + dot(m.mean, m.mean) / d;
	return {
		shrinkage: delta > 0 ? Math.min(1, Math.max(floor, beta / delta)) : 1,
		target: meanSquare > 0 ? Math.max(empirical, TARGET_FLOOR * meanSquare) : 1,
	};
}

/** (1−s)·scale·S + s·T·I. */
export function shrunkCovariance(
	covariance: Float64Array,
	{ shrinkage, target }: Shrinkage,
	scale = 1,
): Float64Array {
	const d = Math.sqrt(covariance.length);
	const out = covariance.map((value) => (1 - shrinkage) * scale * value);
	for (let i = 0; i < d; i++)
		out[i * d + i] = (out[i * d + i] as number) + shrinkage * target;
	return out;
}

export interface Gaussian extends Shrinkage {
	readonly mean: Float64Array; // [D]
	readonly factor: Float64Array; // [D, D], lower Cholesky of the shrunk covariance
}

export function gaussianOf(m: Moments, shrinkage = ledoitWolf(m)): Gaussian {
	return {
		...shrinkage,
		mean: m.mean,
		factor: factor(shrunkCovariance(m.covariance, shrinkage), m.mean.length),
	};
}

/** (x−μ)ᵀΣ⁻¹(x−μ) for every row. */
export const squaredDistances = (g: Gaussian, rows: Rows): Float64Array =>
	quadraticForms(g.factor, rows, g.mean);

/** Draws with the given standard normals: x = μ + L·z. */
export function drawFrom(g: Gaussian, normals: Rows): Rows {
	const { n, d } = normals;
	const data = new Float64Array(n * d);
	for (let r = 0; r < n; r++) {
		const z = rowOf(normals, r);
		for (let i = 0; i < d; i++)
			data[r * d + i] =
				(g.mean[i] as number) + dot(g.factor.subarray(i * d, i * d + i + 1), z);
	}
	return { n, d, data };
}

interface LeaveOneOut {
	/** For samples that are among the n of the class with this mean; empty where n is 1, since nobody is left then. */
	squaredDistances(rows: Rows, mean: Float64Array, n: number): Float64Array;
	/** About their mean, for samples known by moments alone: the closed form at the mean of q, which moments give exactly. Null at n = 1. */
	expected(samples: Moments, mean: Float64Array, n: number): number | null;
}

/**
 * Squared Mahalanobis distances of samples as if each had not been learnt, at fixed s and T:
 *   d²₋ᵢ = (n/(n−1))² q / (1 − c q),   q = vᵀQ⁻¹v,   v = x − μ,   Q = (1−s) A/(N−1) + sT,   c = (1−s) n / ((n−1)(N−1))
 * A is the scatter N·S. Without x the mean moves by v/(n−1) and A loses n/(n−1)·vvᵀ; Sherman-Morrison does the rest.
 * n counts the class of x, N all samples behind A: equal for one Gaussian, N larger where classes share a covariance.
 */
export function leaveOneOut(
	within: Pick<Moments, "n" | "covariance">,
	shrinkage: Shrinkage,
): LeaveOneOut {
	const total = within.n;
	const d = Math.sqrt(within.covariance.length);
	if (total < 2)
		return {
			squaredDistances: () => new Float64Array(0),
			expected: () => null,
		};
	const l = factor(
		shrunkCovariance(within.covariance, shrinkage, total / (total - 1)),
		d,
	);
	const without = (q: number, n: number): number => {
		const c = ((1 - shrinkage.shrinkage) * n) / ((n - 1) * (total - 1));
		return ((n / (n - 1)) ** 2 * q) / Math.max(1 - c * q, 1e-12); // positive in exact arithmetic
	};
	let inverted: Float64Array | null = null;
	return {
		squaredDistances: (rows, mean, n) =>
			n < 2
				? new Float64Array(0)
				: quadraticForms(l, rows, mean).map((q) => without(q, n)),
		expected(samples, mean, n) {
			if (n < 2) return null;
			inverted ??= inverse(l, d);
			const delta = samples.mean.map((value, i) => value - (mean[i] as number));
			return without(
				dot(inverted, samples.covariance) +
					dot(delta, multiply(inverted, delta)),
				n,
			); // mean q = tr(Q⁻¹S) + δᵀQ⁻¹δ
		},
	};
}

/** (x−μ)ᵀ(LLᵀ)⁻¹(x−μ) for every row, each row on its own: the same alone and in any batch. */
function quadraticForms(
	l: Float64Array,
	rows: Rows,
	mean: Float64Array,
): Float64Array {
	const out = new Float64Array(rows.n);
	const v = new Float64Array(rows.d);
	for (let r = 0; r < rows.n; r++) {
		for (let i = 0; i < rows.d; i++)
			v[i] = (rows.data[r * rows.d + i] as number) - (mean[i] as number);
		solveLower(l, rows.d, v, v);
		out[r] = dot(v, v);
	}
	return out;
}

const gaussianFourth = (covariance: Float64Array, d: number): number =>
	traceOf(covariance, d) ** 2 + 2 * dot(covariance, covariance);

export function traceOf(a: Float64Array, d: number): number {
	let sum = 0;
	for (let i = 0; i < d; i++) sum += a[i * d + i] as number;
	return sum;
}

/** Σ aᵢbᵢ over the length of `a`. */
export function dot(a: Float64Array, b: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
	return sum;
}

/** A·x for a square A. */
export function multiply(a: Float64Array, x: Float64Array): Float64Array {
	const d = x.length;
	const out = new Float64Array(d);
	for (let i = 0; i < d; i++) out[i] = dot(a.subarray(i * d, (i + 1) * d), x);
	return out;
}
