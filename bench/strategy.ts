/**
 * One process that has learnt a task with a strategy and times the steps of the second: a line on standard input, a line of JSON back.
 * node strategy.js '{"strategy":{"name":"ewc"},"images":168,"batch":16,"threads":2}'
 * "step": ms of one step of the second task. "end" and "epoch": ms of the first task's end and of its only epoch.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAugmenter } from "../src/augment.ts";
import { epochSteps, planStep } from "../src/draws.ts";
import { uint8 } from "../src/engine/tensor.ts";
import { initialHead, learn } from "../src/learn.ts";
import { Random } from "../src/random.ts";
import { createStep, oneHot, targetsOf } from "../src/step.ts";
import { VersionedFolder } from "../src/storage.ts";
import { strategies } from "../src/strategies/index.ts";
import type { StrategyDefinition } from "../src/strategies/strategy.ts";
import { Trunk, trainableWeights } from "../src/trunk.ts";
import { answerLines } from "./answers.ts";
import { networkOf, optimizer, picture } from "./network.ts";

export interface StrategyJob {
	readonly strategy: {
		readonly name: string;
		readonly [option: string]: unknown;
	};
	/** Of the first task. */
	readonly images: number;
	readonly batch: number;
	readonly threads: number;
}

const job = JSON.parse(process.argv[2] as string) as StrategyJob;
const { name, ...options } = job.strategy;
const definition = (strategies as Record<string, StrategyDefinition>)[
	name
] as StrategyDefinition;
const strategy = definition.create(definition.options.parse(options));
const random = new Random("bench");
const network = networkOf({ model: "small", last: 3, ...job }, random);
const trunk = new Trunk(network);
const settings = {
	epochs: 1,
	viewPool: null,
	batchSize: job.batch,
	optimizer,
	schedule: "constant",
	warmup: 0,
	clipNorm: 1,
	head: "shared",
	seed: 1,
} as const;
const start = {
	...trainableWeights(network),
	...initialHead(2, network.backbone.config.width, random),
};
const training = createAugmenter({
	pretext: { name: "cutpaste", options: {} },
	images: Array.from({ length: job.images }, () => picture(random)),
	workers: job.threads,
	seed: 1,
});
const folder = mkdtempSync(join(tmpdir(), "keepsight-bench-"));
let epochMs = 0;
let endedAt = 0;
const { weights } = await learn({
	network,
	trunk,
	settings,
	strategy,
	task: { id: "first", categories: [] },
	taskIndex: 0,
	taskCount: 2,
	training,
	rehearsal: null,
	heldOut: null,
	start,
	checkpoint: VersionedFolder.open(folder),
	emit(event) {
		if (event.type !== "epoch") return;
		epochMs = 1000 * event.seconds;
		endedAt = performance.now();
	},
	stop: { requested: false },
});
const endMs = performance.now() - endedAt; // with the last checkpoint, which is written in a tenth of a second
await training.close();
rmSync(folder, { recursive: true, force: true });

const rehearsal = strategy.rehearse?.() ?? null;
const plan = planStep(job.batch / 2, rehearsal);
const { step } = await createStep({
	network,
	settings,
	strategy,
	taskIndex: 1,
	classes: 2,
	plan,
	start: weights,
});
const [first] = epochSteps(1, "second", 0, job.images, plan, rehearsal);
const state = await trunk.states(
	uint8(
		[job.batch, 224, 224, 3],
		new Uint8Array(job.batch * 224 * 224 * 3).map(() => random.integer(256)),
	),
);
const feeds = {
	state,
	labels: oneHot(job.batch / 2, 2),
	...targetsOf(plan, first?.entries ?? []),
};
let count = 0;
const answers: Record<string, () => Promise<number>> = {
	async step() {
		const began = performance.now();
		await step.run(feeds, count++, { name: "constant", warmup: 0, total: 1 });
		return performance.now() - began;
	},
	end: async () => endMs,
	epoch: async () => epochMs,
};
await answers.step?.();
await answerLines(answers);
