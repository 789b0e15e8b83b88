/**
 * Charts of one run as SVG, drawn as those of a comparison are (charts.ts): scores of good parts against defects, ROC and PRO curves,
 * the matrix of a metric, every task over the sequence, embeddings on a plane. They are narrow, so that a phone shows them unshrunk.
 */
import type { LineSeriesOption } from "echarts/charts";
import type { Matrix } from "../metrics/continual.ts";
import { isAnomalous } from "../metrics/image.ts";
import type { ScoreRow } from "../run.ts";
import {
	axisLook,
	draw,
	faint,
	heat,
	ink,
	inPercent,
	lightEnd,
	type Option,
	shades,
	styleOf,
} from "./charts.ts";
import type { CurvePoint, Curves } from "../pictures/curves.ts";

export const widthPx = 420;
/** Ink on a cell, whatever the page's ground is. */
const cellInk = "#111";
const good = styleOf(0).color;
const anomalous = styleOf(1).color;

export interface CategoryRows {
	readonly id: string;
	readonly rows: readonly ScoreRow[];
}

// ---- scores ----

/**
 * Good parts upwards, defects downwards, over the score; the last bar of either holds all that lies beyond. Heights are roots of the counts
 * (Tukey's rootogram): a single image stays visible beside a bar of a hundred.
 */
export function histogramChart({ id, rows }: CategoryRows): string {
	const { edges, counts, threshold } = histogram(rows);
	const tick = Math.ceil(Math.sqrt(Math.max(1, ...counts.flat())) / 2);
	const most = 2 * tick;
	const bars = (side: 0 | 1): LineSeriesOption => ({
		type: "line",
		name: side === 0 ? "good" : "anomalous",
		step: "end",
		symbol: "none",
		lineStyle: { color: side === 0 ? good : anomalous, width: 1.5 },
		itemStyle: { color: side === 0 ? good : anomalous },
		areaStyle: { color: side === 0 ? good : anomalous, opacity: 0.45 },
		// each edge carries the count on its right, up to the next; the last closes the shape
		data: edges.map((edge, i) => [
			edge,
			(side === 0 ? 1 : -1) * Math.sqrt(counts[side][i] ?? 0),
		]),
	});
	const last = edges.at(-1) as number;
	const line = threshold !== null && {
		type: "line" as const,
		name: `threshold ${shortNumber(threshold)}`,
		symbol: "none",
		lineStyle: { color: ink, width: 1.5, type: "dashed" as const },
		itemStyle: { color: ink },
		data: [
			[threshold, -most],
			[threshold, most],
		],
	};
	return draw(
		236,
		{
			title: heading(short(id, 46)),
			grid: { left: 48, right: 16, top: 54, bottom: 42 },
			legend: {
				...legendLook,
				left: 12,
				top: 29,
				itemWidth: 18,
				itemGap: 26,
				data: [
					{ name: "good", icon: "rect" },
					{ name: "anomalous", icon: "rect" },
					...(line ? [{ name: line.name, icon: bar }] : []),
				],
			},
			xAxis: {
				type: "value",
				min: 0,
				max: last,
				name: "score (last bar: and above)",
				nameGap: 22,
				splitLine: { show: false },
				...axisLook,
			},
			yAxis: {
				type: "value",
				min: -most,
				max: most,
				interval: tick,
				name: "images (root scale)",
				nameGap: 32,
				splitLine: { lineStyle: { color: faint } },
				...axisLook,
				axisLabel: {
					...axisLook.axisLabel,
					formatter: (value: number) => String(Math.round(value ** 2)),
				},
			},
			series: [bars(0), bars(1), ...(line ? [line] : [])],
		},
		widthPx,
	);
}

interface Histogram {
	/** Ascending from 0, one more than bars. */
	readonly edges: readonly number[];
	/** Of good and of anomalous images. */
	readonly counts: readonly [readonly number[], readonly number[]];
	/** null: none, or not the same for all. */
	readonly threshold: number | null;
}

/**
 * Bars as wide as a power of two of the threshold, so that it is an edge and what lies right of it is what alarms. They reach to
 * where 19 of 20 scores lie, at least to twice and at most to six times the threshold.
 */
