/** The parent's side of child.ts: starts the process, passes events on, turns its end into a result or an error. */
import { type ChildProcess, fork } from "node:child_process";
import { constants, setPriority } from "node:os";
import { fileURLToPath } from "node:url";
import { type ErrorCode, fail, Interrupted, KeepsightError } from "./errors.ts";
import type { RunEvent } from "./events.ts";
import type { Job, JobResult } from "./job.ts";
import type {
	Answered,
	RunningScorer,
	ScorerJob,
	ScorerReady,
	Sent,
} from "./scorer.ts";
import { type LoadedPlugin, loadedPlugins } from "./plugins.ts";

/** What a job is done with: the device, and the plugins of this process. */
interface Surroundings {
	readonly device: string;
	readonly plugins: readonly LoadedPlugin[];
}

export type ToChild =
	| (Surroundings & { readonly type: "start"; readonly job: Job })
	| { readonly type: "stop" }
	| (Surroundings & { readonly type: "serve"; readonly job: ScorerJob })
	| {
			readonly type: "score";
			readonly id: number;
			readonly pictures: readonly Sent[];
	  };
export type FromChild =
	| { readonly type: "ready"; readonly ready: ScorerReady }
	| {
			readonly type: "scored";
			readonly id: number;
			readonly answers: readonly Answered[];
	  }
	| { readonly type: "event"; readonly event: RunEvent }
	| { readonly type: "done"; readonly result: JobResult }
	| { readonly type: "interrupted" }
	| {
			readonly type: "failed";
			readonly code: string | null;
			readonly message: string;
			readonly stack: string | null;
	  };

/** How a job is started and heard. */
export interface LaunchOptions {
	readonly onEvent?: (event: RunEvent) => void;
	/** Aborting asks the child to finish its step and stop; the promise then rejects with `Interrupted`. */
	readonly signal?: AbortSignal;
	/** Where the child computes, a usable one (devices.ts). Default: the CPU. */
	readonly device?: string;
	/** Whether it gives way to whatever else wants to compute. */
	readonly polite?: boolean;
}

/**
 * glibc keeps freed memory instead of giving every large tensor back and faulting it in again at the next operator. The runtime's
 * own arena does that as well, for a tenth more memory (docs/experiments.md). Other C libraries ignore these names. What the
 * caller has set stays.
 */
export const childEnvironment = (): NodeJS.ProcessEnv => ({
	MALLOC_MMAP_THRESHOLD_: "33554432", // bytes; glibc takes no more
	MALLOC_TOP_PAD_: "67108864",
	MALLOC_TRIM_THRESHOLD_: "8589934592",
	...process.env,
});

/** A job that reads names from our stdin does so itself. */
const inputOf = (job: Job): "inherit" | "ignore" =>
	job.kind === "predict" && job.inputs.includes("-") ? "inherit" : "ignore";

/** A process group of its own: a terminal's Ctrl-C reaches the parent alone, at whatever moment it comes. */
const startChild = (stdin: "inherit" | "ignore"): ChildProcess =>
	fork(fileURLToPath(new URL("./child.js", import.meta.url)), {
		stdio: [stdin, "ignore", "inherit", "ipc"],
		serialization: "advanced",
		detached: true,
		env: childEnvironment(),
	});

/** Runs a job in a process of its own. Rejects with the child's error, or with CHILD_LOST where it ended without a word. */
export function launch(
	job: Job,
	{ onEvent, signal, device = "cpu", polite = false }: LaunchOptions = {},
): Promise<JobResult> {
	return new Promise((resolve, reject) => {
		const child = startChild(inputOf(job));
		if (polite && child.pid !== undefined)
			setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL);
		const stop = () =>
			child.connected && child.send({ type: "stop" } satisfies ToChild);
		let ended = false;
		let last = "it had not begun";
		const settle = (finish: () => void) => {
			if (ended) return;
			ended = true;
			signal?.removeEventListener("abort", stop);
			finish();
		};
		child.on("message", (message: FromChild) => {
			if (message.type === "event") {
				const { event } = message;
				if (event.type === "progress")
					last = `${event.phase} of ${event.task}, ${event.done} of ${event.total} ${event.unit}`;
				if (event.type === "prediction") last = event.prediction.path;
				onEvent?.(event);
			}
			if (message.type === "done") settle(() => resolve(message.result));
			if (message.type === "interrupted")
				settle(() => reject(new Interrupted()));
			if (message.type === "failed") settle(() => reject(failure(message)));
		});
		child.on("error", (error) => settle(() => reject(error)));
		// "close" comes after the last message was read, "exit" may come before.
		child.on("close", (code, killer) =>
			settle(() =>
				reject(
					killer !== null
						? fail("CHILD_LOST", { how: killer, last })
						: new Error(
								`The working process ended by itself with exit code ${code} (last: ${last}); its own message is above.`,
							),
				),
			),
		);
		signal?.addEventListener("abort", stop);
		const plugins = loadedPlugins();
		child.send({ type: "start", job, device, plugins } satisfies ToChild);
		if (signal?.aborted) stop();
	});
}

/** Starts a process that scores until it is closed. `device`: a usable one (devices.ts). Rejects with the error that keeps it from beginning. */
export function startScorer(
	job: ScorerJob,
	device = "cpu",
): Promise<RunningScorer> {
	const child = startChild("ignore");
	const asked = new Map<
		number,
		{
			readonly resolve: (answers: readonly Answered[]) => void;
			readonly reject: (error: Error) => void;
		}
	>();
	let asks = 0;
	let closed = false;
	let close = () => {};
	return new Promise((resolve, reject) => {
		const lost = new Promise<Error>((tell) => {
			/** `error`: what happened; who asked for a picture is told that its process is lost. */
			const end = (error: Error) => {
				tell(error); // first: nothing more may be asked of it when the others hear
				const lost =
					error instanceof KeepsightError && error.code === "SCORER_LOST"
						? error
						: fail("SCORER_LOST", { how: "an error" });
				for (const { reject: refuse } of asked.values()) refuse(lost);
				asked.clear();
				reject(error); // of no effect once it was ready
			};
			close = () => {
				closed = true;
				child.kill("SIGKILL"); // it may hang, and has nothing to save
				end(fail("SCORER_LOST", { how: "it was closed" }));
			};
			child.on("error", end);
			child.on("close", (code, killer) =>
				end(fail("SCORER_LOST", { how: killer ?? `exit code ${code}` })),
			);
			child.on("message", (message: FromChild) => {
				if (message.type === "failed") end(failure(message));
				if (message.type === "scored") {
					asked.get(message.id)?.resolve(message.answers);
					asked.delete(message.id);
				}
				if (message.type === "ready") resolve(running(message.ready));
			});
		});
		const running = (ready: ScorerReady): RunningScorer => ({
			ready,
			pid: child.pid as number,
			lost,
			score: (pictures) =>
				new Promise((answer, refuse) => {
					if (closed || !child.connected) {
						refuse(fail("SCORER_LOST", { how: "it was closed" }));
						return;
					}
					const id = asks++;
					asked.set(id, { resolve: answer, reject: refuse });
					child.send({ type: "score", id, pictures } satisfies ToChild);
				}),
			close,
		});
		const plugins = loadedPlugins();
		child.send({ type: "serve", job, device, plugins } satisfies ToChild);
	});
}

function failure({
	code,
	message,
	stack,
}: Extract<FromChild, { type: "failed" }>): Error {
	if (code !== null) return new KeepsightError(code as ErrorCode, message);
	const error = new Error(message);
	if (stack !== null) error.stack = stack;
	return error;
}
