/** The run folder: who may open it when, what is refused, and score files that read back to the bit. */
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KeepsightError } from "../src/errors.ts";
import { files, formats } from "../src/storage.ts";
import {
	describeMachine,
	differences,
	holdsRun,
	openRun,
	parseScores,
	readScoreFolder,
	type Run,
	type RunStart,
	type ScoreRow,
	taskFolder,
	taskOfFolder,
} from "../src/run.ts";

let base: string;
let dir: string;
const opened: Run[] = [];
beforeEach(() => {
	base = mkdtempSync(join(tmpdir(), "keepsight-run-"));
	dir = join(base, "demo", "Anomaly");
});
afterEach(() => {
	for (const run of opened.splice(0)) run.close();
	rmSync(base, { recursive: true, force: true });
});

const start = (changes: Partial<RunStart> = {}): RunStart => ({
	config: { name: "demo", train: { epochs: 10, optimizer: { lr: 1e-4 } } },
	seed: 42,
	versions: {
		keepsight: "0.1.0",
		node: process.version,
		onnxruntime: "1.30.0",
	},
	machine: describeMachine(),
	order: ["mvtec/bottle", "mvtec/zipper"],
	...changes,
});
const open = (
	mode: "new" | "resume" | "fresh",
	s = start(),
	force = false,
): Run => {
	const run = openRun(dir, mode, s, { force });
	opened.push(run);
	return run;
};
/** Owner of a lock. */
const elsewhere = { host: "elsewhere", pid: 7, started: null, token: "x" };
const put = (path: string, text: string) => {
	mkdirSync(dirname(path), { recursive: true });
	writeFileSync(path, text);
};
const row = (r: Partial<ScoreRow> = {}): ScoreRow => ({
	path: "a.png",
	defect: null,
	label: 0,
	score: 0.5,
	threshold: 2,
	routed: "mvtec/bottle",
	...r,
});

