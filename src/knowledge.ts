/**
 * Everything a run has learnt, and how it lies in memory/: the backbone, the trained weights, a density and a router entry a
 * category, the strategy's tensors. A copied memory/ works alone. File names carry a hash of their content; the manifest's
 * meta says which file is what. What is derived (shrinkage, calibration) is computed on load, never stored.
 */
import { join } from "node:path";
import { z } from "zod";
import {
	type Calibration,
	calibrate,
	fitTail,
	straightened,
	threshold,
} from "./calibration.ts";
import {
	type AnyTensor,
	float64,
	type Tensor,
	type TensorDict,
} from "./engine/tensor.ts";
import { fail, firstIssue, registered } from "./errors.ts";
import { memories } from "./memory/index.ts";
import { patchesOf } from "./maps.ts";
import type {
	Entry,
	Pace,
	Features,
	Memory,
	MemoryContext,
	MemoryDefinition,
	PatchReading,
	Trial,
} from "./memory/memory.ts";
import { Router } from "./memory/routing.ts";
import { restoreReals } from "./memory/stored.ts";
import { type Backbone, notFinite } from "./models/backbone.ts";
import { precisions } from "./models/quantise.ts";
import {
	readSafetensors,
	toTensor,
	writeSafetensors,
} from "./models/safetensors.ts";
import { gridOf, parameterShapes, type VitConfig } from "./models/vit.ts";
import type { Random } from "./random.ts";
import { hashedName, isObject, type VersionedFolder } from "./storage.ts";
import { blocksAt } from "./trunk.ts";

/** What the backbone says about n images, for all memories together. */
export interface AllFeatures extends Omit<Features, "patches" | "turned"> {
	/** By the number of tiles down and across that the picture was cut into. */
	readonly patches: Readonly<Record<number, readonly Tensor[]>>; // n of [N, D]
	/** Of other views, by `viewsKey`. */
	readonly turned?: Readonly<Record<string, readonly Tensor[]>>; // n of [V · N, D]
	/** How much of its fine structure each picture has (data/flaw.ts); absent: nobody looked. */
	readonly detail?: readonly number[]; // [n]
}

/** A category to remember. */
export interface Lesson
	extends Pick<Entry, "id" | "group" | "trained" | "pace"> {
	readonly learnt: AllFeatures;
	/** The same images as the pretext task augments them; absent: no memory learns those (`readsViews`). */
	readonly views?: AllFeatures;
	readonly heldOut: AllFeatures | null;
	/** White where pictures are looked at [H, W]; null: everywhere. */
	readonly roi: Tensor<"uint8"> | null;
}

/** What learning a task was like: numbers that depend on config and seed alone. */
export type Learning = Readonly<Record<string, number | null>>;

export interface LearntTask {
	readonly id: string;
	readonly categories: readonly string[];
	readonly learning: Learning;
}

/** As the manifest's meta names them. */
type CategoryFiles = z.output<
	typeof metaSchema
>["tasks"][number]["categories"][number];

interface Kept extends LearntTask {
	/** Trained weights its categories are embedded with; null: the pretrained ones. */
	readonly weights: TensorDict | null;
	/** The score that a person chose to reject from; absent: the one that the rate of false alarms says. */
	readonly threshold?: number;
}

/** A memory's registry name and options, and its share of the false alarms. */
export interface MemorySetup {
	readonly name: string;
	readonly options: Readonly<Record<string, unknown>>;
	/** Above 0; all together 1. */
	readonly weight: number;
}

export interface SaveOptions {
	/** In few words, as `tasks` lists it: "learn mvtec/bottle". */
	readonly change: string;
	/** Earlier versions that stay (storage.ts). */
	readonly history: number;
}

export interface KnowledgeSetup {
	readonly memories: readonly MemorySetup[];
	/** First trained block (trunk.ts). */
	readonly from: number;
	readonly falseAlarms: number;
}

