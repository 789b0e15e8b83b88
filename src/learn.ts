/**
 * Trains the weights on one task: views from worker threads, states from the frozen trunk, one graph a step, a strategy's hooks in it.
 * Every draw is derived from (seed, purpose, task, epoch, position), so a run resumed after any finished epoch gives the same bytes.
 */
import { type Augmenter, type AugmentJob, prefetch } from "./augment.ts";
import type { LearnTask } from "./data/task.ts";
import { input, type Value, type ValueDict } from "./engine/graph.ts";
import {
	gemm,
	logSoftmax,
	mean,
	mul,
	neg,
	reshape,
	slice,
	sum,
} from "./engine/ops/index.ts";
import type { OptimizerOptions, Schedule } from "./engine/optim.ts";
import { Session } from "./engine/runtime.ts";
import { TrainingStep } from "./engine/step.ts";
import {
	type AnyTensor,
	float32,
	sizeOf,
	type Tensor,
	type TensorDict,
	uint8,
} from "./engine/tensor.ts";
import { fail } from "./errors.ts";
import { heed, type RunEvent, type Stop } from "./events.ts";
import {
	readSafetensors,
	toFloat32,
	writeSafetensors,
} from "./models/safetensors.ts";
import { linearLayers } from "./models/vit.ts";
import { Random } from "./random.ts";
import { hashedName, type VersionedFolder } from "./storage.ts";
import type {
	Probe,
	RowStatistics,
	StepGraph,
	Strategy,
} from "./strategies/strategy.ts";
import {
	Embedder,
	headOf,
	type Network,
	stateInput,
	topOf,
	type Trunk,
} from "./trunk.ts";

export interface LearnSettings {
	readonly epochs: number;
	/** Views a step; a step reads batchSize / K images. */
	readonly batchSize: number;
	readonly optimizer: OptimizerOptions;
	readonly schedule: "cosine" | "constant";
	/** Share of a task's steps. */
	readonly warmup: number;
	readonly clipNorm: number | null;
	readonly head: "shared" | "firstTask";
	readonly seed: number;
}

export interface LearnJob {
	readonly network: Network;
	readonly trunk: Trunk;
	readonly settings: LearnSettings;
	readonly strategy: Strategy;
	readonly task: LearnTask;
	readonly taskIndex: number;
	readonly taskCount: number;
	/** Views of the images that may train, and of those kept out of the pretext to measure on (none: empty). */
	readonly training: Augmenter;
	readonly heldOut: Augmenter | null;
	/** Trainable weights with the head, before the task; not changed. The order of their names changes nothing. */
	readonly start: TensorDict;
	readonly checkpoint: VersionedFolder;
	readonly emit: (event: RunEvent) => void;
	readonly stop: Stop;
}

export interface LearnResult {
	readonly weights: TensorDict;
	/** What shows that something was learnt, and what the strategy reports. */
	readonly learning: Readonly<Record<string, number | null>>;
}

/**
 * A fresh pretext head, as timm initialises a linear layer: normal weights (.02), bias 0. A head of zeros starts at a loss of .69
 * instead of up to 3 and reaches a lower one, yet moves the embedding less where the pretext is hard (docs/experiments.md).
 */
export const initialHead = (
	classes: number,
	width: number,
	random: Random,
): TensorDict => ({
	"head.weight": float32(
		[classes, width],
		Float32Array.from({ length: classes * width }, () =>
			random.normal(0, 0.02),
		),
	),
	"head.bias": float32([classes]),
});

/** The draws of one epoch: the order of images, the partner of each, the key of its views. The last step wraps around. */
export function epochJobs(
	seed: number,
	task: string,
	epoch: number,
	images: number,
	imagesPerStep: number,
): AugmentJob[][] {
	const order = new Random(seed, "order", task, epoch).permutation(images);
	const steps = Math.ceil(images / imagesPerStep);
	return Array.from({ length: steps }, (_, s) =>
		Array.from({ length: imagesPerStep }, (_, k): AugmentJob => {
			const position = s * imagesPerStep + k;
			const image = order[position % images] as number;
			const shift =
				images > 1
					? 1 +
						new Random(seed, "other", task, epoch, position).integer(images - 1)
					: 0;
			return {
				image,
				other: (image + shift) % images,
				key: ["augment", task, epoch, position],
			};
		}),
	);
}

/** Mean cross entropy of one-hot labels. */
export const crossEntropy = (logits: Value, labels: Value): Value =>
	neg(mean(sum(mul(labels, logSoftmax(logits)), [1])));

