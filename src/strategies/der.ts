/**
 * Dark Experience Replay (Buzzega et al., NeurIPS 2020, eq. 6): what the network said of earlier views is kept, and the network is
 * held to it, loss + α mean (z − h)², z the stored logits and h today's. Logits belong to one view: an entry is a clean image with the
 * seed of its views, which are made again exactly. DER++ adds β cross entropy on a second, independent draw from the buffer.
 *
 * Departures: the buffer is filled at the end of a task, in equal shares, with the finished network's logits (the paper samples a
 * reservoir on the way); buffer images take the place of current ones, as in replay.ts. Features are not stored: no term reads them.
 */
import { z } from "zod";
import { add, crossEntropy, mean, mul, sub } from "../engine/ops/index.ts";
import type { AnyTensor, Tensor } from "../engine/tensor.ts";
import {
	bufferOf,
	bufferOptions,
	joined,
	partnerIn,
	refill,
	viewKeyOf,
} from "./buffer.ts";
import {
	defineStrategy,
	type Rehearsal,
	type RehearsalPart,
	type Strategy,
} from "./strategy.ts";

const derOptions = {
	alpha: z
		.number()
		.min(0)
		.default(0.5)
		.describe("Weight of the stored logits."),
	...bufferOptions,
};

export const der = defineStrategy({
	title: "Dark Experience Replay",
	paper: "Buzzega et al. 2020",
	options: z.strictObject(derOptions),
	create: (options) => create({ ...options, beta: 0 }),
});

export const derPlusPlus = defineStrategy({
	title: "Dark Experience Replay++",
	paper: "Buzzega et al. 2020",
	options: z.strictObject({
		...derOptions,
		beta: z
			.number()
			.min(0)
			.default(0.5)
			.describe("Weight of the cross entropy on the second draw."),
	}),
	create,
});

function create({
	alpha,
	beta,
	buffer,
	share,
}: {
	readonly alpha: number;
	readonly beta: number;
	readonly buffer: number;
	readonly share: number;
}): Strategy {
	if (buffer === 0 || (alpha === 0 && beta === 0)) return {};
	const draws = Number(alpha > 0) + Number(beta > 0);
	const tensors: Record<string, AnyTensor> = {}; // a Buffer, and "logits" [N, K, K]
	return {
		tensors,
		rehearse(): Rehearsal | null {
			const kept = bufferOf(tensors);
			if (!kept) return null;
			const parts: RehearsalPart[] = [];
			if (alpha > 0)
				parts.push({
					name: "same",
					share: share / draws,
					key: (entry) => viewKeyOf(kept, entry),
					targets: { logits: tensors.logits as Tensor },
				});
			if (beta > 0) parts.push({ name: "anew", share: share / draws });
			return {
				images: kept.images,
				partner: (entry) => partnerIn(kept, entry),
				parts,
			};
		},
		loss(taskLoss, { rehearsed: { same, anew }, report }) {
			let loss = taskLoss;
			if (same?.targets.logits) {
				const apart = sub(same.logits, same.targets.logits);
				const distance = mean(mul(apart, apart));
				report("logitDistance", distance);
				loss = add(loss, mul(distance, alpha));
			}
			if (anew) {
				const again = crossEntropy(anew.logits, anew.labels);
				report("bufferLoss", again);
				loss = add(loss, mul(again, beta));
			}
			return loss;
		},
		async endTask(_task, probe) {
			const entries = refill(tensors, buffer, probe);
			const kept = bufferOf(tensors);
			if (!kept) throw new Error("der: the buffer was not filled");
			const first = kept.task.data.length - entries.length;
			const partners = entries.map(
				(_image, i) => entries[partnerIn(kept, first + i) - first] as number,
			);
			const logits = await probe.look(
				entries.map((image, i) => ({
					image,
					other: partners[i] as number,
					key: viewKeyOf(kept, first + i),
				})),
			);
			tensors.logits = joined(tensors.logits, logits);
			return { bufferImages: kept.images.shape[0] as number };
		},
	};
}
