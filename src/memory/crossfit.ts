/** Cross-fitted scores of densities: which of them calibration may read, and what they are once the density has moved. */
import {
	type Gaussian,
	gaussianOf,
	leaveOneOut,
	ledoitWolf,
	type Moments,
	type Rows,
} from "../linalg/covariance.ts";
import type { CrossFitted } from "./memory.ts";

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
