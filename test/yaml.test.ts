import { describe, expect, it } from "vitest";
import { parseYaml } from "../src/yaml.ts";

const long = "word ".repeat(50).trim();
const spaces = " ".repeat(120);

describe("long lines are no nesting", () => {
	it.each([
		["a block of text", `a: |\n  ${long}\n  ${long}\n`, `${long}\n${long}\n`],
		["a folded block", `a: >-\n  ${long}\n  ${long}\n`, `${long} ${long}`],
		["a list of one", `a: |\n${spaces}- b\n`, "- b\n"],
		["brackets in a block", `a: |\n  ]\n  ]\n`, "]\n]\n"],
		["quoted, over two lines", `a: "${long}\n  ${long}"\n`, `${long} ${long}`],
		["a remark far to the right", `a: b${spaces}# c\n`, "b"],
		["a value far to the right", `a:${spaces}b\n`, "b"],
		[
			"a list that goes on far to the right",
			`a: [b,\n${spaces}c]\n`,
			["b", "c"],
		],
	])("%s", (_, text, value) => {
		expect(parseYaml(text).value).toEqual({ a: value });
	});
});

const levels = (n: number) => Array.from({ length: n }, (_, i) => i);

describe("what is nested too deeply is refused before it is parsed", () => {
	it.each([
		["brackets", "[".repeat(101)],
		["brackets, one a line", "[\n".repeat(101)],
		["brackets after a text", `a: |\n  ${long}\nb: ${"[".repeat(101)}`],
		["indicators of one line", "- ".repeat(101)],
		[
			"indentation",
			levels(102)
				.map((i) => `${" ".repeat(i)}a:\n`)
				.join(""),
		],
		[
			"indentation after a text",
			`b: |\n  ${long}\n${levels(102)
				.map((i) => `${" ".repeat(i)}a:\n`)
				.join("")}`,
		],
		[
			"indentation, with Windows' ends of lines",
			levels(102)
				.map((i) => `${" ".repeat(i)}a:\r\n`)
				.join(""),
		],
	])("%s", (_, text) => {
		expect(() => parseYaml(text)).toThrow(
			/^it is nested more than 100 levels deep$/,
		);
	});
});