/** A score on the scale all products share, and what it was compared with. */
export interface Judgement {
	/** −log10 of the chance that a good part scores so high. */
	readonly score: number;
	readonly threshold: number;
	/** The category it was scored as. */
	readonly category: string;
	/** Score of every patch, row by row: where it reaches about 1 and above, what `score` would be if the patch were the worst; null: no memory tells. */
	readonly map: Float32Array | null; // [N]
	/** Whether it hardly shows this product: nearly all of it is unusual, and as a whole it lies outside. False where no memory tells. */
	readonly unknown: boolean;
	/** Whether the picture is out of focus beside good ones of this product. False where that is not known. */
	readonly blurred: boolean;
}

/** Patches can be as large as the image, and heads as many as the width. */
const side = z.int().positive().max(100_000);
const vitSchema = z.strictObject({
	imageSize: z.tuple([side, side]),
	patch: side,
	width: side,
	depth: z.int().positive().max(1000), // the largest have 48
	heads: side,
	mlpRatio: z.number().positive(),
	registers: z.int().min(0).max(1000),
	layerScale: z.boolean(),
	classPosition: z.boolean(),
	layerNormEps: z.number().positive(),
	patchBlocks: z.array(z.number().gt(0).max(1)).min(1).optional(),
	mean: z.tuple([z.number(), z.number(), z.number()]),
	std: z.tuple([
		z.number().positive(),
		z.number().positive(),
		z.number().positive(),
	]),
});

const metaSchema = z
	.strictObject({
		/** What made this version of the one before, in few words; absent where a run wrote it. */
		change: z.string().optional(),
		vit: vitSchema,
		/** In what the frozen blocks compute; memories only fit what they were learnt with. */
		precision: z.enum(precisions).default("float32"),
		from: z.int().min(0),
		falseAlarms: z.number().gt(0).lt(1),
		memories: z
			.array(
				z.strictObject({
					name: z.string(),
					options: z.record(z.string(), z.unknown()),
					weight: z.number().gt(0).max(1),
				}),
			)
			.min(1),
		backbone: z.string(),
		strategy: z.string().nullable(),
		/** The newest weights, with the pretext head: where the next task starts. */
		current: z.string().nullable(),
		tasks: z.array(
			z.strictObject({
				id: z.string(),
				weights: z.string().nullable(),
				threshold: z.number().min(0).optional(),
				learning: z.record(z.string(), z.number().nullable()),
				categories: z.array(
					z.strictObject({
						id: z.string(),
						/** As `memories`. */
						memories: z.array(z.string()),
						/** Scores that calibrate instead of the cross-fitted ones; absent: those do. */
						calibration: z.string().optional(),
						routing: z.string(),
					}),
				),
			}),
		),
	})
	.refine(
		({ vit }) =>
			vit.width % vit.heads === 0 &&
			vit.imageSize.every((size) => size % vit.patch === 0),
		"the network's sizes do not fit together",
	)
	.refine(
		({ from, vit }) => from <= vit.depth,
		"more blocks are frozen than there are",
	)
	.refine(
		({ memories: all }) =>
			Math.abs(all.reduce((sum, { weight }) => sum + weight, 0) - 1) < 1e-6,
		"the memories' weights do not add up to 1",
	)
	.refine(
		({ tasks }) =>
			areDistinct(tasks.map(({ id }) => id)) &&
			areDistinct(tasks.flatMap((t) => t.categories.map(({ id }) => id))),
		"a task or category is there twice",
	)
	.refine(
		({ tasks }) => tasks.every(({ categories }) => categories.length > 0),
		"a task has no category",
	);

const areDistinct = (names: readonly string[]): boolean =>
	new Set(names).size === names.length && !names.includes("");

/** The first runs had a single memory: their manifests name it `memory`, and a category's file of it `density`. */
function ofSeveral({
	memory,
	...rest
}: VersionedFolder["meta"]): VersionedFolder["meta"] {
	if (!isObject(memory)) return rest;
	const listed = (category: unknown) => {
		if (!isObject(category)) return category;
		const { density, ...others } = category;
		return { ...others, memories: [density] };
	};
	const tasks = Array.isArray(rest.tasks) ? rest.tasks : [];
	return {
		...rest,
		memories: [{ ...memory, weight: 1 }],
		tasks: tasks.map((task) =>
			isObject(task) && Array.isArray(task.categories)
				? { ...task, categories: task.categories.map(listed) }
				: task,
		),
	};
}

