/**
 * Charts of a comparison as SVG, drawn by ECharts without a browser: accuracy matrices, average and forgetting over the
 * sequence, average against memory. The same comparison gives the same bytes.
 *
 * Colours are Okabe & Ito's (2008), told apart by colour-blind readers; a second round of them is dashed. Matrices are shaded
 * in one hue from light to dark, with the number in every cell.
 */
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import type {
	HeatmapSeriesOption,
	LineSeriesOption,
	ScatterSeriesOption,
} from "echarts/charts";
import type {
	GridComponentOption,
	LegendComponentOption,
	TitleComponentOption,
	VisualMapComponentOption,
} from "echarts/components";
import type { ComposeOption } from "echarts/core";
import { init } from "echarts/dist/echarts.esm.min.mjs"; // in one piece it loads in a quarter of the time of the parts in use
import type { Matrix } from "../metrics/continual.ts";
import type { Comparison, ComparisonRow, Point } from "../study/summary.ts";

export type Option = ComposeOption<
	| GridComponentOption
	| HeatmapSeriesOption
	| LegendComponentOption
	| LineSeriesOption
	| ScatterSeriesOption
	| TitleComponentOption
	| VisualMapComponentOption
>;

const widthPx = 900;
export const ink = "#222";
export const faint = "#ddd";

const palette = [
	"#0072B2",
	"#D55E00",
	"#009E73",
	"#CC79A7",
	"#E69F00",
	"#56B4E9",
	"#000000",
] as const; // without Okabe & Ito's yellow, which is too pale for a line on white
const symbols = ["circle", "rect", "triangle", "diamond"] as const;

/** How the row of that number looks in every chart. */
export const styleOf = (index: number) => ({
	color: palette[index % palette.length] as string,
	dash: index < palette.length ? ("solid" as const) : ("dashed" as const),
	symbol: symbols[index % symbols.length] as string,
});

/** Image AUROC of every task after every task, a panel a strategy: the mean over the seeds of the first order. */
export function matrixChart({ rows }: Comparison): string {
	const shown = rows.flatMap((row) => {
		const [first] = row.matrices;
		return first && first.matrix.length > 0 ? [{ row, ...first }] : [];
	});
	const tasks = Math.max(1, ...shown.map(({ matrix }) => matrix.length));
	const perLine = tasks <= 6 ? 3 : tasks <= 10 ? 2 : 1;
	const gapPx = 62;
	const plotPx = Math.floor((widthPx - 30) / perLine) - gapPx; // square cells would waste half of the page
	const cellPx = Math.max(16, Math.min(26, plotPx / tasks));
	const plotHeightPx = Math.round(cellPx * tasks);
	const panelPx = plotHeightPx + 72;
	const low = lightEnd(shown.flatMap(({ matrix }) => matrix));
	const captions = captionLines(shown);
	const topPx = 62 + 15 * captions.length;
	const lines = Math.ceil(shown.length / perLine);
	const at = (k: number) => ({
		left: 52 + (k % perLine) * (plotPx + gapPx),
		top: topPx + 22 + Math.floor(k / perLine) * panelPx,
	});
	const names = (count: number) =>
		Array.from({ length: count }, (_, j) => String(j + 1));
	const heightPx = topPx + lines * panelPx + 50;
	return draw(heightPx, {
		title: [
			mainTitle(
				"Image AUROC (%) on task j after learning task i",
				captions.join("\n"),
			),
			...shown.map(({ row }, k) => ({
				text: row.label,
				left: at(k).left + plotPx / 2,
				top: at(k).top - 22,
				textAlign: "center" as const,
				textStyle: { fontSize: 13, color: ink },
				padding: 0,
			})),
		],
		grid: shown.map((_, k) => ({
			...at(k),
			width: plotPx,
			height: plotHeightPx,
			containLabel: false,
		})),
		xAxis: shown.map(({ matrix }, k) => ({
			type: "category" as const,
			gridIndex: k,
			data: names(matrix.length),
			name: "task j",
			nameGap: 24,
			...axisLook,
			axisLine: { show: false },
			axisTick: { show: false },
		})),
		yAxis: shown.map(({ matrix }, k) => ({
			type: "category" as const,
			gridIndex: k,
			data: names(matrix.length),
			inverse: true,
			name: "after task i",
			nameGap: 22,
			...axisLook,
			axisLine: { show: false },
			axisTick: { show: false },
		})),
		visualMap: {
			type: "continuous",
			min: 100 * low,
			max: 100,
			calculable: false,
			orient: "horizontal",
			left: "center",
			bottom: 8,
			itemWidth: 12,
			itemHeight: 240,
			text: ["100 %", `${(100 * low).toFixed(0)} %`],
			textStyle: { color: ink },
			inRange: shades,
			seriesIndex: shown.map((_, k) => k),
		},
		series: shown.map(({ matrix }, k) => ({
			xAxisIndex: k,
			yAxisIndex: k,
			...heat(matrix, low, plotPx / tasks < 34 ? 9 : 11, ink),
		})),
	});
}

