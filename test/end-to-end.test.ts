/** The built program on tiny drawn images: from a config to the saved memory, stopped, killed, resumed, copied, damaged. */
import { spawn } from "node:child_process";
import {
	cpSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	truncateSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { drawCategory, size } from "./drawn.ts";
import { keepsight as here } from "./here.ts";
import { cli, keepsight } from "./program.ts";
import {
	childrenOf,
	ended,
	expectSameBytes,
	killAll,
	start,
	wait,
} from "./runs.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-e2e-"));
const data = join(work, "data");
afterAll(() => rmSync(work, { recursive: true, force: true }));

const config = join(work, "run.yaml");
beforeAll(async () => {
	await drawCategory(join(data, "mvtec/a"), 0, 16, 5);
	await drawCategory(join(data, "mvtec/b"), 1, 14, 5);
	await drawCategory(join(data, "mvtec/c"), 0, 10, 3);
	writeFileSync(
		config,
		`name: tiny
data: { root: ${data}, tasks: [mvtec/a, mvtec/b] }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 8 }
trainable: { last: 2 }
pretext: { name: cutpaste }
strategy: { name: gpm, images: 6 }
memory: [ { name: dne } ]
train: { epochs: 3, batch_size: 8, optimizer: { name: adam, lr: 1.0e-3 } }
out: ${join(work, "out")}
threads: 1
`,
	);
});

const dirOf = (name: string) => join(work, "out", name, "Anomaly");
const train = (name: string, ...args: string[]) =>
	keepsight("train", "--config", config, "--set", `name=${name}`, ...args);
const trainHere = (name: string, ...args: string[]) =>
	here("train", "--config", config, "--set", `name=${name}`, ...args);

