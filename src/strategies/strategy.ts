/**
 * A continual-learning strategy: what it adds to one training step, and what it keeps between tasks.
 * One step of the trainable part is one graph, so hooks add nodes to it; they are called once a task, when the graph is built.
 * Every hook is optional: none at all is plain finetuning. A strategy never sees test data and never imports training.
 */
import type { z } from "zod";
import type { LearnTask } from "../data/task.ts";
import type { Value, ValueDict } from "../engine/graph.ts";
import type { StepBuilder } from "../engine/step.ts";
import type { TensorDict } from "../engine/tensor.ts";

/** The step under construction. */
export interface StepGraph extends StepBuilder {
	/** Tasks learnt before this one. */
	readonly taskIndex: number;
	readonly labels: Value; // [B, K], one-hot
	readonly logits: Value; // [B, K]
	/** The class token after the final norm. */
	readonly embedding: Value; // [B, D]
	/** The same network with other weights of the trainable part, on the same views. */
	forward(weights: ValueDict): {
		readonly logits: Value;
		readonly embedding: Value;
	};
}

/** What one kind of rows x of a linear layer's input looks like: "class" (the class token's) or "patches" (all others). */
export interface RowStatistics {
	readonly name: "class" | "patches";
	readonly rows: number;
	readonly sum: Float64Array; // [in], Σ x
	readonly gram: Float64Array; // [in, in], Σ x xᵀ
}

/** The trained network at the end of a task. */
export interface Probe {
	/** Trainable parameters before the task and now: copies. */
	readonly start: TensorDict;
	readonly params: TensorDict;
	/**
	 * What every trained linear layer reads, over clean normals and pretext views of at most `images` images of the task; only
	 * rows that the network uses. Keys are layers ("blocks.9.attn.qkv", "head").
	 */
	layerInputs(
		images: number,
	): Promise<
		Readonly<
			Record<
				string,
				{ readonly width: number; readonly rows: readonly RowStatistics[] }
			>
		>
	>;
}

export interface Strategy {
	/** The loss to minimise, from the pretext task's. */
	loss?(taskLoss: Value, step: StepGraph): Value;
	/** Gradients before clipping and the optimiser. */
	gradients?(grads: ValueDict, step: StepGraph): ValueDict;
	/** The optimiser's moves, weight decay included. Must not read `step.params`, which are updated in place meanwhile. */
	moves?(moves: ValueDict, step: StepGraph): ValueDict;
	/** With the final moves. Must not read `step.params` either. */
	afterUpdate?(moves: ValueDict, step: StepGraph): void;
	/** What to remember of the task. Returns numbers that show that the strategy acts, for the log and the tables. */
	endTask?(
		task: LearnTask,
		probe: Probe,
	): Promise<Readonly<Record<string, number>>>;
	/** All it keeps: saved with the run, restored before the next task. Mutated in place by `endTask`. */
	readonly tensors?: TensorDict;
}

export interface StrategyDefinition<Options = unknown> {
	readonly title: string;
	readonly paper: string;
	readonly options: z.ZodType<Options>;
	/** false: weights never move. */
	readonly trains?: boolean;
	/** "initial": every task starts from the weights the run started with. Default: from the previous task's. */
	readonly startsFrom?: "previous" | "initial";
	/** true: every task keeps the weights it was learnt with (a reference, not a memory that stays small). */
	readonly weightsPerTask?: boolean;
	/** The training set is the union of all tasks so far; with "last" only the final row is filled. */
	joint?(options: Options): "every" | "last";
	create(options: Options): Strategy;
}

export const defineStrategy = <Schema extends z.ZodType>(
	definition: Omit<StrategyDefinition<z.output<Schema>>, "options"> & {
		readonly options: Schema;
	},
): StrategyDefinition => definition as unknown as StrategyDefinition;
