/** Who may import whom, and which file is the one door to what: read from the text of src/, with types and comments. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { posix, relative } from "node:path";
import { parseSync } from "vite";
import { describe, expect, it } from "vitest";
import { memories } from "../src/memory/index.ts";
import { pretexts } from "../src/pretext/index.ts";
import { strategies } from "../src/strategies/index.ts";

/** Each line imports from lines above only; what shares a line does not import each other. A new file or folder gets its place here. */
const layers = [
	"errors random version csv columns",
	"events storage",
	"engine linalg metrics yaml",
	"models data calibration maps",
	"pretext strategies memory",
	"plugins",
	"config trunk augment", // augment.worker is part of augment
	"knowledge draws probe reuse",
	"step states review",
	"learn distill",
	"detector",
	"run",
	"localise pictures tracking",
	"visualise",
	"evaluate",
	"train predictor",
	"teach known predict qualify scorer export benchmark",
	"job",
	"launch watchdog devices deviceProbe",
	"child golden",
	"study",
	"reports",
	"server",
	"commands",
	"cli index",
].map((line) => line.split(" "));

/** These are given the function that starts a child process; they must not choose it. */
const forbidden: Readonly<Record<string, readonly string[]>> = {
	study: ["launch"],
	server: ["launch"],
};

type Sources = Readonly<Record<string, string>>; // path below src/ -> text

const sources: Sources = Object.fromEntries(
	readdirSync("src", { recursive: true, encoding: "utf8" })
		.filter((path) => path.endsWith(".ts"))
		.map((path) => [
			path.replaceAll("\\", "/"),
			readFileSync(`src/${path}`, "utf8"),
		]),
);

/** "engine/ops/norm.ts" -> "engine", "augment.worker.ts" -> "augment" */
const unitOf = (path: string): string =>
	(path.split("/")[0] as string).replace(/\..*$/, "");

/** Relative imports, resolved. A path in a comment or a type counts: it is a dependency of the reader. */
const importsOf = (path: string, text: string): string[] =>
	[...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*["'](\.[^"']+)["']/g)].map(
		([, target]) => posix.join(posix.dirname(path), target as string),
	);

function violations(files: Sources): string[] {
	const lineOf = new Map(
		layers.flatMap((line, i) => line.map((unit) => [unit, i] as const)),
	);
	return Object.entries(files).flatMap(([path, text]) => {
		const from = unitOf(path);
		const line = lineOf.get(from);
		if (line === undefined)
			return [`${path} has no line in test/architecture.test.ts`];
		return importsOf(path, text)
			.filter(
				(target) =>
					unitOf(target) !== from &&
					(!((lineOf.get(unitOf(target)) ?? Number.POSITIVE_INFINITY) < line) ||
						forbidden[from]?.includes(unitOf(target))),
			)
			.map((target) => `${path} imports ${target}`);
	});
}

/** What `tsc` loads of src/: counted by another program than the one that reads the text. */
const modules = execFileSync(
	process.execPath,
	[
		"node_modules/typescript/bin/tsc",
		"-p",
		"tsconfig.build.json",
		"--listFilesOnly",
	],
	{ encoding: "utf8" },
)
	.split("\n")
	.map((path) => relative("src", path.trim()).replaceAll("\\", "/"))
	.filter((path) => path.endsWith(".ts") && !path.startsWith(".."));

/** Modules that the text of src/ does not hold. */
const unseen = (loaded: readonly string[], files: Sources): string[] =>
	loaded.filter((path) => !(path in files));

