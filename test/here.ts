/**
 * The commands in this process: parsed, done and printed by the code that the program runs, without the two processes it would start, which
 * cost more than the small work of a test. What is about processes (signals, kills, exit codes of the program itself) takes program.ts.
 */
import { Readable } from "node:stream";
import { vi } from "vitest";
import type { Job, JobResult } from "../src/job.ts";
import type { LaunchOptions } from "../src/launch.ts";

async function launchHere(
	job: Job,
	{ onEvent, signal }: LaunchOptions = {},
): Promise<JobResult> {
	const { perform } = await import("../src/job.ts");
	const stop = { requested: signal?.aborted ?? false };
	signal?.addEventListener("abort", () => {
		stop.requested = true;
	});
	const emit = onEvent ?? (() => {});
	const result = await perform(
		structuredClone(job),
		{ emit: (event) => emit(structuredClone(event)), stop },
		() => Readable.from([]),
	);
	return structuredClone(result);
}
vi.doMock("../src/launch.ts", async (original) => ({
	...(await original<typeof import("../src/launch.ts")>()),
	launch: launchHere,
}));

interface Ended {
	readonly status: number;
	readonly stdout: string;
	readonly stderr: string;
}
let turn: Promise<unknown> = Promise.resolve();

/** They wait for each other: there is one console. */
export function keepsight(...args: string[]): Promise<Ended> {
	const mine = turn.then(() => command(args));
	turn = mine.catch(() => undefined);
	return mine;
}

async function command(args: readonly string[]): Promise<Ended> {
	const { main } = await import("../src/commands/main.ts");
	const [out, err]: [string[], string[]] = [[], []];
	const line = (to: string[]) => (text: unknown) => {
		to.push(`${String(text)}\n`);
	};
	const written = (to: string[]) => (text: unknown) => {
		to.push(String(text));
		return true;
	};
	const spies = [
		vi.spyOn(console, "log").mockImplementation(line(out)),
		vi.spyOn(console, "error").mockImplementation(line(err)),
		vi.spyOn(process.stdout, "write").mockImplementation(written(out)),
		vi.spyOn(process.stderr, "write").mockImplementation(written(err)),
	];
	try {
		const status = (await main(args)) ?? Number(process.exitCode ?? 0);
		return { status, stdout: out.join(""), stderr: err.join("") };
	} finally {
		process.exitCode = undefined;
		for (const spy of spies) spy.mockRestore();
	}
}
