/**
 * The process that owns the onnxruntime sessions: a whole training or evaluation runs here, and only events cross to the parent,
 * since a running session blocks its process. It leaves terminal signals to the parent, and dies within a second of it.
 */
import { Worker } from "node:worker_threads";
import { computeOn } from "./engine/runtime.ts";
import { Interrupted, KeepsightError } from "./errors.ts";
import type { RunEvent } from "./events.ts";
import { perform } from "./job.ts";
import type { FromChild, ToChild } from "./launch.ts";
import { openScorer, type Scorer } from "./scorer.ts";
import { loadPlugins } from "./plugins.ts";

const PROGRESS_EVERY_MS = 100;

if (process.send) {
	for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
		process.on(signal, () => undefined);
	// On a thread of its own: it sees that the parent is gone even while a session holds this one.
	const watchdog = new Worker(new URL("./watchdog.js", import.meta.url), {
		workerData: { parent: process.ppid },
	});
	watchdog.unref();
	process.once("disconnect", () => process.kill(process.pid, "SIGKILL"));
	if (!process.connected) process.kill(process.pid, "SIGKILL"); // it went while this file was loading

	const stop = { requested: false };
	let scorer: Scorer | null = null;
	process.on("message", (message: ToChild) => {
		if (message.type === "stop") stop.requested = true;
		if (message.type === "start") {
			computeOn(message.device);
			void work(message, stop);
		}
		if (message.type === "serve") {
			computeOn(message.device);
			void ended(async () => {
				await loadPlugins(message.plugins);
				scorer = await openScorer(message.job);
				await send({ type: "ready", ready: scorer.ready });
			});
		}
		if (message.type === "score" && scorer) {
			const { id, pictures } = message;
			const scored = scorer.score(pictures);
			void ended(async () =>
				send({ type: "scored", id, answers: await scored }),
			);
		}
	});
}

/** A scorer that failed is no use any more: what is in it may be half done. */
async function ended(work: () => Promise<void>): Promise<void> {
	try {
		await work();
	} catch (error) {
		await send(ending(error));
		process.exit(1);
	}
}

async function work(
	{ job, plugins }: Extract<ToChild, { type: "start" }>,
	stop: { requested: boolean },
): Promise<void> {
	let last = 0;
	const emit = (event: RunEvent) => {
		if (event.type === "progress") {
			const now = performance.now();
			if (event.done < event.total && now - last < PROGRESS_EVERY_MS) return;
			last = now;
		}
		void send({ type: "event", event });
	};
	try {
		await loadPlugins(plugins);
		const input = () => process.stdin.setEncoding("utf8");
		const result = await perform(job, { emit, stop }, input);
		await send({ type: "done", result });
	} catch (error) {
		await send(ending(error));
	}
	process.exit(0); // sessions are idle, so leaving is safe
}

function ending(error: unknown): FromChild {
	if (error instanceof Interrupted) return { type: "interrupted" };
	if (error instanceof KeepsightError)
		return {
			type: "failed",
			code: error.code,
			message: error.message,
			stack: null,
		};
	return {
		type: "failed",
		code: null,
		message: String((error as Error)?.message ?? error),
		stack: (error as Error)?.stack ?? null,
	};
}

/** Resolves once the message has left this process: an exit before that would lose it. A parent that is gone ends us anyway. */
const send = (message: FromChild): Promise<void> =>
	new Promise((resolve) => {
		process.send?.(message, () => resolve());
	});