/** One hue, from the least to the best. */
export const shades = { color: ["#f1f5fa", "#0b3c6f"] };

/** Where the lightest shade stands: a whole tenth, so that figures of several runs look alike; at most .5. */
export function lightEnd(matrix: Matrix): number {
	const values = matrix.flat().filter((value) => value !== null);
	return Math.min(0.5, Math.floor(10 * Math.min(1, ...values)) / 10);
}

/** The cells of a matrix of shares as a series, each with its percentage; `dark` is the ink on light cells. */
export function heat(
	matrix: Matrix,
	low: number,
	fontSize: number,
	dark: string,
): HeatmapSeriesOption {
	return {
		type: "heatmap",
		itemStyle: { borderColor: "#fff", borderWidth: 1 },
		data: matrix.flatMap((line, i) =>
			line.flatMap((value, j) =>
				value === null
					? []
					: [
							{
								value: [j, i, 100 * value],
								label: {
									show: true,
									formatter: (100 * value).toFixed(1),
									fontSize,
									// white on the darker part
									color: value - low > 0.58 * (1 - low) ? "#fff" : dark,
								},
							},
						],
			),
		),
	};
}

/** "Order 1: 1 bottle, 2 pcb", wrapped to the width of the page; each order that is shown once. */
function captionLines(
	shown: readonly {
		readonly order: number;
		readonly tasks: readonly string[];
	}[],
): string[] {
	const orders = new Map(
		shown.map(({ order, tasks }) => [
			JSON.stringify([order, tasks]),
			{ order, tasks },
		]),
	);
	return [...orders.values()].flatMap(({ order, tasks }) =>
		wrap(
			tasks.map(
				(id, j) =>
					`${j === 0 ? `Order ${order}: ` : ""}${j + 1} ${id}${j < tasks.length - 1 ? "," : ""}`,
			),
			130,
		),
	);
}

/** Average and forgetting over the tasks seen, after each: two panels, a line a strategy, a band of one deviation either way. */
export function sequenceChart({ rows }: Comparison): string {
	const panels = [
		{ title: "Average over the tasks seen", curve: "average" },
		{ title: "Forgetting over the tasks seen", curve: "forgetting" },
	] as const;
	const plotPx = 300;
	const legendPx = 80 + namesPx(rows);
	const steps = Math.max(1, ...rows.map(({ curves }) => curves.average.length));
	const series = panels.flatMap(({ curve }, panel) =>
		rows.flatMap((row, index) => [
			...band(row, row.curves[curve], panel, index),
			line(row, row.curves[curve], panel, index),
		]),
	);
	return draw(70 + panels.length * (plotPx + 66), {
		title: [
			mainTitle(
				"Over the sequence",
				"Mean over cells, band: one standard deviation. A strategy that is evaluated only at the end has a single point.",
			),
			...panels.map(({ title }, panel) => ({
				text: title,
				left: 64,
				top: 66 + panel * (plotPx + 66),
				textStyle: { fontSize: 13, color: ink },
				padding: 0,
			})),
		],
		legend: {
			orient: "vertical",
			left: widthPx - legendPx + 14,
			top: 88,
			itemGap: 8,
			itemWidth: 34,
			textStyle: { color: ink, fontSize: 12 },
			data: rows.map((row) => row.label),
		},
		grid: panels.map((_, panel) => ({
			left: 64,
			width: widthPx - legendPx - 64,
			top: 88 + panel * (plotPx + 66),
			height: plotPx - 24,
		})),
		xAxis: panels.map((_, panel) => ({
			type: "category" as const,
			gridIndex: panel,
			data: Array.from({ length: steps }, (_, i) => String(i + 1)),
			name: "tasks learnt",
			nameGap: 26,
			...axisLook,
		})),
		yAxis: panels.map((_, panel) => ({
			type: "value" as const,
			gridIndex: panel,
			scale: true,
			name: "image AUROC (%)",
			nameGap: 40,
			splitLine: { lineStyle: { color: faint } },
			...axisLook,
		})),
		series,
	});
}