/** Tasks of a version of memory/, in the order they were learnt, from its manifest alone. */
export const taskIds = ({
	meta,
}: Pick<VersionedFolder, "meta">): readonly string[] =>
	Array.isArray(meta.tasks)
		? meta.tasks.flatMap((task) =>
				isObject(task) && typeof task.id === "string" ? task.id : [],
			)
		: [];

/** Nothing may have been learnt yet, or all have been forgotten. `dir`: the run folder. */
export function checkLearnt(
	memory: Pick<VersionedFolder, "meta">,
	dir: string,
): void {
	if (taskIds(memory).length === 0) throw fail("NOTHING_LEARNT", { dir });
}

export class Knowledge {
	readonly backbone: Backbone;
	readonly setup: KnowledgeSetup;
	readonly router: Router;
	/** As `setup.memories`. */
	readonly memories: readonly Memory[];
	/** Trainable weights with the pretext head, as the last task left them; null: nothing was trained yet. */
	current: TensorDict | null = null;
	strategyTensors: Record<string, AnyTensor> = {};
	#tasks: Kept[] = [];
	/** Files that the next version takes over as they are: the backbone's, and those of categories that were not read. */
	#backboneFile: string | null = null;
	readonly #unread = new Map<string, CategoryFiles>();
	/** By category, raw scores of good images seen later, one list a memory. */
	readonly #recalibrated = new Map<string, readonly Float64Array[]>();
	#calibrations = new Map<string, readonly Calibration[]>();

	/** `threads`: of what memories compute. */
	constructor(backbone: Backbone, setup: KnowledgeSetup, threads: number) {
		this.backbone = backbone;
		this.setup = setup;
		this.router = new Router(backbone.config.width);
		this.memories = setup.memories.map((memory, i) =>
			createMemory(memory, {
				embedDim: backbone.config.width,
				threads,
				grid: this.gridFor(i),
			}),
		);
	}

	get patches(): PatchesRead {
		return patchesRead(this.backbone.config, this.setup.memories);
	}

	/** Whether a memory tells where an anomaly is. */
	get hasMaps(): boolean {
		return this.setup.memories.some(
			(setup) => definitionOf(setup).definition.maps === true,
		);
	}

	get tasks(): readonly LearntTask[] {
		return this.#tasks;
	}

	/** Adds a category to all memories and the router; what was tried on its good parts comes back. */
	async remember(
		{ learnt, views, heldOut, roi, ...rest }: Lesson,
		random: Random,
	): Promise<readonly Trial[]> {
		const trials: Trial[] = [];
		for (const [i, memory] of this.memories.entries()) {
			const augmented = readsViews(this.setup.memories[i] as MemorySetup);
			await memory.add(
				{
					...rest,
					learnt: this.featuresFor(i, augmented && views ? views : learnt),
					heldOut: heldOut && this.featuresFor(i, heldOut),
					roi: roi && patchesOf(roi, this.gridFor(i)),
				},
				random,
			);
			trials.push(...(memory.trials ?? []));
		}
		this.router.add(rest.id, learnt);
		return trials;
	}

	/** More good images of a known category, none of which trained weights. */
	async merge(
		id: string,
		more: AllFeatures,
		random: Random,
		pace?: Pace,
	): Promise<void> {
		for (const [i, memory] of this.memories.entries())
			await memory.merge(id, this.featuresFor(i, more), random, pace);
		this.router.merge(id, more);
		this.#recalibrated.delete(id);
		this.#calibrations.delete(id);
	}

