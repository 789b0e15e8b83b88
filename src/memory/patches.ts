/**
 * Patch memory: what is kept of a category is a bank of patch embeddings of its good parts, and an image is as anomalous as its
 * patch that is farthest from all of them (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022).
 * The patches are those of the PRETRAINED network's middle blocks (models/vit.ts, patchEmbedding), which no strategy trains: a bank
 * never goes stale, and learning a product changes nothing of the earlier ones.
 *
 * Raw scores are cosine distances. The bank is a coreset (coreset.ts) of at most `bytesPerTask`, stored in half precision or
 * in 8 bits; what is scored is what is stored. Cross-fitted: the good image against all centres of other images; the coreset itself
 * has seen it, which makes these scores a little large.
 * Patches outside of a category's region of interest are neither learnt nor scored: their distance is 0.
 */
import { z } from "zod";
import { fromHalf, toHalf } from "../engine/half.ts";
import {
	type AnyTensor,
	float32,
	type Tensor,
	uint8,
} from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import type { Random } from "../random.ts";
import { kCentre } from "./coreset.ts";
import {
	type CrossFitted,
	defineMemory,
	type Entry,
	type Features,
	known,
	type Memory,
	type MemoryContext,
	type RawScores,
	sumBytes,
} from "./memory.ts";
import { Nearest } from "./nearest.ts";
import { list, restoreArray, restoreReals, type Stored } from "./stored.ts";

const options = z.strictObject({
	blocks: z
		.array(z.number().gt(0).max(1))
		.min(1)
		.default([0.5, 0.75])
		.describe(
			"after which blocks patches are read, as fractions of the depth; all below the first trained block",
		),
	bytesPerTask: z
		.int()
		.positive()
		.default(4_000_000)
		.describe("largest bank of a category, in bytes"),
	tiles: z
		.int()
		.min(1)
		.max(8)
		.default(1)
		.describe(
			"for small defects in large pictures: patches are read of tiles x tiles parts of the picture, each resized to image_size; scoring takes tiles² forward passes more",
		),
	store: z
		.enum(["float16", "int8"])
		.default("float16")
		.describe("how a bank is stored; int8 holds twice as many patches"),
});
type Options = z.output<typeof options>;

interface Bank {
	readonly stored: Readonly<Record<string, AnyTensor>>;
	/** The same in float32. */
	readonly centres: Tensor; // [M, D]
	readonly roi: Uint8Array | null; // [N]
	readonly crossFitted: Float64Array;
}

export const patches = defineMemory({
	title: "Patch memory",
	paper: "Roth et al. 2022",
	options,
	patches: ({ blocks, tiles }) => ({ blocks, tiles }),
	create: (chosen, context) => new Patches(chosen, context),
});

class Patches implements Memory {
	readonly tail = "gumbel"; // of maxima
	readonly #options: Options;
	readonly #d: number;
	readonly #threads: number;
	readonly #nearest: Nearest;
	readonly #kept = new Map<string, Bank>();

	constructor(chosen: Options, { embedDim, threads }: MemoryContext) {
		this.#options = chosen;
		this.#d = embedDim;
		this.#threads = threads;
		this.#nearest = new Nearest(threads);
	}

	get ids(): readonly string[] {
		return [...this.#kept.keys()];
	}

	async add(entry: Entry, random: Random): Promise<void> {
		const { id, learnt, heldOut, roi = null } = entry;
		if (this.#kept.has(id)) throw fail("CATEGORY_ALREADY_LEARNT", { id });
		await this.#learn(id, {
			images: this.#rows(id, learnt, roi),
			others:
				heldOut && heldOut.ids.length > 0 ? this.#rows(id, heldOut, roi) : [],
			roi,
			earlier: null,
			random: random.derive("patches", id),
		});
	}

	remove(id: string): void {
		known(this.#kept, id);
		this.#kept.delete(id);
	}

	/** The new coreset is of the old centres and the new patches; scores of earlier images stay. */
	async merge(id: string, features: Features, random: Random): Promise<void> {
		const earlier = known(this.#kept, id);
		await this.#learn(id, {
			images: this.#rows(id, features, earlier.roi),
			others: [],
			roi: earlier.roi,
			earlier,
			random: random.derive("patches", id),
		});
	}

