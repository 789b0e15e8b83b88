/** What npm would publish, installed into a project that has nothing else, as its user does: the list of files, `npx keepsight`, a typed program. */
import { spawnSync } from "node:child_process";
import {
	cpSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, posix, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { drawCategory, frozenRun } from "./drawn.ts";
import { outputIn, tsc } from "./program.ts";

const root = resolve(import.meta.dirname, "..");
const work = mkdtempSync(join(tmpdir(), "keepsight-package-"));
const project = join(work, "project");
afterAll(() => rmSync(work, { recursive: true, force: true }));

const output = (program: string, ...args: string[]): string =>
	outputIn(project, program, ...args);

interface Packed {
	readonly filename: string;
	/** Bytes of the archive, and of what is in it. */
	readonly size: number;
	readonly unpackedSize: number;
	readonly files: readonly { readonly path: string }[];
}
let packed: Packed;
let archive: string;

beforeAll(() => {
	mkdirSync(project);
	const { status, stdout, stderr } = spawnSync(
		"npm",
		["pack", "--json", "--ignore-scripts", "--pack-destination", work],
		{ cwd: root, encoding: "utf8" },
	);
	expect(status, stderr).toBe(0);
	[packed] = JSON.parse(stdout);
	archive = join(work, packed.filename);
	writeFileSync(
		join(project, "package.json"),
		JSON.stringify({ name: "plant", private: true, type: "module" }),
	);
});

describe("the package", () => {
	it("holds what is run and read, and nothing else", () => {
		const folders = new Set(packed.files.map(({ path }) => path.split("/")[0]));
		expect([...folders].sort()).toEqual([
			"CHANGELOG.md",
			"LICENSE",
			"README.md",
			"configs",
			"dist",
			"docs",
			"examples",
			"keepsight.schema.json",
			"models",
			"package.json",
		]);
		const odd = packed.files.filter(({ path }) =>
			/\.map$|\.test\.|\/\.|golden|^dist\/.*(?<!\.d)\.ts$/.test(path),
		);
		expect(odd).toEqual([]);
		expect(packed.size).toBeLessThan(9e6);
		expect(packed.unpackedSize).toBeLessThan(12e6);
	});

	it("has every file that its pages lead to", () => {
		const paths = packed.files.map(({ path }) => path);
		const lost = paths
			.filter((path) => path.endsWith(".md"))
			.flatMap((page) =>
				[...readFileSync(join(root, page), "utf8").matchAll(/\]\(([^)#\s]+)/g)]
					.map(([, target]) => target as string)
					.filter((target) => !/^\w+:/.test(target))
					.map((target) => posix.join(posix.dirname(page), target))
					.filter(
						(target) =>
							!paths.some(
								(path) =>
									path === target ||
									path.startsWith(`${target.replace(/\/$/, "")}/`),
							),
					)
					.map((target) => `${page} -> ${target}`),
			);
		expect(lost).toEqual([]);
	});

	it("has every file that package.json names", () => {
		const { bin, main, types, exports } = JSON.parse(
			readFileSync(join(root, "package.json"), "utf8"),
		);
		const named = [bin, main, types, exports]
			.flatMap((part) => JSON.stringify(part).match(/"(\.\/|dist\/)[^"]+"/g))
			.map((text) => posix.normalize(JSON.parse(String(text))))
			.filter((path) => /\.\w+$/.test(path));
		expect(named.length).toBeGreaterThan(4);
		for (const path of named)
			expect(packed.files.map((file) => file.path)).toContain(path);
	});
});

/** As npm lays it out, with the packages of the lock file that are no tools of ours, and no others. */
function installed(): void {
	const own = join(project, "node_modules", "keepsight");
	mkdirSync(own, { recursive: true });
	output("tar", "xzf", archive, "-C", own, "--strip-components=1");
	const { packages } = JSON.parse(
		readFileSync(join(root, "package-lock.json"), "utf8"),
	) as { packages: Record<string, { dev?: true }> };
	for (const [path, { dev }] of Object.entries(packages)) {
		const from = join(root, path);
		const to = join(own, path);
		if (dev || path === "" || /node_modules.*node_modules/.test(path)) continue;
		if (!existsSync(from)) continue; // for another system
		mkdirSync(dirname(to), { recursive: true });
		symlinkSync(from, to);
	}
	const bin = join(project, "node_modules", ".bin", "keepsight");
	mkdirSync(dirname(bin));
	symlinkSync("../keepsight/dist/cli.js", bin);
	const types = join(project, "node_modules", "@types");
	mkdirSync(types);
	symlinkSync(join(root, "node_modules/@types/node"), join(types, "node"));
}

/** What its user does next. */
async function used(): Promise<void> {
	expect(output("npx", "--no-install", "keepsight", "doctor")).toContain(
		"onnxruntime",
	);
	cpSync(
		join(project, "node_modules/keepsight/examples/program.ts"),
		join(project, "program.ts"),
	);
	output(
		tsc,
		"--strict",
		"--module",
		"nodenext",
		"--target",
		"es2023",
		"--types",
		"node",
		"program.ts",
	);
	await drawCategory(join(project, "data/line/cap"), 0, 12, 1);
	writeFileSync(
		join(project, "run.yaml"),
		frozenRun({ root: "data", tasks: ["line/cap"], out: "out" }),
	);
	const said = output(
		process.execPath,
		"program.js",
		"run.yaml",
		"data/line/cap/test/spot/0.png",
	);
	expect(said).toContain("line/cap   AUC = ");
	expect(said).toMatch(
		/^data\/line\/cap\/test\/spot\/0\.png defect \d+\.\d+$/m,
	);
}

it("installed in an empty project it runs, and a strict typed program is compiled and runs", {
	timeout: 120_000,
}, async () => {
	installed();
	await used();
});

const soak = process.env.KEEPSIGHT_SOAK !== undefined;
it.skipIf(!soak)(
	`installed by npm from a registry${soak ? "" : ": only in the long form (npm run soak)"}`,
	{ timeout: 600_000 },
	async () => {
		rmSync(join(project, "node_modules"), { recursive: true, force: true });
		writeFileSync(join(project, ".npmrc"), "onnxruntime-node-install=skip\n"); // as docs/package.md says
		output(
			"npm",
			"install",
			"--no-audit",
			"--no-fund",
			archive,
			"@types/node@20",
		);
		rmSync(join(project, "out"), { recursive: true, force: true });
		await used();
	},
);
