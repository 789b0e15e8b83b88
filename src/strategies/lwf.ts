/**
 * Learning without Forgetting (Li & Hoiem, ECCV 2016): the network before the task teaches the network during it, on the current
 * task's views; loss + α T² KL(teacher ‖ student) over softened logits (Hinton et al. 2015), mean over the batch.
 *
 * Two logits carry one bit an image: `of: features` holds the class token instead, α times the mean squared error; `of: layers` holds
 * the class token and what every trained layer reads, patches too (hints, Romero et al., ICLR 2015): α times the mean over them of the
 * squared error relative to the teacher's mean square.
 */
import { z } from "zod";
import type { Value } from "../engine/graph.ts";
import {
	add,
	div,
	exp,
	logSoftmax,
	mean,
	mul,
	sub,
	sum,
} from "../engine/ops/index.ts";
import type { TensorDict } from "../engine/tensor.ts";
import { defineStrategy, type Forward } from "./strategy.ts";

const options = z.strictObject({
	alpha: z
		.number()
		.min(0)
		.default(1)
		.describe("Weight of the teacher; 0 equals finetune."),
	of: z
		.enum(["logits", "features", "layers"])
		.default("logits")
		.describe(
			"What is held: the pretext's softened logits, the class token, or that and what every trained layer reads.",
		),
	temperature: z
		.number()
		.positive()
		.default(2)
		.describe("logits: divides them before the softmax."),
});

export const lwf = defineStrategy({
	title: "Learning without Forgetting",
	paper: "Li & Hoiem 2016",
	options,
	create({ alpha, of, temperature }) {
		if (alpha === 0) return {};
		const tensors: TensorDict = {}; // the teacher's weights; empty during the first task
		return {
			tensors,
			loss(taskLoss, step) {
				if (Object.keys(tensors).length === 0) return taskLoss;
				const teacher = step.forward(
					Object.fromEntries(
						Object.entries(tensors).map(([n, t]) => [n, step.constant(t)]),
					),
				);
				const distance = {
					logits: () => distillation(teacher.logits, step.logits, temperature),
					features: () => meanSquare(sub(step.embedding, teacher.embedding)),
					layers: () => relativeDistance(held(teacher), held(step)),
				}[of]();
				step.report("distillation", distance);
				return add(taskLoss, mul(distance, alpha));
			},
			async endTask(_task, { params }) {
				Object.assign(tensors, params);
				return {};
			},
		};
	},
});

/** T² KL(softmax(teacher / T) ‖ softmax(student / T)), mean over the rows [B, K]. */
export function distillation(
	teacher: Value,
	student: Value,
	temperature: number,
): Value {
	const p = logSoftmax(mul(teacher, 1 / temperature));
	const q = logSoftmax(mul(student, 1 / temperature));
	return mul(mean(sum(mul(exp(p), sub(p, q)), [1])), temperature ** 2);
}

const held = ({ embedding, layerInputs }: Forward): readonly Value[] => [
	...Object.values(layerInputs),
	embedding,
];

/** Mean over the pairs of Σ (student − teacher)² / Σ teacher². */
export function relativeDistance(
	teacher: readonly Value[],
	student: readonly Value[],
): Value {
	const ratios = teacher.map((t, i) =>
		div(
			meanSquare(sub(student[i] as Value, t)),
			add(meanSquare(t), 1e-12), // a layer that reads nothing but zeros
		),
	);
	return mul(ratios.reduce(add), 1 / ratios.length);
}

const meanSquare = (x: Value): Value => mean(mul(x, x));
