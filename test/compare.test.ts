/** The built `compare` on tiny drawn images: cells, ledger, table and charts; a cell gives the bytes that `train` gives. */
import {
	existsSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Comparison } from "../src/study/summary.ts";
import { drawCategory, size } from "./drawn.ts";
import { keepsight } from "./here.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-compare-"));
const data = join(work, "data");
const config = join(work, "study.yaml");
const study = join(work, "out", "study", "compare");
afterAll(() => rmSync(work, { recursive: true, force: true }));

beforeAll(async () => {
	await drawCategory(join(data, "mvtec/a"), 0, 14, 4);
	await drawCategory(join(data, "mvtec/b"), 1, 12, 4);
	writeFileSync(
		config,
		`name: study
data: { root: ${data}, tasks: ["mvtec/*"], limit: 12 }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 8 }
trainable: { last: 2 }
pretext: { name: cutpaste }
strategy: { name: gpm, images: 6 }
memory: [ { name: dne } ]
train: { epochs: 2, batch_size: 8, optimizer: { name: adam, lr: 1.0e-3 } }
evaluate: { staleness: true }
compare:
  seeds: [0, 1]
  orders: [1, 2]
  strategies: [ { name: finetune }, { name: isolated }, { name: replay, buffer: 8 } ]
out: ${join(work, "out")}
threads: 1
`,
	);
});

const compare = (...args: string[]) =>
	keepsight("compare", "--config", config, ...args);
const ledger = () =>
	JSON.parse(readFileSync(join(study, "ledger.json"), "utf8")).cells as Record<
		string,
		{ label: string; state: string; folder: string; message: string | null }
	>;
/** Relative path -> bytes. */
const tree = (dir: string): Record<string, string> =>
	Object.fromEntries(
		readdirSync(dir, { recursive: true, encoding: "utf8" })
			.filter((path) => /\.(csv|json|safetensors)$/.test(path))
			.sort()
			.map((path) => [path, readFileSync(join(dir, path)).toString("base64")]),
	);

