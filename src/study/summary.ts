/**
 * What a comparison says: finished cells in, a row a strategy out, with deviations over seeds and over orders apart, the paired
 * difference to finetuning, curves and matrices for the charts. Pure: nothing is read, written or printed.
 *
 * Every figure is of the image AUROC. A figure is null, with its reason, as soon as one cell of the row lacks it: a mean over
 * some of the cells would be compared with means over all of them.
 */
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { fail } from "../errors.ts";
import * as continual from "../metrics/continual.ts";
import { pairedBootstrap } from "../metrics/interval.ts";
import {
	type Measured,
	meanOf,
	measured,
	undefinedBecause,
} from "../metrics/measured.ts";
import { Random } from "../random.ts";
import { type FinishedCell, groupBy, labelled } from "./cells.ts";
import {
	averageOn,
	imagesOf,
	metric,
	type Scored,
	scoredOf,
	timesOf,
} from "./scored.ts";
import { type TaskTable, taskTable } from "./tasks.ts";

/** The strategies that the others are read against. */
const references = {
	/** Nothing is done against forgetting; a label, since its namesakes with other options are no baseline. */
	baseline: "finetune",
	/** The backbone as it came. */
	frozen: "frozen",
	/** All data at once. */
	together: "joint",
	/** Every task alone. */
	alone: "isolated",
} as const;

/** All are fractions of 1 but bytes and seconds. */
export const figureNames = [
	"average",
	"forgetting",
	"backwardTransfer",
	"forwardTransfer",
	"learning",
	"learningTransfer",
	"pooledImageAuroc",
	"memoryBytes",
	"secondsPerTask",
] as const;
export type FigureName = (typeof figureNames)[number];

export interface Figure {
	/** Over all cells of the row. */
	readonly mean: number | null;
	/** Sample deviation over the seeds of an order, averaged over the orders; null without an order of two seeds. */
	readonly overSeeds: number | null;
	/** Sample deviation over the orders of the mean over their seeds; null with one order. */
	readonly overOrders: number | null;
	/** Why the mean is null. */
	readonly reason: string | null;
}

/** Average of the row minus that of finetuning, over pairs of cells with the same seed and order. */
export interface PairedDifference {
	readonly estimate: number | null;
	/** 95 % of the bootstrap over test images; what other seeds or orders would give is not in it. */
	readonly low: number | null;
	readonly high: number | null;
	readonly pairs: number;
	readonly draws: number;
	/** Why the estimate is null. */
	readonly reason: string | null;
}

/** Over the cells of a row, after some number of tasks. */
export interface Point {
	readonly mean: number | null;
	/** Sample deviation; null with one cell. */
	readonly deviation: number | null;
}

export interface OrderMatrix {
	readonly order: number;
	/** In the order of learning. */
	readonly tasks: readonly string[];
	/** [tasks, tasks], mean over the seeds. */
	readonly matrix: continual.Matrix;
}

export interface ComparisonRow {
	readonly label: string;
	readonly strategy: string;
	/** What it differs in beside the strategy; references are taken from rows with the same. */
	readonly setting: string;
	readonly cells: number;
	readonly seeds: readonly number[];
	readonly orders: readonly number[];
	/** All matrices and final scores are equal bit for bit over the seeds of every order. */
	readonly deterministic: boolean;
	readonly figures: Readonly<Record<FigureName, Figure>>;
	/** Pairs of cell and task whose pretext was too easy to tell strategies apart. */
	readonly saturated: { readonly count: number; readonly of: number };
	readonly difference: PairedDifference;
	/** Entry i: after i + 1 tasks, over the tasks seen by then. */
	readonly curves: {
		readonly average: readonly Point[];
		readonly forgetting: readonly Point[];
	};
	readonly matrices: readonly OrderMatrix[];
}

export interface FailedCell {
	readonly label: string;
	readonly seed: number;
	readonly order: number;
	readonly message: string;
}

/** What does not look as the textbook has it: said in so many words in every table. Each a list of labels. */
export interface Exceptions {
	/** Trained, and the average below the frozen backbone's; null: that was not run, or nothing else was. */
	readonly belowFrozen: readonly string[] | null;
	/** Forgetting not below finetuning's. */
	readonly forgetsLikeFinetune: readonly string[];
	/** Trained on all data at once, and still below finetuning on average. */
	readonly jointBelowFinetune: readonly string[];
}

