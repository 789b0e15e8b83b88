/**
 * A continual-learning strategy: what it adds to one training step, and what it keeps between tasks.
 * One step of the trainable part is one graph, so hooks add nodes to it; they are called once a task, when the graph is built.
 * Every hook is optional: none at all is plain finetuning. A strategy never sees test data and never imports training.
 */
import type { z } from "zod";
import type { Image, LearnTask } from "../data/task.ts";
import type { Value, ValueDict } from "../engine/graph.ts";
import type { StepBuilder } from "../engine/step.ts";
import type { AnyTensor, Tensor, TensorDict } from "../engine/tensor.ts";
import type { Random } from "../random.ts";

/** Some rows of a batch. */
export interface Rows {
	readonly labels: Value; // [B, K], one-hot
	readonly logits: Value; // [B, K]
	/** The class token after the final norm. */
	readonly embedding: Value; // [B, D]
}

/** What the network says about all rows of a step. */
export interface Forward extends Omit<Rows, "labels"> {
	/** What each trained linear layer below the head reads: [B, T, in], or [B, in] where only the class row is computed. */
	readonly layerInputs: Readonly<Record<string, Value>>;
}

/** The step under construction: all its rows, those of the current task first. */
export interface StepGraph extends StepBuilder, Forward, Rows {
	/** Rows of the current task: those of the task loss. */
	readonly current: Rows;
	/** Rows of each part of the strategy's rehearsal, with that part's targets of the drawn entries. */
	readonly rehearsed: Readonly<
		Record<string, Rows & { readonly targets: ValueDict /* [m * K, ...] */ }>
	>;
	/** The same network with other weights of the trainable part, on the same views. */
	forward(weights: ValueDict): Forward;
	/** A scalar that shows what the strategy does: its mean over an epoch goes to the log, that of the last epoch to the results. */
	report(name: string, value: Value): void;
}

/** What fixes every draw of a view, with the run's seed. */
export type ViewKey = readonly (string | number)[];

/** Images of earlier tasks that take the place of some of the current ones in every step. */
export interface Rehearsal {
	/** Clean images. */
	readonly images: Tensor<"uint8">; // [N, H, W, 3]
	/** The normal image of the same task that a pretext may take its patches from. */
	partner(entry: number): number;
	readonly parts: readonly RehearsalPart[];
}

/** One use of earlier images in every step. */
export interface RehearsalPart {
	readonly name: string;
	/** Of a step's images, at least one. */
	readonly share: number;
	/** The views of an entry are always those of this key; without it every draw is fresh. */
	key?(entry: number): ViewKey;
	/** Known of every entry's K views. */
	readonly targets?: TensorDict; // [N, K, ...]
}

/** One view of one image, for gradients of a single sample. */
export interface SampleGraph extends Rows /* B = 1 */ {
	/** Drawn anew for every sample, from N(0, I). */
	readonly noise: Value; // [1, D]
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
	/** Clean training images of the task. */
	readonly images: readonly Image[];
	readonly random: Random;
	/** A Bᵀ [m, n] of A [m, k] and B [n, k] in float64, at the engine's speed. */
	product(a: Float64Array, b: Float64Array, k: number): Promise<Float64Array>;
	/** Tells the user something that is no error. */
	notice(text: string): void;
	/** Logits of the K views of some of the images. */
	look(
		views: readonly {
			readonly image: number;
			readonly other: number;
			readonly key: ViewKey;
		}[],
	): Promise<Tensor /* [n, K, K] */>;
	/**
	 * Mean over single samples (the K views of at most `images` images) of Σ_s (∂s/∂θ)², by parameter, s the scalars that `of`
	 * gives for a sample. The gradient of one sample at a time, never that of a batch.
	 */
	squaredGradients(
		images: number,
		of: (sample: SampleGraph) => readonly Value[],
	): Promise<TensorDict>;
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

/** What keeps earlier tasks while the next one trains. Every hook is optional; without any it is finetuning. */
export interface Strategy {
	/** Earlier images for this task's steps; asked once a task, null: none. */
	rehearse?(): Rehearsal | null;
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
	readonly tensors?: Record<string, AnyTensor>;
}

/** An entry of the registry of strategies. */
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

/** A strategy, its options typed by their schema. `options` is a z.strictObject; `create` gets what it parsed. */
export const defineStrategy = <Schema extends z.ZodType>(
	definition: Omit<StrategyDefinition<z.output<Schema>>, "options"> & {
		readonly options: Schema;
	},
): StrategyDefinition => definition as unknown as StrategyDefinition;
