/** The scores of one product over time with its threshold; scores below 0 or beyond three times the threshold stand at the edges. */
import { useMemo } from "preact/hooks";
import type uPlot from "uplot";
import type { HistoryRow } from "../../../src/server/api.ts";
import { formatClock, formatScore } from "../format.ts";
import { text } from "../text.ts";
import type { Theme } from "../theme.ts";
import { axisOf, Chart } from "./Chart.tsx";

const heightRem = 11;

export function ScoresOverTime({
	task,
	rows,
}: {
	readonly task: string;
	/** Of this product, the newest first. */
	readonly rows: readonly HistoryRow[];
}) {
	const scored = useMemo(
		() =>
			rows
				.filter(({ score, threshold }) => score !== null && threshold !== null)
				.toReversed(),
		[rows],
	);
	const threshold = scored.at(-1)?.threshold ?? 0;
	const top = Math.max(1, 3 * threshold);
	const data = useMemo<uPlot.AlignedData>(() => {
		const times = scored.map(({ at }) => Date.parse(at) / 1000);
		const column = (value: (row: HistoryRow) => number | null) =>
			scored.map(value);
		const seen = ({ score }: HistoryRow) =>
			Math.min(top, Math.max(0, score ?? 0));
		return [
			times,
			column((row) => (row.anomalous ? null : seen(row))),
			column((row) => (row.anomalous ? seen(row) : null)),
			column((row) => row.threshold),
		];
	}, [scored, top]);
	const options = useMemo(() => optionsFor(top), [top]);
	return (
		<figure class="card plot">
			<figcaption>{task}</figcaption>
			<Chart
				options={options}
				data={data}
				heightRem={heightRem}
				label={text.live.chart(
					task,
					scored.length,
					scored.filter(({ anomalous }) => anomalous).length,
					formatScore(threshold),
				)}
			/>
		</figure>
	);
}

const optionsFor = (top: number) => (theme: Theme) => {
	const axis = axisOf(theme);
	const points = (fill: string, size: number): uPlot.Series => ({
		paths: () => null,
		points: { show: true, size, fill, stroke: fill },
	});
	return {
		cursor: { show: false },
		padding: [0.5 * theme.rem, 2 * theme.rem, 0, 0] as uPlot.Padding,
		scales: { y: { range: [0, 1.06 * top] as [number, number] } },
		axes: [
			{
				...axis,
				size: 1.6 * theme.rem,
				space: 4.5 * theme.rem,
				values: (
					_: uPlot,
					ticks: number[],
					__: number,
					___: number,
					step: number,
				) => ticks.map((tick) => formatClock(tick, step)),
			},
			{
				...axis,
				size: 2.6 * theme.rem,
				values: (_: uPlot, ticks: number[]) =>
					ticks.map((tick) => String(Number(tick.toFixed(1)))),
			},
		],
		series: [
			{},
			points(theme.accent, 0.32 * theme.rem),
			points(theme.bad, 0.6 * theme.rem),
			{ stroke: theme.ink, width: 1.5, dash: [6, 4], points: { show: false } },
		],
	};
};
