/**
 * What may go wrong with disks and processes while a run is learnt, each once: whatever it is, the run is gone on with to the bytes of the
 * run that nothing happened to (docs/durability.md).
 */
import {
	appendFileSync,
	chmodSync,
	cpSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	symlinkSync,
	truncateSync,
	writeFileSync,
} from "node:fs";
import { execFileSync, spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
	afterAll,
	afterEach,
	beforeAll,
	describe,
	expect,
	it,
	vi,
} from "vitest";
import { parseConfig, runDir } from "../src/config.ts";
import type { RunEvent } from "../src/events.ts";
import { encodePng } from "../src/data/image.ts";
import { uint8 } from "../src/engine/tensor.ts";
import { Random } from "../src/random.ts";
import { files, VersionedFolder } from "../src/storage.ts";
import { cellsOf, studyDir } from "../src/study/cells.ts";
import { runCells } from "../src/study/ledger.ts";
import { localPool } from "../src/study/local.ts";
import { train } from "../src/train.ts";
import { drawCategory, size } from "./drawn.ts";
import { keepsight } from "./program.ts";
import {
	childrenOf,
	ended,
	expectSameBytes,
	runs,
	start,
	wait,
} from "./runs.ts";

const file = (path: string) =>
	pathToFileURL(resolve(import.meta.dirname, path)).href;
const { launch } = (await import(
	file("../dist/launch.js")
)) as typeof import("../src/launch.ts");

const work = mkdtempSync(join(tmpdir(), "keepsight-faults-"));
const data = join(work, "data");
const config = join(work, "run.yaml");
const yaml = `name: run
data: { root: ${data}, tasks: [mvtec/a, mvtec/b] }
image_size: ${size}
backbone: { name: vit, width: 8, depth: 2, heads: 2, patch: 16 }
trainable: { last: 1 }
pretext: { name: cutpaste }
strategy: { name: finetune }
memory: [{ name: dne }]
train: { epochs: 2, batch_size: 8 }
out: ${work}
threads: 1
`;
const jobOf = (
	name: string,
	mode: "new" | "resume" = "new",
	...sets: string[]
) => {
	const { config } = parseConfig(yaml, "faults.test", [
		`name=${name}`,
		...sets,
	]);
	return { config, dir: runDir(config), mode, force: false };
};
const dirOf = (name: string) => jobOf(name).dir;
/** In this process, from the sources. */
const trained = async (
	name: string,
	mode: "new" | "resume" = "new",
	emit: (event: RunEvent) => void = () => {},
	...sets: string[]
) => train(jobOf(name, mode, ...sets), { emit, stop: { requested: false } });
/** As a command, in processes of its own. */
const command = (name: string, ...args: string[]) =>
	keepsight("train", "--config", config, "--set", `name=${name}`, ...args);

