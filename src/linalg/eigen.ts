/**
 * Eigenvectors of symmetric matrices in float64, on row-major typed arrays.
 *
 * `symmetricEigen`: the whole decomposition, by Householder reduction to tridiagonal form and implicit QL with Wilkinson's
 * shift (Golub & Van Loan, Matrix Computations, 8.3; EISPACK's tred2 and imtql2). Two departures, both for the cache: the
 * rank-2 update of one reflector and the matrix-vector product of the next share a single pass over the matrix, and the
 * rotations of many QL sweeps are kept and applied together to narrow strips of the vectors. Neighbours below machine
 * precision times the largest entry are split off, so small eigenvalues are right to about n · 1e-16 · λ₁, not relatively.
 *
 * `leadingEigen`: only the leading vectors, of a matrix known by its products: block subspace iteration with Rayleigh-Ritz
 * (Saad, Numerical Methods for Large Eigenvalue Problems, 5.2), until they hold a wanted share of the known trace.
 */
import { factor, solveLower } from "./cholesky.ts";
import { fail } from "../errors.ts";
import type { Random } from "../random.ts";

export interface Eigen {
	/** Descending. */
	readonly values: Float64Array; // [k]
	/** Row k is the k-th eigenvector, of length 1. */
	readonly vectors: Float64Array; // [k, n]
}

/** All eigenvalues and vectors of a symmetric matrix. Only its upper triangle is read; `a` [n, n] is left as it is. */
export function symmetricEigen(a: Float64Array, n: number): Eigen {
	if (a.length !== n * n)
		throw fail("SHAPE_MISMATCH", {
			op: "symmetricEigen",
			shapes: [[a.length], [n, n]],
			hint: "Pass n · n numbers, row by row.",
		});
	let scale = 0; // largest entry: everything is computed on a / scale, so that squares neither overflow nor vanish
	for (const x of a) {
		if (!Number.isFinite(x)) throw fail("MATRIX_NOT_FINITE", { value: x });
		if (Math.abs(x) > scale) scale = Math.abs(x);
	}
	const work = Float64Array.from(a, (x) => (scale === 0 ? 0 : x / scale));
	const { diagonal, off, tau } = tridiagonalise(work, n);
	const vectors = accumulate(work, tau, n);
	diagonalise(diagonal, off, vectors, n);

	const order = Array.from({ length: n }, (_, i) => i).sort(
		(i, j) => (diagonal[j] as number) - (diagonal[i] as number) || i - j,
	);
	const sorted = new Float64Array(n * n);
	order.forEach((from, to) => {
		sorted.set(vectors.subarray(from * n, (from + 1) * n), to * n);
	});
	return {
		values: Float64Array.from(order, (i) => (diagonal[i] as number) * scale),
		vectors: sorted,
	};
}

/**
 * A = Q T Qᵀ with T tridiagonal and Q = H₀ H₁ … , H_k = I − τ_k v_k v_kᵀ. On return row k of `a`, right of the diagonal,
 * holds v_k. Step k: p = τ A v, w = p − (τ/2)(pᵀv) v, A ← A − v wᵀ − w vᵀ on the rows and columns after k.
 */
function tridiagonalise(a: Float64Array, n: number) {
	const diagonal = new Float64Array(n);
	const off = new Float64Array(n);
	const tau = new Float64Array(n);
	let v = new Float64Array(n); // the reflector whose update is still to be made
	let u = new Float64Array(n); // the one being formed
	const w = new Float64Array(n);
	const p = new Float64Array(n);
	for (let k = 0; k < n; k++) {
		const row = k * n;
		for (let j = k; j < n; j++)
			(a[row + j] as number) -=
				(v[k] as number) * (w[j] as number) +
				(w[k] as number) * (v[j] as number);
		diagonal[k] = a[row + k] as number;
		if (k === n - 1) break;
		// u = x − β e₁ scaled to u₁ = 1, β = −sign(x₁)‖x‖, τ = (β − x₁) / β, so that H x = β e₁
		let tail = 0;
		for (let j = k + 2; j < n; j++)
			tail += (a[row + j] as number) * (a[row + j] as number);
		const first = a[row + k + 1] as number;
		if (tail < 1e-280) tail = 0; // below 1e-140 of the largest entry: squares would lose their digits
		const beta =
			tail === 0
				? first
				: -Math.sign(first || 1) * Math.sqrt(first * first + tail);
		const t = tail === 0 ? 0 : (beta - first) / beta;
		off[k] = beta;
		tau[k] = t;
		u.fill(0);
		u[k + 1] = 1;
		if (tail !== 0)
			for (let j = k + 2; j < n; j++)
				u[j] = (a[row + j] as number) / (first - beta);
		for (let j = k + 1; j < n; j++) a[row + j] = u[j] as number;
		// one pass over the upper triangle: the old update, then p = A u with the new values
		p.fill(0);
		updateAndMultiply(a, n, k + 1, v, w, u, p);
		let dot = 0;
		for (let j = k + 1; j < n; j++) {
			(p[j] as number) *= t;
			dot += (p[j] as number) * (u[j] as number);
		}
		for (let j = 0; j <= k; j++) w[j] = 0;
		for (let j = k + 1; j < n; j++)
			w[j] = (p[j] as number) - (t / 2) * dot * (u[j] as number);
		[v, u] = [u, v];
	}
	return { diagonal, off, tau };
}

