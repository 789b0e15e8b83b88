/** The built program serving, and what is asked of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { cli } from "../program.ts";

export interface Running {
	readonly url: string;
	readonly process: ChildProcess;
	/** What it wrote to stderr. */
	readonly logged: () => string;
	/** Its exit code. */
	stop(signal?: NodeJS.Signals): Promise<number | null>;
}

export async function serving(
	memDir: string,
	...args: string[]
): Promise<Running> {
	const child = spawn(
		process.execPath,
		[cli, "serve", "--mem_dir", memDir, "--port", "0", ...args],
		{ stdio: ["ignore", "pipe", "pipe"] },
	);
	let text = "";
	child.stderr.on("data", (data) => {
		text += data;
	});
	const ended = once(child, "exit");
	const first = await Promise.race([
		once(createInterface(child.stdout), "line"),
		ended.then(() => {
			throw new Error(`serve ended: ${text}`);
		}),
	]);
	const url = / at (http:\S+)$/.exec(String(first[0]))?.[1];
	if (url === undefined) throw new Error(`unexpected: ${first[0]}`);
	return {
		url,
		process: child,
		logged: () => text,
		async stop(signal = "SIGTERM") {
			child.kill(signal);
			const [code] = await ended;
			return code as number | null;
		},
	};
}
