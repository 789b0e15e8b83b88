/**
 * Learning without Forgetting (Li & Hoiem, ECCV 2016): the network before the task teaches the network during it, on the current
 * task's views; loss + α T² KL(teacher ‖ student) over softened logits (Hinton et al. 2015), mean over the batch.
 *
 * Two logits carry one bit an image: `of: features` holds the class token instead, α times the mean squared error.
 */
import { z } from "zod";
import type { Value } from "../engine/graph.ts";
import {
	add,
	exp,
	logSoftmax,
	mean,
	mul,
	sub,
	sum,
} from "../engine/ops/index.ts";
import type { TensorDict } from "../engine/tensor.ts";
import { defineStrategy } from "./strategy.ts";

const options = z.strictObject({
	alpha: z
		.number()
		.min(0)
		.default(1)
		.describe("Weight of the teacher; 0 equals finetune."),
	of: z
		.enum(["logits", "features"])
		.default("logits")
		.describe(
			"What is held: the pretext's softened logits, or the class token.",
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
				const distance =
					of === "logits"
						? distillation(teacher.logits, step.logits, temperature)
						: meanSquare(sub(step.embedding, teacher.embedding));
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

const meanSquare = (x: Value): Value => mean(mul(x, x));
