/** What a real, small run records: lines that the schema knows to the last field, steps that a resumed run goes on with, and the same numbers in TensorBoard's files. */
import {
	existsSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseConfig, runDir } from "../../src/config.ts";
import { Interrupted } from "../../src/errors.ts";
import type { RunEvent } from "../../src/events.ts";
import {
	type Line,
	type LineOf,
	parseLine,
	scalarsOf,
} from "../../src/tracking/lines.ts";
import { train } from "../../src/train.ts";
import { drawCategory, size } from "../drawn.ts";
import { readEvents } from "./events.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-tracker-"));
const data = join(work, "data");
afterAll(() => rmSync(work, { recursive: true, force: true }));
beforeAll(async () => {
	await drawCategory(join(data, "mvtec/a"), 0, 14, 4);
	await drawCategory(join(data, "mvtec/b"), 1, 12, 4);
});

const configOf = (name: string, sets: readonly string[] = []) =>
	parseConfig(
		`name: ${name}
data: { root: ${data}, tasks: [mvtec/a, mvtec/b] }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 8 }
trainable: { last: 1 }
pretext: { name: cutpaste }
strategy: { name: finetune }
memory: [{ name: dne }]
train: { epochs: 2, batch_size: 8, optimizer: { name: adam, lr: 1.0e-3 } }
out: ${work}
threads: 1
`,
		"tracker.test",
		sets,
	).config;

/** Runs or goes on; `until`: the event after which it is asked to stop. */
async function run(
	name: string,
	{
		sets = [],
		until = () => false,
		mode = "resume",
	}: {
		sets?: readonly string[];
		until?: (event: RunEvent) => boolean;
		mode?: "resume" | "fresh";
	} = {},
): Promise<{ dir: string; error: unknown }> {
	const config = configOf(name, sets);
	const dir = runDir(config);
	const stop = { requested: false };
	const emit = (event: RunEvent) => {
		stop.requested ||= until(event);
	};
	const error = await train(
		{ config, dir, mode, force: false },
		{ emit, stop },
	).then(
		() => null,
		(e: unknown) => e,
	);
	return { dir, error };
}

const textsOf = (dir: string) =>
	readFileSync(join(dir, "log.jsonl"), "utf8").trimEnd().split("\n");
/** Torn ones are passed over. */
const linesOf = (dir: string) =>
	textsOf(dir)
		.map(parseLine)
		.filter((line) => line !== null);
const ofType = <T extends Line["type"]>(dir: string, type: T) =>
	linesOf(dir).filter((line): line is LineOf<T> => line.type === type);
/** Scalars by tag and step as a reader of event files has them in the end. */
function shown(dir: string): Record<string, number> {
	const found = new Map<string, number>();
	const stepOf = (key: string) => Number(key.split(" ")[0]);
	for (const file of readdirSync(join(dir, "tensorboard")).sort())
		for (const { step = 0, status, scalars } of readEvents(
			join(dir, "tensorboard", file),
		)) {
			if (status === 1)
				for (const key of found.keys())
					if (stepOf(key) >= step) found.delete(key);
			for (const [tag, value] of Object.entries(scalars ?? {})) {
				expect(found.has(`${step} ${tag}`), `${step} ${tag} twice`).toBe(false);
				found.set(`${step} ${tag}`, value);
			}
		}
	return Object.fromEntries(
		[...found].filter(([key]) => !key.endsWith("seconds")),
	);
}
/** The same of the log. */
const logged = (dir: string): Record<string, number> =>
	Object.fromEntries(
		linesOf(dir).flatMap((line) =>
			scalarsOf(line)
				.filter(([tag]) => !tag.endsWith("seconds"))
				.map(([tag, value]) => [
					`${(line as LineOf<"row">).step} ${tag}`,
					Math.fround(value),
				]),
		),
	);

