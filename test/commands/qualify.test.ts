/** The built program, end to end on a tiny drawn product. */
import { spawnSync } from "node:child_process";
import {
	copyFileSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodePng } from "../../src/data/image.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { learntOf, refuseLearnt } from "../../src/qualify/pictures.ts";
import type { Qualification } from "../../src/qualify/qualify.ts";
import type { Run } from "../../src/run.ts";
import { drawCategory } from "../drawn.ts";
import { keepsight } from "../here.ts";
import { cli } from "../program.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-qualify-"));
const data = join(work, "a");
const line = join(work, "line");
const hostile = "<script>alert('1')<x>";
afterAll(() => rmSync(work, { recursive: true, force: true }));

beforeAll(async () => {
	await drawCategory(data, 0, 12, 6);
	await drawCategory(join(work, "b"), 1, 12, 0);
	for (const [task, dir] of [
		["line/a", data],
		["line/b", join(work, "b")],
	] as const) {
		const first = existsSync(line)
			? []
			: "image_size=112,threads=1,memory=[{name: patches}]"
					.split(",")
					.flatMap((set) => ["--set", set]);
		const { status, stderr } = await keepsight(
			"learn",
			"--mem_dir",
			line,
			"--task",
			task,
			"--data",
			dir,
			...first,
		);
		if (status !== 0) throw new Error(stderr);
	}
});

const qualify = (...args: string[]) =>
	keepsight("qualify", "--mem_dir", line, "--task", "line/a", ...args);
const figures = async (...args: string[]): Promise<Qualification> => {
	const { status, stdout, stderr } = await qualify("--json", ...args);
	expect(stderr).not.toMatch(/^error/m);
	expect(status).toBe(0);
	return JSON.parse(stdout);
};
const good = join(data, "test/good");
const spot = join(data, "test/spot");

const copied = (dir: string, files: Readonly<Record<string, string>>) => {
	for (const [name, from] of Object.entries(files)) {
		mkdirSync(join(work, dir, name, ".."), { recursive: true });
		copyFileSync(from, join(work, dir, name));
	}
	return join(work, dir);
};