describe("train and eval", () => {
	it("learns the tasks in order and writes the run folder", () => {
		const { status, stdout, stderr } = train("whole");
		expect(stderr).not.toContain("error");
		expect(status).toBe(0);
		expect(stdout).toMatch(/mvtec\/a +AUC = [\d.]+/);
		const run = dirOf("whole");
		for (const path of [
			"run.json",
			"metrics.json",
			"metrics.csv",
			"log.jsonl",
			"memory/manifest.json",
			"scores/after-01/mvtec.a.csv",
			"scores/after-02/mvtec.b.csv",
		])
			expect(existsSync(join(run, path)), path).toBe(true);
		expect(existsSync(join(run, "scores/after-01/mvtec.b.csv"))).toBe(false);
		expect(existsSync(join(run, "checkpoint/manifest.json"))).toBe(false);
		const metrics = JSON.parse(readFileSync(join(run, "metrics.json"), "utf8"));
		expect(metrics.tasks).toEqual(["mvtec/a", "mvtec/b"]);
		expect(metrics.matrices.imageAuroc[0][1]).toBeNull();
		expect(metrics.matrices.imageAuroc[1][1]).toEqual(expect.any(Number)); // random weights: near chance
		expect(metrics.learning[1].weightChange).toBeGreaterThan(0);
		expect(metrics.learning[1].pretextAccuracyHeldOut).toBeGreaterThanOrEqual(
			0,
		);
		const text =
			JSON.stringify(readdirSync(join(run, "memory"), { recursive: true })) +
			readFileSync(join(run, "memory/manifest.json"), "utf8");
		expect(text).not.toContain(work);
	});

	it("refuses the folder of a finished run, resumes it at once, and starts anew with --fresh to the same bytes", () => {
		expect(train("whole").status).toBe(2);
		expect(train("whole").stderr).toContain("--resume");
		expect(train("whole", "--resume").status).toBe(0);
		cpSync(dirOf("whole"), join(work, "before"), { recursive: true });
		expect(train("whole", "--fresh").status).toBe(0);
		expectSameBytes(join(work, "before"), dirOf("whole"));
	});

	it("eval on a copy gives the numbers that train wrote", () => {
		const copy = join(work, "copied");
		cpSync(dirOf("whole"), copy, { recursive: true });
		const { status, stdout } = keepsight(
			"eval",
			"--mem_dir",
			copy,
			"--trivial",
			"--oracle-task",
		);
		expect(status).toBe(0);
		expect(stdout).toContain("Trivial baselines");
		expect(stdout).toContain("Task told (oracle)");
		expectSameBytes(dirOf("whole"), copy, ["memory", "scores", "metrics.csv"]);
	});

	it("eval --scores gives the same matrices from the score files alone", () => {
		const { status, stdout } = keepsight(
			"eval",
			"--scores",
			join(dirOf("whole"), "scores"),
			"--json",
		);
		expect(status).toBe(0);
		const metrics = JSON.parse(
			readFileSync(join(dirOf("whole"), "metrics.json"), "utf8"),
		);
		expect(JSON.parse(stdout).matrices.imageAuroc).toEqual(
			metrics.matrices.imageAuroc,
		);
	});

	it("test images change no byte of memory/", async () => {
		const hidden = join(work, "hidden");
		renameSync(join(data, "mvtec/a/test"), hidden);
		try {
			expect((await trainHere("blind")).status).toBe(0);
			expectSameBytes(dirOf("whole"), dirOf("blind"), ["memory"]);
		} finally {
			renameSync(hidden, join(data, "mvtec/a/test"));
		}
	});

	it.each([
		["frozen", ["strategy={ name: frozen }"]],
		["none", ["trainable=none"]],
		["finetune", ["strategy={ name: finetune }", "trainable=all"]],
		["isolated", ["strategy={ name: isolated }"]],
		["joint", ["strategy={ name: joint }"]],
		["cumulative", ["strategy={ name: joint, cumulative: true }"]],
		[
			"paper",
			[
				"memory=[{ name: dne, form: paper }]",
				"pretext={ name: cutpaste, head: firstTask }",
			],
		],
		["nsa", ["pretext={ name: nsa }", "evaluate={ untrained: true }"]],
		["grouped", ["data.tasks=[[mvtec/a, mvtec/b]]"]],
		["later-group", ["data.tasks=[mvtec/a, [mvtec/b, mvtec/c]]"]],
		["patches", ["memory=[{ name: patches, blocks: [0.34] }, { name: dne }]"]],
		[
			"drift",
			[
				"data.tasks=[mvtec/a, [mvtec/b, mvtec/c]]",
				"memory=[{ name: dne, drift: ldc }]",
			],
		],
	])("runs %s", async (name, sets) => {
		const { status, stderr } = await trainHere(
			name,
			...sets.flatMap((s) => ["--set", s]),
		);
		expect(stderr).not.toMatch(/^error/m);
		expect(status).toBe(0);
		const metrics = JSON.parse(
			readFileSync(join(dirOf(name), "metrics.json"), "utf8"),
		);
		const rows = metrics.matrices.imageAuroc;
		expect(rows.at(-1).every((x: number | null) => x !== null)).toBe(true);
		if (name === "joint") expect(rows[0]).toEqual([null, null]);
		if (name === "cumulative") expect(rows[0][0]).not.toBeNull();
		if (name === "nsa")
			expect(metrics.summary.imageAuroc.forwardTransfer).not.toBeNull();
		if (name === "patches") {
			expect(metrics.pixel).toHaveLength(3);
			for (const { values } of metrics.pixel)
				expect(values.imageAurocMapMax.value).toEqual(expect.any(Number));
		}
		if (name === "drift") {
			// the second task has moved the first one's density
			const density = (run: string) =>
				readdirSync(join(dirOf(run), "memory/mvtec.a")).filter((file) =>
					file.includes(".dne."),
				);
			expect(density("drift")).toHaveLength(1);
			expect(density("drift")).not.toEqual(density("later-group"));
		}
		if (name === "none" || name === "frozen")
			expect(metrics.learning[0].weightChange).toBeUndefined();
	});

	it("eval on a copy of a run with patches gives the scores and maps' metrics that train wrote", async () => {
		const copy = join(work, "copied-patches");
		cpSync(dirOf("patches"), copy, { recursive: true });
		rmSync(join(copy, "scores/after-02"), { recursive: true });
		expect((await here("eval", "--mem_dir", copy)).status).toBe(0);
		expectSameBytes(dirOf("patches"), copy);
	});
});

describe("stopped runs", () => {
	const begin = (name: string, ...args: string[]) =>
		start("train", "--config", config, "--set", `name=${name}`, ...args);
	const alive = (pid: string) =>
		existsSync(`/proc/${pid}`) &&
		!/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));

	it("joint training of every row, killed before it evaluates a row, ends in the same bytes", async () => {
		const joint = ["--set", "strategy={ name: joint, cumulative: true }"];
		const whole = dirOf("cumulative");
		if (!existsSync(whole))
			expect(train("cumulative", ...joint).status).toBe(0);
		const child = begin("cumulative-killed", ...joint);
		const exit = ended(child);
		const manifest = join(dirOf("cumulative-killed"), "memory/manifest.json");
		const saved = () =>
			existsSync(manifest) &&
			JSON.parse(readFileSync(manifest, "utf8")).version === 2;
		for (let i = 0; i < 3000 && !saved(); i++) await wait(5);
		killAll(child);
		await exit;
		expect(train("cumulative-killed", "--resume", ...joint).status).toBe(0);
		expectSameBytes(whole, dirOf("cumulative-killed"));
	}, 60_000);

	it("Ctrl-C finishes the step, saves, exits 130, and --resume goes on to the same bytes", async () => {
		const child = begin("interrupted");
		let text = "";
		child.stderr?.on("data", (chunk) => {
			text += chunk;
		});
		const exit = ended(child);
		// as soon as there is a run to interrupt, and as a terminal does: the whole group
		for (
			let i = 0;
			i < 3000 && !existsSync(join(dirOf("interrupted"), "run.json"));
			i++
		)
			await wait(5);
		process.kill(-(child.pid as number), "SIGINT");
		expect(await exit).toBe(130);
		expect(text).toContain("--resume");
		expect(train("interrupted", "--resume").status).toBe(0);
		expectSameBytes(dirOf("whole"), dirOf("interrupted"));
	}, 60_000);

	it("a child whose parent is gone stops within a second", async () => {
		const child = begin("orphan", "--set", "train.epochs=400");
		let workers: string[] = [];
		for (let i = 0; i < 100 && workers.length === 0; i++) {
			await wait(100);
			workers = childrenOf(child.pid as number);
		}
		await wait(1500);
		expect(workers.length).toBeGreaterThan(0);
		process.kill(child.pid as number, "SIGKILL");
		await wait(1000);
		expect(workers.filter(alive)).toEqual([]);
	}, 60_000);
});

