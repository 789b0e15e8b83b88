/**
 * Takes cells and shards from a queue until it is stopped. It trusts nothing in a job (jobs.ts), renews its lease while a process of its
 * own computes, and hands back what it cannot or may not finish, saying why. A result that comes after the lease was lost is not taken by
 * the queue.
 */
import { randomUUID } from "node:crypto";
import { stat } from "node:fs/promises";
import { cpus, hostname } from "node:os";
import {
	DelayedError,
	type Job,
	UnrecoverableError,
	WaitingError,
	Worker,
} from "bullmq";
import { plainName } from "../../columns.ts";
import { runDir } from "../../config.ts";
import { type ErrorCode, fail, KeepsightError } from "../../errors.ts";
import type { Prediction, RunEvent } from "../../events.ts";
import type { PredictJob } from "../../predict.ts";
import { openRun } from "../../run.ts";
import { digestOf } from "../cells.ts";
import { isPassing, jobOf, type StartCells } from "../local.ts";
import type { WorkerName } from "../ledger.ts";
import {
	type CellJob,
	type CellResult,
	type Confines,
	type imagesOf,
	ownVersions,
	type QueuedJob,
	readJob,
	type Said,
	type ShardJob,
	type ShardResult,
} from "./jobs.ts";
import { briefly } from "./drive.ts";
import { type Connection, prefix } from "./redis.ts";
import type { Store } from "./store.ts";

/** So often progress is passed on. */
const PROGRESS_MS = 1000;
/** Before a cell whose folder is in use is looked at again. */
const IN_USE_MS = 2000;
/** Before a job that this worker cannot take is offered again: to others, if there are any. */
const UNFIT_MS = 2000;
/** Errors of ours that another machine may not have. */
const unfitHere: readonly string[] = [
	"BACKBONE_DAMAGED",
	"BACKBONE_MISSING",
	"BACKBONE_NOT_CACHED",
	"DEVICE_UNUSABLE",
] satisfies ErrorCode[];
/** How often a job may lose its worker before it is given up. */
const LOST_WORKERS = 3;

/** Starts a process that scores these pictures. */
export type StartPredict = (
	job: PredictJob,
	options: {
		readonly onEvent: (event: RunEvent) => void;
		readonly signal: AbortSignal;
	},
) => Promise<unknown>;

export interface WorkerOptions {
	readonly connection: Connection;
	readonly queue: string;
	readonly confines: Confines;
	/** The most threads that a job may ask for. */
	readonly threads: number;
	/** Jobs at a time, a process each. */
	readonly jobs: number;
	readonly store: Store;
	/** Whether jobs of other versions are run as well. */
	readonly anyVersion: boolean;
	/** How long a job is ours without a word from us. */
	readonly leaseMs: number;
	readonly start: StartCells;
	readonly predict: StartPredict;
	/** Fingerprints of what is on the disk (jobs.ts). */
	readonly readImages: typeof imagesOf;
	readonly onEvent: (event: RunEvent) => void;
	readonly log: (text: string) => void;
	/** Hands back what is under way, and ends. */
	readonly signal: AbortSignal;
}

const own: WorkerName = {
	host: hostname(),
	pid: process.pid,
	...ownVersions,
	node: process.versions.node,
	cpu: cpus()[0]?.model.trim() ?? "unknown",
};

