/**
 * metrics.json, metrics.csv and the tables that `eval` prints, all from the rows of the score files: pure functions, so
 * that anyone's scores in our layout give the same numbers. What needs the maps (pixel metrics) comes in as numbers.
 *
 * Choices made here: a cell of a task with several categories is the mean over them; forward transfer is against the
 * untrained network where it was evaluated (`after` −1), else against chance (.5 for an AUROC); pooled figures weight tasks
 * equally within each label, except `imageAurocPooled`, the plain pooling inside one group that the DNE paper prints.
 */
import { z } from "zod";
import * as continual from "./continual.ts";
import { accuracy, auroc, isAnomalous } from "./image.ts";
import {
	definitionOf,
	type ImageMetric,
	type Layout,
	metrics,
	pixelMetrics,
	type ScoreRow,
} from "./index.ts";
import { clopperPearson, type Interval } from "./interval.ts";
import {
	type Measured,
	meanOf,
	measured,
	undefinedBecause,
} from "./measured.ts";

export interface CategoryScores {
	/** Row of the matrices, 0-based: the task learnt last; −1: the untrained network. */
	readonly after: number;
	readonly category: string;
	readonly rows: readonly ScoreRow[];
	/** Metrics of the anomaly maps by name. */
	readonly pixel?: Readonly<Record<string, Measured>>;
}

export interface ResultsInput {
	/** In the order of learning. */
	readonly tasks: readonly {
		readonly id: string;
		readonly categories: readonly {
			readonly id: string;
			readonly layout: Layout;
		}[];
	}[];
	readonly scores: readonly CategoryScores[];
	/** The false-alarm rate that the thresholds aim at. */
	readonly falseAlarms: number;
	readonly memory: MemoryBytes;
	/** Metric name -> each task learnt alone; brings `learningTransfer` into the summary. */
	readonly isolated?: Readonly<Record<string, continual.Row>>;
}

export interface MemoryBytes {
	/** Everything kept for earlier tasks. */
	readonly bytes: number;
	/** Density and bank of one task, on average. */
	readonly bytesPerTask: number;
	readonly weightsBytes: number;
	readonly strategyBytes: number;
}

export interface Summary {
	readonly average: number | null;
	readonly averageIncremental: number | null;
	readonly learning: number | null;
	readonly forgetting: number | null;
	readonly backwardTransfer: number | null;
	readonly forwardTransfer: number | null;
	readonly learningTransfer?: number | null;
}

/** metrics.json (docs/formats.md). */
export interface Results {
	readonly format: 1;
	readonly tasks: readonly string[];
	/** Metric -> [rows evaluated, tasks]. */
	readonly matrices: Readonly<Record<string, continual.Matrix>>;
	readonly summary: Readonly<Record<string, Summary>>;
	/** Category -> metric -> value in the last row. */
	readonly categories: Readonly<
		Record<string, Readonly<Record<string, number | null>>>
	>;
	readonly pooled: {
		readonly imageAuroc: number | null;
		readonly accuracy: number | null;
	};
	readonly routing: { readonly accuracy: number | null };
	readonly falseAlarms: {
		readonly nominal: number;
		readonly realised: number | null;
		readonly interval: Interval | null;
	};
	readonly memory: MemoryBytes;
	/** Why a figure is null, by its dotted path; a shorter path speaks for all below it. */
	readonly reasons: Readonly<Record<string, string>>;
}

const figure = z.number().nullable();
const figures = z.record(z.string(), figure);

/** Of metrics.json, what is read again, as far as it is there. */
export const resultsSchema = z
	.looseObject({
		tasks: z.array(z.string()),
		matrices: z.record(z.string(), z.array(z.array(figure))),
		summary: z.record(z.string(), figures),
		categories: z.record(z.string(), figures),
		pooled: figures,
		routing: figures,
		falseAlarms: z.looseObject({
			nominal: z.number(),
			realised: figure,
			interval: z.tuple([z.number(), z.number()]).nullable(),
		}),
		memory: z.record(z.string(), z.number()),
		reasons: z.record(z.string(), z.string()),
	})
	.partial();