/** The JSON of a comparison. */
export interface Comparison {
	readonly format: 1;
	readonly metric: string;
	/** The label that differences are taken to. */
	readonly baseline: string;
	/** In the order in which labels first appear. */
	readonly rows: readonly ComparisonRow[];
	readonly byTask: TaskTable;
	readonly exceptions: Exceptions;
	readonly failed: readonly FailedCell[];
	readonly published: readonly PublishedRow[];
}

const publishedRow = z.strictObject({
	label: z.string().min(1),
	source: z.strictObject({
		paper: z.string().min(1),
		/** Table, figure or section the figures were read in. */
		table: z.string().min(1),
		address: z.url(),
	}),
	/** Data, tasks and protocol, in words. */
	setting: z.string().min(1),
	average: z.number().min(0).max(1).nullable(),
	/** null: not stated, or not seen. */
	forgetting: z.number().min(-1).max(1).nullable(),
	note: z.string().optional(),
});

/** A line of someone else's table, shown beside ours as published; fractions of 1. */
export type PublishedRow = Readonly<z.output<typeof publishedRow>>;

/** The JSON of configs/published.json. `file` is what errors call it. */
export function parsePublished(text: string, file: string): PublishedRow[] {
	let json: unknown;
	try {
		json = JSON.parse(text);
	} catch (error) {
		throw fail("CONFIG_VALUE", {
			where: file,
			problem: `not valid JSON: ${(error as Error).message}`,
		});
	}
	const parsed = z.array(publishedRow).safeParse(json);
	if (parsed.success) return parsed.data;
	const [issue] = parsed.error.issues;
	const at = (issue?.path ?? []).map((key) =>
		typeof key === "number" ? `[${key}]` : `.${String(key)}`,
	);
	throw fail("CONFIG_VALUE", {
		where: [file, ...at].join(""),
		problem: issue?.message ?? "unreadable",
	});
}

export interface SummaryOptions {
	/** Draws of the bootstrap. Default 500: chance then moves the ends of the interval by about 3 % of its width (a normal difference assumed). */
	readonly draws?: number;
	readonly published?: readonly PublishedRow[];
}

/** `failed` are the cells that the comparison wanted and does not have. */
export function summarise(
	cells: readonly FinishedCell[],
	failed: readonly FailedCell[],
	{ draws = 500, published = [] }: SummaryOptions = {},
): Comparison {
	const rows = groupBy(cells, (cell) => cell.label).map((own) =>
		rowOf(own, cells, draws),
	);
	return {
		format: 1,
		metric,
		baseline: references.baseline,
		rows,
		byTask: taskTable(cells, draws),
		exceptions: exceptionsOf(rows),
		failed,
		published,
	};
}

function rowOf(
	own: readonly FinishedCell[],
	all: readonly FinishedCell[],
	draws: number,
): ComparisonRow {
	const { label, strategy, setting } = own[0] as FinishedCell;
	const alike = all.filter((cell) => cell.setting === setting);
	const alone = alike.filter((cell) => cell.strategy === references.alone);
	const baseline = alike.filter(isBaseline);
	const figure = (measure: (cell: FinishedCell) => Measured) =>
		figureOf(own, measure);
	const ofSummary = (key: SummaryKey) => figure((cell) => summaryOf(cell, key));
	return {
		label,
		strategy,
		setting,
		cells: own.length,
		seeds: ascending(own.map((cell) => cell.seed)),
		orders: ascending(own.map((cell) => cell.order)),
		deterministic: isDeterministic(own),
		figures: {
			average: ofSummary("average"),
			forgetting: ofSummary("forgetting"),
			backwardTransfer: ofSummary("backwardTransfer"),
			forwardTransfer: ofSummary("forwardTransfer"),
			learning: ofSummary("learning"),
			learningTransfer: figure((cell) => learningTransfer(cell, alone)),
			pooledImageAuroc: figure(({ results }) =>
				explained(results, results.pooled.imageAuroc, "pooled.imageAuroc"),
			),
			memoryBytes: figure(({ results }) => measured(results.memory.bytes)),
			secondsPerTask: figure(secondsPerTask),
		},
		saturated: saturation(own),
		difference: differenceOf(own, baseline, draws),
		curves: {
			average: curveOf(own, continual.average),
			forgetting: curveOf(own, continual.forgetting),
		},
		matrices: byOrder(own).map((same) => ({
			order: (same[0] as FinishedCell).order,
			tasks: (same[0] as FinishedCell).results.tasks,
			matrix: meanMatrix(same.map(matrixOf)),
		})),
	};
}

