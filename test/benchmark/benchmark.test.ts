/** The benchmark in small: three products of a few tiny pictures, whole, broken off many times, and broken. */
import {
	cpSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
	type BenchmarkJob,
	type BenchmarkResult,
	benchmark,
} from "../../src/benchmark/benchmark.ts";
import { parseLook } from "../../src/benchmark/look.ts";
import { type Protocol, protocolOf } from "../../src/benchmark/protocol.ts";
import { loadConfig, type RunConfig } from "../../src/config.ts";
import { Interrupted } from "../../src/errors.ts";
import { loadPlugins } from "../../src/plugins.ts";
import { Predictor } from "../../src/predictor.ts";
import { openRun } from "../../src/run.ts";
import { teach } from "../../src/teach.ts";
import type { Watcher } from "../../src/train.ts";
import { expectSameBytes } from "../runs.ts";

const protocol: Protocol = {
	...protocolOf(3, 7),
	varied: 2,
	milestones: [1, 2, 3],
	size: 48,
	train: 4,
	testGood: 2,
	perDefect: 1,
	images: [1, 2],
	dirty: [0.5],
	recalibrated: [10],
	alone: { products: 1, images: [2, 4] },
};
const kept = ["looks", "memories/line/memory", "memories/line/scores"];

let work: string;
let config: RunConfig;
let whole: BenchmarkResult;

const idle: Watcher = { emit: () => undefined, stop: { requested: false } };
const job = (name: string, change: Partial<BenchmarkJob> = {}) => ({
	dir: name === "whole" ? relative(".", join(work, name)) : join(work, name), // as on a command line, and in full
	protocol,
	config,
	drawOnly: false,
	...change,
});

/** Stopped again and again, each time once it has done so many things that no process before had; how often. */
async function inPieces(name: string, things: number): Promise<number> {
	const done = new Set<string>();
	for (let pieces = 1; ; pieces++) {
		const stop = { requested: false };
		const enough = done.size + things;
		const emit: Watcher["emit"] = (event) => {
			done.add(JSON.stringify(event));
			stop.requested = done.size >= enough;
		};
		try {
			await benchmark(job(name), { emit, stop });
			return pieces;
		} catch (error) {
			if (!(error instanceof Interrupted)) throw error;
		}
	}
}

beforeAll(async () => {
	work = mkdtempSync(join(tmpdir(), "keepsight-benchmark-"));
	({ config } = await loadConfig("configs/flagship.yaml", [
		"image_size=48",
		"backbone={ name: vit, width: 24, depth: 2, heads: 2, patch: 16 }",
		"threads=1",
	]));
	whole = (await benchmark(job("whole"), idle)).results;
}, 60_000);
afterAll(() => rmSync(work, { recursive: true, force: true }));

const table = (name: string) => {
	const found = whole.figures?.tables.find((one) => one.name === name);
	if (!found) throw new Error(`no table ${name}`);
	return found;
};
const look = (chapter: string, after: number) => {
	const file = join(work, `whole/looks/${chapter}/after-00${after}.csv`);
	return parseLook(readFileSync(file, "utf8"), file);
};

