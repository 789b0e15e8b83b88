/** The tables of docs/formats.md, to be held against what they are about. */
import { readFileSync } from "node:fs";

export const page = readFileSync("docs/formats.md", "utf8");

export interface Row {
	readonly cells: readonly string[];
	/** Not in every such file. */
	readonly optional: boolean;
}

/** Rows of the table in the section of this heading. */
export function tableOf(heading: string): readonly Row[] {
	const [, section] = page.split(`\n${heading}\n`);
	if (section === undefined) throw new Error(`docs/formats.md: no ${heading}`);
	const lines = (section.split(/\n##+ /)[0] as string)
		.split("\n")
		.filter((line) => line.startsWith("|"));
	const [head = "", , ...rows] = lines;
	const has = head.includes("| only");
	return rows.map((line) => {
		const cells = line
			.split(/(?<!\\)\|/)
			.slice(1, -1)
			.map((cell) => cell.trim());
		return { cells, optional: has && cells.at(-1) !== "" };
	});
}
export const plain = (cell: string) => cell.replaceAll("`", "");

interface Tree {
	readonly optional: boolean;
	readonly below: Map<string, Tree>;
}

/** Keys as the table has them, a level for every `.` and `[]`. */
function treeOf(rows: readonly Row[]): Tree {
	const root: Tree = { optional: false, below: new Map() };
	for (const { cells, optional } of rows) {
		let at = root;
		const path = plain(cells[0] as string)
			.replaceAll("[]", ".[]")
			.split(".");
		for (const [i, name] of path.entries()) {
			const last = i === path.length - 1;
			const next = at.below.get(name) ?? {
				optional: last && optional,
				below: new Map(),
			};
			at.below.set(name, next);
			at = next;
		}
	}
	return root;
}

/** Whether everything below is there in some cases only. */
const isOptional = ({ optional, below }: Tree): boolean =>
	optional || (below.size > 0 && [...below.values()].every(isOptional));

/** What the table of this heading and an object disagree in. A key with nothing below it speaks for all below it. */
export const differences = (value: unknown, heading: string): string[] => [
	...new Set(compared(value, treeOf(tableOf(heading)), "")),
];

function compared(value: unknown, tree: Tree, path: string): string[] {
	if (tree.below.size === 0 || value === null) return [];
	const entries: [string, unknown][] = Array.isArray(value)
		? value.map((one) => ["[]", one])
		: typeof value === "object"
			? Object.entries(value as object)
			: [];
	const found = entries.flatMap(([key, one]) => {
		const next = tree.below.get(key) ?? tree.below.get("*");
		return next
			? compared(one, next, `${path}.${key}`)
			: [`not documented: ${path}.${key}`];
	});
	const keys = new Set(entries.map(([key]) => key));
	const missing = [...tree.below].filter(
		([key, one]) =>
			key !== "*" && key !== "[]" && !keys.has(key) && !isOptional(one),
	);
	return [...found, ...missing.map(([key]) => `not there: ${path}.${key}`)];
}
