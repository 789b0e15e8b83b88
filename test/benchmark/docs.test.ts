/** The tables of the documentation are those of the run that is kept. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { Cell, Figures, Table } from "../../src/benchmark/figures.ts";
import { protocolOf } from "../../src/benchmark/protocol.ts";
import {
	benchmarkMarkdown,
	tableMarkdown,
} from "../../src/reports/benchmark.ts";

const run = (file: string) =>
	JSON.parse(readFileSync(`bench/results/${file}.json`, "utf8")) as Figures & {
		readonly protocol: unknown;
	};
const kept = run("keepsight-100");
const others = [1, 2].map((seed) => run(`keepsight-100-seed-${seed}`));

/** Lines that are no empty ones, without what the formatter pads. */
const lines = (text: string): string[] =>
	text
		.split("\n")
		.map((line) => line.replace(/ +/g, " ").replace(/-{3,}/g, "---").trim())
		.filter((line) => line !== "");

it("docs/keepsight-100.md has all of them", () => {
	const page = readFileSync("docs/keepsight-100.md", "utf8");
	const results = page.split("\n## Results\n")[1]?.split("\n## ")[0] ?? "";
	expect(lines(results).join("\n")).toContain(
		lines(benchmarkMarkdown(kept)).join("\n"),
	);
});

it("and beside each other what each seed gave", () => {
	const summaries = [kept, ...others].map(({ tables }) => tables[0] as Table);
	const [{ rows }] = summaries as [Table];
	const table: Table = {
		name: "seeds",
		title: "Other seeds",
		columns: summaries.map((_, seed) => `seed ${seed}`),
		rows: rows.map(({ label }, i) => ({
			label,
			cells: summaries.map((one) => {
				expect(one.rows[i]?.label).toBe(label);
				const [cell = { value: null }] = one.rows[i]?.cells ?? [];
				const { interval: _, ...shown }: Cell = cell;
				return shown;
			}),
		})),
	};
	expect(
		lines(readFileSync("docs/keepsight-100.md", "utf8")).join("\n"),
	).toContain(lines(tableMarkdown(table)).join("\n"));
});

it("README.md has rows of the first", () => {
	const section =
		readFileSync("README.md", "utf8").split("### Keepsight-100\n")[1] ?? "";
	const rows = lines(section.split("\n#")[0] ?? "")
		.filter((line) => line.startsWith("|"))
		.slice(2);
	expect(rows.length).toBeGreaterThanOrEqual(12);
	const [summary] = kept.tables;
	expect(summary && lines(tableMarkdown(summary))).toEqual(
		expect.arrayContaining(rows),
	);
});

it("they were the whole benchmark, as it is today", () => {
	for (const [seed, { protocol }] of [kept, ...others].entries())
		expect(protocol).toEqual(protocolOf(100, seed));
});
