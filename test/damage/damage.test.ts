/**
 * Damaged data sets, backbones and run folders: what each command then says or does, word for word as docs/errors.md says it. A new way,
 * or another wording, needs its row there; what `places.ts` and `ways.ts` hold is not repeated.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
	copyOf,
	kinds,
	makePlaces,
	meaning,
	outcome,
	removePlaces,
} from "./places.ts";
import { ways } from "./ways.ts";

const [, section = ""] = readFileSync("docs/errors.md", "utf8").split(
	"\n## Damage, and what is said\n",
);

/** The text of a cell, without the marks of code around it. */
const plain = (cell: string) =>
	cell
		.trim()
		.replace(/^(`+) ?(.*?) ?\1$/s, "$2")
		.replaceAll("\\|", "|");

/** Kind -> way -> command -> what is said. */
const documented = new Map(
	section
		.split("\n### ")
		.slice(1)
		.map((part) => {
			const [kind = "", about = ""] =
				/^`(\w+)`: (.*)\n/.exec(part)?.slice(1) ?? [];
			const rows = part
				.split("\n")
				.filter((line) => line.startsWith("| "))
				.slice(2)
				.map((line) =>
					line
						.split(/(?<!\\)\|/)
						.slice(1, 4)
						.map((cell) => plain(cell)),
				);
			return [kind, { about, rows }];
		}),
);

beforeAll(makePlaces, 120_000);
afterAll(removePlaces);

it("docs/errors.md has a row for each way and command, and no other", () => {
	expect([...documented.keys()]).toEqual([...kinds]);
	for (const kind of kinds) {
		expect(documented.get(kind)?.about).toBe(meaning[kind]);
		expect(
			documented.get(kind)?.rows.map(([name, command]) => [name, command]),
		).toEqual(
			ways[kind].flatMap(({ name, commands }) =>
				commands.map((command) => [name, command]),
			),
		);
	}
	expect(Object.values(ways).flat().length).toBeGreaterThan(60);
});

describe.each(kinds)("%s", (kind) => {
	it.each(ways[kind])(
		"$name",
		async ({ name, damage, commands, rights = false }) => {
			for (const command of commands) {
				const dir = copyOf(kind);
				await damage(dir);
				expect(await outcome(kind, command, dir, rights), command).toBe(
					documented
						.get(kind)
						?.rows.find(([way, by]) => way === name && by === command)?.[2],
				);
			}
		},
	);
});