/** Resolves when it was stopped. */
export async function work(options: WorkerOptions): Promise<void> {
	const { connection, leaseMs, signal, log } = options;
	const ended = new AbortController();
	const stop = () => {
		void worker.pause(true); // first: what is handed back must not be taken again
		ended.abort();
	};
	/** Under way: what breaks it off, and when it has ended. */
	const running = new Map<
		string,
		{ readonly halt: () => void; readonly over: Promise<void> }
	>();
	const complaints = new Set<string>();
	/** Once each. */
	const complain = (text: string) => {
		if (!complaints.has(text)) log(text);
		complaints.add(text);
	};

	const take = async (job: Job, token?: string): Promise<object> => {
		const { id = "" } = job;
		const earlier = running.get(id); // its lease was lost, and the job came here again
		earlier?.halt();
		await earlier?.over;
		const breaking = new AbortController();
		const halt = () => breaking.abort();
		ended.signal.addEventListener("abort", halt);
		if (ended.signal.aborted) halt();
		let end = () => {};
		const over = new Promise<void>((resolve) => {
			end = resolve;
		});
		const entry = { halt, over };
		running.set(id, entry);
		try {
			return await done(job, options, breaking.signal);
		} catch (error) {
			if (ended.signal.aborted) {
				await briefly(job.moveToWait(token)); // where Redis is away its lease ends
				throw new WaitingError();
			}
			const { message } = error as Error;
			const code = error instanceof KeepsightError ? error.code : null;
			if (code === "LOCKED" || code === "WORKER_UNFIT") {
				const unfit = code === "WORKER_UNFIT";
				(unfit ? complain : log)(unfit ? message : `waiting: ${message}`);
				if (unfit) await job.updateProgress(saying(null, { unfit: message }));
				await job.moveToDelayed(
					Date.now() + (unfit ? UNFIT_MS : IN_USE_MS),
					token,
				);
				throw new DelayedError();
			}
			log(`failed: ${message}`);
			throw isPassing(code) ? error : new UnrecoverableError(message);
		} finally {
			if (running.get(id) === entry) running.delete(id);
			ended.signal.removeEventListener("abort", halt);
			end();
		}
	};

	const worker = new Worker(options.queue, take, {
		connection: connection.redis,
		prefix,
		name: `${own.host}-${own.pid}`,
		concurrency: options.jobs,
		lockDuration: leaseMs,
		stalledInterval: leaseMs / 2,
		maxStalledCount: LOST_WORKERS,
		drainDelay: 2,
	});
	// that the connection is away it tells itself; lost leases below
	worker.on("error", (error) => {
		if (error.name === "ReplyError")
			complain(`Redis at ${connection.name} answers ${error.message}`);
	});
	worker.on("lockRenewalFailed", (ids) => {
		for (const id of ids) {
			if (running.has(id))
				log(
					`job ${id} is no longer ours: its lease was lost; it is broken off`,
				);
			running.get(id)?.halt();
		}
	});
	await new Promise<void>((resolve) => {
		ended.signal.addEventListener("abort", () => resolve());
		signal.addEventListener("abort", stop);
		if (signal.aborted) stop();
	});
	signal.removeEventListener("abort", stop);
	await Promise.all([...running.values()].map(({ over }) => over)); // each was told to end
	await briefly(worker.close());
}

/** What is said of a job. */
const saying = (
	start: string | null,
	more: Pick<Said, "progress" | "unfit"> = {},
): Said => ({ worker: own, start, ...more });

/** Does the job, or throws why it cannot. */
async function done(
	queued: Job,
	options: WorkerOptions,
	signal: AbortSignal,
): Promise<object> {
	const job = readJob(queued.data, options.confines);
	checkFit(job, options);
	return job.kind === "cell"
		? train(queued, job, options, signal)
		: score(queued, job, options, signal);
}

const unfit = (problem: string, remedy: string) =>
	fail("WORKER_UNFIT", { problem, remedy });

/** What this worker, not the job, may lack. */
function checkFit(
	job: QueuedJob,
	{ anyVersion, confines, threads, store }: WorkerOptions,
): void {
	const { keepsight, onnxruntime } = job.versions;
	if (
		!anyVersion &&
		(keepsight !== ownVersions.keepsight ||
			onnxruntime !== ownVersions.onnxruntime)
	)
		throw unfit(
			`it was made with Keepsight ${plainName(keepsight)} and onnxruntime ${plainName(onnxruntime)}, this worker has ${ownVersions.keepsight} and ${ownVersions.onnxruntime}`,
			"Install the same versions, or start the worker with --any-version: numbers of different versions are then mixed, and the ledger says which is whose.",
		);
	if (job.kind === "shard") return;
	const { config } = job;
	if (config.data.followLinks && !confines.followLinks)
		throw unfit(
			"data.follow_links is on",
			"Start the worker with --follow-links if you trust who fills the queue.",
		);
	if (config.threads > threads)
		throw unfit(
			`it asks for ${config.threads} threads, and this machine allows ${threads}`,
			`Give the sweep --set threads=${threads} or fewer.`,
		);
	if (job.store !== store.name)
		throw unfit(
			`its sweep keeps runs in ${job.store === "folder" ? "the shared folder" : plainName(job.store)}, this worker in ${store.name === "folder" ? "the folder it was started in" : store.name}`,
			"Start both with the same --store, or with another --queue.",
		);
}

