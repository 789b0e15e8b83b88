/** Every block of code and every command in the documentation is read by what it is written for. What can be run, run.test.ts runs. */
import { spawnSync } from "node:child_process";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import type { z } from "zod";
import { readMarkdown } from "../../scripts/gates/markdown.js";
import { commandNames } from "../../src/commands/index.ts";
import { parseConfig } from "../../src/config.ts";
import * as api from "../../src/server/api.ts";
import {
	type Block,
	blocks,
	blocksOf,
	callsOf,
	codes,
	isGenerated,
	isShell,
	objection,
	ours,
	unknownIn,
} from "./blocks.ts";
import { executed, formats } from "./pages.ts";

const at = ({ page, line }: { page: string; line: number }) =>
	`${page}:${line}`;
const languages = ["sh", "yaml", "json", "ts", "js", "python", "text"];

/** What is wrong with a block before it is read: its language, its reasons, its format. */
function shortcomings(block: Block): string[] {
	const { page, language, notRun, runBy, format, text } = block;
	const problems: string[] = [];
	if (language === "") {
		if (/^\s*(\$ )?((npx )?keepsight|npm|npx|curl|docker) /m.test(text))
			problems.push("commands in a block without a language: write ```sh");
	} else if (!languages.includes(language) && notRun === null)
		problems.push(
			`"${language}": write one of ${languages.join(", ")}, or <!-- not run: REASON --> above it`,
		);
	if (notRun === "") problems.push("not run: without a reason");
	if (
		runBy !== null &&
		!(existsSync(runBy) && readFileSync(runBy, "utf8").includes(page))
	)
		problems.push(`run by: ${runBy} is no test that reads ${page}`);
	if (
		isShell(block) &&
		notRun === null &&
		runBy === null &&
		!(page in executed)
	)
		problems.push(
			`nothing runs it: add ${page} to test/docs/pages.ts, or <!-- not run: REASON --> above it`,
		);
	if (language === "json" && notRun === null && format === null)
		problems.push(
			"say what it shows, <!-- format: NAME --> above it (test/docs/pages.ts has the names), or <!-- not run: REASON -->",
		);
	return problems;
}

