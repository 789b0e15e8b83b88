/** Runs of the built program that are stopped, and what they leave. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { expect } from "vitest";
import { cli } from "./program.ts";

/** Path -> bytes of everything that must not depend on time: memory/, scores/, metrics. */
function bytesOf(
	run: string,
	parts = ["memory", "scores", "metrics.json", "metrics.csv"],
): Record<string, string> {
	const out: Record<string, string> = {};
	const walk = (path: string) => {
		if (statSync(path).isDirectory())
			for (const name of readdirSync(path).sort()) walk(join(path, name));
		else out[relative(run, path)] = readFileSync(path).toString("base64");
	};
	for (const part of parts)
		if (existsSync(join(run, part))) walk(join(run, part));
	return out;
}

export const expectSameBytes = (a: string, b: string, parts?: string[]) => {
	const [x, y] = [bytesOf(a, parts), bytesOf(b, parts)];
	expect(Object.keys(x).length).toBeGreaterThan(0);
	expect(Object.keys(y)).toEqual(Object.keys(x));
	for (const [path, bytes] of Object.entries(x))
		expect(y[path] === bytes, `${path} differs`).toBe(true);
};

/** Starts a command in the background; its process group is its own. */
export const start = (...args: string[]): ChildProcess =>
	spawn(process.execPath, [cli, ...args], {
		stdio: ["ignore", "ignore", "pipe"],
		detached: true,
	});

export const ended = (child: ChildProcess) =>
	new Promise<number | null>((done) =>
		child.once("exit", (code) => done(code)),
	);

export const wait = (ms: number) => new Promise((done) => setTimeout(done, ms));

export const childrenOf = (pid: number) =>
	readdirSync("/proc").filter((name) => {
		if (!/^\d+$/.test(name)) return false;
		try {
			return (
				readFileSync(`/proc/${name}/stat`, "utf8")
					.replace(/^.*\) /, "")
					.split(" ")[1] === String(pid)
			);
		} catch {
			return false;
		}
	});

/** Whether a process computes still: one that nobody waited for keeps its number. */
export function runs(pid: string): boolean {
	try {
		return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
	} catch {
		return false;
	}
}

/** SIGKILL to a command and the processes it started; how many were there. */
export function killAll({ pid }: ChildProcess): number {
	let killed = 0;
	for (const one of [...childrenOf(pid as number), String(pid)])
		try {
			process.kill(Number(one), "SIGKILL");
			killed++;
		} catch {
			// it had already ended
		}
	return killed;
}
