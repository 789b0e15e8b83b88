/**
 * One process that owns a network and times it on request: a line on standard input, a line of JSON back.
 * node step.js '{"model":"small","batch":16,"threads":2,"last":null}'
 */
import { readFileSync } from "node:fs";
import { createAugmenter, prefetch } from "../src/augment.ts";
import { input } from "../src/engine/graph.ts";
import { crossEntropy, gemm } from "../src/engine/ops/index.ts";
import { Session } from "../src/engine/runtime.ts";
import { TrainingStep } from "../src/engine/step.ts";
import { float32, uint8 } from "../src/engine/tensor.ts";
import { epochJobs } from "../src/draws.ts";
import { initialHead } from "../src/learn.ts";
import { tokenCount } from "../src/models/vit.ts";
import { Random } from "../src/random.ts";
import {
	headOf,
	stateInput,
	topOf,
	Trunk,
	trainableWeights,
} from "../src/trunk.ts";
import { answerLines } from "./answers.ts";
import { networkOf, optimizer, picture, type StepJob } from "./network.ts";

const job = JSON.parse(process.argv[2] as string) as StepJob;
const random = new Random("bench");
const network = networkOf(job, random);
const { config } = network.backbone;
const { width, patch } = config;
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

/** The runtime's highest rate on plain products: 2048 cubed and the model's shapes for a whole batch; FLOP per second. */
async function gemmRate(): Promise<number> {
	const rows = batch * tokenCount(config);
	let best = 0;
	for (const [m, k, n] of [
		[2048, 2048, 2048],
		[rows, width, 4 * width],
		[rows, 4 * width, width],
		[rows, width, 3 * width],
	] as const) {
		const session = await Session.create(
			{
				y: gemm(input("a", [m, k]), input("b", [k, n])),
			},
			{ threads: job.threads },
		);
		const feeds = {
			a: float32(
				[m, k],
				Float32Array.from({ length: m * k }, () => random.uniform()),
			),
			b: float32(
				[k, n],
				Float32Array.from({ length: k * n }, () => random.uniform()),
			),
		};
		for (let i = 0; i < 6; i++) {
			const ms = await timed(async () => {
				await session.run(feeds);
			});
			if (i > 0) best = Math.max(best, (2 * m * k * n) / (ms / 1000));
		}
		await session.release();
	}
	return best;
}

/**
 * FLOPs of the step's matrix products as built: forward once, backward twice; no gradient of the image;
 * in the last block queries, projection and MLP of the class row alone.
 */
function stepFlops(): number {
	const t = tokenCount(config);
	const d = width;
	const linear = (rows: number, i: number, o: number) => 2 * rows * i * o;
	const attention = (queries: number) => 2 * 2 * queries * t * d;
	const whole =
		linear(t, d, 3 * d) +
		linear(t, d, d) +
		2 * linear(t, d, 4 * d) +
		attention(t);
	const last =
		linear(t, d, 2 * d) +
		2 * linear(1, d, d) +
		2 * linear(1, d, 4 * d) +
		attention(1);
	const embedding = linear(t - 1, 3 * patch * patch, d);
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
	gemm: gemmRate,
	flops: async () => stepFlops(),
	peak: async () => memory("VmHWM"),
	resident: async () => memory("VmRSS"),
};

await oneStep(ready);
await oneStep(ready);
await answerLines(answers);
