/**
 * One training step as one graph: loss, gradients, a strategy's terms, clipping, the optimiser's update.
 *
 * Parameters and states are updated in place: the same memory is fed and fetched. The runtime promises no order between
 * a read and such a write, so every write of a parameter or of a strategy's state is made to depend on every read of the
 * forward and backward passes: it uses `ordered`, which depends on the gradient norm, and that on every gradient. Hooks on
 * moves must not read parameters (`afterUpdate` least of all: they may have moved already); they have the moves.
 * A test compares in-place with fresh outputs, bit for bit.
 */
import type { Value, ValueDict } from "./graph.ts";
import { gradients } from "./autodiff.ts";
import { input, scalar } from "./graph.ts";
import { add, div, min, mul, sqrt } from "./ops/elementwise.ts";
import { sumSquare } from "./ops/reduce.ts";
import {
	type Optimizer,
	type OptimizerOptions,
	optimizers,
	type Schedule,
	scheduled,
} from "./optim.ts";
import { Session } from "./runtime.ts";
import {
	type AnyTensor,
	float32,
	type Tensor,
	type TensorDict,
} from "./tensor.ts";

/** A tensor a strategy carries from step to step. */
export interface StepState {
	readonly now: Value;
	/** The value it has after this step. */
	set(next: Value): void;
}

/** What the builder of a loss may ask of the step. */
export interface StepBuilder {
	/** Trainable parameters by name. */
	readonly params: ValueDict;
	/** Fed at every step by this name. */
	feed(
		name: string,
		shape: readonly number[],
		dtype?: AnyTensor["dtype"],
	): Value;
	/** A tensor that stays the same for all steps. */
	constant(tensor: Tensor): Value;
	/** A tensor carried along, starting at `initial`, which is updated in place. */
	state(name: string, initial: Tensor): StepState;
}

export interface StepHooks {
	gradients?(grads: ValueDict): ValueDict;
	moves?(moves: ValueDict): ValueDict;
	afterUpdate?(moves: ValueDict): void;
}

export interface StepDefinition {
	readonly params: TensorDict;
	readonly optimizer: OptimizerOptions;
	/** Global norm to clip to; null: no clipping. */
	readonly clipNorm: number | null;
	readonly threads: number;
	/** The loss, further values to return at every step, and hooks on gradients and moves. */
	build(step: StepBuilder): {
		loss: Value;
		outputs?: ValueDict;
		hooks?: StepHooks;
	};
	/** false: outputs in new memory, for the test that compares. */
	readonly inPlace?: boolean;
}

export interface StepResult {
	readonly loss: number;
	readonly gradientNorm: number;
	readonly outputs: Readonly<Record<string, Tensor>>;
}

export class TrainingStep {
	/** Live: updated by `run`. Copy what is to be kept. */
	readonly params: TensorDict;
	/** Optimiser states "<state>:<parameter>" and strategy states "s:<name>"; live as well. */
	readonly states: TensorDict;
	readonly #session: Session;
	readonly #constants: Readonly<Record<string, AnyTensor>>;
	readonly #options: OptimizerOptions;
	readonly #inPlace: boolean;

	private constructor(
		session: Session,
		definition: StepDefinition,
		states: TensorDict,
		constants: Record<string, AnyTensor>,
	) {
		this.#session = session;
		this.params = definition.params;
		this.states = states;
		this.#constants = constants;
		this.#options = definition.optimizer;
		this.#inPlace = definition.inPlace ?? true;
	}

