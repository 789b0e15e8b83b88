/** The built program over a real Redis: workers and sweeps that are killed, stopped and continued; scoring in shards. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
	cpSync,
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
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { drawCategory, size } from "../../drawn.ts";
import { cli } from "../../program.ts";
import { childrenOf } from "../../runs.ts";
import { S3Server } from "./s3-server.ts";
import { noRedis, RedisServer, skipped } from "./redis-server.ts";

const root = mkdtempSync(join(tmpdir(), "keepsight-workers-"));
const children: Started[] = [];
let redis: RedisServer;

beforeAll(async () => {
	await drawCategory(join(root, "data/mvtec/a"), 0, 14, 4);
	await drawCategory(join(root, "data/mvtec/b"), 1, 12, 4);
	writeFileSync(
		join(root, "study.yaml"),
		`name: study
data: { root: data, tasks: ["mvtec/*"], limit: 12 }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 8 }
trainable: { last: 1 }
pretext: { name: cutpaste }
strategy: { name: finetune }
memory: [ { name: patches, blocks: [0.5], bytes_per_task: 20000 } ]
train: { epochs: 2, batch_size: 8 }
sweep: { grid: { strategy: [ { name: finetune }, { name: gpm, images: 6 } ], seed: [0, 1] } }
threads: 1
`,
	);
	if (!noRedis) redis = await RedisServer.start();
});
afterAll(async () => {
	for (const { child } of children) {
		child.kill("SIGCONT");
		child.kill("SIGKILL");
	}
	await redis?.stop();
	rmSync(root, { recursive: true, force: true });
});

interface Started {
	readonly child: ChildProcess;
	/** Both streams so far. */
	readonly said: () => string;
	readonly ended: Promise<number | null>;
}

function start(...args: string[]): Started {
	const child = spawn(process.execPath, [cli, ...args], {
		cwd: root,
		stdio: ["ignore", "pipe", "pipe"],
		env: {
			...process.env,
			KEEPSIGHT_REDIS: redis?.url ?? "",
			AWS_ACCESS_KEY_ID: "id",
			AWS_SECRET_ACCESS_KEY: "secret",
		},
	});
	let text = "";
	for (const stream of [child.stdout, child.stderr])
		stream?.on("data", (data) => {
			text += data;
		});
	const ended = once(child, "exit").then(([code]) => code as number | null);
	const started = { child, said: () => text, ended };
	children.push(started);
	return started;
}

const worker = (...args: string[]) => start("worker", "--lease", "2", ...args);
async function until(holds: () => boolean): Promise<void> {
	while (!holds()) await sleep(20);
}
const ledgerOf = (out: string) =>
	JSON.parse(readFileSync(join(root, out, "study/compare/ledger.json"), "utf8"))
		.cells as Record<
		string,
		{
			state: string;
			digest: string;
			attempts: number;
			worker: { pid: number } | null;
		}
	>;

