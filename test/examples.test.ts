/** Every file of examples/ does what its first lines and docs/add-your-own-strategy.md say, on tiny drawn data. test/export.test.ts runs those of examples/export, test/package.test.ts program.ts. */
import { spawnSync } from "node:child_process";
import {
	copyFileSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inverse } from "../src/linalg/cholesky.ts";
import { dot, gaussianOf } from "../src/linalg/covariance.ts";
import { restoreMoments } from "../src/memory/stored.ts";
import { readSafetensors, toTensor } from "../src/models/safetensors.ts";
import { openRun } from "../src/run.ts";
import { drawCategory, size } from "./drawn.ts";
import { keepsight, tsc } from "./program.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-examples-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const example = (name: string) =>
	resolve(import.meta.dirname, "../examples", name);

const config = join(work, "run.yaml");
const run = join(work, "run/Anomaly");
const plugins = ["strategy.mjs", "pretext.mjs", "reader.mjs"].flatMap(
	(name) => ["--plugin", example(name)],
);

/** A category as reader.mjs reads it. */
async function drawTable(dir: string, kind: number): Promise<void> {
	const drawn = join(work, "drawn", String(kind));
	await drawCategory(drawn, kind, 10, 3);
	mkdirSync(dir, { recursive: true });
	const lines = ["file,use,defect"];
	for (const [part, row] of [
		["train/good", "learn,"],
		["test/good", "test,"],
		["test/spot", "test,spot"],
	] as const)
		for (const file of readdirSync(join(drawn, part))) {
			const name = `${part.replace("/", "-")}-${file}`;
			copyFileSync(join(drawn, part, file), join(dir, name));
			lines.push(`${name},${row}`);
		}
	writeFileSync(join(dir, "labels.csv"), `${lines.join("\n")}\n`);
}

beforeAll(async () => {
	for (const kind of [0, 1])
		await drawTable(join(work, `data/line/${kind}`), kind);
	writeFileSync(
		config,
		`name: run
data: { root: ${join(work, "data")}, tasks: ["line/*"] }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 8 }
trainable: { last: 1 }
pretext: { name: faded }
strategy: { name: l2, lambda: 10 }
memory: [{ name: dne }]
train: { epochs: 2, batch_size: 8 }
out: ${work}
threads: 2
`,
	);
	const { status, stderr } = keepsight(
		"train",
		"--config",
		config,
		"--quiet",
		...plugins,
	);
	expect(status, stderr).toBe(0);
});

describe("examples/", { timeout: 120_000 }, () => {
	it("README.md lists all of them", () => {
		const listed = [
			...readFileSync(example("README.md"), "utf8").matchAll(
				/\]\((\w[^)]*)\)/g,
			),
		].map(([, file]) => file);
		const files = readdirSync(example("."), {
			recursive: true,
			withFileTypes: true,
		})
			.filter((entry) => entry.isFile() && entry.name !== "README.md")
			.map(({ name, parentPath }) =>
				`${parentPath}/${name}`.slice(example(".").length + 1),
			);
		expect(listed.toSorted()).toEqual(files.toSorted());
	});

	it("are right for a strict compiler", () => {
		const files = readdirSync(example(".")).filter((name) =>
			/\.(mjs|ts)$/.test(name),
		);
		expect(files.length).toBeGreaterThan(3);
		const { status, stdout } = spawnSync(
			tsc,
			[
				..."--ignoreConfig --noEmit --strict --allowJs --checkJs --module nodenext --target es2023 --types node".split(
					" ",
				),
				...files,
			],
			{ cwd: example("."), encoding: "utf8" },
		);
		expect(status, stdout).toBe(0);
	});

	it("strategy.mjs acts, also in the threads that draw pretext.mjs, on what reader.mjs reads", () => {
		const opened = openRun(run, "read");
		expect(Object.keys(opened.record.plugins ?? {})).toEqual([
			"pretext faded",
			"reader table",
			"strategy l2",
		]);
		const log = readFileSync(join(run, "log.jsonl"), "utf8");
		expect(log).toMatch(/"distance":[\d.e-]*[1-9]/);
		const last = opened.readAllScores().at(-1);
		expect(last?.categories.map(({ id }) => id)).toEqual(["line/0", "line/1"]);
		expect(
			last?.categories[0]?.rows.map(({ path, defect }) => `${path} ${defect}`),
		).toEqual(
			["good", "spot"].flatMap((part) =>
				[0, 1, 2].map(
					(i) =>
						`line/0/test-${part}-${i}.png ${part === "good" ? null : part}`,
				),
			),
		);
	});

	it("a run made with them says what it needs to go on, and is scored without the strategy", () => {
		const resumed = keepsight(
			"train",
			"--config",
			config,
			"--resume",
			...plugins.slice(2),
		);
		expect(`${resumed.status} ${resumed.stderr}`).toMatch(
			/^2 error: Unknown strategy "l2" at strategy.name in \S+ line 7\. .*One of your own comes with --plugin FILE\.\n$/,
		);
		const scored = keepsight(
			"eval",
			"--mem_dir",
			run,
			"--json",
			"--plugin",
			example("reader.mjs"),
		);
		const { matrices } = openRun(run, "read").readMetrics() ?? {};
		expect(JSON.parse(scored.stdout)).toMatchObject({ matrices });
	});

	it("compare runs it beside the built-in ones", () => {
		const { status, stdout, stderr } = keepsight(
			"compare",
			"--config",
			config,
			"--strategies",
			"finetune,l2",
			"--json",
			"--quiet",
			"--set",
			"data.tasks=[line/0]",
			...plugins,
		);
		expect(status, stderr).toBe(0);
		expect(
			JSON.parse(stdout).rows.map(({ label }: { label: string }) => label),
		).toEqual(["finetune", "l2"]);
	});

	const python = process.env.KEEPSIGHT_PYTHON;
	const usable =
		python !== undefined &&
		spawnSync(python, ["-c", "import numpy, safetensors"]).status === 0;
	it.skipIf(!usable)(
		`memory.py reads what was learnt${usable ? "" : ": KEEPSIGHT_PYTHON names no Python with numpy and safetensors"}`,
		() => {
			const { status, stdout, stderr } = spawnSync(
				String(python),
				[example("memory.py"), run],
				{ encoding: "utf8" },
			);
			expect(status, stderr).toBe(0);
			const { memory } = openRun(run, "read");
			const found = [
				...stdout.matchAll(
					/^line\/(\d): a defect from score (\S+)\n {2}dne: .* (\d+) images, mean squared distance (\S+)$/gm,
				),
			];
			expect(found.map(([, id, score, images]) => [id, score, images])).toEqual(
				[
					["0", "2.000", "10"],
					["1", "2.000", "10"],
				],
			);
			expect(stdout).toMatch(/^version 2, 2 products\n/);
			for (const [, id, , , distance] of found) {
				const path = memory.paths.find((file) =>
					file.includes(`line.${id}.dne.`),
				) as string;
				const stored = Object.fromEntries(
					Object.entries(readSafetensors(memory.read(path), path).tensors).map(
						([name, t]) => [name, toTensor(t)],
					),
				);
				const moments = restoreMoments("", stored, 24);
				// mean of (x − μ)ᵀΣ⁻¹(x − μ) over the images: tr(Σ⁻¹ S)
				const expected = dot(
					inverse(gaussianOf(moments).factor, 24),
					moments.covariance,
				);
				expect(Number(distance)).toBeCloseTo(expected, 4);
			}
		},
	);
});
