/** What reaches an MLflow server and what waits: against a small one of our own, which can be away, slow, broken, or lose its answers. */
import {
	appendFileSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseConfig } from "../../src/config.ts";
import {
	metricName,
	paramsOf,
	Shipper,
	type ShipperOptions,
	shipperOf,
} from "../../src/tracking/mlflow.ts";
import { FakeMlflow, type FakeRun, type Mood } from "./fake-mlflow.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-mlflow-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

let server: FakeMlflow;
let dir: string;
let folders = 0;
beforeEach(async () => {
	server = await FakeMlflow.start();
	dir = join(work, String(folders++));
	mkdirSync(dir);
});
afterEach(() => server.stop());

const id = "0b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8";
const other = "1b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8";
const at = (second: number) =>
	new Date(1_790_000_000_000 + 1000 * second).toISOString();
const start = (run = id, resumed = false) => ({
	type: "start",
	time: at(0),
	run,
	resumed,
	name: "tiny",
	order: ["mvtec/a"],
	seed: 42,
	config: "0123456789abcdef",
	versions: { keepsight: "0.1.0", node: "20.0.0", onnxruntime: "1.30.0" },
});
const epoch = (step: number, loss = 1 / step) => ({
	type: "epoch",
	time: at(step),
	task: "mvtec/a",
	taskIndex: 0,
	epoch: step,
	epochs: 9,
	step,
	loss,
	accuracy: 0.5,
	seconds: 0.25,
	diagnostics: {},
});
const row = {
	type: "row",
	time: at(90),
	task: "mvtec/a",
	taskIndex: 0,
	step: 10,
	metrics: {
		imageAuroc: { average: 0.75, forgetting: null, tasks: { "mvtec/a": 0.75 } },
	},
	routing: 1,
	falseAlarms: null,
};
const end = (state = "finished") => ({
	type: "end",
	time: at(99),
	state,
	message: null,
});
const log = (...lines: object[]) =>
	appendFileSync(
		join(dir, "log.jsonl"),
		lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
	);
/** What mlflow.json says. */
const state = () => JSON.parse(readFileSync(join(dir, "mlflow.json"), "utf8"));

const shipper = (options: Partial<ShipperOptions> = {}) =>
	new Shipper({
		url: server.url,
		experiment: "study",
		name: "tiny",
		params: { seed: "42", "train.epochs": "9" },
		dir,
		env: {},
		timing: { everyMs: 0, backoffMs: 10, longestMs: 20, timeoutMs: 200 },
		...options,
	});
const send = (options: Partial<ShipperOptions> = {}, patience = 2000) =>
	shipper(options).close(patience);
/** Losses by step, of a run there. */
const losses = ({ metrics }: FakeRun) =>
	[...metrics.values()]
		.filter(({ key }) => key === "train/loss")
		.map(({ step, value }) => [step, value]);
const only = (): FakeRun => {
	expect(server.runs).toHaveLength(1);
	return server.runs[0] as FakeRun;
};

