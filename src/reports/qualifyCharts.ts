/** Charts of a qualification, drawn as those of a run are: scores of parts seen again and again, probability of detection over size. */
import type { ScatterSeriesOption } from "echarts/charts";
import {
	type DetectionCurve,
	probabilityAt,
	safeProbabilityAt,
	type Trial,
} from "../metrics/detection.ts";
import type { Detection } from "../qualify/detection.ts";
import type { Gauge } from "../qualify/gauge.ts";
import { axisLook, draw, faint, ink, styleOf } from "./charts.ts";
import {
	bar,
	heading,
	legendBelow,
	legendLook,
	short,
	widthPx,
} from "./runCharts.ts";

/** Parts that are drawn, at most: those whose scores spread most. */
const PARTS = 40;

/** Every score of every part, the steadiest part above; the dashed line is the threshold. Wide enough for the page. */
export function gaugeChart({ parts }: Gauge, threshold: number): string {
	const shown = parts
		.filter(({ answers }) => answers.length > 0)
		.toSorted((a, b) => (b.mean as number) - (a.mean as number));
	const few = shown.length > PARTS ? mostSpread(shown) : shown;
	const names = few.map(({ name }) => short(name, 24));
	const plotPx = 18 * few.length + 12;
	const side = (above: boolean): ScatterSeriesOption => ({
		type: "scatter",
		name: above ? "stopped" : "passed",
		symbol: above ? "rect" : "circle",
		symbolSize: 7,
		itemStyle: {
			color: styleOf(above ? 1 : 0).color,
			opacity: 0.7,
		},
		data: few.flatMap(({ answers }, i) =>
			answers
				.filter(({ stopped }) => stopped === above)
				.map(({ score }) => [score, i]),
		),
	});
	const least = Math.min(
		0,
		...few.flatMap(({ answers }) => answers.map(({ score }) => score)),
	);
	return draw(
		plotPx + 108,
		{
			title: heading(
				"Scores of every part",
				few.length < shown.length
					? `the ${few.length} parts whose scores spread most`
					: "",
			),
			legend: {
				...legendLook,
				left: 12,
				top: few.length < shown.length ? 46 : 31,
				itemGap: 20,
				itemWidth: 16,
				data: [
					"passed",
					"stopped",
					{ name: `threshold ${threshold.toFixed(2)}`, icon: bar },
				],
			},
			grid: {
				left: 20 + 6.5 * Math.max(4, ...names.map((name) => name.length)),
				right: 18,
				top: 66,
				height: plotPx,
			},
			xAxis: {
				type: "value",
				min: Math.floor(least),
				name: "score",
				nameGap: 24,
				splitLine: { lineStyle: { color: faint } },
				...axisLook,
			},
			yAxis: {
				type: "category",
				data: names.map((name, i) => ({ value: `${i} ${name}` })),
				inverse: true,
				splitLine: { show: true, lineStyle: { color: faint } },
				...axisLook,
				axisTick: { show: false },
				axisLabel: {
					...axisLook.axisLabel,
					interval: 0,
					formatter: (text: string) => text.replace(/^\d+ /, ""), // numbered, as two may be shortened to the same
				},
			},
			series: [
				side(false),
				side(true),
				{
					type: "line",
					name: `threshold ${threshold.toFixed(2)}`,
					symbol: "none",
					lineStyle: { color: ink, width: 1.5, type: "dashed" },
					itemStyle: { color: ink },
					data: [
						[threshold, 0],
						[threshold, few.length - 1],
					],
				},
			],
		},
		widthPx,
	);
}

function mostSpread(parts: Gauge["parts"]): Gauge["parts"] {
	const spread = parts.toSorted(
		(a, b) => (b.deviation ?? 0) - (a.deviation ?? 0),
	);
	const chosen = new Set(spread.slice(0, PARTS));
	return parts.filter((part) => chosen.has(part));
}