type TaskOf = ResultsInput["tasks"][number];
type CategoryOf = TaskOf["categories"][number];

/** metrics.json from the scores of all stages: matrices, summaries, pooled figures, false alarms, and why what is null is null. */
export function buildResults(input: ResultsInput): Results {
	const { tasks } = input;
	const reasons: Record<string, string> = {};
	/** The number; a null leaves its reason under the path. */
	const note = (path: string, m: Measured): number | null => {
		if (m.value === null) reasons[path] = m.reason;
		return m.value;
	};
	const byKey = new Map(
		input.scores.map((s) => [`${s.after} ${s.category}`, s]),
	);
	const scoresAt = (i: number, category: string) =>
		byKey.get(`${i} ${category}`);
	const rows = Math.max(0, ...input.scores.map((s) => s.after + 1));
	const last = rows - 1;
	const learnt = tasks.slice(0, rows);

	const inCategory = (
		name: string,
		i: number,
		{ id, layout }: CategoryOf,
	): Measured => {
		const scores = scoresAt(i, id);
		if (!scores) return undefinedBecause("not evaluated");
		const image = (metrics as Readonly<Record<string, ImageMetric>>)[name];
		return image
			? image.compute(scores.rows, layout)
			: (scores.pixel?.[name] ?? undefinedBecause("no anomaly maps"));
	};
	const inTask = (name: string, i: number, task: TaskOf): Measured => {
		if (name !== "imageAurocPooled")
			return meanOf(
				task.categories.map((category) => inCategory(name, i, category)),
			);
		const pooled = task.categories.map(({ id }) => scoresAt(i, id)?.rows);
		if (pooled.some((part) => part === undefined))
			return undefinedBecause("not evaluated");
		return metrics.imageAurocAll.compute(pooled.flatMap((part) => part ?? []));
	};

	const matrices: Record<string, (number | null)[][]> = {};
	const summary: Record<string, Summary> = {};
	for (const name of metricNames(input)) {
		const defined = tasks.map((task) => exists(name, task));
		const without = tasks.filter((_, j) => !defined[j]).map((task) => task.id);
		if (without.length > 0)
			reasons[`matrices.${name}`] = `not defined for: ${without.join(", ")}`;
		const matrix = Array.from({ length: rows }, (_, i) =>
			tasks.map((task, j) => {
				if (!defined[j]) return null;
				const m = inTask(name, i, task);
				const upper = j > i && m.value === null; // a task still to come: null needs no reason
				return upper ? null : note(`matrices.${name}.${i}.${j}`, m);
			}),
		);
		matrices[name] = matrix;
		const columns = tasks.flatMap((_, j) => (defined[j] ? [j] : []));
		const untrained = tasks.map((task) => inTask(name, -1, task).value);
		const isolated = input.isolated?.[name];
		const at = (key: string) => `summary.${name}.${key}`;
		summary[name] = {
			average: note(at("average"), continual.average(matrix, columns)),
			averageIncremental: note(
				at("averageIncremental"),
				continual.averageIncremental(matrix, columns),
			),
			learning: note(at("learning"), continual.learning(matrix, columns)),
			forgetting: note(at("forgetting"), continual.forgetting(matrix, columns)),
			backwardTransfer: note(
				at("backwardTransfer"),
				continual.backwardTransfer(matrix, columns),
			),
			forwardTransfer: note(
				at("forwardTransfer"),
				forward(name, matrix, untrained, columns),
			),
			...(isolated && {
				learningTransfer: note(
					at("learningTransfer"),
					continual.learningTransfer(matrix, isolated, columns),
				),
			}),
		};
	}

	const categories: Record<string, Record<string, number | null>> = {};
	for (const task of learnt) {
		for (const category of task.categories) {
			categories[category.id] = Object.fromEntries(
				namesOf(input, category).map((name) => [
					name,
					note(
						`categories.${category.id}.${name}`,
						inCategory(name, last, category),
					),
				]),
			);
		}
	}

	const final = learnt.flatMap((task, j) =>
		task.categories.map((category) => ({
			task: task.id,
			j,
			category: category.id,
			rows: scoresAt(last, category.id)?.rows,
		})),
	);
	const missing = final.find((part) => part.rows === undefined);
	const absent =
		final.length === 0
			? "nothing was evaluated"
			: missing && `no scores of ${missing.category} after the last task`;
	const images = final.flatMap(({ task, j, category, rows: part }) =>
		(part ?? []).map((row) => ({ ...row, task, j, category })),
	);
	const figure = (path: string, compute: () => Measured): number | null =>
		note(path, absent === undefined ? compute() : undefinedBecause(absent));
	const scores = images.map((row) => row.score);
	const labels = images.map((row) => row.label);
	const thresholds = images.map((row) => row.threshold);
	const weights = taskWeights(images);
	const realised = figure("falseAlarms.realised", () => falseAlarms(images));
	const good = images.filter((row) => row.label === 0).length;
	const interval =
		realised === null
			? null
			: clopperPearson(Math.round(realised * good), good);
	if (interval === null)
		reasons["falseAlarms.interval"] = reasons["falseAlarms.realised"] as string;
	return {
		format: 1,
		tasks: tasks.map((task) => task.id),
		matrices,
		summary,
		categories,
		pooled: {
			imageAuroc: figure("pooled.imageAuroc", () =>
				auroc(scores, labels, weights),
			),
			accuracy: figure("pooled.accuracy", () =>
				accuracy(scores, labels, thresholds, weights),
			),
		},
		routing: {
			accuracy: figure("routing.accuracy", () => routingAccuracy(images)),
		},
		falseAlarms: { nominal: input.falseAlarms, realised, interval },
		memory: input.memory,
		reasons,
	};
}