	/**
	 * Location and scale of a category's scores from good images that it was not learnt from, seen as parts are seen now: after a lamp or a
	 * lens was changed. Until images are added, they calibrate instead of those it was learnt from.
	 */
	async recalibrate(id: string, seen: AllFeatures): Promise<void> {
		const lists: Float64Array[] = [];
		for (const [i, memory] of this.memories.entries())
			lists.push(
				(await memory.score(id, this.featuresFor(i, seen))).scores.slice(),
			);
		this.#recalibrated.set(id, lists);
		this.#calibrations.delete(id);
	}

	/** Drops a task and all that only it needs; what the others are scored with stays as it is. */
	forget(task: string): void {
		for (const id of this.#tasks.find((t) => t.id === task)?.categories ?? []) {
			if (!this.#unread.delete(id))
				for (const memory of this.memories) memory.remove(id);
			this.router.remove(id);
			this.#recalibrated.delete(id);
			this.#calibrations.delete(id);
		}
		this.#tasks = this.#tasks.filter(({ id }) => id !== task);
		if (this.#tasks.length > 0) return;
		this.current = null; // the next product is a first one again
		this.strategyTensors = {};
	}

	/** Good images that a category was learnt from. */
	imagesOf(id: string): number {
		return this.router.imagesOf(id);
	}

	/** Of a task's memories and routing. */
	bytesOf(task: string): number {
		const ids = this.#tasks.find(({ id }) => id === task)?.categories ?? [];
		return [this.router, ...this.memories].reduce(
			(sum, part) => ids.reduce((all, id) => all + part.bytes(id), sum),
			0,
		);
	}

	/** What the i-th memory reads of it. */
	featuresFor(i: number, { patches, turned, ...rest }: AllFeatures): Features {
		const reading = readingOf(this.setup.memories[i] as MemorySetup);
		return {
			...rest,
			patches: (reading && patches[reading.tiles]) ?? null,
			turned: (reading && turned?.[viewsKey(reading)]) ?? null,
		};
	}

	/** Tiles down and across that the i-th memory reads patches of; null: it reads none. */
	tilesFor(i: number): number | null {
		return readingOf(this.setup.memories[i] as MemorySetup)?.tiles ?? null;
	}

	/** Patches down and across, as the i-th memory reads them. */
	gridFor(i: number): readonly [number, number] {
		const setup = this.setup.memories[i] as MemorySetup;
		return patchesRead(this.backbone.config, [setup]).grid;
	}

	/** The weights that embed a category's images; null: the pretrained ones. */
	weightsOf(category: string): TensorDict | null {
		return (
			this.#tasks.find((t) => t.categories.includes(category))?.weights ?? null
		);
	}

	/** The score from which a category's images are anomalous. */
	thresholdOf(category: string): number {
		return (
			this.#tasks.find((t) => t.categories.includes(category))?.threshold ??
			threshold(this.setup.falseAlarms)
		);
	}

	/** Whether a person chose it. */
	hasOwnThreshold(task: string): boolean {
		return this.#tasks.find(({ id }) => id === task)?.threshold !== undefined;
	}

	/** null: the one that the rate of false alarms says. */
	setThreshold(task: string, score: number | null): void {
		this.#tasks = this.#tasks.map((kept) => {
			if (kept.id !== task) return kept;
			const { threshold: _, ...rest } = kept;
			return score === null ? rest : { ...rest, threshold: score };
		});
	}

	/**
	 * Scores of the good images that a category was learnt from, as if each had not been: the largest over the memories that have one an
	 * image, on the scale of `judge`. Empty where none has.
	 */
	goodScores(category: string): Float64Array {
		const images = this.imagesOf(category);
		const lists = this.calibrations(category).flatMap((calibration, i) => {
			const { scores } = (this.memories[i] as Memory).crossFitted(category);
			const shift = this.#shareOf(i);
			return scores.length === images
				? [Array.from(scores, (raw) => calibrate(calibration, raw) + shift)]
				: [];
		});
		return Float64Array.from(
			{ length: lists.length > 0 ? images : 0 },
			(_, k) => Math.max(...lists.map((list) => list[k] as number)),
		);
	}

