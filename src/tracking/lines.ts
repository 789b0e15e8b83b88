/**
 * What log.jsonl says of a run, one JSON object a line: what trackers show, and the queue of what they have not been told yet.
 *
 * `step` counts over the whole run, so that a resumed one goes on with it: one for each training step, one for each evaluation (a row).
 * A run that was killed logs again what it does again, with the same step: of equal (type, task, step) the last line counts.
 * Fields may be added, none changes its meaning. Figures that do not exist are null.
 */
import { z } from "zod";
import { snake } from "../config.ts";
import { isObject } from "../storage.ts";

const time = z.iso.datetime().describe("UTC, when the line was written");
const count = () => z.int().nonnegative();
const figure = () => z.number().nullable();
const task = z.string().describe("id of the task");
const taskIndex = count().describe("its place in the order, from 0");
const step = count().describe("training steps and evaluations up to here");

const startLine = z
	.object({
		type: z.literal("start"),
		time,
		run: z.uuid().describe("the same for all lines of a run folder"),
		resumed: z.boolean().describe("whether the log was begun before"),
		name: z.string().describe("`name` of the configuration"),
		order: z.array(z.string()).describe("ids of the tasks as they are learnt"),
		seed: z.int().describe("of all draws"),
		config: z
			.string()
			.describe(
				"16 hex digits of the SHA-256 of run.json's `config` without `tracking`",
			),
		versions: z
			.record(z.string(), z.string())
			.describe("keepsight, node, onnxruntime"),
	})
	.describe("a process opened the run");
const epochLine = z
	.object({
		type: z.literal("epoch"),
		time,
		task,
		taskIndex,
		epoch: count().describe("from 1"),
		epochs: count().describe("epochs of a task"),
		step,
		loss: figure().describe("of the pretext task, mean over the steps"),
		accuracy: figure().describe("of the pretext task on training views, 0..1"),
		seconds: z.number().describe("the epoch's training took"),
		diagnostics: z
			.record(z.string(), figure())
			.describe(
				"what the strategy reports, and `accuracyHeldOut` on normals that no step saw",
			),
	})
	.describe("an epoch ended");
const rowLine = z
	.object({
		type: z.literal("row"),
		time,
		task,
		taskIndex,
		step,
		metrics: z
			.record(
				z.string(),
				z.object({
					average: figure(),
					forgetting: figure(),
					tasks: z.record(z.string(), figure()),
				}),
			)
			.describe(
				"by name as in metrics.json: `average` over the tasks seen and `forgetting`, then every one of them in `tasks`",
			),
		routing: figure().describe(
			"share of test images taken for their own product",
		),
		falseAlarms: figure().describe("share of good test images rejected"),
	})
	.describe("a task is learnt, all tasks so far are evaluated");
const endLine = z
	.object({
		type: z.literal("end"),
		time,
		state: z
			.enum(["finished", "interrupted", "failed"])
			.describe("interrupted: by a signal"),
		message: z.string().nullable().describe("why it failed"),
	})
	.describe("the process left the run; a killed one leaves none");
const memoryLine = z
	.object({
		type: z.literal("memory"),
		time,
		version: count().describe("of the memory, after the change"),
		change: z.string().describe('such as "learn mvtec/bottle"'),
		seconds: z.number().describe("it took"),
	})
	.describe(
		"`learn`, `forget`, `threshold` or `rollback` changed what was learnt",
	);
const noticeLine = z
	.object({
		type: z.literal("notice"),
		time,
		text: z.string().describe("what the user was told"),
		damage: z
			.string()
			.nullable()
			.describe("what is wrong with a file that was dropped"),
	})
	.describe("something that whoever looks at the run should know");

/** The kinds of lines, by `type`. */
export const lineSchema = z.discriminatedUnion("type", [
	startLine,
	epochLine,
	rowLine,
	endLine,
	memoryLine,
	noticeLine,
]);
export type Line = z.output<typeof lineSchema>;
export type LineOf<T extends Line["type"]> = Extract<Line, { type: T }>;

/** null for what is no such line: torn by a kill, or of another version. */
export function parseLine(text: string): Line | null {
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		return null;
	}
	return isObject(value) ? (lineSchema.safeParse(value).data ?? null) : null;
}

/** A line's numbers as trackers call them, such as ["eval/image_auroc/mvtec/bottle", .93]; those that do not exist are left out. */
export function scalarsOf(line: Line): readonly (readonly [string, number])[] {
	return named(line).flatMap(([tag, value]) =>
		value !== null && Number.isFinite(value) ? [[tag, value] as const] : [],
	);
}

function named(line: Line): readonly (readonly [string, number | null])[] {
	if (line.type === "epoch")
		return [
			["train/loss", line.loss],
			["train/accuracy", line.accuracy],
			["train/task", line.taskIndex + 1],
			["train/epoch_seconds", line.seconds],
			...Object.entries(line.diagnostics).map(
				([name, value]) => [`diagnostics/${snake(name)}`, value] as const,
			),
		];
	if (line.type === "row")
		return [
			...Object.entries(line.metrics).flatMap(([metric, { tasks, ...means }]) =>
				Object.entries({ ...tasks, ...means }).map(
					([name, value]) => [`eval/${snake(metric)}/${name}`, value] as const,
				),
			),
			["eval/routing_accuracy", line.routing],
			["eval/false_alarms", line.falseAlarms],
		];
	return [];
}