async function train(
	queued: Job,
	job: CellJob,
	options: WorkerOptions,
	signal: AbortSignal,
): Promise<CellResult> {
	const { store, start, jobs, onEvent, log } = options;
	const { config, study, label, key } = job;
	const problem = await store.problemWith(study, config.out);
	if (problem !== null)
		throw unfit(
			problem,
			"Start the worker in the folder that the sweep was started in, as this machine sees it, or with --root; or give both another --queue.",
		);
	await checkImages(job, options);
	const what = `${plainName(label)}  seed ${config.seed}`;
	log(`${what}: taken`);
	const began = performance.now();
	const name = randomUUID();
	/** It failed since it was last begun; a run that is finished all the same only has to be told. */
	const again =
		queued.attemptsMade > job.failures && digestOf({ config }) === null;
	let toldAt = Number.NEGATIVE_INFINITY;
	let failure: Extract<RunEvent, { type: "cell" }> | null = null;
	const say = (more: Pick<Said, "progress"> = {}) => {
		queued.updateProgress(saying(name, more)).catch(() => undefined); // lost with its job
	};
	await start(
		[
			{
				cell: key,
				job: jobOf(config, {
					fresh: job.fresh || again,
					threads: config.threads,
				}),
			},
		],
		{
			processes: jobs,
			signal,
			onEvent(event) {
				if (event.type === "cell") {
					if (event.state === "failed") failure = event;
					return;
				}
				onEvent(event);
				if (event.type === "opened") {
					log(`${what}: begun`);
					say();
					// from here on whoever takes it goes on with what is there
					queued
						.updateData({
							...job,
							fresh: false,
							failures: queued.attemptsMade,
						})
						.catch(() => undefined);
				}
				const now = performance.now();
				if (event.type !== "progress" || now - toldAt < PROGRESS_MS) return;
				toldAt = now;
				const { type: _type, detail: _detail, ...progress } = event;
				say({ progress });
			},
		},
	);
	if (failure !== null) throw failureOf(failure);
	const seconds = (performance.now() - began) / 1000;
	const digest = digestOf({ config });
	if (digest === null)
		throw new Error(`${runDir(config)} holds no finished run`);
	await store.publish({ study, config, start: name }, signal);
	log(`${what}: finished in ${seconds.toFixed(1)} s`);
	return {
		digest,
		seconds: Math.round(1000 * seconds) / 1000,
		worker: own,
		start: name,
	};
}

/** Refuses where the images here are not those that the sweep sees. */
async function checkImages(
	{ config, images: wanted }: CellJob,
	{ readImages }: WorkerOptions,
): Promise<void> {
	const remedy =
		"Copy the data set anew, or start the worker in the shared folder.";
	let found: Readonly<Record<string, string>>;
	try {
		found = await readImages(config);
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		throw unfit(error.message, remedy);
	}
	const other = Object.keys(wanted).find(
		(task) => found[task] !== wanted[task],
	);
	if (other !== undefined)
		throw unfit(
			`the images of ${other} below ${config.data.root} are not those that the sweep sees (${found[other] ?? "none"} instead of ${wanted[other]})`,
			remedy,
		);
}

function failureOf({
	code,
	message = "no reason was given",
}: Extract<RunEvent, { type: "cell" }>): Error {
	if (code === undefined) return new Error(message);
	return unfitHere.includes(code)
		? unfit(message, "Then this worker takes it.")
		: new KeepsightError(code as ErrorCode, message);
}

async function score(
	queued: Job,
	job: ShardJob,
	{ predict, onEvent, log }: WorkerOptions,
	signal: AbortSignal,
): Promise<ShardResult> {
	const { memDir, images, task, maps } = job;
	await checkShared(job);
	log(`${images.length} images of ${memDir}: begun`);
	await queued.updateProgress(saying(randomUUID()));
	const predictions: Prediction[] = [];
	await predict(
		{
			memDir,
			inputs: images.map(({ path, name, folder }) => ({ path, name, folder })),
			...(task !== null && { task }),
			...(maps !== null && { maps }),
		},
		{
			signal,
			onEvent: (event) =>
				event.type === "prediction"
					? predictions.push(event.prediction)
					: onEvent(event),
		},
	);
	return { predictions };
}

/** Refuses where the memory or the pictures here are not those that are meant. */
async function checkShared({
	memDir,
	memoryVersion,
	memoryDigest,
	images,
}: ShardJob): Promise<void> {
	const remedy =
		"Start the worker in the folder that `predict` was started in, as this machine sees it, or with --root.";
	try {
		const { memory } = openRun(memDir, "read");
		if (memory.version !== memoryVersion || memory.digest() !== memoryDigest)
			throw unfit(
				`${memDir} here holds version ${memory.version}, and not what is meant (version ${memoryVersion})`,
				remedy,
			);
		for (const { path, bytes } of images) {
			const size = (await stat(path).catch(() => null))?.size;
			if (size !== bytes)
				throw unfit(
					`${path} here has ${size ?? "no"} bytes instead of ${bytes}`,
					remedy,
				);
		}
	} catch (error) {
		if (!(error instanceof KeepsightError) || error.code === "WORKER_UNFIT")
			throw error;
		throw unfit(error.message, remedy);
	}
}
