/**
 * The network in two parts. The trunk is what no training touches: the blocks below the first trained one, as a forward-only
 * graph with its weights inside, in float32 or int8. The top is the rest, as a function of weights that move. What passes between them is a "state":
 * the tokens before the first trained block, or the image itself where everything trains.
 */
import { createHash } from "node:crypto";
import { input, inputsOf, type Value, type ValueDict } from "./engine/graph.ts";
import { concat, linear, slice } from "./engine/ops/index.ts";
import { Session } from "./engine/runtime.ts";
import {
	type AnyTensor,
	float32,
	type Tensor,
	type TensorDict,
	uint8,
} from "./engine/tensor.ts";
import type { Image } from "./data/task.ts";
import { fail } from "./errors.ts";
import type { Backbone } from "./models/backbone.ts";
import { quantise } from "./models/quantise.ts";
import {
	embed,
	gridOf,
	type Layers,
	normalise,
	patchEmbedding,
	type Top,
	tokenCount,
	top,
	topShapes,
	trunk,
	type VitConfig,
} from "./models/vit.ts";

export interface Network {
	readonly backbone: Backbone;
	/** First trained block; depth: none trains; 0: all parameters train, the embedding of patches too. */
	readonly from: number;
	/** Blocks (counted from 0, all below `from`) whose patch tokens are looked at. */
	readonly patchBlocks: readonly number[];
	/** Tiles down and across of which patches are read; default [1]: the image itself. */
	readonly patchTiles?: readonly number[];
	readonly threads: number;
}

/** Blocks counted from 0, from fractions of the depth: .5 of 12 is the 6th block, number 5. */
export const blocksAt = (
	{ depth }: VitConfig,
	fractions: readonly number[],
): number[] => fractions.map((f) => Math.max(1, Math.round(f * depth)) - 1);

/** First trained block of a configuration. */
export function firstTrained(
	config: VitConfig,
	trainable: { readonly last: number } | "all" | "none",
): number {
	if (trainable === "all") return 0;
	if (trainable === "none") return config.depth;
	if (trainable.last >= config.depth)
		throw fail("TRAINABLE_TOO_MANY", {
			last: trainable.last,
			depth: config.depth,
		});
	return config.depth - trainable.last;
}

/** The parameters that train: a copy, so that the pretrained ones (the final norm among them) stay. */
export function trainableWeights({ backbone, from }: Network): TensorDict {
	return Object.fromEntries(
		Object.keys(topShapes(backbone.config, from)).map((name) => {
			const tensor = backbone.weights[name] as Tensor;
			return [name, float32(tensor.shape, tensor.data.slice())];
		}),
	);
}

/** The state as an input of a graph. */
export function stateInput(
	{ backbone: { config }, from }: Network,
	name: string,
	batch: number,
): Value {
	return from === 0
		? input(name, [batch, ...config.imageSize, 3], "uint8")
		: input(name, [batch, tokenCount(config), config.width]);
}

/**
 * Bytes of the MLP's hidden rows of the images that go through a graph together. A dozen element-wise passes run over them, forward
 * and backward, and as many over the attention matrices, which are as large at 224 px: they must find them in the cache
 * (docs/experiments.md).
 */
const CACHED_BYTES = 7e6;

/** Images that go through a graph together in float32. */
export function imagesTogether(config: VitConfig): number {
	const bytes = tokenCount(config) * config.width * config.mlpRatio * 4;
	return Math.max(1, Math.floor(CACHED_BYTES / bytes));
}

/** The images of a batch in runs, as equal in length as they can be and none longer than `together`: [start, end). */
export function imageGroups(
	batch: number,
	together: number,
): (readonly [number, number])[] {
	const groups = Math.ceil(batch / together);
	const start = (i: number) => Math.round((i * batch) / groups);
	return Array.from({ length: groups }, (_, i) => [start(i), start(i + 1)]);
}

/** The top from a state. */
export function topOf(
	{ backbone: { config }, from }: Network,
	params: ValueDict,
	state: Value,
	options: { forwardOnly?: boolean } = {},
): Pick<Top, "embedding" | "layerInputs"> {
	const parts = imageGroups(
		state.shape[0] as number,
		imagesTogether(config),
	).map(([start, end]) => {
		const part = taken(state, start, end);
		const tokens =
			from === 0 ? embed(config, params, normalise(config, part)) : part;
		return top(config, params, tokens, from, { read: "class", ...options });
	});
	return {
		embedding: joined(parts.map((part) => part.embedding)),
		layerInputs: Object.fromEntries(
			Object.keys(parts[0]?.layerInputs ?? {}).map((layer) => [
				layer,
				joined(parts.map((part) => part.layerInputs[layer] as Value)),
			]),
		),
	};
}

