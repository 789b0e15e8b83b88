import { describe, expect, test } from "vitest";
import "../../src/data/image.ts"; // blocks libvips' SVG loader, as it does in every command
import {
	matrixChart,
	memoryChart,
	sequenceChart,
	toPng,
} from "../../src/reports/charts.ts";
import { type Comparison, summarise } from "../../src/study/summary.ts";
import { madeUpCells, makeCell } from "../study/made-up.ts";

const comparison = summarise(madeUpCells(20), [], { draws: 2 });
const charts = { matrixChart, sequenceChart, memoryChart };
const withoutTags = (svg: string) =>
	[...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text);
/** A small one, so that snapshots stay readable. */
const small = summarise(
	["finetune", "joint"].map((label) =>
		makeCell({
			label,
			tasks: [
				["mvtec/bottle", "mvtec"],
				["mvtec/screw", "mvtec"],
			],
			separation: (i, j) =>
				j > i || (label === "joint" && i < 1) ? null : 2 - (i - j),
		}),
	),
	[],
	{ draws: 2 },
);

describe.each(Object.entries(charts))("%s", (_, chart) => {
	test("the same bytes again, whatever was drawn in between", () => {
		const first = chart(comparison);
		matrixChart(small);
		expect(chart(comparison) === first).toBe(true);
		expect(first).not.toMatch(/\bzr\d/);
	});
	test("every label is there, nothing is NaN", () => {
		const svg = chart(comparison);
		const texts = withoutTags(svg).map((text) => text?.replace("\u00a0", ""));
		for (const { label } of comparison.rows) expect(texts).toContain(label);
		expect(svg).not.toMatch(/NaN|undefined|Infinity/);
		expect(svg).toMatch(/^<svg width="900" height="\d+"/);
	});
	test("as it is", () => {
		expect(chart(small).replaceAll("><", ">\n<")).toMatchSnapshot();
	});
	test("nothing to show is an empty chart, no error", () => {
		expect(chart(summarise([], []))).not.toMatch(/NaN|undefined|Infinity/);
	});
	test("hostile names stay text", () => {
		const hostile: Comparison = {
			...small,
			rows: small.rows.map((row) => ({ ...row, label: '<b a="{a}">&{b}' })),
		};
		const svg = chart(hostile);
		expect(svg).not.toContain("<b");
		expect(svg).toContain("&lt;b a=");
		expect(svg).toContain("&amp;{b}");
	});
});

test("matrices print their values and leave null cells blank", () => {
	const cells = withoutTags(matrixChart(small)).filter((text) =>
		/^\d+\.\d$/.test(text ?? ""),
	);
	const values = small.rows
		.flatMap(({ matrices }) => matrices[0]?.matrix.flat() ?? [])
		.filter((value) => value !== null)
		.map((value) => (100 * value).toFixed(1));
	expect(cells.toSorted()).toEqual(values.toSorted());
	expect(values).toHaveLength(5); // a triangle of 3, and joint's last row
});

test("who keeps nothing has no place on a logarithm, and is named", () => {
	const [first, ...others] = small.rows;
	if (!first) throw new Error("no rows");
	const nothing = {
		...small,
		rows: [
			{
				...first,
				figures: {
					...first.figures,
					memoryBytes: { ...first.figures.memoryBytes, mean: 0 },
				},
			},
			...others,
		],
	};
	expect(memoryChart(nothing)).toContain(
		"Not shown, as it keeps nothing: finetune (",
	);
});

test("PNG of twice the size, although SVG is blocked in this process", async () => {
	const png = await toPng(memoryChart(small));
	expect(png.subarray(1, 4).toString()).toBe("PNG");
	expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([1800, 920]);
	await expect(toPng("no picture")).rejects.toThrow("was not rendered");
});
