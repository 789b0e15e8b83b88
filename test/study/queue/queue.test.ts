/** Cells over a real Redis, run by workers of this process that pretend to train: each is counted once, whatever goes away meanwhile. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue } from "bullmq";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { parseConfig } from "../../../src/config.ts";
import { fail, Interrupted, KeepsightError } from "../../../src/errors.ts";
import type { RunEvent } from "../../../src/events.ts";
import { type Cell, gridCells } from "../../../src/study/cells.ts";
import { type LedgerEntry, runCells } from "../../../src/study/ledger.ts";
import type { StartCells } from "../../../src/study/local.ts";
import { redisPool } from "../../../src/study/queue/cells.ts";
import {
	type Connection,
	connect,
	prefix,
} from "../../../src/study/queue/redis.ts";
import { folderStore, type Store } from "../../../src/study/queue/store.ts";
import { type WorkerOptions, work } from "../../../src/study/queue/worker.ts";
import { noRedis, RedisServer, skipped } from "./redis-server.ts";

const home = process.cwd();
const root = mkdtempSync(join(tmpdir(), "keepsight-queue-"));
beforeAll(() => process.chdir(root));
afterAll(() => {
	process.chdir(home);
	rmSync(root, { recursive: true, force: true });
});

/** A study of so many cells in a folder of its own. */
async function studyOf(name: string, seeds: number): Promise<readonly Cell[]> {
	const { points } = parseConfig(
		`name: ${name}
data: { tasks: [a/x] }
pretext: { name: cutpaste }
strategy: { name: finetune }
memory: [{ name: dne }]
threads: 1
sweep: { grid: { seed: ${JSON.stringify(Array.from({ length: seeds }, (_, i) => i))} } }
`,
		"test",
	);
	return gridCells(join("results", name, "compare"), points(), (point) =>
		Promise.resolve(point.config.data.tasks),
	);
}

const finishedRun = (seed: number) =>
	JSON.stringify({
		format: 1,
		config: {},
		order: ["a/x"],
		tasks: [{ id: "a/x", state: "learnt", seconds: 1 }],
		seed,
		versions: {},
	});

/** Pretends to train for a while, and leaves what a finished run leaves. `does`: what becomes of the n-th start of a seed. */
function pretending(
	ms: number,
	does: (seed: number, time: number) => string | null = () => null,
) {
	const starts: number[] = [];
	const modes: string[] = [];
	const start: StartCells = async (jobs, { onEvent, signal }) => {
		for (const { cell, job } of jobs) {
			const { seed } = job.config;
			starts.push(seed);
			modes.push(job.mode);
			onEvent({ type: "cell", cell, state: "started" });
			onEvent({ type: "opened", dir: job.dir });
			for (let t = 0; t < ms; t += 10) {
				if (signal?.aborted) throw new Interrupted();
				await sleep(10);
			}
			const message = does(seed, starts.filter((s) => s === seed).length);
			if (message !== null) {
				onEvent({ type: "cell", cell, state: "failed", message });
				continue;
			}
			mkdirSync(job.dir, { recursive: true });
			writeFileSync(join(job.dir, "run.json"), finishedRun(seed));
			writeFileSync(
				join(job.dir, "metrics.json"),
				JSON.stringify({ format: 1, seed }),
			);
			onEvent({ type: "cell", cell, state: "finished" });
		}
	};
	return { start, starts, modes };
}

const open: { stop(): Promise<unknown> }[] = [];
afterEach(async () => {
	for (const one of open.splice(0).reverse()) await one.stop();
});

async function redisUp(...args: string[]): Promise<RedisServer> {
	const server = await RedisServer.start(...args);
	open.push(server);
	return server;
}

async function connected(url: string): Promise<Connection> {
	const connection = await connect(url, () => undefined);
	open.push({ stop: () => Promise.resolve(connection.redis.disconnect()) });
	return connection;
}