describe("bad input is one clear error, exit 2, with earlier results intact", () => {
	it.each([
		["unknown key", ["--set", "train.epoch=3"], "epochs"],
		["unknown strategy", ["--set", "strategy={ name: gmp }"], "gpm"],
		["unknown task", ["--set", "data.tasks=[mvtec/aa]"], "mvtec/a"],
		[
			"missing data root",
			["--set", `data.root=${join("/nonexistent", "data")}`],
			"/nonexistent/data",
		],
		["unknown backbone", ["--set", "backbone={ name: dinov9 }"], "dinov9"],
		[
			"blocks that train",
			["--set", "memory=[{ name: patches }]"],
			"block 2 of 3",
		],
		["image size", ["--set", "image_size=33"], "patch"],
		["learning rate too high", ["--set", "train.optimizer.lr=1e38"], "lr"],
	])("%s", async (name, args, text) => {
		const { status, stderr } = await trainHere(
			`bad ${name}`.replaceAll(" ", "-"),
			...args,
		);
		expect(stderr).toContain(text);
		expect(stderr).not.toContain("    at ");
		expect(status).toBe(2);
	});

	it("truncated image: names the path", async () => {
		const broken = join(work, "broken");
		cpSync(data, broken, { recursive: true });
		truncateSync(join(broken, "mvtec/a/train/good/3.png"), 200);
		const { status, stderr } = await trainHere(
			"bad-image",
			"--set",
			`data.root=${broken}`,
		);
		expect(status).toBe(2);
		expect(stderr).toContain("train/good/3.png");
		rmSync(join(broken, "mvtec/a/train"), { recursive: true });
		const empty = await trainHere("bad-empty", "--set", `data.root=${broken}`);
		expect(empty.status).toBe(2);
	});

	it("damaged memory and another format version", async () => {
		const copy = join(work, "damaged");
		cpSync(dirOf("whole"), copy, { recursive: true });
		const file = readdirSync(join(copy, "memory")).find((n) =>
			n.startsWith("backbone"),
		) as string;
		truncateSync(join(copy, "memory", file), 1000);
		const damaged = await here("eval", "--mem_dir", copy);
		expect(damaged.status).toBe(2);
		expect(damaged.stderr).toContain(file);
		const json = JSON.parse(readFileSync(join(copy, "run.json"), "utf8"));
		writeFileSync(
			join(copy, "run.json"),
			JSON.stringify({ ...json, format: 99 }),
		);
		const other = await here("eval", "--mem_dir", copy);
		expect(other.status).toBe(2);
		expect(other.stderr).toContain("99");
	});

	it("a run folder in use names its owner", async () => {
		const child = spawn(
			process.execPath,
			[
				cli,
				"train",
				"--config",
				config,
				"--set",
				"name=busy",
				"--set",
				"train.epochs=400",
			],
			{ stdio: "ignore" },
		);
		try {
			for (
				let i = 0;
				i < 100 && !existsSync(join(dirOf("busy"), "run.json"));
				i++
			)
				await new Promise((done) => setTimeout(done, 100));
			const { status, stderr } = train(
				"busy",
				"--resume",
				"--set",
				"train.epochs=400",
			);
			expect(status).toBe(2);
			expect(stderr).toMatch(/process \d+|pid \d+/i);
		} finally {
			child.kill("SIGKILL");
		}
	}, 60_000);

	it("weights that do not fit", async () => {
		const folder = join(work, "backbone");
		mkdirSync(folder, { recursive: true });
		writeFileSync(join(folder, "config.json"), "{}");
		writeFileSync(join(folder, "model.safetensors"), "short");
		const { status, stderr } = await trainHere(
			"bad-weights",
			"--set",
			`backbone={ name: ${folder} }`,
		);
		expect(status).toBe(2);
		expect(stderr).toContain("model.safetensors");
	});
});
