/**
 * The code of the documentation and what becomes of it. Just above a block an HTML comment may say
 * `not run: REASON` (it is still read as far as it can be), `run by: test/FILE.test.ts` (another test runs it), or, above JSON,
 * `format: NAME`, what it shows.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pages, readMarkdown, readPage } from "../../scripts/gates/markdown.js";
import { createProgram } from "../../src/commands/index.ts";
import { normalised } from "../../src/commands/main.ts";
import { KeepsightError } from "../../src/errors.ts";

export interface Block {
	readonly page: string;
	readonly line: number;
	readonly language: string;
	readonly text: string;
	/** Why it is not run. */
	readonly notRun: string | null;
	/** The test that runs it. */
	readonly runBy: string | null;
	readonly format: string | null;
}
interface Code {
	readonly page: string;
	readonly line: number;
	readonly text: string;
}
type Read = ReturnType<typeof readMarkdown>;

/** Pages that a script writes from the program hold its own words; a test compares them with it. */
export const isGenerated = (text: string): boolean =>
	/^<!--[^>]*npm run docs/.test(text);

const noted = (notes: readonly string[], word: string): string | null => {
	const found = notes.find((note) => note.startsWith(`${word}:`));
	return found === undefined ? null : found.slice(word.length + 1).trim();
};

export function blocksOf(page: string, read: Read): Block[] {
	return (
		read.blocks as {
			language: string;
			text: string;
			line: number;
			notes: string[];
		}[]
	).map(({ notes, ...block }) => ({
		...block,
		page,
		notRun: noted(notes, "not run"),
		runBy: noted(notes, "run by"),
		format: noted(notes, "format"),
	}));
}

const documented = (pages() as string[]).filter(
	(page) =>
		!/^(CHANGELOG\.md|docs\/decisions\/|models\/|test\/)/.test(page) &&
		!isGenerated(readFileSync(page, "utf8")),
);
const read = documented.map((page) => [page, readPage(page) as Read] as const);
export const blocks: readonly Block[] = read.flatMap(([page, text]) =>
	blocksOf(page, text),
);
export const codes: readonly Code[] = read.flatMap(([page, text]) =>
	(text.codes as { text: string; line: number }[]).map((code) => ({
		...code,
		page,
	})),
);

export const isShell = ({ language }: Block): boolean =>
	["sh", "bash", "shell"].includes(language);

/** A command as the shell would start it. */
export interface Call {
	/** Index of its block among those given. */
	readonly block: number;
	readonly argv: readonly string[];
}

/**
 * What bash makes of these blocks of one page, one after the other: every program it would start, and none started. Loops end at once,
 * since every one of them succeeds.
 */
export function callsOf(texts: readonly string[]): {
	calls: Call[];
	complaints: string;
} {
	const work = mkdtempSync(join(tmpdir(), "keepsight-docs-"));
	const started = join(work, "calls");
	const script = [
		`PATH=${join(work, "none")}`, // so that nothing is found
		`command_not_found_handle() { printf '%s\\0' "$#" "$__block" "$@" >> "$__calls"; }`,
		'cd() { :; }; kill() { :; }; source() { :; }; exec() { "$@"; }',
		...texts.map((text, i) => `__block=${i}\n${text}`),
		"wait",
	].join("\n");
	try {
		const { stderr, error } = spawnSync("bash", ["--norc", "-c", script], {
			cwd: work,
			encoding: "utf8",
			timeout: 10_000,
			env: { PATH: process.env.PATH, __calls: started },
		});
		const fields = existsSync(started)
			? readFileSync(started, "utf8").split("\0").slice(0, -1)
			: [];
		const calls: Call[] = [];
		for (let at = 0; at < fields.length; ) {
			const count = Number(fields[at]);
			calls.push({
				block: Number(fields[at + 1]),
				argv: fields.slice(at + 2, at + 2 + count),
			});
			at += 2 + count;
		}
		return { calls, complaints: error ? String(error) : stderr };
	} finally {
		rmSync(work, { recursive: true, force: true });
	}
}

/** The arguments of a call of our program, or null. */
export function ours([program, ...args]: readonly string[]):
	| readonly string[]
	| null {
	if (program === "keepsight") return args;
	if (program !== "npx") return null;
	const rest = args.filter((arg) => !/^(-y|--yes)$/.test(arg));
	return rest[0] === "keepsight" ? rest.slice(1) : null;
}

type Program = Awaited<ReturnType<typeof createProgram>>;

/** What the program objects to in these arguments; nothing is done. null: nothing. */
export async function objection(
	written: readonly string[],
): Promise<string | null> {
	// a plugin is loaded before anything else
	const args = written.map((arg, i) =>
		written[i - 1] === "--plugin" ? join("examples", arg) : arg,
	);
	const program = await createProgram(args[0]);
	const idle = (command: Program): void => {
		for (const child of command.commands) idle(child);
		if (command.commands.length === 0) command.action(() => undefined);
	};
	idle(program);
	try {
		await program.parseAsync(normalised(args), { from: "user" });
		return null;
	} catch (error) {
		if (error instanceof KeepsightError && error.code === "PLUGIN_UNREADABLE")
			return null; // all else was understood by then; the file is the reader's
		return /^commander\.(help|version)/.test(
			String((error as { code?: string }).code),
		) && args.length > 0
			? null
			: (error as Error).message;
	}
}

/** Flags and commands of a line such as "keepsight eval --mem_dir DIR [--json]" that the program does not have. */
export async function unknownIn(usage: string): Promise<string[]> {
	const words = usage.replace(/^(npx )?keepsight\s*/, "").split(/\s+/);
	let command = await createProgram(words[0]);
	for (const word of words) {
		const next = command.commands.find((c) => c.name() === word);
		if (!next) {
			if (command.commands.length > 0 && /^[a-z][a-z-]*$/.test(word))
				return [word];
			break;
		}
		command = next;
	}
	const known = new Set(
		[...command.options, ...(command.parent?.options ?? [])].flatMap(
			({ long, short }) => [long, short],
		),
	);
	for (const flag of ["--help", "-h", "--version", "-V"]) known.add(flag);
	return [
		...usage.replaceAll(/"[^"]*"/g, "").matchAll(/(?<![\w-])--[a-z][\w-]*/g),
	]
		.map(([flag]) => flag)
		.filter((flag) => !known.has(flag.replaceAll("_", "-")));
}
