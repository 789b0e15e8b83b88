/**
 * Densities of good images and their cross-fitted scores: which images are too odd to be learnt, which scores calibration may read, and
 * what they are once the density has moved.
 */
import { calibrate, fitTail } from "../calibration.ts";
import {
	concatRows,
	type Gaussian,
	gaussianOf,
	leaveOneOut,
	ledoitWolf,
	type Moments,
	momentsOf,
	type Rows,
	rowOf,
	squaredDistances,
} from "../linalg/covariance.ts";
import type { CrossFitted } from "./memory.ts";
import { rounded } from "./stored.ts";

/** The Gaussian of moments, and the squared distances of some of its samples as if each had not been learnt. */
export function densityOf(
	moments: Moments,
	samples: Rows,
): { readonly gaussian: Gaussian; readonly scores: Float64Array } {
	const shrinkage = ledoitWolf(moments);
	return {
		gaussian: gaussianOf(moments, shrinkage),
		scores: leaveOneOut(moments, shrinkage).squaredDistances(
			samples,
			moments.mean,
			moments.n,
		),
	};
}

interface LearntDensity {
	/** As they are stored: rounded. */
	readonly moments: Moments;
	readonly gaussian: Gaussian;
	/** Of all images: of one that is odd as it is, of another as if it had not been learnt. */
	readonly scores: Float64Array;
}

/** Fewer images do not tell what is extreme. */
const ENOUGH = 32;

/**
 * The Gaussian of images [n, D]. `robust`: without those that hardly belong to them, for a few defective images among the good ones must not widen it. One step of
 * reweighting by robust distances (Rousseeuw & Leroy 1987); the first distances are leave-one-out, and odd is one of
 * which less than one image of the folder would be as far by chance. Moments of what is kept merge exactly.
 */
export function learntDensity(
	samples: Rows,
	{ robust }: { readonly robust: boolean },
): LearntDensity {
	const { n } = samples;
	const all = rounded(momentsOf(samples));
	const whole = { moments: all, ...densityOf(all, samples) };
	if (!robust || n < ENOUGH) return whole;
	const tail = fitTail("gamma", whole.scores);
	const limit = Math.log10(n);
	const odd = Array.from(whole.scores, (s) => calibrate(tail, s) > limit);
	if (!odd.includes(true)) return whole;
	const kept = chosen(samples, (i) => odd[i] === false);
	const moments = rounded(momentsOf(kept));
	const { gaussian, scores } = densityOf(moments, kept);
	const others = squaredDistances(
		gaussian,
		chosen(samples, (i) => odd[i] === true),
	);
	let [k, o] = [0, 0];
	return {
		moments,
		gaussian,
		scores: Float64Array.from(odd, (is) =>
			is ? (others[o++] as number) : (scores[k++] as number),
		),
	};
}

function chosen(rows: Rows, which: (i: number) => boolean): Rows {
	const picked = [...Array(rows.n).keys()].filter(which);
	return concatRows(
		picked.map((i) => ({ n: 1, d: rows.d, data: rowOf(rows, i) })),
		rows.d,
	);
}

/**
 * What calibration may read of leave-one-out scores. Where weights trained on some images and not on others, only the
 * untrained ones: the network has been pulled towards the rest. Held-out images always count, at their plain scores.
 */
export function readable(
	scores: Float64Array,
	trained: readonly boolean[],
	heldOut: Float64Array,
): CrossFitted {
	const untrained = scores.filter((_, i) => !trained[i]);
	const rest = scores.filter((_, i) => trained[i]);
	if (untrained.length === 0 || rest.length === 0)
		return { scores: joined(scores, heldOut), optimism: null };
	const ratio = mean(untrained) / mean(rest);
	return {
		scores: joined(untrained, heldOut),
		optimism: ratio > 0 && Number.isFinite(ratio) ? Math.log(ratio) : null,
	};
}

/**
 * Scores measured under `from`, brought to the scale of `to`, which holds the same images (and more, or moved ones): times the
 * change of their mean. Scores against a single image have no such mean and are dropped: there is nothing to compare with.
 */
export function rescaled(
	crossFitted: CrossFitted,
	from: Moments,
	to: Moments,
	moved = false,
): CrossFitted {
	const before = leaveOneOut(from, ledoitWolf(from)).expected(
		from,
		from.mean,
		from.n,
	);
	const after = leaveOneOut(to, ledoitWolf(to)).expected(
		moved ? to : from,
		to.mean,
		to.n,
	);
	if (before === null || after === null)
		return { ...crossFitted, scores: new Float64Array(0) };
	return before > 0
		? {
				...crossFitted,
				scores: crossFitted.scores.map((score) => (score * after) / before),
			}
		: crossFitted;
}

export const joined = (a: Float64Array, b: Float64Array): Float64Array => {
	const out = new Float64Array(a.length + b.length);
	out.set(a);
	out.set(b, a.length);
	return out;
};

const mean = (values: Float64Array): number =>
	values.reduce((sum, value) => sum + value, 0) / values.length;