function figureOf(
	cells: readonly FinishedCell[],
	measure: (cell: FinishedCell) => Measured,
): Figure {
	const values = new Map(cells.map((cell) => [cell, measure(cell)]));
	const all = meanOf([...values.values()]);
	if (all.value === null)
		return {
			mean: null,
			overSeeds: null,
			overOrders: null,
			reason: all.reason,
		};
	const orders = byOrder(cells).map((same) =>
		same.map((cell) => values.get(cell)?.value as number),
	);
	const spreads = orders.map(deviation).filter((value) => value !== null);
	return {
		mean: all.value,
		overSeeds: spreads.length > 0 ? mean(spreads) : null,
		overOrders: deviation(orders.map(mean)),
		reason: null,
	};
}

/** Finetuning with its usual options. */
const isBaseline = ({
	label,
	setting,
}: Pick<ComparisonRow, "label" | "setting">): boolean =>
	label === labelled(references.baseline, setting);

const matrixOf = ({ results }: FinishedCell): continual.Matrix =>
	results.matrices[metric] ?? [];

type SummaryKey =
	| "average"
	| "forgetting"
	| "backwardTransfer"
	| "forwardTransfer"
	| "learning";

function summaryOf({ results }: FinishedCell, key: SummaryKey): Measured {
	return explained(
		results,
		results.summary[metric]?.[key] ?? null,
		`summary.${metric}.${key}`,
	);
}

/** A number of metrics.json with its reason there, which may stand under a shorter path. */
function explained(
	{ reasons }: FinishedCell["results"],
	value: number | null,
	path: string,
): Measured {
	if (value !== null) return measured(value);
	const keys = path.split(".");
	const found = keys
		.map((_, i) => reasons[keys.slice(0, keys.length - i).join(".")])
		.find((reason) => reason !== undefined);
	return undefinedBecause(found ?? "not evaluated");
}

/** Over the tasks whose time is known: a run that was killed and resumed lacks one. */
function secondsPerTask({ secondsPerTask: seconds }: FinishedCell): Measured {
	const known = seconds.filter((value) => value !== null);
	return known.length > 0
		? measured(mean(known))
		: undefinedBecause("not timed");
}

/** Against the run of every task alone with the same seed and order; its tasks are found by their ids. */
function learningTransfer(
	cell: FinishedCell,
	alone: readonly FinishedCell[],
): Measured {
	const partner = alone.find((other) => isPair(cell, other));
	if (!partner) return undefinedBecause("no isolated run");
	const isolated = cell.results.tasks.map((id) => {
		const j = partner.results.tasks.indexOf(id);
		return matrixOf(partner)[j]?.[j] ?? null;
	});
	return continual.learningTransfer(matrixOf(cell), isolated);
}

const isPair = (a: FinishedCell, b: FinishedCell) =>
	a.seed === b.seed && a.order === b.order;

function isDeterministic(cells: readonly FinishedCell[]): boolean {
	const numbers = ({ results, finalScores }: FinishedCell) => [
		results.matrices,
		results.pooled,
		finalScores,
	];
	const orders = byOrder(cells);
	return orders.every(
		([first, ...others]) =>
			others.length > 0 &&
			others.every((other) =>
				isDeepStrictEqual(numbers(first as FinishedCell), numbers(other)),
			),
	);
}

function saturation(
	cells: readonly FinishedCell[],
): ComparisonRow["saturated"] {
	const tasks = cells.flatMap((cell) => cell.results.learning);
	return {
		count: tasks.filter((task) => task.saturated === 1).length,
		of: tasks.length,
	};
}

/** `of` is given the matrix as it stood after every number of tasks. */
function curveOf(
	cells: readonly FinishedCell[],
	of: (matrix: continual.Matrix) => Measured,
): Point[] {
	const length = Math.max(...cells.map((cell) => matrixOf(cell).length));
	return Array.from({ length }, (_, i) => {
		const values = cells.map((cell) => {
			const matrix = matrixOf(cell);
			return i < matrix.length ? of(matrix.slice(0, i + 1)).value : null;
		});
		const known = values.filter((value) => value !== null);
		return known.length < values.length
			? { mean: null, deviation: null }
			: { mean: mean(known), deviation: deviation(known) };
	});
}

function meanMatrix(matrices: readonly continual.Matrix[]): continual.Matrix {
	const [first = []] = matrices;
	return first.map((row, i) =>
		row.map((_, j) => {
			const values = matrices.map((matrix) => matrix[i]?.[j] ?? null);
			const known = values.filter((value) => value !== null);
			return known.length < values.length ? null : mean(known);
		}),
	);
}

