/** The built program scoring pictures that belong to no data set. */
import { spawn } from "node:child_process";
import {
	copyFileSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { drawDemo } from "../src/data/demo.ts";
import { decodeImage, encodePng } from "../src/data/image.ts";
import type { Image } from "../src/data/task.ts";
import { readMap } from "../src/data/tiff.ts";
import { uint8 } from "../src/engine/tensor.ts";
import type { Prediction } from "../src/events.ts";
import { verdictOf } from "../src/predictor.ts";
import { Random } from "../src/random.ts";
import { parseScores } from "../src/run.ts";
import { drawCategory, frozenRun, size } from "./drawn.ts";
import { keepsight } from "./here.ts";
import { cli } from "./program.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-predict-"));
const data = join(work, "data");
const run = join(work, "out/run/Anomaly");
afterAll(() => rmSync(work, { recursive: true, force: true }));

beforeAll(async () => {
	for (const [kind, id] of ["mvtec/a", "mvtec/b"].entries())
		await drawCategory(join(data, id), kind, 12, 4);
	const config = join(work, "run.yaml");
	writeFileSync(
		config,
		frozenRun({
			root: data,
			tasks: ["mvtec/a", "mvtec/b"],
			out: join(work, "out"),
		}),
	);
	const { status, stderr } = await keepsight("train", "--config", config);
	if (status !== 0) throw new Error(stderr);
});

const predict = (...args: string[]) =>
	keepsight("predict", "--mem_dir", run, ...args);
const objects = (stdout: string): Prediction[] =>
	stdout
		.split("\n")
		.filter((line) => line !== "")
		.map((line) => JSON.parse(line));
const scored = async (...args: string[]) => {
	const { status, stdout, stderr } = await predict("--json", ...args);
	expect(stderr).not.toMatch(/^error/m);
	expect(status).toBe(0);
	return objects(stdout);
};
const image = (category: string, file: string) => join(data, category, file);

/** A folder of its own, with pictures in it. */
const folderOf = (name: string, files: Readonly<Record<string, string>>) => {
	const dir = join(work, name);
	for (const [file, from] of Object.entries(files)) {
		mkdirSync(join(dir, file, ".."), { recursive: true });
		copyFileSync(from, join(dir, file));
	}
	return dir;
};
const spot = () => image("mvtec/a", "test/spot/0.png");
const good = () => image("mvtec/b", "test/good/0.png");

/** Every pixel the mean of 5 x 5. */
const smoothed = ({ shape, data: from }: Image): Image => {
	const out = uint8([...shape]);
	const [h, w] = shape as readonly number[] as [number, number];
	for (let i = 0; i < out.data.length; i++) {
		const [y, x, c] = [Math.floor(i / 3 / w), Math.floor(i / 3) % w, i % 3];
		let [sum, count] = [0, 0];
		for (let v = Math.max(0, y - 2); v <= Math.min(h - 1, y + 2); v++)
			for (let u = Math.max(0, x - 2); u <= Math.min(w - 1, x + 2); u++) {
				sum += from[3 * (v * w + u) + c] as number;
				count++;
			}
		out.data[i] = sum / count;
	}
	return out;
};

/** A run of the program that goes on until it is stopped. */
const live = (input: "ignore" | "pipe", ...args: string[]) => {
	const child = spawn(
		process.execPath,
		[cli, "predict", "--mem_dir", run, "--json", ...args],
		{ stdio: [input, "pipe", "pipe"] },
	);
	let stdout = "";
	child.stdout?.on("data", (text) => (stdout += text));
	const ended = new Promise<number | null>((resolve) =>
		child.on("close", resolve),
	);
	const until = async (lines: number) => {
		const end = performance.now() + 30_000;
		while (
			objects(stdout.slice(0, stdout.lastIndexOf("\n") + 1)).length < lines
		) {
			if (performance.now() > end) throw new Error(`only: ${stdout}`);
			await new Promise((resolve) => setTimeout(resolve, 50));
		}
		return objects(stdout);
	};
	return { child, ended, until };
};

