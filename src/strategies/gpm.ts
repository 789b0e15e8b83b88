/**
 * Gradient Projection Memory (Saha, Garg & Roy, ICLR 2021): after a task, the span of what each linear layer read is kept;
 * later tasks move the weights only where that span does not see it, ΔW M = 0.
 *
 * Departures, for a ViT trained by Adam: the gradient is projected before Adam, so that its moments live in the free space, and
 * the final step after it, since Adam's scaling per weight leaves that space (eq. 6-8 are for SGD). Class row and other rows count
 * equally and each must reach the threshold: the class row is 1 of 257 and yet the one DNE stores. A third part must reach it
 * too, the class rows about their mean: that mean holds 99 % of their energy in the last block, so that a single direction would
 * pass, while DNE reads nothing but the deviations. Biases, norms, LayerScale and tokens have no input to project on and stay as
 * the first task left them; so does the embedding of patches, which is no linear layer here.
 */
import { z } from "zod";
import type { Value, ValueDict } from "../engine/graph.ts";
import { gemm, mul, sub } from "../engine/ops/index.ts";
import { float32, type TensorDict } from "../engine/tensor.ts";
import { Random } from "../random.ts";
import {
	defineStrategy,
	type RowStatistics,
	type StepGraph,
} from "./strategy.ts";
import { extendBasis, joinBasis } from "./subspace.ts";

const options = z.strictObject({
	epsilon: z
		.number()
		.min(0)
		.max(1)
		.default(0.99)
		.describe(
			"Share of each layer's input energy to protect; 0 protects nothing and equals finetune.",
		),
	increment: z
		.number()
		.min(0)
		.default(0)
		.describe("Added to epsilon with every further task, up to .9999."),
	images: z
		.number()
		.int()
		.positive()
		.default(60)
		.describe("Images of a task whose clean and pretext views are looked at."),
});

export const gpm = defineStrategy({
	title: "Gradient Projection Memory",
	paper: "Saha et al. 2021",
	options,
	create({ epsilon, increment, images }) {
		if (epsilon === 0) return {};
		const tensors: TensorDict = {}; // "<layer>": [k, in], orthonormal rows; "tasks": [1]
		const tasksLearnt = () => tensors.tasks?.data[0] ?? 0;

		/** g - (g Mᵀ) M for the weights of linear layers, 0 for what is frozen after the first task. */
		const project = (values: ValueDict, step: StepGraph): ValueDict => {
			if (tasksLearnt() === 0) return values;
			return Object.fromEntries(
				Object.entries(values).map(([name, value]): [string, Value] => {
					const basis = tensors[name.replace(/\.weight$/, "")];
					if (!basis || !name.endsWith(".weight")) return [name, mul(value, 0)];
					const m = bases.get(step)?.[name] ?? step.constant(basis);
					bases.set(step, { ...bases.get(step), [name]: m });
					return [name, projectedAway(value, m)];
				}),
			);
		};
		const bases = new WeakMap<StepGraph, ValueDict>(); // one input a layer, though it is used twice

		return {
			tensors,
			gradients: project,
			moves: project,
			async endTask(_task, probe) {
				const threshold = Math.min(epsilon + increment * tasksLearnt(), 0.9999);
				const report: Record<string, number> = {};
				for (const [layer, { width, rows }] of Object.entries(
					await probe.layerInputs(images),
				)) {
					const parts = rows.flatMap((r) =>
						r.name === "class"
							? [
									{ name: "class", gram: r.gram },
									{ name: "class deviations", gram: centred(r) },
								]
							: [r],
					);
					const known = Float64Array.from(tensors[layer]?.data ?? []);
					const extension = await extendBasis(
						parts,
						known,
						width,
						threshold,
						new Random("gpm", layer, tasksLearnt()),
						width >= 1024 ? probe.product : undefined, // below, starting the engine costs more than it saves
					);
					tensors[layer] = float32(
						[extension.rank, width],
						Float32Array.from(joinBasis(known, extension)),
					);
					report[`free.${layer}`] = extension.free;
				}
				tensors.tasks = float32([1], Float32Array.of(tasksLearnt() + 1));
				const free = Object.values(report);
				return {
					freeRank: free.reduce((a, b) => a + b, 0) / free.length,
					...report,
				};
			},
		};
	},
});

/** v − (v Mᵀ) M for weights v [out, in] and orthonormal rows M [k, in]: what inputs in the span of M do not see. */
export const projectedAway = (value: Value, basis: Value): Value =>
	sub(value, gemm(gemm(value, basis, { transB: true }), basis));

/** Σ (x − μ)(x − μ)ᵀ = Σ xxᵀ − s sᵀ / n, s the sum. */
function centred({ gram, sum, rows }: RowStatistics): Float64Array {
	const n = sum.length;
	return gram.map(
		(g, at) =>
			g -
			((sum[Math.floor(at / n)] as number) * (sum[at % n] as number)) / rows,
	);
}