/** Imports that a parser finds and `importsOf` does not. */
const missed = (files: Sources): string[] =>
	Object.entries(files).flatMap(([path, text]) => {
		const { staticImports, staticExports, dynamicImports } = parseSync(
			path,
			text,
		).module;
		const found = new Set(importsOf(path, text));
		return [
			...staticImports.map(({ moduleRequest }) => moduleRequest.value),
			...staticExports.flatMap(({ entries }) =>
				entries.flatMap(({ moduleRequest }) => moduleRequest?.value ?? []),
			),
			...dynamicImports
				.map(({ moduleRequest: { start, end } }) => text.slice(start, end))
				.filter((name) => /^["'].*["']$/.test(name))
				.map((name) => name.slice(1, -1)),
		]
			.filter((target) => target.startsWith("."))
			.map((target) => posix.join(posix.dirname(path), target))
			.filter((target) => !found.has(target))
			.map((target) => `${path} imports ${target}`);
	});

const withoutComments = (text: string): string =>
	text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[\s;{}(,])\/\/.*$/gm, "$1");

/** Files whose code matches, apart from those allowed to. */
function matching(pattern: RegExp, allowed: RegExp): string[] {
	return Object.entries(sources).flatMap(([path, text]) => {
		const found = allowed.test(path)
			? null
			: pattern.exec(withoutComments(text));
		return found ? [`${path}: ${found[0].trim()}`] : [];
	});
}

describe("layers", () => {
	it("hold", () => {
		expect(violations(sources)).toEqual([]);
	});

	it("a violation, a sibling and a newcomer are named", () => {
		expect(
			violations({
				"engine/x.ts": 'import type { Y } from "../strategies/y.ts";',
				"linalg/x.ts":
					'/** see {@link import("../engine/tensor.ts").Tensor} */',
				"engine/ops/y.ts":
					'import {\n\ta,\n} from "../graph.ts";\nimport { fail } from "../../errors.ts";',
				"novelty/x.ts": "",
			}),
		).toEqual([
			"engine/x.ts imports strategies/y.ts",
			"linalg/x.ts imports engine/tensor.ts",
			"novelty/x.ts has no line in test/architecture.test.ts",
		]);
	});

	it("every module that TypeScript loads, and every import its parser finds, was seen", () => {
		expect(unseen(modules, sources)).toEqual([]);
		expect(missed(sources)).toEqual([]);
	});

	it("a module and an import that were not seen are named", () => {
		const { "run.ts": _, ...others } = sources;
		expect(unseen(modules, others)).toEqual(["run.ts"]);
		expect(
			missed({ "a/x.ts": 'export * from /* there */ "../b/y.ts";' }),
		).toEqual(["a/x.ts imports b/y.ts"]);
	});
});

describe("the dashboard", () => {
	const web: Sources = Object.fromEntries(
		readdirSync("web/src", { recursive: true, encoding: "utf8" })
			.filter((path) => /\.tsx?$/.test(path))
			.map((path) => [
				path.replaceAll("\\", "/"),
				readFileSync(`web/src/${path}`, "utf8"),
			]),
	);

	it("takes types of server/api.ts from src/, and nothing else", () => {
		const found = Object.entries(web).flatMap(([path, text]) =>
			[...text.matchAll(/(import[^;]*?from|import)\s*\(?\s*"([^"]+)"/g)]
				.filter(([, , target]) => target?.includes("src/"))
				.filter(
					([, how, target]) =>
						!/^import type\b/.test(how as string) ||
						!/^(\.\.\/)+src\/server\/api\.ts$/.test(target as string),
				)
				.map(([statement]) => `${path}: ${statement}`),
		);
		expect(found).toEqual([]);
		expect(Object.keys(web).length).toBeGreaterThan(40);
	});

	it("calls the server through http.ts, says in text.ts whatever it says", () => {
		const offending = (pattern: RegExp, allowed: string) =>
			Object.entries(web).flatMap(([path, text]) => {
				const found =
					path === allowed ? null : pattern.exec(withoutComments(text));
				return found ? [`${path}: ${found[0].trim()}`] : [];
			});
		expect(offending(/(?<![.#\w])(fetch|EventSource)\(/, "http.ts")).toEqual(
			[],
		);
		expect(
			offending(
				/>\s*[A-Za-z][A-Za-z ,.'-]*<\/|\b(aria-label|title|alt)="/,
				"text.ts",
			),
		).toEqual([]);
	});
});

describe("one door", () => {
	it("to onnxruntime: engine/runtime.ts", () => {
		expect(
			matching(
				/(from|import|require)\s*\(?\s*["']onnxruntime-\w+["']/,
				/^engine\/runtime\.ts$/,
			),
		).toEqual([]);
	});
	it("to image decoding: data/image.ts; reports/charts.ts draws our own SVG in a process apart, where no picture is read", () => {
		expect(
			matching(
				/(from|import|require|resolve)\s*\(?\s*["']sharp["']/,
				/^(data\/image|reports\/charts)\.ts$/,
			),
		).toEqual([]);
	});
	it("to the network: models/hub.ts, tracking/mlflow.ts, study/queue/ and server/", () => {
		expect(
			matching(
				/(?<![.#\w])fetch\(|(from|import|require)\s*\(?\s*["'](node:(https?|http2|net|tls|dgram|dns)\b|undici|ioredis|bullmq|@aws-sdk\/|@huggingface\/)[^"']*["']/,
				/^((models\/hub|tracking\/mlflow)\.ts$|study\/queue\/|server\/)/,
			),
		).toEqual([]);
	});
	it("to the console and exit codes: cli.ts, commands/ and the entries of processes", () => {
		expect(
			matching(
				/\bconsole\.\w+|\bprocess\.(exit\b|exitCode\s*=|stdout|stderr)/,
				/^(cli|child|deviceProbe|golden)\.ts$|^commands\//,
			),
		).toEqual([]);
	});
	it("to writing files: storage.ts, and its thread that touches locks", () => {
		const writers =
			/\b(writeFile|appendFile|rename|mkdir|mkdtemp|rmdir|rm|unlink|copyFile|cp|symlink|link|truncate|createWriteStream|open|f?utimes|chmod)(Sync)?\b/;
		const found = Object.entries(sources).flatMap(([path, text]) => {
			if (/^storage(\.worker)?\.ts$/.test(path)) return [];
			const names = [
				...text.matchAll(
					/import\s+(?:\w+\s*,\s*)?\{([^}]*)\}\s+from\s+["']node:fs(?:\/promises)?["']/g,
				),
			].map(([, list]) => list as string);
			const whole = [
				...text.matchAll(
					/import\s+(?:\*\s+as\s+)?(\w+)\s+from\s+["']node:fs(?:\/promises)?["']/g,
				),
			].map(([, name]) => name as string);
			const calls = whole.flatMap((name) =>
				[...text.matchAll(new RegExp(`\\b${name}\\.(\\w+)`, "g"))].map(
					([, member]) => member as string,
				),
			);
			return [...names, ...calls]
				.filter((list) => writers.test(list))
				.map((list) => `${path}: ${list.trim()}`);
		});
		expect(found).toEqual([]);
	});
	it.each([
		["strategies", strategies],
		["pretext", pretexts],
		["memory", memories],
	])(
		"no switch over the names of %s outside its folder",
		(folder, registry) => {
			const names = Object.keys(registry)
				.map((name) => name.replaceAll("+", "\\+"))
				.join("|");
			expect(
				matching(
					new RegExp(
						`(?:[!=]==?\\s*|\\bcase\\s+)["'](?:${names})["']|["'](?:${names})["']\\s*[!=]==?`,
					),
					new RegExp(`^${folder}/|^golden/`),
				),
			).toEqual([]);
		},
	);
});
