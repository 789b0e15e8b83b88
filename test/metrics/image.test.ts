import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
	accuracy,
	auroc,
	averagePrecision,
	f1Max,
} from "../../src/metrics/image.ts";
import { Random } from "../../src/random.ts";

// The second way: by definition, over all pairs and all thresholds.
function pairwiseAuroc(
	scores: readonly number[],
	labels: readonly number[],
	weights: readonly number[] = scores.map(() => 1),
): number {
	let won = 0;
	let pairs = 0;
	scores.forEach((s, i) => {
		scores.forEach((t, j) => {
			if (labels[i] !== 1 || labels[j] !== 0) return;
			const weight = (weights[i] as number) * (weights[j] as number);
			pairs += weight;
			won += weight * (s > t ? 1 : s === t ? 0.5 : 0);
		});
	});
	return won / pairs;
}

function atThreshold(
	scores: readonly number[],
	labels: readonly number[],
	t: number,
) {
	const shown = labels.filter((_, i) => (scores[i] as number) >= t);
	const hits = shown.filter((label) => label === 1).length;
	const positives = labels.filter((label) => label === 1).length;
	const precision = hits / shown.length;
	const recall = hits / positives;
	return {
		precision,
		recall,
		f1: hits === 0 ? 0 : (2 * precision * recall) / (precision + recall),
	};
}

const thresholdsOf = (scores: readonly number[]) =>
	[...new Set(scores)].sort((a, b) => b - a);

function sweptAveragePrecision(
	scores: readonly number[],
	labels: readonly number[],
): number {
	let before = 0;
	let sum = 0;
	for (const t of thresholdsOf(scores)) {
		const { precision, recall } = atThreshold(scores, labels, t);
		sum += (recall - before) * precision;
		before = recall;
	}
	return sum;
}

const sweptF1 = (scores: readonly number[], labels: readonly number[]) =>
	Math.max(
		...thresholdsOf(scores).map((t) => atThreshold(scores, labels, t).f1),
	);

/** Images with both classes and plenty of ties. */
const images = fc
	.array(
		fc.record({
			score: fc.oneof(
				fc.integer({ min: -3, max: 3 }),
				fc.double({ noNaN: true }),
			),
			label: fc.constantFrom(0, 1),
			weight: fc.integer({ min: 1, max: 5 }),
		}),
		{
			minLength: 2,
			maxLength: 40,
		},
	)
	.filter(
		(list) =>
			list.some((x) => x.label === 0) && list.some((x) => x.label === 1),
	)
	.map((list) => ({
		scores: list.map((x) => x.score),
		labels: list.map((x) => x.label),
		weights: list.map((x) => x.weight),
	}));

describe("against golden/metrics.image.json", () => {
	interface Case {
		kind: string;
		labels: number[];
		scores: number[];
		auroc: number;
		averagePrecision: number;
		f1Max: number;
	}
	const file = new URL(
		"../../../shared/golden/metrics.image.json",
		import.meta.url,
	);
	test.skipIf(!existsSync(file))(
		"every case to 1e-9 (skipped where ../shared/golden is absent)",
		() => {
			const cases = JSON.parse(readFileSync(file, "utf8")) as Case[];
			for (const { labels, scores, ...expected } of cases) {
				expect(auroc(scores, labels).value).toBeCloseTo(expected.auroc, 9);
				expect(averagePrecision(scores, labels).value).toBeCloseTo(
					expected.averagePrecision,
					9,
				);
				expect(f1Max(scores, labels).value).toBeCloseTo(expected.f1Max, 9);
			}
		},
	);
});

describe("any images", () => {
	test("equal the definition over all pairs and thresholds", () => {
		fc.assert(
			fc.property(images, ({ scores, labels, weights }) => {
				expect(auroc(scores, labels).value).toBeCloseTo(
					pairwiseAuroc(scores, labels),
					12,
				);
				expect(auroc(scores, labels, weights).value).toBeCloseTo(
					pairwiseAuroc(scores, labels, weights),
					12,
				);
				expect(averagePrecision(scores, labels).value).toBeCloseTo(
					sweptAveragePrecision(scores, labels),
					12,
				);
				expect(f1Max(scores, labels).value).toBeCloseTo(
					sweptF1(scores, labels),
					12,
				);
			}),
		);
	});

	test("a whole weight is a repeated image", () => {
		fc.assert(
			fc.property(images, ({ scores, labels, weights }) => {
				const repeat = (list: readonly number[]) =>
					list.flatMap((x, i) => Array<number>(weights[i] as number).fill(x));
				expect(auroc(scores, labels, weights).value).toBe(
					auroc(repeat(scores), repeat(labels)).value,
				);
			}),
		);
	});

	test("do not change under a strictly increasing map", () => {
		fc.assert(
			fc.property(images, ({ scores, labels }) => {
				const order = thresholdsOf(scores);
				const ranks = scores.map((s) => -(order.indexOf(s) ** 3));
				for (const metric of [auroc, averagePrecision, f1Max])
					expect(metric(ranks, labels)).toEqual(metric(scores, labels));
			}),
		);
	});

	test("AUROC of negated scores, or of swapped labels, is the complement", () => {
		fc.assert(
			fc.property(images, ({ scores, labels }) => {
				const value = auroc(scores, labels).value as number;
				expect(
					auroc(
						scores.map((s) => -s),
						labels,
					).value,
				).toBeCloseTo(1 - value, 12);
				expect(
					auroc(
						scores,
						labels.map((l) => 1 - l),
					).value,
				).toBeCloseTo(1 - value, 12);
			}),
		);
	});
});