describe("opening", () => {
	it("starts in an empty folder and writes run.json", () => {
		const run = open("new");
		expect(JSON.parse(readFileSync(join(dir, "run.json"), "utf8"))).toEqual({
			format: 1,
			...start(),
			tasks: start().order.map((id) => ({
				id,
				state: "pending",
				seconds: null,
			})),
		});
		expect([run.tasksLearnt, run.finished, holdsRun(dir)]).toEqual([
			[],
			false,
			true,
		]);
	});

	it("keeps a second owner out, and lets readers in", () => {
		open("new");
		expect(() => openRun(dir, "resume", start())).toThrow(
			new RegExp(`in use by process ${process.pid}`),
		);
		expect(() => openRun(dir, "update")).toThrow(/in use/);
		const reader = openRun(dir, "read");
		expect(reader.record.seed).toBe(42);
		expect(() => reader.writeReport("x")).toThrow(/opened for reading/);
	});

	it("refuses to start on a run, naming the ways on, and leaves no lock", () => {
		open("new").close();
		expect(() => open("new")).toThrow(/already holds a run.*--resume.*--fresh/);
		expect(readdirSync(dir)).toEqual(["run.json"]);
	});

	it("resumes where it was, also after a kill, and starts on an empty folder", () => {
		const run = open("resume");
		run.setTask("mvtec/bottle", "learnt", 1.5);
		run.setTask("mvtec/zipper", "learning");
		writeFileSync(
			join(dir, ".lock"),
			JSON.stringify({
				host: hostname(),
				pid: process.pid,
				started: "an earlier life:1",
				token: "x",
			}),
		);
		writeFileSync(join(dir, ".tmp-1"), "torn");
		const again = open("resume");
		expect(again.tasksLearnt).toEqual(["mvtec/bottle"]);
		expect(again.record.tasks).toEqual([
			{ id: "mvtec/bottle", state: "learnt", seconds: 1.5 },
			{ id: "mvtec/zipper", state: "learning", seconds: null },
		]);
		expect(existsSync(join(dir, ".tmp-1"))).toBe(false);
		again.setTask("mvtec/zipper", "learnt", 2);
		expect(again.finished).toBe(true);
	});

	it("starts after a kill that left only a lock", () => {
		put(
			join(dir, ".lock"),
			JSON.stringify({
				host: hostname(),
				pid: process.pid,
				started: "an earlier life:1",
				token: "x",
			}),
		);
		open("new");
	});

	it("refuses to resume with other settings, and lists them", () => {
		open("new").close();
		const other = start({
			config: {
				name: "demo",
				train: { epochs: 20, optimizer: { lr: 1e-4 } },
				extra: true,
			},
			seed: 43,
			versions: { ...start().versions, onnxruntime: "1.31.0" },
		});
		expect(() => open("resume", other)).toThrow(
			/extra: \(not set\) -> true\n {2}seed: 42 -> 43\n {2}train\.epochs: 10 -> 20\n {2}versions\.onnxruntime: "1\.30\.0" -> "1\.31\.0"\n.*--force/,
		);
		const forced = open("resume", other, true);
		expect(forced.record.forced).toEqual([
			[
				"extra: (not set) -> true",
				"seed: 42 -> 43",
				"train.epochs: 10 -> 20",
				'versions.onnxruntime: "1.30.0" -> "1.31.0"',
			],
		]);
		forced.close();
		expect(open("resume", other).record.seed).toBe(43); // from now on, these are the settings of the run
	});

	describe("case 13: with other images of a task", () => {
		const images = { "mvtec/bottle": "9 images, aa", "mvtec/zipper": "8, bb" };
		const changed = start({ images: { ...images, "mvtec/zipper": "7, cc" } });

		it("refuses to resume, names the task, and goes on with --force", () => {
			open("new", start({ images })).close();
			open("resume", start({ images })).close();
			expect(() => open("resume", changed)).toThrow(
				/\n {2}images\.mvtec\/zipper: "8, bb" -> "7, cc"\n.*--force/,
			);
			const forced = open("resume", changed, true);
			expect(forced.record.forced).toEqual([
				['images.mvtec/zipper: "8, bb" -> "7, cc"'],
			]);
			expect(forced.record.images).toEqual(changed.images);
		});
		it("goes on where the run is of a version that did not look, or has nothing left to learn", () => {
			open("new").close();
			open("resume", changed).close();
			const run = open("fresh", start({ images }));
			for (const id of run.record.order) run.setTask(id, "learnt", 1);
			run.close();
			expect(open("resume", changed).finished).toBe(true);
		});
	});

	it("resumes whoever is told of it", () => {
		const told = (mlflow: string | null) =>
			start({ config: { ...start().config, tracking: { mlflow } } });
		open("new").close();
		open("resume", told(null)).close();
		open("resume", told("http://tracker")).close();
	});

	it("does not ask for old versions where nothing is left to learn", () => {
		const run = open("new");
		for (const id of run.record.order) run.setTask(id, "learnt", 1);
		run.close();
		const newer = start({
			versions: { ...start().versions, keepsight: "0.2.0" },
		});
		expect(open("resume", newer).finished).toBe(true);
	});

	it("replaces a run with --fresh and leaves what is not Keepsight's", () => {
		const run = open("new");
		run.memory.commit({ add: new Map([["a.json", Buffer.from("{}")]]) });
		run.writeScores(1, "mvtec/bottle", [row()]);
		run.writeReport("<html>");
		run.log({ type: "notice" });
		run.close();
		put(join(dir, "notes.txt"), "mine");
		const fresh = open("fresh");
		expect(fresh.memory.version).toBe(0);
		expect(readdirSync(dir).sort()).toEqual([".lock", "notes.txt", "run.json"]);
	});

	describe("case 7: an owner that comes back late", () => {
		const real = { ...files };
		afterEach(() => void Object.assign(files, real));
		/** The folder is taken over after so many deletions; how many there were. */
		const takenAfter = (most: number) => {
			let deleted = 0;
			for (const name of ["unlink", "rmdir"] as const)
				files[name] = (path) => {
					real[name](path);
					if (!path.includes(".lock") && ++deleted === most)
						put(join(dir, ".lock"), JSON.stringify(elsewhere));
				};
			return () => deleted;
		};
		const held = () =>
			readdirSync(dir, { recursive: true, encoding: "utf8" }).sort();

		it("deletes no more by its --fresh", () => {
			for (let most = 1, deleted = most; ; most++) {
				rmSync(dir, { recursive: true, force: true });
				const run = open("new");
				run.memory.commit({ add: new Map([["a.json", Buffer.from("{}")]]) });
				run.writeScores(1, "mvtec/bottle", [row()]);
				run.writeMetrics({ format: 1 }, "");
				run.close();
				const before = held().length;
				const count = takenAfter(most);
				const attempt = () => open("fresh");
				if (most > before) {
					attempt(); // there is not so much to delete
					expect(deleted).toBe(before);
					break;
				}
				expect(attempt).toThrow(/taken over by process 7/);
				deleted = count();
				expect(deleted).toBe(most);
				expect(held().length).toBe(before - most + 1); // and the other's lock
				Object.assign(files, real);
			}
		});

		it("drops no damaged state, and clears up nothing", () => {
			const run = open("new");
			run.checkpoint.commit({ add: new Map([["a.json", Buffer.from("{}")]]) });
			run.close();
			put(join(dir, "checkpoint", "a.json"), "");
			takenAfter(1);
			expect(() => open("resume")).toThrow(/taken over by process 7/);
			expect(readdirSync(join(dir, "checkpoint"))).toHaveLength(1);
			rmSync(join(dir, ".lock"));
			for (const name of [".tmp-1", ".tmp-2"]) put(join(dir, name), "half");
			takenAfter(1);
			expect(() => open("resume")).toThrow(/taken over by process 7/);
			expect(held().filter((name) => name.startsWith(".tmp-"))).toHaveLength(1);
		});
	});

	it("leaves what a server is writing, and what NFS keeps of a deleted file", () => {
		put(join(dir, "serve", ".tmp-1"), "an upload");
		put(join(dir, ".nfs000000000001"), "a lock");
		open("new").close();
		put(join(dir, "memory", ".tmp-1"), "of a kill");
		for (const mode of ["resume", "fresh"] as const) {
			open(mode).close();
			expect(readdirSync(dir).sort()).toEqual(
				expect.arrayContaining([".nfs000000000001", "run.json", "serve"]),
			);
			expect(existsSync(join(dir, "serve", ".tmp-1"))).toBe(true);
			expect(existsSync(join(dir, "memory", ".tmp-1"))).toBe(false);
		}
	});

	it("never deletes from a folder that is not a run", () => {
		put(join(dir, "thesis.txt"), "years of work");
		put(join(dir, "memory", "x"), "y");
		for (const mode of ["new", "resume", "fresh"] as const)
			expect(() => open(mode)).toThrow(
				/no run\.json \(.*thesis\.txt.*empty folder/,
			);
		expect(readdirSync(dir).sort()).toEqual(["memory", "thesis.txt"]);
	});

	it("asks for --fresh where only parts of a run are left", () => {
		put(join(dir, "memory", "manifest.json"), "{}");
		expect(() => open("resume")).toThrow(/--fresh/);
		expect(open("fresh").memory.version).toBe(0);
	});

	it("does not follow links when it deletes", () => {
		open("new").close();
		put(join(base, "data", "image.png"), "x");
		symlinkSync(join(base, "data"), join(dir, "scores"));
		open("fresh");
		expect(existsSync(join(base, "data", "image.png"))).toBe(true);
	});

	it.each([
		[
			'{"format": 2}',
			/run\.json has format version 2; this Keepsight reads version 1/,
		],
		["{}", /format version none/],
		["", /run\.json is damaged: it is empty/],
		['{"format": 1, "order": 3}', /is damaged: config, seed/],
	])("refuses the run.json %s", (text, wording) => {
		put(join(dir, "run.json"), text);
		for (const mode of ["read", "update"] as const)
			expect(() => openRun(dir, mode)).toThrow(wording);
		expect(() => open("resume")).toThrow(wording);
		expect(existsSync(join(dir, ".lock"))).toBe(false);
	});

	it("lifts run.json and metrics.json of an older format, and writes the present one", () => {
		const { order: _, ...rest } = start();
		put(
			join(dir, "run.json"),
			JSON.stringify({ ...rest, format: 0, sequence: ["a"], tasks: [] }),
		);
		put(join(dir, "metrics.json"), '{"format": -1, "auc": 1}');
		formats.run.lifts[0] = ({ sequence, ...json }) => ({
			...json,
			order: sequence,
		});
		formats.metrics.lifts[-1] = ({ auc, ...json }) => ({ ...json, auroc: auc });
		formats.metrics.lifts[0] = (json) => ({ ...json, summary: {} });
		try {
			const run = openRun(dir, "update");
			opened.push(run);
			expect(run.record.order).toEqual(["a"]);
			expect(run.readMetrics()).toEqual({ format: 1, auroc: 1, summary: {} });
			run.save({});
		} finally {
			formats.run.lifts = {};
			formats.metrics.lifts = {};
		}
		expect(openRun(dir, "read").record).toMatchObject({
			format: 1,
			order: ["a"],
		});
		expect(() => openRun(dir, "read").readMetrics()).toThrow(
			/format version -1/,
		);
	});

	describe("case 4, 5: a damaged state within a task", () => {
		const state = "checkpoint/state.1.safetensors";
		it.each([
			["torn", state, (b: Buffer) => b.subarray(0, 3)],
			["bit-flipped", state, (b: Buffer) => (b.writeUInt8(b[2]! ^ 4, 2), b)],
			["empty", state, () => Buffer.alloc(0)],
			["missing", state, null],
			[
				"torn manifest",
				"checkpoint/manifest.json",
				(b: Buffer) => b.subarray(0, 40),
			],
			["empty manifest", "checkpoint/manifest.json", () => Buffer.alloc(0)],
			[
				"bit-flipped manifest",
				"checkpoint/manifest.json",
				(b: Buffer) => Buffer.from(String(b).replace("7", "6")),
			],
		])(
			"is dropped, said, and logged: %s",
			(kind, file, damage: ((b: Buffer) => Buffer) | null) => {
				const run = open("new");
				const add = new Map([[state.slice(11), Buffer.from("abcdef")]]);
				run.checkpoint.commit({ add, meta: { epoch: 7 } });
				run.close();
				const path = join(dir, file);
				if (damage) writeFileSync(path, damage(readFileSync(path)));
				else rmSync(path);
				openRun(dir, "read"); // needs none
				const told: string[] = [];
				const notice = (text: string) => told.push(text);
				const again =
					kind === "empty"
						? openRun(dir, "update", undefined, { notice })
						: openRun(dir, "resume", start(), { notice });
				opened.push(again);
				expect(again.checkpoint.version).toBe(0);
				expect(told).toEqual([
					expect.stringMatching(/checkpoint, is damaged and was dropped/),
				]);
				expect(
					JSON.parse(readFileSync(join(dir, "log.jsonl"), "utf8")),
				).toMatchObject({
					type: "notice",
					text: told[0],
					damage: expect.stringContaining(path),
				});
			},
		);
		it("whole, is kept without a word", () => {
			const run = open("new");
			const add = new Map([["a", Buffer.from("abcdef")]]);
			run.checkpoint.commit({ add });
			run.close();
			const again = open("resume");
			expect(again.checkpoint.version).toBe(1);
			expect(existsSync(join(dir, "log.jsonl"))).toBe(false);
		});
	});

	it("says where a run is missing, and makes no folder", () => {
		for (const mode of ["read", "update"] as const)
			expect(() => openRun(dir, mode)).toThrow(/holds no run.*--mem_dir/);
		expect(existsSync(dir)).toBe(false);
	});
});

it("differences compares by content, in a stable order", () => {
	expect(
		differences(
			{ a: 1, b: [1, 2], c: { d: null } },
			{ c: { d: null }, b: [1, 2], a: 1 },
		),
	).toEqual([]);
	expect(differences({ b: [1, 2], a: { x: 1 } }, { a: 3, b: [2] })).toEqual([
		'a: { "x": 1 } -> 3',
		"b: [ 1, 2 ] -> [ 2 ]",
	]);
	expect(differences({}, { constructor: 1 })).toEqual([
		"constructor: (not set) -> 1",
	]);
});

describe("what a run writes", () => {
	it("metrics, log, report, visualizations, a new task", () => {
		const run = open("new");
		expect(run.readMetrics()).toBeNull();
		run.writeMetrics({ format: 1, tasks: [] }, "a,b\n");
		expect(run.readMetrics()).toEqual({ format: 1, tasks: [] });
		run.log({ type: "notice", text: "two\nlines" });
		const lines = readFileSync(join(dir, "log.jsonl"), "utf8").split("\n");
		expect(lines).toHaveLength(2);
		expect(JSON.parse(lines[0] as string)).toEqual({
			time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
			type: "notice",
			text: "two\nlines",
		});
		run.writeVisualization("mvtec.bottle/001.png", new Uint8Array(3));
		expect(readFileSync(run.writeReport("<html>"), "utf8")).toBe("<html>");
		expect(() => run.writeVisualization("../x.png", "x")).toThrow(/Refused/);
		run.setTask("loco/pushpins", "learning");
		expect(run.record.order).toEqual([
			"mvtec/bottle",
			"mvtec/zipper",
			"loco/pushpins",
		]);
	});

	it("metrics of another format are refused", () => {
		const run = open("new");
		run.writeMetrics({ format: 9 }, "");
		expect(() => run.readMetrics()).toThrow(
			/metrics\.json has format version 9/,
		);
	});

	it("case 7: every write stops once the folder was taken over", () => {
		const run = open("new");
		run.memory.commit({ add: new Map([["a", Buffer.from("a")]]) });
		run.writeScores(1, "mvtec/bottle", [row()]);
		run.writeVisualization("x.png", "x");
		run.writeReview("a", "table", new Map([["1.png", Buffer.from("1")]]));
		const owner = { host: "elsewhere", pid: 7, started: null, token: "x" };
		writeFileSync(join(dir, ".lock"), JSON.stringify(owner));
		const files = () => readdirSync(dir, { recursive: true }).sort();
		const before = files();
		for (const write of [
			() => run.save({}),
			() => run.setTask("mvtec/bottle", "learnt"),
			() => run.memory.commit({ keep: () => false }),
			() => run.memory.clear(),
			() => run.checkpoint.commit({ meta: { epoch: 1 } }),
			() => run.writeScores(2, "mvtec/bottle", [row()]),
			() => run.writeMetrics({ format: 1 }, ""),
			() => run.writeVisualization("y.png", "x"),
			() => run.removeVisualization("x.png"),
			() => run.writeReview("a", "other", new Map()),
			() => run.removeReview("a"),
			() => run.clearResults(),
			() => run.writeReport(""),
			() => run.log({}),
		]) {
			expect(write).toThrow(/taken over by process 7 on "elsewhere"/);
			expect(files(), String(write)).toEqual(before);
		}
		run.memory.tidy(); // clears nothing, either
		expect(files()).toEqual(before);
	});

	it("stops writing once the folder was taken over", () => {
		const run = open("new");
		writeFileSync(
			join(dir, ".lock"),
			JSON.stringify({ host: "elsewhere", pid: 7, started: null, token: "x" }),
		);
		expect(() => run.save({ seed: 1 })).toThrow(
			/taken over by process 7 on "elsewhere"/,
		);
		expect(run.record.seed).toBe(42);
	});
});

describe("taskFolder", () => {
	it.each([
		["mvtec/bottle", "mvtec.bottle"],
		["loco/screw_bag", "loco.screw_bag"],
		["mvtec/a+mvtec/b", "mvtec.a+mvtec.b"],
		["my line/ü.1", "my%20line.%C3%BC%2E1"],
		["../../etc", "%2E%2E.%2E%2E.etc"],
		["/abs", "%2Fabs"],
		["a\\b\0%", "a%5Cb%00%25"],
	])("%j -> %s and back", (id, name) => {
		expect(taskFolder(id)).toBe(name);
		expect(taskOfFolder(name)).toBe(id);
	});

	it("is reversible, so collision-free, and a safe file name", () => {
		fc.assert(
			fc.property(
				fc.string({ unit: "grapheme", minLength: 1, maxLength: 15 }),
				(id) => {
					expect(taskOfFolder(taskFolder(id))).toBe(id);
					expect(taskFolder(id)).toMatch(/^[A-Za-z0-9_%+-][A-Za-z0-9._%+-]*$/);
				},
			),
			{ seed: 3 },
		);
		const long = "x".repeat(500);
		expect(taskFolder(long).length).toBeLessThan(200);
		expect(taskFolder(`${long}a`)).not.toBe(taskFolder(`${long}b`));
		expect(taskOfFolder("100%")).toBe("100%"); // a foreign name
	});
});

describe("scores", () => {
	it("have the documented columns and place", () => {
		open("new").writeScores(1, "mvtec/bottle", [
			row(),
			row({
				path: "b,c.png",
				defect: 'a "b"',
				label: 1,
				score: Number.POSITIVE_INFINITY,
				threshold: null,
				routed: null,
			}),
		]);
		expect(
			readFileSync(join(dir, "scores/after-01/mvtec.bottle.csv"), "utf8"),
		).toBe(
			'path,defect,label,score,threshold,routed\na.png,good,0,0.5,2,mvtec/bottle\n"b,c.png","a ""b""",1,Infinity,,\n',
		);
	});

	it("read back to the bit, whatever the names", () => {
		const run = open("new");
		const text = fc.oneof(
			fc.string({ unit: "grapheme" }),
			fc.constantFrom(
				"=1+1",
				"'=1",
				"''-x",
				"'",
				"@a",
				"-1",
				"a\nb",
				"a\r\n",
				'"',
				",",
				" x ",
				"<script>",
			),
		);
		const number = fc.double({ noNaN: true });
		const rows = fc.array(
			fc.record({
				path: text,
				defect: fc.option(text.filter((t) => t !== "" && t !== "good")),
				label: fc.constantFrom(0 as const, 1 as const),
				score: number,
				threshold: fc.option(number),
				routed: fc.option(text.filter((t) => t !== "")),
			}),
			{ maxLength: 5 },
		);
		fc.assert(
			fc.property(rows, (some) => {
				run.writeScores(2, "x", some);
				expect(run.readScores(2, "x")).toEqual(some); // toEqual tells -0 from 0
			}),
			{ seed: 4 },
		);
		expect(run.readScores(3, "x")).toBeNull();
	});

	it("hide formulas from spreadsheets", () => {
		const run = open("new");
		run.writeScores(1, "x", [
			row({ path: '=HYPERLINK("http://evil")', defect: "@cmd", score: -1 }),
		]);
		expect(readFileSync(join(dir, "scores/after-01/x.csv"), "utf8")).toContain(
			`"'=HYPERLINK(""http://evil"")",'@cmd,0,-1,`,
		);
	});

	it("refuse NaN and a stage below 1", () => {
		const run = open("new");
		expect(() => run.writeScores(1, "x", [row({ score: Number.NaN })])).toThrow(
			/NaN/,
		);
		expect(() => run.writeScores(0, "x", [])).toThrow(/from 1/);
	});
});

describe("parseScores reads anyone's files", () => {
	it.each([
		[
			"label,score\n1,0.5\n",
			[
				{
					path: "",
					defect: null,
					label: 1,
					score: 0.5,
					threshold: null,
					routed: null,
				},
			],
		],
		[
			"\uFEFFScore, Label ,model\r\n1e-3,0.0,x\r\n\r\ninf,1,y",
			[
				{ score: 0.001, label: 0 },
				{ score: Number.POSITIVE_INFINITY, label: 1 },
			],
		],
		[
			'score,path,label\n-.5,"a\nb",1\n',
			[{ path: "a\nb", score: -0.5, label: 1 }],
		],
		["label,score\n", []],
	])("%j", (text, expected) => {
		const rows = parseScores(text, "f.csv");
		expect(rows).toHaveLength(expected.length);
		expect(rows).toMatchObject(expected);
	});

	it.each([
		["", 1, /the file is empty/],
		["image,anomaly\n", 1, /no column "label"; it reads "image,anomaly"/],
		["label;score\n0;1\n", 1, /no column "label"/],
		["label\n1\n", 1, /no column "score"/],
		["label,score,label\n", 1, /"label" twice/],
		["label,score\n0,1\n0\n", 3, /1 fields, but the header has 2/],
		["label,score\n2,1\n", 2, /the label is 2/],
		["label,score\n0,nan\n", 2, /the score "nan" is not a number/],
		["label,score\n0,\n", 2, /the score "" is not a number/],
		["label,score\n0,0x10\n", 2, /not a number/],
		['path,label,score\n"a\nb",0,1\n"c\nd",0,x\n', 4, /not a number/],
		['label,score,path\n0,1,"a\n', 2, /never closed/],
		['label,score,path\n0,1,a"b\n', 2, /quote stands inside/],
		['label,score,path\n0,1,"a"b\n', 2, /text follows/],
	])("%j is refused at line %i", (text, line, wording) => {
		expect(() => parseScores(text, "f.csv")).toThrow(KeepsightError);
		expect(() => parseScores(text, "f.csv")).toThrow(wording);
		expect(() => parseScores(text, "f.csv")).toThrow(`f.csv, line ${line}: `);
	});

	it("reads or refuses any text", () => {
		fc.assert(
			fc.property(
				fc.string({ unit: fc.constantFrom(..."label,score\n\r\"'01.=") }),
				(text) => {
					try {
						parseScores(`label,score,path\n${text}`, "f.csv");
					} catch (error) {
						if (!(error instanceof KeepsightError)) throw error;
					}
				},
			),
			{ numRuns: 1000, seed: 5 },
		);
	});
});

describe("readScoreFolder", () => {
	const csv = "label,score\n0,1\n";

	it("reads our layout in order, and a flat folder as one stage", () => {
		const run = open("new");
		for (const after of [10, 2, 1])
			run.writeScores(after, "mvtec/bottle", [row({ score: after })]);
		expect(
			run
				.readAllScores()
				.map((s) => [
					s.after,
					s.categories.map((c) => [c.id, c.rows[0]?.score]),
				]),
		).toEqual([1, 2, 10].map((n) => [n, [["mvtec/bottle", n]]]));
		put(join(base, "flat", "mvtec.zipper.csv"), csv);
		put(join(base, "flat", "readme.txt"), "");
		expect(readScoreFolder(join(base, "flat"))).toMatchObject([
			{
				after: null,
				categories: [{ id: "mvtec/zipper", rows: [{ score: 1 }] }],
			},
		]);
	});

	it("says what is missing or unclear", () => {
		expect(() => readScoreFolder(join(base, "none"))).toThrow(/no such folder/);
		mkdirSync(join(base, "empty"));
		expect(() => readScoreFolder(join(base, "empty"))).toThrow(
			/it holds none.*after-01/,
		);
		put(join(base, "both", "a.csv"), csv);
		put(join(base, "both", "after-01", "a.csv"), csv);
		expect(() => readScoreFolder(join(base, "both"))).toThrow(/unclear/);
		put(join(base, "twice", "after-1", "a.csv"), csv);
		put(join(base, "twice", "after-01", "a.csv"), csv);
		expect(() => readScoreFolder(join(base, "twice"))).toThrow(
			/stage 1 appears twice/,
		);
	});
});