describe("the benchmark", () => {
	it("broken off anywhere, it goes on to the same bytes", async () => {
		expect(await inPieces("pieces", 13)).toBeGreaterThan(5);
		expectSameBytes(join(work, "whole"), join(work, "pieces"), kept);
		rmSync(join(work, "pieces/looks/line/after-003.csv")); // killed between a version of the memory and its look
		const { results } = await benchmark(job("pieces"), idle);
		expectSameBytes(join(work, "whole"), join(work, "pieces"), kept);
		expect(results).toEqual({ ...whole, wentOn: true });
		expect(whole.wentOn).toBe(false);
	}, 60_000);

	it("a look that is gone is not taken with a later memory", async () => {
		const dir = join(work, "pieces");
		rmSync(join(dir, "looks/line/after-001.csv"));
		await expect(benchmark(job("pieces"), idle)).rejects.toThrow(
			`after-001.csv is damaged: it is gone, and the memory has learnt 3 products since. Restore it from a copy, or delete the folders ${join(dir, "looks/line")} and, if it is there, ${join(dir, "memories/line")}, and run the same command again.`,
		);
		rmSync(join(dir, "looks/line"), { recursive: true });
		rmSync(join(dir, "memories/line"), { recursive: true });
		rmSync(join(dir, "looks/images-2/after-002.csv")); // its memory is gone by now
		await benchmark(job("pieces"), idle);
		expectSameBytes(join(work, "whole"), dir, kept);
	}, 60_000);

	it("a list of dirty images that is damaged says what to delete", async () => {
		const dir = join(work, "pieces");
		writeFileSync(join(dir, "data/dirty/flange/dirty.json"), "[1");
		rmSync(join(dir, "looks/dirty-50"), { recursive: true });
		await expect(benchmark(job("pieces"), idle)).rejects.toThrow(
			`or delete ${join(dir, "data")} and run the same command again`,
		);
		rmSync(join(dir, "data"), { recursive: true });
		await benchmark(job("pieces"), idle);
		expectSameBytes(join(work, "whole"), dir, [...kept, "data"]);
	}, 60_000);

	it("a folder of another benchmark is refused", async () => {
		const other = benchmark(
			job("whole", { config: { ...config, seed: 5 } }),
			idle,
		);
		await expect(other).rejects.toMatchObject({ code: "BENCHMARK_DIFFERS" });
	});

	it("pictures drawn alone are those that any detector is then shown", async () => {
		await benchmark(job("drawn", { drawOnly: true }), idle);
		expectSameBytes(join(work, "whole"), join(work, "drawn"), ["data"]);
		const { results } = await benchmark(job("drawn", { drawOnly: true }), idle);
		expect(results).toEqual({ figures: null, wentOn: true });
		const detector = () =>
			(
				JSON.parse(readFileSync(join(work, "drawn/protocol.json"), "utf8")) as {
					detector: { seed: number } | null;
				}
			).detector;
		expect(detector()).toBeNull();
		const learning = benchmark(job("drawn"), {
			...idle,
			stop: { requested: true },
		});
		await expect(learning).rejects.toThrow(Interrupted);
		expect(detector()?.seed).toBe(config.seed);
	});

	it("products that are not learnt are looked at, and told of no score", () => {
		const rows = look("line", 1);
		expect(new Set(rows.map(({ product }) => product)).size).toBe(3);
		for (const { product, routed, told } of rows) {
			expect(routed).toBe("mvtec/fabric");
			expect(told === null).toBe(product !== "mvtec/fabric");
		}
	});

	it("fewer images, dirty ones and a memory of its own are each something else or the same", () => {
		const scores = (chapter: string, after: number) =>
			look(chapter, after)
				.filter((r) => r.split === "test" && r.product === "mvtec/flange")
				.map(({ told }) => told?.score);
		const learnt = scores("line", 2);
		expect(learnt).toHaveLength(8);
		expect(scores("images-2", 2)).not.toEqual(learnt);
		expect(scores("dirty-50", 2)).not.toEqual(learnt);
		expect(scores("alone-4-1", 1)).toEqual(learnt); // nothing trains
		expect(scores("alone-2-1", 1)).toEqual(scores("images-2", 2));
	});

	it("recalibrated products score as after `learn --recalibrate`", async () => {
		const memDir = join(work, "recalibrated");
		cpSync(join(work, "whole/memories/line"), memDir, { recursive: true });
		const home = join(work, "whole/data/drift_blur/flange");
		const change = {
			kind: "recalibrate",
			task: "mvtec/flange",
			data: join(home, "recalibrate"),
		} as const;
		await teach({ memDir, change, config: null }, idle);
		const predictor = new Predictor(openRun(memDir, "read").memory, 1);
		const rows = look("line", 2).filter(
			({ product, split }) =>
				product === "mvtec/flange" && split === "drift_blur",
		);
		const [before, after] = [0, 10].map((by) =>
			rows.filter(({ recalibrated }) => recalibrated === by),
		);
		expect(after).toHaveLength(8);
		for (const [i, { path, told }] of (after ?? []).entries()) {
			expect(before?.[i]).toMatchObject({ path });
			expect(before?.[i]?.told?.score).not.toBe(told?.score);
			const picture = await predictor.picture(
				{ path, name: path, told: "mvtec/flange" },
				readFileSync(join(work, "whole/data", path)),
			);
			for await (const { prediction } of predictor.score([picture]))
				expect(prediction.score).toBe(told?.score);
		}
		await predictor.release();
	});

	it("tables have a cell a column, and say what is not defined", () => {
		for (const { columns, rows } of whole.figures?.tables ?? [])
			for (const { cells } of rows) expect(cells.length).toBe(columns.length);
		expect(table("gain").rows.map(({ cells }) => cells[2]?.value)).toEqual([
			0, 0,
		]);
		expect(table("kinds").rows[1]?.cells[0]?.value).toBeNull(); // no product with logical defects among the first three
		expect(table("routing").rows[0]?.cells[0]?.of).toBe(6);
		expect(table("growth").rows.map(({ label }) => label)).toEqual([
			"1",
			"2",
			"3",
		]);
	});

	it("a detector that trains can gain and forget; one that needs all images at once is refused", async () => {
		const trained = async (strategy: string) =>
			(
				await loadConfig("configs/flagship.yaml", [
					"image_size=48",
					"backbone={ name: vit, width: 24, depth: 2, heads: 2, patch: 16 }",
					"threads=1",
					"trainable={ last: 1 }",
					`strategy={ name: ${strategy} }`,
					"memory=[{ name: dne, form: routed }]",
					"train={ epochs: 1, batch_size: 4 }",
				])
			).config;
		const shorter = {
			...protocol,
			images: [],
			dirty: [],
			recalibrated: [],
			alone: { products: 1, images: [4] },
		};
		const { results } = await benchmark(
			job("trained", { protocol: shorter, config: await trained("finetune") }),
			idle,
		);
		expect(results.figures?.tables).toHaveLength(12);
		const rows = (name: string) => {
			const file = join(work, `trained/looks/${name}.csv`);
			return parseLook(readFileSync(file, "utf8"), file).flatMap((row) =>
				row.product === "mvtec/flange" && row.split === "test"
					? [row.told?.score]
					: [],
			);
		};
		expect(rows("line/after-002")).not.toEqual(rows("alone-4-1/after-001"));
		expect(rows("line/after-002")).not.toEqual(rows("line/after-003"));
		const joint = { config: await trained("joint") };
		await expect(benchmark(job("joint", joint), idle)).rejects.toMatchObject({
			code: "NEEDS_ALL_IMAGES",
		});
		const drawing = job("drawn", { ...joint, drawOnly: true });
		expect((await benchmark(drawing, idle)).results.figures).toBeNull();
	}, 60_000);

	it("a damaged look is an error, not a figure", async () => {
		const file = join(work, "whole/looks/line/after-002.csv");
		const text = readFileSync(file, "utf8");
		for (const [from, to] of [
			["told_score", "score"],
			["mvtec/fabric,test", "mvtec/fabric,toast"],
			[/,0\n/, ",two\n"],
		] as const) {
			writeFileSync(file, text.replace(from, to));
			await expect(benchmark(job("whole"), idle)).rejects.toMatchObject({
				code: "DAMAGED",
			});
		}
		writeFileSync(file, text);
	});

	it("another plugin makes another benchmark", async () => {
		const file = join(work, "plugin.mjs");
		writeFileSync(
			file,
			`const none = () => [];
export default { readers: { none: { title: "None", layout: "mvtec", matches: async () => false, readNormals: none, readTest: none } } };`,
		);
		await loadPlugins([file]);
		await expect(benchmark(job("whole"), idle)).rejects.toMatchObject({
			code: "BENCHMARK_DIFFERS",
		});
	});
});
