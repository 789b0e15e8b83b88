/** The files of a run folder and of a study: what a kill, a disk or another program made of what Keepsight wrote. */
import { strict as assert } from "node:assert";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseConfig } from "../../../src/config.ts";
import { Pool, type PoolSettings } from "../../../src/distill/crops.ts";
import { studentStateOf } from "../../../src/distill/distill.ts";
import { checkpointOf } from "../../../src/learn.ts";
import { float32, uint8 } from "../../../src/engine/tensor.ts";
import { openExport } from "../../../src/export/manifest.ts";
import { Knowledge } from "../../../src/knowledge.ts";
import { versionsOf } from "../../../src/known.ts";
import { writeSafetensors } from "../../../src/models/safetensors.ts";
import { readCurves } from "../../../src/pictures/curves.ts";
import { picturePath, readPictures } from "../../../src/pictures/pictures.ts";
import { readReportData, renderReport } from "../../../src/reports/report.ts";
import { openRun } from "../../../src/run.ts";
import { runsReply } from "../../../src/server/api.ts";
import { runSummary } from "../../../src/server/runs.ts";
import { lockFolder, sha256, VersionedFolder } from "../../../src/storage.ts";
import { Ledger } from "../../../src/study/ledger.ts";
import { folderStore } from "../../../src/study/queue/store.ts";
import {
	cellResult,
	type Confines,
	jobBase,
	readJob,
	saidSchema,
	shardResult,
} from "../../../src/study/queue/jobs.ts";
import { parseLine, scalarsOf } from "../../../src/tracking/lines.ts";
import type { Parser } from "../harness.ts";
import { json, jsonLines, safetensors } from "../mutate.ts";
import { featuresOf, taughtIn } from "../taught.ts";
import { finite, text, utf8 } from "../values.ts";

const seed = (value: unknown): Uint8Array => utf8(JSON.stringify(value));
const put = (dir: string, path: string, bytes: Uint8Array | string) => {
	mkdirSync(join(dir, path, ".."), { recursive: true });
	writeFileSync(join(dir, path), bytes);
};

const record = {
	format: 1,
	config: {
		name: "demo",
		threads: 2,
		data: { root: "data", followLinks: false },
		strategy: { name: "gpm" },
	},
	seed: 42,
	versions: { keepsight: "0.1.0", node: "20.0.0", onnxruntime: "1.30.0" },
	machine: { cpu: "a", cores: 2, memoryBytes: 1, platform: "linux-x64" },
	order: ["mvtec/a", "loco/b"],
	images: { "mvtec/a": "0f" },
	tasks: [
		{ id: "mvtec/a", state: "learnt", seconds: 1.5, data: "pictures/a" },
		{ id: "loco/b", state: "learnt", seconds: 2 },
	],
	forced: [["train.epochs: 1 -> 2"]],
};
const metrics = {
	format: 1,
	tasks: record.order,
	matrices: {
		imageAuroc: [
			[0.99, null],
			[0.98, 0.9],
		],
		accuracy: [
			[1, null],
			[0.9, 0.8],
		],
	},
	summary: {
		imageAuroc: {
			average: 0.94,
			averageIncremental: 0.96,
			learning: 0.95,
			forgetting: 0.01,
			backwardTransfer: -0.01,
			forwardTransfer: null,
		},
	},
	categories: {
		"mvtec/a": { imageAuroc: 0.98, aupro30: null },
		"loco/b": { imageAuroc: 0.9 },
	},
	pooled: { imageAuroc: 0.93, accuracy: 0.9 },
	routing: { accuracy: 0.998 },
	falseAlarms: { nominal: 0.01, realised: 0.012, interval: [0.004, 0.03] },
	memory: { bytes: 123, bytesPerTask: 12, weightsBytes: 0, strategyBytes: 0 },
	reasons: {
		"summary.imageAuroc.forwardTransfer": "evaluate.untrained is off",
	},
};
const scores =
	"path,defect,label,score,threshold,routed\na.png,good,0,0.5,2,mvtec/a\nb.png,crack,1,3,2,mvtec/a\n";