	/** log10 of the i-th memory's share of the false alarms. */
	#shareOf(i: number): number {
		return Math.log10((this.setup.memories[i] as MemorySetup).weight);
	}

	/** After its categories were added to memory and router. Unless each task keeps its own, all tasks now use these weights. */
	addTask(
		task: LearntTask,
		weights: TensorDict | null,
		{ weightsPerTask }: { readonly weightsPerTask: boolean },
	): void {
		this.#tasks.push({ ...task, weights });
		if (!weightsPerTask)
			this.#tasks = this.#tasks.map((t) => ({ ...t, weights }));
		this.#calibrations.clear();
	}

	/** The category an image is scored as. */
	route(frozen: Tensor): string {
		const [route] = this.router.route(frozen);
		if (!route) throw new Error("Knowledge.route: no image");
		return route.id;
	}

	/**
	 * The calibrated score of one image as the given category: the largest of −log10 (p / weight) over the memories, so that of good
	 * parts no more than the stated share is rejected by all of them together (Bonferroni).
	 */
	async judge(category: string, seen: AllFeatures): Promise<Judgement> {
		let score = Number.NEGATIVE_INFINITY;
		let map: Float32Array | null = null;
		const foreign: boolean[] = [];
		const calibrations = this.calibrations(category);
		for (const [i, memory] of this.memories.entries()) {
			const { scores, maps } = await memory.score(
				category,
				this.featuresFor(i, seen),
			);
			const says = maps?.[0] && memory.foreign?.(category, maps[0]);
			foreign.push(...(typeof says === "boolean" ? [says] : []));
			const calibration = calibrations[i] as Calibration;
			const shift = this.#shareOf(i);
			score = Math.max(
				score,
				calibrate(calibration, scores[0] as number) + shift,
			);
			const own = maps?.[0]?.map(
				(raw) => straightened(calibration, raw) + shift,
			);
			if (own)
				map = largerOf(map, resampled(own, this.gridFor(i), this.patches.grid));
		}
		return {
			score,
			threshold: this.thresholdOf(category),
			category,
			map,
			unknown:
				foreign.length > 0 &&
				foreign.every(Boolean) &&
				this.router.isOut(category, seen.frozen) === true,
			blurred:
				seen.detail !== undefined &&
				this.router.isBlurred(category, seen.detail[0] as number),
		};
	}

	/** One a memory. */
	calibrations(category: string): readonly Calibration[] {
		const known =
			this.#calibrations.get(category) ??
			this.memories.map((memory, i) =>
				fitTail(
					memory.tail,
					this.#recalibrated.get(category)?.[i] ??
						memory.crossFitted(category).scores,
				),
			);
		this.#calibrations.set(category, known);
		return known;
	}

	/** Frees what memories compute with. */
	async release(): Promise<void> {
		for (const memory of this.memories) await memory.release?.();
	}

	/** Bytes kept so that earlier tasks are not forgotten: contract's `memory` figures. */
	bytes(): {
		bytes: number;
		bytesPerTask: number;
		weightsBytes: number;
		strategyBytes: number;
	} {
		const perCategory = [this.router, ...this.memories].reduce(
			(sum, part) => part.ids.reduce((all, id) => all + part.bytes(id), sum),
			0,
		);
		const distinct = new Set(
			this.#tasks.flatMap((t) => (t.weights ? [t.weights] : [])),
		);
		const weightsBytes = [...distinct].reduce((sum, w) => sum + size(w), 0);
		const strategyBytes = size(this.strategyTensors);
		const tasks = Math.max(1, this.#tasks.length);
		return {
			bytes: perCategory + weightsBytes + strategyBytes,
			bytesPerTask: Math.round(perCategory / tasks),
			weightsBytes,
			strategyBytes,
		};
	}

	/** Writes the next version of memory/; files that did not change are kept. */
	save(
		folder: VersionedFolder,
		folderOf: (task: string) => string,
		saving?: SaveOptions,
	): void {
		const backboneFile =
			this.#backboneFile !== null && folder.has(this.#backboneFile)
				? this.#backboneFile
				: null;
		const missing = [...this.#unread.values()].find(
			({ routing }) => !folder.has(routing),
		);
		if (missing)
			throw new Error(
				`Knowledge.save: ${missing.id} was not read, and ${folder.dir} has no file of it`,
			);
		const add = new Map<string, Uint8Array>();
		const written = new Map<TensorDict, string>();
		const put = (
			prefix: string,
			tensors: Readonly<Record<string, AnyTensor>>,
		): string => {
			const bytes = writeSafetensors(tensors);
			const path = hashedName(prefix, bytes, ".safetensors");
			add.set(path, bytes);
			return path;
		};
		const putWeights = (tensors: TensorDict): string => {
			const known = written.get(tensors) ?? put("weights", tensors);
			written.set(tensors, known);
			return known;
		};
		const meta: z.input<typeof metaSchema> = {
			...(saving && { change: saving.change }),
			vit: this.backbone.config as z.input<typeof vitSchema>,
			precision: this.backbone.precision ?? "float32",
			from: this.setup.from,
			falseAlarms: this.setup.falseAlarms,
			memories: this.setup.memories.map((memory) => ({
				...memory,
				options: { ...memory.options },
			})),
			backbone: backboneFile ?? put("backbone", this.backbone.weights),
			strategy:
				Object.keys(this.strategyTensors).length > 0
					? put("strategy", this.strategyTensors)
					: null,
			current: this.current ? putWeights(this.current) : null,
			tasks: this.#tasks.map((task) => ({
				id: task.id,
				weights: task.weights ? putWeights(task.weights) : null,
				...(task.threshold !== undefined && { threshold: task.threshold }),
				learning: { ...task.learning },
				categories: task.categories.map(
					(id) =>
						this.#unread.get(id) ?? {
							id,
							memories: this.memories.map((memory, i) =>
								put(
									`${folderOf(task.id)}/${folderOf(id)}.${this.setup.memories[i]?.name}`,
									memory.tensors(id),
								),
							),
							...this.#storeCalibration(id, (tensors) =>
								put(
									`${folderOf(task.id)}/${folderOf(id)}.calibration`,
									tensors,
								),
							),
							routing: put(
								`${folderOf(task.id)}/${folderOf(id)}.routing`,
								this.router.tensors(id),
							),
						},
				),
			})),
		};
		const taken = new Set([
			...add.keys(),
			...(backboneFile === null ? [] : [backboneFile]),
			...[...this.#unread.values()].flatMap(
				({ memories: own, routing, calibration = routing }) => [
					...own,
					routing,
					calibration,
				],
			),
		]);
		folder.commit({
			add,
			keep: (path) => taken.has(path),
			meta,
			...(saving && { history: saving.history }),
		});
	}

	#storeCalibration(
		id: string,
		put: (tensors: Readonly<Record<string, AnyTensor>>) => string,
	): { readonly calibration?: string } {
		const lists = this.#recalibrated.get(id);
		if (!lists) return {};
		return {
			calibration: put(
				Object.fromEntries(
					lists.map((scores, i) => [
						`scores.${i}`,
						float64([scores.length], scores),
					]),
				),
			),
		};
	}

	/**
	 * Reads a version of memory/, every file checked against its hash. `only`: of these categories, and of others what routing needs: they
	 * cannot be scored, and the next version takes their files over. Where a memory is `shared`, all are read.
	 */
	static load(
		folder: VersionedFolder,
		threads: number,
		only: readonly string[] | null = null,
	): Knowledge {
		const parsed = metaSchema.safeParse(ofSeveral(folder.meta));
		if (!parsed.success)
			throw fail("DAMAGED", {
				path: folder.dir,
				problem: `its manifest does not describe a memory (${firstIssue(parsed.error)})`,
			});
		const meta = parsed.data;
		for (const setup of meta.memories) checkOptions(setup, folder.dir);
		const at = (path: string) => join(folder.dir, path);
		const read = (path: string) =>
			Object.fromEntries(
				Object.entries(
					readSafetensors(folder.read(path), at(path)).tensors,
				).map(([name, t]) => [name, toTensor(t)]),
			);
		const cache = new Map<string, TensorDict>();
		const weightsAt = (path: string | null): TensorDict | null => {
			if (path === null) return null;
			const known =
				cache.get(path) ?? fitting(floats(read(path), at(path)), at(path));
			cache.set(path, known);
			return known;
		};
		const config: VitConfig = meta.vit;
		const shapes = parameterShapes(config);
		/** Of the network's parameters those that are there. */
		const fitting = (tensors: TensorDict, path: string): TensorDict => {
			for (const [name, { shape }] of Object.entries(tensors)) {
				const wanted = Object.hasOwn(shapes, name) ? shapes[name] : undefined;
				if (wanted && shape.join() !== wanted.join())
					throw fail("DAMAGED", {
						path,
						problem: `tensor ${name} has shape [${shape.join(", ")}], the network of the manifest needs [${wanted.join(", ")}]`,
					});
			}
			return tensors;
		};
		const weights = fitting(
			floats(read(meta.backbone), at(meta.backbone)),
			at(meta.backbone),
		);
		for (const [name, wanted] of Object.entries(shapes))
			if (!(name in weights))
				throw fail("DAMAGED", {
					path: at(meta.backbone),
					problem: `tensor ${name} is missing, the network of the manifest needs [${wanted.join(", ")}]`,
				});
		const knowledge = new Knowledge(
			{ config, weights, precision: meta.precision },
			{
				memories: meta.memories,
				from: meta.from,
				falseAlarms: meta.falseAlarms,
			},
			threads,
		);
		knowledge.#backboneFile = meta.backbone;
		const readsAll = only === null || knowledge.memories.some((m) => m.shared);
		knowledge.current = weightsAt(meta.current);
		if (meta.strategy !== null) knowledge.strategyTensors = read(meta.strategy);
		for (const task of meta.tasks) {
			for (const category of task.categories) {
				const { id, memories: files, routing, calibration } = category;
				if (files.length !== meta.memories.length)
					throw fail("DAMAGED", {
						path: folder.dir,
						problem: `its manifest names ${files.length} files of memories for ${id}, and there are ${meta.memories.length} memories`,
					});
				if (readsAll || only.includes(id)) {
					for (const [i, memory] of knowledge.memories.entries())
						memory.restore(id, read(files[i] ?? ""));
					if (calibration !== undefined) {
						const stored = read(calibration);
						knowledge.#recalibrated.set(
							id,
							knowledge.memories.map((_, i) =>
								restoreReals(id, stored, `scores.${i}`),
							),
						);
					}
				} else knowledge.#unread.set(id, category);
				knowledge.router.restore(id, read(routing));
			}
			knowledge.#tasks.push({
				id: task.id,
				categories: task.categories.map((c) => c.id),
				learning: task.learning,
				weights: weightsAt(task.weights),
				...(task.threshold !== undefined && { threshold: task.threshold }),
			});
		}
		return knowledge;
	}
}