export const inPercent = (value: number | null) =>
	value === null ? null : 100 * value;

function line(
	row: ComparisonRow,
	points: readonly Point[],
	panel: number,
	index: number,
): LineSeriesOption {
	const { color, dash, symbol } = styleOf(index);
	return {
		type: "line",
		name: row.label,
		xAxisIndex: panel,
		yAxisIndex: panel,
		data: points.map((point) => inPercent(point.mean)),
		symbol,
		symbolSize: 8,
		showAllSymbol: true,
		itemStyle: { color },
		lineStyle: { color, type: dash, width: 2 },
		z: 3,
	};
}

/** Two stacked lines without strokes: the lower end, and an area as high as the band on top of it. */
function band(
	row: ComparisonRow,
	points: readonly Point[],
	panel: number,
	index: number,
): LineSeriesOption[] {
	const { color } = styleOf(index);
	if (!points.some(({ deviation }) => deviation !== null && deviation > 0))
		return [];
	const side = (value: (mean: number, deviation: number) => number) =>
		points.map(({ mean, deviation }) =>
			mean === null || deviation === null ? null : 100 * value(mean, deviation),
		);
	const invisible: LineSeriesOption = {
		type: "line",
		xAxisIndex: panel,
		yAxisIndex: panel,
		stack: `band ${panel} ${row.label}`,
		stackStrategy: "all", // the lower end may be negative
		symbol: "none",
		lineStyle: { opacity: 0 },
		silent: true,
		z: 1,
	};
	return [
		{ ...invisible, data: side((mean, deviation) => mean - deviation) },
		{
			...invisible,
			data: side((_, deviation) => 2 * deviation),
			areaStyle: { color, opacity: 0.09 },
		},
	];
}

/** Average at the end against the memory kept for earlier tasks: up and to the left is better. */
export function memoryChart({ rows }: Comparison): string {
	const points = rows.flatMap((row, index) => {
		const average = row.figures.average.mean;
		const bytes = row.figures.memoryBytes.mean;
		return average === null || bytes === null
			? []
			: [{ label: row.label, index, average, bytes }];
	});
	const shown = points.filter(({ bytes }) => bytes > 0);
	const nothing = points.filter(({ bytes }) => bytes <= 0); // a logarithm has no place for them
	const labelPx = 40 + namesPx(rows);
	return draw(Math.max(460, 140 + 20 * shown.length), {
		title: mainTitle(
			"Average against memory",
			nothing.length > 0
				? `Not shown, as it keeps nothing: ${nothing.map(({ label, average }) => `${label} (${(100 * average).toFixed(1)} %)`).join(", ")}.`
				: "Everything kept for earlier tasks: densities, banks, buffers, and what the strategy adds.",
		),
		grid: {
			left: 64,
			right: labelPx,
			top: 70,
			bottom: 56,
		},
		xAxis: {
			type: "log",
			name: "memory (bytes)",
			nameGap: 28,
			...decades(shown.map(({ bytes }) => bytes)),
			splitLine: { lineStyle: { color: faint } },
			...axisLook,
			axisLabel: { ...axisLook.axisLabel, formatter: powerOfTen },
		},
		yAxis: {
			type: "value",
			name: "average image AUROC (%)",
			nameGap: 40,
			scale: true,
			splitLine: { lineStyle: { color: faint } },
			...axisLook,
		},
		series: shown.map(({ label, index, average, bytes }) => {
			const { color, symbol } = styleOf(index);
			return {
				type: "scatter" as const,
				name: label,
				symbol,
				symbolSize: 11,
				itemStyle: { color },
				data: [[bytes, 100 * average]],
				// names stand in a column at the right, each tied to its point: points may lie on each other
				label: {
					show: true,
					position: "right" as const,
					formatter: () => `\u00a0${label}`, // a gap to its line
					color: ink,
					fontSize: 12,
				},
				labelLayout: {
					x: widthPx - labelPx + 16,
					align: "left",
					verticalAlign: "middle",
					moveOverlap: "shiftY",
				},
				labelLine: {
					show: true,
					length2: 5,
					lineStyle: { color, opacity: 0.6, type: styleOf(index).dash },
				},
			} satisfies ScatterSeriesOption;
		}),
	});
}

