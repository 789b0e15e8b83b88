/**
 * Elastic Weight Consolidation (Kirkpatrick et al., PNAS 2017, eq. 3): weights that mattered to earlier tasks are held near what they
 * were, loss + λ/2 Σ_k Σ_i F_k,i (θ_i − θ*_k,i)², F_k the diagonal of the Fisher information after task k.
 *
 * `offline` is that sum over all tasks, in constant memory: it equals λ/2 (Σ F̄ (θ − θ̄)² + C) with F̄ = Σ F_k and θ̄ = Σ F_k θ*_k / F̄.
 * The sums are centred, F̄ ← F̄ + F, θ̄ ← θ̄ + F/F̄ (θ* − θ̄), C ← C + Σ (F̄ before) F / F̄ (θ* − θ̄ before)², since ΣFθ* and ΣFθ*² in
 * float32 lose the distance, which is a thousandth of a weight. `online` (Huszár 2018; Schwarz et al. 2018, eq. 8) keeps γF̄ + F and
 * the latest weights.
 *
 * F is the mean of squared gradients of single samples: `exact`, in expectation over the network's own predictions; `empirical`, with
 * the pretext's labels. A pretext that saturates leaves both near 0: `embedding` takes E (∂(uᵀe)/∂θ)² over u ~ N(0, I) instead, with e
 * the class token at length 1, which is what the density stores.
 */
import { z } from "zod";
import type { Value } from "../engine/graph.ts";
import {
	add,
	div,
	exp,
	logSoftmax,
	mul,
	slice,
	sqrt,
	stopGradient,
	sub,
	sum,
	sumSquare,
} from "../engine/ops/index.ts";
import { float32, type Tensor, type TensorDict } from "../engine/tensor.ts";
import { anchored, groupOf } from "./anchored.ts";
import {
	defineStrategy,
	type SampleGraph,
	type StepGraph,
} from "./strategy.ts";

const options = z.strictObject({
	lambda: z
		.number()
		.min(0)
		.default(1e7)
		.describe(
			"Strength of the penalty, by the size of the Fisher; 0 equals finetune.",
		),
	form: z
		.enum(["offline", "online"])
		.default("offline")
		.describe(
			"offline: every task's Fisher at its own weights; online: a decaying sum at the latest weights.",
		),
	gamma: z
		.number()
		.min(0)
		.max(1)
		.default(0.95)
		.describe("online: what earlier Fishers keep of their weight a task."),
	fisher: z
		.enum(["exact", "empirical", "embedding"])
		.default("exact")
		.describe(
			"exact: over the network's own predictions; empirical: with the pretext's labels; embedding: of the class token, whatever the pretext says.",
		),
	images: z
		.number()
		.int()
		.positive()
		.default(60)
		.describe("Images of a task whose views the Fisher is taken over."),
});

export const ewc = defineStrategy({
	title: "Elastic Weight Consolidation",
	paper: "Kirkpatrick et al. 2017",
	options,
	create({ lambda, form, gamma, fisher, images }) {
		if (lambda === 0) return {};
		const tensors: TensorDict = {}; // "fisher:<name>" F̄, "anchor:<name>" θ̄, "constant" C: [1]
		return {
			tensors,
			loss(taskLoss, step) {
				if (!tensors.constant) return taskLoss;
				const penalty = penaltyOf(step, tensors, lambda);
				step.report("penalty", penalty);
				return add(taskLoss, penalty);
			},
			async endTask(_task, probe) {
				const now = await probe.squaredGradients(images, fisherTerms[fisher]);
				if (form === "offline") consolidate(tensors, now, probe.params);
				else decay(tensors, now, probe.params, gamma);
				return { meanFisher: meanOf(now) };
			},
		};
	},
});

/** λ/2 (Σ F̄ (θ − θ̄)² + C) */
export function penaltyOf(
	step: Pick<StepGraph, "params" | "constant">,
	tensors: TensorDict,
	lambda: number,
): Value {
	const { value } = anchored(
		step,
		groupOf(tensors, "fisher"),
		groupOf(tensors, "anchor"),
	);
	return mul(add(value, tensors.constant?.data[0] ?? 0), lambda / 2);
}

/** The scalars whose squared gradients a sample adds to the Fisher. Σ_c p_c (∂ log p_c)² needs √p_c at each, held constant. */
export const fisherTerms = {
	exact({ logits }: SampleGraph): Value[] {
		const classes = logits.shape[1] as number;
		const logP = logSoftmax(logits);
		const at = (x: Value, c: number) => sum(slice(x, 1, c, c + 1)); // a scalar: there is one row
		const root = (c: number) => sqrt(exp(at(logP, c)));
		if (classes === 2)
			// one gradient for both classes: ∂ log p_0 = −p_1 ∂(z_1 − z_0), ∂ log p_1 = p_0 ∂(z_1 − z_0)
			return [
				mul(
					stopGradient(mul(root(0), root(1))),
					sub(at(logits, 1), at(logits, 0)),
				),
			];
		return Array.from({ length: classes }, (_, c) =>
			mul(stopGradient(root(c)), at(logP, c)),
		);
	},
	empirical: ({ logits, labels }: SampleGraph): Value[] => [
		sum(mul(labels, logSoftmax(logits))),
	],
	/** e of length 1, as the density keeps it. */
	embedding: ({ embedding, noise }: SampleGraph): Value[] => [
		sum(mul(div(embedding, sqrt(sumSquare(embedding))), noise)),
	],
};

/** Adds a task's Fisher at its own weights. Sums in float64. */
export function consolidate(
	tensors: TensorDict,
	fisher: TensorDict,
	params: TensorDict,
): void {
	let constant = tensors.constant?.data[0] ?? 0;
	for (const [name, { shape, data }] of Object.entries(fisher)) {
		const total = (tensors[`fisher:${name}`] ??= float32(shape)).data;
		const anchor = (tensors[`anchor:${name}`] ??= float32(shape)).data;
		const theta = (params[name] as Tensor).data;
		for (let i = 0; i < data.length; i++) {
			const before = total[i] as number;
			const f = data[i] as number;
			const both = before + f;
			if (both === 0) continue; // nobody has asked for this weight: anchor 0 at strength 0
			const distance = (theta[i] as number) - (anchor[i] as number);
			constant += ((before * f) / both) * distance * distance;
			anchor[i] = (anchor[i] as number) + (f / both) * distance;
			total[i] = both;
		}
	}
	tensors.constant = float32([1], Float32Array.of(constant));
}

/** F̄ ← γF̄ + F, anchored at the latest weights. */
function decay(
	tensors: TensorDict,
	fisher: TensorDict,
	params: TensorDict,
	gamma: number,
): void {
	for (const [name, { shape, data }] of Object.entries(fisher)) {
		const total = (tensors[`fisher:${name}`] ??= float32(shape)).data;
		for (let i = 0; i < data.length; i++)
			total[i] = gamma * (total[i] as number) + (data[i] as number);
		tensors[`anchor:${name}`] = float32(
			shape,
			(params[name] as Tensor).data.slice(),
		);
	}
	tensors.constant = float32([1]);
}

function meanOf(tensors: TensorDict): number {
	let total = 0;
	let count = 0;
	for (const { data } of Object.values(tensors)) {
		for (const x of data) total += x;
		count += data.length;
	}
	return total / count;
}