	async #learn(
		id: string,
		{
			images,
			others,
			roi,
			earlier,
			random,
		}: {
			readonly images: readonly Tensor[];
			readonly others: readonly Tensor[];
			readonly roi: Uint8Array | null;
			readonly earlier: Bank | null;
			readonly random: Random;
		},
	): Promise<void> {
		const sources = earlier ? [earlier.centres, ...images] : images;
		const starts = startsOf(sources);
		// by position: the centres of one image lie together
		const chosen = (
			await kCentre(sources, this.#capacity(), random, this.#threads)
		).sort((a, b) => a - b);
		const stored = this.#store(gather(sources, starts, chosen, this.#d));
		const centres = this.#load(id, stored);
		const scores: number[] = [];
		const first = sources.length - images.length;
		for (const [i, image] of images.entries()) {
			const [from, to] = [starts[first + i], starts[first + i + 1]] as [
				number,
				number,
			];
			const own = [lower(chosen, from), lower(chosen, to)] as const;
			if (own[1] - own[0] === chosen.length) continue; // nothing to compare a single image with
			scores.push(largest(await this.#nearest.distances(image, centres, own)));
		}
		for (const image of others)
			scores.push(largest(await this.#nearest.distances(image, centres)));
		this.#kept.set(id, {
			stored,
			centres,
			roi,
			crossFitted: Float64Array.from([
				...(earlier?.crossFitted ?? []),
				...scores,
			]),
		});
	}

	async score(id: string, features: Features): Promise<RawScores> {
		const { centres, roi } = known(this.#kept, id);
		const maps: Float32Array[] = [];
		for (const image of this.#rows(id, features, roi))
			maps.push(spread(await this.#nearest.distances(image, centres), roi));
		return { scores: Float64Array.from(maps, largest), maps };
	}

	crossFitted(id: string): CrossFitted {
		return { scores: known(this.#kept, id).crossFitted, optimism: null };
	}

	tensors(id: string): Record<string, AnyTensor> {
		const { stored, crossFitted, roi } = known(this.#kept, id);
		return {
			...stored,
			"crossFitted.scores": list(crossFitted),
			...(roi && { roi: uint8([roi.length], roi) }),
		};
	}

	restore(id: string, tensors: Stored): void {
		const names = this.#options.store === "int8" ? ["bank", "scale"] : ["bank"];
		const stored = Object.fromEntries(
			names.map((name) => [name, copyOf(tensors[name])]),
		);
		this.#kept.set(id, {
			stored,
			centres: this.#load(id, tensors),
			roi: Object.hasOwn(tensors, "roi")
				? restoreArray(id, tensors, "roi", "uint8").slice()
				: null,
			crossFitted: restoreReals(id, tensors, "crossFitted.scores"),
		});
	}

	bytes(id: string): number {
		return sumBytes(this.tensors(id));
	}

	release(): Promise<void> {
		return this.#nearest.release();
	}

	/** Centres that fit into the budget. */
	#capacity(): number {
		const { bytesPerTask, store } = this.#options;
		const row = store === "int8" ? this.#d + 4 : 2 * this.#d;
		return Math.max(1, Math.floor(bytesPerTask / row));
	}

	#store(centres: Tensor): Record<string, AnyTensor> {
		return this.#options.store === "int8"
			? toBytes(centres)
			: { bank: toHalf(centres) };
	}

	#load(id: string, tensors: Stored): Tensor {
		const { store } = this.#options;
		const data = restoreArray(
			id,
			tensors,
			"bank",
			store === "int8" ? "uint8" : "float16",
		);
		const shape = [data.length / this.#d, this.#d];
		const scale =
			store === "int8" ? this.#scale(id, tensors, shape[0] as number) : null;
		const centres = scale
			? fromBytes(uint8(shape, data as Uint8Array), scale)
			: fromHalf({ dtype: "float16", shape, data: data as Uint16Array });
		const [m] = centres.shape as [number, number];
		if (!Number.isInteger(m) || m === 0 || !centres.data.every(Number.isFinite))
			throw fail("MEMORY_DAMAGED", {
				id,
				tensor: "bank",
				problem: `is not a finite [M, ${this.#d}]`,
			});
		return centres;
	}

	#scale(id: string, tensors: Stored, rows: number): Float32Array {
		const scale = restoreArray(id, tensors, "scale", "float32");
		const problem =
			Number.isInteger(rows) && scale.length !== rows
				? `has ${scale.length} values instead of ${rows}`
				: scale.every(Number.isFinite)
					? null
					: "holds a value that is not finite";
		if (problem) throw fail("MEMORY_DAMAGED", { id, tensor: "scale", problem });
		return scale;
	}

	/** The patches of each image that are looked at. */
	#rows(
		id: string,
		{ ids, patches: images }: Features,
		roi: Uint8Array | null,
	): readonly Tensor[] {
		if (!images || images.length !== ids.length)
			throw fail("FEATURES_UNUSABLE", {
				id,
				problem: `${ids.length} images have ${images?.length ?? 0} sets of patches`,
			});
		if (images.length === 0)
			throw fail("FEATURES_UNUSABLE", { id, problem: "there are no images" });
		if (
			roi &&
			(!roi.includes(1) || images.some(({ shape }) => shape[0] !== roi.length))
		)
			throw fail("FEATURES_UNUSABLE", {
				id,
				problem: `of ${images[0]?.shape[0]} patches the region names ${roi.length}`,
			});
		for (const [i, { shape, data }] of images.entries()) {
			const bad = data.find((value) => !Number.isFinite(value));
			if (shape[1] !== this.#d || bad !== undefined)
				throw fail("FEATURES_UNUSABLE", {
					id,
					problem: `patches of image ${ids[i]} ${bad === undefined ? `have shape [${shape.join(", ")}]` : `hold the value ${bad}`}`,
				});
		}
		return roi ? images.map((image) => inside(image, roi)) : images;
	}
}

/** The rows where `roi` is 1. */
function inside({ shape, data }: Tensor, roi: Uint8Array): Tensor {
	const d = shape[1] as number;
	const rows = [...roi.keys()].filter((i) => roi[i] === 1);
	const out = float32([rows.length, d]);
	rows.forEach((row, i) => {
		out.data.set(data.subarray(row * d, (row + 1) * d), i * d);
	});
	return out;
}

/** Values of the rows where `roi` is 1 back at their places, 0 elsewhere. */
function spread(values: Float32Array, roi: Uint8Array | null): Float32Array {
	if (!roi) return values;
	let at = 0;
	return Float32Array.from(roi, (counts) =>
		counts === 1 ? (values[at++] as number) : 0,
	);
}

const copyOf = (tensor: AnyTensor | undefined) =>
	({ ...tensor, data: tensor?.data.slice() }) as AnyTensor;

const largest = (values: Float32Array): number =>
	values.reduce((a, b) => Math.max(a, b), 0);

/** Position of each source's first row, and of the end. */
function startsOf(sources: readonly Tensor[]): number[] {
	const starts = [0];
	for (const { shape } of sources)
		starts.push((starts.at(-1) as number) + (shape[0] as number));
	return starts;
}

/** How many of the sorted numbers are below the limit. */
function lower(sorted: readonly number[], limit: number): number {
	let [low, high] = [0, sorted.length];
	while (low < high) {
		const middle = (low + high) >> 1;
		if ((sorted[middle] as number) < limit) low = middle + 1;
		else high = middle;
	}
	return low;
}

/** Rows by their position, counted through all sources; positions rise. */
function gather(
	sources: readonly Tensor[],
	starts: readonly number[],
	positions: readonly number[],
	d: number,
): Tensor {
	const out = float32([positions.length, d]);
	let source = 0;
	for (const [i, position] of positions.entries()) {
		while (position >= (starts[source + 1] as number)) source++;
		const row = position - (starts[source] as number);
		out.data.set(
			(sources[source] as Tensor).data.subarray(row * d, (row + 1) * d),
			i * d,
		);
	}
	return out;
}

/** Symmetric 8 bits about 128, a scale a row. */
function toBytes({ shape, data }: Tensor): Record<string, AnyTensor> {
	const [m, d] = shape as [number, number];
	const bank = uint8([m, d]);
	const scale = float32([m]);
	for (let r = 0; r < m; r++) {
		const row = data.subarray(r * d, (r + 1) * d);
		const step = Math.fround(
			row.reduce((a, x) => Math.max(a, Math.abs(x)), 0) / 127 || 1,
		);
		scale.data[r] = step;
		for (let i = 0; i < d; i++)
			bank.data[r * d + i] = 128 + Math.round((row[i] as number) / step);
	}
	return { bank, scale };
}

function fromBytes(
	{ shape, data }: Tensor<"uint8">,
	scale: Float32Array,
): Tensor {
	const d = shape[1] as number;
	return float32(
		shape,
		Float32Array.from(
			data,
			(u, i) => (u - 128) * (scale[Math.floor(i / d)] ?? Number.NaN),
		),
	);
}
