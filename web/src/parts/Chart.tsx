/** uPlot within the page: as wide as its place, in the colours of the scheme, with its meaning in words. */
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { useStore } from "../store.ts";
import { type Theme, theme } from "../theme.ts";

export interface Drawing {
	/** Made anew when this function changes. */
	readonly options: (
		theme: Theme,
	) => Omit<uPlot.Options, "width" | "height" | "legend">;
	readonly data: uPlot.AlignedData;
}

export function Chart({
	options,
	data,
	label,
	heightRem,
}: Drawing & { readonly label: string; readonly heightRem: number }) {
	const place = useRef<HTMLDivElement>(null);
	const plot = useRef<uPlot>(undefined);
	const latest = useRef(data);
	latest.current = data;
	const colours = useStore(theme);

	useEffect(() => {
		const target = place.current;
		if (!target) return;
		const height = heightRem * colours.rem;
		const chart = new uPlot(
			{
				...options(colours),
				legend: { show: false },
				width: target.clientWidth || 300,
				height,
			},
			latest.current,
			target,
		);
		plot.current = chart;
		const observer = new ResizeObserver(() =>
			chart.setSize({ width: target.clientWidth, height }),
		);
		observer.observe(target);
		return () => {
			observer.disconnect();
			chart.destroy();
			plot.current = undefined;
		};
	}, [options, colours, heightRem]);

	useEffect(() => plot.current?.setData(data), [data]);

	return <div class="chart" role="img" aria-label={label} ref={place} />;
}

/** An axis in the page's ink and size. */
export const axisOf = ({ soft, line, rem, font }: Theme): uPlot.Axis => ({
	stroke: soft,
	font: `${0.8 * rem}px ${font}`,
	grid: { stroke: line, width: 1 },
	ticks: { stroke: line, width: 1, size: 4 },
	gap: 4,
});
