/** Weights held near anchors, each with a strength of its own: what EWC and SI have in common. */
import { type Value, type ValueDict, withGradient } from "../engine/graph.ts";
import { add, mul, sub, sum } from "../engine/ops/index.ts";
import type { Tensor, TensorDict } from "../engine/tensor.ts";
import type { StepGraph } from "./strategy.ts";

/** Σ_i w_i (θ_i − a_i)² over the trained weights that `strength` knows, and half its gradient w (θ − a), by name. */
export function anchored(
	step: Pick<StepGraph, "params" | "constant">,
	strength: TensorDict,
	anchor: TensorDict,
): { value: Value; pull: ValueDict } {
	const names = Object.keys(step.params).filter((name) => name in strength);
	const pull: ValueDict = {};
	const parts = names.map((name) => {
		const distance = sub(
			step.params[name] as Value,
			step.constant(anchor[name] as Tensor),
		);
		pull[name] = mul(step.constant(strength[name] as Tensor), distance);
		return sum(mul(pull[name], distance));
	});
	// One pass over the weights for the gradient, from what the value has computed already.
	const value = withGradient(
		parts.reduce(add),
		names.map((name) => step.params[name] as Value),
		(dy) => names.map((name) => mul(pull[name] as Value, mul(dy, 2))),
	);
	return { value, pull };
}

/** The tensors of a group stored as "<group>:<name>"; empty if there are none. */
export const groupOf = (
	tensors: Readonly<Record<string, unknown>>,
	group: string,
): TensorDict =>
	Object.fromEntries(
		Object.entries(tensors).flatMap(([key, t]) =>
			key.startsWith(`${group}:`)
				? [[key.slice(group.length + 1), t as Tensor]]
				: [],
		),
	);
