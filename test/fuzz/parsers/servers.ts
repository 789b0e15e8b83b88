/** What a server keeps beside a memory, and what an MLflow server answers. HTTP requests: test/server/fuzz.test.ts. */
import { strict as assert } from "node:assert";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serverFolder } from "../../../src/run.ts";
import { check, historyReply, feedback } from "../../../src/server/api.ts";
import { Held } from "../../../src/server/held.ts";
import { History } from "../../../src/server/history.ts";
import { Shipper } from "../../../src/tracking/mlflow.ts";
import type { Parser } from "../harness.ts";
import { bytes as anyBytes, json } from "../mutate.ts";
import { text, utf8 } from "../values.ts";

const run = "0b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8";
const limits = { days: 90, bytes: 1e9, images: true };
const log = [
	{
		type: "start",
		time: "2026-11-24T10:00:00.000Z",
		run,
		resumed: false,
		name: "tiny",
		order: ["mvtec/a"],
		seed: 42,
		config: "0123456789abcdef",
		versions: { keepsight: "0.1.0" },
	},
	{
		type: "epoch",
		time: "2026-11-24T10:00:01.000Z",
		task: "mvtec/a",
		taskIndex: 0,
		epoch: 1,
		epochs: 9,
		step: 1,
		loss: 0.5,
		accuracy: 0.9,
		seconds: 1,
		diagnostics: {},
	},
]
	.map((line) => `${JSON.stringify(line)}\n`)
	.join("");

/** What MLflow says, by the path below its API. */
const answers = {
	"experiments/get-by-name": { experiment: { experiment_id: "1" } },
	"experiments/create": { experiment_id: "1" },
	"runs/search": { runs: [] },
	"runs/create": { run: { info: { run_id: "r" } } },
	"runs/log-batch": {},
	"runs/update": {},
};
/** Of another kind: a server that knows the run, and one that refuses. */
const known = {
	...answers,
	"runs/search": { runs: [{ info: { run_id: "r" } }] },
};
const refusing = {
	...answers,
	"experiments/get-by-name": {
		error_code: "RESOURCE_DOES_NOT_EXIST",
		message: "no\nsuch",
	},
};

/** Tells a server that answers so; null where all was told, else why not. Never an error: a run must not end by its tracker. */
async function told(dir: string, bytes: Uint8Array): Promise<void> {
	const real = globalThis.fetch;
	let said: Record<string, unknown> | null = null;
	try {
		said = JSON.parse(text(bytes)) as Record<string, unknown> | null;
	} catch {
		// answered as it is
	}
	globalThis.fetch = (input) => {
		const url = new URL(input instanceof Request ? input.url : String(input));
		const answer = said?.[url.pathname.replace("/api/2.0/mlflow/", "")];
		const refused =
			typeof answer === "object" && answer !== null && "error_code" in answer;
		return Promise.resolve(
			new Response(
				said === null ? Buffer.from(bytes) : (JSON.stringify(answer) ?? ""),
				{ status: refused ? 404 : 200 },
			),
		);
	};
	try {
		const shipper = new Shipper({
			url: "http://tracker.test",
			experiment: "keepsight",
			name: "tiny",
			params: { seed: "1" },
			dir,
			env: {},
			timing: { everyMs: 0, backoffMs: 1, longestMs: 1, timeoutMs: 100 },
		});
		const unsent = await shipper.close(50);
		if (unsent) assert(unsent.problem !== "" && unsent.lines >= 0);
	} finally {
		globalThis.fetch = real;
	}
}

export const servers: readonly Parser[] = [
	{
		name: "mlflow-answers",
		covers: ["tracking/mlflow.ts"],
		mutate: json,
		cases: 60,
		open(dir) {
			writeFileSync(join(dir, "log.jsonl"), log);
			return {
				seeds: [answers, known, refusing].map((one) =>
					utf8(JSON.stringify(one)),
				),
				async read(bytes) {
					rmSync(join(dir, "mlflow.json"), { force: true });
					await told(dir, bytes);
				},
			};
		},
	},
	{
		name: "mlflow-state",
		covers: ["tracking/mlflow.ts"],
		mutate: json,
		cases: 60,
		open(dir) {
			writeFileSync(join(dir, "log.jsonl"), log);
			return {
				seeds: [
					utf8(
						JSON.stringify({
							format: 1,
							url: "http://tracker.test",
							run,
							id: "r",
							offset: 0,
						}),
					),
				],
				async read(bytes) {
					writeFileSync(join(dir, "mlflow.json"), bytes);
					await told(dir, utf8(JSON.stringify(known)));
				},
			};
		},
	},
	{
		name: "held",
		covers: ["server/held.ts"],
		mutate: json,
		open(dir) {
			mkdirSync(serverFolder(dir));
			return {
				seeds: [3, null].map((version) =>
					utf8(JSON.stringify({ format: 1, version })),
				),
				read(bytes) {
					const held = new Held(dir);
					writeFileSync(held.path, bytes);
					const { version } = held;
					assert(
						version === null || (Number.isSafeInteger(version) && version > 0),
					);
				},
			};
		},
	},
	{
		name: "history",
		covers: ["server/history.ts"],
		mutate: anyBytes,
		cases: 60,
		open(dir) {
			const made = join(dir, "made");
			const history = new History(made, limits);
			for (const verdict of ["good", "defect", "unusable"] as const)
				history.add(
					{
						name: "a.png",
						task: "mvtec/a",
						verdict,
						score: verdict === "unusable" ? null : 1.5,
						threshold: 2,
						memoryVersion: 1,
						latencyMs: 3,
						reason: null,
					},
					Buffer.from("a picture"),
					1_790_000_000_000,
				);
			const row = history.get(1);
			assert(row);
			history.addFeedback(
				row,
				{ label: "bad", comment: "scratch", task: "mvtec/a", image: null },
				1_790_000_000_001,
			);
			history.setCheck(2, {
				from: 1,
				images: 1,
				changed: [
					{
						prediction: 1,
						task: "mvtec/a",
						label: "bad",
						before: { verdict: "good", score: 1.5 },
						after: { verdict: "defect", score: 2.5 },
					},
				],
			});
			history.prune(1_790_000_000_002);
			history.close();
			const valid = readFileSync(join(made, "history.sqlite"));
			return {
				seeds: [valid],
				read(bytes) {
					const own = join(dir, "own");
					rmSync(own, { recursive: true, force: true });
					mkdirSync(own);
					writeFileSync(join(own, "history.sqlite"), bytes);
					const found = new History(own, limits);
					try {
						const rows = found.list({ limit: 50 });
						assert(historyReply.safeParse({ predictions: rows }).success);
						for (const { id } of rows) found.image(id);
						for (const one of found.feedback())
							assert(feedback.safeParse(one).success);
						for (const id of found.keptImages(10)) found.keptImage(id);
						const stored = found.check(2);
						assert(stored === null || check.safeParse(stored).success);
						found.prune(1_790_000_000_003);
					} finally {
						found.close();
					}
				},
			};
		},
	},
];