const taken = (batch: Value, start: number, end: number): Value =>
	end - start === batch.shape[0] ? batch : slice(batch, 0, start, end);
const joined = (parts: readonly Value[]): Value =>
	parts.length === 1 ? (parts[0] as Value) : concat(parts, 0);

/** Logits of the pretext head on the class token. */
export const headOf = (params: ValueDict, embedding: Value): Value =>
	linear(
		embedding,
		params["head.weight"] as Value,
		params["head.bias"] as Value,
	);

/** What the frozen network says about an image. */
export interface Sight {
	/** For the top: [1, T, D], the image where everything trains, or the class token where nothing does. */
	readonly state: AnyTensor;
	/** The pretrained network's class token after its own final norm: for routing, and the embedding where nothing trains. */
	readonly frozen: Tensor; // [1, D]
	/** Patch embeddings of `patchBlocks`, where there are any. */
	readonly patches: Tensor | null; // [N, D]
}

/** What the frozen blocks hold: in int8, the layers that read it too. */
export interface FrozenWeights {
	readonly weights: Readonly<Record<string, AnyTensor>>;
	readonly layers?: Layers | undefined;
}

/** Where all blocks train there is nothing to round. */
const inInt8 = ({ backbone, from }: Network): boolean =>
	backbone.precision === "int8" && from > 0;

export const frozenWeights = (network: Network): FrozenWeights => {
	const { config, weights } = network.backbone;
	return inInt8(network)
		? quantise(config, weights, network.from)
		: { weights };
};

/** What the frozen network says of images uint8 [B, H, W, 3], from `params`, which `weights` are the values of. */
export function sightOf(
	{ backbone: { config }, from, patchBlocks }: Network,
	params: ValueDict,
	layers: Layers | undefined,
	images: Value,
): {
	readonly frozen: Value; // [B, D]
	/** null: it is the images, or nothing trains. */
	readonly state: Value | null; // [B, T, D]
	readonly patches: Value | null; // [B, N, D]
} {
	const trains = from < config.depth;
	// where nothing trains, only the class row of the last block is read, unless its patches are
	const split =
		trains || patchBlocks.includes(config.depth - 1) ? from : config.depth - 1;
	const { state, hidden } = trunk(
		config,
		params,
		layers ? images : normalise(config, images),
		split,
		patchBlocks,
		layers,
	);
	return {
		frozen: top(config, params, state, split, {
			read: "class",
			forwardOnly: true,
			layers: trains ? undefined : layers, // what trains is float32, before it has trained too
		}).embedding,
		state: from > 0 && trains ? state : null,
		patches: hidden.length > 0 ? patchEmbedding(config, params, hidden) : null,
	};
}

/** Outputs by name. */
type Said = Readonly<Record<string, Tensor>>;

/**
 * What the trunk said of images, by the hash of all pixels that went through it together: the same group gives the same bits again.
 * The least recently used goes first.
 */
export class StateCache {
	readonly #budget: number;
	readonly #kept = new Map<string, Said>();
	#bytes = 0;

	constructor(budgetBytes: number) {
		this.#budget = budgetBytes;
	}

