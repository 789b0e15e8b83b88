import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parseConfig, runDir, type TaskEntry } from "../../src/config.ts";
import { fail, Interrupted } from "../../src/errors.ts";
import type { RunEvent } from "../../src/events.ts";
import {
	cellsOf,
	gridCells,
	ordersOf,
	studyDir,
} from "../../src/study/cells.ts";
import { files } from "../../src/storage.ts";
import { runCells } from "../../src/study/ledger.ts";
import { localPool, type StartCells } from "../../src/study/local.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-ledger-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const { config } = parseConfig(
	`name: n
data: { tasks: [a/x, a/y, a/z] }
pretext: { name: cutpaste }
strategy: { name: finetune }
memory: [{ name: dne }]
orders: { 3: [a/z, a/y, a/x] }
out: ${work}
`,
	"test",
);
const strategies = [
	{ name: "finetune" },
	{ name: "ewc", lambda: 1 },
	{ name: "ewc", lambda: 2 },
];
const tasks = ["a/x", "a/y", "a/z"];
const spell = async (entries: readonly TaskEntry[]) => entries;
const orders = await ordersOf(config, [1, 2, 3], spell);
const cells = (name: string, seeds = [0], numbers = [1]) =>
	cellsOf({ ...config, name }, { strategies, seeds, orders: numbers }, orders);

