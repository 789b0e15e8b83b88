/** How the good pictures of a product scored, the threshold as a line, and marks of what was called bad. */
import { useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Theme } from "../theme.ts";
import { axisOf, Chart, type Drawing } from "./Chart.tsx";

const bins = 40;
const bars = uPlot.paths.bars?.({ size: [0.86, 60] });

export function Histogram({
	scores,
	bad,
	threshold,
	end,
	label,
}: {
	readonly scores: readonly number[];
	readonly bad: readonly number[];
	readonly threshold: number;
	/** The largest score that is drawn; what is beyond stands in the last bar. */
	readonly end: number;
	readonly label: string;
}) {
	const line = useRef(threshold);
	line.current = threshold;
	const data = useMemo<uPlot.AlignedData>(() => {
		const counts = new Array<number>(bins).fill(0);
		for (const score of scores) {
			const bin = binOf(score, end);
			counts[bin] = (counts[bin] ?? 0) + 1;
		}
		return [
			counts.map((_, i) => ((i + 0.5) * end) / bins),
			counts.map((count) => (count === 0 ? null : count)),
		];
		// the threshold: a moved line is drawn anew
	}, [scores, end, threshold]);
	const options = useMemo(
		() => (theme: Theme) => optionsOf(theme, end, bad, line),
		[end, bad],
	);
	return <Chart options={options} data={data} heightRem={14} label={label} />;
}

const binOf = (score: number, end: number): number =>
	Math.min(bins - 1, Math.max(0, Math.floor((score / end) * bins)));

function optionsOf(
	theme: Theme,
	end: number,
	bad: readonly number[],
	line: { readonly current: number },
): ReturnType<Drawing["options"]> {
	const axis = axisOf(theme);
	return {
		cursor: { show: false },
		padding: [0.5 * theme.rem, theme.rem, 0, 0],
		scales: {
			x: { time: false, range: [0, end] as [number, number] },
			y: {
				range: (_: uPlot, __: number, max: number): [number, number] => [
					0,
					Math.max(4, 1.1 * max),
				],
			},
		},
		axes: [
			{ ...axis, size: 1.6 * theme.rem, space: 3.5 * theme.rem },
			{
				...axis,
				size: 2.6 * theme.rem,
				incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000],
			},
		],
		series: [
			{},
			{
				fill: theme.accent,
				width: 0,
				points: { show: false },
				...(bars && { paths: bars }),
			},
		],
		hooks: {
			draw: [
				(plot: uPlot) => {
					drawMarks(plot, theme, end, bad);
					drawLine(plot, theme, line.current);
				},
			],
		},
	};
}

function drawLine(plot: uPlot, theme: Theme, threshold: number): void {
	const { ctx, bbox } = plot;
	const x = Math.round(plot.valToPos(threshold, "x", true));
	ctx.save();
	ctx.strokeStyle = theme.ink;
	ctx.lineWidth = 2 * devicePixelRatio;
	ctx.beginPath();
	ctx.moveTo(x, bbox.top);
	ctx.lineTo(x, bbox.top + bbox.height);
	ctx.stroke();
	ctx.restore();
}

/** A diamond on the axis for each. */
function drawMarks(
	plot: uPlot,
	theme: Theme,
	end: number,
	bad: readonly number[],
): void {
	const { ctx, bbox } = plot;
	const r = 0.4 * theme.rem * devicePixelRatio;
	const y = bbox.top + bbox.height - r;
	ctx.save();
	ctx.fillStyle = theme.bad;
	for (const score of bad) {
		const x = plot.valToPos(Math.min(score, end), "x", true);
		ctx.beginPath();
		ctx.moveTo(x, y - r);
		ctx.lineTo(x + r, y);
		ctx.lineTo(x, y + r);
		ctx.lineTo(x - r, y);
		ctx.fill();
	}
	ctx.restore();
}
