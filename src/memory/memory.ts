/** What a memory is: all that is kept of a category once its images are gone, and how a new image is scored against it. */
import type { z } from "zod";
import type { AnyTensor, Tensor } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import type { TailKind } from "../calibration.ts";
import type { Augment } from "../data/turn.ts";
import type { Value } from "../engine/graph.ts";
import { dot, type Rows } from "../linalg/covariance.ts";
import type { Random } from "../random.ts";
import type { Chosen } from "./chosen.ts";

/** What the backbone says about n images, as a memory reads it. */
export interface Features {
	readonly ids: readonly string[]; // [n]
	/** Class token after the (trained) final norm. */
	readonly embedding: Tensor; // [n, D]
	/** Class token of the pretrained network, which no training touches: for routing. */
	readonly frozen: Tensor; // [n, D]
	/** Patch embeddings of the pretrained network's middle blocks, image by image; null: the memory reads none. */
	readonly patches: readonly Tensor[] | null; // n of [N, D], every row at length 1
	/** The same of each image turned or flipped, where the memory asks for it and the image is to be learnt. */
	readonly turned?: readonly Tensor[] | null; // n of [V · N, D]
}

/** Raw scores, higher = more anomalous. Their unit is the memory's own business. */
export interface RawScores {
	readonly scores: Float64Array; // [n]
	/** Raw scores of every patch of each image, row by row; null: the memory does not know where an anomaly is. */
	readonly maps: readonly Float32Array[] | null; // n of [N]
}

/** Told of long work while it goes on, `done` of `total`; throws where it is to end. */
export type Pace = (done: number, total: number, unit: string) => Promise<void>;

/** One category to remember. */
export interface Entry {
	/** "mvtec/bottle" */
	readonly id: string;
	/** Id of the task it was learnt in; categories of one task share it. */
	readonly group: string;
	readonly learnt: Features;
	/** Whether learnt image i took part in training weights. */
	readonly trained: readonly boolean[]; // [n]
	/** Good images that are never learnt; they only calibrate. */
	readonly heldOut: Features | null;
	/** 1 where patches are looked at; null: everywhere. */
	readonly roi?: Uint8Array | null; // [N]
	readonly pace?: Pace;
}

/** What calibration reads: scores of good images as if they had not been learnt. */
export interface CrossFitted {
	/** Raw scores; empty where nothing can be measured (a single image). */
	readonly scores: Float64Array;
	/** log(mean score of untrained images / mean score of trained ones); null unless weights trained on some and not on others. */
	readonly optimism: number | null;
}

/** An option that was tried on the good parts. */
export interface Trial {
	readonly option: string;
	readonly taken: boolean;
	/** Of the .95 quantile of their cross-fitted scores: 1.05 is 5 % more. */
	readonly change: number;
}

/** What is kept of every category, and how an image is scored against it. Higher scores: more anomalous. */
export interface Memory {
	readonly ids: readonly string[];
	/** What the tail of good images' raw scores looks like. */
	readonly tail: TailKind;
	add(entry: Entry, random: Random): void | Promise<void>;
	remove(id: string): void;
	/** More good images of a known category, none of which trained weights. */
	merge(
		id: string,
		features: Features,
		random: Random,
		pace?: Pace,
	): void | Promise<void>;
	/** Each image on its own. */
	score(id: string, features: Features): RawScores | Promise<RawScores>;
	crossFitted(id: string): CrossFitted;
	/** Whether what is kept of one category changes with the others: then all of them must be there before one is added. */
	readonly shared?: boolean;
	/**
	 * Whether so much of an image with these raw scores is unusual that it hardly shows this product at all; null: not known. Absent
	 * where it cannot tell how much of an image is.
	 */
	foreign?(id: string, map: Float32Array): boolean | null; // [N]
	/** Of the category added last: options that its good parts decided on. */
	readonly trials?: readonly Trial[];
	/**
	 * Weights moved: features of the same images before and after. To be called before the newest category is added.
	 * Absent where nothing follows, so that nobody looks at images twice in vain.
	 */
	drift?(before: Features, after: Features): void;
	/**
	 * How far what is kept of a category lies from these features of its normals, seen with today's weights: 0 is not at all, 1 as far
	 * as a single normal lies from their mean.
	 */
	staleness?(id: string, features: Features): number;
	/** All that is kept of a category. A memory restored from it scores bit for bit as this one does. */
	tensors(id: string): Record<string, AnyTensor>;
	restore(id: string, tensors: Readonly<Record<string, AnyTensor>>): void;
	bytes(id: string): number;
	/** Frees what it computes with; it can be used again afterwards. */
	release?(): Promise<void>;
	/** `score` and `foreign` as a graph, of one image. Absent where it cannot be one: then it cannot be exported. */
	graph?(chosen: Chosen, image: ImageValues): ScoreValues;
}

/** What the backbone says about one image, as values of a graph. */
export interface ImageValues {
	readonly embedding: Value; // [1, D]
	/** At length 1; null: the memory reads none. */
	readonly patches: Value | null; // [N, D]
}

/** Raw scores of one image. */
export interface ScoreValues {
	readonly score: Value; // float64 []
	readonly map: Value | null; // float32 [N]
	/** One of `Foreign`; null: it never tells. */
	readonly foreign: Value | null; // float64 []
}

/** What a memory says of an image in a graph. Several memories: the image is foreign where the least of what they say is `yes`. */
export const Foreign = { no: 0, yes: 1, notKnown: 2 } as const;