describe("cells", () => {
	it("are named by what decides their numbers", () => {
		const [a, b] = [cells("one"), cells("two")];
		expect(b.map((c) => c.key)).toEqual(a.map((c) => c.key));
		expect(new Set(cells("one", [0, 1], [1, 2]).map((c) => c.key)).size).toBe(
			12,
		);
		const other = cellsOf(
			{ ...config, train: { ...config.train, epochs: 3 } },
			{ strategies, seeds: [0], orders: [1] },
			orders,
		);
		expect(other[0]?.key).not.toBe(a[0]?.key);
		const told = (experiment: string | null) =>
			cellsOf(
				{ ...config, tracking: { mlflow: "http://tracker", experiment } },
				{ strategies, seeds: [0], orders: [1] },
				orders,
			)[0];
		expect(told(null)?.key).toBe(a[0]?.key); // who is told of a run decides nothing
		expect(told(null)?.config.tracking.experiment).toBe("n"); // the study's, not the cell's
		expect(told("ours")?.config.tracking.experiment).toBe("ours");
		expect(a.map((c) => c.label)).toEqual([
			"finetune",
			"ewc lambda=1",
			"ewc lambda=2",
		]);
		expect(studyDir({ ...config, name: "one" })).toBe(
			join(work, "one", "compare"),
		);
	});
	it("named twice are one", () => {
		const twice = [...strategies, ...strategies];
		expect(
			cellsOf(
				config,
				{ strategies: twice, seeds: [0, 0], orders: [1, 1] },
				orders,
			).length,
		).toBe(3);
	});
	describe("of rows with a memory of their own", () => {
		/** Labels, keys and memories of rows as a configuration gives them. */
		const rowsOf = (rows: string, memory = "[{ name: dne }]") => {
			const { config, compare } = parseConfig(
				`name: n
data: { tasks: [a/x, a/y, a/z] }
pretext: { name: cutpaste }
strategy: { name: finetune }
memory: ${memory}
compare: { strategies: ${rows} }
out: ${work}
`,
				"test",
			);
			return cellsOf(config, { ...compare, seeds: [0] }, orders);
		};
		const labels = (rows: string, memory?: string) =>
			rowsOf(rows, memory).map(({ label }) => label);

		it("run with it, and have keys of their own", () => {
			const [plain, own, other] = rowsOf(
				"[{ name: replay }, { name: replay, memory: [{ name: dne, drift: ldc }] }, { name: finetune }]",
			);
			expect(plain?.config.memory).toMatchObject([{ drift: "none" }]);
			expect(own?.config.memory).toMatchObject([{ name: "dne", drift: "ldc" }]);
			expect(own?.config.strategy).not.toHaveProperty("memory");
			expect(other?.config.memory).toEqual(plain?.config.memory);
			expect(own?.key).not.toBe(plain?.key);
		});

		it("are named by what differs from the configuration's", () => {
			expect(
				labels(
					"[{ name: replay }, { name: replay, memory: [{ name: dne, drift: ldc }] }]",
				),
			).toEqual(["replay", 'replay drift="ldc"']);
			expect(
				labels("[{ name: ewc, memory: [{ name: dne, drift: ldc }] }]"),
			).toEqual(['ewc drift="ldc"']);
			expect(
				labels(
					"[{ name: ewc, lambda: 1 }, { name: ewc, lambda: 2, memory: [{ name: dne, drift: ldc }] }]",
				),
			).toEqual(["ewc lambda=1", 'ewc lambda=2 drift="ldc"']);
			const [usual, other] = labels(
				"[{ name: replay }, { name: replay, memory: [{ name: patches }] }]",
			);
			expect(usual).toBe("replay");
			expect(other).toContain("patches");
			expect(labels("[{ name: replay, memory: [{ name: dne }] }]")).toEqual([
				"replay",
			]); // it is the configuration's
		});

		it.each([
			[
				"another memory",
				"[{ name: replay }, { name: replay, memory: [{ name: patches }] }]",
				"[{ name: dne }]",
			],
			[
				"one memory more",
				"[{ name: replay }, { name: replay, memory: [{ name: dne }, { name: patches }] }]",
				"[{ name: dne }]",
			],
			[
				"one memory less",
				"[{ name: replay }, { name: replay, memory: [{ name: dne }] }]",
				"[{ name: dne }, { name: patches }]",
			],
			[
				"other weights",
				"[{ name: replay }, { name: replay, memory: [{ name: dne, weight: 2 }, { name: patches }] }]",
				"[{ name: dne }, { name: patches }]",
			],
			[
				"an option of the strategy that the memory has too",
				"[{ name: ewc, form: online, memory: [{ name: dne, form: paper }] }, { name: ewc, form: offline, memory: [{ name: dne, form: paper }] }]",
				"[{ name: dne }]",
			],
			[
				"two others of one kind",
				"[{ name: replay, memory: [{ name: patches }] }, { name: replay, memory: [{ name: patches, store: int8 }] }]",
				"[{ name: dne }]",
			],
		])("%s: cells that differ have different names", (_, rows, memory) => {
			const [a, b] = rowsOf(rows, memory);
			expect(b?.key).not.toBe(a?.key);
			expect(b?.label).not.toBe(a?.label);
		});

		it("that is the configuration's are the cell without", () => {
			const found = rowsOf(
				"[{ name: replay }, { name: replay, memory: [{ name: dne }] }]",
			);
			expect(new Set(found.map(({ key }) => key)).size).toBe(found.length);
		});
	});
	it("keep their key when orders are added", async () => {
		const more = {
			...config,
			orders: { ...config.orders, 4: "seeded" as const },
		};
		const [first] = cellsOf(
			more,
			{ strategies, seeds: [0], orders: [1] },
			orders,
		);
		expect(first?.key).toBe(cells("one")[0]?.key);
	});
	it("have orders that all differ, as many as there are", async () => {
		const { orders: _, ...plain } = config;
		const six = await ordersOf({ ...plain, orders: {} }, [6], spell);
		expect(new Set([...six.values()].map((o) => o.join())).size).toBe(6);
		await expect(
			ordersOf({ ...plain, orders: {} }, [7], spell),
		).rejects.toThrow("3 tasks have no more than 6 orders");
		await expect(
			ordersOf({ ...plain, orders: { 2: ["a/x", "a/y"] } }, [2], spell),
		).rejects.toThrow(/orders\.2.*does not hold the tasks of data\.tasks/);
	});
	it("take their order from the configuration, else from a permutation of its number", () => {
		const orderOf = (order: number, seed = 0) =>
			cells("one", [seed], [order])[0]?.config.data.tasks;
		expect(orderOf(1)).toEqual(tasks);
		expect(orderOf(3)).toEqual(["a/z", "a/y", "a/x"]);
		expect([...(orderOf(2) ?? [])].sort()).toEqual(tasks);
		expect(orderOf(2, 7)).toEqual(orderOf(2));
	});
});

