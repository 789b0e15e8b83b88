import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { memories } from "../src/memory/index.ts";
import { pretexts } from "../src/pretext/index.ts";
import { strategies } from "../src/strategies/index.ts";

const readme = readFileSync("README.md", "utf8");

/** Rows "| `name` | title |" of the table with this first heading; the formatter pads cells. */
function rowsOf(heading: string): string[] {
	const table = readme.split(new RegExp(`^\\| ${heading} +\\|`, "m"))[1] ?? "";
	return [
		...(table.split("\n\n")[0] as string).matchAll(
			/^\| `([\w+]+)` +\| (.*?) +\|$/gm,
		),
	].map(([, name, title]) => `${name}: ${title}`);
}

describe("README.md", () => {
	it.each([
		["strategy", strategies],
		["pretext", pretexts],
		["memory", memories],
	])("the table of %s equals the registry", (heading, registry) => {
		expect(rowsOf(heading)).toEqual(
			Object.entries(registry).map(([name, { title }]) => `${name}: ${title}`),
		);
	});
});