/** A ← A − v wᵀ − w vᵀ and p += A u on rows and columns from..n−1, upper triangle only, two rows at a time. */
function updateAndMultiply(
	a: Float64Array,
	n: number,
	from: number,
	v: Float64Array,
	w: Float64Array,
	u: Float64Array,
	p: Float64Array,
): void {
	let i = from;
	for (; i + 1 < n; i += 2) {
		const r0 = i * n;
		const r1 = r0 + n;
		const v0 = v[i] as number;
		const v1 = v[i + 1] as number;
		const w0 = w[i] as number;
		const w1 = w[i + 1] as number;
		const u0 = u[i] as number;
		const u1 = u[i + 1] as number;
		const x = (a[r0 + i] as number) - 2 * v0 * w0;
		const y = (a[r0 + i + 1] as number) - v0 * w1 - w0 * v1;
		const z = (a[r1 + i + 1] as number) - 2 * v1 * w1;
		a[r0 + i] = x;
		a[r0 + i + 1] = y;
		a[r1 + i + 1] = z;
		let s0 = x * u0 + y * u1;
		let s1 = y * u0 + z * u1;
		for (let j = i + 2; j < n; j++) {
			const vj = v[j] as number;
			const wj = w[j] as number;
			const uj = u[j] as number;
			const b0 = (a[r0 + j] as number) - v0 * wj - w0 * vj;
			const b1 = (a[r1 + j] as number) - v1 * wj - w1 * vj;
			a[r0 + j] = b0;
			a[r1 + j] = b1;
			s0 += b0 * uj;
			s1 += b1 * uj;
			(p[j] as number) += b0 * u0 + b1 * u1;
		}
		(p[i] as number) += s0;
		(p[i + 1] as number) += s1;
	}
	if (i < n) {
		(a[i * n + i] as number) -= 2 * (v[i] as number) * (w[i] as number);
		(p[i] as number) += (a[i * n + i] as number) * (u[i] as number);
	}
}

/** Qᵀ [n, n] from the reflectors: row r is e_r H_{r−1} … H₀, since H_k leaves e_r alone for k >= r. Four rows at a time. */
function accumulate(
	reflectors: Float64Array,
	tau: Float64Array,
	n: number,
): Float64Array {
	const q = new Float64Array(n * n);
	for (let i = 0; i < n; i++) q[i * n + i] = 1;
	for (let r = 0; r < n; r += 4) {
		const last = Math.min(r + 3, n - 1); // a short last group works on its last row several times with step 0
		const o0 = r * n;
		const o1 = Math.min(r + 1, last) * n;
		const o2 = Math.min(r + 2, last) * n;
		const o3 = last * n;
		for (let k = last - 1; k >= 0; k--) {
			const t = tau[k] as number;
			if (t === 0) continue;
			const v = k * n;
			// biome-ignore format: one line reads better
			let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
			for (let j = k + 1; j < n; j++) {
				const x = reflectors[v + j] as number;
				s0 += x * (q[o0 + j] as number);
				s1 += x * (q[o1 + j] as number);
				s2 += x * (q[o2 + j] as number);
				s3 += x * (q[o3 + j] as number);
			}
			s0 *= t;
			s1 *= o1 === o0 ? 0 : t;
			s2 *= o2 === o1 ? 0 : t;
			s3 *= o3 === o2 ? 0 : t;
			for (let j = k + 1; j < n; j++) {
				const x = reflectors[v + j] as number;
				(q[o0 + j] as number) -= s0 * x;
				(q[o1 + j] as number) -= s1 * x;
				(q[o2 + j] as number) -= s2 * x;
				(q[o3 + j] as number) -= s3 * x;
			}
		}
	}
	return q;
}