describe("every block", () => {
	it.each(blocks.map((block) => [at(block), block] as const))(
		"%s says what it is",
		(_, block) => {
			expect(shortcomings(block)).toEqual([]);
		},
	);
	it("was found: no page has a fence that was passed over", () => {
		for (const page of new Set(blocks.map(({ page }) => page))) {
			const fences = readFileSync(page, "utf8")
				.split("\n")
				.filter((line) => /^\s*```/.test(line)).length;
			expect(blocks.filter((b) => b.page === page).length * 2, page).toBe(
				fences,
			);
		}
		expect(blocks.length).toBeGreaterThan(30);
	});
});

describe("commands", () => {
	const shellPages = [
		...new Set(blocks.filter(isShell).map(({ page }) => page)),
	];
	const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as {
		scripts: Record<string, string>;
	};
	const routes = readdirSync("src/server")
		.flatMap((file) =>
			[
				...readFileSync(join("src/server", file), "utf8").matchAll(
					/"(\/(?:v1\/[^"]+|health|metrics|openapi\.json))"/g,
				),
			].map(([, route]) => route as string),
		)
		.map(
			(route) =>
				new RegExp(
					`^${route.replaceAll(/:\w+/g, "[^/]+").replaceAll(".", "\\.")}$`,
				),
		);

	/** What is wrong with a program that the shell would start; null: nothing. */
	async function wrongWith(argv: readonly string[]): Promise<string | null> {
		const mine = ours(argv);
		if (mine) return objection(mine);
		const [program, first = "", second = ""] = argv;
		if (program === "npm") {
			const script = first === "run" ? second : first;
			if (["ci", "install", "pack", "exec"].includes(first)) return null;
			return script in scripts ? null : `there is no npm script "${script}"`;
		}
		if (program === "curl")
			for (const arg of argv) {
				const path = /^https?:\/\/[^/]+:8080(\/[^?]*)/.exec(arg)?.[1];
				if (path && path !== "/" && !routes.some((r) => r.test(path)))
					return `the server has no ${path}`;
			}
		if (/^(node|python3?|bash|sh)$/.test(program as string))
			for (const arg of argv.slice(1))
				if (/^(examples|scripts|deploy)\//.test(arg) && !existsSync(arg))
					return `there is no ${arg}`;
		return null;
	}

	it.each(shellPages)("of %s are ones that there are", async (page) => {
		const shell = blocks.filter((b) => b.page === page && isShell(b));
		const { calls, complaints } = callsOf(shell.map(({ text }) => text));
		expect(complaints).toBe("");
		const wrong: string[] = [];
		for (const { block, argv } of calls) {
			const problem = await wrongWith(argv);
			if (problem !== null)
				wrong.push(
					`${at(shell[block] as Block)}: ${argv.join(" ")}: ${problem}`,
				);
		}
		expect(wrong).toEqual([]);
		expect(new Set(calls.map(({ block }) => block)).size).toBe(shell.length);
	});

	it("named in a sentence, a table or a synopsis have the flags that are named", async () => {
		const named = new RegExp(
			`^((npx )?keepsight [a-z]|(${commandNames.join("|")}) (.* )?--)`,
		);
		const wrong: string[] = [];
		const synopses = blocks
			.filter(({ language }) => language === "text")
			.flatMap(({ text, ...block }) =>
				text.split("\n").map((line) => ({ ...block, text: line })),
			);
		let seen = 0;
		for (const code of [...codes, ...synopses]) {
			const text = code.text.replace(/^.*? && /, "");
			if (!named.test(text)) continue;
			seen++;
			for (const word of await unknownIn(text))
				wrong.push(`${at(code)}: ${text}: there is no ${word}`);
		}
		expect(wrong).toEqual([]);
		expect(seen).toBeGreaterThan(60);
	});

	it("that are not, are told", async () => {
		const { calls, complaints } = callsOf([
			"for i in 1 2; do keepsight train --config $i.yaml; done",
			"npx keepsight tasks --mem_dir 'a b' | head -1 & until curl -s http://h:8080/v1/x; do sleep 1; done",
		]);
		expect(complaints).toBe("");
		expect(calls.map(({ block }) => block).sort()).toEqual([0, 0, 1, 1, 1]);
		expect(calls.slice(0, 2).map(({ argv }) => argv)).toEqual([
			["keepsight", "train", "--config", "1.yaml"],
			["keepsight", "train", "--config", "2.yaml"],
		]);
		expect(calls.map(({ argv }) => argv)).toContainEqual([
			"npx",
			"keepsight",
			"tasks",
			"--mem_dir",
			"a b",
		]);
		expect(callsOf(["keepsight train (oops"]).complaints).toContain("syntax");
		expect(
			await wrongWith(["keepsight", "tasks", "--mem_dir", "a"]),
		).toBeNull();
		for (const [line, said] of [
			["keepsight trian", "unknown command 'trian'"],
			["keepsight tasks --mem_dir a --jsn", "unknown option '--jsn'"],
			["keepsight data demo", "missing required argument 'dir'"],
			["keepsight data demo a --seed x", '"x" is not a whole number'],
			["npx keepsight train a", "too many arguments"],
			["npm run nothing", 'no npm script "nothing"'],
			[
				"curl http://127.0.0.1:8080/v1/nothing",
				"the server has no /v1/nothing",
			],
			["node examples/nothing.mjs", "there is no examples/nothing.mjs"],
		] as const)
			expect(await wrongWith(line.split(" ")), line).toContain(said);
		expect(
			await unknownIn("keepsight eval --mem_dir DIR [--oracle] [--json]"),
		).toEqual(["--oracle"]);
		expect(await unknownIn("keepsight backbone fetch")).toEqual(["fetch"]);
	});
});

describe("configurations", () => {
	type Keys = Record<string, unknown>;
	const base = parse(readFileSync("configs/demo.yaml", "utf8")) as Keys;
	/** A fragment is taken as the keys it has, the demo's for the rest. */
	const read = (text: string) => {
		const { data, ...keys } = parse(text) as Keys;
		const whole = { ...(base.data as Keys), ...(data as Keys) };
		return parseConfig(
			stringify({ ...base, ...keys, data: whole }),
			"a fragment",
			[],
		);
	};
	it.each(
		blocks
			.filter((b) => b.language === "yaml")
			.map((block) => [at(block), block] as const),
	)("%s is one, or says why not", (_, { text, notRun }) => {
		if (notRun === null) read(text);
		else parse(text);
	});
	it("that are none are refused", () => {
		expect(() => read("strategy: { name: gmp }")).toThrow("gmp");
		expect(() => read("epochs: 3")).toThrow("epochs");
	});
});

describe("JSON", () => {
	const problemsOf = (text: string, format: string | null): string[] => {
		const value: unknown = JSON.parse(text);
		if (format === null) return [];
		if (format.startsWith("api.")) {
			const schema = (api as Record<string, unknown>)[format.slice(4)] as
				| z.ZodObject
				| undefined;
			if (!schema) return [`src/server/api.ts has no ${format.slice(4)}`];
			const { error } = schema.strict().safeParse(value);
			return error ? error.issues.map((issue) => JSON.stringify(issue)) : [];
		}
		// files of a run folder are compared with a real one by run.test.ts
		return formats.includes(format)
			? []
			: [
					`"${format}": write api.NAME (src/server/api.ts), or ${formats.join(", ")}`,
				];
	};
	it.each(
		blocks
			.filter((b) => b.language === "json")
			.map((block) => [at(block), block] as const),
	)("%s is what it says", (_, { text, format }) => {
		expect(problemsOf(text, format)).toEqual([]);
	});
	it("that is not is told", () => {
		expect(problemsOf("{}", "api.problem").join()).toContain("title");
		expect(
			problemsOf(
				'{"type":"a","title":"a","status":1,"detail":"a","code":"a","more":1}',
				"api.problem",
			).join(),
		).toContain("more");
		expect(problemsOf("{}", "api.nothing")).toHaveLength(1);
		expect(problemsOf("{}", "nothing.json")).toHaveLength(1);
		expect(() => problemsOf("{", null)).toThrow();
	});
});

describe("programs", () => {
	/** The complaints of TypeScript about these, each as a file of its own that may import "keepsight". */
	function complaints(texts: readonly [name: string, text: string][]): string {
		const dir = resolve(".cache/docs");
		rmSync(dir, { recursive: true, force: true });
		mkdirSync(dir, { recursive: true });
		for (const [name, text] of texts) writeFileSync(join(dir, name), text);
		writeFileSync(
			join(dir, "tsconfig.json"),
			JSON.stringify({
				extends: "../../tsconfig.json",
				compilerOptions: {
					checkJs: true,
					noUnusedLocals: false,
					rootDir: "../..",
				},
				include: ["*"],
			}),
		);
		return spawnSync(
			process.execPath,
			[resolve("node_modules/typescript/bin/tsc"), "-p", dir],
			{ encoding: "utf8" },
		).stdout;
	}
	const typed = blocks.filter(
		({ language, notRun, runBy }) =>
			["ts", "js"].includes(language) && notRun === null && runBy === null,
	);
	it("are of the types they should be; what is not is told", () => {
		const found = complaints([
			...typed.map(({ page, line, language, text }): [string, string] => [
				`${page.replaceAll(/[/.]/g, "-")}-${line}.${language === "js" ? "mjs" : "ts"}`,
				text,
			]),
			["canary.ts", 'import { nothing } from "keepsight";\nnothing();\n'],
		]);
		expect(found.trim()).toMatch(
			/^[^\n]*canary\.ts\(1,10\): error TS2305: Module '"keepsight"' has no exported member 'nothing'\.$/,
		);
	});

	const python = process.env.KEEPSIGHT_PYTHON ?? "python3";
	const parses = (text: string) =>
		spawnSync(python, ["-c", "import ast, sys; ast.parse(sys.stdin.read())"], {
			input: text,
			encoding: "utf8",
		}).stderr;
	const there = spawnSync(python, ["--version"]).status === 0;
	it.skipIf(!there)(
		`in Python are Python${there ? "" : ": skipped, there is no python3"}`,
		() => {
			expect(parses("def x(:")).toContain("SyntaxError");
			for (const block of blocks.filter((b) => b.language === "python"))
				expect(parses(block.text), at(block)).toBe("");
		},
	);
});

describe("a block", () => {
	const of = (text: string) => blocksOf("docs/nothing.md", readMarkdown(text));
	it.each([
		["```sh\nls\n```", "nothing runs it"],
		["<!-- not run: -->\n\n```sh\nls\n```", "without a reason"],
		["<!-- run by: test/nothing.test.ts -->\n\n```sh\nls\n```", "is no test"],
		["<!-- run by: test/errors.test.ts -->\n\n```sh\nls\n```", "is no test"],
		["```\nnpx keepsight train\n```", "without a language"],
		["```fortran\nx\n```", '"fortran"'],
		["```json\n{}\n```", "say what it shows"],
	])("%j fails", (text, said) => {
		expect(of(text).flatMap(shortcomings).join()).toContain(said);
	});
	it.each([
		"<!-- not run: another machine -->\n\n```sh\nls\n```",
		"```text\na tree\n```",
		"```\na tree\n```",
		"```yaml\nseed: 1\n```",
	])("%j passes", (text) => {
		expect(of(text).flatMap(shortcomings)).toEqual([]);
	});
	it("of a page that a script writes is compared by another test", () => {
		expect(isGenerated("<!-- Written by `npm run docs` from x -->")).toBe(true);
		expect(isGenerated("# Title\n\n`npm run docs`")).toBe(false);
	});
});