describe("a run", () => {
	it("arrives whole: parameters, tags, metrics with step and time, state", async () => {
		log(start(), epoch(1), epoch(2), row, end());
		expect(await send()).toBeNull();
		const run = only();
		expect(server.experiments).toEqual(["Default", "study"]);
		expect(run).toMatchObject({
			name: "tiny",
			experiment: "1",
			params: { seed: "42", "train.epochs": "9" },
			tags: {
				"keepsight.run": id,
				"version.keepsight": "0.1.0",
				"keepsight.order": '["mvtec/a"]',
			},
		});
		expect(losses(run)).toEqual([
			[1, 1],
			[2, 0.5],
		]);
		expect([...run.metrics.values()]).toContainEqual({
			key: "eval/image_auroc/mvtec/a",
			value: 0.75,
			timestamp: Date.parse(at(90)),
			step: 10,
		});
		expect(run.states.at(-1)).toBe("FINISHED");
		expect(state().offset).toBe(readFileSync(join(dir, "log.jsonl")).length);
	});

	it("is told as it goes, and only what is new", async () => {
		log(start(), epoch(1));
		const ship = shipper();
		const told = async (steps: number) => {
			await expect
				.poll(() => {
					ship.poke();
					return server.runs[0] ? losses(server.runs[0]).length : 0;
				})
				.toBe(steps);
		};
		await told(1);
		log(epoch(2));
		await told(2);
		const before = server.asked.length;
		await expect
			.poll(() => state().offset)
			.toBe(readFileSync(join(dir, "log.jsonl")).length);
		for (let i = 0; i < 5; i++) {
			ship.poke();
			await new Promise((later) => setTimeout(later, 10));
		}
		expect(server.asked.length).toBe(before); // nothing is new
		log(epoch(3), end("interrupted"));
		expect(await ship.close(2000)).toBeNull();
		expect(losses(only()).length).toBe(3);
		expect(only().states.at(-1)).toBe("KILLED");
	});

	it("a resumed one goes on as the same run there", async () => {
		log(start(), epoch(1), end("failed"));
		await send();
		expect(only().states.at(-1)).toBe("FAILED");
		log(start(id, true), epoch(2), end());
		await send();
		expect(losses(only()).length).toBe(2);
		expect(only().states).toEqual([
			"RUNNING",
			"RUNNING",
			"FAILED",
			"RUNNING",
			"FINISHED",
		]);
	});

	it("one whose process was killed has failed", async () => {
		log(start(), epoch(1));
		await send();
		expect(only().states.at(-1)).toBe("FAILED");
	});

	it("begun anew is another run, though mlflow.json is of the one before", async () => {
		log(start(), epoch(1), epoch(2), end());
		await send();
		writeFileSync(join(dir, "log.jsonl"), "");
		log(start(other), epoch(1, 7), end());
		await send();
		expect(server.runs.map(losses)).toEqual([
			[
				[1, 1],
				[2, 0.5],
			],
			[[1, 7]],
		]);
	});

	it("whose log is torn: the whole lines are told, the last not before it is complete", async () => {
		log(start(), epoch(1));
		appendFileSync(join(dir, "log.jsonl"), '{"type":"epoch","time\n');
		log(epoch(2));
		appendFileSync(join(dir, "log.jsonl"), JSON.stringify(epoch(3)));
		await send();
		expect(losses(only()).map(([step]) => step)).toEqual([1, 2]);
		appendFileSync(join(dir, "log.jsonl"), "\n");
		await send();
		expect(losses(only()).map(([step]) => step)).toEqual([1, 2, 3]);
	});

	it("with more metrics than a request may hold", async () => {
		log(start(), ...Array.from({ length: 600 }, (_, i) => epoch(i + 1)));
		expect(await send({}, 10_000)).toBeNull();
		expect(only().metrics.size).toBe(600 * 4);
	});

	it("without a log, or with one that no run began, nothing is asked", async () => {
		expect(await send()).toBeNull();
		log({
			type: "memory",
			time: at(1),
			version: 1,
			change: "learn a",
			seconds: 1,
		});
		expect(await send()).toBeNull();
		expect(server.asked).toEqual([]);
		expect(existsSync(join(dir, "mlflow.json"))).toBe(false);
	});
});

describe("a server", () => {
	beforeEach(() => log(start(), epoch(1), epoch(2), row, end()));
	const arrived = () => {
		expect(losses(only())).toEqual([
			[1, 1],
			[2, 0.5],
		]);
		expect(only().params).toEqual({ seed: "42", "train.epochs": "9" });
		expect(only().metrics.size).toBe(11);
		expect(only().states.at(-1)).toBe("FINISHED");
	};
	/** Every path once in this mood. */
	const once = (mood: NonNullable<ReturnType<Mood>>): Mood => {
		const seen = new Set<string>();
		return (path) => {
			if (seen.has(path)) return null;
			seen.add(path);
			return mood;
		};
	};

	it.each(["500", "silent", "lost"] as const)(
		"that answers every call once with %s gets it all, and nothing twice",
		async (mood) => {
			server.mood = once(mood);
			expect(await send({}, 10_000)).toBeNull();
			arrived();
		},
	);

	it("that loses the answer to any one call, be it the last of that process, gets it all by the next one", async () => {
		const calls = 7; // experiment by name, made, search, create, parameters, metrics, state
		for (let n = 0; n < calls; n++) {
			await server.stop();
			server = await FakeMlflow.start();
			rmSync(join(dir, "mlflow.json"), { force: true });
			server.mood = () => {
				const after = server.asked.length - 1 - n;
				return after < 0 ? null : after === 0 ? "lost" : "500";
			};
			expect((await send({}, 60))?.lines).toBeGreaterThan(0);
			server.mood = () => null;
			expect(await send()).toBeNull();
			arrived();
		}
	});

	it("that is away: the lines wait and say why, and are sent when it is there", async () => {
		const { port } = server;
		await server.stop();
		const began = performance.now();
		const unsent = await send({ url: `http://127.0.0.1:${port}` }, 200);
		expect(performance.now() - began).toBeLessThan(10_000);
		expect(unsent?.lines).toBe(5);
		expect(unsent?.problem).toContain("ECONNREFUSED");
		server = await FakeMlflow.start(port);
		expect(await send()).toBeNull();
		arrived();
	});

	it("that never answers does not hold anyone: the end is bounded, a look returns at once", async () => {
		server.mood = () => "silent";
		const ship = shipper({ timing: { timeoutMs: 60_000 } });
		const began = performance.now();
		ship.poke();
		expect(performance.now() - began).toBeLessThan(1000); // of the minute that one answer may take
		expect(await ship.close(200)).toEqual({
			lines: 5,
			problem: "no answer came in time",
		});
		expect(performance.now() - began).toBeLessThan(10_000);
	});

	it.each([
		["redirect", /answered 307, a redirect, which is not followed/],
		["html", /does not answer as MLflow does/],
		["login", /answered 401.*MLFLOW_TRACKING_TOKEN/],
	] as const)("whose answer is %s is asked once", async (mood, problem) => {
		server.mood = () => mood;
		const unsent = await send();
		expect(unsent?.lines).toBe(5);
		expect(unsent?.problem).toMatch(problem);
		expect(server.asked).toHaveLength(1);
	});

	it("where the run was deleted refuses the rest, in its own words", async () => {
		await send();
		server.runs.length = 0;
		log(start(id, true), epoch(3), end());
		expect(await send()).toEqual({
			lines: 3,
			problem:
				"it answered 404 RESOURCE_DOES_NOT_EXIST no: RESOURCE_DOES_NOT_EXIST",
		});
		rmSync(join(dir, "mlflow.json"));
		expect(await send()).toBeNull();
		expect(losses(only()).length).toBe(3);
	});

	it("other than the one before is told all, whatever mlflow.json holds", async () => {
		await send();
		await server.stop();
		server = await FakeMlflow.start(); // another port
		expect(await send()).toBeNull();
		arrived();
		for (const odd of ["{}", "not JSON", '{"format":1,"url":1}', "[]"]) {
			writeFileSync(join(dir, "mlflow.json"), odd);
			expect(await send()).toBeNull(); // found again by its tag
			arrived();
		}
	});

	it("gets credentials as MLflow's own client sends them", async () => {
		const user = {
			MLFLOW_TRACKING_USERNAME: "anna",
			MLFLOW_TRACKING_PASSWORD: "pass:wörd",
		};
		const sent = async (env: NodeJS.ProcessEnv) => {
			rmSync(join(dir, "mlflow.json"), { force: true });
			await send({ env });
			return server.asked.at(-1)?.authorization;
		};
		expect(await sent({})).toBeUndefined();
		expect(await sent({ MLFLOW_TRACKING_TOKEN: "abc" })).toBe("Bearer abc");
		expect(await sent({ ...user, MLFLOW_TRACKING_TOKEN: "abc" })).toBe(
			`Basic ${Buffer.from("anna:pass:wörd").toString("base64")}`,
		);
		const asked = server.asked.length;
		const unsent = await send({ env: { MLFLOW_TRACKING_TOKEN: "se\ncret" } });
		expect(unsent?.problem).toContain("MLFLOW_TRACKING_TOKEN cannot be used");
		expect(JSON.stringify(unsent)).not.toContain("cret");
		expect(server.asked.length).toBe(asked);
	});
});

