/** Which runs of a command MLflow is told of, and what is said of those that it could not be told. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, it } from "vitest";
import { createTracking } from "../../src/commands/tracking.ts";
import { parseConfig, type RunConfig, runDir } from "../../src/config.ts";
import { FakeMlflow } from "../tracking/fake-mlflow.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-tracking-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
let server: FakeMlflow;
beforeEach(async () => {
	server = await FakeMlflow.start();
});
afterEach(() => server.stop());

/** A run that has finished. */
function finished(name: string, mlflow: string | null): RunConfig {
	const config = parseConfig(
		`name: ${name}
data: { tasks: [mvtec/a] }
pretext: { name: cutpaste }
strategy: { name: finetune }
memory: [{ name: dne }]
tracking: { mlflow: ${mlflow}, experiment: study }
out: ${work}
`,
		"tracking.test",
	).config;
	const time = "2026-03-01T10:00:00.000Z";
	const start = {
		type: "start",
		time,
		run: crypto.randomUUID(),
		resumed: false,
		name,
		order: ["mvtec/a"],
		seed: 42,
		config: "",
		versions: {},
	};
	const end = { type: "end", time, state: "finished", message: null };
	mkdirSync(runDir(config), { recursive: true });
	writeFileSync(
		join(runDir(config), "log.jsonl"),
		`${JSON.stringify(start)}\n${JSON.stringify(end)}\n`,
	);
	return config;
}

it("those that were opened and those named at the end; the rest are someone else's, or not to be told", async () => {
	const notices: string[] = [];
	const tracking = createTracking((text) => notices.push(text));
	const [opened, named, foreign] = ["opened", "named", "foreign"].map((name) =>
		finished(name, server.url),
	) as [RunConfig, RunConfig, RunConfig];
	const silent = finished("silent", null);
	tracking.onEvent({ type: "opened", dir: runDir(opened) }, opened);
	tracking.onEvent({ type: "opened", dir: runDir(silent) }, silent);
	tracking.onEvent({ type: "notice", text: "LOCKED, perhaps" }, foreign);
	await tracking.close([opened, named]);
	expect(server.runs.map(({ name }) => name).sort()).toEqual([
		"named",
		"opened",
	]);
	expect(notices).toEqual([]);
	const asked = server.asked.length;
	await createTracking(() => undefined).close([opened, named]);
	expect(server.asked.length).toBe(asked); // all is told
});

it("one note for all that wait", async () => {
	const notices: string[] = [];
	const tracking = createTracking((text) => notices.push(text));
	server.mood = () => "html";
	await tracking.close([
		finished("first", server.url),
		finished("second", server.url),
	]);
	expect(notices).toEqual([
		expect.stringMatching(
			/does not answer as MLflow does\): 4 lines wait in log\.jsonl of 2 runs, such as .*first/,
		),
	]);
});

it("a slow server has one span of time for all runs; the rest waits in the logs", async () => {
	const notices: string[] = [];
	server.delayMs = 50;
	const configs = ["a", "b", "c", "d", "e"].map((name) =>
		finished(name, server.url),
	);
	await createTracking((text) => notices.push(text), 700).close(configs);
	const told = server.runs.length;
	expect(told).toBeGreaterThan(0);
	expect(told).toBeLessThan(5);
	expect(notices).toEqual([
		expect.stringMatching(/lines wait in log\.jsonl of/),
	]);
	server.delayMs = 0;
	await createTracking((text) => notices.push(text)).close(configs);
	expect(server.runs.map(({ name }) => name).sort()).toEqual([
		"a",
		"b",
		"c",
		"d",
		"e",
	]);
	expect(notices).toHaveLength(1);
});