export function histogram(rows: readonly ScoreRow[]): Histogram {
	const threshold = commonThreshold(rows);
	const unit = threshold !== null && threshold > 0 ? threshold : 2;
	const sorted = Float64Array.from(rows, ({ score }) => score).sort();
	const most = sorted[Math.floor(0.95 * (sorted.length - 1))] ?? 0;
	const reach = Math.min(6, Math.max(2, Math.ceil(most / unit))); // in thresholds
	const bars = reach * perUnit;
	const counts = [0, 1].map((label) => {
		const count = new Array<number>(bars).fill(0);
		for (const row of rows) {
			if (row.label !== label) continue;
			const bar = Math.floor(row.score / (unit / perUnit));
			const k = Math.max(0, Math.min(bars - 1, bar));
			count[k] = (count[k] as number) + 1;
		}
		return count;
	});
	return {
		edges: Array.from({ length: bars + 1 }, (_, k) => k * (unit / perUnit)),
		counts: counts as [number[], number[]],
		threshold: unit === threshold ? threshold : null,
	};
}

/** Bars in one threshold. */
const perUnit = 8;

/** The one threshold of all rows; null if there are several or none. */
export function commonThreshold(rows: readonly ScoreRow[]): number | null {
	const [first] = rows;
	return first && rows.every((row) => row.threshold === first.threshold)
		? first.threshold
		: null;
}

// ---- curves ----

/** One point for every distinct score; none without both classes. */
export function rocPoints(rows: readonly ScoreRow[]): readonly CurvePoint[] {
	const goodCount = rows.filter(({ label }) => label === 0).length;
	const badCount = rows.length - goodCount;
	if (goodCount === 0 || badCount === 0) return [];
	const sorted = rows.toSorted((a, b) =>
		a.score > b.score ? -1 : a.score < b.score ? 1 : 0,
	);
	const points: CurvePoint[] = [[0, 0]];
	let alarms = 0;
	let found = 0;
	sorted.forEach(({ label, score }, i) => {
		if (label === 0) alarms++;
		else found++;
		if (sorted[i + 1]?.score !== score)
			points.push([alarms / goodCount, found / badCount]);
	});
	return points;
}

/** Image ROC of every category, all anomalies against good. A dot marks the threshold of each. */
export function rocChart(categories: readonly CategoryRows[]): string {
	return curveChart({
		title: "Image ROC",
		x: "good images called anomalous (%)",
		y: "anomalous images found (%)",
		limit: 1,
		curves: categories.map(({ id, rows }, place) => ({
			id,
			place,
			points: rocPoints(rows),
			mark: operatingPoint(rows),
		})),
	});
}

function operatingPoint(rows: readonly ScoreRow[]): CurvePoint | null {
	const share = (label: number) => {
		const of = rows.filter((row) => row.label === label);
		const above = of.filter(
			({ score, threshold }) =>
				threshold !== null && isAnomalous(score, threshold),
		);
		return above.length / of.length;
	};
	const point = [share(0), share(1)] as const;
	return rows.some(({ threshold }) => threshold === null) ||
		point.some(Number.isNaN)
		? null
		: point;
}

/**
 * Per-region overlap of every category (Bergmann et al. 2021), up to the false-positive rate that AUPRO counts. `order`: the ids in the
 * order of other charts, so that each keeps its number and colour.
 */
export function proChart(
	curves: NonNullable<Curves["pro"]>,
	order: readonly string[] = Object.keys(curves),
	limit = 0.3,
): string {
	return curveChart({
		title: "PRO curve",
		x: "defect-free pixels called anomalous (%)",
		y: "overlap with defects (%)",
		limit,
		curves: order.flatMap((id, place) =>
			Object.hasOwn(curves, id)
				? [
						{
							id,
							place,
							points: upTo(curves[id] as readonly CurvePoint[], limit),
							mark: null,
						},
					]
				: [],
		),
	});
}

/** The curve's part at x <= limit, its end interpolated. */
function upTo(points: readonly CurvePoint[], limit: number): CurvePoint[] {
	const inside = points.filter(([x]) => x <= limit);
	const next = points[inside.length];
	const [x0, y0] = inside.at(-1) ?? [0, 0];
	if (!next || x0 === limit) return inside;
	const [x1, y1] = next;
	return [...inside, [limit, y0 + ((y1 - y0) * (limit - x0)) / (x1 - x0)]];
}