/** Fitted curve, its lower bound, and what was counted of every size, with its interval; sizes on a scale of powers of two. */
export function detectionChart(found: Detection): string {
	const { sizes, curve, trials, mmPerPixel, a90, a90Safe } = found;
	const diameters = sizes.map(({ diameter }) => diameter);
	const [low, high] = [Math.min(...diameters), Math.max(...diameters)];
	const points = trials.map(({ diameter, hit }) => ({ size: diameter, hit }));
	const entries = [
		"counted, with 95 % interval",
		...(curve
			? [
					{ name: "fitted", icon: bar },
					{ name: "lower 95 % bound", icon: bar },
				]
			: []),
		...(a90.value === null
			? []
			: [{ name: mark("a90", a90.value), icon: bar }]),
		...(a90Safe.value === null
			? []
			: [{ name: mark("a90/95", a90Safe.value), icon: bar }]),
	];
	const plotPx = 300;
	const legend = legendBelow(entries, 40 + plotPx + 56);
	const line = (
		name: string,
		data: readonly (readonly number[])[],
		color: string,
		type: "solid" | "dashed" | "dotted" = "solid",
	) => ({
		type: "line" as const,
		name,
		symbol: "none",
		lineStyle: { color, width: 2, type },
		itemStyle: { color },
		data: data.map((point) => [...point]),
	});
	const blue = styleOf(0).color;
	return draw(
		legend.bottomPx,
		{
			title: heading("Probability of detection"),
			legend: legend.option,
			grid: { left: 56, right: 24, top: 44, height: plotPx },
			xAxis: {
				type: "log",
				logBase: 2,
				min: 2 ** Math.floor(Math.log2(low)),
				max: 2 ** Math.ceil(Math.log2(Math.max(high, low + 1))),
				name:
					mmPerPixel === null
						? "diameter (px)"
						: `diameter (px; 1 px = ${mmPerPixel} mm)`,
				nameGap: 26,
				splitLine: { lineStyle: { color: faint } },
				...axisLook,
			},
			yAxis: {
				type: "value",
				min: 0,
				max: 100,
				name: "found (%)",
				nameGap: 38,
				splitLine: { lineStyle: { color: faint } },
				...axisLook,
			},
			series: [
				...sizes.map(({ diameter, hits }) => ({
					...line(
						"interval",
						hits.interval.map((end) => [diameter, 100 * end]),
						"#888",
					),
					lineStyle: { color: "#888", width: 1.2 },
				})),
				{
					type: "scatter",
					name: "counted, with 95 % interval",
					symbolSize: 7,
					itemStyle: { color: ink },
					data: sizes.flatMap(({ diameter, hits }) =>
						hits.value === null ? [] : [[diameter, 100 * hits.value]],
					),
				},
				...(curve
					? [
							line("fitted", fitted(curve, low, high), blue),
							line(
								"lower 95 % bound",
								bounded(curve, points, low, high),
								styleOf(5).color,
								"dashed",
							),
						]
					: []),
				...[a90, a90Safe].flatMap(({ value }, i) =>
					value === null
						? []
						: [
								line(
									mark(i === 0 ? "a90" : "a90/95", value),
									[
										[value, 0],
										[value, 90],
									],
									styleOf(1 + i).color,
									i === 0 ? "solid" : "dotted",
								),
							],
				),
			],
		},
		widthPx,
	);
}

const mark = (name: string, px: number) => `${name}: ${px.toPrecision(3)} px`;

/** As many sizes as a line needs to look smooth, evenly over the logarithm. */
const along = (low: number, high: number): readonly number[] =>
	Array.from({ length: 49 }, (_, i) => low * (high / low) ** (i / 48));

const fitted = (curve: DetectionCurve, low: number, high: number) =>
	along(low, high).map((size) => [size, 100 * probabilityAt(curve, size)]);

const bounded = (
	curve: DetectionCurve,
	trials: readonly Trial[],
	low: number,
	high: number,
) =>
	along(low, high).map((size) => [
		size,
		100 * safeProbabilityAt(curve, trials, size),
	]);