const finishedRun = JSON.stringify({
	format: 1,
	config: {},
	order: ["a/x"],
	tasks: [{ id: "a/x", state: "learnt", seconds: 1 }],
	seed: 0,
	versions: {},
});

/** Does as told for each cell, and leaves a run folder as a finished run would. */
function fake(does: (label: number) => "finish" | "fail" | "die" | "stop") {
	const calls: { cells: string[]; modes: string[] }[] = [];
	const start: StartCells = async (jobs, { onEvent }) => {
		calls.push({
			cells: jobs.map((j) => j.cell),
			modes: jobs.map((j) => j.job.mode),
		});
		for (const { cell, job } of jobs) {
			onEvent({ type: "cell", cell, state: "started" });
			const what = does(calls.flatMap((c) => c.cells).indexOf(cell));
			if (what === "die")
				throw fail("CHILD_LOST", { how: "SIGKILL", last: "training" });
			if (what === "stop") throw new Interrupted();
			if (what === "fail")
				onEvent({ type: "cell", cell, state: "failed", message: "no" });
			else {
				mkdirSync(job.dir, { recursive: true });
				writeFileSync(join(job.dir, "run.json"), finishedRun);
				onEvent({ type: "cell", cell, state: "finished" });
			}
		}
	};
	return { start, calls };
}

describe("ledger", () => {
	const run = async (name: string, start: StartCells) => {
		const events: RunEvent[] = [];
		const list = cells(name);
		const entries = await runCells(list, {
			dir: studyDir({ ...config, name }),
			dispatch: localPool(start, 1),
			onEvent: (e) => events.push(e),
		});
		return { states: list.map((c) => entries[c.key]?.state), events, list };
	};

	it("does not run finished cells again and starts failed ones anew", async () => {
		const first = fake((i) => (i === 1 ? "fail" : "finish"));
		expect((await run("a", first.start)).states).toEqual([
			"finished",
			"failed",
			"finished",
		]);
		const second = fake(() => "finish");
		const { states, events, list } = await run("a", second.start);
		expect(states).toEqual(["finished", "finished", "finished"]);
		expect(second.calls).toEqual([{ cells: [list[1]?.key], modes: ["fresh"] }]);
		expect(events[0]).toEqual({
			type: "notice",
			text: "2 of 3 runs are finished and not run again.",
		});
	});
	it("goes on in a new process where one died", async () => {
		const { start, calls } = fake((i) => (i === 1 ? "die" : "finish"));
		const { states, events } = await run("b", start);
		expect(states).toEqual(["finished", "failed", "finished"]);
		expect(calls.map((c) => c.cells.length)).toEqual([3, 1]);
		expect(
			events.some((e) => e.type === "cell" && /SIGKILL/.test(e.message ?? "")),
		).toBe(true);
	});
	it("keeps what is finished when asked to stop, and goes on from there", async () => {
		const { start } = fake((i) => (i === 1 ? "stop" : "finish"));
		await expect(run("c", start)).rejects.toThrow(Interrupted);
		const again = fake(() => "finish");
		await run("c", again.start);
		expect(again.calls[0]?.modes).toEqual(["resume", "resume"]);
	});
	it("a failed cell whose new start is interrupted goes on from there", async () => {
		await run("f", fake((i) => (i === 0 ? "fail" : "finish")).start);
		await expect(run("f", fake(() => "stop").start)).rejects.toThrow(
			Interrupted,
		);
		const third = fake(() => "finish");
		await run("f", third.start);
		expect(third.calls[0]?.modes).toEqual(["resume"]);
	});
	it("runs a cell again whose run is not what the ledger says", async () => {
		await run("g", fake(() => "finish").start);
		const [first] = cells("g");
		writeFileSync(join(runDir(first?.config ?? config), "run.json"), "{}");
		const again = fake(() => "finish");
		await run("g", again.start);
		expect(again.calls[0]?.cells).toEqual([first?.key]);
	});
	it("runs a cell again whose folder is gone", async () => {
		await run("d", fake(() => "finish").start);
		rmSync(runDir(cells("d")[0]?.config ?? config), { recursive: true });
		const again = fake(() => "finish");
		await run("d", again.start);
		expect(again.calls[0]?.cells).toEqual([cells("d")[0]?.key]);
	});
	it("clears what a kill left of its own, and of no run: that has a lock of its own", async () => {
		const dir = studyDir({ ...config, name: "h" });
		const below = join(dir, cells("h")[0]?.config.name ?? "");
		mkdirSync(below, { recursive: true });
		for (const folder of [dir, below])
			writeFileSync(join(folder, ".tmp-1"), "half");
		await run("h", fake(() => "stop").start).catch(() => {});
		expect(existsSync(join(dir, ".tmp-1"))).toBe(false);
		expect(existsSync(join(below, ".tmp-1"))).toBe(true);
	});
	it("case 7: is not written once its folder was taken over", async () => {
		const dir = studyDir({ ...config, name: "i" });
		const { fsync } = files;
		files.fsync = (fd) => {
			fsync(fd);
			if (existsSync(join(dir, ".lock")))
				writeFileSync(
					join(dir, ".lock"),
					JSON.stringify({ host: "elsewhere", pid: 7, token: "x" }),
				);
		};
		try {
			await expect(run("i", fake(() => "finish").start)).rejects.toThrow(
				/taken over by process 7/,
			);
		} finally {
			files.fsync = fsync;
		}
		expect(existsSync(join(dir, "ledger.json"))).toBe(false);
	});
	it("is an error where its file is no ledger", async () => {
		mkdirSync(studyDir({ ...config, name: "e" }), { recursive: true });
		writeFileSync(
			join(studyDir({ ...config, name: "e" }), "ledger.json"),
			'{"format":1}',
		);
		await expect(run("e", fake(() => "finish").start)).rejects.toThrow(
			/ledger\.json.*no ledger/s,
		);
	});
});

