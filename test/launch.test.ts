/** Jobs in a process of their own: what their end becomes. Runs the built program, as child processes do. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";

const built = pathToFileURL(
	resolve(import.meta.dirname, "../dist/launch.js"),
).href;
const { childEnvironment, launch } = (await import(
	built
)) as typeof import("../src/launch.ts");

const work = mkdtempSync(join(tmpdir(), "keepsight-launch-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const evaluate = (memDir: string, signal?: AbortSignal) =>
	launch(
		{ kind: "evaluate", memDir, oracleTask: false, trivial: false },
		signal ? { signal } : {},
	);

describe("a job that fails", () => {
	it("by the user's mistake: the child's error with its code and wording", async () => {
		const dir = join(work, "nowhere");
		await expect(evaluate(dir)).rejects.toMatchObject({
			name: "KeepsightError",
			code: "RUN_MISSING",
			message: expect.stringContaining(dir),
		});
	});
	it("by ours: the child's stack", async () => {
		const job = { kind: "evaluate", memDir: null } as never;
		await expect(launch(job)).rejects.toMatchObject({
			name: "Error",
			stack: expect.stringContaining("dist"),
		});
	});
	it("by a message longer than a pipe holds, to a parent that is busy", async () => {
		const dir = join(work, "long");
		mkdirSync(dir);
		const version = "9".repeat(3_000_000);
		writeFileSync(join(dir, "run.json"), JSON.stringify({ format: version }));
		const failed = evaluate(dir).then(
			() => null,
			(error: Error) => error,
		);
		const until = performance.now() + 3000;
		while (performance.now() < until); // the child has written and wants to leave
		expect((await failed)?.message).toContain(version);
	});
});

describe("the child's environment", () => {
	afterEach(() => vi.unstubAllEnvs());
	it("keeps freed memory in the process, unless the caller has said otherwise", () => {
		vi.stubEnv("MALLOC_TOP_PAD_", "1");
		vi.stubEnv("MALLOC_TRIM_THRESHOLD_", undefined);
		const environment = childEnvironment();
		expect(environment.MALLOC_TOP_PAD_).toBe("1");
		expect(Number(environment.MALLOC_TRIM_THRESHOLD_)).toBeGreaterThan(2 ** 32);
		expect(environment.PATH).toBe(process.env.PATH);
	});
});
