/**
 * visualizations/curves.json: what charts need beyond scores and metrics. PRO curves come from the anomaly maps, the projection from the
 * embeddings, and neither is kept elsewhere, so whoever has them at hand writes them down and the report draws them.
 */
import { z } from "zod";
import { fail } from "../errors.ts";
import { evaluateAnew, type Run } from "../run.ts";
import { readJsonObject, stableJson } from "../storage.ts";

const format = 1;
const name = "curves.json";

/** Shares, 0..1. */
export type CurvePoint = readonly [falsePositives: number, found: number];

export interface EmbeddingPoint {
	readonly task: string;
	readonly label: 0 | 1;
	readonly x: number;
	readonly y: number;
}

export interface Curves {
	/** Category -> per-region overlap over the share of defect-free pixels above a threshold, ascending from (0, 0). */
	readonly pro?: Readonly<Record<string, readonly CurvePoint[]>>;
	readonly projection?: {
		readonly points: readonly EmbeddingPoint[];
		/** Share of the variance each component shows (projection.ts). */
		readonly explained: readonly [number, number];
	};
}

const pair = z.tuple([z.number(), z.number()]);
const curvesSchema = z.object({
	pro: z.record(z.string(), z.array(pair)).optional(),
	projection: z
		.object({
			points: z.array(
				z.object({
					task: z.string(),
					label: z.union([z.literal(0), z.literal(1)]),
					x: z.number(),
					y: z.number(),
				}),
			),
			explained: pair,
		})
		.optional(),
});

/** Replaces what is given, keeps the rest. */
export function writeCurves(run: Run, curves: Curves): void {
	run.writeVisualization(
		name,
		stableJson({ format, ...readCurves(run), ...curves }),
	);
}

/** Empty where none were written. */
export function readCurves(run: Run): Curves {
	const path = run.visualization(name);
	const remedy = evaluateAnew(run.dir);
	const json = readJsonObject(path, remedy);
	if (!json) return {};
	const { format: found, pro, projection } = json;
	if (found !== format)
		throw fail("FORMAT_VERSION", { path, found, known: format });
	if (!curvesSchema.safeParse({ pro, projection }).success)
		throw fail("DAMAGED", {
			path,
			problem: "a curve is not a list of points",
			remedy,
		});
	return {
		...(pro !== undefined && { pro }),
		...(projection !== undefined && { projection }),
	} as Curves;
}
