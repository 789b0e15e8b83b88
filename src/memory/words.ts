/**
 * Words: how much of what an image shows. Patches of good parts are clustered into "words"; an image is the share that each word has of
 * its patches, and good images are a Gaussian of such shares. What no single patch tells is seen: a nut too few, a washer too many.
 * Histograms of clustered patches for logical anomalies: Kim et al., "Few Shot Part Segmentation Reveals Compositional Logic for
 * Industrial Anomaly Detection", AAAI 2024; of random projections: Cohen et al., "Set Features for Anomaly Detection", 2023.
 * Departures: no segmentation, patches are assigned softly, softmax(cosine / temperature), and the Gaussian is Ledoit-Wolf's, whose
 * leave-one-out scores calibrate. The raw score is the squared Mahalanobis distance. Images too odd to be of good parts stay out of the
 * Gaussian (crossfit.ts).
 *
 * Patches are the pretrained network's, so nothing that trains moves a word. The words of a product are found once: more images
 * move the Gaussian (its moments merge exactly), not the words. Patches outside of the region of interest are not counted.
 */
import { z } from "zod";
import { fromHalf, toHalf } from "../engine/half.ts";
import { input, type Value } from "../engine/graph.ts";
import {
	add,
	argMax,
	cast,
	matmul,
	mul,
	reshape,
	softmax,
	toFloat,
} from "../engine/ops/index.ts";
import { Session } from "../engine/runtime.ts";
import {
	type AnyTensor,
	float32,
	type Tensor,
	uint8,
} from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import {
	type Gaussian,
	type Moments,
	mergeMoments,
	momentsOf,
	type Rows,
	squaredDistances,
} from "../linalg/covariance.ts";
import type { Random } from "../random.ts";
import { type Chosen, padded, padding, squaredDistanceOf } from "./chosen.ts";
import { densityOf, joined, learntDensity, rescaled } from "./crossfit.ts";
import {
	type CrossFitted,
	checkedPatches,
	defineMemory,
	type Entry,
	type Features,
	type ImageValues,
	known,
	type Memory,
	type MemoryContext,
	type RawScores,
	type ScoreValues,
	sumBytes,
} from "./memory.ts";
import {
	list,
	restoreArray,
	restoreMoments,
	restoreReals,
	storedGaussian,
	rounded,
	type Stored,
	storeMoments,
} from "./stored.ts";

const options = z.strictObject({
	blocks: z
		.array(z.number().gt(0).max(1))
		.min(1)
		.nullable()
		.default(null)
		.describe("as for the memory `patches`"),
	tiles: z.int().min(1).max(8).default(1).describe("as for `patches`"),
	words: z
		.int()
		.min(2)
		.max(1024)
		.default(256)
		.describe("clusters of a product's patches"),
	robust: z
		.boolean()
		.default(true)
		.describe("images too odd to be of good parts stay out of the Gaussian"),
	temperature: z
		.number()
		.positive()
		.default(0.1)
		.describe(
			"how softly a patch is shared out between the words it is like: cosines are divided by it; towards 0 the nearest word alone counts",
		),
});
type Options = z.output<typeof options>;

/** Added to the cosine to what is no word of a product: its share is 0. */
const BEYOND = -1e6;
/** Patches that words are found from, and how often they are assigned anew (docs/experiments.md). */
const SAMPLED = 4000;
const ROUNDS = 5;

interface Kept {
	readonly words: Tensor; // [K, D], float16 numbers
	readonly roi: Uint8Array | null; // [N]
	readonly moments: Moments;
	readonly crossFitted: CrossFitted;
	readonly gaussian: Gaussian; // derived
}

export const words = defineMemory({
	title: "Words",
	paper: "Kim et al. 2024; Cohen et al. 2023",
	options,
	patches: ({ blocks, tiles }) => ({ blocks, tiles, augment: "none" }),
	create: (chosen, context) => new Words(chosen, context),
});

class Words implements Memory {
	readonly tail = "gamma"; // of squared distances
	readonly #options: Options;
	readonly #d: number;
	readonly #n: number;
	readonly #threads: number;
	readonly #kept = new Map<string, Kept>();
	/** By the number of words. */
	readonly #sessions = new Map<number, Promise<Session>>();

	constructor(chosen: Options, { embedDim, threads, grid }: MemoryContext) {
		this.#options = chosen;
		this.#d = embedDim;
		this.#n = grid[0] * grid[1];
		this.#threads = threads;
	}