/** Room for the longest label, within reason. */
const namesPx = (rows: readonly ComparisonRow[]) =>
	Math.min(280, 7.5 * Math.max(12, ...rows.map(({ label }) => label.length)));

/** Whole powers of ten around the values, one at least. */
function decades(values: readonly number[]): { min: number; max: number } {
	const low = Math.floor(Math.log10(Math.min(...values, Number.MAX_VALUE)));
	const high = Math.ceil(Math.log10(Math.max(...values, 1)));
	return values.length === 0
		? { min: 1, max: 10 }
		: { min: 10 ** low, max: 10 ** Math.max(high, low + 1) };
}

const superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const powerOfTen = (value: number) =>
	`10${[...String(Math.round(Math.log10(value)))].map((digit) => superscripts[Number(digit)] ?? digit).join("")}`;

export const axisLook = {
	nameLocation: "middle",
	nameTextStyle: { color: ink, fontSize: 12 },
	axisLabel: { color: ink, fontSize: 11 },
	axisLine: { show: true, lineStyle: { color: "#888" } },
} as const;

const mainTitle = (text: string, subtext: string): TitleComponentOption => ({
	text,
	subtext,
	left: 16,
	top: 12,
	padding: 0,
	itemGap: 6,
	textStyle: { fontSize: 16, color: ink },
	subtextStyle: { fontSize: 12, color: "#555", lineHeight: 15 },
});

function wrap(words: readonly string[], letters: number): string[] {
	const lines: string[] = [];
	for (const word of words) {
		const last = lines.at(-1);
		if (last !== undefined && last.length + 1 + word.length <= letters)
			lines[lines.length - 1] = `${last} ${word}`;
		else lines.push(word);
	}
	return lines;
}

/** The chart as an SVG file of its own, dark on white. */
export function draw(
	heightPx: number,
	option: Option,
	width: number = widthPx,
): string {
	const chart = init(null, null, {
		renderer: "svg",
		ssr: true,
		width,
		height: heightPx,
	});
	try {
		chart.setOption({
			animation: false,
			backgroundColor: "#fff",
			textStyle: { fontFamily: "Helvetica, Arial, 'DejaVu Sans', sans-serif" },
			...option,
		});
		return numberedAnew(chart.renderToSVGString());
	} finally {
		chart.dispose();
	}
}

/** ECharts counts its ids through the whole process: here they start again with every chart. */
function numberedAnew(svg: string): string {
	const ids = new Map<string, string>();
	return svg.replaceAll(/\bzr\d+-[\w-]+/g, (id) => {
		const known = ids.get(id) ?? `id${ids.size}`;
		ids.set(id, known);
		return known;
	});
}

/**
 * The picture as PNG, twice as large for sharp text. It is made in a process of its own: data/image.ts blocks libvips' SVG
 * loader in this one, since pictures from outside must never reach it, and a block holds for the whole process.
 */
export function toPng(svg: string): Promise<Buffer> {
	const sharp = pathToFileURL(
		createRequire(import.meta.url).resolve("sharp"),
	).href;
	const script = `
		import sharp from ${JSON.stringify(sharp)};
		process.once("message", async (svg) => {
			const png = await sharp(Buffer.from(svg), { density: 144 }).png().toBuffer();
			process.send(png, () => process.disconnect());
		});`;
	return new Promise((resolve, reject) => {
		const child = spawn(
			process.execPath,
			["--input-type=module", "--eval", script],
			{
				stdio: ["ignore", "ignore", "pipe", "ipc"],
				serialization: "advanced",
			},
		);
		let complaint = "";
		child.stderr?.setEncoding("utf8").on("data", (part: string) => {
			complaint += part;
		});
		child.once("error", reject);
		child.once("message", (png) => resolve(Buffer.from(png as Uint8Array)));
		child.once("close", (code) =>
			reject(
				new Error(
					`The chart was not rendered (exit code ${code}): ${complaint}`,
				),
			),
		);
		child.send(svg);
	});
}
