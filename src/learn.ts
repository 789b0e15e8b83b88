/**
 * Trains the weights on one task: views from worker threads, states from the frozen trunk, one graph a step, a strategy's hooks in it.
 * Every draw is derived from (seed, purpose, task, epoch, position), so a run resumed after any finished epoch gives the same bytes.
 */
import { z } from "zod";
import type { Augmenter } from "./augment.ts";
import type { LearnTask } from "./data/task.ts";
import { epochJobs, epochSteps, planStep, type Step } from "./draws.ts";
import type { OptimizerOptions, Schedule } from "./engine/optim.ts";
import type { TrainingStep } from "./engine/step.ts";
import {
	type AnyTensor,
	float32,
	type Tensor,
	type TensorDict,
} from "./engine/tensor.ts";
import { fail } from "./errors.ts";
import { heed, type RunEvent, type Stop } from "./events.ts";
import {
	readSafetensors,
	toFloat32,
	writeSafetensors,
} from "./models/safetensors.ts";
import { probeOf, split } from "./probe.ts";
import type { Random } from "./random.ts";
import { createStep, oneHot, targetsOf } from "./step.ts";
import { hashedName, type VersionedFolder } from "./storage.ts";
import type { Rehearsal, Strategy } from "./strategies/strategy.ts";
import { States } from "./states.ts";
import { Embedder, type Network, type Trunk } from "./trunk.ts";

