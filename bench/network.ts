/** The networks that are timed, with random weights, and what they see. */
import type { Image } from "../src/data/task.ts";
import type { OptimizerOptions } from "../src/engine/optim.ts";
import { uint8 } from "../src/engine/tensor.ts";
import { initialise, type VitConfig } from "../src/models/vit.ts";
import type { Random } from "../src/random.ts";
import type { Network } from "../src/trunk.ts";

export interface StepJob {
	readonly model: "small" | "tiny";
	readonly batch: number;
	readonly threads: number;
	/** Trained blocks; null: everything. */
	readonly last: number | null;
}

/** ViT-S/14 with LayerScale as DINOv2 has it, or ViT-Ti/16, at 224 px. */
export function networkOf(job: StepJob, random: Random): Network {
	const [width, heads, patch] =
		job.model === "small" ? [384, 6, 14] : [192, 3, 16];
	const config: VitConfig = {
		imageSize: [224, 224],
		patch,
		width,
		depth: 12,
		heads,
		mlpRatio: 4,
		registers: 0,
		layerScale: job.model === "small",
		classPosition: true,
		layerNormEps: 1e-6,
		mean: [0.485, 0.456, 0.406],
		std: [0.229, 0.224, 0.225],
	};
	return {
		backbone: { config, weights: initialise(config, random) },
		from: job.last === null ? 0 : config.depth - job.last,
		patchBlocks: [],
		threads: job.threads,
	};
}

export const optimizer: OptimizerOptions = {
	name: "adamw",
	lr: 1e-4,
	betas: [0.9, 0.999],
	eps: 1e-8,
	weightDecay: 0.05,
	momentum: 0,
};

export const picture = (random: Random): Image =>
	uint8(
		[224, 224, 3],
		Uint8Array.from({ length: 224 * 224 * 3 }, () => random.integer(256)),
	);