/** Image metrics of the layouts at hand, the pooled one where tasks are groups, then what came from the maps. */
function metricNames(input: ResultsInput): string[] {
	const { tasks } = input;
	const image = Object.keys(metrics).filter((name) =>
		tasks.some((task) => exists(name, task)),
	);
	const pooled = tasks.some((task) => task.categories.length > 1)
		? ["imageAurocPooled"]
		: [];
	return [...image, ...pooled, ...ofMaps(input)];
}

/** What a category has by itself, also where its task as a whole has not. */
const namesOf = (input: ResultsInput, category: CategoryOf): string[] =>
	[...Object.keys(metrics), ...ofMaps(input)].filter((name) =>
		isOf(name, category),
	);

const ofMaps = ({ scores }: ResultsInput): ReadonlySet<string> =>
	new Set(scores.flatMap((s) => Object.keys(s.pixel ?? {})));

const exists = (name: string, task: TaskOf): boolean =>
	task.categories.every((category) => isOf(name, category));

const isOf = (name: string, { layout }: CategoryOf): boolean =>
	definitionOf(name)?.layouts?.includes(layout) ?? true;

function forward(
	name: string,
	matrix: continual.Matrix,
	untrained: continual.Row,
	columns: readonly number[],
): Measured {
	const chance = definitionOf(name)?.chance ?? null;
	const before = columns
		.filter((j) => j > 0 && j < matrix.length)
		.map((j) => ({ row: matrix[j - 1] ?? [], j }));
	const evaluated = before.some(({ row }) => row.some((cell) => cell !== null)); // joint training has its last row alone
	if (evaluated && before.every(({ row, j }) => (row[j] ?? null) === null))
		return undefinedBecause(
			Object.hasOwn(pixelMetrics, name)
				? "maps of tasks not yet learnt are not measured"
				: "evaluate.untrained is off",
		);
	const baseline = untrained.some((value) => value !== null)
		? untrained
		: chance;
	return baseline === null
		? undefinedBecause(
				"it is measured against chance, and this metric has no chance level",
			)
		: continual.forwardTransfer(matrix, baseline, columns);
}

interface Image extends ScoreRow {
	readonly task: string;
	/** Its task's column. */
	readonly j: number;
	readonly category: string;
}

