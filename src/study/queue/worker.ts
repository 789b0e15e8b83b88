/**
 * Takes cells and shards from a queue until it is stopped. It trusts nothing in a job (jobs.ts), renews its lease while a process of its
 * own computes, and hands back what it cannot or may not finish. A result that comes after the lease was lost is not taken by the queue.
 */
import { cpus, hostname } from "node:os";
import {
	DelayedError,
	type Job,
	UnrecoverableError,
	WaitingError,
	Worker,
} from "bullmq";
import { runDir } from "../../config.ts";
import { fail, KeepsightError } from "../../errors.ts";
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
	ownVersions,
	readJob,
	type ShardJob,
	type ShardResult,
} from "./jobs.ts";
import { type Connection, prefix } from "./redis.ts";
import type { Store } from "./store.ts";

/** So often progress is passed on. */
const PROGRESS_MS = 1000;
/** Before a cell whose folder is in use is looked at again. */
const IN_USE_MS = 2000;
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
	/** Jobs at a time, a process each. */
	readonly jobs: number;
	readonly store: Store;
	/** Whether jobs of other versions are run as well. */
	readonly anyVersion: boolean;
	/** How long a job is ours without a word from us. */
	readonly leaseMs: number;
	readonly start: StartCells;
	readonly predict: StartPredict;
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

/** Resolves when it was stopped; rejects where it must not take what is in the queue. */
export async function work(options: WorkerOptions): Promise<void> {
	const { connection, leaseMs, signal, log } = options;
	let unfit: KeepsightError | null = null;
	const ended = new AbortController();
	const stop = () => ended.abort();
	signal.addEventListener("abort", stop);
	if (signal.aborted) stop();
	/** Under way, with what breaks it off. */
	const running = new Map<string, AbortController>();

	const process = async (job: Job, token?: string): Promise<object> => {
		const { id = "" } = job;
		const breaking = new AbortController();
		const halt = () => breaking.abort();
		ended.signal.addEventListener("abort", halt);
		if (ended.signal.aborted) halt();
		running.set(id, breaking);
		try {
			return await done(job, options, breaking.signal);
		} catch (error) {
			if (error instanceof KeepsightError && error.code === "WORKER_UNFIT") {
				unfit = error;
				stop();
			}
			if (ended.signal.aborted) {
				await job.moveToWait(token);
				throw new WaitingError();
			}
			if (error instanceof KeepsightError && error.code === "LOCKED") {
				log(`waiting: ${error.message}`);
				await job.moveToDelayed(Date.now() + IN_USE_MS, token);
				throw new DelayedError();
			}
			const { message } = error as Error;
			log(`failed: ${message}`);
			throw isPassing(error instanceof KeepsightError ? error.code : null)
				? error
				: new UnrecoverableError(message);
		} finally {
			running.delete(id);
			ended.signal.removeEventListener("abort", halt);
		}
	};

	const worker = new Worker(options.queue, process, {
		connection: connection.redis,
		prefix,
		name: `${own.host}-${own.pid}`,
		concurrency: options.jobs,
		lockDuration: leaseMs,
		stalledInterval: leaseMs / 2,
		maxStalledCount: LOST_WORKERS,
		drainDelay: 2,
	});
	worker.on("error", () => undefined); // the connection tells of its own; lost leases below
	worker.on("lockRenewalFailed", (ids) => {
		for (const id of ids) {
			if (running.has(id))
				log(
					`job ${id} is no longer ours: its lease was lost; it is broken off`,
				);
			running.get(id)?.abort();
		}
	});
	await new Promise<void>((resolve) => {
		ended.signal.addEventListener("abort", () => resolve());
		if (ended.signal.aborted) resolve();
	});
	signal.removeEventListener("abort", stop);
	while (running.size > 0)
		await new Promise((resolve) => setTimeout(resolve, 20)); // each was told to end
	await worker.close(connection.redis.status !== "ready");
	if (unfit !== null) throw unfit as KeepsightError;
}

/** Does the job, or throws why it cannot. */
function done(
	queued: Job,
	options: WorkerOptions,
	signal: AbortSignal,
): Promise<object> {
	const job = readJob(queued.data, options.confines);
	if (
		!options.anyVersion &&
		(job.versions.keepsight !== ownVersions.keepsight ||
			job.versions.onnxruntime !== ownVersions.onnxruntime)
	)
		throw fail("WORKER_UNFIT", {
			problem: `it was made with Keepsight ${job.versions.keepsight} and onnxruntime ${job.versions.onnxruntime}, this worker has ${ownVersions.keepsight} and ${ownVersions.onnxruntime}`,
			remedy:
				"Install the same versions, or start the worker with --any-version: numbers of different versions are then mixed, and the ledger says which is whose.",
		});
	return job.kind === "cell"
		? train(queued, job, options, signal)
		: score(job, options, signal);
}

async function train(
	queued: Job,
	job: CellJob,
	{ store, start, jobs, onEvent, log }: WorkerOptions,
	signal: AbortSignal,
): Promise<CellResult> {
	const { config, study, label, key } = job;
	if (job.store !== store.name)
		throw fail("WORKER_UNFIT", {
			problem: `its sweep keeps runs in ${job.store === "folder" ? "the shared folder" : job.store}, this worker in ${store.name === "folder" ? "the folder it was started in" : store.name}`,
			remedy: "Start both with the same --store.",
		});
	const problem = await store.problemWith(study, config.out);
	if (problem !== null)
		throw fail("WORKER_UNFIT", {
			problem,
			remedy:
				"Start the worker in the folder that the sweep was started in, as this machine sees it, or with --root.",
		});
	const what = `${label}  seed ${config.seed}`;
	log(`${what}: begun`);
	const began = performance.now();
	const again = queued.attemptsMade > 0 && digestOf({ config }) === null; // a finished run only has to be told
	let toldAt = Number.NEGATIVE_INFINITY;
	let failure: Extract<RunEvent, { type: "cell" }> | null = null;
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
				const now = performance.now();
				if (event.type !== "progress" || now - toldAt < PROGRESS_MS) return;
				toldAt = now;
				const { type: _type, detail: _detail, ...said } = event;
				queued.updateProgress(said).catch(() => undefined); // lost with its job
			},
		},
	);
	if (failure !== null) throw failureOf(failure);
	const seconds = (performance.now() - began) / 1000;
	const digest = digestOf({ config });
	if (digest === null)
		throw new Error(`${runDir(config)} holds no finished run`);
	const attempt = `${queued.attemptsStarted}-${own.pid}-${Date.now()}`;
	await store.publish({ study, config, attempt });
	log(`${what}: finished in ${seconds.toFixed(1)} s`);
	return {
		digest,
		seconds: Math.round(1000 * seconds) / 1000,
		worker: own,
		attempt,
	};
}

function failureOf({
	code,
	message = "no reason was given",
}: Extract<RunEvent, { type: "cell" }>): Error {
	return code === undefined
		? new Error(message)
		: new KeepsightError(code as KeepsightError["code"], message);
}

async function score(
	job: ShardJob,
	{ predict, onEvent, log }: WorkerOptions,
	signal: AbortSignal,
): Promise<ShardResult> {
	const { memDir, memoryVersion, images, task, maps } = job;
	const found = openRun(memDir, "read").memory.version;
	if (found !== memoryVersion)
		throw fail("JOB_REFUSED", {
			problem: `it is for version ${memoryVersion} of ${memDir}, which has version ${found} here`,
		});
	log(`${images.length} images of ${memDir}: begun`);
	const predictions: Prediction[] = [];
	await predict(
		{
			memDir,
			inputs: images,
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