/** A worker until the end of the test. */
async function working(
	url: string,
	start: StartCells,
	options: Partial<WorkerOptions> = {},
) {
	const stop = new AbortController();
	const logged: string[] = [];
	const ended = work({
		connection: await connected(url),
		queue: "work",
		confines: { root, followLinks: false },
		threads: 4,
		jobs: 1,
		store: folderStore,
		anyVersion: false,
		leaseMs: 2000,
		start,
		predict: () => Promise.resolve(),
		readImages: () => Promise.resolve({ "a/x": "1 images" }),
		onEvent: () => undefined,
		log: (text) => logged.push(text),
		signal: stop.signal,
		...options,
	});
	ended.catch(() => undefined);
	const worker = {
		logged,
		ended,
		stop: async () => {
			stop.abort();
			await ended.catch(() => undefined);
		},
	};
	open.push(worker);
	return worker;
}

interface Swept {
	readonly entries: readonly (LedgerEntry | undefined)[];
	readonly events: readonly RunEvent[];
}

async function swept(
	url: string,
	cells: readonly Cell[],
	{
		retries = 1,
		signal,
		store = folderStore,
		onEvent = () => undefined,
	}: {
		readonly store?: Store;
		readonly retries?: number;
		readonly signal?: AbortSignal;
		readonly onEvent?: (event: RunEvent) => void;
	} = {},
): Promise<Swept> {
	const events: RunEvent[] = [];
	const ledger = await runCells(cells, {
		dir: (cells[0] as Cell).config.out,
		dispatch: redisPool(
			{ connection: await connected(url), queue: "work" },
			store,
			{ seenMs: 500, readImages: () => Promise.resolve({ "a/x": "1 images" }) },
		),
		retries,
		onEvent(event) {
			events.push(event);
			onEvent(event);
		},
		...(signal && { signal }),
	});
	return { entries: cells.map(({ key }) => ledger[key]), events };
}

/** How often cells were told to be finished. */
const finishes = ({ events }: Swept): number =>
	events.filter((e) => e.type === "cell" && e.state === "finished").length;
const states = ({ entries }: Swept) => entries.map((entry) => entry?.state);
const all = (count: number, state: string) => Array(count).fill(state);

