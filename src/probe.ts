/**
 * What a strategy may ask of the trained network at the end of a task: what its layers read, what it says of chosen views, squared
 * gradients of single samples. Sums are formed inside the graph, a few images a run, and joined in float64.
 */
import type { Augmenter } from "./augment.ts";
import { evenly } from "./data/index.ts";
import type { Image, LearnTask } from "./data/task.ts";
import { gradients } from "./engine/autodiff.ts";
import { input, inputsOf, type Value, type ValueDict } from "./engine/graph.ts";
import { add, gemm, mul, reshape, slice, sum } from "./engine/ops/index.ts";
import { productBy } from "./engine/products.ts";
import { Session } from "./engine/runtime.ts";
import {
	type AnyTensor,
	float32,
	sizeOf,
	type Tensor,
	type TensorDict,
	uint8,
} from "./engine/tensor.ts";
import { heed, type Stop } from "./events.ts";
import { linearLayers } from "./models/vit.ts";
import { Random } from "./random.ts";
import type {
	Probe,
	RowStatistics,
	SampleGraph,
} from "./strategies/strategy.ts";
import {
	Embedder,
	headOf,
	type Network,
	stateInput,
	topOf,
	type Trunk,
} from "./trunk.ts";

export interface ProbeJob {
	readonly network: Network;
	readonly trunk: Trunk;
	readonly task: LearnTask;
	/** Views of the task's images, which come first in it. */
	readonly training: Augmenter;
	readonly images: number;
	readonly start: TensorDict;
	/** All weights of the top with the head, and the names of those that trained. */
	readonly weights: TensorDict;
	readonly trained: readonly string[];
	readonly seed: number;
	readonly stop: Stop;
	readonly notice: (text: string) => void;
}

export const probeOf = (job: ProbeJob): Probe => ({
	start: job.start,
	params: job.weights,
	images: job.training.images.slice(0, job.images),
	random: new Random(job.seed, "strategy", job.task.id),
	product: productBy(job.network.threads),
	notice: job.notice,
	look: (views) => look(job, views),
	squaredGradients: (images, of) => squaredGradients(job, images, of),
	layerInputs: (images) => layerStatistics(job, images),
});

async function look(
	{ network, trunk, training, weights, stop }: ProbeJob,
	views: Parameters<Probe["look"]>[0],
): ReturnType<Probe["look"]> {
	const k = training.classes.length;
	const embedder = new Embedder(network, { head: true });
	const logits = float32([views.length, k, k]);
	for (const [i, view] of views.entries()) {
		await heed(stop);
		const pixels = split(await training.views([view]), network);
		for (const [c, image] of pixels.entries()) {
			const { state } = await trunk.see(image);
			const seen = await embedder.embed(state, weights);
			logits.data.set((seen.logits as Tensor).data, (i * k + c) * k);
		}
	}
	await embedder.release();
	return logits;
}

/** Views a run of `squaredGradients`: squares leave the graph once a run, and a run's activations lie in memory at once. */
const SAMPLES = 4;

