import { describe, expect, test } from "vitest";
import {
	comparisonCsv,
	comparisonMarkdown,
	formatComparison,
} from "../../src/reports/tables.ts";
import type { Comparison } from "../../src/study/summary.ts";
import { summarise } from "../../src/study/summary.ts";
import { madeUpCells, makeCell } from "../study/made-up.ts";

const published = [
	{
		label: "A|B",
		source: {
			paper: 'Doe, "On lines", 2024',
			table: "table 2",
			address: "https://example.org/a",
		},
		setting: "15 tasks",
		average: 0.93,
		forgetting: null,
		note: "with task identity",
	},
];
const comparison = summarise(
	madeUpCells(20),
	[
		{ label: "si", seed: 4, order: 1, message: "killed,\nout of memory" },
		{ label: "agem", seed: 1, order: 1, message: "killed" },
	],
	{ draws: 10, published },
);

describe("console", () => {
	const text = formatComparison(comparison);
	test("as it is", () => {
		expect(text).toMatchSnapshot();
	});
	test("the table fits 120 columns, its columns stand under each other", () => {
		const lines = text.split("\n\n")[1]?.split("\n") as string[];
		expect(lines).toHaveLength(12);
		expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(
			120,
		);
		expect(new Set(lines.map((line) => line.length)).size).toBe(1);
	});
});

describe("the first line", () => {
	const plain = (label: string, separation: number) =>
		makeCell({ label, tasks: [["a", "mvtec"]], separation: () => separation });
	const first = (c: Comparison) => [
		formatComparison(c).split("\n")[0],
		comparisonMarkdown(c).split("\n")[0],
	];
	test("names the rows below the frozen backbone", () => {
		const line =
			"Training lowers the average below the frozen backbone for: finetune, si.";
		const c = summarise(
			[
				plain("frozen", 2),
				plain("finetune", 0),
				plain("si", 0),
				plain("gpm", 5),
			],
			[],
			{ draws: 2 },
		);
		expect(first(c)).toEqual([line, line]);
	});
	test("says so if there is none, or no frozen row", () => {
		expect(first(summarise([plain("frozen", 0), plain("gpm", 5)], []))[0]).toBe(
			"Training lowers no average below the frozen backbone's.",
		);
		for (const untold of [
			[plain("gpm", 5)],
			[plain("frozen", 0), plain("frozen k=2", 1)],
		])
			expect(first(summarise(untold, []))[0]).toMatch(
				/^Whether training pays is not said here/,
			);
	});
});

describe("Markdown", () => {
	const text = comparisonMarkdown(comparison);
	test("as it is", () => {
		expect(text).toMatchSnapshot();
	});
	test("every line of a table has as many cells as its head", () => {
		const tables = text
			.split("\n\n")
			.filter((part) => part.startsWith("|"))
			.map((part) =>
				part
					.trim()
					.split("\n")
					.map((line) => line.split(/(?<!\\)\|/).length),
			);
		expect(tables).toHaveLength(3);
		for (const counts of tables) expect(new Set(counts).size).toBe(1);
	});
	test("failed cells are footnotes, one line each", () => {
		expect(text).toContain(
			"- Failed: si, seed 4, order 1: killed, out of memory\n",
		);
		expect(text).toContain(
			"- Failed: agem, seed 1, order 1 (no other cell of it, so no row): killed\n",
		);
	});
});

describe("CSV", () => {
	/** RFC 4180, written anew. */
	const parse = (text: string) =>
		[
			...text.matchAll(
				/((?:"(?:[^"]|"")*"|[^",\r\n]*)(?:,(?:"(?:[^"]|"")*"|[^",\r\n]*))*)\r\n/g,
			),
		].map(([, line]) =>
			[...(line as string).matchAll(/(?:^|,)("(?:[^"]|"")*"|[^",]*)/g)].map(
				([, field]) =>
					(field as string).startsWith('"')
						? (field as string).slice(1, -1).replaceAll('""', '"')
						: (field as string),
			),
		);
	const [head = [], ...lines] = parse(comparisonCsv(comparison));
	const value = (label: string, name: string) =>
		lines.find((line) => line[0] === label)?.[head.indexOf(name)];

	test("every figure with all its digits, in a column of its own", () => {
		expect(lines).toHaveLength(12);
		for (const line of lines) expect(line).toHaveLength(head.length);
		expect(new Set(head).size).toBe(head.length);
		for (const row of comparison.rows)
			for (const [name, figure] of Object.entries(row.figures)) {
				const shown = [name, `${name}OverSeeds`, `${name}OverOrders`].map(
					(column) => value(row.label, column),
				);
				expect(
					shown.map((text) => (text === "" ? null : Number(text))),
				).toEqual([figure.mean, figure.overSeeds, figure.overOrders]);
			}
		expect(value("gpm", "differenceLow")).toBe(
			String(
				comparison.rows.find((row) => row.label === "gpm")?.difference.low,
			),
		);
		expect(value("lwf", "saturated")).toBe("2");
		expect(value("si", "failedCells")).toBe("1");
		expect(value("frozen", "deterministic")).toBe("true");
	});
	test("null is empty, a published row names its source", () => {
		expect(value("joint", "forgetting")).toBe("");
		expect(value("A|B", "average")).toBe("0.93");
		expect(value("A|B", "source")).toBe(
			'as published: Doe, "On lines", 2024, table 2, https://example.org/a',
		);
	});
});