describe.skipIf(noRedis)(`cells over Redis${skipped}`, () => {
	it("every cell runs once, on whatever worker is free; the ledger says on which, and nothing is left in Redis", async () => {
		const { url } = await redisUp();
		const [a, b] = [pretending(20), pretending(20)];
		await working(url, a.start);
		await working(url, b.start);
		const cells = await studyOf("plain", 8);
		const found = await swept(url, cells);
		expect(states(found)).toEqual(all(8, "finished"));
		expect(finishes(found)).toBe(8);
		expect([...a.starts, ...b.starts].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
		expect(a.starts.length).toBeGreaterThan(0);
		expect(b.starts.length).toBeGreaterThan(0);
		expect(found.entries[0]).toMatchObject({
			attempts: 1,
			worker: { pid: process.pid, node: process.versions.node },
		});
		const { redis } = await connected(url);
		expect(await redis.keys(`${prefix}:work:????????-*`)).toEqual([]); // jobs by id
		const again = await swept(url, cells);
		expect(finishes(again)).toBe(0);
		expect(a.starts.length + b.starts.length).toBe(8);
	});

	it.each([
		["without persistence: its jobs are put back from the ledger", []],
		["with persistence", ["--appendonly", "yes", "--appendfsync", "always"]],
	])(
		"case 39: Redis is killed in the middle and comes back, %s",
		async (_, args) => {
			const server = await redisUp(...args);
			const { start } = pretending(150);
			await working(server.url, start);
			await working(server.url, start);
			const cells = await studyOf(`killed-${args.length}`, 12);
			let done = 0;
			const found = await swept(server.url, cells, {
				onEvent(event) {
					if (event.type !== "cell" || event.state !== "finished") return;
					done += 1;
					if (done === 3)
						void server
							.kill()
							.then(() => sleep(300))
							.then(() => server.up());
				},
			});
			expect(states(found)).toEqual(all(12, "finished"));
			expect(finishes(found)).toBe(12);
			if (args.length === 0)
				expect(found.events).toContainEqual({
					type: "notice",
					text: expect.stringMatching(/Redis has lost \d+ jobs/),
				});
		},
	);

	it("case 42: a cell that fails is tried again anew, so often and no more; the rest goes on, the next sweep tries again", async () => {
		const { url } = await redisUp();
		const first = pretending(5, (seed, time) =>
			seed === 1 ? "poison" : seed === 2 && time === 1 ? "a bad moment" : null,
		);
		const worker = await working(url, first.start);
		const cells = await studyOf("poison", 4);
		const found = await swept(url, cells, { retries: 2 });
		expect(states(found)).toEqual([
			"finished",
			"failed",
			"finished",
			"finished",
		]);
		expect(found.entries[1]).toMatchObject({ attempts: 3, message: "poison" });
		expect(found.entries[2]).toMatchObject({ attempts: 2, message: null });
		expect(first.starts.filter((seed) => seed === 1)).toHaveLength(3);
		expect(first.modes.filter((mode) => mode === "fresh")).toHaveLength(3);
		expect(worker.logged.join("\n")).toMatch(/failed: poison/);
		await worker.stop();
		const second = pretending(5);
		await working(url, second.start);
		expect(states(await swept(url, cells))).toEqual(all(4, "finished"));
		expect(second.starts).toEqual([1]);
	});

	it("case 42: a cell that ends its worker each time is given up; the rest goes on", async () => {
		const { url } = await redisUp();
		const script = `
			import { connect } from "${home}/dist/study/queue/redis.js";
			import { folderStore } from "${home}/dist/study/queue/store.js";
			import { work } from "${home}/dist/study/queue/worker.js";
			await work({
				connection: await connect("${url}", () => {}),
				queue: "work", confines: { root: process.cwd(), followLinks: false }, threads: 4,
				jobs: 1, store: folderStore, anyVersion: false, leaseMs: 600,
				start: () => process.kill(process.pid, "SIGKILL"), readImages: () => ({ "a/x": "1 images" }), predict: () => {}, onEvent: () => {}, log: () => {},
				signal: new AbortController().signal,
			});`;
		let deaths = 0;
		let over = false;
		/** As a supervisor starts them again. */
		const dying = async () => {
			while (!over) {
				const child = spawn(
					process.execPath,
					["--input-type=module", "-e", script],
					{ stdio: "ignore" },
				);
				open.push({ stop: () => Promise.resolve(child.kill("SIGKILL")) });
				await once(child, "exit");
				deaths += 1;
			}
		};
		const deadly = dying();
		const cells = await studyOf("deadly", 1);
		const found = await swept(url, cells, { retries: 1 }).finally(() => {
			over = true;
		});
		expect(found.entries[0]).toMatchObject({
			state: "failed",
			message: expect.stringMatching(
				/its worker was lost several times, the last one .*-\d+\. Run it alone/,
			),
		});
		expect(deaths).toBe(4);
		void deadly;
	});

	it("what comes again the same way is not tried again", async () => {
		const { url } = await redisUp();
		const start: StartCells = async ([job], { onEvent }) => {
			const { cell } = job as { cell: string };
			onEvent({ type: "cell", cell, state: "started" });
			onEvent({ type: "opened", dir: "" });
			onEvent({
				type: "cell",
				cell,
				state: "failed",
				code: "NOT_FINITE",
				message: "the loss became NaN",
			});
		};
		await working(url, start);
		const found = await swept(url, await studyOf("nan", 1), { retries: 5 });
		expect(found.entries[0]).toMatchObject({
			state: "failed",
			attempts: 1,
			message: "the loss became NaN",
		});
	});

	it("a worker that is told to end hands its cell back, and another goes on", async () => {
		const { url } = await redisUp();
		const slow = pretending(60_000);
		const first = await working(url, slow.start);
		const cells = await studyOf("handed-back", 2);
		const sweep = swept(url, cells);
		while (slow.starts.length === 0) await sleep(10);
		await first.stop();
		expect(slow.starts).toHaveLength(1); // and takes no other
		const second = pretending(5);
		await working(url, second.start);
		const found = await sweep;
		expect(states(found)).toEqual(all(2, "finished"));
		expect(second.modes).toEqual(["resume", "resume"]);
		expect(finishes(found)).toBe(2);
	});

	it("a cell whose folder is in use is looked at again, and costs no attempt", async () => {
		const { url } = await redisUp();
		let looks = 0;
		const done = pretending(5);
		const start: StartCells = async (jobs, options) => {
			looks += 1;
			const [{ cell }] = jobs as unknown as [{ cell: string }];
			if (looks > 2) return done.start(jobs, options);
			options.onEvent({
				type: "cell",
				cell,
				state: "failed",
				code: "LOCKED",
				message: "in use by another",
			});
			return undefined;
		};
		const worker = await working(url, start);
		const found = await swept(url, await studyOf("in-use", 1), { retries: 0 });
		expect(found.entries[0]).toMatchObject({ state: "finished", attempts: 1 });
		expect(worker.logged).toContain("waiting: in use by another");
	});

	it("a sweep that is stopped leaves nothing waiting; the next one counts what was finished meanwhile", async () => {
		const { url } = await redisUp();
		const { start, starts } = pretending(300);
		await working(url, start);
		const cells = await studyOf("stopped", 4);
		const stop = new AbortController();
		const sweep = swept(url, cells, {
			signal: stop.signal,
			onEvent: (event) => {
				if (event.type === "cell" && event.state === "finished") stop.abort();
			},
		});
		await expect(sweep).rejects.toThrow(Interrupted);
		await sleep(600); // the second, begun before, ends without the sweep
		expect(starts.length).toBeLessThanOrEqual(2);
		const found = await swept(url, cells);
		expect(states(found)).toEqual(all(4, "finished"));
		expect([...starts].sort()).toEqual([0, 1, 2, 3]); // none twice
		expect(found.entries.map((entry) => entry?.attempts)).toEqual([1, 1, 1, 1]);
	});

	it("a run that was begun anew goes on from there, whoever takes it next", async () => {
		const { url } = await redisUp();
		const cells = await studyOf("anew", 1);
		const poison = await working(url, pretending(5, () => "poison").start);
		expect(states(await swept(url, cells, { retries: 0 }))).toEqual(["failed"]);
		await poison.stop();
		const slow = pretending(60_000);
		const first = await working(url, slow.start);
		const sweep = swept(url, cells);
		while (slow.starts.length === 0) await sleep(10);
		await sleep(300);
		await first.stop();
		const second = pretending(5);
		await working(url, second.start);
		await sweep;
		expect([slow.modes, second.modes]).toEqual([["fresh"], ["resume"]]);
	});

	it("case 40: a late result is not counted: the queue took it for another's", async () => {
		const { url } = await redisUp();
		const { redis } = await connected(url);
		const cells = await studyOf("late", 1);
		const [cell] = cells as [Cell];
		let release = () => {};
		const held = new Promise<void>((resolve) => {
			release = resolve;
		});
		const late = pretending(5);
		let begun = false;
		const first = await working(url, async (jobs, options) => {
			begun = true;
			const [{ job }] = jobs as unknown as [{ job: { dir: string } }];
			options.onEvent({ type: "opened", dir: job.dir });
			await held; // it hears of nothing, and goes on after all
			return late.start(jobs, {
				...options,
				signal: new AbortController().signal,
			});
		});
		const sweep = swept(url, cells);
		while (!begun) await sleep(10);
		const [lock] = await redis.keys(`${prefix}:work:*:lock`);
		await redis.del(lock as string);
		const second = pretending(3000); // the late one has that long to come
		const other = await working(url, second.start);
		while (second.starts.length === 0) await sleep(10);
		release();
		const found = await sweep;
		expect(found.entries[0]).toMatchObject({ state: "finished", attempts: 2 });
		expect(finishes(found)).toBe(1);
		expect(first.logged.join("\n")).toMatch(
			/no longer ours: its lease was lost/,
		);
		expect(other.logged.join("\n")).toMatch(/finished in/);
		expect(cell.key).toHaveLength(16);
	});

	it("jobs of an earlier time that nobody wants are taken out", async () => {
		const { url } = await redisUp();
		const cells = await studyOf("smaller", 3);
		const stop = new AbortController();
		const sweep = swept(url, cells, { signal: stop.signal });
		const { redis } = await connected(url);
		const ids = () => redis.keys(`${prefix}:work:????????-*`);
		while ((await ids()).length < 3) await sleep(20);
		const kept = await Promise.all(
			(await ids()).map(
				async (key) => [key, await redis.hgetall(key)] as const,
			),
		);
		stop.abort();
		await sweep.catch(() => undefined);
		for (const [key, fields] of kept) {
			await redis.hset(key, fields); // as if the sweep had been killed
			await redis.rpush(`${prefix}:work:wait`, key.split(":").at(-1) as string);
		}
		const { start, starts } = pretending(5);
		const again = swept(url, cells.slice(0, 1));
		while ((await ids()).length > 1) await sleep(20);
		await working(url, start);
		await again;
		expect(starts).toEqual([0]);
		expect(await ids()).toEqual([]);
	});

	it("an error of the store costs one cell some time, and not the sweep", async () => {
		const { url } = await redisUp();
		const { start } = pretending(5);
		let errors = 0;
		const store = {
			...folderStore,
			retrieve: ({ config }: { config: { seed: number } }) => {
				if (config.seed === 1 || (config.seed === 2 && errors++ === 0))
					throw fail("STORE_UNUSABLE", { store: "s3://b", problem: "away" });
				return Promise.resolve();
			},
		};
		await working(url, start);
		const cells = await studyOf("store-away", 3);
		const found = await swept(url, cells, { store });
		expect(states(found)).toEqual(["finished", "running", "finished"]);
		expect(found.entries[1]?.message).toMatch(/s3:\/\/b: away.*sweep again/s);
		const modes = pretending(5);
		await working(url, modes.start);
		expect(states(await swept(url, cells))).toEqual(all(3, "finished"));
	});

	it("who is told to stop does not wait for a Redis that is frozen", async () => {
		const server = await redisUp();
		const stop = new AbortController();
		const slow = pretending(60_000);
		const worker = await working(server.url, slow.start);
		const sweep = swept(server.url, await studyOf("frozen", 2), {
			signal: stop.signal,
		});
		while (slow.starts.length === 0) await sleep(10);
		server.freeze();
		const began = performance.now();
		stop.abort();
		await expect(sweep).rejects.toThrow(Interrupted);
		await worker.stop();
		expect(performance.now() - began).toBeLessThan(14_000);
		server.thaw();
	});

	it("says where no worker is", async () => {
		const { url } = await redisUp();
		const stop = new AbortController();
		await expect(
			swept(url, await studyOf("lonely", 1), {
				signal: stop.signal,
				onEvent: (event) => {
					if (event.type === "notice" && /No worker/.test(event.text))
						stop.abort();
				},
			}),
		).rejects.toThrow(Interrupted);
	});

	it("a second sweep on a folder is refused", async () => {
		const { url } = await redisUp();
		const cells = await studyOf("twice", 1);
		const stop = new AbortController();
		const first = swept(url, cells, { signal: stop.signal });
		await sleep(300);
		await expect(swept(url, cells)).rejects.toMatchObject({ code: "LOCKED" });
		stop.abort();
		await expect(first).rejects.toThrow(Interrupted);
	});

	it("case 41: a run folder that was changed by hand is found by its digest, and run anew", async () => {
		const { url } = await redisUp();
		const { start, modes } = pretending(5);
		await working(url, start);
		const cells = await studyOf("edited", 2);
		await swept(url, cells);
		const { out, name } = (cells[0] as Cell).config;
		writeFileSync(
			join(out, name, "Anomaly/metrics.json"),
			'{"format":1,"seed":99}',
		);
		const found = await swept(url, cells);
		expect(found.events[0]).toMatchObject({
			text: expect.stringMatching(/held other results than those recorded/),
		});
		expect(states(found)).toEqual(all(2, "finished"));
		expect(modes.at(-1)).toBe("fresh");
		expect(found.entries[0]?.message).toBeNull(); // the same came out again
	});

	it("case 41: a result that its folder does not hold is not counted", async () => {
		const { url } = await redisUp();
		const { start } = pretending(5);
		await working(url, async (jobs, options) => {
			await start(jobs, options);
			const [{ job }] = jobs as unknown as [{ job: { dir: string } }];
			setTimeout(() => rmSync(job.dir, { recursive: true, force: true }), 100);
		});
		const found = await swept(url, await studyOf("vanished", 1), {
			retries: 0,
		}).catch((error: Error) => error);
		expect(found).toMatchObject({
			entries: [
				{ state: "running", message: expect.stringMatching(/does not hold/) },
			],
		});
	}, 60_000);

	describe("what a worker must not take", () => {
		/** Puts a job into the queue, waits until it is out of the way, and gives its end. */
		async function put(url: string, data: object) {
			const queue = new Queue("work", {
				connection: (await connected(url)).redis,
				prefix,
			});
			const job = await queue.add("cell", data, { attempts: 5 });
			return {
				failedReason: async () => {
					for (;;) {
						if ((await queue.getJobState(job.id as string)) === "failed")
							return (await queue.getJob(job.id as string))?.failedReason;
						await sleep(20);
					}
				},
				state: () => queue.getJobState(job.id as string),
				close: () => queue.close(),
			};
		}

		/** A job as a sweep would put it. */
		async function jobFor(name: string): Promise<Record<string, unknown>> {
			const { url } = await redisUp();
			const [cell] = await studyOf(name, 1);
			const stop = new AbortController();
			const sweep = swept(url, [cell as Cell], { signal: stop.signal });
			const queue = new Queue("work", {
				connection: (await connected(url)).redis,
				prefix,
			});
			let [job] = await queue.getJobs(["wait"]);
			while (!job) {
				await sleep(20);
				[job] = await queue.getJobs(["wait"]);
			}
			stop.abort();
			await sweep.catch(() => undefined);
			await queue.close();
			return job.data as Record<string, unknown>;
		}

		it("case 45: hostile jobs are refused at once and named, nothing is run for them, and the worker goes on", async () => {
			const good = await jobFor("hostile");
			const { url } = await redisUp();
			const { start, starts } = pretending(5);
			const worker = await working(url, start);
			const config = good.config as Record<string, unknown>;
			const data = config.data as Record<string, unknown>;
			for (const [bad, reason] of [
				[{}, /kind/],
				[{ kind: "cell" }, /format/],
				[{ ...good, evil: 1 }, /evil/],
				[{ ...good, config: { ...config, out: "/etc" } }, /out.*leads out/],
				[{ ...good, config: { ...config, out: "../up" } }, /out.*leads out/],
				[{ ...good, config: { ...config, name: "../up" } }, /name/],
				[
					{ ...good, config: { ...config, data: { ...data, root: "C:\\x" } } },
					/data\.root.*leads out/,
				],
				[
					{
						...good,
						config: { ...config, backbone: { name: "/etc/ssl" } },
					},
					/backbone\.name.*leads out/,
				],
				[
					{ ...good, config: { ...config, strategy: { name: "rm -rf" } } },
					/strategy/,
				],
			] as const) {
				const job = await put(url, bad);
				expect(await job.failedReason()).toMatch(reason);
				await job.close();
			}
			expect(starts).toEqual([]);
			expect(existsSync("/etc/Anomaly")).toBe(false);
			const found = await swept(url, await studyOf("after-hostile", 2));
			expect(states(found)).toEqual(all(2, "finished"));
			expect(
				worker.logged.filter((text) => /refused/.test(text)).length,
			).toBeGreaterThan(5);
		});

		it("what this worker may not or cannot take is left for others, and both sides are told", async () => {
			const { url } = await redisUp();
			const cells = await studyOf("unfit", 1);
			const bad = pretending(5);
			const worker = await working(url, bad.start, {
				readImages: () => Promise.resolve({ "a/x": "2 images" }),
			});
			const sweep = swept(url, cells, { retries: 0 });
			const told =
				/images of a\/x .* are not those that the sweep sees \(2 images instead of 1 images\)/;
			while (!told.test(worker.logged.join())) await sleep(20);
			const good = pretending(5);
			await working(url, good.start);
			const found = await sweep;
			expect(states(found)).toEqual(["finished"]);
			expect(found.events).toContainEqual({
				type: "notice",
				text: expect.stringMatching(
					/A worker on .* cannot take .*images of a\/x/,
				),
			});
			expect(bad.starts).toEqual([]);
			expect(worker.logged.filter((text) => told.test(text))).toHaveLength(1);
			await worker.stop();
		});

		it.each([
			[
				"of another version (case 43)",
				{ versions: { keepsight: "9.9.9", onnxruntime: "1.0.0" } },
				/made with Keepsight 9\.9\.9 and onnxruntime 1\.0\.0.*--any-version/s,
			],
			[
				"of a sweep in another folder",
				{ study: "00000000-0000-4000-8000-000000000000" },
				/is not the folder that the sweep writes into.*--root/s,
			],
			["with another store", { store: "s3://bucket/x" }, /same --store/],
			["with too many threads", { threads: 5 }, /asks for 5 threads/],
			["that follows links", { followLinks: true }, /--follow-links/],
		])(
			"a job %s",
			async (label, {
				threads,
				followLinks,
				...change
			}: Record<string, unknown>, message) => {
				const name = `other-${label.replaceAll(/\W+/g, "-")}`;
				const good = await jobFor(name);
				const config = good.config as { data: object };
				const { url } = await redisUp();
				const { start, starts } = pretending(5);
				const job = await put(url, {
					...good,
					...change,
					config: {
						...config,
						...(threads !== undefined && { threads }),
						...(followLinks !== undefined && {
							data: { ...config.data, followLinks },
						}),
					},
				});
				const worker = await working(url, start);
				while (!message.test(worker.logged.join("\n"))) await sleep(20);
				while ((await job.state()) !== "delayed") await sleep(20);
				expect(starts).toEqual([]);
				const found = await swept(url, await studyOf(name, 1)); // the worker goes on
				expect(states(found)).toEqual(["finished"]);
				await job.close();
			},
		);

		it("a job of another version is run by a worker that was told to", async () => {
			const good = await jobFor("versions");
			const { url } = await redisUp();
			const { start, starts } = pretending(5);
			const versions = { keepsight: "9.9.9", onnxruntime: "1.0.0" };
			const job = await put(url, { ...good, versions });
			await working(url, start, { anyVersion: true });
			while ((await job.state()) !== "completed") await sleep(20);
			expect(starts).toEqual([0]);
			await job.close();
		});
	});

	describe("a Redis that will not do", () => {
		const refusal = (url: string) =>
			connect(url, () => undefined).then(
				() => null,
				(error: KeepsightError) => error,
			);
		it("case 44: one that may drop jobs", async () => {
			const { url } = await redisUp("--maxmemory-policy", "allkeys-lru");
			expect((await refusal(url))?.message).toMatch(
				/maxmemory-policy is allkeys-lru, under which it may drop jobs/,
			);
		});
		it("one that takes nothing", async () => {
			const { url } = await redisUp("--maxmemory", "1");
			const error = await refusal(url);
			expect(error).toMatchObject({ code: "REDIS_UNUSABLE" });
			expect(error?.message).toMatch(/OOM/);
		});
		it("one that wants a password, which no message shows", async () => {
			const { url } = await redisUp("--requirepass", "right");
			const error = await refusal(url.replace("//", "//:wrong-one@"));
			expect(error).toMatchObject({ code: "REDIS_UNUSABLE" });
			expect(error?.message).not.toContain("wrong-one");
			expect(await refusal(url)).toMatchObject({ code: "REDIS_UNUSABLE" });
			const { redis } = await connected(url.replace("//", "//:right@"));
			expect(await redis.ping()).toBe("PONG");
		});
	});
});

describe("what is no Redis", () => {
	const refusal = (url: string) =>
		connect(url, () => undefined).then(
			() => "taken",
			(error: Error) => error.message,
		);
	it("nothing listens", async () => {
		expect(await refusal("redis://127.0.0.1:1")).toMatch(
			/redis:\/\/127\.0\.0\.1:1.*ECONNREFUSED/,
		);
	});
	it("something else answers", async () => {
		const server = createHttpServer((_, reply) => reply.end("hello"));
		server.listen(0, "127.0.0.1");
		await once(server, "listening");
		const { port } = server.address() as AddressInfo;
		expect(await refusal(`redis://127.0.0.1:${port}`)).toMatch(
			/Cannot use the Redis at/,
		);
		server.close();
	});
	it("something listens and never speaks", async () => {
		const server = createServer(() => undefined).listen(0, "127.0.0.1");
		await once(server, "listening");
		const { port } = server.address() as AddressInfo;
		expect(await refusal(`redis://127.0.0.1:${port}`)).toMatch(
			/no answer within 5 s|timed out/i,
		);
		server.close();
	});
	it("a message shows no password, wherever it stood", async () => {
		const text = await refusal(
			"redis://me:secret@127.0.0.1:1/2?password=secret",
		);
		expect(text).toMatch(/redis:\/\/127\.0\.0\.1:1\/2:/);
		expect(text).not.toContain("secret");
	});
	it("no address of one", async () => {
		expect(await refusal("http://user:secret@host")).toMatch(
			/no redis:\/\/HOST:PORT/,
		);
	});
});