async function squaredGradients(
	{
		network,
		trunk,
		task,
		training,
		images,
		weights,
		trained,
		seed,
		stop,
	}: ProbeJob,
	wanted: number,
	of: (sample: SampleGraph) => readonly Value[],
): Promise<TensorDict> {
	const { config } = network.backbone;
	const k = training.classes.length;
	const total = Object.fromEntries(
		trained.map((name) => [
			name,
			new Float64Array((weights[name] as Tensor).data.length),
		]),
	);
	const chosen = evenly(images, wanted);
	const count = chosen.length * k;
	const pixels = sizeOf([...config.imageSize, 3]);
	const graphs = new Map<number, Session>(); // by number of samples: the last run may be short
	let pending: Uint8Array[] = [];
	let done = 0;
	const run = async () => {
		await heed(stop);
		const n = pending.length;
		const session =
			graphs.get(n) ??
			(await sampleGradients(network, weights, trained, n, k, of));
		graphs.set(n, session);
		const state = await trunk.states(
			uint8([n, ...config.imageSize, 3], Buffer.concat(pending)),
		);
		const labels = float32([n, k]);
		const noise = float32([n, config.width]);
		for (let i = 0; i < n; i++) {
			labels.data[i * k + ((done + i) % k)] = 1;
			const random = new Random(seed, "sample", task.id, done + i);
			for (let d = 0; d < config.width; d++)
				noise.data[i * config.width + d] = random.normal(0, 1);
		}
		const squares = await session.run({ ...weights, state, labels, noise });
		for (const name of trained)
			accumulate(total[name] as Float64Array, squares[name] as Tensor);
		done += n;
		pending = [];
	};
	for (const [i, image] of chosen.entries()) {
		const views = await training.views([
			{ image, other: (image + 1) % images, key: ["layers", task.id, i] },
		]);
		for (let c = 0; c < k; c++) {
			pending.push(views.subarray(c * pixels, (c + 1) * pixels));
			if (pending.length === SAMPLES) await run();
		}
	}
	if (pending.length > 0) await run();
	for (const session of graphs.values()) await session.release();
	return Object.fromEntries(
		trained.map((name) => {
			const { shape } = weights[name] as Tensor;
			const mean = Float32Array.from(
				total[name] as Float64Array,
				(x) => x / count,
			);
			return [name, float32(shape, mean)];
		}),
	);
}

/** Σ over n samples of Σ_s (∂s/∂θ)² by parameter, each sample with a graph of its own on the same weights. */
function sampleGradients(
	network: Network,
	weights: TensorDict,
	trained: readonly string[],
	n: number,
	classes: number,
	of: (sample: SampleGraph) => readonly Value[],
): Promise<Session> {
	const { width } = network.backbone.config;
	const params = inputsOf(weights);
	const wrt = trained.map((name) => params[name] as Value);
	const state = stateInput(network, "state", n);
	const labels = input("labels", [n, classes]);
	const noise = input("noise", [n, width]);
	const samples = Array.from({ length: n }, (_, i): SampleGraph => {
		const { embedding } = topOf(network, params, slice(state, 0, i, i + 1));
		return {
			embedding,
			logits: headOf(params, embedding),
			labels: slice(labels, 0, i, i + 1),
			noise: slice(noise, 0, i, i + 1),
		};
	});
	const squares = squaresOf(samples, of, wrt);
	const outputs: ValueDict = Object.fromEntries(
		trained.map((name, p) => [name, squares[p] as Value]),
	);
	return Session.create(outputs, { threads: network.threads });
}

/** Σ over samples of Σ_s (∂s/∂θ)² for each of `wrt`. */
export function squaresOf(
	samples: readonly SampleGraph[],
	of: (sample: SampleGraph) => readonly Value[],
	wrt: readonly Value[],
): Value[] {
	const terms = samples.flatMap(of).map((term) => gradients(term, wrt));
	return wrt.map((_, p) =>
		terms
			.map((list) => list[p] as Value)
			.map((g) => mul(g, g))
			.reduce(add),
	);
}

/**
 * What the trained linear layers read, summed over images spread evenly over the task (in float32 within a run of a few, in float64
 * over the runs): the clean image and its views of every class, class rows and other rows apart.
 */