describe("qualify", () => {
	it("counts escapes and overkill of a category's test folder with predict's verdicts", async () => {
		const { labelled, memoryVersion, images, threshold } = await figures(
			"--labelled",
			data,
		);
		expect({ memoryVersion, images, threshold }).toEqual({
			memoryVersion: 2,
			images: 12,
			threshold: 2,
		});
		const told = (
			await keepsight(
				"predict",
				"--mem_dir",
				line,
				"--task",
				"line/a",
				"--json",
				good,
				spot,
			)
		).stdout
			.trim()
			.split("\n")
			.map((text) => JSON.parse(text));
		expect(
			labelled?.pictures.map(({ score, verdict, stopped }) => ({
				score,
				verdict,
				anomalous: stopped,
			})),
		).toEqual(
			told.map(({ score, verdict, anomalous }) => ({
				score,
				verdict,
				anomalous,
			})),
		);
		expect(labelled?.kinds.map(({ defect }) => defect)).toEqual([null, "spot"]);
		expect(labelled?.escapes).toMatchObject({ trials: 6 });
		expect(labelled?.escapes.value).toBeLessThan(0.5);
	});

	it("writes all three parts as text and as one page; kinds and parts may be called anything", async () => {
		const sorted = copied("labelled", {
			"good/1.png": join(good, "0.png"),
			[`${hostile}/"&.png`]: join(spot, "0.png"),
		});
		const gauge = copied("gauge", {
			[`${hostile}/1.png`]: join(good, "1.png"),
			[`${hostile}/2.png`]: join(spot, "1.png"),
			"two/1.png": join(spot, "2.png"),
			"two/2.png": join(spot, "2.png"),
		});
		const out = join(work, "page.html");
		const args = [
			"--labelled",
			sorted,
			"--gauge",
			gauge,
			"--good",
			good,
			"--mm_per_pixel",
			"0.5",
			"--out",
			out,
		];
		const { status, stdout, stderr } = await qualify(...args);
		expect(stderr).not.toMatch(/^error/m);
		expect(status).toBe(0);
		expect(stdout).toMatch(/^escapes +\d of 1,/m);
		expect(stdout).toMatch(/^score +within a part/m);
		expect(stdout).toMatch(/^parts that change:\n +<script>/m);
		expect(stdout).toMatch(
			/^a90 +(\d+(\.\d+)? px = \d+(\.\d+)? mm|- \(.+\))$/m,
		);
		const page = readFileSync(out, "utf8");
		expect(page).toContain("&lt;script&gt;alert(&#39;1&#39;)&lt;x&gt;");
		expect(page).not.toContain("<script>alert");
		expect(page).toContain("data:image/webp;base64,");
	});

	it("the same picture twice is the same score: nothing but the parts varies", async () => {
		const twice = copied("twice", {
			"a/1.png": join(good, "0.png"),
			"a/2.png": join(good, "0.png"),
			"b/1.png": join(spot, "0.png"),
			"b/2.png": join(spot, "0.png"),
		});
		const { gauge } = await figures("--gauge", twice);
		expect(gauge?.score.repeatability.value).toBe(0);
		expect(gauge?.score.grr.value).toBe(0);
		expect(gauge?.decision).toMatchObject({
			steady: { events: 2, trials: 2 },
			kappa: { value: 1 },
		});
	});

	it("pastes discs of the sizes told, at least twenty of each, the same ones every time", async () => {
		const args = ["--good", good, "--diameters", "12,2,6", "--contrast", "8"];
		const { detection } = await figures(...args);
		expect(detection?.sizes.map(({ diameter }) => diameter)).toEqual([
			2, 6, 12,
		]);
		const passing = 6 - (detection?.untouched.events as number);
		const each = passing * Math.ceil(20 / passing);
		expect(detection?.trials).toHaveLength(3 * each);
		expect(detection?.sizes.map(({ hits }) => hits.trials)).toEqual([
			each,
			each,
			each,
		]);
		const shares = detection?.sizes.map(({ hits }) => hits.value) as number[];
		expect(shares[2]).toBeGreaterThan(shares[0] as number);
		expect((await figures(...args)).detection).toEqual(detection);
	});

	it("discs lie in the region of interest, and one that has no place there is an error", async () => {
		const roi = join(work, "roi.png");
		const mask = uint8([32, 32]);
		for (let i = 0; i < 32 * 16; i++) mask.data[i] = 255;
		writeFileSync(roi, await encodePng(mask));
		expect(
			(await figures("--good", good, "--diameters", "4", "--roi", roi))
				.detection?.roi,
		).toBe(true);
		expect(
			(await qualify("--good", good, "--roi", "nowhere.png")).stderr,
		).toContain("nowhere.png");
		const { status, stderr } = await qualify(
			"--good",
			good,
			"--diameters",
			"20",
			"--roi",
			roi,
		);
		expect(status).toBe(2);
		expect(stderr).toMatch(/no place for a disc of 20 px/);
	});

	it("pictures that show nothing are named and left out", async () => {
		const black = join(work, "black.png");
		writeFileSync(black, await encodePng(uint8([32, 32, 3])));
		const dir = copied("dark", {
			"black.png": black,
			"part.png": join(good, "0.png"),
		});
		expect(
			(await figures("--good", dir, "--diameters", "4")).detection,
		).toMatchObject({
			unusable: ["black.png"],
			untouched: { trials: 1 },
		});
		const { detection } = await figures(
			"--good",
			copied("night", { "black.png": black }),
		);
		expect(detection).toMatchObject({
			curve: null,
			reason: "no picture is usable",
			sizes: [],
		});
		expect(detection?.a90).toEqual({
			value: null,
			reason: "no picture is usable",
		});
	});

	it("scores as a station that is told no product, if asked", async () => {
		const mixed = copied("mixed", {
			"good/1.png": join(good, "0.png"),
			"other/1.png": join(work, "b/train/good/0.png"),
		});
		const { labelled, routed } = await figures("--routed", "--labelled", mixed);
		expect(routed).toBe(true);
		expect(labelled?.otherProduct).toBe(1);
		expect(labelled?.pictures.map(({ task }) => task)).toEqual([
			"line/a",
			"line/b",
		]);
	});

	it("refuses pictures that were learnt, also copies under another name", async () => {
		const copy = copied("copy", {
			"new.png": join(good, "0.png"),
			"old.png": join(data, "train/good/3.png"),
		});
		const { status, stderr } = await qualify("--good", copy);
		expect(status).toBe(2);
		expect(stderr).toMatch(/^error: 1 picture .*old\.png/m);
		const labelled = copied("learnt", {
			"good/1.png": join(data, "train/good/3.png"),
		});
		expect((await qualify("--labelled", labelled)).status).toBe(2);
	});

	it("refuses pictures that set the scale: validation/good of LOCO's layout", async () => {
		const kit = join(work, "loco/kit");
		await drawCategory(kit, 0, 2, 2);
		const held = join(kit, "validation/good/0.png");
		mkdirSync(join(held, ".."), { recursive: true });
		copyFileSync(join(kit, "test/good/0.png"), held);
		const learnt = await learntOf(
			{
				record: { tasks: [{ id: "kit", data: kit }] },
				settings: { data: { root: work } },
			} as unknown as Run,
			"kit",
		);
		const folder = join(kit, "test/good");
		const found = (file: string) =>
			refuseLearnt(learnt, [{ name: file, folder, path: join(folder, file) }]);
		await expect(found("0.png")).rejects.toMatchObject({
			code: "PICTURES_LEARNT",
		});
		await expect(found("1.png")).resolves.toBeUndefined();
	});

	it("says so where what was learnt cannot be looked at any more", async () => {
		const dir = join(work, "gone");
		const memory = join(work, "line-gone");
		await drawCategory(dir, 0, 10, 2);
		const learnt = await keepsight(
			"learn",
			"--mem_dir",
			memory,
			"--task",
			"x",
			"--data",
			dir,
			"--set",
			"image_size=112",
			"--set",
			"memory=[{name: patches}]",
		);
		expect(learnt.status).toBe(0);
		rmSync(join(dir, "train"), { recursive: true });
		const { stdout } = await keepsight(
			"qualify",
			"--mem_dir",
			memory,
			"--task",
			"x",
			"--labelled",
			dir,
		);
		expect(stdout).toMatch(/^Note: .*could not be checked/m);
	});

	it.each([
		[["--labelled", "nowhere"], /there is no such folder/],
		[
			["--labelled", join(data, "test/good")],
			/lies in it and in none of its subfolders/,
		],
		[["--gauge", join(work, "line")], /hold no picture/],
		[["--good", "nowhere"], /no folder with pictures/],
		[[], /Give at least one of/],
		[["--labelled", data, "--roi", "x.png"], /belong to --good/],
		[["--labelled", data, "--contrast", "20"], /belong to --good/],
		[["--good", good, "--diameters", "3,x"], /"x" is not a number from 1/],
		[["--good", good, "--mm-per-pixel", "0"], /"0" is not a number above 0/],
		[["--good", good, "--contrast", "300"], /from 1 to 255/],
	])("%j is the user's mistake", async (args, problem) => {
		const { status, stderr } = await qualify(...args);
		expect(stderr).toMatch(problem);
		expect(stderr).not.toMatch(/\n +at /);
		expect(status).toBe(2);
	});

	it("an unknown product is named with its nearest", () => {
		const { status, stderr } = spawnSync(
			process.execPath,
			[
				cli,
				"qualify",
				"--mem_dir",
				line,
				"--task",
				"line/c",
				"--routed",
				"--good",
				good,
			],
			{ encoding: "utf8" },
		);
		expect(status).toBe(2);
		expect(stderr).toContain('Unknown product "line/c"');
	});

	it("changes nothing in the memory", async () => {
		const files = () =>
			readdirSync(line, { recursive: true, encoding: "utf8" }).sort();
		const before = files();
		await figures("--labelled", data);
		expect(files()).toEqual(before);
	});

	it("goes by the threshold that a person has chosen, and says so", async () => {
		const chosen = ["--mem_dir", line, "--task", "line/a", "--score", "3.5"];
		expect((await keepsight("threshold", ...chosen)).status).toBe(0);
		expect(await figures("--labelled", data)).toMatchObject({
			threshold: 3.5,
			ownThreshold: true,
		});
		expect((await qualify("--labelled", data)).stdout).toContain(
			"threshold 3.50 (chosen by a person)",
		);
	});
});
