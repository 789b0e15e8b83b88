/** SIGINT and SIGTERM: the first lets the current step end and the state be saved, the second stops at once. */
import { KeepsightError } from "../errors.ts";

const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;

export class StoppedBySignal extends Error {
	readonly exitCode: number;
	constructor(signal: keyof typeof exitCodes, hint: string) {
		super(`Interrupted by ${signal}. ${hint}`);
		this.exitCode = exitCodes[signal];
	}
}

/** Runs `work` with a signal that aborts at the first SIGINT or SIGTERM. What ends regularly all the same counts as done. */
export async function interruptible<T>(
	hint: string,
	work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
	const controller = new AbortController();
	let received: keyof typeof exitCodes | undefined;
	const stop = (signal: keyof typeof exitCodes) => {
		if (received) process.exit(exitCodes[signal]);
		received = signal;
		process.stderr.write(
			"\nStopping after the current step; press Ctrl-C again to stop at once.\n",
		);
		controller.abort();
	};
	process.on("SIGINT", stop).on("SIGTERM", stop);
	try {
		return await work(controller.signal);
	} catch (error) {
		throw received && !(error instanceof KeepsightError)
			? new StoppedBySignal(received, hint)
			: error;
	} finally {
		process.off("SIGINT", stop).off("SIGTERM", stop);
	}
}