describe("a run", () => {
	let dir: string;
	beforeAll(async () => {
		({ dir } = await run("whole"));
	});

	it("logs start, epochs, rows and end, every field in the schema", () => {
		for (const text of textsOf(dir))
			expect(parseLine(text)).toEqual(JSON.parse(text));
		expect(
			linesOf(dir).map((line) => [
				line.type,
				"step" in line ? line.step : null,
			]),
		).toEqual([
			["start", null],
			// 14 images, a fifth held out, 4 a step
			["epoch", 3],
			["epoch", 6],
			["row", 7],
			["epoch", 10],
			["epoch", 13],
			["row", 14],
			["end", null],
		]);
		const [start] = ofType(dir, "start");
		expect(start).toMatchObject({
			resumed: false,
			name: "whole",
			order: ["mvtec/a", "mvtec/b"],
			seed: 42,
		});
		expect(Object.keys(start?.versions ?? {})).toEqual([
			"keepsight",
			"node",
			"onnxruntime",
		]);
		expect(ofType(dir, "end")[0]).toMatchObject({
			state: "finished",
			message: null,
		});
	});

	it("the last row has the numbers of metrics.json", () => {
		const metrics = JSON.parse(readFileSync(join(dir, "metrics.json"), "utf8"));
		const row = ofType(dir, "row").at(-1) as LineOf<"row">;
		expect(Object.keys(row.metrics).sort()).toEqual(
			Object.keys(metrics.matrices).sort(),
		);
		for (const [name, { average, forgetting, tasks }] of Object.entries(
			row.metrics,
		)) {
			expect(average).toBe(metrics.summary[name].average);
			expect(forgetting).toBe(metrics.summary[name].forgetting);
			expect(Object.values(tasks)).toEqual(metrics.matrices[name].at(-1));
		}
		expect(row.metrics.imageAuroc?.average).toEqual(expect.any(Number));
		expect(row.routing).toBe(metrics.routing.accuracy);
	});

	it("TensorBoard's file says the same", () => {
		expect(readdirSync(join(dir, "tensorboard"))).toHaveLength(1);
		expect(shown(dir)).toEqual(logged(dir));
		expect(shown(dir)["14 eval/image_auroc/mvtec/b"]).toEqual(
			expect.any(Number),
		);
	});

	it("resumed when it is finished, it logs start and end alone, under its own id, whoever is told of it", async () => {
		const before = ofType(dir, "start")[0] as LineOf<"start">;
		const { error } = await run("whole", {
			sets: ["tracking.mlflow=http://127.0.0.1:1/"],
		});
		expect(error).toBeNull();
		const [, again] = ofType(dir, "start");
		expect(again).toEqual({ ...before, time: again?.time, resumed: true });
		expect(
			linesOf(dir)
				.slice(-3)
				.map(({ type }) => type),
		).toEqual(["end", "start", "end"]);
		expect(readdirSync(join(dir, "tensorboard"))).toHaveLength(1);
	});

	it("--fresh removes what was recorded, and is another run", async () => {
		const [before] = ofType(dir, "start");
		writeFileSync(join(dir, "mlflow.json"), "{}");
		const { error } = await run("whole", {
			mode: "fresh",
			until: (e) => e.type === "opened",
		});
		expect(error).toBeInstanceOf(Interrupted);
		const [start, ...rest] = ofType(dir, "start");
		expect(rest).toEqual([]);
		expect(start?.run).not.toBe(before?.run);
		expect(existsSync(join(dir, "mlflow.json"))).toBe(false);
		expect(existsSync(join(dir, "tensorboard"))).toBe(false);
	});
});

it("stopped twice and torn by a kill, it goes on with its steps: the numbers are those of a run that nothing stopped", async () => {
	const second = (e: RunEvent) => e.type === "epoch" && e.task === "mvtec/b";
	const { dir, error } = await run("stopped", {
		until: (e) => e.type === "epoch",
	});
	expect(error).toBeInstanceOf(Interrupted);
	expect(ofType(dir, "end")[0]?.state).toBe("interrupted");
	await run("stopped", { until: second });
	const log = join(dir, "log.jsonl");
	const torn = textsOf(dir);
	// the state is that of after the epoch; its line and the end are lost, as a power cut may lose them
	writeFileSync(
		log,
		`${torn.slice(0, -2).join("\n")}\n${torn.at(-2)?.slice(0, 40)}`,
	);
	await run("stopped");
	expect(existsSync(join(dir, "checkpoint/manifest.json"))).toBe(false);
	const { dir: whole } = await run("unstopped");
	const lost = (numbers: Record<string, number>) =>
		Object.fromEntries(
			Object.entries(numbers).filter(([key]) => !key.startsWith("10 ")),
		);
	expect(lost(logged(dir))).toEqual(lost(logged(whole)));
	expect(shown(dir)).toEqual(shown(whole));
	expect(new Set(ofType(dir, "start").map((line) => line.run)).size).toBe(1);
});

it("a run in which nothing trains counts its evaluations", async () => {
	const { dir } = await run("frozen", { sets: ["trainable=none"] });
	expect(ofType(dir, "row").map(({ step }) => step)).toEqual([1, 2]);
});

it("event files that cannot be written end nothing: it is said once, and the results are the same", async () => {
	const told: string[] = [];
	const name = "blocked";
	const dir = runDir(configOf(name));
	const { error } = await run(name, {
		until: (event) => {
			if (event.type === "opened")
				writeFileSync(join(dir, "tensorboard"), "a file");
			if (event.type === "notice") told.push(event.text);
			return false;
		},
	});
	expect(error).toBeNull();
	expect(told).toEqual([expect.stringContaining("no more files for TensorB")]);
	expect(ofType(dir, "notice")).toMatchObject([{ text: told[0] }]);
	expect(readFileSync(join(dir, "tensorboard"), "utf8")).toBe("a file");
	const { dir: whole } = await run("unblocked");
	expect(logged(dir)).toEqual(logged(whole));
	expect(readFileSync(join(dir, "metrics.csv"))).toEqual(
		readFileSync(join(whole, "metrics.csv")),
	);
});

it("a failure is logged with its words; a log that cannot be written does not hide them", async () => {
	const name = "failing";
	const { error, dir } = await run(name, {
		until: (e) => {
			if (e.type === "epoch") throw new Error("a bug");
			return false;
		},
	});
	expect((error as Error).message).toBe("a bug");
	expect(ofType(dir, "end")).toMatchObject([
		{ state: "failed", message: "a bug" },
	]);
	const again = await run(name, {
		until: (e) => {
			if (e.type !== "epoch") return false;
			rmSync(join(dir, ".lock")); // someone took the folder over
			throw new Error("another bug");
		},
	});
	expect((again.error as Error).message).toBe("another bug");
	expect(ofType(dir, "end")).toHaveLength(1);
});