export async function learn(job: LearnJob): Promise<LearnResult> {
	const { network, trunk, settings, strategy, task, taskIndex, training } = job;
	const start = inOrder(job.start);
	const classes = training.classes.length;
	const imagesPerStep = Math.max(1, Math.floor(settings.batchSize / classes));
	const batch = imagesPerStep * classes;
	const images = training.images.length;
	const stepsPerEpoch = Math.ceil(images / imagesPerStep);
	const schedule: Schedule = {
		name: settings.schedule,
		warmup: Math.round(settings.warmup * stepsPerEpoch * settings.epochs),
		total: stepsPerEpoch * settings.epochs,
	};

	const fixedHead = settings.head === "firstTask" && taskIndex > 0;
	const params: TensorDict = {};
	const fixed: TensorDict = {};
	for (const [name, t] of Object.entries(start)) {
		if (fixedHead && name.startsWith("head.")) fixed[name] = t;
		else params[name] = float32(t.shape, t.data.slice());
	}
	const step = await TrainingStep.create({
		params,
		optimizer: settings.optimizer,
		clipNorm: settings.clipNorm,
		threads: network.threads,
		build(builder) {
			const head: ValueDict = Object.fromEntries(
				Object.entries(fixed).map(([name, t]) => [name, builder.constant(t)]),
			);
			const fed = stateInput(network, "x:state", batch);
			const labels = builder.feed("labels", [batch, classes]);
			const forward = (weights: ValueDict) => {
				const { embedding } = topOf(network, weights, fed);
				return {
					embedding,
					logits: headOf({ ...head, ...weights }, embedding),
				};
			};
			const { embedding, logits } = forward(builder.params);
			const graph: StepGraph = {
				...builder,
				taskIndex,
				labels,
				logits,
				embedding,
				forward,
			};
			const taskLoss = crossEntropy(logits, labels);
			const loss = strategy.loss?.(taskLoss, graph) ?? taskLoss;
			const { gradients, moves, afterUpdate } = strategy;
			return {
				loss,
				outputs: { logits },
				hooks: {
					...(gradients && { gradients: (g) => gradients(g, graph) }),
					...(moves && { moves: (m) => moves(m, graph) }),
					...(afterUpdate && { afterUpdate: (m) => afterUpdate(m, graph) }),
				},
			};
		},
	});
	try {
		const labels = oneHot(imagesPerStep, classes);
		for (let epoch = restore(job, step); epoch < settings.epochs; epoch++) {
			const began = performance.now();
			let loss = 0;
			let right = 0;
			let done = 0;
			const jobs = epochJobs(
				settings.seed,
				task.id,
				epoch,
				images,
				imagesPerStep,
			);
			for await (const views of prefetch(viewsOf(training, jobs), 2)) {
				await heed(job.stop);
				const state = await trunk.states(
					uint8([batch, ...network.backbone.config.imageSize, 3], views),
				);
				const result = await step.run(
					{ state, labels },
					epoch * stepsPerEpoch + done,
					schedule,
				);
				for (const [what, value] of [
					["loss", result.loss],
					["gradient norm", result.gradientNorm],
				] as const) {
					if (!Number.isFinite(value))
						throw fail("NOT_FINITE", {
							what,
							task: task.id,
							epoch: epoch + 1,
							step: done + 1,
							value,
						});
				}
				done++;
				loss += result.loss;
				right += countRight(result.outputs.logits as Tensor, classes);
				job.emit({
					type: "progress",
					phase: "train",
					task: task.id,
					taskIndex,
					taskCount: job.taskCount,
					done: epoch * stepsPerEpoch + done,
					total: schedule.total,
					unit: "steps",
					detail: `epoch ${epoch + 1}/${settings.epochs} loss ${(loss / done).toFixed(3)}`,
				});
			}
			job.emit({
				type: "epoch",
				task: task.id,
				epoch: epoch + 1,
				epochs: settings.epochs,
				loss: loss / done,
				accuracy: right / (done * batch),
				seconds: (performance.now() - began) / 1000,
				diagnostics: {},
			});
			save(job, step, epoch + 1, {
				loss: loss / done,
				accuracy: right / (done * batch),
			});
		}
	} finally {
		await step.release();
	}
	const last = job.checkpoint.meta as {
		readonly loss?: number;
		readonly accuracy?: number;
	};
	const weights: TensorDict = {
		...fixed,
		...Object.fromEntries(
			Object.entries(step.params).map(([name, t]) => [
				name,
				float32(t.shape, t.data.slice()),
			]),
		),
	};
	const report =
		(await strategy.endTask?.(task, {
			start,
			params: weights,
			layerInputs: (n) => layerStatistics(job, weights, fixedHead, n),
		})) ?? {};
	await trunk.releaseBatches();
	return {
		weights,
		learning: {
			pretextLoss: last.loss ?? null,
			pretextAccuracy: last.accuracy ?? null,
			pretextAccuracyHeldOut: job.heldOut
				? await heldOutAccuracy(job, job.heldOut, weights)
				: null,
			weightChange: relativeChange(start, weights),
			...report,
		},
	};
}

/** By name: sums over parameters round the same, whether weights come from the task before or from its file. */
const inOrder = (weights: TensorDict): TensorDict =>
	Object.fromEntries(
		Object.entries(weights).sort(([a], [b]) => (a < b ? -1 : 1)),
	);