beforeAll(async () => {
	await drawCategory(join(data, "mvtec/a"), 0, 6, 2);
	await drawCategory(join(data, "mvtec/b"), 1, 6, 2);
	writeFileSync(config, yaml);
	await trained("whole");
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const temporaries = (dir: string) =>
	readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((name) =>
		name.includes(".tmp-"),
	);

describe("a fault at a call on the disk, in a whole run", () => {
	const real = { ...files };
	afterEach(() => Object.assign(files, real));
	/** Every how many calls; all of them in the soak. */
	const every = process.env.KEEPSIGHT_SOAK ? 1 : 61;

	/** "kill": that call and every later one do nothing. A code: every write from that call on, as on a disk that is full. */
	function inject(at: number, fault: string): () => boolean {
		let calls = 0;
		for (const [name, call] of Object.entries(real) as [
			keyof typeof files,
			(...args: never[]) => unknown,
		][])
			(files as Record<string, unknown>)[name] = (...args: never[]) => {
				if (++calls >= at) {
					if (fault === "kill") throw new Error("killed");
					if (["open", "write", "fsync", "mkdir", "rename"].includes(name))
						throw Object.assign(new Error(fault), {
							code: fault,
							syscall: name,
						});
				}
				// no power is lost here, and waiting for the disk at each of thousands of calls takes minutes
				return name === "fsync" ? undefined : call(...args);
			};
		return () => calls >= at;
	}

	it.each(["kill", "ENOSPC"])(
		"case 1, 2: %s: resumed, it ends in the same bytes",
		async (fault) => {
			let faults = 0;
			for (let at = 5; ; at += every) {
				rmSync(dirOf("hit"), { recursive: true, force: true });
				const hit = inject(at, fault);
				const error = await trained("hit").then(
					() => null,
					(e: Error) => e,
				);
				Object.assign(files, real);
				if (!hit()) break;
				faults++;
				if (fault === "kill") {
					const lock = join(dirOf("hit"), ".lock");
					if (existsSync(lock)) {
						const owner = JSON.parse(readFileSync(lock, "utf8"));
						writeFileSync(
							lock,
							JSON.stringify({
								...owner,
								started: "of a process that is gone",
							}),
						);
					}
				} else if (error) {
					expect(error, `call ${at}`).toMatchObject({ code: "CANNOT_WRITE" });
					expect(error.message).toMatch(/the disk is full \(ENOSPC\)/);
					if (existsSync(dirOf("hit")))
						expect(temporaries(dirOf("hit")), `call ${at}`).toEqual([]);
				}
				files.fsync = () => {};
				await trained("hit", "resume");
				expectSameBytes(dirOf("whole"), dirOf("hit"));
				Object.assign(files, real);
			}
			expect(faults).toBeGreaterThan(300 / every);
		},
		600_000,
	);
});

describe("a process that computes", () => {
	afterEach(() => vi.unstubAllEnvs());
	const faulty = (fault: object, options = "") => {
		vi.stubEnv("KEEPSIGHT_FAULT", JSON.stringify(fault));
		vi.stubEnv("NODE_OPTIONS", `--import ${file("fault.mjs")} ${options}`);
	};
	/** The third state within a task that gets its name: the first epoch of the second task. */
	const third = {
		call: "renameSync",
		path: "checkpoint/manifest.json",
		at: 3,
	};

	it.each([
		["10: SIGKILL, as when the system is out of memory", "SIGKILL", "SIGKILL"],
		["11: the limit of V8's heap", "heap", "SIGABRT"],
		["12: an abort in native code", "abort", "SIGABRT"],
	])(
		"case %s: is lost with its signal and its last step, and gone on with",
		async (_, how, signal) => {
			faulty(
				{ ...third, how },
				how === "heap" ? "--max-old-space-size=80" : "",
			);
			const { status, stderr } = command(how);
			vi.unstubAllEnvs();
			expect(stderr).toMatch(
				new RegExp(
					`ended by ${signal} \\(last: train of mvtec/b, \\d+ of .*run the same command again`,
				),
			);
			expect(status).toBe(2);
			await trained(how, "resume");
			expectSameBytes(dirOf("whole"), dirOf(how));
		},
		60_000,
	);

	it("case 4: whose saved state is damaged starts the task anew, says so, and logs it", async () => {
		faulty({ ...third, at: 4, how: "SIGKILL" });
		command("damaged");
		vi.unstubAllEnvs();
		const checkpoint = VersionedFolder.open(
			join(dirOf("damaged"), "checkpoint"),
		);
		const state = join(checkpoint.dir, checkpoint.paths[0] as string);
		truncateSync(state, statSync(state).size - 1);
		const notices: string[] = [];
		await trained("damaged", "resume", (event) => {
			if (event.type === "notice") notices.push(event.text);
		});
		expect(notices).toEqual([
			expect.stringMatching(/damaged and was dropped: the task starts anew/),
		]);
		expect(readFileSync(join(dirOf("damaged"), "log.jsonl"), "utf8")).toContain(
			`"damage":"${state} is damaged`,
		);
		expectSameBytes(dirOf("whole"), dirOf("damaged"));
	}, 60_000);

	it("case 10: fails its cell of a comparison, which is never finished by that, and the others go on", async () => {
		faulty({
			call: "renameSync",
			path: "finetune-[^/]+/Anomaly/checkpoint/manifest.json",
			at: 1,
			how: "SIGKILL",
		});
		const { config } = jobOf("study");
		const cells = cellsOf(
			config,
			{
				strategies: [{ name: "finetune" }, { name: "frozen" }],
				seeds: [0],
				orders: [1],
			},
			new Map([[1, config.data.tasks]]),
		);
		const compared = async () => {
			const entries = await runCells(cells, {
				dir: studyDir(config),
				dispatch: localPool(
					(jobs, { processes, onEvent }) =>
						launch({ kind: "cells", jobs, processes }, { onEvent }),
					1,
				),
				onEvent: () => {},
			});
			return cells.map(({ key, label }) => [
				label,
				entries[key]?.state,
				entries[key]?.message,
			]);
		};
		expect(await compared()).toEqual([
			["finetune", "failed", expect.stringMatching(/SIGKILL.*last: train of/)],
			["frozen", "finished", null],
		]);
		vi.unstubAllEnvs();
		expect(await compared()).toEqual([
			["finetune", "finished", null],
			["frozen", "finished", null],
		]);
	}, 60_000);

	it("case 2: on a full disk ends with exit code 2, names it, leaves no half file, and goes on once there is room", async () => {
		faulty({ call: "writeSync", path: "checkpoint/", at: 3, how: "ENOSPC" });
		const { status, stderr } = command("full");
		vi.unstubAllEnvs();
		expect(stderr).toMatch(
			/Could not write .*checkpoint.*: the disk is full \(ENOSPC\)/,
		);
		expect(stderr).not.toContain("    at ");
		expect(status).toBe(2);
		expect(temporaries(dirOf("full"))).toEqual([]);
		VersionedFolder.open(join(dirOf("full"), "checkpoint")).verify();
		await trained("full", "resume");
		expectSameBytes(dirOf("whole"), dirOf("full"));
	}, 60_000);

	it.each([
		["SIGINT", 130],
		["SIGTERM", 143],
	] as const)(
		"case 9: a second %s stops it at once, in the middle of saving a state, and nothing is torn",
		async (signal, code) => {
			const marker = join(work, `${signal} waits`);
			faulty({
				call: "fsyncSync",
				path: "checkpoint/",
				at: 5,
				how: "hang",
				marker,
			});
			const child = start(
				"train",
				"--config",
				config,
				"--set",
				`name=${signal}`,
			);
			vi.unstubAllEnvs();
			const exit = ended(child);
			await expect
				.poll(() => existsSync(marker), { timeout: 20_000 })
				.toBe(true);
			const computing = childrenOf(child.pid as number);
			expect(computing).not.toEqual([]);
			child.kill(signal);
			await wait(200);
			expect(child.exitCode).toBeNull(); // it waits for its step to end
			child.kill(signal);
			expect(await exit).toBe(code);
			await expect
				.poll(() => computing.filter(runs), { timeout: 20_000 }) // of the minute that it would hang
				.toEqual([]);
			for (const folder of ["memory", "checkpoint"])
				VersionedFolder.open(join(dirOf(signal), folder)).verify();
			await trained(signal, "resume");
			expectSameBytes(dirOf("whole"), dirOf(signal));
			expect(temporaries(dirOf(signal))).toEqual([]);
		},
		60_000,
	);
});

it("case 7: a run in the folder of a silent machine says why it waits, then learns", async () => {
	const lock = join(dirOf("shared"), ".lock");
	const owner = { host: "elsewhere", pid: 7, token: "theirs", lease: 200 };
	mkdirSync(dirOf("shared"), { recursive: true });
	writeFileSync(lock, JSON.stringify(owner));
	const notices: string[] = [];
	await trained("shared", "resume", (event) => {
		if (event.type === "notice") notices.push(event.text);
	});
	expect(notices).toEqual([
		expect.stringMatching(/process 7 on "elsewhere".*Waiting up to 1 s/),
	]);
	expectSameBytes(dirOf("whole"), dirOf("shared"));
	expect(existsSync(lock)).toBe(false);
});

it("case 7: a report, too", () => {
	const lock = join(dirOf("whole"), ".lock");
	const owner = { host: "elsewhere", pid: 7, token: "theirs", lease: 200 };
	writeFileSync(lock, JSON.stringify(owner));
	const { status, stderr } = keepsight("report", "--mem_dir", dirOf("whole"));
	expect(stderr).toMatch(/process 7 on "elsewhere".*Waiting up to 1 s/);
	expect(status).toBe(0);
});

describe("what a run learns from", () => {
	const other = join(work, "other");
	const image = join(other, "mvtec/b/train/good/3.png");
	const sets = `data.root=${other}`;
	const fresh = () => {
		rmSync(other, { recursive: true, force: true });
		cpSync(data, other, { recursive: true });
	};

	it("case 13: has changed: the task is named, nothing is learnt; so with threads; --force is recorded", async () => {
		fresh();
		const stop = { requested: false };
		const emit = (event: RunEvent) => {
			if (event.type === "row") stop.requested = true; // of the first task
		};
		await expect(
			train(jobOf("moved", "new", sets), { emit, stop }),
		).rejects.toThrow("interrupted");
		appendFileSync(image, "x");
		const memory = () => VersionedFolder.open(join(dirOf("moved"), "memory"));
		const before = memory().version;
		const again = (force: boolean, ...more: string[]) =>
			train(
				{ ...jobOf("moved", "resume", sets, ...more), force },
				{ emit: () => {}, stop: { requested: false } },
			);
		await expect(again(false, "threads=2")).rejects.toMatchObject({
			code: "RUN_DIFFERS",
			message: expect.stringMatching(
				/ {2}images\.mvtec\/b: "6 images, \w+" -> "6 images, \w+"\n {2}threads: 1 -> 2\n/,
			),
		});
		expect(memory().version).toBe(before);
		await again(true);
		expect(
			JSON.parse(readFileSync(join(dirOf("moved"), "run.json"), "utf8")).forced,
		).toEqual([[expect.stringMatching(/^images\.mvtec\/b: /)]]);
	});

	it("case 13: with --force and another optimizer, what was saved within a task is not used, and that is said", async () => {
		fresh();
		const stop = { requested: false };
		const emit = (event: RunEvent) => {
			if (event.type === "epoch") stop.requested = true;
		};
		await expect(
			train(jobOf("other-optimizer", "new", sets), { emit, stop }),
		).rejects.toThrow("interrupted");
		const sgd = [sets, "train.optimizer={name: sgd}"];
		const notices: string[] = [];
		await train(
			{ ...jobOf("other-optimizer", "resume", ...sgd), force: true },
			{
				emit: (event) => {
					if (event.type === "notice") notices.push(event.text);
				},
				stop: { requested: false },
			},
		);
		expect(notices).toEqual([
			expect.stringMatching(
				/^What was saved within mvtec\/a is of other settings \(it has no \S+ of \d+ numbers\)/,
			),
		]);
		await trained("sgd", "new", () => {}, ...sgd);
		expectSameBytes(dirOf("sgd"), dirOf("other-optimizer"));
	});

	it("case 25: changes while it is learnt: said and logged", async () => {
		fresh();
		const notices: string[] = [];
		const emit = (event: RunEvent) => {
			if (event.type === "epoch" && event.task === "mvtec/b")
				appendFileSync(image, "x");
			if (event.type === "notice") notices.push(event.text);
		};
		await trained("changing", "new", emit, sets);
		expect(notices).toEqual([
			expect.stringMatching(/images of mvtec\/b changed while it was learnt/),
		]);
		expect(
			readFileSync(join(dirOf("changing"), "log.jsonl"), "utf8"),
		).toContain(notices[0]);
	});

	it("case 25: cannot be read any more once it was learnt: said as that", async () => {
		fresh();
		const roi = join(other, "roi.png");
		writeFileSync(
			roi,
			await encodePng(uint8([1, 1, 3], new Uint8Array(3).fill(255))),
		);
		const notices: string[] = [];
		const emit = (event: RunEvent) => {
			if (event.type === "epoch" && event.task === "mvtec/b")
				rmSync(roi, { force: true });
			if (event.type === "notice") notices.push(event.text);
		};
		const region = `data.roi=[{ category: mvtec/b, mask: ${roi} }]`;
		await trained("vanished", "new", emit, sets, region);
		expect(notices).toEqual([
			expect.stringMatching(
				/Whether the images of mvtec\/b changed .* is unknown\. Could not read .*roi\.png/,
			),
		]);
	});

	it("case 3: cannot be read: nothing is begun, and no earlier run is touched", async () => {
		fresh();
		rmSync(image);
		symlinkSync(join(other, "nowhere.png"), image);
		await expect(
			trained("unread", "new", () => {}, sets, "data.follow_links=true"),
		).rejects.toMatchObject({ code: "CANNOT_READ" });
		expect(existsSync(dirOf("unread"))).toBe(false);
	});

	it("case 14: is never written to, and may be read-only", async () => {
		fresh();
		const all = () =>
			readdirSync(other, { recursive: true, encoding: "utf8" })
				.map((path) => join(other, path))
				.concat(other);
		const seen = () =>
			all().map((path) => [path, statSync(path).mtimeMs, statSync(path).size]);
		for (const path of all())
			chmodSync(path, statSync(path).isDirectory() ? 0o555 : 0o444);
		const before = seen();
		await trained("readonly", "new", () => {}, sets);
		expect(seen()).toEqual(before);
		for (const path of all()) chmodSync(path, 0o755);
		expectSameBytes(dirOf("whole"), dirOf("readonly"));
	});
});

/** A small disk of its own; null where this system does not let us have one. */
function smallDisk(): string | null {
	const dir = join(work, "disk");
	mkdirSync(dir);
	try {
		const options = ["-t", "tmpfs", "-o", "size=56k", "none", dir];
		execFileSync("mount", options, { stdio: "ignore" });
		return dir;
	} catch {
		return null;
	}
}
const disk = smallDisk();
afterAll(() => {
	if (disk) execFileSync("umount", [disk]);
});
it.skipIf(disk === null)(
	`case 14: results on a disk that is full${disk === null ? " (skipped: no file system may be mounted here)" : ""}`,
	async () => {
		const name = "small";
		const out = `out=${disk}`;
		const dir = runDir(jobOf(name, "new", out).config);
		await expect(trained(name, "new", () => {}, out)).rejects.toMatchObject({
			code: "CANNOT_WRITE",
			message: expect.stringMatching(/the disk is full \(ENOSPC\)/),
		});
		expect(temporaries(dir)).toEqual([]);
		for (const folder of ["memory", "checkpoint"])
			VersionedFolder.open(join(dir, folder)).verify();
		execFileSync("mount", ["-o", "remount,size=4m", disk as string]);
		await trained(name, "resume", () => {}, out);
		expectSameBytes(dirOf("whole"), dir);
	},
);

const kills = process.env.KEEPSIGHT_SOAK ? 200 : 6;
it(`case 1: killed ${kills} times at random moments and resumed each time, every run ends in the same bytes`, async () => {
	const random = new Random(
		"kills",
		process.env.KEEPSIGHT_SOAK ? Date.now() : 1,
	);
	const job = JSON.stringify(jobOf("killed", "resume"));
	const program = join(work, "learn.mjs");
	const code = `const { train } = await import("${file("../dist/train.js")}");
		await train(${job}, { emit() {}, stop: { requested: false } });`;
	writeFileSync(program, code);
	/** What a command starts to compute, alone: in half its time. */
	const learn = () =>
		spawn(process.execPath, [program], {
			stdio: ["ignore", "ignore", "inherit"],
		});
	const began = performance.now();
	expect(await ended(learn())).toBe(0);
	const took = performance.now() - began;
	let killed = 0;
	let finished = 0;
	for (let exit: number | null = 0; exit !== 0 || killed < kills; ) {
		if (exit === 0) {
			expectSameBytes(dirOf("whole"), dirOf("killed"));
			rmSync(dirOf("killed"), { recursive: true });
			finished++;
		}
		const child = learn();
		const end = ended(child);
		const moment = wait(random.uniform(0.35, 1.1) * took); // before, it reads its program
		if (killed < kills) await Promise.race([end, moment]);
		else await end;
		if (child.exitCode === null && child.kill("SIGKILL")) killed++;
		exit = await end;
		expect([0, null]).toContain(exit);
	}
	expectSameBytes(dirOf("whole"), dirOf("killed"));
	if (process.env.KEEPSIGHT_SOAK)
		process.stderr.write(
			`${killed} kills, ${finished + 1} runs, ${(took / 1000).toFixed(1)} s a run\n`,
		);
}, 7_200_000);