	/** Builds the graph and its session. `definition.params` becomes the live memory. */
	static async create(definition: StepDefinition): Promise<TrainingStep> {
		const { params, optimizer: options } = definition;
		const names = Object.keys(params);
		const values: ValueDict = Object.fromEntries(
			names.map((n) => [n, input(`p:${n}`, (params[n] as Tensor).shape)]),
		);
		const constants: Record<string, AnyTensor> = {};
		const states: TensorDict = {};
		const next: Record<string, Value> = {};
		const { loss, outputs, hooks } = definition.build({
			params: values,
			feed: (name, shape, dtype = "float32") =>
				input(`x:${name}`, shape, dtype),
			constant(tensor) {
				const name = `c:${Object.keys(constants).length}`;
				constants[name] = tensor;
				return input(name, tensor.shape);
			},
			state(name, initial) {
				const key = `s:${name}`;
				states[key] = initial;
				const now = input(key, initial.shape);
				next[key] = now;
				return {
					now,
					set: (value) => {
						next[key] = value;
					},
				};
			},
		});

		const raw = gradients(
			loss,
			names.map((n) => values[n] as Value),
		);
		let grads: ValueDict = Object.fromEntries(
			names.map((n, i) => [n, raw[i] as Value]),
		);
		if (hooks?.gradients) grads = hooks.gradients(grads);
		const norm = sqrt(
			names
				.map((n) => sumSquare(grads[n] as Value))
				.reduce((a, b) => add(a, b)),
		);
		const ordered = mul(norm, 0); // 0, or NaN where a gradient is not finite
		if (definition.clipNorm !== null) {
			const factor = min(1, div(scalar(definition.clipNorm), add(norm, 1e-6)));
			grads = Object.fromEntries(
				names.map((n) => [n, mul(grads[n] as Value, factor)]),
			);
		}
		const scalars = {
			lr: add(input("lr", []), ordered),
			correction1: input("correction1", []),
			correction2: input("correction2", []),
		};
		const optimizer: Optimizer = optimizers[options.name];
		let moves: ValueDict = {};
		for (const n of names) {
			const now: Record<string, Value> = {};
			const { shape } = params[n] as Tensor;
			for (const s of optimizer.states(shape)) {
				const key = `${s}:${n}`;
				states[key] = float32(shape);
				now[s] = input(key, shape);
			}
			const update = optimizer.update(
				values[n] as Value,
				grads[n] as Value,
				now,
				scalars,
				options,
			);
			moves[n] = update.move;
			for (const [s, value] of Object.entries(update.states))
				next[`${s}:${n}`] = value; // read by its own update alone: no order needed
		}
		if (hooks?.moves) moves = hooks.moves(moves);
		for (const n of names)
			next[`p:${n}`] = add(values[n] as Value, moves[n] as Value);
		hooks?.afterUpdate?.(moves);
		for (const key of Object.keys(next).filter((k) => k.startsWith("s:")))
			next[key] = add(next[key] as Value, ordered);

		const session = await Session.create(
			{ loss, norm, ...outputs, ...next },
			{ threads: definition.threads },
		);
		return new TrainingStep(session, definition, states, constants);
	}

	/** One step at `step` (from 0, counted within the task) of the schedule. */
	async run(
		feeds: Readonly<Record<string, AnyTensor>>,
		step: number,
		schedule: Schedule,
	): Promise<StepResult> {
		const one = (x: number) => float32([], Float32Array.of(x));
		const [b1, b2] = this.#options.betas;
		const all: Record<string, AnyTensor> = {
			...this.#constants,
			lr: one(scheduled(this.#options.lr, step, schedule)),
			correction1: one(1 - b1 ** (step + 1)),
			correction2: one(1 - b2 ** (step + 1)),
		};
		for (const [name, tensor] of Object.entries(feeds))
			all[`x:${name}`] = tensor;
		const live: TensorDict = { ...this.states };
		for (const [name, tensor] of Object.entries(this.params))
			live[`p:${name}`] = tensor;
		Object.assign(all, live);
		const { loss, norm, ...rest } = await this.#session.run(
			all,
			this.#inPlace ? live : {},
		);
		const outputs: Record<string, Tensor> = {};
		for (const [name, tensor] of Object.entries(rest)) {
			const target = live[name];
			if (target) target.data.set(tensor.data);
			else outputs[name] = tensor;
		}
		return {
			loss: (loss as Tensor).data[0] as number,
			gradientNorm: (norm as Tensor).data[0] as number,
			outputs,
		};
	}

	release(): Promise<void> {
		return this.#session.release();
	}
}