/** Rotations are applied to the vectors when so many sweeps have gathered, to strips of so many columns. */
const SWEEPS = 64;
const STRIP = 64;

/** Implicit QL on the tridiagonal (d, e): d becomes the eigenvalues, the rows of `vectors` are rotated along. */
function diagonalise(
	d: Float64Array,
	e: Float64Array,
	vectors: Float64Array,
	n: number,
): void {
	let largest = 0;
	for (let i = 0; i < n; i++)
		largest = Math.max(
			largest,
			Math.abs(d[i] as number) + Math.abs(e[i] as number),
		);
	const negligible = Number.EPSILON * largest;
	let sweeps: Sweep[] = [];
	const flush = () => {
		for (let c = 0; c < n; c += STRIP)
			for (const sweep of sweeps)
				rotateRows(vectors, n, sweep, c, Math.min(n, c + STRIP));
		sweeps = [];
	};
	for (let l = 0; l < n; l++) {
		for (let iteration = 0; ; iteration++) {
			let m = l;
			while (m < n - 1 && Math.abs(e[m] as number) > negligible) m++;
			if (m === l) break;
			if (iteration === 100)
				throw new Error(
					`symmetricEigen: eigenvalue ${l} of ${n} not found in ${iteration} sweeps`,
				);
			// Wilkinson's shift from the leading 2 x 2
			const half =
				((d[l + 1] as number) - (d[l] as number)) / (2 * (e[l] as number));
			let g =
				(d[m] as number) -
				(d[l] as number) +
				(e[l] as number) /
					(half + (half < 0 ? -1 : 1) * Math.sqrt(half * half + 1));
			let sine = 1;
			let cosine = 1;
			let p = 0;
			const c = new Float64Array(m - l);
			const s = new Float64Array(m - l);
			let i = m - 1;
			for (; i >= l; i--) {
				const f = sine * (e[i] as number);
				const b = cosine * (e[i] as number);
				const r = Math.sqrt(f * f + g * g);
				e[i + 1] = r;
				if (r < 1e-140) break; // splits here, and squares would lose their digits
				sine = f / r;
				cosine = g / r;
				g = (d[i + 1] as number) - p;
				const h = ((d[i] as number) - g) * sine + 2 * cosine * b;
				p = sine * h;
				d[i + 1] = g + p;
				g = cosine * h - b;
				c[i - l] = cosine;
				s[i - l] = sine;
			}
			sweeps.push({ low: l, from: i + 1, to: m, c, s });
			if (sweeps.length === SWEEPS) flush();
			if (i >= l) {
				(d[i + 1] as number) -= p;
				e[m] = 0;
				continue;
			}
			(d[l] as number) -= p;
			e[l] = g;
			e[m] = 0;
		}
	}
	flush();
}

interface Sweep {
	readonly low: number;
	/** Rotations of rows (i, i + 1), i = to − 1 down to `from`; angle i at index i − low. */
	readonly from: number;
	readonly to: number;
	readonly c: Float64Array;
	readonly s: Float64Array;
}

/** One sweep on columns start..end−1, two rotations (three rows) at a time. */
function rotateRows(
	z: Float64Array,
	n: number,
	{ low, from, to, c, s }: Sweep,
	start: number,
	end: number,
): void {
	let i = to - 1;
	for (; i > from; i -= 2) {
		const c1 = c[i - low] as number;
		const s1 = s[i - low] as number;
		const c0 = c[i - 1 - low] as number;
		const s0 = s[i - 1 - low] as number;
		const r0 = (i - 1) * n;
		const r1 = r0 + n;
		const r2 = r1 + n;
		for (let j = start; j < end; j++) {
			const x = z[r0 + j] as number;
			const y = z[r1 + j] as number;
			const w = z[r2 + j] as number;
			const t = c1 * y - s1 * w;
			z[r2 + j] = s1 * y + c1 * w;
			z[r1 + j] = s0 * x + c0 * t;
			z[r0 + j] = c0 * x - s0 * t;
		}
	}
	if (i === from) {
		const c0 = c[i - low] as number;
		const s0 = s[i - low] as number;
		const r0 = i * n;
		const r1 = r0 + n;
		for (let j = start; j < end; j++) {
			const x = z[r0 + j] as number;
			const t = z[r1 + j] as number;
			z[r1 + j] = s0 * x + c0 * t;
			z[r0 + j] = c0 * x - s0 * t;
		}
	}
}