export interface LearnSettings {
	readonly epochs: number;
	/** Views of an image of which epochs take turns; null: every epoch draws new ones. */
	readonly viewPool: number | null;
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
	/** Earlier images that the strategy rehearses; they follow the task's own in `training`. */
	readonly rehearsal: Rehearsal | null;
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

export async function learn(job: LearnJob): Promise<LearnResult> {
	const { network, trunk, settings, strategy, task, taskIndex } = job;
	const { training, rehearsal } = job;
	const start = inOrder(job.start);
	const classes = training.classes.length;
	const imagesPerStep = Math.max(1, Math.floor(settings.batchSize / classes));
	const images = training.images.length - (rehearsal?.images.shape[0] ?? 0);
	const plan = planStep(imagesPerStep, rehearsal);
	const stepsPerEpoch = Math.ceil(images / imagesPerStep);
	const schedule: Schedule = {
		name: settings.schedule,
		warmup: Math.round(settings.warmup * stepsPerEpoch * settings.epochs),
		total: stepsPerEpoch * settings.epochs,
	};

	const { step, weightsNow } = await createStep({
		network,
		settings,
		strategy,
		taskIndex,
		classes,
		plan,
		start,
	});
	// a pool that the epochs do not use twice need not be kept
	const pool =
		settings.viewPool !== null && settings.viewPool < settings.epochs
			? settings.viewPool
			: null;
	const states = new States(trunk, training, pool);
	if (pool !== null)
		job.emit({
			type: "notice",
			text: `${task.id}: the trunk's states of ${pool} views of each of ${training.images.length} images take up to ${(states.bytes(pool) / 1e6).toFixed(0)} MB.`,
		});
	const heldOut = job.heldOut && heldOutMeter(job, job.heldOut);
	try {
		const labels = oneHot(imagesPerStep, classes);
		const restored = restore(job, step);
		let early = restored?.early ?? { right: 0, views: 0 };
		for (let epoch = restored?.epoch ?? 0; epoch < settings.epochs; epoch++) {
			const began = performance.now();
			const sums: Record<string, number> = {}; // over the steps of the epoch
			let right = 0;
			let done = 0;
			const steps = epochSteps(
				settings.seed,
				task.id,
				epoch,
				images,
				plan,
				rehearsal,
				settings.viewPool,
			);
			for await (const state of states.of(steps)) {
				await heed(job.stop);
				const at = epoch * stepsPerEpoch + done;
				const { entries } = steps[done] as Step;
				const result = await step.run(
					{ state, labels, ...targetsOf(plan, entries) },
					at,
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
				const { logits, taskLoss, ...reported } = result.outputs;
				sums.loss = (sums.loss ?? 0) + ((taskLoss as Tensor).data[0] as number);
				for (const [name, { data }] of Object.entries(reported))
					sums[name] = (sums[name] ?? 0) + (data[0] as number);
				const hits = countRight(logits as Tensor, classes);
				right += hits;
				if (at >= 0.1 * schedule.total && at < 0.2 * schedule.total)
					early = {
						right: early.right + hits,
						views: early.views + plan.current * classes,
					};
				job.emit({
					type: "progress",
					phase: "train",
					task: task.id,
					taskIndex,
					taskCount: job.taskCount,
					done: at + 1,
					total: schedule.total,
					unit: "steps",
					detail: `epoch ${epoch + 1}/${settings.epochs} loss ${(sums.loss / done).toFixed(3)}`,
				});
			}
			const { loss = 0, ...reports } = sums;
			const diagnostics: Record<string, number> = Object.fromEntries(
				Object.entries(reports).map(([name, total]) => [
					name.replace("report ", ""),
					total / done,
				]),
			);
			const seconds = (performance.now() - began) / 1000;
			const accuracyHeldOut = heldOut
				? await heldOut.accuracy(weightsNow())
				: null;
			const numbers: EpochNumbers = {
				loss: loss / done,
				accuracy: right / (done * plan.current * classes),
				accuracyHeldOut,
				early,
				diagnostics,
			};
			job.emit({
				type: "epoch",
				task: task.id,
				taskIndex,
				epoch: epoch + 1,
				epochs: settings.epochs,
				steps: (epoch + 1) * stepsPerEpoch,
				loss: numbers.loss,
				accuracy: numbers.accuracy,
				seconds,
				diagnostics: {
					...diagnostics,
					...(accuracyHeldOut !== null && { accuracyHeldOut }),
				},
			});
			save(job, step, epoch + 1, numbers);
		}
		const weights: TensorDict = Object.fromEntries(
			Object.entries(weightsNow()).map(([name, t]) => [
				name,
				float32(t.shape, t.data.slice()),
			]),
		);
		const last: Partial<EpochNumbers> = checkpointOf(job.checkpoint) ?? {};
		const report = await strategy.endTask?.(
			task,
			probeOf({
				network,
				trunk,
				task,
				training,
				images,
				start,
				weights,
				trained: Object.keys(step.params),
				seed: settings.seed,
				stop: job.stop,
				notice: (text) => job.emit({ type: "notice", text }),
			}),
		);
		return {
			weights,
			learning: {
				pretextLoss: last.loss ?? null,
				pretextAccuracy: last.accuracy ?? null,
				pretextAccuracyHeldOut: last.accuracyHeldOut ?? null,
				saturated: isSaturated(last.early),
				weightChange: relativeChange(start, weights),
				...last.diagnostics,
				...reported(report ?? {}),
			},
		};
	} finally {
		await step.release();
		await heldOut?.release();
		await trunk.releaseBatches();
	}
}

interface EpochNumbers {
	/** Means over the epoch's steps; `loss` of the pretext alone. */
	readonly loss: number;
	/** Of the pretext on the current task's training views. */
	readonly accuracy: number;
	/** Of the pretext after the epoch, on normals that no step saw; null: there are none. */
	readonly accuracyHeldOut: number | null;
	/** Views of the second tenth of the task's steps. */
	readonly early: { readonly right: number; readonly views: number };
	readonly diagnostics: Readonly<Record<string, number>>;
}

/** 1 where the pretext is solved within the first fifth of the steps: every strategy looks alike then, and its cells are marked. */
const isSaturated = (early: EpochNumbers["early"] | undefined) =>
	early && early.views > 0 ? Number(early.right > 0.99 * early.views) : null;

/** By name: sums over parameters round the same, whether weights come from the task before or from its file. */
const inOrder = (weights: TensorDict): TensorDict =>
	Object.fromEntries(
		Object.entries(weights).sort(([a], [b]) => (a < b ? -1 : 1)),
	);

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

/** Pretext accuracy on views of normals that no step saw: always the same views. */
function heldOutMeter(
	{ network, trunk, settings, task, stop }: LearnJob,
	heldOut: Augmenter,
) {
	const classes = heldOut.classes.length;
	const images = heldOut.images.length;
	const embedder = new Embedder(network, { head: true });
	const states: AnyTensor[] = []; // image by image, class by class
	const see = async () => {
		for (const jobs of epochJobs(
			settings.seed,
			`${task.id} held out`,
			0,
			images,
			1,
		)) {
			await heed(stop);
			for (const view of split(await heldOut.views(jobs), network))
				states.push((await trunk.see(view)).state);
		}
	};
	return {
		async accuracy(weights: TensorDict): Promise<number> {
			if (states.length === 0) await see();
			let right = 0;
			for (const [i, state] of states.entries()) {
				await heed(stop);
				const { logits } = await embedder.embed(state, weights);
				const row = (logits as Tensor).data;
				if (row.indexOf(Math.max(...row)) === i % classes) right++;
			}
			return right / states.length;
		},
		release: () => embedder.release(),
	};
}

/** What a strategy says at a task's end. */
function reported(report: Readonly<Record<string, unknown>>) {
	for (const [name, value] of Object.entries(report)) {
		if (name === "task" || !Number.isFinite(value))
			throw fail("STRATEGY_INVALID", {
				hook: "endTask",
				problem:
					name === "task"
						? 'reports "task", by which tables name the task itself'
						: `reports that ${name} is ${String(value)}, which is no finite number`,
			});
	}
	return report as Readonly<Record<string, number>>;
}

/** Restores the state after the last finished epoch of this task; null: there is none, or it is of other settings (a run that was forced). */
function restore(
	{ checkpoint, task, settings, emit }: LearnJob,
	step: TrainingStep,
): (EpochNumbers & { readonly epoch: number }) | null {
	const meta = checkpointOf(checkpoint);
	if (!meta || meta.task !== task.id || meta.epoch > settings.epochs)
		return null;
	const { file } = meta;
	const { tensors } = readSafetensors(checkpoint.read(file), file);
	const restored: (() => void)[] = [];
	for (const [name, { data }] of Object.entries(saved(step))) {
		const kept = tensors[name];
		if (kept?.data.length !== data.length) {
			emit({
				type: "notice",
				text: `What was saved within ${task.id} is of other settings (it has no ${name} of ${data.length} numbers) and is not used: the task starts anew from what was learnt before it.`,
			});
			return null;
		}
		restored.push(() => data.set(toFloat32(kept).data));
	}
	for (const restore of restored) restore();
	return meta;
}

/** What a checkpoint keeps of a step, by name. */
const saved = ({ params, states }: TrainingStep): TensorDict => ({
	...Object.fromEntries(
		Object.entries(params).map(([name, t]) => [`p:${name}`, t]),
	),
	...states,
});

const checkpointSchema = z.object({
	task: z.string(),
	/** Finished. */
	epoch: z.int().min(1),
	file: z.string(),
	loss: z.number(),
	accuracy: z.number(),
	accuracyHeldOut: z.number().nullable(),
	early: z.object({ right: z.number(), views: z.number() }),
	diagnostics: z.record(z.string(), z.number()),
});
type CheckpointMeta = z.output<typeof checkpointSchema>;

/** What a checkpoint says of its epoch; null: there is none. */
export function checkpointOf({
	dir,
	version,
	meta,
}: Pick<VersionedFolder, "dir" | "version" | "meta">): CheckpointMeta | null {
	if (version === 0) return null;
	const parsed = checkpointSchema.safeParse(meta);
	if (!parsed.success)
		throw fail("DAMAGED", {
			path: dir,
			problem: "its manifest does not describe a checkpoint",
		});
	return parsed.data;
}

function save(
	{ checkpoint, task }: LearnJob,
	step: TrainingStep,
	epoch: number,
	numbers: EpochNumbers,
): void {
	const bytes = writeSafetensors(saved(step));
	const file = hashedName("state", bytes, ".safetensors");
	const meta: CheckpointMeta = { task: task.id, epoch, file, ...numbers };
	checkpoint.commit({
		add: new Map([[file, bytes]]),
		keep: () => false,
		meta: { ...meta },
	});
}
