/**
 * Patch memory: what is kept of a category is a bank of patch embeddings of its good parts, and an image is as anomalous as its
 * patch that is farthest from all of them (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022).
 * The patches are those of the PRETRAINED network's middle blocks (models/vit.ts, patchEmbedding), which no strategy trains: a bank
 * never goes stale, and learning a product changes nothing of the earlier ones.
 *
 * Raw scores are cosine distances, to the nearest of the bank or the mean to its `neighbours` nearest. The bank is a coreset
 * (coreset.ts) of at most `bytesPerTask`, stored in half precision or in 8 bits; what is scored is what is stored. Cross-fitted: the
 * good image against all centres of other images; the coreset itself has seen it, which makes these scores a little large.
 * Patches outside of a category's region of interest are neither learnt nor scored: their distance is 0.
 *
 * A defect is some patches, a foreign product nearly all. So an image is foreign where the share of its patches above the .99 quantile of
 * all cross-fitted distances is more than half, and more than three times that of any good part.
 *
 * What a product's good parts say decides whether an option that may or may not suit it is taken: turned or flipped views only where they
 * lower the .95 quantile of the cross-fitted scores by 5 %, a foreground or a window unless they raise it by more than that.
 */
import { z } from "zod";
import { augments } from "../data/turn.ts";
import { allFinite, fromHalf, toHalf } from "../engine/half.ts";
import { constant, scalar, type Value } from "../engine/graph.ts";
import {
	cast,
	div,
	gather,
	gemm,
	lessOrEqual,
	max,
	mul,
	neg,
	reduceMax,
	reshape,
	sub,
	sum,
	toFloat,
	where,
} from "../engine/ops/index.ts";
import {
	type AnyTensor,
	float32,
	float64,
	int8,
	type Tensor,
	uint8,
} from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import { quantile } from "../metrics/interval.ts";
import type { Random } from "../random.ts";
import { fromBytes, toBytes } from "../engine/bytes.ts";
import { type Chosen, padded, padding } from "./chosen.ts";
import {
	EXCLUDED,
	type Foreground,
	foregroundOf,
	inFront,
	windowBias,
} from "./constraints.ts";
import { kCentre } from "./coreset.ts";
import {
	type CrossFitted,
	checkedPatches,
	defineMemory,
	type Entry,
	type Pace,
	type Features,
	Foreign,
	type ImageValues,
	known,
	type Memory,
	type MemoryContext,
	type RawScores,
	type ScoreValues,
	type Trial,
	sumBytes,
} from "./memory.ts";
import { Centres, distancesOf, Nearest } from "./nearest.ts";
import { lessSurround, lessSurroundOf } from "./surround.ts";
import {
	integer,
	list,
	restoreArray,
	restoreInteger,
	restoreReals,
	type Stored,
} from "./stored.ts";