	/** `compute`: of those that are not kept, by position. */
	async of(
		kind: string,
		pixels: readonly Uint8Array[],
		compute: (missing: readonly number[]) => Promise<readonly Said[]>,
	): Promise<readonly Said[]> {
		const keys = pixels.map(
			(p) => `${kind} ${createHash("sha256").update(p).digest("base64")}`,
		);
		const known = keys.map((key) => this.#kept.get(key));
		const missing = [...known.keys()].filter((i) => !known[i]);
		const fresh = missing.length > 0 ? await compute(missing) : [];
		missing.forEach((i, k) => {
			known[i] = fresh[k];
		});
		for (const [i, said] of (known as Said[]).entries())
			this.#keep(keys[i] as string, said);
		return known as Said[];
	}

	#keep(key: string, said: Said): void {
		const before = this.#kept.get(key);
		if (before) this.#bytes -= sizeInBytes(before);
		this.#kept.delete(key);
		this.#kept.set(key, said); // the latest is the last
		this.#bytes += sizeInBytes(said);
		for (const [oldest, old] of this.#kept) {
			if (this.#bytes <= this.#budget) break;
			this.#kept.delete(oldest);
			this.#bytes -= sizeInBytes(old);
		}
	}
}

const sizeInBytes = (tensors: Readonly<Record<string, Tensor>>): number =>
	Object.values(tensors).reduce((sum, t) => sum + t.data.byteLength, 0);

/** Row by row, each of the given size. */
function tilesOf(
	{ shape, data }: Image,
	[h, w]: readonly [number, number],
): Image[] {
	const [height = 0, width = 0] = shape;
	const tiles: Image[] = [];
	for (let top = 0; top < height; top += h)
		for (let left = 0; left < width; left += w) {
			const tile = uint8([h, w, 3]);
			for (let y = 0; y < h; y++) {
				const from = 3 * ((top + y) * width + left);
				tile.data.set(data.subarray(from, from + 3 * w), 3 * y * w);
			}
			tiles.push(tile);
		}
	return tiles;
}

/** What was said of several images, image by image: [B, ...] as B of [1, ...]. */
function apart(together: Said, images: number): Said[] {
	return Array.from({ length: images }, (_, i) =>
		Object.fromEntries(
			Object.entries(together).map(([name, { shape, data }]) => {
				const size = data.length / images;
				const own = data.slice(i * size, (i + 1) * size);
				return [name, float32([1, ...shape.slice(1)], own)];
			}),
		),
	);
}

/** Sessions of the frozen part, made when first needed. */
export class Trunk {
	readonly network: Network;
	/** Where several runs share this trunk. */
	readonly #cache: StateCache | null;
	/** By the number of images: 1, and as many as go together. */
	readonly #sights = new Map<number, Promise<Session>>();
	readonly #groups = new Map<number, Promise<Session>>();
	/** What the graphs hold, made when first needed. */
	#weights: FrozenWeights | null = null;

	constructor(network: Network, cache: StateCache | null = null) {
		this.network = network;
		this.#cache = cache;
	}

	/** [T, D] of an image's state, where not everything trains. */
	get stateShape(): readonly [number, number] {
		const { config } = this.network.backbone;
		return [tokenCount(config), config.width];
	}

	/**
	 * Images that are best seen together. In int8 one by one: activations are rounded by the range of an image, not of what is beside it
	 * (and a quarter of the bytes leaves the cache room enough).
	 */
	get together(): number {
		return inInt8(this.network)
			? 1
			: imagesTogether(this.network.backbone.config);
	}

	#frozen(): FrozenWeights {
		this.#weights ??= frozenWeights(this.network);
		return this.#weights;
	}

	/** One image: its state and its frozen class token. */
	async see(image: Image): Promise<Sight> {
		const [sight] = await this.seeAll([image]);
		return sight as Sight;
	}

