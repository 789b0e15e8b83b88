/**
 * Distillation: a small student learns to say of an image what a large teacher says (Hinton et al. 2015; of features instead of
 * classes, Romero et al. 2015), on crops of ordinary pictures (crops.ts). What it learns is what the detector reads (student.ts), so it
 * is used like any other backbone. A killed run goes on to the same bytes, on the same device and with as many threads.
 */
import { z } from "zod";
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
	batches,
	namesHash,
	Pool,
	type PoolSettings,
	picturesIn,
	total,
} from "./crops.ts";
import { toHalf } from "../engine/half.ts";
import { inherit, whyNot } from "./inherit.ts";
import { add, mul } from "../engine/ops/index.ts";
import type { OptimizerOptions } from "../engine/optim.ts";
import { TrainingStep } from "../engine/step.ts";
import { float32, type Tensor, type TensorDict } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import { heed, type RunEvent, type Stop } from "../events.ts";
import { type Backbone, readBackbone } from "../models/backbone.ts";
import {
	type BackboneChoice,
	folderOf,
	loadBackbone,
} from "../models/index.ts";
import {
	readSafetensors,
	readSafetensorsFile,
	toFloat32,
	writeSafetensors,
} from "../models/safetensors.ts";
import type { Precision } from "../models/quantise.ts";
import { gridOf, type VitConfig } from "../models/vit.ts";
import {
	appendLine,
	differingKeys,
	type Guard,
	hashedName,
	hashFile,
	lockFolder,
	readJsonObject,
	removeTemporaries,
	removeTree,
	stableJson,
	VersionedFolder,
	writeAtomic,
} from "../storage.ts";
import {
	type Losses,
	lossesOf,
	Meter,
	projectionOf,
	readAfter,
} from "./student.ts";
import { blocksAt, Trunk } from "../trunk.ts";

export interface DistillSettings {
	/** The teacher: a folder, or a name in the cache. */
	readonly teacher: string;
	/** In what the teacher computes. */
	readonly precision: Precision;
	/** Folders of pictures; those below count too. */
	readonly images: readonly string[];
	/** The teacher's blocks whose patch embedding is learnt, as fractions of its depth. */
	readonly blocks: readonly number[];
	readonly student: BackboneChoice;
	/** "teacher": its first weights are a part of the teacher's (inherit.ts); "random"; or a student to go on from, of the same shape: a folder, or a name in the cache. */
	readonly from: string;
	/** Of the student's input; the teacher sees the same crops at as many of its own patches. */
	readonly imageSize: readonly [number, number];
	/** Crops of the pool. */
	readonly crops: number;
	readonly steps: number;
	readonly batchSize: number;
	readonly optimizer: OptimizerOptions["name"];
	readonly lr: number;
	readonly weightDecay: number;
	/** Weight of the class token's loss beside the patches' 1. */
	readonly classWeight: number;
	readonly seed: number;
}

export interface DistillJob {
	readonly settings: DistillSettings;
	readonly out: string;
	/** Folder of the pool; several students may share one. */
	readonly pool: string;
	readonly mode: "new" | "resume" | "fresh";
	readonly threads: number;
}

const WARMUP = 0.02;
const CLIP_NORM = 1;
/** Crops of held-out pictures that the student is measured on. */
const VALIDATION = 256;
/** Steps between two saved states. */
const SAVE_EVERY = 500;

/** Fills the pool, teaches the student, writes its folder; says how close it came on pictures it never saw. */
export async function distill(
	job: DistillJob,
	{ emit, stop }: { emit(event: RunEvent): void; stop: Stop },
): Promise<{ results: object; text: string }> {
	const { settings, out } = job;
	const folder = folderOf({ name: settings.teacher });
	const trained = readBackbone(folder, null).config;
	const student = studentOf(settings, trained);
	const [rows, columns] = gridOf(student.config);
	const teacher = {
		// at a size that has as many patches as the student sees
		...readBackbone(folder, [rows * trained.patch, columns * trained.patch]),
		precision: settings.precision,
	};
	const blocks = blocksAt(teacher.config, settings.blocks);
	if (settings.from === "teacher") {
		const why = whyNot(teacher.config, student.config, blocks.at(-1) as number);
		if (why !== null) throw fail("STUDENT_NO_PART", { why });
	}
	const pictures = await picturesIn(settings.images);
	const onWait = (text: string) => emit({ type: "notice", text });
	const lock = lockFolder(out, { onWait });
	const guard = lock.check;
	try {
		begin(job, guard);
		const wanted = {
			teacher: hashFile(join(folder, "model.safetensors")),
			precision: settings.precision,
			blocks,
			teacherSize: teacher.config.imageSize,
			imageSize: settings.imageSize,
			pictures: namesHash(pictures),
			seed: settings.seed,
		};
		const pool = await filled(wanted, { pictures, teacher, job, emit, stop });
		const { weights, projection } = await start(job, {
			student,
			teacher,
			pool,
			guard,
			emit,
			stop,
		});
		const losses = await teach(job, {
			student: { ...student, weights },
			pool,
			projection,
			guard,
			emit,
			stop,
		});
		return summary(job, student, losses);
	} finally {
		lock.release();
	}
}

