/**
 * The algebra of Gradient Projection Memory on Gram matrices, in float64: which directions of a layer's input space a task
 * uses. Saha, Garg & Roy, ICLR 2021, eq. 5-9, written with left singular vectors of the representation R [n, samples]; those
 * are the eigenvectors of the Gram matrix G = R Rᵀ [n, n], and the residual R − M Mᵀ R has the Gram (I − P) G (I − P), P = MMᵀ.
 *
 * Departures: R may come in parts that matter by themselves (the class row is one of 257 rows, yet the one DNE stores). Each
 * part weighs the same, G = Σ part / tr(part), and the threshold ε must be met by every part. At least one direction is taken
 * for the first task; ε = 0 takes none at all, so that it equals finetuning.
 */
import {
	concat,
	type Eigen,
	leadingEigen,
	orthonormalise,
	orthonormaliseBy,
	type Product,
	symmetricEigen,
	timesTransposed,
	transpose,
} from "../linalg/eigen.ts";
import type { Random } from "../random.ts";

/** Σ x xᵀ over the rows x of one kind that enter the layer. */
export interface GramPart {
	readonly name: string;
	readonly gram: Float64Array; // [n, n]
}

export interface Extension {
	/** Orthonormal, and orthogonal to the earlier basis; in order of the energy they add. */
	readonly added: Float64Array; // [k, n]
	/** Earlier and added directions. */
	readonly rank: number;
	/** Share of the layer's inputs that later tasks can still change: 1 − rank / n. */
	readonly free: number;
	/** Share of each part's energy that the whole basis holds, by name. */
	readonly kept: Readonly<Record<string, number>>;
}

/**
 * The fewest directions of the residual until those of `basis` and the new ones hold >= `threshold` of every part's energy.
 * `basis` [r, n] is orthonormal, empty for the first task; `random` starts the subspace iteration of wide layers.
 */
export async function extendBasis(
	parts: readonly GramPart[],
	basis: Float64Array,
	n: number,
	threshold: number,
	random: Random,
	product: Product = timesTransposed,
): Promise<Extension> {
	const live = parts
		.map((part) => ({ ...part, trace: traceOf(part.gram, n) }))
		.filter((part) => part.trace > 0); // a part without input asks for nothing
	const kept: number[] = [];
	for (const { gram, trace } of live)
		kept.push(sum(await energies(gram, basis, n, product)) / trace);
	const before = basis.length / n;
	let added: Float64Array = new Float64Array(0);
	if (
		threshold > 0 &&
		live.length > 0 &&
		(before === 0 || kept.some((share) => share < threshold))
	) {
		const weighted = new Float64Array(n * n);
		for (const { gram, trace } of live)
			for (let i = 0; i < weighted.length; i++)
				(weighted[i] as number) += (gram[i] as number) / trace;
		const residual = await residualGram(weighted, basis, n, product);
		// Every part lacks at most 1 − ε once their sum does: enough directions for the choice below, from which it takes the first.
		const wanted = sum(kept.map((share) => 1 - share)) - (1 - threshold);
		const { values, vectors } = await decompose(
			residual,
			n,
			wanted,
			random,
			product,
		);
		// (I − P) G (I − P) has the old basis in its null space: only directions with energy are new
		const floor = n * Number.EPSILON * live.length;
		const usable = values.findIndex((value) => value <= floor);
		const candidates = vectors.subarray(
			0,
			(usable < 0 ? values.length : usable) * n,
		);
		let k = 0;
		let gains: readonly Float64Array[] = []; // of 64 candidates at a time, a list a part
		while (
			k * n < candidates.length &&
			((before === 0 && k === 0) || kept.some((share) => share < threshold))
		) {
			if (k % 64 === 0)
				gains = await gainsOf(
					live,
					candidates.slice(k * n, (k + 64) * n),
					values.subarray(k, k + 64),
					n,
					product,
				);
			for (const [p, gain] of gains.entries())
				kept[p] = (kept[p] as number) + (gain[k % 64] as number);
			k++;
		}
		const chosen = candidates.slice(0, k * n);
		added =
			product === timesTransposed
				? orthonormalise(chosen, n, basis)
				: await orthonormaliseBy(product, chosen, n, basis);
	}
	const rank = before + added.length / n;
	return {
		added,
		rank,
		free: 1 - rank / n,
		kept: Object.fromEntries(
			live.map(({ name }, p) => [name, Math.min(1, kept[p] as number)]),
		),
	};
}

