/** metrics.image.json and metrics.continual.json; those of anomaly maps are in maps.ts. */
import {
	averageIncremental,
	average,
	backwardTransfer,
	forgetting,
	forwardTransfer,
	learning,
	type Matrix,
} from "../metrics/continual.ts";
import { auroc, averagePrecision, f1Max } from "../metrics/image.ts";
import type { Check } from "./compare.ts";

export const metricsImage: Check = async (dir) =>
	dir
		.json<
			{
				kind: string;
				labels: number[];
				scores: number[];
				auroc: number;
				averagePrecision: number;
				f1Max: number;
			}[]
		>("metrics.image.json")
		.flatMap((c) =>
			(
				[
					["auroc", auroc],
					["averagePrecision", averagePrecision],
					["f1Max", f1Max],
				] as const
			).map(([name, metric]) => ({
				name: `metrics.image ${c.kind} ${name}`,
				error: Math.abs(
					(metric(c.scores, c.labels).value ?? Number.NaN) - c[name],
				),
				tolerance: 1e-9,
			})),
		);

export const metricsContinual: Check = async (dir) => {
	const json = dir.json<
		Record<string, number> & { matrix: Matrix; untrained: number[] }
	>("metrics.continual.json");
	const found = {
		average: average(json.matrix),
		averageIncremental: averageIncremental(json.matrix),
		learning: learning(json.matrix),
		backwardTransfer: backwardTransfer(json.matrix),
		forwardTransfer: forwardTransfer(json.matrix, json.untrained),
		forgetting: forgetting(json.matrix),
	};
	return Object.entries(found).map(([name, m]) => ({
		name: `metrics.continual ${name}`,
		error: Math.abs((m.value ?? Number.NaN) - (json[name] ?? Number.NaN)),
		tolerance: 1e-9,
	}));
};
