/**
 * The image metrics, all in one place: a new one is a line in this table. Each is computed over the rows of one category's
 * score file; pixel metrics, which need the maps, reach results.ts as numbers and have their titles in `pixelMetrics`.
 */
import { accuracy, auroc, averagePrecision, f1Max } from "./image.ts";
import { type Measured, meanOf, undefinedBecause } from "./measured.ts";

export type Layout = "mvtec" | "loco" | "folder";

/** A row of scores/after-NN/<dataset>.<category>.csv. */
export interface ScoreRow {
	readonly path: string;
	/** The folder's name under test/; "good" for good images. */
	readonly defect: string;
	/** 0 good, 1 anomalous. */
	readonly label: number;
	/** Higher: more anomalous. */
	readonly score: number;
	/** NaN: none is stored. */
	readonly threshold: number;
	/** The category the image was scored as; "": unknown product, or scored without routing. */
	readonly routed: string;
}

export interface MetricDefinition {
	readonly title: string;
	readonly better: "higher" | "lower";
	/** What guessing gives: the baseline of forward transfer when no untrained network was measured. */
	readonly chance: number | null;
	/** Layouts it exists for; a task of another layout has null, without counting as missing. */
	readonly layouts?: readonly Layout[];
}

export interface ImageMetric extends MetricDefinition {
	compute(rows: readonly ScoreRow[], layout: Layout): Measured;
}

/** LOCO names the kind of a defect by its folder. */
export function kindOf(
	defect: string,
): "good" | "logical" | "structural" | null {
	if (defect === "good") return "good";
	if (defect === "logical_anomalies") return "logical";
	return defect === "structural_anomalies" ? "structural" : null;
}

const scoresOf = (rows: readonly ScoreRow[]) => rows.map((row) => row.score);
const labelsOf = (rows: readonly ScoreRow[]) => rows.map((row) => row.label);
const aurocOf = (rows: readonly ScoreRow[]) =>
	auroc(scoresOf(rows), labelsOf(rows));

/** AUROC of one kind of anomalies against all good images. */
function aurocOfKind(
	rows: readonly ScoreRow[],
	layout: Layout,
	kind: "logical" | "structural",
): Measured {
	if (layout !== "loco") return undefinedBecause("LOCO products only");
	const chosen = rows.filter(
		(row) => row.label === 0 || kindOf(row.defect) === kind,
	);
	return chosen.some((row) => row.label === 1)
		? aurocOf(chosen)
		: undefinedBecause(`no ${kind} anomalies`);
}

export const metrics = {
	imageAuroc: {
		title: "image AUROC",
		better: "higher",
		chance: 0.5,
		/** LOCO with both kinds: the official mean of logical and structural; else all anomalies against good. */
		compute(rows, layout) {
			const kinds = [
				aurocOfKind(rows, layout, "logical"),
				aurocOfKind(rows, layout, "structural"),
			];
			return kinds.every((kind) => kind.value !== null)
				? meanOf(kinds)
				: aurocOf(rows);
		},
	},
	imageAurocAll: {
		title: "image AUROC, all against good",
		better: "higher",
		chance: 0.5,
		compute: aurocOf,
	},
	imageAveragePrecision: {
		title: "image average precision",
		better: "higher",
		chance: null,
		compute: (rows) => averagePrecision(scoresOf(rows), labelsOf(rows)),
	},
	imageF1Max: {
		title: "image F1-max",
		better: "higher",
		chance: null,
		compute: (rows) => f1Max(scoresOf(rows), labelsOf(rows)),
	},
	accuracy: {
		title: "accuracy",
		better: "higher",
		chance: null,
		compute: (rows) =>
			accuracy(
				scoresOf(rows),
				labelsOf(rows),
				rows.map((row) => row.threshold),
			),
	},
	imageAurocLogical: {
		title: "image AUROC, logical",
		better: "higher",
		chance: 0.5,
		layouts: ["loco"],
		compute: (rows, layout) => aurocOfKind(rows, layout, "logical"),
	},
	imageAurocStructural: {
		title: "image AUROC, structural",
		better: "higher",
		chance: 0.5,
		layouts: ["loco"],
		compute: (rows, layout) => aurocOfKind(rows, layout, "structural"),
	},
} satisfies Record<string, ImageMetric>;

/** Computed from the anomaly maps (pixel.ts), named here so that titles and directions have one home. */
export const pixelMetrics = {
	pixelAuroc: { title: "pixel AUROC", better: "higher", chance: 0.5 },
	pixelAveragePrecision: {
		title: "pixel average precision",
		better: "higher",
		chance: null,
	},
	aupro30: { title: "AUPRO to FPR .3", better: "higher", chance: null },
	aupro05: { title: "AUPRO to FPR .05", better: "higher", chance: null },
	auSpro05: {
		title: "AU-sPRO to FPR .05",
		better: "higher",
		chance: null,
		layouts: ["loco"],
	},
	auSpro05Logical: {
		title: "AU-sPRO to FPR .05, logical",
		better: "higher",
		chance: null,
		layouts: ["loco"],
	},
	auSpro05Structural: {
		title: "AU-sPRO to FPR .05, structural",
		better: "higher",
		chance: null,
		layouts: ["loco"],
	},
	/** As `imageAuroc`, the score being the map's highest value: MVTec's way of scoring an image by its map. */
	imageAurocMapMax: {
		title: "image AUROC of the map's maximum",
		better: "higher",
		chance: 0.5,
	},
} satisfies Record<string, MetricDefinition>;

/** A group's images pooled into one list, as the DNE paper's tables do; only where a task has several categories. */
export const pooledMetric: MetricDefinition = {
	title: "image AUROC, pooled over the group",
	better: "higher",
	chance: 0.5,
};

const definitions: Readonly<Record<string, MetricDefinition>> = {
	...metrics,
	...pixelMetrics,
	imageAurocPooled: pooledMetric,
};

/** The definition of a metric by its name in metrics.json; undefined for a name of someone else's. */
export const definitionOf = (name: string): MetricDefinition | undefined =>
	definitions[name];