/** The student as a backbone. */
const written = [
	"config.json",
	"preprocessor_config.json",
	"model.safetensors",
];
/** What of the teacher's answers the student is to say: beside it, since a student that goes on must go on with the same. */
const PROJECTION = "projection.safetensors";

/** The student's shape, with the weights of the one it goes on from, else random ones and the pixels as its teacher takes them. */
function studentOf(
	settings: DistillSettings,
	{ mean, std }: VitConfig,
): Backbone {
	const { student, from, imageSize, seed, crops, batchSize } = settings;
	const fresh = loadBackbone(student, imageSize, seed);
	if (readAfter(fresh.config) < 0)
		throw fail("STUDENT_TOO_SHALLOW", { depth: fresh.config.depth, least: 2 });
	if (crops < batchSize) throw fail("CROPS_TOO_FEW", { crops, batchSize });
	if (from === "random" || from === "teacher")
		return { ...fresh, config: { ...fresh.config, mean, std } };
	const { config, weights } = readBackbone(folderOf({ name: from }), imageSize);
	for (const key of ["width", "depth", "heads", "patch"] as const)
		if (config[key] !== fresh.config[key])
			throw fail("BACKBONE_UNSUPPORTED", {
				file: from,
				problem: `its ${key} is ${config[key]}, the student's ${fresh.config[key]}`,
			});
	return { config, weights };
}

/** The first weights, where no state is saved yet, and the projection. */
async function start(
	{ settings, out, threads }: DistillJob,
	{
		student,
		teacher,
		pool,
		guard,
		emit,
		stop,
	}: {
		readonly student: Backbone;
		readonly teacher: Backbone;
		readonly pool: Pool;
		readonly guard: Guard;
		emit(event: RunEvent): void;
		readonly stop: Stop;
	},
): Promise<{ weights: TensorDict; projection: Tensor }> {
	const { from, classWeight } = settings;
	const path = join(out, PROJECTION);
	const { weights, config } = student;
	const read = (file: string) => ({
		weights,
		projection: readProjection(file, teacher.config.width, config.width),
	});
	if (
		existsSync(path) &&
		VersionedFolder.open(join(out, "checkpoint"), undefined, remedy).meta.file
	)
		return read(path);
	let first: { weights: TensorDict; projection: Tensor };
	if (from === "teacher")
		first = await inherit({
			teacher,
			student: config,
			pool,
			classWeight,
			threads,
			stop,
			onProgress: (done, count) =>
				emit({
					type: "progress",
					phase: "train",
					task: "first weights",
					taskIndex: 0,
					taskCount: 2,
					done,
					total: count,
					unit: "layers",
				}),
		});
	else {
		const earlier =
			from === "random" ? null : join(folderOf({ name: from }), PROJECTION);
		first =
			earlier !== null && existsSync(earlier)
				? read(earlier)
				: {
						weights,
						projection: projectionOf(pool, config.width, { classWeight }),
					};
	}
	writeAtomic(path, writeSafetensors({ projection: first.projection }), guard);
	return first;
}

function readProjection(path: string, from: number, to: number): Tensor {
	const { projection } = readSafetensorsFile(path).tensors;
	const wanted = [from, to];
	if (!projection || projection.shape.join() !== wanted.join())
		throw fail("WEIGHTS_DO_NOT_FIT", {
			file: path,
			tensor: "projection",
			found: projection?.shape ?? null,
			wanted,
		});
	return toFloat32(projection, path);
}

/** What to do about a damaged file of a student. */
const remedy =
	'begin the student anew in another folder with "keepsight backbone distill --out DIR"';

/** Refuses to mix two students in one folder. */
function begin({ settings, out, mode }: DistillJob, guard: Guard): void {
	removeTemporaries(out, guard);
	const path = join(out, "distill.json");
	const known = readJsonObject(path, remedy);
	const foreign = written.find((name) => existsSync(join(out, name)));
	if (!known && foreign !== undefined)
		throw fail("DISTILL_FOREIGN", { dir: out, file: foreign });
	if (mode === "fresh")
		for (const name of [
			"checkpoint",
			"log.jsonl",
			PROJECTION,
			...written,
			"distill.json",
		])
			removeTree(join(out, name), guard);
	else if (known) {
		if (mode === "new") throw fail("DISTILL_EXISTS", { dir: out });
		const keys = differingKeys(known, settings);
		if (keys.length > 0) throw fail("DISTILL_DIFFERS", { dir: out, keys });
		return;
	}
	writeAtomic(path, stableJson(settings), guard);
}