function curveChart(options: {
	readonly title: string;
	readonly x: string;
	readonly y: string;
	readonly limit: number;
	readonly curves: readonly {
		readonly id: string;
		readonly place: number;
		readonly points: readonly CurvePoint[];
		readonly mark: CurvePoint | null;
	}[];
}): string {
	const { limit, curves } = options;
	const plotPx = 330;
	const percent = ([x, y]: CurvePoint) => [100 * x, 100 * y];
	const named = curves.map((curve) => ({
		...curve,
		name: numbered(curve.id, curve.place),
		style: styleOf(curve.place),
	}));
	const legend = legendBelow(
		named.map(({ name }) => name),
		40 + plotPx + 56,
	);
	return draw(
		legend.bottomPx,
		{
			title: heading(options.title),
			legend: legend.option,
			grid: { left: 56, right: 20, top: 44, height: plotPx },
			xAxis: {
				type: "value",
				min: 0,
				max: 100 * limit,
				name: options.x,
				nameGap: 26,
				splitLine: { lineStyle: { color: faint } },
				...axisLook,
			},
			yAxis: {
				type: "value",
				min: 0,
				max: 100,
				name: options.y,
				nameGap: 38,
				splitLine: { lineStyle: { color: faint } },
				...axisLook,
			},
			series: named.flatMap(
				({ name, points, mark, style }): LineSeriesOption[] => [
					{
						type: "line",
						name,
						symbol: style.symbol, // in the legend
						showSymbol: false,
						itemStyle: { color: style.color },
						lineStyle: { color: style.color, type: style.dash, width: 2 },
						data: points.map(percent),
					},
					...(mark
						? [
								{
									type: "line" as const,
									name,
									symbol: style.symbol,
									symbolSize: 9,
									itemStyle: { color: style.color },
									lineStyle: { color: style.color, type: style.dash, width: 2 },
									data: [percent(mark)],
									z: 4,
								},
							]
						: []),
				],
			),
		},
		widthPx,
	);
}

// ---- the sequence ----

/** One metric on task j (column) after learning task i (row), in percent. */
export function taskMatrixChart(
	title: string,
	tasks: readonly string[],
	matrix: Matrix,
): string {
	const labels = tasks.map(numbered);
	const leftPx =
		16 + Math.max(...labels.map((label) => 6.3 * label.length), 40);
	const cellPx = Math.max(
		38,
		Math.min(64, (widthPx - leftPx - 12) / Math.max(1, tasks.length)),
	);
	const heightPx = 30 * matrix.length;
	const plotPx = Math.round(cellPx * tasks.length);
	const low = lightEnd(matrix);
	const bare = { axisLine: { show: false }, axisTick: { show: false } };
	return draw(
		heightPx + 98,
		{
			title: heading(
				`${title} (%)`,
				"after learning task (row), on task (column)",
			),
			grid: { left: leftPx, width: plotPx, top: 72, height: heightPx },
			xAxis: {
				...axisLook,
				...bare,
				type: "category",
				position: "top",
				data: tasks.map((_, j) => String(j + 1)),
			},
			yAxis: {
				...axisLook,
				...bare,
				type: "category",
				inverse: true,
				data: labels.slice(0, matrix.length),
			},
			visualMap: {
				type: "continuous",
				show: false,
				min: 100 * low,
				max: 100,
				inRange: shades,
			},
			series: [heat(matrix, low, cellPx < 44 ? 10 : 11, cellInk)],
		},
		Math.max(widthPx, leftPx + plotPx + 12),
	);
}

/** A line a task, from when it was learnt to the end: where it falls, it is forgotten. The thick line is the mean of the tasks seen. */
export function tasksChart(
	title: string,
	tasks: readonly string[],
	matrix: Matrix,
): string {
	const plotPx = 250;
	const names = tasks.map(numbered);
	const mean = matrix.map((row, i) => {
		const seen = row.slice(0, i + 1).filter((value) => value !== null);
		return seen.length > 0
			? seen.reduce((a, b) => a + b, 0) / seen.length
			: null;
	});
	const legend = legendBelow(
		[...names, { name: "mean", icon: bar }],
		40 + plotPx + 56,
	);
	return draw(
		legend.bottomPx,
		{
			title: heading(`${title} of each task over the sequence`),
			legend: legend.option,
			grid: { left: 56, right: 20, top: 44, height: plotPx },
			xAxis: {
				type: "category",
				data: matrix.map((_, i) => String(i + 1)),
				name: "tasks learnt",
				nameGap: 26,
				...axisLook,
			},
			yAxis: {
				type: "value",
				scale: true,
				name: `${title} (%)`,
				nameGap: 38,
				splitLine: { lineStyle: { color: faint } },
				...axisLook,
			},
			series: [
				...tasks.map((_, j): LineSeriesOption => {
					const { color, dash, symbol } = styleOf(j);
					return {
						type: "line",
						name: names[j] as string,
						data: matrix.map((row, i) =>
							j > i ? null : inPercent(row[j] ?? null),
						),
						symbol,
						symbolSize: 7,
						showAllSymbol: true,
						itemStyle: { color },
						lineStyle: { color, type: dash, width: 2 },
					};
				}),
				{
					type: "line",
					name: "mean",
					data: mean.map(inPercent),
					symbol: "none",
					itemStyle: { color: ink },
					lineStyle: { color: ink, width: 3.5, opacity: 0.55 },
					z: 1,
				},
			],
		},
		widthPx,
	);
}

