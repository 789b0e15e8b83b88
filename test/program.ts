/** The built program, run to its end. */
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";

export const cli = resolve(import.meta.dirname, "../dist/cli.js");

export const keepsight = (...args: string[]) => {
	const { status, stdout, stderr } = spawnSync(
		process.execPath,
		[cli, ...args],
		{ encoding: "utf8" },
	);
	return { status, stdout, stderr };
};

/** The compiler of the sources. */
export const tsc = resolve(import.meta.dirname, "../node_modules/.bin/tsc");

/** Runs a program in a folder; its output, or the error with all it said. */
export function outputIn(
	cwd: string,
	program: string,
	...args: string[]
): string {
	const { status, stdout, stderr, error } = spawnSync(program, args, {
		cwd,
		encoding: "utf8",
		maxBuffer: 1e8,
	});
	if (status !== 0)
		throw (
			error ?? new Error(`${program} ${args.join(" ")}: ${stdout}${stderr}`)
		);
	return stdout;
}
