// @ts-check
/**
 * A strategy of one's own in one file: L2 to the weights after the last task, loss + λ/2 Σ (θ − θ*)², every weight alike
 * (the L2 baseline of Kirkpatrick et al. 2017, fig. 2).
 *   npx keepsight train --config RUN.yaml --plugin strategy.mjs --set "strategy={ name: l2, lambda: 10 }"
 */
import {
	add,
	definePlugin,
	defineStrategy,
	mul,
	sub,
	sumSquare,
	z,
} from "keepsight";

const options = z.strictObject({
	lambda: z.number().min(0).default(1).describe("Strength; 0 equals finetune."),
});

const l2 = defineStrategy({
	title: "L2 to the weights before",
	paper: "Kirkpatrick et al. 2017",
	options,
	create({ lambda }) {
		if (lambda === 0) return {};
		/** θ*, by parameter; empty during the first task. @type {import("keepsight").TensorDict} */
		const tensors = {};
		return {
			tensors,
			loss(taskLoss, step) {
				const [first, ...rest] = Object.entries(tensors)
					.filter(([name]) => name in step.params)
					.map(([name, before]) =>
						sumSquare(
							sub(
								/** @type {import("keepsight").Value} */ (step.params[name]),
								step.constant(before),
							),
						),
					);
				if (!first) return taskLoss;
				const distance = rest.reduce(add, first);
				step.report("distance", distance);
				return add(taskLoss, mul(distance, lambda / 2));
			},
			async endTask(_task, { params }) {
				Object.assign(tensors, params);
				return {};
			},
		};
	},
});

export default definePlugin({ strategies: { l2 } });