/** Of a stored memory: a version of the program that knows other ones may have written it. */
function checkOptions({ name, options }: MemorySetup, dir: string): void {
	const definition = registered<MemoryDefinition>(
		memories as unknown as Record<string, MemoryDefinition>,
		name,
		"memory",
		`the manifest of ${dir}`,
	);
	const parsed = definition.options.safeParse(options);
	if (!parsed.success)
		throw fail("DAMAGED", {
			path: dir,
			problem: `its manifest has options of ${name} that this version does not know (${firstIssue(parsed.error)})`,
		});
}

/** The registry's entry with the options it was asked with. */
function definitionOf({ name, options }: Omit<MemorySetup, "weight">) {
	const definition = registered<MemoryDefinition>(
		memories as unknown as Record<string, MemoryDefinition>,
		name,
		"memory",
		"memory",
	);
	return { definition, options: definition.options.parse(options) };
}

function createMemory(setup: MemorySetup, context: MemoryContext): Memory {
	const { definition, options } = definitionOf(setup);
	return definition.create(options, context);
}

/** Whose patches detect best in networks that were made for something else (docs/experiments.md). */
const MIDDLE = [0.5, 0.75];

/** The patches that a run looks at. */
export interface PatchesRead {
	/** Counted from 0; empty: no memory reads patches. */
	readonly blocks: readonly number[];
	/** Of each memory that reads any, without repetition; rising. */
	readonly tiles: readonly number[];
	/** Other views that are learnt; without repetition. */
	readonly views: readonly Views[];
	/** Patches down and across the whole picture, where they are finest: that of maps. */
	readonly grid: readonly [number, number];
}