/** The pool, with as many crops as the student wants; holds its lock, since several students may share one. */
async function filled(
	settings: PoolSettings,
	{
		pictures,
		teacher,
		job,
		emit,
		stop,
	}: {
		readonly pictures: Awaited<ReturnType<typeof picturesIn>>;
		readonly teacher: Backbone;
		readonly job: DistillJob;
		emit(event: RunEvent): void;
		readonly stop: Stop;
	},
): Promise<Pool> {
	const wanted = { train: job.settings.crops, validation: VALIDATION };
	const lock = lockFolder(job.pool, {
		onWait: (text) => emit({ type: "notice", text }),
	});
	try {
		removeTemporaries(job.pool, lock.check);
		const pool = Pool.open(job.pool, settings, lock.check);
		const missing = (["validation", "train"] as const).filter(
			(split) => total(pool.counts(split)) < wanted[split],
		);
		if (missing.length === 0) return pool;
		const trunk = new Trunk({
			backbone: teacher,
			from: teacher.config.depth,
			patchBlocks: pool.settings.blocks,
			threads: job.threads,
		});
		let unreadable = 0;
		for (const split of missing)
			await pool.fill(split, wanted[split], {
				pictures,
				trunk,
				stop,
				onProgress: (done) =>
					emit({
						type: "progress",
						phase: "read",
						task: `crops to ${split === "train" ? "learn from" : "validate on"}`,
						taskIndex: 0,
						taskCount: 2,
						done,
						total: wanted[split],
						unit: "crops",
					}),
				onUnreadable(problem) {
					if (unreadable++ < 3) emit({ type: "notice", text: problem });
				},
			});
		if (unreadable > 3)
			emit({
				type: "notice",
				text: `${unreadable} looks at pictures failed; those pictures are left out.`,
			});
		await trunk.release();
		return pool;
	} finally {
		lock.release();
	}
}

/** All steps that are left, saved on the way. */
async function teach(
	job: DistillJob,
	{
		student,
		pool,
		projection,
		guard,
		emit,
		stop,
	}: {
		readonly student: Backbone;
		readonly pool: Pool;
		readonly projection: Tensor;
		readonly guard: Guard;
		emit(event: RunEvent): void;
		readonly stop: Stop;
	},
): Promise<Losses> {
	const { settings, out, threads } = job;
	const { config } = student;
	const { batchSize, steps, seed } = settings;
	const schedule = {
		name: "cosine",
		warmup: Math.round(WARMUP * steps),
		total: steps,
	} as const;
	const step = await TrainingStep.create({
		params: Object.fromEntries(
			Object.entries(student.weights).map(([name, t]) => [
				name,
				float32(t.shape, t.data.slice()),
			]),
		),
		optimizer: {
			name: settings.optimizer,
			lr: settings.lr,
			betas: [0.9, 0.98],
			eps: 1e-8,
			weightDecay: settings.weightDecay,
			momentum: 0,
		},
		clipNorm: CLIP_NORM,
		threads,
		build(builder) {
			const { patches, classes } = lossesOf(
				config,
				builder.params,
				batchSize,
				projection,
				builder,
			);
			return {
				loss: add(patches, mul(classes, settings.classWeight)),
				outputs: { patches, classes },
			};
		},
	});
	const meter = await Meter.create(config, projection, pool, threads);
	try {
		const checkpoint = VersionedFolder.open(
			join(out, "checkpoint"),
			guard,
			remedy,
		);
		let done = restore(checkpoint, step);
		let losses = studentStateOf(checkpoint)?.losses as Losses;
		const saveNow = async () => {
			losses = await meter.losses(step.params);
			save(job, student, step, checkpoint, { done, losses, guard });
			guard();
			appendLine(
				join(out, "log.jsonl"),
				JSON.stringify({ step: done, patches: recent, heldOut: losses }),
			);
		};
		let recent = Number.NaN;
		if (!losses) await saveNow();
		const order = { crops: settings.crops, size: batchSize, seed, first: done };
		for (const batch of batches(pool, order)) {
			if (done >= steps) break;
			await heed(stop);
			const { loss, outputs } = await step.run({ ...batch }, done, schedule);
			if (!Number.isFinite(loss))
				throw fail("DISTILL_NOT_FINITE", { step: done + 1, value: loss });
			done++;
			const now = (outputs.patches as Tensor).data[0] as number;
			recent = Number.isNaN(recent) ? now : 0.98 * recent + 0.02 * now;
			emit({
				type: "progress",
				phase: "train",
				task: "student",
				taskIndex: 1,
				taskCount: 2,
				done,
				total: steps,
				unit: "steps",
				detail: `patches ${recent.toFixed(4)}, held out ${losses.patches.toFixed(4)}`,
			});
			if (done % SAVE_EVERY === 0 || done === steps) await saveNow();
		}
		return losses;
	} finally {
		await step.release();
		await meter.release();
	}
}

