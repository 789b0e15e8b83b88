/**
 * Experience Replay: clean images of earlier tasks are augmented anew and trained on beside the current ones (Ratcliff 1990;
 * Chaudhry et al. 2019). Buffer images take the place of current ones: a step has as many images as any other strategy's, and an
 * epoch as many steps, so that all make equal passes over images.
 */
import { z } from "zod";
import { crossEntropy } from "../engine/ops/index.ts";
import type { AnyTensor } from "../engine/tensor.ts";
import { bufferOf, bufferOptions, partnerIn, refill } from "./buffer.ts";
import { defineStrategy, type Rehearsal } from "./strategy.ts";

const options = z.strictObject(bufferOptions);

export const replay = defineStrategy({
	title: "Experience Replay",
	paper: "Chaudhry et al. 2019",
	options,
	create({ buffer, share }) {
		if (buffer === 0) return {};
		const tensors: Record<string, AnyTensor> = {}; // a Buffer
		return {
			tensors,
			rehearse(): Rehearsal | null {
				const kept = bufferOf(tensors);
				return (
					kept && {
						images: kept.images,
						partner: (entry) => partnerIn(kept, entry),
						parts: [{ name: "replay", share }],
					}
				);
			},
			// All rows of the batch weigh the same, those of the buffer included.
			loss(taskLoss, { rehearsed, logits, labels, report }) {
				if (!rehearsed.replay) return taskLoss;
				report(
					"bufferLoss",
					crossEntropy(rehearsed.replay.logits, rehearsed.replay.labels),
				);
				return crossEntropy(logits, labels);
			},
			async endTask(_task, probe) {
				refill(tensors, buffer, probe);
				return { bufferImages: tensors.images?.shape[0] ?? 0 };
			},
		};
	},
});
