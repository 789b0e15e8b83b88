/**
 * The built `train` beside an MLflow server: a small one of our own, which may be away, and MLflow itself where KEEPSIGHT_MLFLOW_PYTHON or
 * KEEPSIGHT_PYTHON names a Python that has it.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
	existsSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Line, parseLine, scalarsOf } from "../../src/tracking/lines.ts";
import { drawCategory, size } from "../drawn.ts";
import { cli } from "../program.ts";
import { FakeMlflow } from "./fake-mlflow.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-tracked-"));
const data = join(work, "data");
const config = join(work, "run.yaml");
afterAll(() => rmSync(work, { recursive: true, force: true }));
beforeAll(async () => {
	await drawCategory(join(data, "mvtec/a"), 0, 10, 3);
	await drawCategory(join(data, "mvtec/b"), 1, 10, 3);
	writeFileSync(
		config,
		`name: tiny
data: { root: ${data}, tasks: [mvtec/a, mvtec/b] }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 8 }
trainable: { last: 1 }
pretext: { name: cutpaste }
strategy: { name: finetune }
memory: [{ name: dne }]
train: { epochs: 2, batch_size: 8 }
compare: { seeds: [3] }
out: ${join(work, "out")}
threads: 1
`,
	);
});

/** Not spawnSync: the server is in this process. */
function keepsight(
	command: "train" | "compare",
	sets: Readonly<Record<string, string>>,
	...args: string[]
) {
	const flags = Object.entries(sets).flatMap(([key, value]) => [
		"--set",
		`${key}=${value}`,
	]);
	const child = spawn(process.execPath, [
		cli,
		command,
		"--config",
		config,
		...flags,
		...args,
	]);
	let stderr = "";
	child.stderr.on("data", (text) => {
		stderr += text;
	});
	return new Promise<{ status: number | null; stderr: string }>((done) => {
		child.on("close", (status) => done({ status, stderr }));
	});
}
interface StoredRun {
	readonly info: { readonly run_id: string };
	readonly data: {
		readonly metrics: readonly object[];
		readonly params: readonly object[];
	};
}
interface Answer {
	readonly experiment?: { readonly experiment_id: string };
	readonly runs?: readonly StoredRun[];
	/** Without a step: at 0. */
	readonly metrics?: readonly { readonly step?: number }[];
}

const dirOf = (name: string) => join(work, "out", name, "Anomaly");
const linesOf = (dir: string): Line[] =>
	readFileSync(join(dir, "log.jsonl"), "utf8")
		.trimEnd()
		.split("\n")
		.map((text) => parseLine(text) as Line);
const metricsOf = (dir: string) =>
	linesOf(dir).flatMap((line) => scalarsOf(line)).length;

describe("train and compare", () => {
	it("a server that refuses costs a note, and the same command with --resume sends what waited, though the run is finished", async () => {
		const server = await FakeMlflow.start();
		try {
			const sets = { name: "waiting", "tracking.mlflow": server.url };
			server.mood = () => "login";
			const first = await keepsight("train", sets);
			const dir = dirOf("waiting");
			expect(first.status).toBe(0);
			expect(first.stderr).toMatch(
				/note: MLflow has not been told everything \(it answered 401.*\): 8 lines wait/,
			);
			expect(existsSync(join(dir, "report.html"))).toBe(true);
			expect(server.runs).toEqual([]);
			server.mood = () => null;
			const second = await keepsight("train", sets, "--resume");
			expect(second).toEqual({
				status: 0,
				stderr: expect.not.stringContaining("MLflow"),
			});
			expect(server.runs).toHaveLength(1);
			expect(server.runs[0]?.metrics.size).toBe(metricsOf(dir));
			expect(server.runs[0]?.states.at(-1)).toBe("FINISHED");
		} finally {
			await server.stop();
		}
	});

	it("a cell is a run of the study's experiment", async () => {
		const server = await FakeMlflow.start();
		try {
			const sets = { name: "study", "tracking.mlflow": server.url };
			expect((await keepsight("compare", sets)).status).toBe(0);
			expect(server.experiments).toEqual(["Default", "study"]);
			expect(server.runs).toHaveLength(1);
			expect(server.runs[0]?.name).toMatch(/^finetune-seed3-order1-/);
			expect(server.runs[0]?.states.at(-1)).toBe("FINISHED");
		} finally {
			await server.stop();
		}
	});
});

