/**
 * One training step of a task as a graph: the top on views of current and rehearsed images, the pretext's loss on the current ones, and
 * the strategy's hooks around it.
 */
import type { Step, StepPlan } from "./draws.ts";
import type { Value, ValueDict } from "./engine/graph.ts";
import { crossEntropy, slice } from "./engine/ops/index.ts";
import type { OptimizerOptions } from "./engine/optim.ts";
import { TrainingStep } from "./engine/step.ts";
import {
	float32,
	sizeOf,
	type Tensor,
	type TensorDict,
} from "./engine/tensor.ts";
import { fail } from "./errors.ts";
import type { Rows, StepGraph, Strategy } from "./strategies/strategy.ts";
import { headOf, type Network, stateInput, topOf } from "./trunk.ts";

export interface StepJob {
	readonly network: Network;
	readonly settings: {
		readonly optimizer: OptimizerOptions;
		readonly clipNorm: number | null;
		readonly head: "shared" | "firstTask";
	};
	readonly strategy: Strategy;
	readonly taskIndex: number;
	/** K, of the pretext task. */
	readonly classes: number;
	readonly plan: StepPlan;
	/** Trainable weights with the head; copied. */
	readonly start: TensorDict;
}

/** Views of a step's images, K each. */
export const viewCount = (
	{ current, parts }: StepPlan,
	classes: number,
): number => classes * parts.reduce((n, { images }) => n + images, current);

/**
 * Fed "state" (of all views), "labels" [B, K] and `targetsOf`; gives "logits" of the current rows, "taskLoss" before the strategy's
 * terms and "report <name>" of what the strategy shows of itself. `weightsNow`: all weights of the top with the head, live.
 */
export async function createStep({
	network,
	settings,
	strategy,
	taskIndex,
	classes,
	plan,
	start,
}: StepJob): Promise<{ step: TrainingStep; weightsNow: () => TensorDict }> {
	const batch = viewCount(plan, classes);
	const fixedHead = settings.head === "firstTask" && taskIndex > 0;
	const params: TensorDict = {};
	const fixed: TensorDict = {};
	for (const [name, t] of Object.entries(start)) {
		if (fixedHead && name.startsWith("head.")) fixed[name] = t;
		else params[name] = float32(t.shape, t.data.slice());
	}
	const outputs: ValueDict = {}; // the logits, and "report <name>": what the strategy shows of itself
	const step = await TrainingStep.create({
		params,
		optimizer: settings.optimizer,
		clipNorm: settings.clipNorm,
		threads: network.threads,
		build(builder) {
			const head: ValueDict = Object.fromEntries(
				Object.entries(fixed).map(([name, t]) => [name, builder.constant(t)]),
			);
			const fed = stateInput(network, "x:state", batch);
			const labels = builder.feed("labels", [batch, classes]);
			const forward = (weights: ValueDict) => {
				const seen = topOf(network, weights, fed);
				return {
					...seen,
					logits: headOf({ ...head, ...weights }, seen.embedding),
				};
			};
			const all = { ...forward(builder.params), labels };
			const current = rowsOf(all, 0, plan.current * classes);
			const graph: StepGraph = {
				...builder,
				...all,
				current,
				rehearsed: Object.fromEntries(
					plan.parts.map(({ part, first, images: m }) => [
						part.name,
						{
							...rowsOf(all, first * classes, (first + m) * classes),
							targets: Object.fromEntries(
								Object.entries(part.targets ?? {}).map(([name, t]) => [
									name,
									builder.feed(`${part.name}.${name}`, [
										m * classes,
										...t.shape.slice(2),
									]),
								]),
							),
						},
					]),
				),
				forward,
				report(name, value) {
					outputs[`report ${name}`] = value;
				},
			};
			const taskLoss = crossEntropy(current.logits, current.labels);
			const loss = strategy.loss?.(taskLoss, graph) ?? taskLoss;
			const { gradients, moves, afterUpdate } = strategy;
			outputs.logits = current.logits;
			outputs.taskLoss = taskLoss;
			return {
				loss,
				outputs,
				hooks: {
					...(gradients && {
						gradients: (g) => checked("gradients", g, gradients(g, graph)),
					}),
					...(moves && {
						moves: (m) => checked("moves", m, moves(m, graph)),
					}),
					...(afterUpdate && { afterUpdate: (m) => afterUpdate(m, graph) }),
				},
			};
		},
	});
	return { step, weightsNow: () => ({ ...fixed, ...step.params }) };
}

/** What a hook gives, if it is of every parameter, in its shape. */
function checked(
	hook: "gradients" | "moves",
	given: ValueDict,
	back: ValueDict,
): ValueDict {
	for (const [name, { shape }] of Object.entries(given))
		if (back?.[name]?.shape.join() !== shape.join())
			throw fail("STRATEGY_INVALID", {
				hook,
				problem: `gives no ${name} of shape [${shape.join(", ")}]`,
			});
	return back;
}

/** Some rows of a batch; all of them are left as they are. */
function rowsOf(all: Rows, from: number, to: number): Rows {
	if (from === 0 && to === all.logits.shape[0]) return all;
	const part = (x: Value) => slice(x, 0, from, to);
	return {
		labels: part(all.labels),
		logits: part(all.logits),
		embedding: part(all.embedding),
	};
}

/** What is fed of the drawn entries' targets: "<part>.<name>", K rows an entry. */
export function targetsOf(
	{ parts }: StepPlan,
	entries: Step["entries"],
): Record<string, Tensor> {
	return Object.fromEntries(
		parts.flatMap(({ part }, p) =>
			Object.entries(part.targets ?? {}).map(([name, t]) => {
				const [, classes, ...rest] = t.shape as [number, number, ...number[]];
				const size = sizeOf(t.shape.slice(1));
				const drawn = entries[p] as readonly number[];
				const rows = float32([drawn.length * classes, ...rest]);
				drawn.forEach((entry, i) => {
					rows.data.set(
						t.data.subarray(entry * size, (entry + 1) * size),
						i * size,
					);
				});
				return [`${part.name}.${name}`, rows];
			}),
		),
	);
}

/** Labels by construction: every image gives one view a class, in the order of the classes. */
export function oneHot(images: number, classes: number): Tensor {
	const labels = float32([images * classes, classes]);
	for (let i = 0; i < images * classes; i++)
		labels.data[i * classes + (i % classes)] = 1;
	return labels;
}