describe("predict", () => {
	it("gives every image the bits that evaluation gave it, whatever it is scored with", async () => {
		const found = new Map((await scored(data)).map((p) => [p.path, p]));
		for (const id of ["mvtec/a", "mvtec/b"]) {
			const file = join(run, "scores/after-02", `${id.replace("/", ".")}.csv`);
			const rows = parseScores(readFileSync(file, "utf8"), file);
			expect(rows).toHaveLength(8);
			for (const row of rows)
				expect(found.get(join(data, row.path))).toMatchObject({
					score: row.score,
					threshold: row.threshold,
					task: row.routed,
					anomalous: row.score >= (row.threshold as number),
				});
		}
		const alone = (await scored(spot()))[0] as Prediction;
		expect(alone).toEqual({
			...found.get(spot()),
			latencyMs: alone.latencyMs,
		});
		expect(alone.memoryVersion).toBeGreaterThan(0);
		expect(alone.latencyMs).toBeGreaterThan(0);
	});

	it("prints a line an image in their order, and how many of what", async () => {
		const { status, stdout, stderr } = await predict(good(), spot());
		expect(status).toBe(0);
		const lines = stdout.trimEnd().split("\n");
		expect(lines).toHaveLength(3);
		expect(lines[0]).toMatch(/^verdict +score +threshold +product +path$/);
		expect(lines[1]).toContain(good());
		expect(lines[2]).toMatch(/^defect +\d+\.\d\d +2\.00 +mvtec\/a +/);
		expect(stderr).toMatch(/1 defect/);
		expect((await predict(spot(), "--quiet")).stderr).toBe("");
	});

	it("is told the product, or names the nearest one", async () => {
		const [found] = await scored(spot(), "--task", "mvtec/b");
		expect(found?.task).toBe("mvtec/b");
		const { status, stderr } = await predict(spot(), "--task", "mvtc/b");
		expect(status).toBe(2);
		expect(stderr).toContain('Did you mean "mvtec/b"?');
	});

	it("says of a picture of something else that no product fits, unless the product is told", async () => {
		const random = new Random("foreign");
		const blots = uint8([size, size, 3]);
		for (let y = 0; y < size; y++)
			for (let x = 0; x < size; x++)
				blots.data.set(
					(x >> 2) % 2 === (y >> 2) % 2 ? [230, 20, 40] : [10, 30, 90],
					3 * (y * size + x),
				);
		const noise = uint8([size, size, 3]);
		for (let i = 0; i < noise.data.length; i++)
			noise.data[i] = random.uniform(0, 255);
		const dir = join(work, "foreign");
		mkdirSync(dir);
		writeFileSync(join(dir, "blots.png"), await encodePng(blots));
		writeFileSync(join(dir, "noise.png"), await encodePng(noise));
		for (const found of await scored(dir))
			expect(found).toMatchObject({
				verdict: "unknown",
				task: null,
				anomalous: true,
				reason: null,
			});
		expect((await scored(dir, "--task", "mvtec/a"))[0]).toMatchObject({
			verdict: "defect",
			task: "mvtec/a",
		});
		for (const { path, verdict } of await scored(data))
			expect(verdict, path).not.toBe("unknown");
	});

	it("says of what cannot be scored why, and goes on", async () => {
		const dir = folderOf("mixed", { "4.png": spot() });
		writeFileSync(join(dir, "1.png"), "no picture");
		writeFileSync(join(dir, "2.png"), await encodePng(uint8([size, size, 3])));
		const white = uint8([size, size, 3]);
		white.data.fill(250);
		writeFileSync(join(dir, "3.png"), await encodePng(white));
		const found = await scored(dir);
		expect(found.map(({ verdict }) => verdict)).toEqual([
			"unusable",
			"unusable",
			"unusable",
			"defect",
		]);
		expect(found[0]?.reason).toContain(join(dir, "1.png"));
		expect(found.map(({ reason }) => reason).slice(1)).toEqual([
			"dark",
			"empty",
			null,
		]);
		expect(found[1]).toMatchObject({
			score: null,
			anomalous: null,
			task: null,
		});
	});

	it("sees what is out of focus, routed or told, and no picture in focus as that, defective or not", async () => {
		const root = join(work, "focus");
		await drawDemo(root, {
			products: 2,
			size: 112,
			train: 12,
			testGood: 4,
			perDefect: 2,
		});
		const memory = join(work, "focused");
		for (const task of ["mvtec/fabric", "mvtec/flange"]) {
			const data = join(root, task);
			const { status, stderr } = await keepsight(
				"learn",
				"--mem-dir",
				memory,
				"--task",
				task,
				"--data",
				data,
				...(task === "mvtec/fabric" ? ["--set", "image_size=112"] : []),
			);
			expect(stderr).not.toMatch(/^error/m);
			expect(status).toBe(0);
		}
		const verdicts = async (...args: string[]) => {
			const { status, stdout } = await keepsight(
				"predict",
				"--mem-dir",
				memory,
				"--json",
				...args,
			);
			expect(status).toBe(0);
			return objects(stdout);
		};
		const blurred = join(work, "blurred");
		mkdirSync(blurred);
		for (const task of ["mvtec/fabric", "mvtec/flange"])
			for (const n of ["000", "001"]) {
				const file = join(root, task, "test/good", `${n}.png`);
				const image = await decodeImage(readFileSync(file), file);
				writeFileSync(
					join(blurred, `${basename(task)}${n}.png`),
					await encodePng(smoothed(smoothed(image))),
				);
			}
		const told = ["--task", "mvtec/fabric", join(blurred, "fabric000.png")];
		for (const found of [
			...(await verdicts(blurred)),
			...(await verdicts(...told)),
		])
			expect(found).toMatchObject({
				verdict: "unusable",
				reason: "blurred",
				score: null,
				task: null,
			});
		const sharp = await verdicts(
			join(root, "mvtec/fabric/test"),
			join(root, "mvtec/flange/test"),
		);
		expect(sharp).toHaveLength(30);
		expect(sharp.some(({ verdict }) => verdict === "unusable")).toBe(false);
	}, 120_000);

	it("writes a CSV that no name can break, nor a spreadsheet run", async () => {
		const dir = folderOf("names", {
			'=1+1,"a".png': spot(),
			"b\n\u001b[2Jc.png": good(),
		});
		const file = join(work, "found.csv");
		const { status, stdout } = await keepsight(
			"predict",
			"--mem_dir",
			run,
			join(dir, "*.png"),
			"--csv",
			file,
		);
		expect(status).toBe(0);
		expect(stdout.trimEnd().split("\n")).toHaveLength(3);
		expect(stdout).not.toContain("\u001b");
		const text = readFileSync(file, "utf8");
		expect(text.split("\n")[0]).toBe(
			"path,verdict,score,threshold,task,memoryVersion,reason",
		);
		const path = `"${join(dir, '=1+1,""a"".png')}",defect,`;
		expect(text).toContain(path);
		expect(text).toContain(`"${join(dir, "b\n\u001b[2Jc.png")}",`);
	});

	it("writes maps under the pictures' names, each its own", async () => {
		const dir = folderOf("parts", {
			"a.png": spot(),
			"sub/a.png": good(),
			"a.webp": good(),
		});
		const maps = join(work, "maps");
		const found = await scored(dir, spot(), "--maps", maps);
		expect(found).toHaveLength(4);
		const files = readdirSync(maps, { recursive: true, encoding: "utf8" });
		expect(files.sort()).toEqual(
			["0", "a", "a-2", "sub/a"]
				.flatMap((stem) => [`${stem}.tiff`, `${stem}.png`])
				.concat("sub")
				.sort(),
		);
		const { shape, data: values } = await readMap(maps, "a.png");
		expect(shape).toEqual([size, size]);
		const at = values.indexOf(Math.max(...values));
		for (const place of [Math.floor(at / size), at % size])
			expect(Math.abs(place - 13)).toBeLessThan(8);
	});

	it("writes no map over a picture or among them", async () => {
		const dir = folderOf("own", { "a.png": spot() });
		const before = readFileSync(join(dir, "a.png"));
		for (const [input, maps] of [
			[dir, dir],
			[dir, join(dir, "maps")],
			[dir, work],
			[join(dir, "a.png"), dir],
			[join(dir, "**/*.png"), join(dir, "maps")],
		] as const) {
			const { status, stderr } = await predict(input, "--maps", maps);
			expect(status).toBe(2);
			expect(stderr).toContain("Give another folder");
		}
		const away = join(work, "away");
		mkdirSync(away);
		mkdirSync(join(work, "linked"));
		symlinkSync(away, join(work, "linked/own"));
		const out = await predict(
			join(work, "own*/*.png"),
			"--maps",
			join(work, "linked"),
		);
		expect(out.status).toBe(2);
		expect(out.stderr).toContain(join(work, "linked/own"));
		expect(readdirSync(away)).toEqual([]);
		expect(readdirSync(dir)).toEqual(["a.png"]);
		expect(readFileSync(join(dir, "a.png"))).toEqual(before);
	});

	it.each([
		[["nowhere.png"], "nowhere.png"],
		[[], "--watch"],
		[["a.png", "--watch", "b"], "--watch"],
		[["--watch", "b", "--csv", "c"], "--csv"],
		[["--watch", "nowhere"], "nowhere"],
		[["nowhere.png", "--csv", "src"], "Could not write src: it is a folder"],
	])("%j: exit code 2", async (args, named) => {
		const { status, stdout, stderr } = await predict(...args);
		expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
		expect(stderr).toContain(named);
	});

	it("reads names from stdin as they come", async () => {
		const { child, ended, until } = live("pipe", "-");
		child.stdin?.write(`${spot()}\n`);
		expect((await until(1))[0]?.verdict).toBe("defect");
		child.stdin?.end(`nowhere.png\r\n${good()}`);
		const found = await until(3);
		expect(found.map(({ path }) => basename(path))).toEqual([
			"0.png",
			"nowhere.png",
			"0.png",
		]);
		expect(found[1]?.reason).toContain("no such file");
		expect(await ended).toBe(0);
	});

	it("stops waiting for stdin when it is interrupted", async () => {
		const { child, ended, until } = live("pipe", "-");
		child.stdin?.write(`${spot()}\n`);
		await until(1);
		child.kill("SIGINT");
		expect(await ended).toBe(130);
	});

	it("watches a folder: what is there, what appears, what changes; until it is stopped", async () => {
		const dir = folderOf("camera", { "1.png": spot() });
		const maps = join(work, "camera-maps");
		const { child, ended, until } = live(
			"ignore",
			"--watch",
			dir,
			"--maps",
			maps,
		);
		await until(1);
		// a camera that takes a second to write
		const bytes = readFileSync(good());
		for (const part of [0.3, 0.6, 1]) {
			writeFileSync(
				join(dir, "2.png"),
				bytes.subarray(0, Math.round(part * bytes.length)),
			);
			await new Promise((resolve) => setTimeout(resolve, 300));
		}
		expect((await until(2))[1]?.verdict).not.toBe("unusable");
		writeFileSync(join(dir, "1.png"), readFileSync(good()));
		const found = await until(3);
		expect(found.map(({ path }) => basename(path))).toEqual([
			"1.png",
			"2.png",
			"1.png",
		]);
		expect(found[2]?.score).toBe(found[1]?.score);
		child.kill("SIGTERM");
		expect(await ended).toBe(143);
		expect(existsSync(join(maps, "2.tiff"))).toBe(true);
	});
});

describe("a verdict", () => {
	it.each([
		[1, "good"],
		[1.69, "good"],
		[1.71, "unsure"],
		[2, "unsure"],
		[2.3, "unsure"],
		[2.31, "defect"],
	])("%f at the threshold 2: %s", (score, verdict) => {
		expect(verdictOf({ score, threshold: 2, unknown: false })).toBe(verdict);
	});
});