/**
 * An orthonormal basis of what the rows [k, n] span, in their order (modified Gram-Schmidt, each row twice: "twice is
 * enough", Giraud et al. 2005). `against` [r, n], orthonormal, is projected out first. Rows that depend on earlier ones
 * are left out, so fewer than k may come back.
 */
export function orthonormalise(
	rows: Float64Array,
	n: number,
	against: Float64Array = new Float64Array(0),
): Float64Array {
	const result = new Float64Array(rows.length);
	let rank = 0;
	for (let k = 0; k * n < rows.length; k++) {
		const x = rows.slice(k * n, (k + 1) * n);
		const before = norm(x);
		for (let pass = 0; pass < 2; pass++) {
			removeRows(x, against, against.length / n, n);
			removeRows(x, result, rank, n);
		}
		const after = norm(x);
		if (!(after > 1e-12 * before)) continue; // what is left is rounding
		for (let j = 0; j < n; j++) result[rank * n + j] = (x[j] as number) / after;
		rank++;
	}
	return result.slice(0, rank * n);
}

/** x ← x − Σ (x · b_i) b_i, one orthonormal row b_i after the other. */
function removeRows(
	x: Float64Array,
	basis: Float64Array,
	count: number,
	n: number,
): void {
	for (let i = 0; i < count; i++) {
		const b = i * n;
		let dot = 0;
		for (let j = 0; j < n; j++)
			dot += (x[j] as number) * (basis[b + j] as number);
		for (let j = 0; j < n; j++)
			(x[j] as number) -= dot * (basis[b + j] as number);
	}
}

function norm(x: Float64Array): number {
	let sum = 0;
	for (const value of x) sum += value * value;
	return Math.sqrt(sum);
}

/** A Bᵀ [m, n] of A [m, k] and B [n, k]: rows times rows, four by two at a time. */
export function timesTransposed(
	a: Float64Array,
	b: Float64Array,
	k: number,
): Float64Array {
	const m = k === 0 ? 0 : a.length / k;
	const n = k === 0 ? 0 : b.length / k;
	const out = new Float64Array(m * n);
	for (let i = 0; i < m; i += 4) {
		const i0 = i * k;
		const i1 = Math.min(i + 1, m - 1) * k; // the last group may repeat its last row
		const i2 = Math.min(i + 2, m - 1) * k;
		const i3 = Math.min(i + 3, m - 1) * k;
		for (let j = 0; j < n; j += 2) {
			const j0 = j * k;
			const j1 = Math.min(j + 1, n - 1) * k;
			// biome-ignore format: one line reads better
			let s00 = 0, s10 = 0, s20 = 0, s30 = 0, s01 = 0, s11 = 0, s21 = 0, s31 = 0;
			for (let p = 0; p < k; p++) {
				const b0 = b[j0 + p] as number;
				const b1 = b[j1 + p] as number;
				const a0 = a[i0 + p] as number;
				const a1 = a[i1 + p] as number;
				const a2 = a[i2 + p] as number;
				const a3 = a[i3 + p] as number;
				s00 += a0 * b0;
				s01 += a0 * b1;
				s10 += a1 * b0;
				s11 += a1 * b1;
				s20 += a2 * b0;
				s21 += a2 * b1;
				s30 += a3 * b0;
				s31 += a3 * b1;
			}
			const to = i * n + j;
			const two = j + 1 < n;
			out[to] = s00;
			if (two) out[to + 1] = s01;
			if (i + 1 < m) out[to + n] = s10;
			if (i + 1 < m && two) out[to + n + 1] = s11;
			if (i + 2 < m) out[to + 2 * n] = s20;
			if (i + 2 < m && two) out[to + 2 * n + 1] = s21;
			if (i + 3 < m) out[to + 3 * n] = s30;
			if (i + 3 < m && two) out[to + 3 * n + 1] = s31;
		}
	}
	return out;
}

