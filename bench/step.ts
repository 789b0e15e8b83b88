/**
 * One process that owns a network and times it on request: a line on standard input, a line of JSON back.
 * node step.js '{"model":"small","batch":16,"threads":2,"last":null}'
 */
import { readFileSync } from "node:fs";
import { createAugmenter, prefetch } from "../src/augment.ts";
import { crossEntropy } from "../src/engine/ops/index.ts";
import { TrainingStep } from "../src/engine/step.ts";
import { float32, uint8 } from "../src/engine/tensor.ts";
import { epochJobs } from "../src/draws.ts";
import { initialHead } from "../src/learn.ts";
import { Random } from "../src/random.ts";
import {
	headOf,
	stateInput,
	topOf,
	Trunk,
	trainableWeights,
} from "../src/trunk.ts";
import { answerLines } from "./answers.ts";
import { flops, gemmRate } from "./floor.ts";
import { networkOf, optimizer, picture, type StepJob } from "./network.ts";

const job = JSON.parse(process.argv[2] as string) as StepJob;
const random = new Random("bench");
const network = networkOf(job, random);
const { config } = network.backbone;
const { width } = config;
const trunk = new Trunk(network);
const { batch } = job;
const step = await TrainingStep.create({
	params: { ...trainableWeights(network), ...initialHead(2, width, random) },
	optimizer,
	clipNorm: 1,
	threads: job.threads,
	build: (s) => ({
		loss: crossEntropy(
			headOf(
				s.params,
				topOf(network, s.params, stateInput(network, "x:state", batch))
					.embedding,
			),
			s.feed("labels", [batch, 2]),
		),
	}),
});
const labels = float32([batch, 2]);
for (let i = 0; i < batch; i++) labels.data[i * 2 + (i % 2)] = 1;
const schedule = { name: "constant", warmup: 0, total: 1 } as const;
const ready = new Uint8Array(batch * 224 * 224 * 3).map(() =>
	random.integer(256),
);
let count = 0;
async function oneStep(views: Uint8Array): Promise<void> {
	const state = await trunk.states(uint8([batch, 224, 224, 3], views));
	await step.run({ state, labels }, count++, schedule);
}
async function timed(work: () => Promise<void>): Promise<number> {
	const began = performance.now();
	await work();
	return performance.now() - began;
}

/** Steps on views made by worker threads beside them, as `learn` runs, a batch made for each that is timed; ms a step. */
async function augmentedSteps(steps: number): Promise<number> {
	const augmenter = createAugmenter({
		pretext: { name: "cutpaste", options: {} },
		images: Array.from({ length: 32 }, () => picture(random)),
		workers: Math.min(2, job.threads),
		seed: 1,
	});
	function* endless(): Generator<Promise<Uint8Array>> {
		for (let epoch = 0; ; epoch++)
			for (const jobs of epochJobs(1, "bench", epoch, 32, batch / 2))
				yield augmenter.views(jobs);
	}
	let done = 0;
	let began = 0;
	let ms = 0;
	for await (const views of prefetch(endless(), 2)) {
		if (done++ === 1) began = performance.now(); // the first batch is waited for
		await oneStep(views);
		ms = (performance.now() - began) / steps;
		if (done > steps) break;
	}
	await augmenter.close();
	return ms;
}

/** FLOPs of the step's matrix products as built: forward once, backward twice; no gradient of the image. */
function stepFlops(): number {
	const { embedding, whole, last } = flops(config);
	const trained = job.last ?? config.depth;
	const frozen = config.depth - trained;
	const backward = 3 * ((trained - 1) * whole + last);
	return (
		batch *
		(backward + frozen * whole + embedding * (job.last === null ? 2 : 1))
	);
}

const memory = (key: string) =>
	Number(
		/(\d+) kB/.exec(
			readFileSync("/proc/self/status", "utf8")
				.split("\n")
				.find((line) => line.startsWith(key)) ?? "",
		)?.[1] ?? Number.NaN,
	) * 1024;

const answers: Record<string, () => Promise<number>> = {
	step: () => timed(() => oneStep(ready)),
	augmented: () => augmentedSteps(4),
	gemm: () => gemmRate(config, job, random),
	flops: async () => stepFlops(),
	peak: async () => memory("VmHWM"),
	resident: async () => memory("VmRSS"),
};

await oneStep(ready);
await oneStep(ready);
await answerLines(answers);