type Views = Pick<PatchReading, "tiles" | "augment">;

export const viewsKey = ({ tiles, augment }: Views): string =>
	`${tiles} ${augment}`;

const readingOf = (setup: MemorySetup): PatchReading | undefined => {
	const { definition, options } = definitionOf(setup);
	return definition.patches?.(options);
};

/** Those of all memories. They read the same blocks, or the second to ask for others is refused. */
export function patchesRead(
	config: VitConfig,
	setups: readonly MemorySetup[],
): PatchesRead {
	const readings = setups.flatMap((setup) => readingOf(setup) ?? []);
	const blocks = readings.map((reading) =>
		blocksAt(config, reading.blocks ?? config.patchBlocks ?? MIDDLE),
	);
	const [first = []] = blocks;
	const other = blocks.find((own) => own.join() !== first.join());
	if (other) throw fail("BLOCKS_DIFFER", { first, other });
	const tiles = [...new Set(readings.map((reading) => reading.tiles))].sort(
		(a, b) => a - b,
	);
	const views = new Map(
		readings
			.filter(({ augment }) => augment !== "none")
			.map((reading) => [viewsKey(reading), reading]),
	);
	const finest = tiles.at(-1) ?? 1;
	const [h, w] = gridOf(config);
	return {
		blocks: first,
		tiles,
		views: [...views.values()],
		grid: [h * finest, w * finest],
	};
}