/** Aᵀ [n, m] of A [m, n]. */
export function transpose(a: Float64Array, n: number): Float64Array {
	const m = n === 0 ? 0 : a.length / n;
	const out = new Float64Array(a.length);
	for (let i = 0; i < m; i++)
		for (let j = 0; j < n; j++) out[j * m + i] = a[i * n + j] as number;
	return out;
}

/** A Bᵀ [m, n] of A [m, k] and B [n, k] in float64, as `timesTransposed` gives it, by whatever is fastest. */
export type Product = (
	a: Float64Array,
	b: Float64Array,
	k: number,
) => Float64Array | Promise<Float64Array>;

/**
 * As `orthonormalise`, by products alone: with Y Yᵀ = L Lᵀ the rows of L⁻¹ Y are orthonormal, twice for full accuracy (CholeskyQR2,
 * Yamamoto et al. 2015). Rows that depend on each other are left to Gram and Schmidt.
 */
export async function orthonormaliseBy(
	product: Product,
	rows: Float64Array,
	n: number,
	against: Float64Array = new Float64Array(0),
): Promise<Float64Array> {
	const k = rows.length / n;
	let y: Float64Array = rows.slice();
	for (let pass = 0; pass < 2; pass++) {
		if (against.length > 0) {
			const onto = await product(
				await product(y, against, n),
				transpose(against, n),
				against.length / n,
			);
			y = y.map((x, i) => x - (onto[i] as number));
		}
		if (pass === 0) unitLengths(y, n);
		let inverse: Float64Array; // L⁻¹, [k, k]
		try {
			inverse = inverseLower(factor(await product(y, y, n), k), k);
		} catch {
			return orthonormalise(rows, n, against);
		}
		y = await product(inverse, transpose(y, n), k);
	}
	return y;
}

function unitLengths(rows: Float64Array, n: number): void {
	for (let i = 0; i < rows.length; i += n) {
		const row = rows.subarray(i, i + n);
		const length = norm(row) || 1;
		for (let j = 0; j < n; j++) row[j] = (row[j] as number) / length;
	}
}

/** L⁻¹ of lower triangular L [k, k]. */
function inverseLower(l: Float64Array, k: number): Float64Array {
	const columns = new Float64Array(k * k);
	const unit = new Float64Array(k);
	for (let i = 0; i < k; i++) {
		unit.fill(0);
		unit[i] = 1;
		columns.set(solveLower(l, k, unit), i * k);
	}
	return transpose(columns, k);
}

export interface LeadingOptions {
	/** Default `timesTransposed`, and Gram-Schmidt. */
	readonly product?: Product;
	/** Rows of the first block; default max(16, n / 32). It grows as needed. */
	readonly block?: number;
	/** Products between two Rayleigh-Ritz steps; default 1. Where products are quick, the small eigenproblem of a step costs more. */
	readonly powers?: number;
	/** Above this rank the full decomposition is called cheaper; default n / 3. */
	readonly maximumRank?: number;
	/**
	 * Largest residual ‖A u − θ u‖ of a returned vector, as a share of the largest eigenvalue; default 1e-5. Measured at
	 * n = 1536, slowly falling spectrum, true rank 240: 1e-5 finds 240, 1e-4 finds 243 in half the time, 1e-3 finds 253.
	 */
	readonly tolerance?: number;
	/** Products with one block size before giving up; default 200. */
	readonly maximumIterations?: number;
}

export type Leading =
	| (Eigen & {
			readonly found: true;
			readonly products: number /* rows multiplied in all */;
	  })
	/** The rank wanted is about `about`, or convergence too slow: decompose the whole matrix instead. */
	| { readonly found: false; readonly about: number };

/**
 * The fewest leading eigenpairs of a symmetric positive semidefinite matrix whose eigenvalues sum to `energy` · `trace`.
 * `multiply` maps rows [k, n] to rows · A. Ritz values never exceed the eigenvalues they stand for, so the energy is truly
 * captured; that the count is the fewest holds to the tolerance (an eigenvalue is off by its residual squared over the gap).
 */