const options = z.strictObject({
	blocks: z
		.array(z.number().gt(0).max(1))
		.min(1)
		.nullable()
		.default(null)
		.describe(
			"after which blocks patches are read, as fractions of the depth, all below the first trained block; null: those the backbone was made for, or else [0.5, 0.75]",
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
	neighbours: z
		.int()
		.min(1)
		.max(9)
		.default(1)
		.describe(
			"nearest patches of the bank whose distances are averaged; 2 makes the score depend less on the choice of the bank",
		),
	surround: z
		.number()
		.min(0)
		.lt(1)
		.default(0)
		.describe(
			"share of the mean of its 3 x 3 neighbourhood that is taken off a patch: what stands out from its surroundings counts more; 0: nothing",
		),
	augment: z
		.enum(augments)
		.default("none")
		.describe(
			"views of good parts that are learnt too, where that makes good parts look more alike; learning takes 3, 3 or 7 forward passes more",
		),
	window: z
		.int()
		.min(1)
		.max(255)
		.nullable()
		.default(null)
		.describe(
			"for parts that always lie alike: a patch is compared with those at most so many patches away, unless good parts suffer",
		),
	foreground: z
		.boolean()
		.default(false)
		.describe("leave out patches of the background, unless good parts suffer"),
	store: z
		.enum(["float16", "int8"])
		.default("float16")
		.describe("how a bank is stored; int8 holds twice as many patches"),
});
type Options = z.output<typeof options>;

/** Patches of an image that are looked at. */
interface View {
	readonly rows: Tensor; // [n, D]
	/** Where they lie in the grid, row by row. */
	readonly cells: Uint16Array; // [n]
}

/** What of the options was taken. */
interface Choice {
	readonly augmented: boolean;
	readonly foreground: Foreground | null;
	/** Cells; null: everything is compared. */
	readonly window: number | null;
}

/** What patches of good parts are like, cross-fitted. */
interface Usual {
	/** The .99 quantile of their distances. */
	readonly distance: number;
	/** The largest share of one image's patches above it. */
	readonly share: number;
}

type StoredBank = Readonly<Record<string, AnyTensor>>;

interface Bank extends Choice {
	readonly stored: StoredBank;
	readonly cells: Uint16Array; // [M]
	readonly roi: Uint8Array | null; // [N]
	readonly crossFitted: Float64Array;
	/** null: a single image, or stored before this was measured. */
	readonly usual: Usual | null;
	/** The window's bias between the grid's patches that are looked at and the centres; null: no window. */
	readonly bias: Tensor | null; // [n, M]
}

/** One image to learn: its own patches, and those of its other views. */
interface Source {
	readonly own: View;
	readonly turned: View | null;
}

interface Lesson {
	readonly sources: readonly Source[];
	/** Good images that are not learnt. */
	readonly others: readonly View[];
	readonly roi: Uint8Array | null;
	readonly earlier: Bank | null;
	readonly random: Random;
	readonly pace: Pace | undefined;
}

/** Banks that are ready for the search, the last ones: ready, one of 8 bits takes twice the room that it takes stored. */
const READY = 256;

/** Of an image's patches, beyond which it is foreign; and times what any good part has. */
const FOREIGN_SHARE = 0.5;
const FOREIGN_TIMES = 3;

/** Times the .95 quantile of good parts' scores without an option, that with it must not be above this. */
const HARMLESS = 1.05; // of what may cost something
const HELPFUL = 0.95; // of what takes room in the bank

export const patches = defineMemory({
	title: "Patch memory",
	paper: "Roth et al. 2022",
	options,
	patches: ({ blocks, tiles, augment }) => ({ blocks, tiles, augment }),
	maps: true,
	create: (chosen, context) => new Patches(chosen, context),
});

class Patches implements Memory {
	readonly tail = "gumbel"; // of maxima
	readonly #options: Options;
	readonly #d: number;
	readonly #threads: number;
	readonly #grid: readonly [number, number];
	readonly #nearest: Nearest;
	readonly #kept = new Map<string, Bank>();
	/** By what is stored; the last one that was asked for comes last. */
	readonly #ready = new Map<StoredBank, Centres>();
	#trials: readonly Trial[] = [];

	constructor(chosen: Options, { embedDim, threads, grid }: MemoryContext) {
		this.#options = chosen;
		this.#d = embedDim;
		this.#threads = threads;
		this.#grid = grid;
		this.#nearest = new Nearest(threads, chosen.neighbours);
	}

	get ids(): readonly string[] {
		return [...this.#kept.keys()];
	}

	get trials(): readonly Trial[] {
		return this.#trials;
	}

	async add(entry: Entry, random: Random): Promise<void> {
		const { id, learnt, heldOut, roi = null, pace } = entry;
		if (this.#kept.has(id)) throw fail("CATEGORY_ALREADY_LEARNT", { id });
		const lesson: Lesson = {
			sources: this.#sources(id, learnt, roi),
			others:
				heldOut && heldOut.ids.length > 0 ? this.#views(id, heldOut, roi) : [],
			roi,
			earlier: null,
			random,
			pace,
		};
		this.#kept.set(id, await this.#chosen(id, lesson));
	}

	remove(id: string): void {
		this.#ready.delete(known(this.#kept, id).stored);
		this.#kept.delete(id);
	}

	/** The new coreset is of the old centres and the new patches; scores of earlier images stay, and so does what was chosen. */
	async merge(
		id: string,
		features: Features,
		random: Random,
		pace?: Pace,
	): Promise<void> {
		const earlier = known(this.#kept, id);
		const lesson: Lesson = {
			sources: this.#sources(id, features, earlier.roi),
			others: [],
			roi: earlier.roi,
			earlier,
			random,
			pace,
		};
		this.#kept.set(id, await this.#learn(id, lesson, earlier));
	}

	/** Learnt with those of the options that this product's good parts are the better or no worse for. */
	async #chosen(id: string, lesson: Lesson): Promise<Bank> {
		const { augment, foreground, window } = this.#options;
		let bank = await this.#learn(id, lesson, {
			augmented: false,
			foreground: null,
			window: null,
		});
		this.#trials = [];
		if (high(bank.crossFitted) === 0) return bank; // a single image, or all alike: nothing to decide by
		const tried = async (
			option: keyof Options,
			choice: Partial<Choice>,
			limit: number,
		) => {
			const other = await this.#learn(id, lesson, { ...bank, ...choice });
			const change = high(other.crossFitted) / high(bank.crossFitted);
			const taken = change <= limit;
			this.#trials = [...this.#trials, { option, taken, change }];
			if (taken) bank = other;
		};
		if (augment !== "none")
			await tried("augment", { augmented: true }, HELPFUL);
		if (foreground) {
			const images = lesson.sources.map(({ own }) => own);
			await tried(
				"foreground",
				{ foreground: foregroundOf(images, this.#grid) },
				HARMLESS,
			);
		}
		if (window !== null) await tried("window", { window }, HARMLESS);
		return bank;
	}

	async #learn(
		id: string,
		{ sources, others, roi, earlier, random, pace }: Lesson,
		{ augmented, foreground, window }: Choice,
	): Promise<Bank> {
		const learnt = sources.map(({ own, turned }) =>
			stacked(
				[own, ...(augmented && turned ? [turned] : [])].map((view) =>
					foreground ? only(view, inFront(view.rows, foreground)) : view,
				),
			),
		);
		const all: readonly View[] = earlier
			? [
					{ rows: this.#rowsOf(earlier.stored), cells: earlier.cells },
					...learnt,
				]
			: learnt;
		const rows = all.map((view) => view.rows);
		const starts = startsOf(rows);
		// by position: the centres of one image lie together
		const chosen = (
			await kCentre(
				rows,
				this.#capacity(),
				random.derive("patches", id),
				this.#threads,
				pace,
			)
		).sort((a, b) => a - b);
		const everywhere = all.flatMap((view) => [...view.cells]);
		const cells = Uint16Array.from(chosen, (at) => everywhere[at] as number);
		const stored = this.#store(rowsAt(rows, starts, chosen, this.#d));
		const bank: Bank = this.#complete({
			stored,
			cells,
			roi,
			augmented,
			foreground,
			window,
			crossFitted: new Float64Array(),
			usual: null,
		});
		const measured: Float32Array[] = [];
		const first = all.length - learnt.length;
		for (const [i, { own }] of sources.entries()) {
			await pace?.(i, sources.length, "images compared");
			const from = starts[first + i] as number;
			const to = starts[first + i + 1] as number;
			const except = [lower(chosen, from), lower(chosen, to)] as const;
			if (except[1] - except[0] === chosen.length) continue; // nothing to compare a single image with
			measured.push(await this.#distances(bank, own.rows, except));
		}
		for (const { rows: image } of others)
			measured.push(await this.#distances(bank, image));
		return {
			...bank,
			crossFitted: Float64Array.from([
				...(earlier?.crossFitted ?? []),
				...measured.map(largest),
			]),
			usual: usualOf(measured, earlier?.usual ?? null),
		};
	}

	#complete(bank: Omit<Bank, "bias">): Bank {
		const { window, roi, cells } = bank;
		const [rows, columns] = this.#grid;
		const looked = cellsOf(roi, rows * columns);
		return {
			...bank,
			bias: window === null ? null : windowBias(looked, cells, columns, window),
		};
	}

	/** Of the patches that are looked at; 0 behind the part. */
	async #distances(
		{ stored, bias, foreground }: Bank,
		rows: Tensor,
		except?: readonly [number, number],
	): Promise<Float32Array> {
		const distances = await this.#nearest.distances(
			rows,
			this.#centres(stored),
			{
				...(except && { except }),
				window: bias,
			},
		);
		if (!foreground) return distances;
		const front = inFront(rows, foreground);
		return distances.map((distance, i) => (front[i] === 1 ? distance : 0));
	}

	async score(id: string, features: Features): Promise<RawScores> {
		const bank = known(this.#kept, id);
		const maps: Float32Array[] = [];
		for (const { rows } of this.#views(id, features, bank.roi))
			maps.push(spread(await this.#distances(bank, rows), bank.roi));
		return { scores: Float64Array.from(maps, largest), maps };
	}

	foreign(id: string, map: Float32Array): boolean | null {
		const { usual, roi } = known(this.#kept, id);
		if (!usual) return null;
		const looked = roi ? map.filter((_, i) => roi[i] === 1) : map;
		return shareAbove(looked, usual.distance) > foreignFrom(usual);
	}

	graph(chosen: Chosen, { patches: image }: ImageValues): ScoreValues {
		const { surround, neighbours, store } = this.#options;
		const banks = chosen.ids.map((id) => known(this.#kept, id));
		const centres = banks.map(({ stored }) => this.#centres(stored));
		const counts = banks.map(({ cells }) => cells.length);
		const most = Math.max(...counts);
		const pick = (tensors: readonly AnyTensor[]) =>
			chosen.pick(tensors.map((tensor) => padded(tensor, most)));
		const of = (name: string) =>
			pick(banks.map(({ stored }) => stored[name] as AnyTensor));
		const bank = of("bank");
		const scale = store === "int8" ? of("scale") : null;
		const seen = image as Value;
		const rows =
			surround > 0 ? lessSurroundOf(seen, this.#grid, surround) : seen;
		const distances = distancesOf(rows, neighbours, {
			codes: chosen.pick(centres.map(({ codes }) => widened(codes, most))),
			scale: pick(centres.map(({ scale: steps }) => steps)),
			beyond: padding(chosen, counts, EXCLUDED),
			window: banks.some(({ window }) => window !== null)
				? this.#windowOf(chosen, banks, most)
				: null,
			at: (positions) => {
				const found = toFloat(gather(bank, positions));
				if (!scale) return found;
				const steps = gather(scale, positions);
				return mul(sub(found, 128), reshape(steps, [...steps.shape, 1]));
			},
		});
		const map = this.#lookedAt(chosen, banks, rows, distances);
		return {
			score: reshape(cast(reduceMax(map), "float64"), []),
			map,
			foreign: this.#foreignOf(chosen, banks, map),
		};
	}

	/** As `windowBias`: [N, M]. */
	#windowOf(chosen: Chosen, banks: readonly Bank[], most: number): Value {
		const [rows, columns] = this.#grid;
		const places = (cells: ArrayLike<number>, axis: (cell: number) => number) =>
			float32([cells.length], Float32Array.from(cells, axis));
		const along = (axis: (cell: number) => number) => {
			const own = places([...Array(rows * columns).keys()], axis);
			const centres = chosen.pick(
				banks.map(({ cells }) => padded(places(cells, axis), most)),
			);
			const apart = sub(reshape(constant(own), [rows * columns, 1]), centres);
			return max(apart, neg(apart));
		};
		const apart = max(
			along((cell) => Math.floor(cell / columns)),
			along((cell) => cell % columns),
		);
		const window = chosen.pick(
			banks.map(({ window: own }) =>
				float32([], Float32Array.of(own ?? rows + columns)),
			),
		);
		return where(lessOrEqual(apart, window), scalar(0), EXCLUDED);
	}

	/** 0 behind the part and outside of the region of interest: [N]. */
	#lookedAt(
		chosen: Chosen,
		banks: readonly Bank[],
		rows: Value,
		distances: Value,
	): Value {
		let map = distances;
		const n = map.shape[0] as number;
		if (banks.some(({ foreground }) => foreground)) {
			const direction = chosen.pick(
				banks.map(({ foreground }) =>
					float64([this.#d, 1], foreground?.direction),
				),
			);
			const offset = chosen.number(
				(id) => known(this.#kept, id).foreground?.offset ?? -1,
			); // the product with no direction is 0
			const product = gemm(cast(rows, "float64"), direction);
			map = where(lessOrEqual(reshape(product, [n]), offset), scalar(0), map);
		}
		if (banks.some(({ roi }) => roi))
			map = mul(map, chosen.pick(banks.map(({ roi }) => lookedAt(roi, n))));
		return map;
	}

	/** As `foreign`. */
	#foreignOf(chosen: Chosen, banks: readonly Bank[], map: Value): Value | null {
		if (banks.every(({ usual }) => !usual)) return null;
		const n = map.shape[0] as number;
		const usual = (id: string) => known(this.#kept, id).usual;
		const limit = chosen.number((id) => usual(id)?.distance ?? 0);
		const above = where(
			lessOrEqual(cast(map, "float64"), limit),
			scalar(0),
			chosen.pick(banks.map(({ roi }) => lookedAt(roi, n))),
		);
		const looked = chosen.number(
			(id) => cellsOf(known(this.#kept, id).roi, n).length,
		);
		const share = div(cast(sum(above), "float64"), looked);
		const most = chosen.number((id) => foreignFrom(usual(id)));
		const { no, yes, notKnown } = Foreign;
		return where(
			lessOrEqual(share, most),
			chosen.number((id) => (usual(id) ? no : notKnown)),
			yes,
		);
	}

	crossFitted(id: string): CrossFitted {
		return { scores: known(this.#kept, id).crossFitted, optimism: null };
	}

	tensors(id: string): Record<string, AnyTensor> {
		const bank = known(this.#kept, id);
		const { stored, crossFitted, usual, roi, cells } = bank;
		const { augmented, foreground, window } = bank;
		return {
			...stored,
			"crossFitted.scores": list(crossFitted),
			...(usual && {
				usual: list(Float64Array.of(usual.distance, usual.share)),
			}),
			...(roi && { roi: uint8([roi.length], roi) }),
			...(augmented && { augmented: integer(1) }),
			...(foreground && {
				"foreground.direction": list(foreground.direction),
				"foreground.offset": list(Float64Array.of(foreground.offset)),
			}),
			...(window !== null && {
				window: integer(window),
				cells: {
					dtype: "int32",
					shape: [cells.length],
					data: Int32Array.from(cells),
				},
			}),
		};
	}

	restore(id: string, tensors: Stored): void {
		const names = this.#options.store === "int8" ? ["bank", "scale"] : ["bank"];
		const stored = Object.fromEntries(
			names.map((name) => [name, copyOf(tensors[name])]),
		);
		const has = (name: string) => Object.hasOwn(tensors, name);
		const count = this.#count(id, tensors);
		const windowed = has("window");
		this.#kept.set(
			id,
			this.#complete({
				stored,
				cells: windowed
					? this.#cells(id, tensors, count)
					: new Uint16Array(count),
				roi: has("roi")
					? restoreArray(id, tensors, "roi", "uint8").slice()
					: null,
				augmented: has("augmented"),
				foreground: has("foreground.direction")
					? {
							direction: restoreReals(
								id,
								tensors,
								"foreground.direction",
								this.#d,
							),
							offset: restoreReals(
								id,
								tensors,
								"foreground.offset",
								1,
							)[0] as number,
						}
					: null,
				window: windowed ? restoreInteger(id, tensors, "window") : null,
				crossFitted: restoreReals(id, tensors, "crossFitted.scores"),
				usual: has("usual") ? restoreUsual(id, tensors) : null,
			}),
		);
	}

	#cells(id: string, tensors: Stored, count: number): Uint16Array {
		const [rows, columns] = this.#grid;
		const cells = restoreArray(id, tensors, "cells", "int32");
		if (
			cells.length !== count ||
			cells.some((cell) => cell < 0 || cell >= rows * columns)
		)
			throw fail("MEMORY_DAMAGED", {
				id,
				tensor: "cells",
				problem: `is not ${count} places of a grid of ${rows} x ${columns}`,
			});
		return Uint16Array.from(cells);
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
		if (this.#options.store === "float16") return { bank: toHalf(centres) };
		const { codes, scale } = toBytes(centres);
		return { bank: codes, scale };
	}

	/** How many centres a stored bank has, all of them finite. */
	#count(id: string, tensors: Stored): number {
		const { store } = this.#options;
		const data = restoreArray(
			id,
			tensors,
			"bank",
			store === "int8" ? "uint8" : "float16",
		);
		const m = data.length / this.#d;
		if (store === "int8") this.#checkScale(id, tensors, m);
		if (
			!Number.isInteger(m) ||
			m === 0 ||
			(store === "float16" && !allFinite(data as Uint16Array))
		)
			throw fail("MEMORY_DAMAGED", {
				id,
				tensor: "bank",
				problem: `is not a finite [M, ${this.#d}]`,
			});
		return m;
	}

	#centres(stored: StoredBank): Centres {
		const ready =
			this.#ready.get(stored) ??
			new Centres(
				this.#rowsOf(stored),
				(row) => this.#rowsOf(stored, row, row + 1).data,
			);
		this.#ready.delete(stored);
		this.#ready.set(stored, ready);
		for (const oldest of this.#ready.keys()) {
			if (this.#ready.size <= READY) break;
			this.#ready.delete(oldest);
		}
		return ready;
	}

	/** All of them, or the half-open range. */
	#rowsOf({ bank, scale }: StoredBank, from = 0, to?: number): Tensor {
		const d = this.#d;
		const all = (bank as AnyTensor).data;
		const data = all.subarray(from * d, (to ?? all.length / d) * d);
		const shape = [data.length / d, d];
		return this.#options.store === "int8"
			? fromBytes({
					codes: uint8(shape, data as Uint8Array),
					scale: float32(
						shape.slice(0, 1),
						(scale as Tensor).data.subarray(from, to),
					),
				})
			: fromHalf({ dtype: "float16", shape, data: data as Uint16Array });
	}

	#checkScale(id: string, tensors: Stored, rows: number): void {
		const scale = restoreArray(id, tensors, "scale", "float32");
		const problem =
			Number.isInteger(rows) && scale.length !== rows
				? `has ${scale.length} values instead of ${rows}`
				: scale.every((step) => Number.isFinite(Math.fround(128 * step)))
					? null
					: "holds a value that is not finite";
		if (problem) throw fail("MEMORY_DAMAGED", { id, tensor: "scale", problem });
	}

	/** The patches of each image that are looked at. */
	#views(
		id: string,
		features: Features,
		roi: Uint8Array | null,
	): readonly View[] {
		const n = this.#grid[0] * this.#grid[1];
		const images = checkedPatches(id, features, [n, this.#d], roi);
		const cells = cellsOf(roi, n);
		return images.map((image) => {
			const all = this.#contrasted(image);
			return { rows: roi ? inside(all, roi) : all, cells };
		});
	}

	/** Of the whole grid, of one view or several. */
	#contrasted(image: Tensor): Tensor {
		const { surround } = this.#options;
		return surround > 0 ? lessSurround(image, this.#grid, surround) : image;
	}

	#sources(
		id: string,
		features: Features,
		roi: Uint8Array | null,
	): readonly Source[] {
		const n = this.#grid[0] * this.#grid[1];
		return this.#views(id, features, roi).map((own, i) => {
			const other = features.turned?.[i];
			if (!other) return { own, turned: null };
			const rows = this.#contrasted(other);
			const cells = Uint16Array.from(
				{ length: rows.shape[0] as number },
				(_, row) => row % n,
			);
			const turned = { rows, cells };
			return {
				own,
				turned: roi
					? only(
							turned,
							Uint8Array.from(cells, (cell) => roi[cell] as number),
						)
					: turned,
			};
		});
	}
}

/** Cells that are looked at, of n. */
const cellsOf = (roi: Uint8Array | null, n: number): Uint16Array =>
	Uint16Array.from([...Array(n).keys()].filter((i) => roi?.[i] !== 0));

/** The rows of a view where `keep` is 1. */
const only = ({ rows, cells }: View, keep: Uint8Array): View => ({
	rows: inside(rows, keep),
	cells: cells.filter((_, i) => keep[i] === 1),
});

function stacked(views: readonly View[]): View {
	if (views.length === 1) return views[0] as View;
	const count = views.reduce((sum, { cells }) => sum + cells.length, 0);
	const d = views[0]?.rows.shape[1] as number;
	const all = { rows: float32([count, d]), cells: new Uint16Array(count) };
	let at = 0;
	for (const { rows, cells } of views) {
		all.rows.data.set(rows.data, at * d);
		all.cells.set(cells, at);
		at += cells.length;
	}
	return all;
}

/** The .95 quantile; 0 of none. */
const high = (scores: Float64Array): number =>
	scores.length === 0 ? 0 : quantile(scores.toSorted(), 0.95);

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

const shareAbove = (values: Float32Array, limit: number): number =>
	values.reduce((n, value) => n + (value > limit ? 1 : 0), 0) / values.length;

/** The share of its patches above which an image is foreign. */
const foreignFrom = (usual: Usual | null): number =>
	usual ? Math.max(FOREIGN_SHARE, FOREIGN_TIMES * usual.share) : 1;

/** 1 where patches are looked at [N]. */
const lookedAt = (roi: Uint8Array | null, n: number): Tensor =>
	float32([n], roi ? Float32Array.from(roi) : new Float32Array(n).fill(1));

/** [D, m] with further columns of zeros, `columns` in all. */
function widened(codes: Tensor<"int8">, columns: number): Tensor<"int8"> {
	const [d, m] = codes.shape as [number, number];
	if (m === columns) return codes;
	const out = int8([d, columns]);
	for (let i = 0; i < d; i++)
		out.data.set(codes.data.subarray(i * m, (i + 1) * m), i * columns);
	return out;
}

/** Of images, one by one. Those of earlier ones are gone, so of both the larger counts: rather no image is foreign than a good part is. */
function usualOf(
	images: readonly Float32Array[],
	earlier: Usual | null,
): Usual | null {
	if (images.length === 0) return earlier;
	const all = new Float32Array(
		images.reduce((sum, { length }) => sum + length, 0),
	);
	let at = 0;
	for (const image of images) {
		all.set(image, at);
		at += image.length;
	}
	const distance = quantile(all.sort(), 0.99);
	const share = Math.max(...images.map((own) => shareAbove(own, distance)));
	return earlier
		? {
				distance: Math.max(distance, earlier.distance),
				share: Math.max(share, earlier.share),
			}
		: { distance, share };
}

function restoreUsual(id: string, tensors: Stored): Usual {
	const [distance, share] = restoreReals(id, tensors, "usual", 2);
	return { distance: distance as number, share: share as number };
}

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
function rowsAt(
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