async function layerStatistics(
	{ network, trunk, task, training, images, weights, trained, stop }: ProbeJob,
	wanted: number,
): ReturnType<Probe["layerInputs"]> {
	const fixedHead = !trained.includes("head.weight");
	const chosen = evenly(images, wanted);
	const total: Record<
		string,
		{ width: number; rows: (RowStatistics & { rows: number })[] }
	> = {};
	const graphs = new Map<number, LayerSums>(); // by number of views: the last run may be short
	for (let at = 0; at < chosen.length; at += STATISTICS_IMAGES) {
		await heed(stop);
		const group = chosen.slice(at, at + STATISTICS_IMAGES);
		const clean = group.map(
			(image) => (training.images[image] as Tensor<"uint8">).data,
		);
		const views = await training.views(
			group.map((image, i) => ({
				image,
				other: (image + 1) % images,
				key: ["layers", task.id, at + i],
			})),
		);
		const pixels = Buffer.concat([...clean, views]);
		const count = group.length * (1 + training.classes.length);
		const graph =
			graphs.get(count) ??
			(await layerSums(network, weights, fixedHead, count));
		graphs.set(count, graph);
		const state: AnyTensor = await trunk.states(
			uint8([count, ...network.backbone.config.imageSize, 3], pixels),
		);
		const sums = await graph.session.run({ ...weights, state });
		for (const { layer, name, width, rows } of graph.parts) {
			total[layer] ??= { width, rows: [] };
			let part = total[layer].rows.find((known) => known.name === name);
			if (!part) {
				part = {
					name,
					rows: 0,
					sum: new Float64Array(width),
					gram: new Float64Array(width * width),
				};
				total[layer].rows.push(part);
			}
			part.rows += rows;
			accumulate(part.gram, sums[`gram ${layer} ${name}`] as Tensor);
			accumulate(part.sum, sums[`sum ${layer} ${name}`] as Tensor);
		}
	}
	for (const { session } of graphs.values()) await session.release();
	return total;
}

/** Images a run of `layerStatistics`: outer products leave the graph once a run. */
const STATISTICS_IMAGES = 8;

interface LayerSums {
	/** From weights and the state of some views: "gram <layer> <name>" and "sum <layer> <name>" of every part. */
	readonly session: Session;
	readonly parts: readonly {
		readonly layer: string;
		readonly name: RowStatistics["name"];
		readonly width: number;
		readonly rows: number;
	}[];
}

async function layerSums(
	network: Network,
	weights: TensorDict,
	fixedHead: boolean,
	views: number,
): Promise<LayerSums> {
	const params = inputsOf(weights);
	const { layerInputs, embedding } = topOf(
		network,
		params,
		stateInput(network, "state", views),
		{ forwardOnly: true },
	);
	const layers: Record<string, Value> = Object.fromEntries(
		linearLayers(network.backbone.config, network.from).flatMap((name) =>
			layerInputs[name] ? [[name, layerInputs[name]]] : [],
		),
	);
	if (!fixedHead) layers.head = embedding;

	const outputs: Record<string, Value> = {};
	const parts: LayerSums["parts"][number][] = [];
	for (const [layer, x] of Object.entries(layers)) {
		const width = x.shape.at(-1) as number;
		const part = (name: RowStatistics["name"], value: Value) => {
			const rows = sizeOf(value.shape) / width;
			const flat = reshape(value, [rows, width]);
			outputs[`gram ${layer} ${name}`] = gemm(flat, flat, { transA: true });
			outputs[`sum ${layer} ${name}`] = sum(flat, [0]);
			parts.push({ layer, name, width, rows });
		};
		if (x.shape.length === 2) part("class", x);
		else {
			part("class", slice(x, 1, 0, 1));
			part("patches", slice(x, 1, 1, x.shape[1] as number));
		}
	}
	const session = await Session.create(outputs, { threads: network.threads });
	return { session, parts };
}

function accumulate(total: Float64Array, { data }: Tensor): void {
	for (let i = 0; i < total.length; i++)
		total[i] = (total[i] as number) + (data[i] as number);
}

/** Single images of a batch of views. */
export const split = (views: Uint8Array, network: Network): Image[] => {
	const shape = [...network.backbone.config.imageSize, 3];
	return unstack(uint8([views.length / sizeOf(shape), ...shape], views));
};

/** [N, H, W, 3] to N images, copied. */
export function unstack({ shape, data }: Tensor<"uint8">): Image[] {
	const [n = 0, ...one] = shape;
	const bytes = sizeOf(one);
	return Array.from({ length: n }, (_, i) =>
		uint8(one, data.slice(i * bytes, (i + 1) * bytes)),
	);
}
