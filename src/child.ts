/**
 * The process that owns the onnxruntime sessions: a whole training or evaluation runs here, and only events cross to the parent,
 * since a running session blocks its process. It leaves terminal signals to the parent, and dies within a second of it.
 */
import { Worker } from "node:worker_threads";
import { Interrupted, KeepsightError } from "./errors.ts";
import { type EvaluateJob, evaluateRun } from "./evaluate.ts";
import type { RunEvent } from "./events.ts";
import type { FromChild, Job, ToChild } from "./launch.ts";
import { type TrainJob, train } from "./train.ts";

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
	process.on("message", (message: ToChild) => {
		if (message.type === "stop") stop.requested = true;
		else void work(message.job, stop);
	});
}

async function work(job: Job, stop: { requested: boolean }): Promise<void> {
	let last = 0;
	const emit = (event: RunEvent) => {
		if (event.type === "progress") {
			const now = performance.now();
			if (event.done < event.total && now - last < PROGRESS_EVERY_MS) return;
			last = now;
		}
		send({ type: "event", event });
	};
	try {
		const result =
			job.kind === "train"
				? await train(job as TrainJob, { emit, stop })
				: await evaluateRun(job as EvaluateJob, { emit, stop });
		send({ type: "done", result });
	} catch (error) {
		if (error instanceof Interrupted) send({ type: "interrupted" });
		else if (error instanceof KeepsightError)
			send({
				type: "failed",
				code: error.code,
				message: error.message,
				stack: null,
			});
		else
			send({
				type: "failed",
				code: null,
				message: String((error as Error)?.message ?? error),
				stack: (error as Error)?.stack ?? null,
			});
	}
	// The parent has everything once the channel is flushed; sessions are idle, so leaving is safe.
	process.removeAllListeners("disconnect");
	process.disconnect?.();
	process.exit(0);
}

function send(message: FromChild): void {
	process.send?.(message);
}