describe("edges", () => {
	test("one class or nothing is null with the reason", () => {
		for (const metric of [auroc, averagePrecision, f1Max]) {
			expect(metric([], [])).toEqual({ value: null, reason: "no images" });
			expect(metric([1, 2], [0, 0])).toEqual({
				value: null,
				reason: "no anomalous images",
			});
			expect(metric([1, 2], [1, 1])).toEqual({
				value: null,
				reason: "no good images",
			});
		}
		expect(accuracy([], [], [])).toEqual({ value: null, reason: "no images" });
		expect(accuracy([1], [1], [Number.NaN])).toEqual({
			value: null,
			reason: "no threshold is stored",
		});
	});

	test("equal scores give an AUROC of one half", () => {
		expect(auroc([7, 7, 7], [0, 1, 0]).value).toBe(0.5);
	});

	test("infinite scores are compared like any other", () => {
		expect(auroc([Infinity, Infinity, -Infinity], [1, 0, 0]).value).toBe(0.75);
		expect(averagePrecision([Infinity, 0, -Infinity], [1, 0, 0]).value).toBe(1);
		expect(accuracy([Infinity, -Infinity], [1, 0], [2, 2]).value).toBe(1);
	});

	test("a score at the threshold is anomalous; weights count", () => {
		expect(accuracy([2, 1.99, 3], [1, 0, 0], [2, 2, 2]).value).toBeCloseTo(
			2 / 3,
			15,
		);
		expect(accuracy([2, 3], [1, 0], [2, 2], [3, 1]).value).toBe(0.75);
	});

	test("what is not a score, a label or of one length is an error that says where", () => {
		expect(() => auroc([1, Number.NaN], [0, 1])).toThrow(
			"Score 2 of 2 is not a number",
		);
		expect(() => auroc([1, 2], [0, 2])).toThrow("Label 2 of 2 is 2");
		expect(() => auroc([1, 2], [0])).toThrow("2, 1");
	});
});

const python = process.env.KEEPSIGHT_PYTHON;
test.skipIf(!python)(
	"against scikit-learn (skipped unless KEEPSIGHT_PYTHON names a python that has it)",
	() => {
		const random = new Random("sklearn");
		const cases = Array.from({ length: 20 }, (_, k) => {
			const labels = Array.from({ length: 300 }, (__, i) =>
				i < 2 ? i : Number(random.uniform() < 0.3),
			);
			const scores = labels
				.map((label) => label + random.normal())
				.map((s) => (k % 2 ? Math.round(s * 2) : s));
			return {
				labels,
				scores,
				weights: labels.map(() => random.uniform(0.1, 3)),
			};
		});
		const script = `
import json, sys, numpy as np
from sklearn.metrics import roc_auc_score, average_precision_score, precision_recall_curve
out = []
for c in json.load(sys.stdin):
    p, r, _ = precision_recall_curve(c["labels"], c["scores"])
    out.append([roc_auc_score(c["labels"], c["scores"]), roc_auc_score(c["labels"], c["scores"], sample_weight=c["weights"]),
                average_precision_score(c["labels"], c["scores"]), float((2 * p * r / np.maximum(p + r, 1e-300)).max())])
print(json.dumps(out))`;
		const expected = JSON.parse(
			execFileSync(python as string, ["-c", script], {
				input: JSON.stringify(cases),
				encoding: "utf8",
			}),
		) as number[][];
		cases.forEach(({ labels, scores, weights }, i) => {
			const ours = [
				auroc(scores, labels),
				auroc(scores, labels, weights),
				averagePrecision(scores, labels),
				f1Max(scores, labels),
			];
			ours.forEach((m, k) => {
				expect(m.value).toBeCloseTo(expected[i]?.[k] as number, 12);
			});
		});
	},
	60_000,
);
