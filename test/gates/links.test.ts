/** How the gates read Markdown, and which links they object to. */
import { describe, expect, it } from "vitest";
import { linkProblems } from "../../scripts/gates/links.js";
import { readMarkdown } from "../../scripts/gates/markdown.js";

describe("a page", () => {
	it("has anchors by GitHub's rules", () => {
		const { anchors } = readMarkdown(
			'# `predict`: what, where & *why*\n\n## Same\n\n## Same\n\n### A [link](b.md) über\n\n<a id="own"></a>\n',
		);
		expect([...anchors]).toEqual([
			"predict-what-where--why",
			"same",
			"same-1",
			"a-link-über",
			"own",
		]);
	});
	it("has links, pictures, HTML, and none in code", () => {
		const { links } = readMarkdown(
			'[a](a.md) ![b](b.png) `[c](c.md)`\n\n```sh\n[d](d.md)\n```\n\n<img src="e.png">\n\n| t |\n| --- |\n| [f][1] |\n\n[1]: f.md\n',
		);
		expect(links).toEqual([
			{ target: "a.md", line: 1 },
			{ target: "b.png", line: 1 },
			{ target: "e.png", line: 7 },
			{ target: "f.md", line: 11 },
		]);
	});
	it("has blocks with the comments just above them", () => {
		const { blocks, codes } = readMarkdown(
			"<!-- one -->\n\n<!-- two: a\nb -->\n\n```sh extra\nx\n```\n\n<!-- far -->\n\nText `y`.\n\n- item\n\n  ```\n  z\n  ```\n\nText:\n\n    u\n    v\n",
		);
		expect(blocks).toEqual([
			{ language: "sh", text: "x\n", line: 6, notes: ["one", "two: a\nb"] },
			{ language: "", text: "z\n", line: 16, notes: [] },
		]);
		expect(codes).toEqual([
			{ text: "y", line: 12 },
			{ text: "u", line: 22 },
			{ text: "v", line: 23 },
		]);
	});
});

describe("links", () => {
	const problems = (pages: Record<string, string>) =>
		linkProblems(
			new Map(
				Object.entries(pages).map(([path, text]) => [path, readMarkdown(text)]),
			),
			(path: string) => path in pages || ["docs", "a.png"].includes(path),
		);
	it("that lead somewhere pass", () => {
		expect(
			problems({
				"README.md":
					"# Top\n\n[a](docs/a.md#one) [b](docs/) [c](#top) ![d](a.png) <https://example.org/x> [e](http://127.0.0.1:8080)",
				"docs/a.md": "# One\n\n[up](../README.md)",
				"docs/b.md": "",
			}),
		).toEqual([]);
	});
	it.each([
		["[a](docs/b.md)", "README.md:1: docs/b.md does not exist"],
		["![a](b.png)", "README.md:1: b.png does not exist"],
		["[a](../x.md)", "README.md:1: ../x.md does not exist"],
		[
			"[a](docs/a.md#two)",
			"docs/a.md has no heading of that name. Its anchors: one.",
		],
		["[a](#two)", "README.md has no heading of that name"],
		["[a](https:example)", "README.md:1: https:example is no address"],
		["nothing", "docs/a.md cannot be reached from README.md"],
	])("%s fails", (text, said) => {
		expect(
			problems({ "README.md": text, "docs/a.md": "# One" }).join("\n"),
		).toContain(said);
	});
	it("an island of pages is no way to them", () => {
		expect(
			problems({
				"README.md": "",
				"docs/a.md": "[b](b.md)",
				"docs/b.md": "[a](a.md)",
			}),
		).toHaveLength(2);
	});
});
