/** A qualification of figures that are made up, with names that would break a careless page. */
import type { Found } from "../../src/data/find.ts";
import type { Prediction } from "../../src/events.ts";
import {
	fitDetection,
	safeSizeAt,
	sizeAt,
} from "../../src/metrics/detection.ts";
import { rateOf } from "../../src/metrics/interval.ts";
import { verdictOf } from "../../src/predictor.ts";
import type { Detection } from "../../src/qualify/detection.ts";
import { gaugeOf } from "../../src/qualify/gauge.ts";
import { labelledOf } from "../../src/qualify/labelled.ts";
import type { Qualification } from "../../src/qualify/qualify.ts";
import type { ScoredGroup } from "../../src/qualify/scoring.ts";

export const hostile = `"><img src=x onerror=alert(1)>'&`;
export const hostileKind = "<script>alert(2)<x>";
export const task = `line/<b>"nut"`;

/** null: unusable. */
export const prediction = (
	score: number | null,
	more: Partial<Prediction> = {},
): Prediction => ({
	path: "somewhere.png",
	score,
	threshold: score === null ? null : 2,
	verdict:
		score === null
			? "unusable"
			: verdictOf({ score, threshold: 2, unknown: false }),
	anomalous: score === null ? null : score >= 2,
	task: score === null ? null : task,
	memoryVersion: 3,
	latencyMs: 1,
	reason: null,
	...more,
});

export const group = (
	name: string,
	scores: readonly (number | null)[],
	file = (i: number) => `${i}.png`,
): ScoredGroup => ({
	name,
	found: scores.map(
		(_, i): Found => ({
			path: `/data/${name}/${file(i)}`,
			name: `${name}/${file(i)}`,
			folder: "/data",
		}),
	),
	predictions: scores.map((score) => prediction(score)),
});

export const labelled = labelledOf(
	`/data/${hostile}`,
	[
		group("good", [0.1, 0.2, 1.9, 2.1, 2.5, null], (i) => `${i}-${hostile}`),
		group(hostileKind, [3, 4, 1.2, 2.05, 1.8], (i) => `${i}-${hostile}`),
	],
	task,
);

export const gauge = gaugeOf("/data/gauge", [
	group(hostile, [1.5, 2.5, 1.4]),
	group("steady", [0.1, 0.2, 0.15]),
	group("wavering", [1.2, 1.75, 1.3]),
	group("bad", [5, 5.5, 4.8]),
]);

const sizes = [
	[2, 0],
	[4, 3],
	[8, 6],
	[16, 10],
] as const;
const trials = sizes.flatMap(([diameter, hits]) =>
	Array.from({ length: 10 }, (_, i) => ({
		name: `${i}-${hostile}`,
		diameter,
		contrast: 40,
		score: i < hits ? 3 : 1,
		hit: i < hits,
	})),
);
const points = trials.map(({ diameter, hit }) => ({ size: diameter, hit }));
const { curve } = fitDetection(points);
if (!curve) throw new Error("no curve");

export const detection: Detection = {
	dir: "/data/of_a_line_with_a_name_that_is_longer_than_a_telephone_is_wide/good",
	untouched: rateOf(1, 11),
	stoppedUntouched: [hostile],
	unusable: [hostile],
	contrast: 40,
	roi: false,
	trials,
	sizes: sizes.map(([diameter, hits]) => ({
		diameter,
		hits: rateOf(hits, 10),
	})),
	curve,
	reason: null,
	a50: sizeAt(curve, 0.5, points),
	a90: sizeAt(curve, 0.9, points),
	a90Safe: safeSizeAt(curve, 0.9, points),
	mmPerPixel: 0.05,
};

export const qualification: Qualification = {
	task,
	routed: false,
	memoryVersion: 3,
	images: 50,
	threshold: 2,
	ownThreshold: false,
	falseAlarms: 0.01,
	labelled,
	gauge,
	detection,
	notes: [`The folder ${hostile} is gone.`],
};