	get ids(): readonly string[] {
		return [...this.#kept.keys()];
	}

	async add(
		{ id, learnt, heldOut, roi = null }: Entry,
		random: Random,
	): Promise<void> {
		if (this.#kept.has(id)) throw fail("CATEGORY_ALREADY_LEARNT", { id });
		const images = this.#images(id, learnt, roi);
		const found = fromHalf(
			toHalf(await this.#cluster(images, roi, random.derive("words", id))),
		);
		const rows = await this.#shares(images, found, roi);
		const others =
			heldOut && heldOut.ids.length > 0
				? await this.#shares(this.#images(id, heldOut, roi), found, roi)
				: { n: 0, d: rows.d, data: new Float64Array(0) };
		const {
			moments,
			gaussian,
			scores: own,
		} = learntDensity(rows, this.#options);
		this.#kept.set(id, {
			words: found,
			roi,
			moments,
			crossFitted: {
				scores: joined(own, squaredDistances(gaussian, others)),
				optimism: null,
			},
			gaussian,
		});
	}

	remove(id: string): void {
		known(this.#kept, id);
		this.#kept.delete(id);
	}

	async merge(id: string, features: Features): Promise<void> {
		const kept = known(this.#kept, id);
		const images = this.#images(id, features, kept.roi);
		const rows = await this.#shares(images, kept.words, kept.roi);
		const moments = rounded(mergeMoments(kept.moments, momentsOf(rows)));
		const { gaussian, scores: fresh } = densityOf(moments, rows);
		const earlier = rescaled(kept.crossFitted, kept.moments, moments);
		this.#kept.set(id, {
			...kept,
			moments,
			crossFitted: { ...earlier, scores: joined(earlier.scores, fresh) },
			gaussian,
		});
	}

	async score(id: string, features: Features): Promise<RawScores> {
		const kept = known(this.#kept, id);
		const images = this.#images(id, features, kept.roi);
		const rows = await this.#shares(images, kept.words, kept.roi);
		return { scores: squaredDistances(kept.gaussian, rows), maps: null };
	}

	graph(chosen: Chosen, { patches }: ImageValues): ScoreValues {
		const all = chosen.ids.map((id) => known(this.#kept, id));
		const counts = all.map((kept) => kept.words.shape[0] as number);
		const most = Math.max(...counts);
		const found = chosen.pick(
			all.map((kept) => padded(toHalf(kept.words), most)),
		);
		const similarity = matmul(patches as Value, toFloat(found), {
			transB: true,
		});
		const beyond = padding(chosen, counts, BEYOND);
		const parts = softmax(
			mul(
				beyond ? add(similarity, beyond) : similarity,
				1 / this.#options.temperature,
			),
		);
		const looked = chosen.pick(all.map(({ roi }) => this.#counts(roi)));
		return {
			score: reshape(
				squaredDistanceOf(
					chosen,
					all.map(({ gaussian }) => gaussian),
					cast(matmul(looked, parts), "float64"),
				),
				[],
			),
			map: null,
			foreign: null,
		};
	}

	crossFitted(id: string): CrossFitted {
		return known(this.#kept, id).crossFitted;
	}

	tensors(id: string): Record<string, AnyTensor> {
		const { words: found, roi, moments, crossFitted } = known(this.#kept, id);
		return {
			words: toHalf(found),
			...storeMoments(moments),
			"crossFitted.scores": list(crossFitted.scores),
			...(roi && { roi: uint8([roi.length], roi.slice()) }),
		};
	}

	restore(id: string, tensors: Stored): void {
		const half = restoreArray(id, tensors, "words", "float16");
		const shape = [half.length / this.#d, this.#d];
		const found = fromHalf({ dtype: "float16", shape, data: half });
		if (
			!Number.isInteger(shape[0]) ||
			shape[0] === 0 ||
			!found.data.every(Number.isFinite)
		)
			throw fail("MEMORY_DAMAGED", {
				id,
				tensor: "words",
				problem: `is not a finite [K, ${this.#d}]`,
			});
		const moments = restoreMoments(id, tensors, shape[0] as number);
		this.#kept.set(id, {
			words: found,
			roi: Object.hasOwn(tensors, "roi")
				? restoreArray(id, tensors, "roi", "uint8").slice()
				: null,
			moments,
			crossFitted: {
				scores: restoreReals(id, tensors, "crossFitted.scores"),
				optimism: null,
			},
			gaussian: storedGaussian(id, moments),
		});
	}

	bytes(id: string): number {
		return sumBytes(this.tensors(id));
	}

	async release(): Promise<void> {
		const sessions = [...this.#sessions.values()];
		this.#sessions.clear();
		for (const session of sessions) await (await session).release();
	}

	#images(
		id: string,
		features: Features,
		roi: Uint8Array | null,
	): readonly Tensor[] {
		return checkedPatches(id, features, [this.#n, this.#d], roi);
	}

	/** k-means on the sphere (Dhillon & Modha 2001) from patches drawn by chance; a word that no patch is nearest to stays where it is. */
	async #cluster(
		images: readonly Tensor[],
		roi: Uint8Array | null,
		random: Random,
	): Promise<Tensor> {
		const d = this.#d;
		const points = sampled(images, roi, d, random);
		const n = points.shape[0] as number;
		const k = Math.min(this.#options.words, n);
		const found = float32([k, d], points.data.slice(0, k * d));
		const session = await Session.create(
			{
				nearest: argMax(
					matmul(input("points", [n, d]), input("words", [k, d]), {
						transB: true,
					}),
					1,
				),
			},
			{ threads: this.#threads, weights: { points } },
		);
		try {
			for (let round = 0; round < ROUNDS; round++) {
				const { nearest } = await session.run({ words: found });
				moveTo(found, points, (nearest as AnyTensor).data as BigInt64Array);
			}
		} finally {
			await session.release();
		}
		return found;
	}

	/** The share of each word in each image [n, K]; each image on its own. */
	async #shares(
		images: readonly Tensor[],
		found: Tensor,
		roi: Uint8Array | null,
	): Promise<Rows> {
		const k = found.shape[0] as number;
		const counts = this.#counts(roi);
		const session = await this.#session(k);
		const data = new Float64Array(images.length * k);
		for (const [i, patches] of images.entries()) {
			const { shares } = await session.run({ patches, words: found, counts });
			data.set((shares as Tensor).data, i * k);
		}
		return { n: images.length, d: k, data };
	}

	/** What each patch counts of an image [1, N]. */
	#counts(roi: Uint8Array | null): Tensor {
		const looked = roi ? roi.reduce((sum, x) => sum + x, 0) : this.#n;
		const counts = float32([1, this.#n]);
		for (let i = 0; i < this.#n; i++) counts.data[i] = (roi?.[i] ?? 1) / looked;
		return counts;
	}

	#session(k: number): Promise<Session> {
		const known = this.#sessions.get(k);
		if (known) return known;
		const similarity = matmul(
			input("patches", [this.#n, this.#d]),
			input("words", [k, this.#d]),
			{ transB: true },
		);
		const parts = softmax(mul(similarity, 1 / this.#options.temperature));
		const made = Session.create(
			{ shares: matmul(input("counts", [1, this.#n]), parts) },
			{ threads: this.#threads },
		);
		this.#sessions.set(k, made);
		return made;
	}
}

/** At most SAMPLED of the patches that are looked at, in an order of chance. */
function sampled(
	images: readonly Tensor[],
	roi: Uint8Array | null,
	d: number,
	random: Random,
): Tensor {
	const n = images[0]?.shape[0] as number;
	const places: number[] = []; // image and patch as one number
	for (const i of images.keys())
		for (let j = 0; j < n; j++) if (roi?.[j] !== 0) places.push(i * n + j);
	const count = Math.min(SAMPLED, places.length);
	const points = float32([count, d]);
	for (let i = 0; i < count; i++) {
		const other = i + random.integer(places.length - i);
		const place = places[other] as number;
		places[other] = places[i] as number;
		const { data } = images[Math.floor(place / n)] as Tensor;
		const at = (place % n) * d;
		points.data.set(data.subarray(at, at + d), i * d);
	}
	return points;
}

/** Every word becomes the mean direction of the points that are nearest to it. */
function moveTo(found: Tensor, points: Tensor, nearest: BigInt64Array): void {
	const [k, d] = found.shape as [number, number];
	const sums = new Float64Array(k * d);
	for (const [i, word] of nearest.entries())
		for (let j = 0, at = Number(word) * d; j < d; j++, at++)
			sums[at] = (sums[at] as number) + (points.data[i * d + j] as number);
	for (let w = 0; w < k; w++) {
		const sum = sums.subarray(w * d, (w + 1) * d);
		const length = Math.hypot(...sum);
		if (length > 0)
			found.data.set(
				sum.map((x) => x / length),
				w * d,
			);
	}
}