/** Share of each part's energy along each candidate. They sum to its eigenvalue, so the last part needs no product. */
async function gainsOf(
	parts: readonly { gram: Float64Array; trace: number }[],
	candidates: Float64Array,
	values: Float64Array,
	n: number,
	product: Product,
): Promise<Float64Array[]> {
	const gains: Float64Array[] = [];
	for (const { gram, trace } of parts.slice(0, -1)) {
		const energy = await energies(gram, candidates, n, product);
		gains.push(energy.map((e) => e / trace));
	}
	return [
		...gains,
		values.map((value, k) =>
			gains.reduce((rest, gain) => rest - (gain[k] as number), value),
		),
	];
}

/** gradient [m, n] − gradient M Mᵀ: the part of a weight change (rows of weights over n inputs) that M's inputs don't see. */
export async function projectOut(
	gradient: Float64Array,
	basis: Float64Array,
	n: number,
	product: Product = timesTransposed,
): Promise<Float64Array> {
	if (basis.length === 0) return gradient.slice();
	const onto = await product(
		await product(gradient, basis, n),
		transpose(basis, n),
		basis.length / n,
	); // [m, n]
	return gradient.map((x, i) => x - (onto[i] as number));
}

/** Earlier basis, then the added rows. */
export const joinBasis = (
	basis: Float64Array,
	{ added }: Extension,
): Float64Array => concat(basis, added);

/** (I − P) G (I − P) for symmetric G. */
async function residualGram(
	gram: Float64Array,
	basis: Float64Array,
	n: number,
	product: Product,
): Promise<Float64Array> {
	const half = await projectOut(gram, basis, n, product); // G (I − P)
	return projectOut(transpose(half, n), basis, n, product); // (I − P) G (I − P)
}

/** uᵀ G u for every row u. */
async function energies(
	gram: Float64Array,
	rows: Float64Array,
	n: number,
	product: Product,
): Promise<Float64Array> {
	if (rows.length === 0) return new Float64Array(0);
	const images = await product(rows, gram, n);
	return Float64Array.from({ length: rows.length / n }, (_, i) => {
		let total = 0;
		for (let j = i * n; j < (i + 1) * n; j++)
			total += (rows[j] as number) * (images[j] as number);
		return total;
	});
}

/**
 * Leading eigenvectors that hold at least `wanted` of the trace. From n = 1024 on subspace iteration is tried first; measured
 * at n = 1536 on one core it needs .4 s for rank 25 and 3.2 s for rank 92, the full decomposition 7.6 s at any rank.
 */
async function decompose(
	gram: Float64Array,
	n: number,
	wanted: number,
	random: Random,
	product: Product,
): Promise<Eigen> {
	const trace = traceOf(gram, n);
	if (n >= 1024) {
		const leading = await leadingEigen(
			(rows) => product(rows, gram, n),
			n,
			trace,
			Math.min(1, wanted / trace),
			random,
			product === timesTransposed
				? { maximumRank: Math.floor(n / 12) }
				: {
						product,
						powers: 4,
						block: n >> 3,
						maximumRank: n >> 1,
						tolerance: 1e-4,
					},
		);
		if (leading.found && leading.values.length > 0) return leading;
	}
	return symmetricEigen(gram, n);
}

function traceOf(gram: Float64Array, n: number): number {
	let trace = 0;
	for (let i = 0; i < n; i++) trace += gram[i * n + i] as number;
	return trace;
}

const sum = (values: Iterable<number>): number => {
	let total = 0;
	for (const value of values) total += value;
	return total;
};