/**
 * The same drawn images for both methods and in all pairs, each draw measured by the definition of image AUROC that the tables
 * use. The draws are the same for every row of a comparison.
 */
function differenceOf(
	own: readonly FinishedCell[],
	baseline: readonly FinishedCell[],
	draws: number,
): PairedDifference {
	const pairs = own.flatMap((cell) => {
		const other = baseline.find((candidate) => isPair(cell, candidate));
		return other ? [[cell, other] as const] : [];
	});
	const none = (reason: string): PairedDifference => ({
		estimate: null,
		low: null,
		high: null,
		pairs: pairs.length,
		draws: 0,
		reason,
	});
	if (own.some(isBaseline)) return none("it is the baseline");
	if (pairs.length === 0)
		return none(`no ${references.baseline} run of the same seed and order`);
	const images = imagesOf(pairs.flat());
	const scored: (readonly [Scored, Scored])[] = [];
	for (const [cell, other] of pairs) {
		const both = [scoredOf(cell, images), scoredOf(other, images)] as const;
		const [a, b] = both;
		if (typeof a === "string") return none(a);
		if (typeof b === "string") return none(b);
		scored.push([a, b]);
	}
	const differenceOn = (drawn: readonly number[]): Measured => {
		const times = timesOf(drawn, images.length);
		return meanOf(
			scored.map(([method, plain]) =>
				minus(averageOn(method, times), averageOn(plain, times)),
			),
		);
	};
	const everything = differenceOn(images.map((_, i) => i));
	if (everything.value === null) return none(everything.reason);
	const found = pairedBootstrap(
		images.length,
		(drawn) => differenceOn(drawn).value,
		new Random("comparison", "paired difference"),
		{ draws, groups: images.map((image) => image.group) },
	);
	const drawn = found && found.draws > 0 ? found : null;
	return {
		estimate: everything.value,
		low: drawn?.low ?? null,
		high: drawn?.high ?? null,
		pairs: pairs.length,
		draws: drawn?.draws ?? 0,
		reason: null,
	};
}

function minus(a: Measured, b: Measured): Measured {
	if (a.value === null) return a;
	return b.value === null ? b : measured(a.value - b.value);
}

/** Every row is held against those of its own setting. */
function exceptionsOf(rows: readonly ComparisonRow[]): Exceptions {
	const value = (row: ComparisonRow | undefined, name: FigureName) =>
		row?.figures[name].mean ?? null;
	const isFrozen = ({ strategy }: ComparisonRow) =>
		strategy === references.frozen;
	/** Labels of rows whose figure stands so to that of a reference of the same setting; none if either is unknown. */
	const labels = (
		name: FigureName,
		isReference: (row: ComparisonRow) => boolean,
		holds: (own: number, reference: number) => boolean,
		among: (row: ComparisonRow) => boolean = (row) => !isReference(row),
	) =>
		rows
			.filter((row) => {
				const reference = rows.find(
					(other) => other.setting === row.setting && isReference(other),
				);
				const [own, than] = [value(row, name), value(reference, name)];
				return among(row) && own !== null && than !== null && holds(own, than);
			})
			.map((row) => row.label);
	const comparable = rows.some(
		(row) => isFrozen(row) && value(row, "average") !== null,
	);
	return {
		belowFrozen:
			comparable && !rows.every(isFrozen)
				? labels("average", isFrozen, (a, b) => a < b)
				: null,
		forgetsLikeFinetune: labels("forgetting", isBaseline, (a, b) => a >= b),
		jointBelowFinetune: labels(
			"average",
			isBaseline,
			(a, b) => a < b,
			({ strategy }) => strategy === references.together,
		),
	};
}

/** The cells of each order, in the order of its number. */
const byOrder = (cells: readonly FinishedCell[]) =>
	groupBy(
		[...cells].sort((a, b) => a.order - b.order || a.seed - b.seed),
		(cell) => cell.order,
	);

const ascending = (values: readonly number[]) =>
	[...new Set(values)].sort((a, b) => a - b);

const mean = (values: readonly number[]) =>
	values.reduce((sum, value) => sum + value, 0) / values.length;

/** Sample standard deviation; null for fewer than two. Taken from the first value, so that equal values give exactly 0. */
function deviation(values: readonly number[]): number | null {
	if (values.length < 2) return null;
	const shifted = values.map((value) => value - (values[0] as number));
	const center = mean(shifted);
	return Math.sqrt(
		shifted.reduce((sum, value) => sum + (value - center) ** 2, 0) /
			(values.length - 1),
	);
}
