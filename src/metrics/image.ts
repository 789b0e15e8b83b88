/**
 * Metrics of a list of scores against labels (1 anomalous, 0 good; higher score, more anomalous), exact and in O(n log n):
 * AUROC as the Mann-Whitney statistic with ties one half, average precision as scikit-learn's step sum (no interpolation),
 * F1 at its best threshold, accuracy. All but accuracy need both classes and are null with a reason otherwise.
 * Infinite scores are compared like any other; NaN is an error.
 */
import { fail } from "../errors.ts";
import { type Measured, measured, undefinedBecause } from "./measured.ts";

/** The one rule by which a score becomes a verdict, here and in the detector. */
export const isAnomalous = (score: number, threshold: number): boolean =>
	score >= threshold;

/**
 * P(score of an anomalous image > score of a good one) + ½ P(equal).
 * With weights, images of either class are drawn in proportion to them: Σ wᵢ wⱼ ([sᵢ > sⱼ] + ½ [sᵢ = sⱼ]) / Σ wᵢ Σ wⱼ.
 */
export function auroc(
	scores: ArrayLike<number>,
	labels: ArrayLike<number>,
	weights?: ArrayLike<number>,
): Measured {
	const { steps, positives, negatives } = descend(scores, labels, weights);
	const reason = oneClass(positives, negatives);
	if (reason !== null) return undefinedBecause(reason);
	let above = 0; // weight of the anomalous images above the current score
	let sum = 0;
	for (const { positive, negative } of steps) {
		sum += negative * (above + positive / 2);
		above += positive;
	}
	return measured(sum / (positives * negatives));
}

/** Σ over distinct scores, from the highest, of (recall − previous recall) · precision. */
export function averagePrecision(
	scores: ArrayLike<number>,
	labels: ArrayLike<number>,
): Measured {
	const { steps, positives, negatives } = descend(scores, labels);
	const reason = oneClass(positives, negatives);
	if (reason !== null) return undefinedBecause(reason);
	return measured(
		steps.reduce(
			(sum, { positive, hits, shown }) =>
				sum + (positive / positives) * (hits / shown),
			0,
		),
	);
}

/** The largest F1 = 2 TP / (2 TP + FP + FN) of "score >= t" over all distinct scores t. */
export function f1Max(
	scores: ArrayLike<number>,
	labels: ArrayLike<number>,
): Measured {
	const { steps, positives, negatives } = descend(scores, labels);
	const reason = oneClass(positives, negatives);
	if (reason !== null) return undefinedBecause(reason);
	return measured(
		steps.reduce(
			(best, { hits, shown }) =>
				Math.max(best, (2 * hits) / (shown + positives)), // TP + FP = shown, TP + FN = positives
			0,
		),
	);
}

/** Share of images on the right side of their own threshold; with weights, of the weight. */
export function accuracy(
	scores: ArrayLike<number>,
	labels: ArrayLike<number>,
	thresholds: ArrayLike<number>,
	weights?: ArrayLike<number>,
): Measured {
	check(scores, labels, thresholds, ...(weights ? [weights] : []));
	let right = 0;
	let total = 0;
	for (let i = 0; i < scores.length; i++) {
		const threshold = thresholds[i] as number;
		if (Number.isNaN(threshold))
			return undefinedBecause("no threshold is stored");
		const weight = weights?.[i] ?? 1;
		total += weight;
		if (isAnomalous(scores[i] as number, threshold) === (labels[i] === 1))
			right += weight;
	}
	return total > 0 ? measured(right / total) : undefinedBecause("no images");
}

/** A distinct score and the images (or weight) of either class that have exactly it. */
interface Step {
	readonly score: number;
	positive: number;
	negative: number;
	/** Of the anomalous, and of both, that have this score or a higher one. */
	hits: number;
	shown: number;
}

/** Distinct scores from the highest to the lowest. */
function descend(
	scores: ArrayLike<number>,
	labels: ArrayLike<number>,
	weights?: ArrayLike<number>,
) {
	check(scores, labels, ...(weights ? [weights] : []));
	const at = (i: number) => scores[i] as number;
	const order = Array.from({ length: scores.length }, (_, i) => i).sort(
		(i, j) => (at(i) > at(j) ? -1 : at(i) < at(j) ? 1 : 0),
	);
	const steps: Step[] = [];
	let positives = 0;
	let negatives = 0;
	for (const i of order) {
		const score = at(i);
		let step = steps.at(-1);
		if (step?.score !== score) {
			step = { score, positive: 0, negative: 0, hits: 0, shown: 0 };
			steps.push(step);
		}
		const weight = weights?.[i] ?? 1;
		if (labels[i] === 1) {
			step.positive += weight;
			positives += weight;
		} else {
			step.negative += weight;
			negatives += weight;
		}
		step.hits = positives;
		step.shown = positives + negatives;
	}
	return { steps, positives, negatives };
}

function oneClass(positives: number, negatives: number): string | null {
	if (positives === 0 && negatives === 0) return "no images";
	if (positives === 0) return "no anomalous images";
	return negatives === 0 ? "no good images" : null;
}

function check(
	scores: ArrayLike<number>,
	labels: ArrayLike<number>,
	...others: readonly ArrayLike<number>[]
): void {
	const lengths = [scores, labels, ...others].map((list) => list.length);
	const count = scores.length;
	if (lengths.some((n) => n !== count))
		throw fail("LENGTHS_DIFFER", {
			what: "Scores, labels, thresholds or weights",
			lengths,
		});
	for (let index = 0; index < count; index++) {
		if (Number.isNaN(scores[index]))
			throw fail("SCORE_NOT_A_NUMBER", { index, count });
		const value = labels[index] as number;
		if (value !== 0 && value !== 1)
			throw fail("LABEL_NOT_BINARY", { index, count, value });
	}
}