describe("a pool of this machine", () => {
	const pooled = async (
		name: string,
		start: StartCells,
		{ jobs = 1, retries = 0, seeds = [0] } = {},
	) => {
		const list = cells(name, seeds);
		const entries = await runCells(list, {
			dir: studyDir({ ...config, name }),
			dispatch: localPool(start, jobs),
			retries,
			onEvent: () => undefined,
		});
		return { entries: list.map((c) => entries[c.key]), list };
	};

	it("tries a failed cell again, anew, so often and no more", async () => {
		const tried: string[] = [];
		const usual = fake(() => "finish");
		const start: StartCells = async (jobs, options) => {
			for (const one of jobs) {
				tried.push(one.cell);
				if (one.cell !== tried[0]) await usual.start([one], options);
				else {
					options.onEvent({ type: "cell", cell: one.cell, state: "started" });
					options.onEvent({
						type: "cell",
						cell: one.cell,
						state: "failed",
						message: "poison",
					});
				}
			}
		};
		const { entries } = await pooled("r", start, { retries: 2 });
		expect(entries.map((e) => [e?.state, e?.attempts])).toEqual([
			["failed", 3],
			["finished", 1],
			["finished", 1],
		]);
	});

	it("does not try again what comes again the same way", async () => {
		const start: StartCells = async (jobs, { onEvent }) => {
			for (const { cell } of jobs) {
				onEvent({ type: "cell", cell, state: "started" });
				onEvent({
					type: "cell",
					cell,
					state: "failed",
					code: "NOT_FINITE",
					message: "NaN",
				});
			}
		};
		const { entries } = await pooled("s", start, { retries: 5 });
		expect(entries.map((e) => e?.attempts)).toEqual([1, 1, 1]);
	});

	it("keeps what shares together, but leaves no process idle for it, and shares the threads out", async () => {
		const groups = async (name: string, jobs: number, seeds: number[]) => {
			const threads: number[] = [];
			const { start, calls } = fake(() => "finish");
			await pooled(
				name,
				(jobs, options) => {
					threads.push(jobs[0]?.job.config.threads ?? 0);
					return start(jobs, options);
				},
				{ jobs, seeds },
			);
			return { sizes: calls.map((c) => c.cells.length).sort(), threads };
		};
		expect((await groups("t1", 2, [0, 1])).sizes).toEqual([3, 3]);
		const one = await groups("t2", 2, [0]);
		expect(one.sizes).toEqual([1, 2]);
		const share = Math.max(1, Math.floor(config.threads / 2));
		expect(one.threads).toEqual([share, share]);
		expect((await groups("t3", 9, [0])).sizes).toEqual([1, 1, 1]);
	});
});