describe("compare", () => {
	it("runs a cell for every strategy, seed and order, and writes table and charts", async () => {
		const { status, stdout, stderr } = await compare("--jobs", "2");
		expect(stderr).toContain("run 12/12");
		expect(status).toBe(0);
		expect(Object.values(ledger()).map((c) => c.state)).toEqual(
			new Array(12).fill("finished"),
		);
		for (const label of ["finetune", "isolated", "replay"])
			expect(stdout).toMatch(new RegExp(`^${label} `, "m"));
		for (const file of [
			"comparison.json",
			"comparison.csv",
			"comparison.md",
			"matrices.svg",
			"matrices.png",
			"sequence.svg",
			"memory.png",
		])
			expect(existsSync(join(study, file)), file).toBe(true);
		const { rows } = JSON.parse(
			readFileSync(join(study, "comparison.json"), "utf8"),
		) as Comparison;
		expect(rows.map((r) => [r.label, r.cells])).toEqual([
			["finetune", 4],
			["isolated", 4],
			["replay", 4],
		]);
		const tasks = rows[0]?.matrices.map((m) => m.tasks);
		expect(tasks?.[0]).toEqual(["mvtec/a", "mvtec/b"]);
	}, 180_000);

	it("gives the bytes of `train`: what cells share changes nothing", async () => {
		for (const { label, folder } of Object.values(ledger()).filter(
			({ folder }) => /seed1-order1/.test(folder),
		)) {
			const strategy =
				label === "replay"
					? "{ name: replay, buffer: 8 }"
					: `{ name: ${label} }`;
			const { status } = await keepsight(
				"train",
				"--config",
				config,
				`--set=strategy=${strategy}`,
				"--set=seed=1",
				`--set=name=single-${label}`,
			);
			expect(status).toBe(0);
			const own = join(work, "out", `single-${label}`, "Anomaly");
			const cell = join(study, folder, "Anomaly");
			for (const part of ["memory", "scores"])
				expect(tree(join(cell, part)), `${label} ${part}`).toEqual(
					tree(join(own, part)),
				);
		}
	}, 180_000);

	it("measures how stale densities are, where weights move", () => {
		const stale = Object.values(ledger()).map(({ label, folder }) => {
			const metrics = JSON.parse(
				readFileSync(join(study, folder, "Anomaly/metrics.json"), "utf8"),
			) as {
				tasks: [string, string];
				staleness: Record<string, Record<string, number>>;
			};
			const [first, second] = metrics.tasks;
			expect(metrics.staleness[first]).toEqual({});
			return [label, metrics.staleness[second]?.[first] as number] as const;
		});
		for (const [label, value] of stale) {
			if (label === "isolated") expect(value).toBeLessThan(1e-5);
			else expect(value).toBeGreaterThan(0.01);
		}
	});

	it("does not run what is finished, runs what is new, and goes on after a failed cell", async () => {
		const before = ledger();
		const { status, stdout } = await compare(
			"--strategies=finetune,replay,isolated",
			"--seeds=0",
			"--orders=1",
			"--set=train.batch_size=2",
		);
		expect(status).toBe(0);
		const added = Object.entries(ledger()).filter(([key]) => !(key in before));
		expect(
			added.map(([, { label, state }]) => `${label} ${state}`).toSorted(),
		).toEqual(["finetune finished", "isolated finished", "replay failed"]);
		expect(
			added.find(([, { label }]) => label === "replay")?.[1].message,
		).toMatch(/the strategy needs 2/);
		expect(stdout).toMatch(/replay.*the strategy needs 2/);
		const again = await compare("--seeds=0", "--orders=1");
		expect(again.stderr).toContain(
			"3 of 3 runs are finished and not run again.",
		);
	}, 180_000);

	it("a damaged buffer is one clear error", async () => {
		const { folder } = Object.values(ledger()).find(
			(c) => c.label === "replay" && c.state === "finished",
		) as { folder: string };
		const dir = join(study, folder, "Anomaly");
		const file = readdirSync(join(dir, "memory")).find((n) =>
			n.startsWith("strategy"),
		) as string;
		const bytes = readFileSync(join(dir, "memory", file));
		bytes[bytes.length - 5] = (bytes[bytes.length - 5] as number) ^ 1;
		rmSync(join(dir, "memory", file));
		writeFileSync(join(dir, "memory", file), bytes);
		const { status, stderr } = await keepsight("eval", "--mem_dir", dir);
		expect(status).toBe(2);
		expect(stderr).toContain(file);
		expect(
			stderr
				.trim()
				.split("\n")
				.filter((l) => l.startsWith("error")),
		).toHaveLength(1);
	});

	it("runs rows with a memory of their own beside others, in one process", async () => {
		const own = join(work, "memories.yaml");
		writeFileSync(
			own,
			readFileSync(config, "utf8")
				.replace("name: study", "name: memories")
				.replace(
					/^compare:[\s\S]*?(?=^out:)/m,
					`compare:
  strategies:
    - { name: finetune }
    - { name: finetune, memory: [ { name: dne, drift: ldc } ] }
    - { name: finetune, memory: [ { name: patches, blocks: [0.34] } ] }
`,
				),
		);
		const { status, stdout } = await keepsight(
			"compare",
			"--config",
			own,
			"--jobs",
			"1",
		);
		const { cells } = JSON.parse(
			readFileSync(join(work, "out/memories/compare/ledger.json"), "utf8"),
		) as { cells: ReturnType<typeof ledger> };
		expect(
			Object.values(cells).map(({ state, message }) => message ?? state),
		).toEqual(new Array(3).fill("finished"));
		expect(status).toBe(0);
		expect(stdout).toMatch(/^finetune drift="ldc"/m);
		expect(stdout).toMatch(/^finetune .*patches/m);
	}, 180_000);

	it("names an unknown strategy's nearest", async () => {
		const { status, stderr } = await compare("--strategies", "finetune,ewcc");
		expect(status).toBe(2);
		expect(stderr).toContain('Unknown strategy "ewcc" at --strategies');
		expect(stderr).toContain("ewc");
	});
});