describe("names and parameters", () => {
	it.each([
		["eval/image_auroc/mvtec/a", "eval/image_auroc/mvtec/a"],
		["a b.c-d:e_f", "a b.c-d:e_f"],
	])("%s stays", (tag, name) => {
		expect(metricName(tag)).toBe(name);
	});
	it.each([
		"eval/x/mvtec/ä",
		"eval/x/mvtec/ö",
		"a//b",
		"../a",
		"a/./b",
		"a+b",
		"x".repeat(300),
		`${"x".repeat(300)}y`,
	])("%s becomes what MLflow takes, and no other tag's", (tag) => {
		const name = metricName(tag);
		expect(name).toMatch(/^[\w\-. :/]{1,250}$/);
		expect(name.split("/").some((part) => ["", ".", ".."].includes(part))).toBe(
			false,
		);
		expect(name).toMatch(/\.[0-9a-f]{8}$/);
		expect(metricName(`${tag}!`)).not.toBe(name);
	});
	it("a configuration is flat, lists are JSON, long values are cut", () => {
		const params = paramsOf({
			data: { limit: null, tasks: ["a", ["b", "c"]] },
			orders: {},
			falseAlarms: 0.01,
			none: undefined,
			long: "x".repeat(600),
		});
		expect(params).toEqual({
			"data.limit": "null",
			"data.tasks": '["a",["b","c"]]',
			orders: "{}",
			false_alarms: "0.01",
			long: `${"x".repeat(499)}…`,
		});
	});
	const config = (...sets: string[]) =>
		parseConfig(
			"name: tiny\ndata: { tasks: [mvtec/a] }\npretext: { name: cutpaste }\nstrategy: { name: finetune }\nmemory: [{ name: dne }]\n",
			"t.yaml",
			sets,
		).config;
	it("a configuration without a server has no shipper; the experiment is the run's name by default", async () => {
		expect(shipperOf(config(), dir)).toBeNull();
		log(start(), end());
		expect(
			await shipperOf(config(`tracking.mlflow=${server.url}/`), dir)?.close(
				2000,
			),
		).toBeNull();
		expect(server.experiments).toEqual(["Default", "tiny"]);
		const { params } = only();
		expect(params["train.optimizer.lr"]).toBe("0.0001");
		expect(
			Object.keys(params).filter((key) => key.startsWith("tracking")),
		).toEqual([]);
	});
});