const stateSchema = z.object({
	file: z.string(),
	/** Steps. */
	done: z.int().min(0),
	losses: z.object({ patches: z.number(), classes: z.number() }),
});

/** What the checkpoint of a student says; null: there is none. */
export function studentStateOf({
	dir,
	version,
	meta,
}: Pick<VersionedFolder, "dir" | "version" | "meta">): z.output<
	typeof stateSchema
> | null {
	if (version === 0) return null;
	const parsed = stateSchema.safeParse(meta);
	if (!parsed.success)
		throw fail("DAMAGED", {
			path: dir,
			problem: "its manifest does not describe a student's state",
			remedy,
		});
	return parsed.data;
}

/** The state after the last saved step, into `step`: how many steps it has seen. */
function restore(checkpoint: VersionedFolder, step: TrainingStep): number {
	const meta = studentStateOf(checkpoint);
	if (!meta) return 0;
	const { file, done } = meta;
	const { tensors } = readSafetensors(checkpoint.read(file), file);
	for (const [name, live] of Object.entries(stateOf(step))) {
		const saved = tensors[name];
		if (!saved || saved.data.length !== live.data.length)
			throw fail("DAMAGED", {
				path: join(checkpoint.dir, file),
				problem: `it has no tensor ${name} of ${live.data.length} numbers`,
				remedy,
			});
		live.data.set(toFloat32(saved, name).data);
	}
	return done;
}

/** All that moves, by name. */
const stateOf = (step: TrainingStep): TensorDict => ({
	...step.states,
	...Object.fromEntries(
		Object.entries(step.params).map(([name, t]) => [`p:${name}`, t]),
	),
});

/** The state to go on from, and the student as a backbone's folder. */
function save(
	{ out, settings }: DistillJob,
	{ config }: Backbone,
	step: TrainingStep,
	checkpoint: VersionedFolder,
	{
		done,
		losses,
		guard,
	}: {
		readonly done: number;
		readonly losses: Losses;
		readonly guard: Guard;
	},
): void {
	writeAtomic(
		join(out, "model.safetensors"),
		writeSafetensors(
			Object.fromEntries(
				Object.entries(step.params).map(([name, t]) => [name, toHalf(t)]),
			),
		),
		guard,
	);
	const [height, width] = config.imageSize;
	writeAtomic(
		join(out, "config.json"),
		stableJson({
			model_type: "vit",
			hidden_size: config.width,
			num_hidden_layers: config.depth,
			num_attention_heads: config.heads,
			patch_size: config.patch,
			image_size: height === width ? height : config.imageSize,
			intermediate_size: Math.round(config.width * config.mlpRatio),
			layer_norm_eps: config.layerNormEps,
			hidden_act: "gelu",
			patch_blocks: [(readAfter(config) + 1) / config.depth],
			distilled: {
				steps: done,
				batch_size: settings.batchSize,
				crops: settings.crops,
				held_out_loss: losses,
			},
		}),
		guard,
	);
	writeAtomic(
		join(out, "preprocessor_config.json"),
		stableJson({ image_mean: config.mean, image_std: config.std }),
		guard,
	);
	// last: what is resumed has its student already
	const bytes = writeSafetensors(stateOf(step));
	const file = hashedName("state", bytes, ".safetensors");
	checkpoint.commit({
		add: new Map([[file, bytes]]),
		keep: () => false,
		meta: { file, done, losses },
	});
}

function summary(
	{ out, settings }: DistillJob,
	{ config, weights }: Backbone,
	losses: Losses,
): { results: object; text: string } {
	const parameters = Object.values(weights).reduce(
		(sum, { data }) => sum + data.length,
		0,
	);
	const cosine = (loss: number) => (1 - loss).toFixed(4);
	return {
		results: {
			student: out,
			parameters,
			steps: settings.steps,
			heldOut: losses,
		},
		text: [
			`${out}: ViT of ${config.width} x ${config.depth}, ${(parameters / 1e6).toFixed(2)} M parameters, after ${settings.steps} steps of ${settings.batchSize} crops.`,
			`Cosine to the teacher, in the student's dimensions, on crops of pictures it never saw: patches ${cosine(losses.patches)}, class token ${cosine(losses.classes)}.`,
		].join("\n"),
	};
}