export async function leadingEigen(
	multiply: (
		rows: Float64Array,
		k: number,
	) => Float64Array | Promise<Float64Array>,
	n: number,
	trace: number,
	energy: number,
	random: Random,
	{
		product,
		powers = 1,
		block = Math.max(16, n >> 5),
		maximumRank = Math.floor(n / 3),
		tolerance = 1e-5,
		maximumIterations = 200,
	}: LeadingOptions = {},
): Promise<Leading> {
	const target = energy * trace;
	if (!(target > 0))
		return {
			found: true,
			values: new Float64Array(0),
			vectors: new Float64Array(0),
			products: 0,
		};
	const times: Product = product ?? timesTransposed;
	const orthonormal = (rows: Float64Array) =>
		product ? orthonormaliseBy(product, rows, n) : orthonormalise(rows, n);
	let basis = await orthonormal(normals(Math.min(n, block), n, random)); // [b, n]
	let products = 0;
	for (let iteration = 1; iteration <= maximumIterations; iteration++) {
		for (let power = 1; power < powers; power++) {
			products += basis.length / n;
			basis = await orthonormal(await multiply(basis, basis.length / n));
		}
		const size = basis.length / n;
		const image = await multiply(basis, size); // [b, n]
		products += size;
		// Rayleigh-Ritz: H = Q A Qᵀ = S Θ Sᵀ; Ritz vectors Sᵀ Q, their images Sᵀ Q A
		const { values, vectors: ritz } = symmetricEigen(
			await times(basis, image, n),
			size,
		);
		const images = await times(ritz, transpose(image, n), size); // [b, n]
		const { rank, sum } = fewest(values, target);
		const missing = target - sum;
		if (missing <= 0) {
			const leading = await times(
				ritz.slice(0, rank * size),
				transpose(basis, n),
				size,
			); // [rank, n]
			if (
				largestResidual(leading, images, values, rank, n) <=
				tolerance * (values[0] as number)
			) {
				return {
					found: true,
					values: values.slice(0, rank),
					vectors: leading,
					products,
				};
			}
			if (iteration === maximumIterations) return { found: false, about: rank };
		}
		basis = await orthonormal(images);
		// Further directions hold no more than about the smallest Ritz value each: grow by what the missing energy needs,
		// at most twofold at a time, and keep a margin above the rank, since the rate of convergence is λ_{b+1} / λ_rank.
		const smallest = Math.max(values[size - 1] as number, 1e-300); // beside a session a denormal number counts as 0
		const settled = iteration % 3 === 0; // the values of a new block rise for some products first
		const wanted =
			missing > 0 ? size + missing / smallest : rank + Math.max(8, rank / 4);
		if (settled && missing > 0 && wanted > maximumRank)
			return { found: false, about: Math.ceil(wanted) };
		if (settled && rank > maximumRank) return { found: false, about: rank };
		const more =
			Math.min(
				n,
				2 * size,
				Math.ceil(missing > 0 ? wanted * 1.25 + 8 : wanted),
			) -
			basis.length / n;
		if (more > 0 && (settled || missing <= 0))
			basis = concat(basis, orthonormalise(normals(more, n, random), n, basis));
	}
	return { found: false, about: basis.length / n };
}

/** How many of the leading values reach the target (all, if none do), and what they sum to. */
function fewest(
	values: Float64Array,
	target: number,
): { rank: number; sum: number } {
	let sum = 0;
	let rank = 0;
	while (rank < values.length && sum < target) sum += values[rank++] as number;
	return { rank, sum };
}

function largestResidual(
	vectors: Float64Array,
	images: Float64Array,
	values: Float64Array,
	rank: number,
	n: number,
): number {
	let largest = 0;
	for (let i = 0; i < rank; i++) {
		let sum = 0;
		for (let j = i * n; j < (i + 1) * n; j++)
			sum +=
				((images[j] as number) -
					(values[i] as number) * (vectors[j] as number)) **
				2;
		largest = Math.max(largest, sum);
	}
	return Math.sqrt(largest);
}

const normals = (k: number, n: number, random: Random) =>
	Float64Array.from({ length: k * n }, () => random.normal());

/** Rows of a, then rows of b. */
export function concat(a: Float64Array, b: Float64Array): Float64Array {
	const out = new Float64Array(a.length + b.length);
	out.set(a);
	out.set(b, a.length);
	return out;
}