const curves = {
	format: 1,
	pro: {
		"mvtec/a": [
			[0, 0],
			[0.1, 0.5],
			[0.3, 0.9],
		],
	},
	projection: {
		points: [
			{ task: "mvtec/a", label: 0, x: 1, y: -2 },
			{ task: "loco/b", label: 1, x: 0.5, y: 0 },
		],
		explained: [0.6, 0.2],
	},
};
const index = {
	format: 1,
	categories: [
		{
			id: "mvtec/a",
			pictures: [
				{
					file: "mvtec.a/crack/b.png",
					path: "b.png",
					defect: "crack",
					label: 1,
					score: 3,
					threshold: 2,
					routed: "mvtec/a",
					role: "missed",
					panels: ["picture", "map"],
				},
			],
		},
	],
};

/** A finished run; `file` is what is mutated, `read` looks at the folder. */
const runFile = (
	name: string,
	covers: readonly string[],
	file: string,
	valid: unknown,
	read: (dir: string) => unknown,
): Parser => ({
	name,
	covers,
	mutate: json,
	cases: 30,
	open(dir) {
		put(dir, "run.json", seed(record));
		put(dir, "metrics.json", seed(metrics));
		put(dir, "scores/after-02/mvtec.a.csv", scores);
		put(dir, "visualizations/curves.json", seed(curves));
		put(dir, "visualizations/pictures.json", seed(index));
		return {
			seeds: [seed(valid)],
			async read(bytes) {
				put(dir, file, bytes);
				await read(dir);
			},
		};
	},
});

