/** The task loop from its sources, on tiny drawn images: what memories are told, and what is refused before anything is written. */
import {
	cpSync,
	existsSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
	afterAll,
	afterEach,
	beforeAll,
	describe,
	expect,
	it,
	vi,
} from "vitest";
import { parseConfig, runDir } from "../src/config.ts";
import type { Tensor } from "../src/engine/tensor.ts";
import type { RunEvent } from "../src/events.ts";
import { evaluateRun } from "../src/evaluate.ts";
import { memories } from "../src/memory/index.ts";
import type { Entry, Features, Memory } from "../src/memory/memory.ts";
import { openRun } from "../src/run.ts";
import { train } from "../src/train.ts";
import { drawCategory, size } from "./drawn.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-train-"));
const data = join(work, "data");
afterAll(() => rmSync(work, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());
beforeAll(async () => {
	await drawCategory(join(data, "mvtec/a"), 0, 14, 4);
	await drawCategory(join(data, "mvtec/b"), 1, 12, 4);
});

const configOf = (name: string, sets: readonly string[]) =>
	parseConfig(
		`name: ${name}
data: { root: ${data}, tasks: [mvtec/a, mvtec/b] }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 8 }
trainable: { last: 2 }
pretext: { name: cutpaste }
strategy: { name: finetune }
memory: [{ name: dne }]
train: { epochs: 2, batch_size: 8, optimizer: { name: adam, lr: 1.0e-3 } }
evaluate: { staleness: true }
out: ${work}
threads: 1
`,
		"train.test",
		sets,
	).config;

/** A run of its own folder; `stopped`: asked to stop before it begins. */
async function run(
	name: string,
	sets: readonly string[],
	{ stopped = false } = {},
): Promise<{ dir: string; metrics: Metrics }> {
	const config = configOf(name, sets);
	const dir = runDir(config);
	await train(
		{ config, dir, mode: "new", force: false },
		{ emit: () => {}, stop: { requested: stopped } },
	);
	const metrics = JSON.parse(readFileSync(join(dir, "metrics.json"), "utf8"));
	return { dir, metrics };
}
interface Metrics {
	readonly matrices: unknown;
	readonly staleness: Record<string, Record<string, number>>;
	readonly pixel?: readonly {
		readonly after: number;
		readonly category: string;
		readonly values: Record<string, { readonly value: number | null }>;
	}[];
}

/** What the densities of the next runs are told. */
function overhear(): { added: Entry[]; drifts: [Features, Features][] } {
	const told = { added: [] as Entry[], drifts: [] as [Features, Features][] };
	const { create } = memories.dne;
	vi.spyOn(memories.dne, "create").mockImplementation((options, context) => {
		const memory = create(options, context) as {
			-readonly [K in keyof Memory]: Memory[K];
		};
		const { add, drift } = memory;
		memory.add = (entry, random) => {
			told.added.push(entry);
			return add.call(memory, entry, random);
		};
		if (drift)
			memory.drift = (before, after) => {
				told.drifts.push([before, after]);
				drift(before, after);
			};
		return memory;
	});
	return told;
}
const rowsOf = ({ shape, data }: Tensor): string[] =>
	Array.from({ length: shape[0] as number }, (_, i) =>
		data.subarray(i * 24, (i + 1) * 24).join(),
	);

it("a product of one image is learnt: its scores are numbers, whatever trains", async () => {
	await drawCategory(join(data, "mvtec/one"), 0, 1, 2);
	for (const strategy of ["finetune", "replay"]) {
		const { dir, metrics } = await run(`one-${strategy}`, [
			"data.tasks=[mvtec/one, mvtec/b]",
			`strategy={ name: ${strategy} }`,
			"memory=[{ name: patches, blocks: [0.3] }, { name: dne }]",
		]);
		expect(metrics.matrices).toBeDefined();
		for (const { categories } of openRun(dir, "read").readAllScores())
			for (const { rows } of categories)
				for (const { score } of rows) expect(score).toSatisfy(Number.isFinite);
	}
});

it("measures a told task as a routed one: of LOCO the mean of both kinds", async () => {
	const kit = join(data, "loco/kit");
	await drawCategory(kit, 0, 10, 6);
	renameSync(join(kit, "test/spot"), join(kit, "test/structural_anomalies"));
	cpSync(
		join(kit, "train/good/0.png"), // what no density finds odd
		join(kit, "test/logical_anomalies/0.png"),
	);
	const { dir } = await run("told", [
		"data.tasks=[loco/kit]",
		"strategy={ name: frozen }",
	]);
	const { results } = await evaluateRun(
		{ memDir: dir, oracleTask: true, trivial: false },
		{ emit: () => {}, stop: { requested: false } },
	);
	const { imageAuroc, imageAurocAll } = results.categories["loco/kit"] ?? {};
	expect(imageAuroc).not.toBe(imageAurocAll);
	const written = JSON.parse(readFileSync(join(dir, "metrics.json"), "utf8"));
	expect(written.oracleTask).toEqual({
		imageAuroc: { "loco/kit": imageAuroc },
	});
});

describe("precision", () => {
	const sets = ["memory=[{ name: patches, blocks: [0.3] }, { name: dne }]"];
	const int8 = [...sets, "backbone.precision=int8"];

	it("is part of what is learnt: the stored memory is scored with it, and goes on with no other", async () => {
		const { dir, metrics } = await run("int8", int8);
		const again = await evaluateRun(
			{ memDir: dir, oracleTask: false, trivial: false },
			{ emit: () => {}, stop: { requested: false } },
		);
		expect(JSON.parse(JSON.stringify(again.results.matrices))).toEqual(
			metrics.matrices,
		);
		const rounded = scores(dir);
		expect(scores((await run("float32", sets)).dir)).not.toEqual(rounded);
		const other = configOf("int8", sets);
		await expect(
			train(
				{ config: other, dir, mode: "resume", force: true },
				{ emit: () => {}, stop: { requested: false } },
			),
		).rejects.toMatchObject({
			code: "SETUP_DIFFERS",
			message: expect.stringContaining("precision"),
		});
	});

	const scores = (dir: string) =>
		["a", "b"].map((c) =>
			readFileSync(join(dir, `scores/after-02/mvtec.${c}.csv`), "utf8"),
		);
});

describe("drift: ldc", () => {
	const ldc = "memory=[{ name: dne, drift: ldc }]";
	const replay = "strategy={ name: replay, buffer: 8 }";
	const staleness = ({ metrics }: { metrics: Metrics }) =>
		metrics.staleness["mvtec/b"]?.["mvtec/a"] as number;

	it("sees the current task's normals, and rehearsed images with the weights before and after", async () => {
		const { added, drifts } = overhear();
		const { dir } = await run("rehearsed", [replay, ldc]);
		expect(drifts.length).toBe(1);
		const [before, after] = drifts[0] as [Features, Features];
		expect(after.ids).toEqual(before.ids);
		const current = before.ids.filter((id) => id.startsWith("mvtec/b/"));
		expect(current.length).toBe(12);
		const rehearsed = before.ids.length - 12;
		expect(rehearsed).toBe(8);
		expect(before.ids.slice(0, 12)).toEqual(current);
		// before: as the first task's images were when they were learnt, to the bit
		const [first, second] = added.map(({ learnt }) => rowsOf(learnt.embedding));
		const old = rowsOf(before.embedding).slice(12);
		for (const row of old) expect(first).toContain(row);
		expect(new Set(old).size).toBe(8);
		// after: as the network sees them when the second task is learnt
		const now = rowsOf(after.embedding);
		expect(now.slice(0, 12)).toEqual(second);
		for (const [i, row] of now.slice(12).entries())
			expect(row).not.toBe(old[i]);
		expect(existsSync(join(dir, "memory/manifest.json"))).toBe(true);
	});

	it("sees the current task's normals alone where nothing is rehearsed", async () => {
		const { drifts } = overhear();
		await run("unrehearsed", [ldc]);
		expect(drifts.length).toBe(1);
		expect(drifts[0]?.[0].ids.length).toBe(12);
		for (const id of drifts[0]?.[0].ids ?? [])
			expect(id).toMatch(/^mvtec\/b\//);
	});

	it.each([
		["the memory does not follow", [replay]],
		["every task keeps its weights", ["strategy={ name: isolated }", ldc]],
		["nothing trains", ["strategy={ name: frozen }", ldc]],
	])("is not asked where %s", async (name, sets) => {
		const { drifts } = overhear();
		await run(name.replaceAll(" ", "-"), sets);
		expect(drifts).toEqual([]);
	});

	it("with rehearsed images, the first density lies nearer to its normals than without drift, the weights being the same", async () => {
		const still = await run("replay-still", [replay]);
		const moved = await run("replay-moved", [replay, ldc]);
		expect(staleness(moved)).toBeLessThan(0.5 * staleness(still));
		const weights = ({ dir }: { dir: string }) =>
			readdirSync(join(dir, "memory")).filter((n) => n.startsWith("weights"));
		expect(weights(moved)).toEqual(weights(still));
	});
});

describe("patches", () => {
	const bank = (blocks: string) =>
		`memory=[{ name: patches, blocks: ${blocks} }, { name: dne }]`;

	it("an earlier bank is the same file after the next task, whatever trains; maps are measured", async () => {
		const { dir, metrics } = await run("bank", [bank("[0.3]")]);
		const banks = readdirSync(join(dir, "memory/mvtec.a")).filter((name) =>
			name.includes(".patches."),
		);
		expect(banks.length).toBe(1);
		const alone = await run("bank-alone", [
			bank("[0.3]"),
			"data.tasks=[mvtec/a]",
			"strategy={ name: frozen }",
		]);
		expect(readdirSync(join(alone.dir, "memory/mvtec.a"))).toContain(banks[0]);
		expect(
			metrics.pixel?.map(({ after, category }) => [after, category]),
		).toEqual([
			[1, "mvtec/a"],
			[2, "mvtec/a"],
			[2, "mvtec/b"],
		]);
		expect(metrics.staleness["mvtec/b"]?.["mvtec/a"]).toBeGreaterThan(0.1); // of the density beside it
	});

	const refused = async (name: string, sets: readonly string[]) => {
		const error = await run(name, sets, { stopped: true }).then(
			() => null,
			(e: Error & { code?: string }) => e,
		);
		return error;
	};

	it("of blocks that training changes are refused before anything is written", async () => {
		const error = await refused("trained", [bank("[0.3, 0.67]")]);
		expect(error).toMatchObject({ code: "BLOCKS_TRAINED" });
		expect(error?.message).toMatch(
			/memory\.blocks names block 2 of 3.*change block 2 and all above.*up to 1 \(as a fraction of the depth at most 0\.33\)/,
		);
		expect(existsSync(runDir(configOf("trained", [])))).toBe(false);
	});

	it.each([
		["nothing trains", ["trainable=none"]],
		["the strategy trains nothing", ["strategy={ name: frozen }"]],
	])("may be of any block where %s", async (name, sets) => {
		const error = await refused(`any-${name.replaceAll(" ", "-")}`, [
			...sets,
			bank("[0.3, 1]"),
		]);
		expect(error?.message).toBe("interrupted");
	});

	it.each(["{ last: 2 }", "{ last: 1 }", "all"])(
		"with trainable %s the advice of the error helps",
		async (trainable) => {
			const sets = [`trainable=${trainable}`];
			const name = `advice-${trainable.replaceAll(/\W/g, "")}`;
			const error = await refused(name, [...sets, bank("[0.3, 1]")]);
			expect(error).toMatchObject({ code: "BLOCKS_TRAINED" });
			const [, below] = /Use blocks below ([\d.]+)/.exec(
				error?.message ?? "",
			) ?? [null, null];
			if (below === null) return; // it gives another
			const followed = await refused(name, [
				...sets,
				bank(`[${Number(below) - 0.01}]`),
			]);
			expect(followed?.message).toBe("interrupted");
		},
	);

	it("are not chosen to the end where the user wants to stop", async () => {
		const config = configOf("stopped-within", [bank("[0.3]")]);
		const dir = runDir(config);
		const stop = { requested: false };
		const units: string[] = [];
		const emit = (event: RunEvent) => {
			if (event.type !== "progress" || event.phase !== "memory") return;
			units.push(event.unit);
			stop.requested = event.unit === "images compared" && event.done === 3;
		};
		await expect(
			train({ config, dir, mode: "new", force: false }, { emit, stop }),
		).rejects.toThrow("interrupted");
		expect(units.filter((unit) => unit === "images compared")).toHaveLength(4);
		expect(openRun(dir, "read").memory.version).toBe(0);
	});
});