/** Every cell of the second grid has the value of the cell of the first that its middle lies in. */
function resampled(
	map: Float32Array,
	from: readonly [number, number],
	to: readonly [number, number],
): Float32Array {
	return Float32Array.from(cellsUnder(from, to), (cell) => map[cell] as number);
}

/** For every cell of the second grid, row by row, the one of the first that its middle lies in. */
export function cellsUnder(
	[rows, columns]: readonly [number, number],
	[h, w]: readonly [number, number],
): readonly number[] {
	return Array.from({ length: h * w }, (_, i) => {
		const r = Math.floor(((Math.floor(i / w) + 0.5) * rows) / h);
		const c = Math.floor((((i % w) + 0.5) * columns) / w);
		return r * columns + c;
	});
}

const largerOf = (a: Float32Array | null, b: Float32Array): Float32Array =>
	a ? b.map((value, i) => Math.max(value, a[i] as number)) : b;

/** Whether a memory learns embeddings of normal views as the pretext task augments them. */
export function readsViews(setup: MemorySetup): boolean {
	const { definition, options } = definitionOf(setup);
	return definition.augmented?.(options) ?? false;
}

function floats(tensors: Record<string, AnyTensor>, file: string): TensorDict {
	for (const [name, t] of Object.entries(tensors))
		if (t.dtype !== "float32")
			throw fail("DAMAGED", {
				path: file,
				problem: `tensor ${name} is ${t.dtype}, not float32`,
			});
	const odd = notFinite(tensors as TensorDict);
	if (odd !== null)
		throw fail("DAMAGED", {
			path: file,
			problem: `tensor ${odd} holds NaN or infinity`,
		});
	return tensors as TensorDict;
}

const size = (tensors: Readonly<Record<string, AnyTensor>>): number =>
	Object.values(tensors).reduce((sum, t) => sum + t.data.byteLength, 0);