	/** Each of some images. Several go through the graph together, which changes no bit of what is said of one (test/trunk.test.ts). */
	async seeAll(images: readonly Image[]): Promise<readonly Sight[]> {
		const look = (of: readonly number[]) =>
			this.#look(of.map((i) => images[i] as Image));
		const all = this.#cache
			? await this.#cache.of(
					"sight",
					images.map(({ data }) => data),
					look,
				)
			: await look([...images.keys()]);
		return all.map(({ state, frozen, patches }, i) => {
			const image = images[i] as Image;
			return {
				state:
					this.network.from === 0
						? uint8([1, ...image.shape], image.data)
						: (state ?? (frozen as Tensor)),
				frozen: frozen as Tensor,
				patches: patches ? float32(patches.shape.slice(1), patches.data) : null,
			};
		});
	}

	/**
	 * Patch embeddings of pictures [t·H, t·W, 3], cut into t x t tiles that are looked at one by one; the patches of all tiles are one grid,
	 * row by row.
	 */
	async seeTiles(
		pictures: readonly Image[],
		t: number,
	): Promise<readonly Tensor[]> {
		const { config } = this.network.backbone;
		const sights = await this.seeAll(
			pictures.flatMap((picture) => tilesOf(picture, config.imageSize)),
		);
		const [rows, columns] = gridOf(config);
		return pictures.map((_, p) => {
			const grid = float32([t * rows * t * columns, config.width]);
			const line = columns * config.width; // a row of patches of one tile
			for (let i = 0; i < t * t; i++) {
				const { patches } = sights[p * t * t + i] as Sight;
				const [down, across] = [Math.floor(i / t), i % t];
				for (let r = 0; r < rows; r++)
					grid.data.set(
						(patches as Tensor).data.subarray(r * line, (r + 1) * line),
						((down * rows + r) * t + across) * line,
					);
			}
			return grid;
		});
	}

	async #look(images: readonly Image[]): Promise<readonly Said[]> {
		const { together } = this;
		const { config } = this.network.backbone;
		const pixels = config.imageSize[0] * config.imageSize[1] * 3;
		const said: Said[] = [];
		while (said.length < images.length) {
			const left = images.length - said.length;
			const length = left < together ? 1 : together;
			const part = uint8([length, ...config.imageSize, 3]);
			for (let i = 0; i < length; i++)
				part.data.set((images[said.length + i] as Image).data, i * pixels);
			const session = await this.#sightSession(length);
			said.push(...apart(await session.run({ images: part }), length));
		}
		return said;
	}

	#sightSession(length: number): Promise<Session> {
		const known = this.#sights.get(length);
		if (known) return known;
		const { backbone, threads } = this.network;
		const { weights, layers } = this.#frozen();
		const images = input(
			"images",
			[length, ...backbone.config.imageSize, 3],
			"uint8",
		);
		const { frozen, state, patches } = sightOf(
			this.network,
			inputsOf(weights),
			layers,
			images,
		);
		const made = Session.create(
			{ frozen, ...(state && { state }), ...(patches && { patches }) },
			{ threads, weights },
		);
		this.#sights.set(length, made);
		return made;
	}

	/** States of a batch of images, for training steps. */
	async states(images: Tensor<"uint8"> /* [B, H, W, 3] */): Promise<AnyTensor> {
		const { config } = this.network.backbone;
		if (this.network.from === 0) return images;
		const batch = images.shape[0] as number;
		const pixels = images.data.length / batch;
		const state = float32([batch, tokenCount(config), config.width]);
		const tokens = state.data.length / batch;
		for (const [start, end] of imageGroups(batch, this.together)) {
			const part = images.data.subarray(start * pixels, end * pixels);
			const compute = async () => [
				await (await this.#groupSession(end - start)).run({
					images: uint8([end - start, ...images.shape.slice(1)], part),
				}),
			];
			const [group] = this.#cache
				? await this.#cache.of("group", [part], compute)
				: await compute();
			state.data.set(((group as Said).state as Tensor).data, start * tokens);
		}
		return state;
	}

	#groupSession(length: number): Promise<Session> {
		const { backbone, from, threads } = this.network;
		const { config } = backbone;
		let session = this.#groups.get(length);
		if (!session) {
			const { weights, layers } = this.#frozen();
			const images = input("images", [length, ...config.imageSize, 3], "uint8");
			const pixels = layers ? images : normalise(config, images);
			session = Session.create(
				{
					state: trunk(config, inputsOf(weights), pixels, from, [], layers)
						.state,
				},
				{ threads, weights },
			);
			this.#groups.set(length, session);
		}
		return session;
	}

	/** Frees all sessions. */
	async release(): Promise<void> {
		const sessions = [...this.#sights.values(), ...this.#groups.values()];
		this.#sights.clear();
		this.#groups.clear();
		for (const session of sessions) await (await session).release();
	}

	/** Frees the sessions for groups, which evaluation does not need; where runs share the trunk, the next one does. */
	async releaseBatches(): Promise<void> {
		if (this.#cache) return;
		const sessions = [...this.#groups.values()];
		this.#groups.clear();
		for (const session of sessions) await (await session).release();
	}
}

/** The top run forward on single states, with weights fed: they change from task to task. */
export class Embedder {
	readonly #network: Network;
	readonly #heads: boolean;
	#session: Promise<Session> | null = null;

	/** `head`: also the pretext head's logits. */
	constructor(network: Network, { head }: { readonly head: boolean }) {
		this.#network = network;
		this.#heads = head;
	}

	async embed(
		state: AnyTensor,
		weights: TensorDict,
	): Promise<{ embedding: Tensor /* [1, D] */; logits: Tensor | null }> {
		const network = this.#network;
		this.#session ??= (() => {
			const params = inputsOf(weights);
			const { embedding } = topOf(
				network,
				params,
				stateInput(network, "state", 1),
				{ forwardOnly: true },
			);
			return Session.create(
				this.#heads
					? { embedding, logits: headOf(params, embedding) }
					: { embedding },
				{ threads: network.threads },
			);
		})();
		const out = await (await this.#session).run({ ...weights, state });
		return { embedding: out.embedding as Tensor, logits: out.logits ?? null };
	}

	async release(): Promise<void> {
		await (await this.#session)?.release();
		this.#session = null;
	}
}
