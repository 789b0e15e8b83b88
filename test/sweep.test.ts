/** The built `sweep` on tiny drawn images: a grid on this machine, its tables, and a run that cannot be. */
import {
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseCsv } from "../src/csv.ts";
import { drawCategory, size } from "./drawn.ts";
import { keepsight } from "./here.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-sweep-"));
const config = join(work, "study.yaml");
afterAll(() => rmSync(work, { recursive: true, force: true }));
beforeAll(async () => {
	await drawCategory(join(work, "data/mvtec/a"), 0, 14, 4);
	writeFileSync(
		config,
		`name: study
data: { root: ${join(work, "data")}, tasks: ["mvtec/*"] }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 8 }
trainable: { last: 1 }
pretext: { name: cutpaste }
strategy: { name: finetune }
memory: [ { name: dne } ]
train: { epochs: 1, batch_size: 8 }
out: ${join(work, "out")}
threads: 2
`,
	);
});
const sweep = (...args: string[]) =>
	keepsight("sweep", "--config", config, ...args);
const table = (name: string) => {
	const text = readFileSync(join(work, "out/study/sweep", name), "utf8");
	const [head, ...rows] = parseCsv(text, (_, problem) => new Error(problem));
	return rows.map(({ fields }) =>
		Object.fromEntries(head?.fields.map((key, i) => [key, fields[i]]) ?? []),
	);
};

it("runs what can be run, lists what failed, exits 2; what is finished is not run again, also not by compare", async () => {
	const grid = ["--grid", "image_size=[32,33]", "--grid", "seed=[0,1]"];
	const first = await sweep(...grid, "--jobs", "2");
	expect(first.status, first.stderr).toBe(2);
	expect(first.stdout).toMatch(/finetune image_size=32/);
	expect(first.stdout).toMatch(
		/Failed: finetune image_size=33, seed 0.*not a multiple/,
	);
	const runs = table("runs.csv");
	expect(
		runs.map((run) => [
			run["grid.image_size"],
			run["grid.seed"],
			run.state,
			run.attempts,
		]),
	).toEqual([
		["32", "0", "finished", "1"],
		["32", "1", "finished", "1"],
		["33", "0", "failed", "1"],
		["33", "1", "failed", "1"],
	]);
	expect(runs[0]?.["imageAuroc.average"]).toMatch(/^[.\d]+$/);
	expect(runs[2]?.["imageAuroc.average"]).toBe("");
	expect(table("matrices.csv")).toContainEqual(
		expect.objectContaining({
			metric: "imageAuroc",
			after: "1",
			task: "mvtec/a",
			seed: "1",
		}),
	);
	expect(readdirSync(join(work, "out/study/sweep")).sort()).toEqual([
		"comparison.csv",
		"comparison.json",
		"comparison.md",
		"matrices.csv",
		"matrices.png",
		"matrices.svg",
		"memory.png",
		"memory.svg",
		"runs.csv",
		"sequence.png",
		"sequence.svg",
	]);

	const second = await sweep("--grid", "seed=[0,1]");
	expect(second.status, second.stderr).toBe(0);
	expect(second.stderr).toMatch(/2 of 2 runs are finished/);
	const compared = await keepsight(
		"compare",
		"--config",
		config,
		"--seeds",
		"0,1",
	);
	expect(compared.status, compared.stderr).toBe(0);
	expect(compared.stderr).toMatch(/2 of 2 runs are finished/);
}, 90_000);

it.each([
	[["--config", config], /There is no grid/],
	[["--config", config, "--grid", "seed=[1]", "--store", "s3://b"], /--redis/],
	[
		["--config", config, "--grid", "seed=[1]", "--redis", "http://h"],
		/no redis:\/\//,
	],
])("%j is refused", async (args, message) => {
	const { status, stderr } = await keepsight("sweep", ...args);
	expect(stderr).toMatch(message);
	expect(status).toBe(2);
});