async function report(dir: string): Promise<void> {
	const run = openRun(dir, "read");
	const { html } = renderReport(await readReportData(run));
	assert.match(html, /^<!doctype html>/i);
	assert.doesNotMatch(html, /<script>x|\[object /);
	const summary = runSummary(dir);
	assert(runsReply.safeParse({ runs: summary ? [summary] : [] }).success);
}

// ---- memory/ ----

const manifest = (version: number) => ({
	format: 1,
	version,
	files: {
		"a.safetensors": { bytes: 3, sha256: sha256(Buffer.from("abc")) },
		"mvtec.a/b.json": { bytes: 0, sha256: sha256(Buffer.alloc(0)) },
	},
	change: "learn mvtec/a",
	tasks: [{ id: "mvtec/a" }],
	numbers: [1, 0.5],
});

/** A memory that was learnt, with one of its files, or its manifest, in another form. */
const memoryFile = (
	name: string,
	which: RegExp,
	mutate: Parser["mutate"],
): Parser => ({
	name,
	covers: ["knowledge.ts"],
	mutate,
	cases: 60,
	async open(dir) {
		await taughtIn(dir);
		const folder = VersionedFolder.open(dir);
		const files = Object.fromEntries(
			folder.paths.map((path) => [
				path,
				{ bytes: folder.read(path).length, sha256: sha256(folder.read(path)) },
			]),
		);
		const base = { format: 1, version: 1, files, ...folder.meta };
		const path = folder.paths.find((one) => which.test(one));
		return {
			seeds: [path === undefined ? seed(base) : folder.read(path)],
			async read(bytes) {
				if (path === undefined) put(dir, "manifest.json", bytes);
				else {
					put(dir, path, bytes);
					const entry = { bytes: bytes.length, sha256: sha256(bytes) };
					put(
						dir,
						"manifest.json",
						seed({ ...base, files: { ...files, [path]: entry } }),
					);
				}
				await isKnowledge(VersionedFolder.open(dir));
			},
		};
	},
});

async function isKnowledge(folder: VersionedFolder): Promise<void> {
	const knowledge = Knowledge.load(folder, 1);
	for (const { id, categories } of knowledge.tasks) {
		assert(knowledge.bytesOf(id) > 0);
		for (const category of categories) {
			assert(knowledge.imagesOf(category) >= 1);
			assert(knowledge.thresholdOf(category) >= 0);
			for (const score of knowledge.goodScores(category))
				assert(!Number.isNaN(score), "a score is not a number");
		}
	}
	for (const product of [0, 1]) {
		const probe = featuresOf(product, 1, 7);
		const id = knowledge.route(probe.frozen);
		const [density] = knowledge.memories;
		const said = await density?.score(id, knowledge.featuresFor(0, probe));
		assert(
			said && !Number.isNaN(said.scores[0]),
			"a raw score is not a number",
		);
	}
	const { meta } = folder;
	finite(meta);
	versionsOf({ memory: folder });
	await knowledge.release();
}

// ---- a queue ----

const poolSettings: PoolSettings = {
	teacher: "0f",
	precision: "float32",
	blocks: [5, 8],
	teacherSize: [32, 32],
	imageSize: [16, 16],
	pictures: "0f",
	seed: 1,
};

const { config } = parseConfig(
	`name: gpm-seed0
data: { tasks: [a/x] }
pretext: { name: cutpaste }
strategy: { name: gpm }
memory: [{ name: dne }]
out: results/x/compare
threads: 2
`,
	"test",
);
const worker = {
	host: "a",
	pid: 7,
	keepsight: "0.1.0",
	onnxruntime: "1.30.0",
	node: "20.0.0",
	cpu: "a",
};
const study = "00000000-0000-4000-8000-000000000000";
const queued: readonly unknown[] = [
	{
		...jobBase,
		kind: "cell",
		study,
		store: "folder",
		key: "0123456789abcdef",
		label: "gpm",
		config,
		fresh: false,
		failures: 0,
		images: { "a/x": "0f" },
	},
	{
		...jobBase,
		kind: "shard",
		study,
		memDir: "runs/Anomaly",
		memoryVersion: 3,
		memoryDigest: "0f",
		images: [{ path: "p/1.png", name: "1.png", folder: "p", bytes: 7 }],
		task: null,
		maps: "maps",
	},
];

const said: readonly unknown[] = [
	{
		worker,
		start: "a-1",
		unfit: "no",
		progress: {
			phase: "train",
			task: "a",
			taskIndex: 0,
			taskCount: 1,
			done: 1,
			total: 2,
			unit: "steps",
		},
	},
	{ digest: "0".repeat(64), seconds: 1.5, worker, start: "a-1" },
	{
		predictions: [
			{
				path: "a.png",
				score: 1,
				threshold: 2,
				verdict: "good",
				anomalous: false,
				task: "a",
				memoryVersion: 1,
				latencyMs: 3,
				reason: null,
			},
		],
	},
];

const lines = [
	{
		type: "start",
		time: "2026-11-24T10:00:00.000Z",
		run: study,
		resumed: false,
		name: "tiny",
		order: ["mvtec/a"],
		seed: 42,
		config: "0123456789abcdef",
		versions: worker,
	},
	{
		type: "epoch",
		time: "2026-11-24T10:00:01.000Z",
		task: "mvtec/a",
		taskIndex: 0,
		epoch: 1,
		epochs: 9,
		step: 1,
		loss: 0.5,
		accuracy: null,
		seconds: 1,
		diagnostics: { rank: 3 },
	},
	{
		type: "row",
		time: "2026-11-24T10:00:02.000Z",
		task: "mvtec/a",
		taskIndex: 0,
		step: 2,
		metrics: {
			imageAuroc: { average: 0.9, forgetting: null, tasks: { "mvtec/a": 0.9 } },
		},
		routing: 1,
		falseAlarms: 0,
	},
	{
		type: "end",
		time: "2026-11-24T10:00:03.000Z",
		state: "finished",
		message: null,
	},
	{
		type: "memory",
		time: "2026-11-24T10:00:03.000Z",
		version: 2,
		change: "learn a",
		seconds: 1,
	},
	{ type: "notice", time: "2026-11-24T10:00:03.000Z", text: "a", damage: null },
].map((line) =>
	JSON.stringify({
		...line,
		...("versions" in line && { versions: record.versions }),
	}),
);

export const runs: readonly Parser[] = [
	runFile(
		"run-record",
		["run.ts", "storage.ts"],
		"run.json",
		record,
		async (dir) => {
			const run = openRun(dir, "read");
			finite(run.record);
			assert(run.record.tasks.every(({ id }) => id !== ""));
			for (const { data, seconds } of run.record.tasks) {
				assert(data === undefined || typeof data === "string");
				assert(seconds === null || seconds >= 0);
			}
			if (run.tasksLearnt.length > 0) await report(dir);
		},
	),
	runFile(
		"metrics",
		["run.ts", "reports/report.ts", "server/runs.ts"],
		"metrics.json",
		metrics,
		report,
	),
	runFile(
		"curves",
		["pictures/curves.ts"],
		"visualizations/curves.json",
		curves,
		async (dir) => {
			finite(readCurves(openRun(dir, "read")));
			await report(dir);
		},
	),
	runFile(
		"pictures-index",
		["pictures/pictures.ts"],
		"visualizations/pictures.json",
		index,
		async (dir) => {
			const run = openRun(dir, "read");
			for (const { pictures } of readPictures(run))
				for (const entry of pictures)
					assert(
						picturePath(run, entry).startsWith(join(dir, "visualizations")),
					);
			await report(dir);
		},
	),
	{
		name: "log",
		covers: ["tracking/lines.ts", "tracking/tracker.ts"],
		mutate: jsonLines,
		open: () => ({
			seeds: [utf8(`${lines.join("\n")}\n`)],
			read(bytes) {
				for (const line of text(bytes).split("\n").map(parseLine))
					if (line) {
						assert(!Number.isNaN(Date.parse(line.time)));
						for (const [tag, value] of scalarsOf(line))
							assert(tag !== "" && Number.isFinite(value));
					}
			},
		}),
	},
	{
		name: "manifest",
		covers: ["storage.ts"],
		mutate: json,
		open(dir) {
			put(dir, "a.safetensors", "abc");
			put(dir, "mvtec.a/b.json", "");
			put(dir, "@versions/00000001.json", seed(manifest(1)));
			put(join(dir, "other"), "manifest.json", seed(manifest(3)));
			put(join(dir, "other"), "a.safetensors", "abc");
			put(join(dir, "other"), "mvtec.a/b.json", "");
			return {
				seeds: [seed(manifest(2))],
				read(bytes) {
					put(dir, "manifest.json", bytes);
					put(join(dir, "other"), "@versions/00000002.json", bytes);
					const newer = VersionedFolder.open(join(dir, "other"));
					for (const { version } of newer.earlier) {
						assert(
							Number.isSafeInteger(version) && version >= 1 && version < 3,
						);
						if (version === 2) newer.at(2).digest();
					}
					versionsOf({ memory: newer });
					const folder = VersionedFolder.open(dir);
					assert(Number.isSafeInteger(folder.version) && folder.version >= 1);
					assert.match(folder.digest(), /^[0-9a-f]{64}$/);
					finite(folder.meta);
					versionsOf({ memory: folder });
					folder.verify();
				},
			};
		},
	},
	memoryFile("memory-manifest", /^none$/, json),
	memoryFile("memory-backbone", /^backbone\./, safetensors),
	memoryFile("memory-weights", /^weights\./, safetensors),
	memoryFile("memory-dne", /\.dne\./, safetensors),
	memoryFile("memory-patches", /\.patches\./, safetensors),
	memoryFile("memory-words", /\.words\./, safetensors),
	memoryFile("memory-routing", /\.routing\./, safetensors),
	memoryFile("memory-calibration", /\.calibration\./, safetensors),
	{
		name: "lock",
		covers: ["storage.ts"],
		mutate: json,
		open(dir) {
			return {
				seeds: [
					seed({
						host: "elsewhere",
						system: null,
						pid: 2 ** 22 + 1,
						started: null,
						token: "x",
						lease: null,
					}),
				],
				read(bytes) {
					put(dir, ".lock", bytes);
					try {
						lockFolder(dir).release();
					} catch (error) {
						if ((error as { code?: string }).code !== "LOCKED") throw error;
					}
				},
			};
		},
	},
	{
		name: "ledger",
		covers: ["study/ledger.ts"],
		mutate: json,
		open: (dir) => ({
			seeds: [
				seed({
					format: 1,
					cells: {
						"0123456789abcdef": {
							label: "gpm",
							seed: 0,
							order: 1,
							folder: "gpm-seed0",
							state: "finished",
							seconds: 3.5,
							attempts: 1,
							start: null,
							message: null,
							digest: null,
							worker,
						},
					},
				}),
			],
			read(bytes) {
				put(dir, "ledger.json", bytes);
				const { entries } = new Ledger(dir, () => undefined);
				finite(entries);
				for (const { seconds, attempts } of Object.values(entries))
					assert(seconds >= 0 && attempts >= 0);
			},
		}),
	},
	{
		name: "study-marker",
		covers: ["study/queue/store.ts", "study/queue/cells.ts"],
		mutate: json,
		open: (dir) => ({
			seeds: [seed({ format: 1, study })],
			async read(bytes) {
				put(dir, "study.json", bytes);
				const problem = await folderStore.problemWith(study, dir);
				assert(problem === null || problem.includes(dir));
			},
		}),
	},
	{
		name: "queue-job",
		covers: ["study/queue/jobs.ts", "study/queue/worker.ts", "config.ts"],
		mutate: json,
		open(root) {
			const confines: Confines = { root, followLinks: false };
			return {
				seeds: queued.map(seed),
				read(bytes) {
					const sent = queueJson(bytes);
					if (sent === undefined) return; // the queue's own client refuses it
					const job = readJob(sent, confines);
					finite(job);
					assert(job.kind === "cell" || job.images.length > 0);
				},
			};
		},
	},
	{
		name: "queue-said",
		covers: [
			"study/queue/jobs.ts",
			"study/queue/drive.ts",
			"study/queue/cells.ts",
			"study/queue/shards.ts",
		],
		mutate: json,
		open: () => ({
			seeds: said.map(seed),
			read(bytes) {
				const sent = queueJson(bytes);
				for (const schema of [saidSchema, cellResult, shardResult]) {
					const { data } = schema.safeParse(sent);
					if (data) finite(data);
				}
			},
		}),
	},
	{
		name: "export-manifest",
		covers: ["export/manifest.ts"],
		mutate: json,
		open: (dir) => ({
			seeds: [
				seed({
					...manifest(1),
					kind: "keepsight export",
					graph: "a.safetensors",
					products: [{ id: "mvtec/a" }],
					inputs: [{ name: "image", size: [32, 32] }],
					golden: [
						{
							name: "0",
							pixels: { image: "mvtec.a/b.json" },
							score: 1,
							task: "mvtec/a",
							verdict: "good",
							map: null,
						},
					],
				}),
			],
			read(bytes) {
				put(dir, "manifest.json", bytes);
				const opened = openExport(dir);
				if (!opened) return;
				finite(opened.manifest);
				assert(opened.manifest.products.length > 0);
			},
		}),
	},
	{
		name: "checkpoint",
		covers: ["learn.ts", "distill/distill.ts"],
		mutate: json,
		open: (dir) => ({
			seeds: [
				seed({
					...manifest(1),
					task: "mvtec/a",
					epoch: 3,
					done: 100,
					file: "a.safetensors",
					loss: 0.5,
					accuracy: 0.9,
					accuracyHeldOut: null,
					early: { right: 1, views: 2 },
					diagnostics: { rank: 3 },
					losses: { patches: 0.2, classes: 0.1 },
				}),
			],
			read(bytes) {
				put(dir, "manifest.json", bytes);
				const folder = VersionedFolder.open(dir);
				const state = checkpointOf(folder);
				if (state) {
					finite(state);
					assert(state.epoch >= 1);
				}
				const student = studentStateOf(folder);
				if (student) finite(student);
			},
		}),
	},
	{
		name: "pool-settings",
		covers: ["distill/crops.ts"],
		mutate: json,
		open(dir) {
			return {
				seeds: [seed(poolSettings)],
				read(bytes) {
					put(dir, "pool.json", bytes);
					Pool.open(dir, poolSettings);
				},
			};
		},
	},
	{
		name: "pool-shard",
		covers: ["distill/crops.ts"],
		mutate: safetensors,
		open(dir) {
			const pool = Pool.open(dir, poolSettings);
			return {
				seeds: [
					writeSafetensors(
						{
							pixels: uint8([2, 16, 16, 3]),
							patches: uint8([2, 4, 8]),
							classes: float32([2, 8]),
						},
						{ drawn: "3" },
					),
				],
				read(bytes) {
					put(dir, "train-00000-2.safetensors", bytes);
					const { pixels, patches, classes } = pool.read("train", 0);
					assert.deepEqual(pixels.shape, [2, 16, 16, 3]);
					assert.equal(patches.shape.length, 3);
					assert.deepEqual([patches.shape[0], classes.shape[0]], [2, 2]);
					assert.equal(patches.shape[2], classes.shape[1]);
				},
			};
		},
	},
];

/** What the client of the queue makes of a job's data; undefined: nothing. */
function queueJson(bytes: Uint8Array): unknown {
	try {
		return JSON.parse(text(bytes));
	} catch {
		return undefined;
	}
}
