/** The tables of the documentation are those of the run that is kept. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { Figures } from "../../src/benchmark/figures.ts";
import { protocolOf } from "../../src/benchmark/protocol.ts";
import {
	benchmarkMarkdown,
	tableMarkdown,
} from "../../src/reports/benchmark.ts";

const kept = JSON.parse(
	readFileSync("bench/results/keepsight-100.json", "utf8"),
) as Figures & { readonly protocol: unknown };

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

it("it was the whole benchmark, as it is today", () => {
	expect(kept.protocol).toEqual(protocolOf(100, 0));
});
