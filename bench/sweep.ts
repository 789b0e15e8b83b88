/** Sweeps over a Redis of this machine with one worker and with two, one thread each: how long they take, and what the queue adds to a run. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { drawDemo } from "../src/data/demo.ts";
import { findCategories } from "../src/data/index.ts";

export interface SweepTimes {
	/** From the taking of the first cell to the end of the last, s. */
	readonly wall: number;
	/** Between a cell's end and the taking of the next by the same worker, s. */
	readonly gaps: readonly number[];
}

export const hasRedis = (): boolean =>
	spawnSync("redis-server", ["--version"], { stdio: "ignore" }).status === 0;

const cli = resolve("dist/cli.js");

/** When a worker took a cell and when it ended it, in turn, ms; resolves `ready` when it is at the queue. */
function watched(worker: ChildProcess) {
	const times: number[] = [];
	let ready = () => {};
	const atQueue = new Promise<void>((resolve) => {
		ready = resolve;
	});
	if (!worker.stderr) throw new Error("bench: no pipe");
	createInterface({ input: worker.stderr }).on("line", (line) => {
		if (/ at the queue /.test(line)) ready();
		if (/: taken$|: finished in /.test(line)) times.push(performance.now());
	});
	return { times, atQueue };
}

/** `count` cells with one worker and with two, `rounds` times in turn. */
export async function timeSweeps(
	count: number,
	rounds: number,
	epochs: number,
): Promise<readonly { readonly one: SweepTimes; readonly two: SweepTimes }[]> {
	const dir = mkdtempSync(join(tmpdir(), "keepsight-bench-"));
	const listening = createServer().listen(0, "127.0.0.1");
	await once(listening, "listening");
	const { port } = listening.address() as AddressInfo;
	listening.close();
	const redis = spawn(
		"redis-server",
		["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", dir],
		{ stdio: "ignore" },
	);
	await sleep(500); // it listens by then
	const start = (...args: string[]) =>
		spawn(process.execPath, [cli, ...args], {
			cwd: dir,
			stdio: ["ignore", "ignore", "pipe"],
			env: {
				...process.env,
				KEEPSIGHT_REDIS: `redis://127.0.0.1:${port}`,
			},
		});
	try {
		const data = join(dir, "data");
		await drawDemo(data, {
			seed: 3,
			products: 1,
			size: 224,
			train: 60,
			testGood: 10,
			perDefect: 2,
			validation: 2,
		});
		const [task] = await findCategories(data);
		const seeds = Array.from({ length: count }, (_, i) => i);
		writeFileSync(
			join(dir, "study.yaml"),
			JSON.stringify({
				name: "study",
				data: { root: "data", tasks: [task] },
				trainable: { last: 3 },
				pretext: { name: "cutpaste" },
				strategy: { name: "gpm" },
				memory: [{ name: "dne" }],
				train: { epochs },
				sweep: { grid: { seed: seeds } },
				threads: 1,
			}),
		);
		const timed = async (name: string, workers: number) => {
			const pool: ChildProcess[] = [];
			for (let i = 0; i < workers; i++) pool.push(start("worker", "--redis"));
			const seen = pool.map(watched);
			await Promise.all(seen.map(({ atQueue }) => atQueue));
			const sweep = start(
				"sweep",
				"--config",
				"study.yaml",
				"--redis",
				"--out",
				name,
			);
			let text = "";
			sweep.stderr?.on("data", (said) => {
				text += said;
			});
			const [code] = await once(sweep, "exit");
			if (code !== 0) throw new Error(text);
			const ended = pool.map((worker) => once(worker, "exit"));
			for (const worker of pool) worker.kill("SIGTERM");
			await Promise.all(ended);
			const times = seen.map((one) => one.times);
			const all = times.flat().sort((x, y) => x - y);
			return {
				wall: ((all.at(-1) as number) - (all[0] as number)) / 1000,
				gaps: times.flatMap((list) =>
					list.flatMap((time, i) =>
						i % 2 === 0 && i > 0
							? [(time - (list[i - 1] as number)) / 1000]
							: [],
					),
				),
			};
		};
		const found = [];
		for (let round = 0; round < rounds; round++)
			found.push({
				one: await timed(`one-${round}`, 1),
				two: await timed(`two-${round}`, 2),
			});
		return found;
	} finally {
		redis.kill("SIGKILL");
		rmSync(dir, { recursive: true, force: true });
	}
}
