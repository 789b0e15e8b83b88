/**
 * What goes through the queue, and what a worker lets in: another program may have put it there, so every job is held against a schema,
 * and every path in it must stay below the folder that the worker was started in.
 */
import { lstatSync, realpathSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { z } from "zod";
import {
	checkedConfig,
	readingOf,
	type RunConfig,
	runDir,
} from "../../config.ts";
import { plainName } from "../../columns.ts";
import { fingerprints } from "../../data/fingerprint.ts";
import { readLearnTasks } from "../../data/index.ts";
import { runtimeVersion } from "../../engine/runtime.ts";
import { fail } from "../../errors.ts";
import { phases, verdicts } from "../../events.ts";
import { isFolderName } from "../../models/index.ts";
import { loadedPlugins } from "../../plugins.ts";
import { version } from "../../version.ts";
import { workerSchema } from "../ledger.ts";

/** Changed when a worker of an earlier version must not take a job. */
const format = 1;

const versionsSchema = z.strictObject({
	keepsight: z.string(),
	onnxruntime: z.string(),
});
export type Versions = z.output<typeof versionsSchema>;
export const ownVersions: Versions = {
	keepsight: version,
	onnxruntime: runtimeVersion,
};

const path = z.string().min(1).max(4096);
const study = z.uuid();

const cellSchema = z.strictObject({
	format: z.literal(format),
	kind: z.literal("cell"),
	study,
	versions: versionsSchema,
	/** Name of the store that the sweep uses. */
	store: z.string().max(4096),
	key: z.string().regex(/^[0-9a-f]{16}$/),
	label: z.string().max(1000),
	/** A RunConfig; `out` is the folder of the study. */
	config: z.record(z.string(), z.unknown()),
	/** Whether it is to start anew, until a worker has begun so. */
	fresh: z.boolean(),
	/** How often it had failed when it was last begun. */
	failures: z.int().min(0),
	/** Task id -> fingerprint of its images, as the sweep sees them. */
	images: z.record(z.string(), z.string()),
	/** The plugins that the sweep's names come from, as run.json has them; never their files. */
	plugins: z.record(z.string().max(100), z.string().max(64)).default({}),
});
const shardSchema = z.strictObject({
	format: z.literal(format),
	kind: z.literal("shard"),
	study,
	versions: versionsSchema,
	memDir: path,
	/** Of its memory/: all pictures are scored with the same. */
	memoryVersion: z.int().min(1),
	memoryDigest: z.string(),
	images: z
		.array(
			z.strictObject({
				path,
				name: path,
				folder: path.nullable(),
				/** Size of its file. */
				bytes: z.int().min(0),
			}),
		)
		.min(1)
		.max(100_000),
	task: z.string().nullable(),
	maps: path.nullable(),
});
const jobSchema = z.discriminatedUnion("kind", [cellSchema, shardSchema]);

/** A run to be trained. */
export type CellJob = Omit<z.output<typeof cellSchema>, "config"> & {
	readonly config: RunConfig;
};
/** Pictures to be scored. */
export type ShardJob = z.output<typeof shardSchema>;
export type QueuedJob = CellJob | ShardJob;

export const jobBase = { format: format as 1, versions: ownVersions };

/** What a worker says of the job it has. */
export const saidSchema = z.strictObject({
	worker: workerSchema,
	/** Another one whenever the job is begun; null: it was not. */
	start: z.string().max(100).nullable(),
	/** Why it was handed back. */
	unfit: z.string().max(2000).optional(),
	progress: z
		.strictObject({
			phase: z.enum(phases),
			task: z.string().transform(plainName),
			taskIndex: z.number(),
			taskCount: z.number(),
			done: z.number(),
			total: z.number(),
			unit: z.string().transform(plainName),
		})
		.optional(),
});
export type Said = z.output<typeof saidSchema>;

/** What a worker says of a cell that it finished. */
export const cellResult = z.strictObject({
	digest: z.string().regex(/^[0-9a-f]{64}$/),
	seconds: z.number().min(0),
	worker: workerSchema,
	/** The start that ended so; stores keep the artefacts of each apart. */
	start: z.string().regex(/^[A-Za-z0-9-]{1,64}$/),
});
export type CellResult = z.output<typeof cellResult>;

/** Predictions in the order of the shard's images. */
export const shardResult = z.strictObject({
	predictions: z.array(
		z.strictObject({
			path: z.string(),
			score: z.number().nullable(),
			threshold: z.number().nullable(),
			verdict: z.enum(verdicts),
			anomalous: z.boolean().nullable(),
			task: z.string().nullable(),
			memoryVersion: z.int(),
			latencyMs: z.number(),
			reason: z.string().nullable(),
		}),
	),
});
export type ShardResult = z.output<typeof shardResult>;

/** What a worker may read and write. */
export interface Confines {
	/** It works in this folder; absolute. */
	readonly root: string;
	/** Whether links may lead out of it. */
	readonly followLinks: boolean;
}

/** The job, or the error that refuses it. */
export function readJob(data: unknown, confines: Confines): QueuedJob {
	const parsed = jobSchema.safeParse(data);
	if (!parsed.success)
		throw refused(
			z.prettifyError(parsed.error).split("\n").slice(0, 2).join(" "),
		);
	const job = parsed.data;
	if (job.kind === "shard") {
		for (const [where, given] of [
			["memDir", job.memDir],
			["maps", job.maps],
			...job.images.flatMap(({ path, folder }) => [
				["images", path],
				["images", folder],
			]),
		] as const)
			if (given !== null && given !== undefined)
				confine(given, String(where), confines);
		if (job.images.some(({ name }) => !isPlain(name)))
			throw refused("the name of an image leads out of its folder");
		return job;
	}
	checkPlugins(job.plugins);
	const config = checkedConfig(job.config, "the job");
	for (const [where, given] of pathsOf(config)) confine(given, where, confines);
	confine(runDir(config), "the run folder", confines);
	const tracking = { mlflow: null, experiment: null }; // whom to tell is the sweep's affair: no address comes out of a queue
	return { ...job, config: { ...config, tracking } };
}

/** Refuses what other plugins than this worker's were meant for, and what a reader of its own might read otherwise: before the configuration, whose names may come from them. */
function checkPlugins(wanted: CellJob["plugins"]): void {
	const own = new Map(
		loadedPlugins().flatMap(({ adds, sha256 }) =>
			adds.map((entry) => [entry, sha256] as const),
		),
	);
	for (const [entry, hash] of Object.entries(wanted))
		if (own.get(entry) !== hash)
			throw fail("WORKER_UNFIT", {
				problem: `it needs the ${plainName(entry)} of a plugin, and this worker has ${own.has(entry) ? "another file for it" : "none of that name"}`,
				remedy:
					"Start the worker with --plugin and the file that the sweep was given.",
			});
	for (const entry of own.keys())
		if (entry.startsWith("reader ") && !Object.hasOwn(wanted, entry))
			throw fail("WORKER_UNFIT", {
				problem: `this worker has the ${plainName(entry)} of a plugin, which the sweep has not and which may find other images`,
				remedy: "Start the worker without that plugin.",
			});
}

/** Fingerprints of the images that a run learns from, by task. */
export async function imagesOf(
	config: RunConfig,
): Promise<Record<string, string>> {
	const { root, tasks } = config.data;
	return fingerprints(await readLearnTasks(root, tasks, readingOf(config)));
}

/** Every path of a configuration, with its key. */
export const pathsOf = (
	config: RunConfig,
): readonly (readonly [where: string, path: string])[] => [
	["out", config.out],
	["data.root", config.data.root],
	...config.data.roi.map(({ mask }) => ["data.roi", mask] as const),
	...(isFolderName(config.backbone.name)
		? [["backbone.name", config.backbone.name] as const]
		: []),
];

/** Whether a path stays below the folder it starts from, as it is written. */
export function isPlain(path: string): boolean {
	const inside = relative(".", path.replaceAll("\\", "/"));
	return (
		!isAbsolute(path) &&
		!/^[A-Za-z]:|[\0\\]/.test(path) &&
		inside.split(sep)[0] !== ".."
	);
}

/** Refuses a path that leads out of the root, as it is written or by a link on its way. */
function confine(
	path: string,
	where: string,
	{ root, followLinks }: Confines,
): void {
	const outside = () =>
		refused(
			`${where} (${JSON.stringify(path)}) leads out of the folder that the worker was started in`,
		);
	if (!isPlain(path)) throw outside();
	if (followLinks) return;
	let inside: string;
	try {
		let there = resolve(root, path);
		while (!lstatSync(there, { throwIfNoEntry: false })) there = dirname(there);
		inside = relative(realpathSync(root), realpathSync(there));
	} catch {
		throw outside(); // a link that leads nowhere, a file in place of a folder, a name that is too long
	}
	if (inside.split(sep)[0] === ".." || isAbsolute(inside)) throw outside();
}

const refused = (problem: string) => fail("JOB_REFUSED", { problem });

/** Where the marker of a study lies, by which a worker sees that it is in the same folder as the sweep. */
export const markerPath = (dir: string): string => join(dir, "study.json");