describe.skipIf(noRedis)(`workers${skipped}`, () => {
	it("case 40: one killed, one stopped past its lease and continued, the sweep killed: every cell once, with the bytes of a sweep without workers", async () => {
		const here = start("sweep", "--config", "study.yaml", "--out", "here");
		expect(await here.ended, here.said()).toBe(0);

		const sweep = ["sweep", "--config", "study.yaml", "--out", "there"];
		const first = start(...sweep, "--redis");
		const killed = worker();
		await until(() => /begun/.test(killed.said()));
		killed.child.kill("SIGKILL");
		const paused = worker();
		await until(() => /begun/.test(paused.said()));
		const pids = [
			paused.child.pid as number,
			...childrenOf(paused.child.pid as number).map(Number),
		];
		for (const pid of pids) process.kill(pid, "SIGSTOP");
		const last = worker();
		await until(() => /finished in/.test(last.said()));
		await until(() =>
			Object.values(ledgerOf("there")).some(
				({ state }) => state === "finished",
			),
		);
		first.child.kill("SIGKILL");
		await first.ended;
		await sleep(2500);
		for (const pid of pids) process.kill(pid, "SIGCONT");
		const second = start(...sweep, "--redis");
		expect(await second.ended, second.said()).toBe(0);

		const [expected, found] = [ledgerOf("here"), ledgerOf("there")];
		const results = (ledger: typeof found) =>
			Object.fromEntries(
				Object.entries(ledger).map(([key, { state, digest }]) => [
					key,
					[state, digest],
				]),
			);
		expect(results(found)).toEqual(results(expected));
		expect(Object.keys(found)).toHaveLength(4);
		const doneBy = Object.values(found).map((entry) => entry.worker?.pid);
		expect(doneBy).not.toContain(killed.child.pid);
		expect(
			readdirSync(join(root, "there/study/compare")).filter((name) =>
				/^(gpm|finetune)/.test(name),
			),
		).toHaveLength(4);
		for (const { child, ended } of [paused, last]) {
			child.kill("SIGTERM");
			expect(await ended).toBe(0);
		}
	}, 120_000);

	it("a large set of pictures is scored in shards, with the same results, maps and order as by one program", async () => {
		if (!existsSync(join(root, "here"))) {
			const sweep = start("sweep", "--config", "study.yaml", "--out", "here");
			expect(await sweep.ended, sweep.said()).toBe(0);
		}
		const runs = join("here", "study", "compare");
		const run = readdirSync(join(root, runs)).find((n) => n.startsWith("gpm"));
		const memory = join(runs, run as string, "Anomaly");
		const inputs = ["data/mvtec/a/test", "data/mvtec/b/test"];
		const predict = ["predict", "--mem_dir", memory, ...inputs];
		mkdirSync(join(root, "scored"), { recursive: true });
		const one = start(
			...predict,
			"--csv",
			"scored/one.csv",
			"--maps",
			"scored/one",
		);
		expect(await one.ended, one.said()).toBe(0);
		const workers = [worker(), worker()];
		const many = start(
			...predict,
			"--redis",
			"--shard",
			"3",
			"--csv",
			"scored/many.csv",
			"--maps",
			"scored/many",
		);
		expect(await many.ended, many.said()).toBe(0);
		const read = (name: string) => readFileSync(join(root, "scored", name));
		expect(read("many.csv").equals(read("one.csv"))).toBe(true);
		const maps = (name: string) =>
			readdirSync(join(root, "scored", name), {
				recursive: true,
				encoding: "utf8",
			}).sort();
		expect(maps("many")).toEqual(maps("one"));
		expect(maps("one").filter((n) => n.endsWith(".tiff"))).toHaveLength(16);
		for (const map of maps("one").filter((n) => n.includes(".")))
			expect(read(join("many", map)).equals(read(join("one", map))), map).toBe(
				true,
			);
		expect(workers.every(({ said }) => /begun/.test(said()))).toBe(true);
		for (const { child } of workers) child.kill("SIGTERM");
		expect(await Promise.all(workers.map((w) => w.ended))).toEqual([0, 0]);
	}, 120_000);

	it("with a store, machines share no folder but each has the data", async () => {
		const elsewhere = mkdtempSync(join(tmpdir(), "keepsight-elsewhere-"));
		const server = await S3Server.start();
		const store = `s3://bucket/p?endpoint=${server.endpoint}`;
		cpSync(join(root, "data"), join(elsewhere, "data"), { recursive: true });
		const at = worker("--root", elsewhere, "--store", store);
		const sweep = start(
			"sweep",
			"--config",
			"study.yaml",
			"--redis",
			"--store",
			store,
			"--out",
			"stored",
			"--set",
			"sweep.grid={seed: [7]}",
		);
		expect(await sweep.ended, sweep.said()).toBe(0);
		expect(sweep.said()).toMatch(/finetune/);
		expect(Object.values(ledgerOf("stored"))).toMatchObject([
			{ state: "finished", worker: { pid: at.child.pid } },
		]);
		expect(readdirSync(elsewhere).sort()).toEqual(["data", "stored"]);
		at.child.kill("SIGTERM");
		expect(await at.ended).toBe(0);
		await server.stop();
		rmSync(elsewhere, { recursive: true, force: true });
	}, 60_000);

	it("paths that other machines cannot find are refused before anything is queued", async () => {
		const far = start(
			"sweep",
			"--config",
			"study.yaml",
			"--redis",
			"--out",
			join(root, "absolute"),
		);
		expect(await far.ended).toBe(2);
		expect(far.said()).toMatch(
			/out is ".*absolute.*other machines cannot find/,
		);
	});
});