// ---- embeddings ----

/** Good images as filled, anomalous ones as open symbols, a colour and a symbol a task. */
export function projectionChart(
	projection: NonNullable<Curves["projection"]>,
): string {
	const { points, explained } = projection;
	const tasks = [...new Set(points.map(({ task }) => task))];
	const plotPx = 330;
	const legend = legendBelow(tasks.map(numbered), 56 + plotPx + 42, 14);
	const axis = (k: 0 | 1) => ({
		type: "value" as const,
		scale: true,
		name: `component ${k + 1} (${(100 * explained[k]).toFixed(0)} % of the variance)`,
		splitLine: { show: false },
		...axisLook,
		axisLabel: { show: false },
		axisTick: { show: false },
		axisLine: { ...axisLook.axisLine, onZero: false },
	});
	return draw(
		legend.bottomPx,
		{
			title: heading(
				"Embeddings of all tasks",
				"filled: good, open: anomalous",
			),
			legend: legend.option,
			grid: { left: 36, right: 20, top: 62, height: plotPx },
			xAxis: { ...axis(0), nameGap: 12 },
			yAxis: { ...axis(1), nameGap: 12 },
			series: tasks.flatMap((task, k) => {
				const { color, symbol } = styleOf(k);
				return ([0, 1] as const).map((label) => ({
					type: "scatter" as const,
					name: numbered(task, k),
					symbol,
					symbolSize: 6,
					itemStyle: {
						color: label === 0 ? color : "transparent",
						borderColor: color,
						borderWidth: 1.2,
						opacity: 0.75,
					},
					data: points
						.filter((p) => p.task === task && p.label === label)
						.map(({ x, y }) => [x, y]),
				}));
			}),
		},
		widthPx,
	);
}

// ---- what they share ----

export const heading = (
	text: string,
	subtext = "",
): NonNullable<Option["title"]> => ({
	text,
	subtext,
	left: 12,
	top: 8,
	padding: 0,
	itemGap: 5,
	textStyle: { fontSize: 14, color: ink },
	subtextStyle: { fontSize: 12, color: "#555" },
});

export const legendLook = {
	textStyle: { color: ink, fontSize: 12 },
	padding: 0,
};

type Entry = string | { readonly name: string; readonly icon: string };
const nameOf = (entry: Entry) =>
	typeof entry === "string" ? entry : entry.name;
/** A line without a symbol. */
export const bar = "path://M0 0h30v3h-30z";

/** In one column, or in two if the names are short; ECharts alone would put them too close, as it does not know the font. */
export function legendBelow(
	entries: readonly Entry[],
	topPx: number,
	itemWidth = 30,
) {
	const longest = Math.max(0, ...entries.map((entry) => nameOf(entry).length));
	const columns = longest <= 22 ? 2 : 1;
	const lines = Math.ceil(entries.length / columns);
	return {
		bottomPx: topPx + 22 * lines + 8,
		option: Array.from({ length: columns }, (_, k) => ({
			...legendLook,
			orient: "vertical" as const,
			left: 12 + (k * (widthPx - 12)) / columns,
			top: topPx,
			itemGap: 8,
			itemHeight: 12,
			itemWidth,
			data: entries.slice(k * lines, (k + 1) * lines),
		})),
	};
}

export const short = (id: string, letters: number) =>
	id.length > letters ? `${id.slice(0, letters - 1)}…` : id;
const numbered = (id: string, k: number) => `${k + 1} ${short(id, 36)}`;
const shortNumber = (value: number) => String(Number(value.toPrecision(4)));
