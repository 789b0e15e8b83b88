import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AugmentJob, createAugmenter, prefetch } from "../src/augment.ts";
import { disc, plain } from "./pretext/pictures.ts";

// Threads need a compiled worker: built here from the sources, never taken from a dist that may be old.
const root = resolve(import.meta.dirname, "..");
const dir = mkdtempSync(join(tmpdir(), "keepsight-augment-"));
const workerFile = pathToFileURL(join(dir, "dist", "augment.worker.js"));
beforeAll(() => {
	writeFileSync(join(dir, "package.json"), '{ "type": "module" }');
	symlinkSync(join(root, "node_modules"), join(dir, "node_modules"));
	const compilerOptions = {
		noEmit: false,
		noCheck: true,
		rootDir: join(root, "src"),
		outDir: join(dir, "dist"),
		types: [],
	};
	writeFileSync(
		join(dir, "tsconfig.json"),
		JSON.stringify({
			extends: join(root, "tsconfig.json"),
			compilerOptions,
			include: [],
			files: [join(root, "src", "augment.worker.ts")],
		}),
	);
	execFileSync(
		process.execPath,
		[
			join(root, "node_modules", "typescript", "bin", "tsc"),
			"-p",
			join(dir, "tsconfig.json"),
		],
		{ stdio: "pipe" },
	);
}, 60_000);
afterAll(() => rmSync(dir, { recursive: true }));

const images = [1, 2, 3, 4].map((seed) => disc(32, 40, seed));
const bytes = 32 * 40 * 3;
const jobs: AugmentJob[] = Array.from({ length: 7 }, (_, i) => ({
	image: i % 4,
	other: (i + 1) % 4,
	key: ["augment", "mvtec/disc", 0, i],
}));
const create = (name: string, workers: number, seed = 1) =>
	createAugmenter({ pretext: { name }, images, workers, seed, workerFile });

describe("createAugmenter", () => {
	test("without a worker file, run from sources: in process", async () => {
		const augmenter = createAugmenter({
			pretext: { name: "threeWay" },
			images,
			workers: 2,
			seed: 1,
		});
		expect(augmenter.workers).toBe(0);
		expect(augmenter.classes).toEqual(["normal", "cutpaste", "scar"]);
		expect((await augmenter.views(jobs)).length).toBe(7 * 3 * bytes);
		await augmenter.close();
		await expect(augmenter.views(jobs)).rejects.toThrow("closed");
	});

	test.each(["cutpaste", "nsa"])(
		"%s: neither the number of workers nor the batch changes a view",
		async (name) => {
			const alone = create(name, 0);
			const expected = await alone.views(jobs);
			const single = await Promise.all(jobs.map((job) => alone.views([job])));
			expect(Buffer.concat(single).equals(expected)).toBe(true);
			for (const workers of [1, 3]) {
				const augmenter = create(name, workers);
				expect(augmenter.workers).toBe(workers);
				const all = await Promise.all([
					augmenter.views(jobs),
					augmenter.views(jobs.slice(2, 4)),
					augmenter.views(jobs),
				]); // at once
				expect(all[0]).toEqual(expected);
				expect(all[1]).toEqual(expected.slice(2 * 2 * bytes, 4 * 2 * bytes));
				expect(all[2]).toEqual(expected);
				expect(await augmenter.views(jobs)).toEqual(expected); // in memory used before
				expect(all[0]?.buffer).toBeInstanceOf(ArrayBuffer); // onnxruntime takes no shared memory
				expect(await augmenter.views([])).toEqual(new Uint8Array(0));
				await augmenter.close();
			}
			const other = await create(name, 0, 2).views(jobs);
			expect(other).not.toEqual(expected);
		},
	);

	test("holds the images once, in shared memory", () => {
		const augmenter = create("cutpaste", 0);
		expect(augmenter.images.map(({ data }) => Uint8Array.from(data))).toEqual(
			images.map(({ data }) => data),
		);
		expect(new Set(augmenter.images.map(({ data }) => data.buffer)).size).toBe(
			1,
		);
		expect(augmenter.images[0]?.data.buffer).toBeInstanceOf(SharedArrayBuffer);
	});

	test("an error in a worker rejects with its code and wording, and the worker goes on", async () => {
		const blank = [...images, plain(32, 40, 128)];
		const augmenter = createAugmenter({
			pretext: { name: "nsa" },
			images: blank,
			workers: 2,
			seed: 1,
			workerFile,
		});
		const failing = augmenter.views([
			jobs[0] as AugmentJob,
			{ image: 4, other: 4, key: [0] },
		]);
		await expect(failing).rejects.toMatchObject({
			code: "PRETEXT_NO_CHANGE",
			message: expect.stringContaining("blank images"),
		});
		await expect(
			augmenter.views([{ image: 9, other: 0, key: [0] }]),
		).rejects.toThrow("no image 9 among 5");
		expect((await augmenter.views(jobs)).length).toBe(7 * 2 * bytes);
		await augmenter.close();
	});

	test("close waits for what is under way, and may be called twice", async () => {
		const augmenter = create("cutpaste", 2);
		const views = augmenter.views(jobs);
		await augmenter.close();
		expect((await views).length).toBe(7 * 2 * bytes);
		await expect(augmenter.views(jobs)).rejects.toThrow("closed");
		await augmenter.close();
	});

	test("a worker that cannot start rejects the views", async () => {
		const broken = join(dir, "broken.js");
		writeFileSync(broken, "throw new Error('no such luck');");
		const augmenter = createAugmenter({
			pretext: { name: "cutpaste" },
			images,
			workers: 1,
			seed: 1,
			workerFile: pathToFileURL(broken),
		});
		await expect(augmenter.views(jobs)).rejects.toThrow("no such luck");
		await expect(augmenter.views(jobs)).rejects.toThrow("no such luck");
		await augmenter.close();
	});

	test("images of different sizes are an error", () => {
		expect(() =>
			createAugmenter({
				pretext: { name: "nsa" },
				images: [disc(32, 40, 1), disc(40, 32, 1)],
				workers: 0,
				seed: 1,
			}),
		).toThrow("[32, 40, 3] x [40, 32, 3]");
	});
});

describe("prefetch", () => {
	const source = (log: string[], n: number, failing = -1) =>
		(function* () {
			try {
				for (let i = 0; i < n; i++) {
					log.push(`start ${i}`);
					yield i === failing
						? Promise.reject(new Error(`no ${i}`))
						: Promise.resolve(i);
				}
			} finally {
				log.push("returned");
			}
		})();

	test("keeps `depth` promises under way while the caller works, in order", async () => {
		const log: string[] = [];
		for await (const i of prefetch(source(log, 5), 2)) log.push(`step ${i}`);
		expect(log.slice(0, 4)).toEqual([
			"start 0",
			"start 1",
			"start 2",
			"step 0",
		]);
		expect(log.indexOf("start 3")).toBeLessThan(log.indexOf("step 1"));
		expect(log.filter((line) => line.startsWith("step"))).toEqual([
			"step 0",
			"step 1",
			"step 2",
			"step 3",
			"step 4",
		]);
	});
	test("a failure comes in its turn, and leaving early ends the source", async () => {
		const seen: number[] = [];
		const run = async () => {
			for await (const i of prefetch(source([], 5, 2), 3)) seen.push(i);
		};
		await expect(run()).rejects.toThrow("no 2");
		expect(seen).toEqual([0, 1]);
		const log: string[] = [];
		for await (const i of prefetch(source(log, 50), 1)) if (i === 1) break;
		expect(log.at(-1)).toBe("returned");
		expect(log.length).toBeLessThan(6);
	});
});