/** Within each label every task weighs the same, and the label keeps the weight of its images. */
function taskWeights(images: readonly Image[]): Float64Array {
	const count = new Map<string, number>();
	const add = (key: string) => count.set(key, (count.get(key) ?? 0) + 1);
	for (const { label, j } of images) {
		add(`${label}`);
		if (!count.has(`${label} ${j}`)) add(`tasks ${label}`);
		add(`${label} ${j}`);
	}
	const of = (key: string) => count.get(key) as number;
	return Float64Array.from(
		images,
		({ label, j }) =>
			of(`${label}`) / (of(`tasks ${label}`) * of(`${label} ${j}`)),
	);
}

/** Share of test images routed to their own category; in a memory with one density a task, to their task. */
function routingAccuracy(images: readonly Image[]): Measured {
	if (images.every((row) => row.routed === ""))
		return undefinedBecause("no image was routed");
	return measured(
		images.filter(
			(row) => row.routed === row.category || row.routed === row.task,
		).length / images.length,
	);
}

/** Share of good test images at or above their threshold. */
function falseAlarms(images: readonly Image[]): Measured {
	const good = images.filter((row) => row.label === 0);
	if (good.length === 0) return undefinedBecause("no good test images");
	if (good.some((row) => Number.isNaN(row.threshold)))
		return undefinedBecause("no threshold is stored");
	return measured(
		good.filter((row) => isAnomalous(row.score, row.threshold)).length /
			good.length,
	);
}

/** Long form: metric,after,task,value with `after` = number of tasks learnt, as in scores/after-NN. Null is an empty value. */
export function metricsCsv(results: Results): string {
	const lines = ["metric,after,task,value"];
	for (const [metric, matrix] of Object.entries(results.matrices)) {
		matrix.forEach((row, i) => {
			row.forEach((value, j) => {
				if (j <= i || value !== null)
					lines.push(
						[
							metric,
							i + 1,
							quote(results.tasks[j] as string),
							value ?? "",
						].join(","),
					);
			});
		});
	}
	return `${lines.join("\n")}\n`;
}

const quote = (text: string) =>
	/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

/** What `eval` prints: a line a class, then the matrices of image AUROC and accuracy. */
export function formatResults(results: Results): string {
	const ids = Object.keys(results.categories);
	const width = Math.max(0, ...ids.map((id) => id.length));
	const lines = ids.map(
		(id) =>
			`${id.padEnd(width)}   AUC = ${results.categories[id]?.imageAuroc?.toFixed(4) ?? "-"}`,
	);
	const ofMaps = ["pixelAuroc", "aupro30"].filter((name) =>
		results.matrices[name]?.flat().some((value) => value !== null),
	);
	return [
		lines.join("\n"),
		...["imageAuroc", "accuracy", ...ofMaps].map((name) =>
			formatMatrix(results, name),
		),
	].join("\n\n");
}

/** One metric in percent: row = after learning that task, column = task of that number, then the mean of the tasks learnt. */
export function formatMatrix(results: Results, metric: string): string {
	const matrix = results.matrices[metric] ?? [];
	const percent = (value: number | null | undefined) =>
		typeof value === "number" ? (100 * value).toFixed(1) : "-";
	const digits = String(results.tasks.length).length;
	const labels = results.tasks.map(
		(id, j) => `${String(j + 1).padStart(digits)} ${id}`,
	);
	const table = [
		["after", ...labels.map((_, j) => String(j + 1)), "mean"],
		...matrix.map((row, i) => {
			const known = row.slice(0, i + 1).filter((value) => value !== null);
			const mean =
				known.length > 0
					? known.reduce((a, b) => a + b, 0) / known.length
					: null;
			return [labels[i] as string, ...row.map(percent), percent(mean)];
		}),
	];
	const first = Math.max(...table.map((row) => (row[0] as string).length));
	const lines = table.map(([label, ...cells]) =>
		[
			(label as string).padEnd(first),
			...cells.map((text) => text.padStart(6)),
		].join(" "),
	);
	return [`${definitionOf(metric)?.title ?? metric} (%)`, ...lines].join("\n");
}