describe("the cells of a grid", () => {
	const grid = async (text: string) => {
		const { points } = parseConfig(
			`name: n
data: { tasks: [a/x, a/y, a/z] }
pretext: { name: cutpaste }
strategy: { name: ewc }
memory: [{ name: dne }]
orders: { 3: [a/z, a/y, a/x] }
sweep: { grid: ${text} }
out: ${work}
`,
			"test",
		);
		return gridCells("dir", points(), async ({ config, order }) => {
			const all = await ordersOf(config, [order], spell);
			return all.get(order) as readonly TaskEntry[];
		});
	};
	const labels = async (text: string) => [
		...new Set((await grid(text)).map(({ label }) => label)),
	];

	it("are those of a comparison where it asks for the same", async () => {
		const found = await grid(
			"{ strategy: [{ name: finetune }, { name: ewc, lambda: 1 }], seed: [0, 1], order: [1, 3] }",
		);
		const compared = cellsOf(
			{ ...config, name: "n" },
			{
				strategies: [
					{ name: "finetune" },
					found.find(({ strategy }) => strategy === "ewc")?.config.strategy as {
						name: string;
					},
				],
				seeds: [0, 1],
				orders: [1, 3],
			},
			orders,
		);
		expect(found).toHaveLength(8);
		const told = ({ key, seed, order }: (typeof found)[number]) =>
			`${key} ${seed} ${order}`;
		const ewc = (list: typeof found) =>
			list.filter(({ strategy }) => strategy === "ewc").map(told);
		expect(ewc(found).sort()).toEqual(ewc(compared).sort());
	});

	it("are named by what their rows differ in", async () => {
		expect(
			await labels("{ strategy.lambda: [1, 2], image_size: [64] }"),
		).toEqual(["ewc lambda=1", "ewc lambda=2"]);
		expect(await labels("{ image_size: [64, [64, 128]] }")).toEqual([
			"ewc image_size=64",
			"ewc image_size=[64,128]",
		]);
		expect(
			await labels(
				"{ backbone: [{ name: keepsight-tiny }, { name: vit, width: 32, heads: 2 }, { name: vit, width: 64, heads: 2 }], train.epochs: [1, 2] }",
			),
		).toEqual([
			"ewc backbone=keepsight-tiny train.epochs=1",
			"ewc backbone=keepsight-tiny train.epochs=2",
			"ewc backbone=vit width=32 train.epochs=1",
			"ewc backbone=vit width=32 train.epochs=2",
			"ewc backbone=vit width=64 train.epochs=1",
			"ewc backbone=vit width=64 train.epochs=2",
		]);
		expect(
			await labels(
				"{ memory: [[{ name: dne }], [{ name: dne }, { name: patches }]] }",
			),
		).toEqual(["ewc memory=dne", "ewc memory=dne+patches"]);
	});

	it("that share draws lie side by side", async () => {
		const seeds = (
			await grid(
				"{ strategy: [{ name: finetune }, { name: ewc }], seed: [0, 1] }",
			)
		).map(({ seed }) => seed);
		expect(seeds).toEqual([0, 0, 1, 1]);
	});
});