const python = [
	process.env.KEEPSIGHT_MLFLOW_PYTHON,
	process.env.KEEPSIGHT_PYTHON,
].find(
	(path) =>
		path !== undefined &&
		spawnSync(path, ["-c", "import mlflow.server, sqlalchemy"]).status === 0,
);
describe("MLflow", () => {
	if (python === undefined)
		it.skip("neither KEEPSIGHT_MLFLOW_PYTHON nor KEEPSIGHT_PYTHON names a Python with mlflow", () => {});
	else {
		let server: ChildProcess;
		let url: string;
		beforeAll(async () => {
			const port = await freePort();
			url = `http://127.0.0.1:${port}`;
			server = spawn(
				python,
				[
					"-m",
					"mlflow",
					"server",
					"--backend-store-uri",
					`sqlite:///${join(work, "mlflow.db")}`,
					"--default-artifact-root",
					join(work, "artifacts"),
					"--host",
					"127.0.0.1",
					"--port",
					String(port),
					"--workers",
					"1",
				],
				{
					stdio: "ignore",
					detached: true,
					env: {
						...process.env,
						MLFLOW_SERVER_ENABLE_JOB_EXECUTION: "false",
						MLFLOW_DISABLE_TELEMETRY: "true",
					},
				},
			);
			const until = performance.now() + 90_000;
			const up = () =>
				fetch(`${url}/health`).then(
					(reply) => reply.ok,
					() => false,
				);
			while (!(await up()) && performance.now() < until)
				await new Promise((later) => setTimeout(later, 250));
		}, 100_000);
		afterAll(() => {
			if (server.pid !== undefined) process.kill(-server.pid, "SIGKILL"); // its workers as well
		});

		const ask = async (path: string, body?: object): Promise<Answer> => {
			const reply = await fetch(`${url}/api/2.0/mlflow/${path}`, {
				...(body && {
					method: "POST",
					body: JSON.stringify(body),
					headers: { "content-type": "application/json" },
				}),
			});
			return (await reply.json()) as Answer;
		};

		it("holds the run as log.jsonl tells it: every metric at its step and time, parameters, state; resumed, it is the same run", async () => {
			const sets = {
				name: "real",
				"tracking.mlflow": url,
				"tracking.experiment": "a study/of ours",
			};
			expect(await keepsight("train", sets)).toEqual({
				status: 0,
				stderr: expect.not.stringContaining("MLflow"),
			});
			const { experiment } = await ask(
				`experiments/get-by-name?${new URLSearchParams({ experiment_name: "a study/of ours" })}`,
			);
			const runs = async () =>
				(
					await ask("runs/search", {
						experiment_ids: [experiment?.experiment_id],
					})
				).runs ?? [];
			const [run, ...others] = (await runs()) as [StoredRun, ...StoredRun[]];
			expect(others).toEqual([]);
			expect(run.info).toMatchObject({ run_name: "real", status: "FINISHED" });
			expect(run.data.params).toContainEqual({
				key: "train.epochs",
				value: "2",
			});
			const wanted = new Map<string, object[]>();
			for (const line of linesOf(dirOf("real")))
				for (const [key, value] of scalarsOf(line)) {
					const { step, time } = line as Extract<Line, { type: "row" }>;
					wanted.set(key, [
						...(wanted.get(key) ?? []),
						{ key, value, step, timestamp: Date.parse(time) },
					]);
				}
			expect(wanted.size).toBeGreaterThan(10);
			expect(run.data.metrics).toHaveLength(wanted.size);
			for (const [key, values] of wanted) {
				const { metrics } = await ask(
					`metrics/get-history?${new URLSearchParams({ run_id: run.info.run_id, metric_key: key })}`,
				);
				expect(
					metrics?.map(({ step, ...rest }) => ({
						step: step ?? 0,
						...rest,
					})),
					key,
				).toEqual(values);
			}
			rmSync(join(dirOf("real"), "mlflow.json")); // as if the answer had been lost: found by its tag, told again
			expect((await keepsight("train", sets, "--resume")).stderr).not.toContain(
				"MLflow",
			);
			const [again, ...more] = await runs();
			expect(more).toEqual([]);
			expect(again?.info.run_id).toBe(run.info.run_id);
			const { metrics } = await ask(
				`metrics/get-history?${new URLSearchParams({ run_id: run.info.run_id, metric_key: "train/loss" })}`,
			);
			expect(metrics).toHaveLength(4);
		}, 60_000);
	}
});

const freePort = () =>
	new Promise<number>((found) => {
		const server = createServer().listen(0, "127.0.0.1", () => {
			const { port } = server.address() as AddressInfo;
			server.close(() => found(port));
		});
	});
