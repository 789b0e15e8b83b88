/**
 * Sees jobs through the queue to their end: what Redis has lost is put back, what ended is told once and taken out. Looks again and
 * again instead of waiting for messages, which a restart of Redis would swallow.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Job, Queue } from "bullmq";
import { plainName } from "../../columns.ts";
import { fail, Interrupted } from "../../errors.ts";
import { saidSchema, type Said } from "./jobs.ts";
import { type Connection, prefix, withinTime } from "./redis.ts";

const LOOK_MS = 250;
/** So often it is looked whether there is a worker. */
const NO_WORKER_MS = 2000;
/** Before a failed job is tried again. */
const BACKOFF_MS = 1000;
/** What nobody asks about any more. */
const KEPT_SECONDS = 30 * 24 * 3600;
/** Jobs in the queue at a time: all of them are looked at every time. */
const WINDOW = 256;
/** For clearing up in a Redis that may not answer. */
const CLEAR_MS = 2000;

export interface Item {
	/** The same for the same work, so that it is in the queue once. */
	readonly id: string;
	readonly kind: string;
	/** Asked for whenever it is put into the queue. */
	data(): object;
	/** What its worker says of it. */
	told?(said: Said): void;
	/** Its worker is done. Returns whether that counts; where not, it goes on being waited for. */
	completed(result: unknown): Promise<boolean>;
	/** It failed for the last time. */
	failed(reason: string): void;
}

export interface DriveOptions {
	readonly connection: Connection;
	/** Name of the queue. */
	readonly queue: string;
	readonly retries: number;
	readonly notice: (text: string) => void;
	readonly signal: AbortSignal | undefined;
}

interface State {
	seen: boolean;
	said: string;
}

/**
 * Resolves when every item has ended. When it is stopped, what no worker has begun is taken out of the queue. `study`: what the ids of all jobs of
 * this work begin with; others of it are left from an earlier time.
 */
export async function drive(
	study: string,
	items: readonly Item[],
	options: DriveOptions,
): Promise<void> {
	const { connection, queue: name, notice, signal } = options;
	const queue = new Queue(name, { connection: connection.redis, prefix });
	queue.on("error", () => undefined); // the connection tells of its own
	const open = new Map(
		items.map((item): [Item, State] => [item, { seen: false, said: "" }]),
	);
	try {
		await unlessStopped(clear(queue, study, items), signal);
		let askAt = performance.now() + NO_WORKER_MS;
		let alone = false;
		const reasons = new Set<string>();
		while (open.size > 0) {
			const list = [...open.keys()].slice(0, WINDOW);
			const jobs = await unlessStopped(look(queue, list), signal);
			const missing = list.filter((_, i) => !jobs[i]);
			const lost = missing.filter((item) => open.get(item)?.seen);
			if (lost.length > 0)
				notice(`Redis has lost ${lost.length} jobs; they are put back.`);
			if (missing.length > 0)
				await unlessStopped(put(queue, missing, options), signal);
			for (const [i, item] of list.entries()) {
				const state = open.get(item) as State;
				state.seen = true;
				const job = jobs[i];
				if (!job) continue;
				const said = saidBy(job, state);
				if (said) item.told?.(said);
				if (said?.unfit && !reasons.has(said.unfit)) {
					reasons.add(said.unfit);
					notice(
						`A worker on ${plainName(said.worker.host)} cannot take what is in the queue: ${plainName(said.unfit)}`,
					);
				}
				if (await unlessStopped(ended(item, job), signal)) {
					open.delete(item);
					await unlessStopped(job.remove(), signal);
				}
			}
			if (performance.now() >= askAt) {
				askAt = performance.now() + NO_WORKER_MS;
				const working = await unlessStopped(queue.getWorkersCount(), signal);
				if (working === 0 && !alone)
					notice(
						`No worker is at the queue "${name}" of ${connection.name}: start some with "keepsight worker --redis URL" in the shared folder.`,
					);
				alone = working === 0; // said once, until one was there
			}
			if (open.size > 0) await unlessStopped(sleep(LOOK_MS), signal);
		}
	} catch (error) {
		if (error instanceof Interrupted)
			await briefly(
				look(queue, [...open.keys()]).then(async (jobs) => {
					for (const job of jobs) if (job) await takeOut(job);
				}),
			);
		throw (error as Error).name === "ReplyError"
			? fail("REDIS_UNUSABLE", {
					name: connection.name,
					problem: `it answers ${(error as Error).message}`,
				})
			: error;
	} finally {
		await briefly(queue.close());
	}
}

const look = (queue: Queue, items: readonly Item[]) =>
	Promise.all(items.map(({ id }) => queue.getJob(id)));

const put = (
	queue: Queue,
	items: readonly Item[],
	{ retries }: DriveOptions,
): Promise<unknown> =>
	queue.addBulk(
		items.map((item) => ({
			name: item.kind,
			data: item.data(),
			opts: {
				jobId: item.id,
				attempts: 1 + retries,
				backoff: { type: "fixed", delay: BACKOFF_MS },
				removeOnComplete: { age: KEPT_SECONDS },
				removeOnFail: { age: KEPT_SECONDS },
			},
		})),
	);

/** Takes out what an earlier time left: jobs of this work that are no longer wanted, and wanted ones that may be of another version. */
async function clear(
	queue: Queue,
	study: string,
	items: readonly Item[],
): Promise<void> {
	const wanted = new Set(items.map(({ id }) => id));
	const left = await queue.getJobs([
		"wait",
		"delayed",
		"failed",
		"completed",
		"prioritized",
	]);
	for (const job of left) {
		if (!job?.id?.startsWith(`${study}-`)) continue;
		if (wanted.has(job.id)) await takeOut(job);
		else await job.remove().catch(() => undefined);
	}
}

/** Removes a job that nobody is at and that has no result. */
async function takeOut(job: Job): Promise<void> {
	if ((await job.isActive()) || (await job.isCompleted())) return;
	await job.remove().catch(() => undefined); // a worker has begun it just now
}

/** What is new of what the worker of a job says. */
function saidBy(job: Job, state: State): Said | null {
	const text = JSON.stringify(job.progress);
	if (text === state.said) return null;
	state.said = text;
	const parsed = saidSchema.safeParse(job.progress);
	return parsed.success ? parsed.data : null;
}

/** Tells an item that its job has ended; whether that counts. */
async function ended(item: Item, job: Job): Promise<boolean> {
	if (!job.finishedOn) return false;
	if (await job.isCompleted()) return item.completed(job.returnvalue);
	if (!(await job.isFailed())) return false;
	const reason = job.failedReason ?? "no reason was given";
	item.failed(
		/stalled more than/.test(reason)
			? `its worker was lost several times, the last one ${plainName(job.processedBy ?? "unknown")}. Run it alone with "keepsight train" and watch the memory`
			: plainName(reason),
	);
	return true;
}

/** Where Redis is away its commands wait for it; who stops does not. */
async function unlessStopped<T>(
	work: Promise<T>,
	signal: AbortSignal | undefined,
): Promise<T> {
	if (!signal) return work;
	work.catch(() => undefined); // nobody may be left to hear of it
	let stop = () => {};
	const stopped = new Promise<never>((_, reject) => {
		stop = () => reject(new Interrupted());
		if (signal.aborted) stop();
		signal.addEventListener("abort", stop);
	});
	try {
		return await Promise.race([work, stopped]);
	} finally {
		signal.removeEventListener("abort", stop);
	}
}

/** For what is good to have done, and can be left. */
export const briefly = (work: Promise<unknown>): Promise<unknown> =>
	withinTime(work, CLEAR_MS).catch(() => undefined);
