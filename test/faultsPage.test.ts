/** docs/faults.md names a test or a reason for each of 47 faults; the tests it names are there. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

const rows = readFileSync("docs/faults.md", "utf8")
	.split("\n")
	.filter((line) => /^\| \d/.test(line))
	.map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()));

it("each fault has a row with a test", () => {
	expect(rows.map(([, number]) => Number(number))).toEqual(
		Array.from({ length: 47 }, (_, i) => i + 1),
	);
});

it.each(rows.map(([, number, fault, tests]) => [number, fault, tests]))(
	"%s: %s",
	(_, __, tests = "") => {
		const named = tests.split("<br>").map((part) => {
			const [file = "", ...titles] = [...part.matchAll(/`([^`]+)`/g)].map(
				([, text]) => text as string,
			);
			return { file, titles };
		});
		expect(named.length).toBeGreaterThan(0);
		for (const { file, titles } of named) {
			expect(titles.length, file).toBeGreaterThan(0);
			const text = readFileSync(file, "utf8");
			for (const title of titles)
				expect(
					['"', "`", "'", "} "].some((mark) => text.includes(mark + title)),
					`${file}: ${title}`,
				).toBe(true);
		}
	},
);