function* viewsOf(
	augmenter: Augmenter,
	steps: readonly (readonly AugmentJob[])[],
): Generator<Promise<Uint8Array>> {
	for (const jobs of steps) yield augmenter.views(jobs);
}

/** Labels by construction: every image gives one view a class, in the order of the classes. */
function oneHot(images: number, classes: number): Tensor {
	const labels = float32([images * classes, classes]);
	for (let i = 0; i < images * classes; i++)
		labels.data[i * classes + (i % classes)] = 1;
	return labels;
}

function countRight(logits: Tensor, classes: number): number {
	let right = 0;
	for (let i = 0; i * classes < logits.data.length; i++) {
		const row = logits.data.subarray(i * classes, (i + 1) * classes);
		if (row.indexOf(Math.max(...row)) === i % classes) right++;
	}
	return right;
}

/** ‖θ − θ0‖ / ‖θ0‖ over all trained weights but the head, which starts near 0. */
function relativeChange(start: TensorDict, now: TensorDict): number {
	let moved = 0;
	let norm = 0;
	for (const [name, before] of Object.entries(start)) {
		if (name.startsWith("head.")) continue;
		const after = now[name] as Tensor;
		for (let i = 0; i < before.data.length; i++) {
			const x = before.data[i] as number;
			moved += ((after.data[i] as number) - x) ** 2;
			norm += x * x;
		}
	}
	return Math.sqrt(moved / norm);
}

/** Pretext accuracy on views of normals that no step saw. */
async function heldOutAccuracy(
	{ network, trunk, settings, task, stop }: LearnJob,
	heldOut: Augmenter,
	weights: TensorDict,
): Promise<number> {
	const classes = heldOut.classes.length;
	const images = heldOut.images.length;
	const embedder = new Embedder(network, { head: true });
	let right = 0;
	for (const jobs of epochJobs(
		settings.seed,
		`${task.id} held out`,
		0,
		images,
		1,
	)) {
		await heed(stop);
		const views = await heldOut.views(jobs);
		for (const [k, view] of split(views, network).entries()) {
			const { logits } = await embedder.embed(
				(await trunk.see(view)).state,
				weights,
			);
			const row = (logits as Tensor).data;
			if (row.indexOf(Math.max(...row)) === k) right++;
		}
	}
	await embedder.release();
	return right / (images * classes);
}

/** Single images of a batch of views. */
export function split(views: Uint8Array, network: Network): Tensor<"uint8">[] {
	const shape = [...network.backbone.config.imageSize, 3];
	const bytes = sizeOf(shape);
	return Array.from({ length: views.length / bytes }, (_, i) =>
		uint8(shape, views.slice(i * bytes, (i + 1) * bytes)),
	);
}

/**
 * What the trained linear layers read, summed over images spread evenly over the task (in float32 within a run of a few, in float64
 * over the runs): the clean image and its views of every class, class rows and other rows apart.
 */
async function layerStatistics(
	{ network, trunk, task, training, stop }: LearnJob,
	weights: TensorDict,
	fixedHead: boolean,
	wanted: number,
): ReturnType<Probe["layerInputs"]> {
	const images = training.images.length;
	const chosen = Array.from({ length: Math.min(wanted, images) }, (_, i) =>
		Math.floor((i * images) / Math.min(wanted, images)),
	);
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
	const params: ValueDict = Object.fromEntries(
		Object.entries(weights).map(([name, t]) => [name, input(name, t.shape)]),
	);
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

/** Restores the state after the last finished epoch of this task; the number of epochs done. */
function restore(
	{ checkpoint, task, settings }: LearnJob,
	step: TrainingStep,
): number {
	const {
		task: of,
		epoch,
		file,
	} = checkpoint.meta as { task?: string; epoch?: number; file?: string };
	if (
		of !== task.id ||
		epoch === undefined ||
		file === undefined ||
		epoch > settings.epochs
	)
		return 0;
	const { tensors } = readSafetensors(checkpoint.read(file), file);
	for (const [prefix, live] of [
		["p:", step.params],
		["", step.states],
	] as const) {
		for (const [name, target] of Object.entries(live)) {
			const saved = tensors[prefix + name];
			if (!saved || saved.data.length !== target.data.length)
				throw fail("DAMAGED", {
					path: file,
					problem: `it has no tensor ${prefix}${name} of ${target.data.length} numbers`,
				});
			target.data.set(toFloat32(saved).data);
		}
	}
	return epoch;
}

function save(
	{ checkpoint, task }: LearnJob,
	step: TrainingStep,
	epoch: number,
	numbers: { loss: number; accuracy: number },
): void {
	const params = Object.fromEntries(
		Object.entries(step.params).map(([name, t]) => [`p:${name}`, t]),
	);
	const bytes = writeSafetensors({ ...params, ...step.states });
	const file = hashedName("state", bytes, ".safetensors");
	checkpoint.commit({
		add: new Map([[file, bytes]]),
		keep: () => false,
		meta: { task: task.id, epoch, file, ...numbers },
	});
}
