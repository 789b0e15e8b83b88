/**
 * Synaptic Intelligence (Zenke, Poole & Ganguli, ICML 2017, eq. 3-5): how much of the loss's fall each weight brought about on its way,
 * ω ← ω − g Δθ at every step (g the gradient of the task's loss alone, Δθ the move really made), then Ω ← max(0, Ω + ω / (Δ² + ξ)) at
 * the end of a task, Δ its whole move; loss + c Σ Ω (θ − θ*)², θ* the weights after the last task.
 *
 * Departure: ξ follows the observed moves, `xi_relative` times the mean of Δ² over all trained weights, since a ViT's weights move
 * little and unequally often; the paper fixes it (`xi`).
 */
import { z } from "zod";
import type { Value, ValueDict } from "../engine/graph.ts";
import { add, mul, sub } from "../engine/ops/index.ts";
import { float32, type Tensor, type TensorDict } from "../engine/tensor.ts";
import { anchored, groupOf } from "./anchored.ts";
import { defineStrategy } from "./strategy.ts";

const options = z.strictObject({
	c: z
		.number()
		.min(0)
		.default(1)
		.describe("Strength of the penalty; 0 equals finetune."),
	xiRelative: z
		.number()
		.positive()
		.default(1)
		.describe("ξ as a multiple of the mean squared move of a task."),
	xi: z
		.number()
		.positive()
		.nullable()
		.default(null)
		.describe("ξ itself; null: by xi_relative."),
});

export const si = defineStrategy({
	title: "Synaptic Intelligence",
	paper: "Zenke et al. 2017",
	options,
	create({ c, xiRelative, xi }) {
		if (c === 0) return {};
		const tensors: TensorDict = {}; // "importance:<name>" Ω, "anchor:<name>" θ*
		let paths: TensorDict = {}; // ω of the running task, live in the step
		let taskGradients: ValueDict = {};
		return {
			tensors,
			// Not in `loss`: the path integral needs the task's gradient by itself.
			gradients(grads, step) {
				taskGradients = grads;
				const importance = groupOf(tensors, "importance");
				if (Object.keys(importance).length === 0) return grads;
				const { value, pull } = anchored(
					step,
					importance,
					groupOf(tensors, "anchor"),
				);
				step.report("penalty", mul(value, c));
				return Object.fromEntries(
					Object.entries(grads).map(([name, g]) => [
						name,
						pull[name] ? add(g, mul(pull[name], 2 * c)) : g,
					]),
				);
			},
			afterUpdate(moves, step) {
				paths = {};
				for (const [name, move] of Object.entries(moves)) {
					const path = float32(move.shape);
					paths[name] = path;
					const state = step.state(`path:${name}`, path);
					state.set(sub(state.now, mul(taskGradients[name] as Value, move)));
				}
			},
			async endTask(_task, { start, params }) {
				const floor = xi ?? xiRelative * meanSquaredMove(paths, start, params);
				let fall = 0;
				for (const [name, path] of Object.entries(paths)) {
					const [before, after] = [start[name], params[name]] as [
						Tensor,
						Tensor,
					];
					tensors[`importance:${name}`] = float32(
						path.shape,
						nextImportance(
							tensors[`importance:${name}`]?.data ?? null,
							path.data,
							after.data.map((x, i) => x - (before.data[i] as number)),
							floor,
						),
					);
					tensors[`anchor:${name}`] = float32(path.shape, after.data.slice());
					for (const w of path.data) fall += w;
				}
				return { pathIntegral: fall, xi: floor };
			},
		};
	},
});

/** Ω ← max(0, Ω + ω / (Δ² + ξ)); null: no task before. A weight that did not move where ξ is 0 has no path either. */
export function nextImportance(
	before: ArrayLike<number> | null,
	path: Float32Array,
	move: ArrayLike<number>,
	xi: number,
): Float32Array {
	return path.map((w, i) => {
		const scale = (move[i] as number) ** 2 + xi;
		return Math.max(0, (before?.[i] ?? 0) + (scale > 0 ? w / scale : 0));
	});
}

/** Mean of Δ² over all trained weights together: a mean a tensor would let one that hardly moves outweigh all others. */
function meanSquaredMove(
	trained: TensorDict,
	start: TensorDict,
	now: TensorDict,
): number {
	let total = 0;
	let count = 0;
	for (const name of Object.keys(trained)) {
		const [a, b] = [start[name], now[name]] as [Tensor, Tensor];
		for (let i = 0; i < a.data.length; i++)
			total += ((b.data[i] as number) - (a.data[i] as number)) ** 2;
		count += a.data.length;
	}
	return total / count;
}