/** What a memory is told of the network it works with. */
export interface MemoryContext {
	/** D, the width of the backbone. */
	readonly embedDim: number;
	readonly threads: number;
	/** Patches down and across a picture, as the memory reads them. */
	readonly grid: readonly [number, number];
}

/** Which patches of an image are looked at. */
export interface PatchReading {
	/** After which blocks, as fractions of the depth; null: as the backbone wants it. */
	readonly blocks: readonly number[] | null;
	/** Tiles down and across that the image is cut into, each as large to the network as a whole image. */
	readonly tiles: number;
	/** Other views of which patches are learnt too. */
	readonly augment: Augment;
}

/** An entry of the registry of memories. */
export interface MemoryDefinition<Options = unknown> {
	readonly title: string;
	readonly paper: string;
	readonly options: z.ZodType<Options>;
	/** Whether it learns embeddings of normal views as the pretext task augments them; default: of the clean images. */
	augmented?(options: Options): boolean;
	/** The patches it reads. Default: none. */
	patches?(options: Options): PatchReading;
	/** Whether its scores come with maps. Default: they do not. */
	readonly maps?: boolean;
	create(options: Options, context: MemoryContext): Memory;
}

/** A memory, its options typed by their schema. `options` is a z.strictObject; `create` gets what it parsed. */
export const defineMemory = <Schema extends z.ZodType>(definition: {
	title: string;
	paper: string;
	options: Schema;
	augmented?(options: z.output<Schema>): boolean;
	patches?(options: z.output<Schema>): PatchReading;
	maps?: boolean;
	create(options: z.output<Schema>, context: MemoryContext): Memory;
}): MemoryDefinition<z.output<Schema>> =>
	definition as unknown as MemoryDefinition<z.output<Schema>>;

/**
 * Rows of length 1, rounded to float32 so that storing them changes nothing. A row of zeros stays zeros.
 * Refuses what would spoil every later number: no images, a foreign width, a value that is not finite.
 */
export function unitRows(
	id: string,
	ids: readonly string[],
	tensor: Tensor,
	d: number,
): Rows {
	const [n, width] = tensor.shape;
	if (
		tensor.shape.length !== 2 ||
		width !== d ||
		n !== ids.length ||
		tensor.data.length !== ids.length * d
	)
		throw fail("FEATURES_UNUSABLE", {
			id,
			problem: `their shape is [${tensor.shape.join(", ")}], not [${ids.length}, ${d}]`,
		});
	if (n === 0)
		throw fail("FEATURES_UNUSABLE", { id, problem: "there are no images" });
	const bad = tensor.data.findIndex((value) => !Number.isFinite(value));
	if (bad >= 0)
		throw fail("FEATURES_UNUSABLE", {
			id,
			problem: `image ${ids[Math.floor(bad / d)]} has the value ${tensor.data[bad]}`,
		});
	const rows = normalised({ n, d, data: Float64Array.from(tensor.data) });
	return { ...rows, data: rows.data.map(Math.fround) };
}

/** The patches of each image, all of them [n, d] and finite, of which a region names at least one; else an error that says which is not. */
export function checkedPatches(
	id: string,
	{ ids, patches }: Features,
	[n, d]: readonly [number, number],
	roi: Uint8Array | null,
): readonly Tensor[] {
	const unusable = (problem: string) =>
		fail("FEATURES_UNUSABLE", { id, problem });
	if (!patches || patches.length !== ids.length)
		throw unusable(
			`${ids.length} images have ${patches?.length ?? 0} sets of patches`,
		);
	if (patches.length === 0) throw unusable("there are no images");
	if (
		roi &&
		(!roi.includes(1) || patches.some(({ shape }) => shape[0] !== roi.length))
	)
		throw unusable(
			`of ${patches[0]?.shape[0]} patches the region names ${roi.length}`,
		);
	for (const [i, { shape, data }] of patches.entries()) {
		if (shape[1] === d && shape[0] === n && allFinite(data)) continue;
		const bad = data.find((value) => !Number.isFinite(value));
		throw unusable(
			`patches of image ${ids[i]} ${bad === undefined ? `have shape [${shape.join(", ")}]` : `hold the value ${bad}`}`,
		);
	}
	return patches;
}

const allFinite = (data: Float32Array): boolean => {
	for (let i = 0; i < data.length; i++)
		if (!Number.isFinite(data[i])) return false;
	return true;
};

/** Every row divided by its length; zeros stay zeros. */
export function normalised({ n, d, data }: Rows): Rows {
	const out = new Float64Array(n * d);
	for (let r = 0; r < n; r++) {
		const row = data.subarray(r * d, (r + 1) * d);
		const length = Math.sqrt(dot(row, row));
		if (length > 0)
			for (let i = 0; i < d; i++) out[r * d + i] = (row[i] as number) / length;
	}
	return { n, d, data: out };
}

/** The entry of `id`, or the error that names the known ones. */
export function known<T>(kept: ReadonlyMap<string, T>, id: string): T {
	const value = kept.get(id);
	if (value === undefined)
		throw fail("CATEGORY_NOT_LEARNT", { id, known: [...kept.keys()] });
	return value;
}

export const sumBytes = (
	tensors: Readonly<Record<string, AnyTensor>>,
): number =>
	Object.values(tensors).reduce(
		(sum, tensor) => sum + tensor.data.byteLength,
		0,
	);
