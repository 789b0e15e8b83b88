/**
 * Sees jobs through the queue to their end: what Redis has lost is put back, what ended is told once and taken out. Looks again and
 * again instead of waiting for messages, which a restart of Redis would swallow.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Job, Queue } from "bullmq";
import { Interrupted } from "../../errors.ts";
import { type Connection, prefix } from "./redis.ts";

const LOOK_MS = 250;
/** So often it is looked whether there is a worker. */
const NO_WORKER_MS = 5000;
/** Before a failed job is tried again. */
const BACKOFF_MS = 1000;
/** What nobody asks about any more. */
const KEPT_SECONDS = 30 * 24 * 3600;

export interface Item {
	/** The same for the same work, so that it is in the queue once. */
	readonly id: string;
	readonly kind: string;
	/** Asked for whenever it is put into the queue. */
	data(): object;
	/** A worker has begun it, for the `attempt`-th time. */
	started?(attempt: number): void;
	/** What its worker says of its progress. */
	progress?(said: unknown): void;
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
	attempts: number;
	said: string;
}

/** Resolves when every item has ended. When it is stopped, what no worker has begun is taken out of the queue. */
export async function drive(
	items: readonly Item[],
	{ connection, queue: name, retries, notice, signal }: DriveOptions,
): Promise<void> {
	const queue = new Queue(name, { connection: connection.redis, prefix });
	queue.on("error", () => undefined); // the connection tells of its own
	const open = new Map(
		items.map((item): [Item, State] => [
			item,
			{ seen: false, attempts: 0, said: "" },
		]),
	);
	const put = (list: readonly Item[]) =>
		queue.addBulk(
			list.map((item) => ({
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
	const look = (list: readonly Item[]) =>
		Promise.all(list.map(({ id }) => queue.getJob(id)));
	let askAt = performance.now() + NO_WORKER_MS;

	try {
		await unlessStopped(
			(async () => {
				for (const job of await look(items))
					if (job && !(await job.isActive()) && !(await job.isCompleted()))
						await job.remove(); // of an earlier time, perhaps of an earlier version
			})(),
			signal,
		);
		while (open.size > 0) {
			const list = [...open.keys()];
			const jobs = await unlessStopped(look(list), signal);
			const missing = list.filter((_, i) => !jobs[i]);
			const lost = missing.filter((item) => open.get(item)?.seen);
			if (lost.length > 0)
				notice(`Redis has lost ${lost.length} jobs; they are put back.`);
			if (missing.length > 0) await unlessStopped(put(missing), signal);
			for (const [i, item] of list.entries()) {
				const state = open.get(item) as State;
				state.seen = true;
				const job = jobs[i];
				if (job && (await unlessStopped(told(item, job, state), signal))) {
					open.delete(item);
					await unlessStopped(job.remove(), signal);
				}
			}
			if (performance.now() >= askAt) {
				askAt = performance.now() + NO_WORKER_MS;
				const working = await unlessStopped(queue.getWorkersCount(), signal);
				if (working === 0)
					notice(
						`No worker is at the queue "${name}" of ${connection.name}: start some with "keepsight worker --redis URL" in the shared folder.`,
					);
				if (working === 0) askAt = Number.POSITIVE_INFINITY; // said once
			}
			if (open.size > 0) await unlessStopped(sleep(LOOK_MS), signal);
		}
	} catch (error) {
		if (error instanceof Interrupted && connection.redis.status === "ready")
			for (const job of await look([...open.keys()]))
				if (job && !(await job.isActive()) && !(await job.isCompleted()))
					await job.remove();
		throw error;
	} finally {
		if (connection.redis.status === "ready") await queue.close();
	}
}

/** Tells an item what is new of its job; whether it has ended. */
async function told(item: Item, job: Job, state: State): Promise<boolean> {
	if (job.attemptsStarted > state.attempts) {
		state.attempts = job.attemptsStarted;
		item.started?.(state.attempts);
	}
	const said = JSON.stringify(job.progress);
	if (said !== state.said) {
		state.said = said;
		item.progress?.(job.progress);
	}
	if (!job.finishedOn) return false;
	if (await job.isCompleted()) return item.completed(job.returnvalue);
	if (!(await job.isFailed())) return false;
	item.failed(job.failedReason ?? "no reason was given");
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
