/**
 * Vision Transformer (Dosovitskiy et al. 2021), pre-norm, with what DINOv2 adds: LayerScale (Touvron et al. 2021) and register
 * tokens (Darcet et al. 2024). Parameters carry timm's names. The network is split at a block: the frozen trunk is one forward-only
 * graph, the blocks above it (the top) are built into the training graph. Only graphs are made here; nothing runs.
 */
import type { Value, ValueDict } from "../engine/graph.ts";
import {
	add,
	concat,
	div,
	expand,
	gelu,
	headScores,
	headSums,
	layerNorm,
	linear,
	matmul,
	max,
	mul,
	reduceSum,
	reshape,
	slice,
	softmax,
	sqrt,
	sub,
	toFloat,
	transpose,
} from "../engine/ops/index.ts";
import { constant, withGradient } from "../engine/graph.ts";
import {
	float32,
	type Shape,
	type Tensor,
	type TensorDict,
} from "../engine/tensor.ts";
import type { Random } from "../random.ts";

export interface VitConfig {
	/** [H, W] in pixels; both multiples of `patch`. */
	readonly imageSize: readonly [number, number];
	readonly patch: number;
	readonly width: number;
	readonly depth: number;
	readonly heads: number;
	/** Hidden width of the MLP / width; 4 in every published ViT used here. */
	readonly mlpRatio: number;
	/** Register tokens between the class token and the patches. */
	readonly registers: number;
	readonly layerScale: boolean;
	/** Whether the positional embedding has a row for the class token (timm: not no_embed_class). */
	readonly classPosition: boolean;
	readonly layerNormEps: number;
	/** After which blocks patches are read, as fractions of the depth, where the weights were made for that. */
	readonly patchBlocks?: readonly number[] | undefined;
	/** Per channel, of pixels in 0..1. */
	readonly mean: readonly [number, number, number];
	readonly std: readonly [number, number, number];
}

/** The rows of the last block and after that are computed. */
export type Read = "class" | "all";

export interface Top {
	/** After the final norm: class, registers, patches; only where `read` is "all". */
	readonly tokens: Value | null; // [B, T, D]
	/** The class token after the final norm. */
	readonly embedding: Value; // [B, D]
	/** The tokens after each block of `keep`, without the final norm. */
	readonly hidden: readonly Value[]; // [B, T, D] each
	/** What each linear layer reads: [B, T, in], or [B, in] where only the class row is computed. */
	readonly layerInputs: Readonly<Record<string, Value>>;
}

export const gridOf = (c: VitConfig): readonly [number, number] => [
	c.imageSize[0] / c.patch,
	c.imageSize[1] / c.patch,
];
/** T: class + registers + patches. */
export const tokenCount = (c: VitConfig): number =>
	1 + c.registers + gridOf(c)[0] * gridOf(c)[1];

/** Every parameter with its shape, in forward order. */
export function parameterShapes(c: VitConfig): Record<string, Shape> {
	const [h, w] = gridOf(c);
	const shapes: Record<string, Shape> = { cls_token: [1, 1, c.width] };
	if (c.registers > 0) shapes.reg_token = [1, c.registers, c.width];
	shapes.pos_embed = [1, h * w + (c.classPosition ? 1 : 0), c.width];
	shapes["patch_embed.proj.weight"] = [c.width, 3, c.patch, c.patch];
	shapes["patch_embed.proj.bias"] = [c.width];
	for (let i = 0; i < c.depth; i++) Object.assign(shapes, blockShapes(c, i));
	shapes["norm.weight"] = [c.width];
	shapes["norm.bias"] = [c.width];
	return shapes;
}

function blockShapes(c: VitConfig, i: number): Record<string, Shape> {
	const d = c.width;
	const hidden = Math.round(d * c.mlpRatio); // the ratio is a quotient: the product may miss the whole number
	const p = `blocks.${i}.`;
	return {
		[`${p}norm1.weight`]: [d],
		[`${p}norm1.bias`]: [d],
		[`${p}attn.qkv.weight`]: [3 * d, d],
		[`${p}attn.qkv.bias`]: [3 * d],
		[`${p}attn.proj.weight`]: [d, d],
		[`${p}attn.proj.bias`]: [d],
		...(c.layerScale ? { [`${p}ls1.gamma`]: [d] } : {}),
		[`${p}norm2.weight`]: [d],
		[`${p}norm2.bias`]: [d],
		[`${p}mlp.fc1.weight`]: [hidden, d],
		[`${p}mlp.fc1.bias`]: [hidden],
		[`${p}mlp.fc2.weight`]: [d, hidden],
		[`${p}mlp.fc2.bias`]: [d],
		...(c.layerScale ? { [`${p}ls2.gamma`]: [d] } : {}),
	};
}

/** Parameters of the blocks from `from` on and of the final norm; with from = 0 all of them. */
export function topShapes(c: VitConfig, from: number): Record<string, Shape> {
	if (from === 0) return parameterShapes(c);
	const shapes: Record<string, Shape> = {};
	for (let i = from; i < c.depth; i++) Object.assign(shapes, blockShapes(c, i));
	return { ...shapes, "norm.weight": [c.width], "norm.bias": [c.width] };
}

/** Linear layers of the top: the weights that a projection such as GPM's works on. */
export function linearLayers(c: VitConfig, from: number): string[] {
	return Object.keys(topShapes(c, from))
		.filter((name) => /\.(qkv|proj|fc1|fc2)\.weight$/.test(name))
		.map((name) => name.slice(0, -".weight".length));
}

/**
 * As timm initialises a ViT: truncated normal (.02, cut at two units, not deviations) for weights and positions, 0 for biases,
 * 1e-6 normal for class and register tokens, LayerScale 1e-5; the patch projection keeps PyTorch's convolution default,
 * uniform within 1 / sqrt(fan in).
 */
export function initialise(c: VitConfig, random: Random): TensorDict {
	const params: TensorDict = {};
	const bound = 1 / Math.sqrt(3 * c.patch * c.patch);
	for (const [name, shape] of Object.entries(parameterShapes(c))) {
		const r = random.derive(name);
		const tensor = float32(shape);
		const { data } = tensor;
		let draw: (() => number) | null = null;
		if (name === "cls_token" || name === "reg_token")
			draw = () => r.normal(0, 1e-6);
		else if (name.startsWith("patch_embed.proj."))
			draw = () => r.uniform(-bound, bound);
		else if (name === "pos_embed" || /(qkv|proj|fc1|fc2)\.weight$/.test(name))
			draw = () => r.normal(0, 0.02);
		else if (/norm\d?\.weight$/.test(name)) data.fill(1);
		else if (/ls\d\.gamma$/.test(name)) data.fill(1e-5);
		if (draw) for (let i = 0; i < data.length; i++) data[i] = draw();
		params[name] = tensor;
	}
	return params;
}

const get = (params: ValueDict, name: string): Value => {
	const value = params[name];
	if (!value)
		throw new Error(`vit: parameter ${name} is missing from the graph.`);
	return value;
};

/** uint8 pixels to what the network was trained on: (x / 255 - mean) / std. */
export function normalise(
	c: VitConfig,
	images: Value /* uint8 [B, H, W, 3] */,
): Value {
	const scale = float32(
		[3],
		Float32Array.from(c.std, (s) => 1 / (255 * s)),
	);
	const shift = float32(
		[3],
		Float32Array.from(c.mean, (m, i) => -m / (c.std[i] as number)),
	);
	return transpose(
		add(mul(toFloat(images), constant(scale)), constant(shift)),
		[0, 3, 1, 2],
	); // [B, 3, H, W]
}

/** Pixels to tokens: patches through their layer, with class token, registers and positions. */
export function embed(
	c: VitConfig,
	params: ValueDict,
	pixels: Value /* [B, 3, H, W] */,
): Value {
	const b = pixels.shape[0] as number;
	const [h, w] = gridOf(c);
	const p = c.patch;
	const d = c.width;
	const patches = transpose(
		reshape(pixels, [b, 3, h, p, w, p]),
		[0, 2, 4, 1, 3, 5],
	);
	const weight = reshape(get(params, "patch_embed.proj.weight"), [
		d,
		3 * p * p,
	]);
	return tokensOf(
		c,
		params,
		linear(
			reshape(patches, [b * h * w, 3 * p * p]),
			weight,
			get(params, "patch_embed.proj.bias"),
		),
	);
}

/** Class token, registers, and embedded patches [B*N, D] with their positions. */
function tokensOf(c: VitConfig, params: ValueDict, patches: Value): Value {
	const [h, w] = gridOf(c);
	const d = c.width;
	const b = (patches.shape[0] as number) / (h * w);
	let x = reshape(patches, [b, h * w, d]);
	const position = get(params, "pos_embed");
	const token = (value: Value, n: number) => expand(value, [b, n, d]);
	let first = get(params, "cls_token");
	if (c.classPosition) {
		first = add(first, slice(position, 1, 0, 1));
		x = add(x, slice(position, 1, 1, 1 + h * w));
	} else x = add(x, position);
	return concat(
		[
			token(first, 1),
			...(c.registers > 0
				? [token(get(params, "reg_token"), c.registers)]
				: []),
			x,
		],
		1,
	); // [B, T, D]
}

/**
 * softmax(q kᵀ / sqrt(d)) v with its heads side by side again, [B*Tq, D], and the joint gradient. With P the probabilities and O the
 * output: dS = P (dO vᵀ - sum_d dO O), since sum_j P dP = sum_d dO O: no pass over [T, T] for the inner sum (Dao et al. 2022, eq. 4).
 * That sum is taken where the heads lie side by side, so that O by head need not be kept.
 */
function attend(
	q: Value /* [B, h, Tq, d] */,
	k: Value /* [B, h, T, d] */,
	v: Value,
): { output: Value; gradient(dy: Value): { dq: Value; dk: Value; dv: Value } } {
	const [b, h, t, d] = q.shape as [number, number, number, number];
	const alpha = 1 / Math.sqrt(d);
	const probabilities = softmax(matmul(q, k, { transB: true, alpha })); // [B, h, Tq, T]
	const output = reshape(transpose(matmul(probabilities, v), [0, 2, 1, 3]), [
		b * t,
		h * d,
	]);
	const byHead = (x: Value, side: number) =>
		transpose(reshape(x, [b, t, h, side]), [0, 2, 1, 3]);
	return {
		output,
		gradient(dy) {
			const inner = reduceSum(reshape(mul(dy, output), [b * t, h, d]), [2]);
			const dO = byHead(dy, d);
			const dS = mul(
				probabilities,
				sub(matmul(dO, v, { transB: true }), byHead(inner, 1)),
			);
			return {
				dq: matmul(dS, k, { alpha }),
				dk: matmul(dS, q, { transA: true, alpha }),
				dv: matmul(probabilities, dO, { transA: true }),
			};
		},
	};
}

/** The same of one image, forward only, without copies that lie by head: qkv [T, 3D] to [T, D]. */
function attendAlone(qkv: Value, heads: number): Value {
	const t = qkv.shape[0] as number;
	const d = (qkv.shape[1] as number) / 3 / heads;
	const rows = reshape(qkv, [t, 3 * heads, d]);
	const [q, k, v] = [0, 1, 2].map((i) =>
		slice(rows, 1, i * heads, (i + 1) * heads),
	) as [Value, Value, Value]; // [T, h, d]
	const probabilities = softmax(headScores(q, k, 1 / Math.sqrt(d))); // [h, T, T]
	return reshape(transpose(headSums(probabilities, v), [1, 0, 2]), [
		t,
		heads * d,
	]);
}

/** The i-th group of n heads: queries, keys or values. */
const heads = (x: Value, i: number, n: number): Value =>
	slice(x, 1, i * n, (i + 1) * n);

/** One layer: where its input is noted for `layerInputs`. */
type Note = (layer: string, input: Value, rows: "class" | "all") => void;

/** x wᵀ + b of a layer by its name, for x [rows, in]; of the outputs [from, to) alone where a range is given. */
export type Linear = (
	x: Value,
	layer: string,
	range?: readonly [from: number, to: number],
) => Value /* [rows, out] */;

/** What a forward pass computes otherwise than in float32. */
export interface Layers {
	readonly linear: Linear;
	/** Pixels uint8 [B, H, W, 3] to embedded patches, positions not added. */
	patches(c: VitConfig, images: Value): Value /* [B*N, D] */;
}

/** In float32, weight [out, in] and bias [out] read from `params`. */
const float32Linear =
	(params: ValueDict): Linear =>
	(x, layer, range) => {
		const weight = get(params, `${layer}.weight`);
		const bias = get(params, `${layer}.bias`);
		return range
			? linear(x, slice(weight, 0, ...range), slice(bias, 0, ...range))
			: linear(x, weight, bias);
	};

interface BlockContext {
	readonly c: VitConfig;
	readonly params: ValueDict;
	readonly linear: Linear;
	readonly batch: number;
	readonly tokens: number;
	readonly note: Note;
	readonly forwardOnly: boolean;
}

/**
 * LayerScale multiplied into the weights, x + f (ls w)ᵀ + ls b for x + ls * (f wᵀ + b): products as large as the weights instead of
 * as the tokens, no token-sized gradient of ls, and nothing more to keep for the backward pass. Made once for `params`, however
 * many groups of images read them.
 */
function scaled(c: VitConfig, params: ValueDict): ValueDict {
	if (!c.layerScale) return params;
	let all = scaledParams.get(params);
	if (!all) {
		all = { ...params };
		for (const [name, scale] of Object.entries(params)) {
			const layer = scaledLayer(name);
			if (layer === null) continue;
			all[`${layer}.weight`] = mul(
				get(params, `${layer}.weight`),
				reshape(scale, [c.width, 1]),
			);
			all[`${layer}.bias`] = mul(get(params, `${layer}.bias`), scale);
		}
		scaledParams.set(params, all);
	}
	return all;
}
const scaledParams = new WeakMap<ValueDict, ValueDict>();

/** Weights without the LayerScale of blocks below `upTo`: it is multiplied into the layers before it. */
export function withoutLayerScale(
	weights: TensorDict,
	upTo = Number.POSITIVE_INFINITY,
): TensorDict {
	const out = { ...weights };
	for (const [name, scale] of Object.entries(weights)) {
		const layer = scaledLayer(name);
		if (layer === null || Number(layer.split(".")[1]) >= upTo) continue;
		delete out[name];
		for (const part of [`${layer}.weight`, `${layer}.bias`]) {
			const { shape, data } = out[part] as Tensor;
			const width = data.length / (shape[0] as number);
			out[part] = float32(
				shape,
				data.map((x, i) => x * (scale.data[Math.floor(i / width)] as number)),
			);
		}
	}
	return out;
}

/** The layer that a LayerScale stands behind; null: the parameter is none. */
function scaledLayer(name: string): string | null {
	const [, block, number] = /^(.*)ls([12])\.gamma$/.exec(name) ?? [];
	if (block === undefined) return null;
	return `${block}${number === "1" ? "attn.proj" : "mlp.fc2"}`;
}

/** x + f wᵀ + b */
const residual = (
	context: BlockContext,
	x: Value,
	f: Value,
	layer: string,
): Value => add(x, context.linear(f, layer));

function mlp(
	context: BlockContext,
	x: Value /* [rows, D] */,
	i: number,
	rows: "class" | "all",
): Value {
	const { c, params, note } = context;
	const p = `blocks.${i}.`;
	const y = layerNorm(
		x,
		get(params, `${p}norm2.weight`),
		get(params, `${p}norm2.bias`),
		c.layerNormEps,
	);
	note(`${p}mlp.fc1`, y, rows);
	const hidden = gelu(context.linear(y, `${p}mlp.fc1`), context);
	note(`${p}mlp.fc2`, hidden, rows);
	return residual(context, x, hidden, `${p}mlp.fc2`);
}

/** A whole block on all rows: [B*T, D] to [B*T, D]. */
function block(context: BlockContext, x: Value, i: number): Value {
	const { c, params, note } = context;
	const p = `blocks.${i}.`;
	const y = layerNorm(
		x,
		get(params, `${p}norm1.weight`),
		get(params, `${p}norm1.bias`),
		c.layerNormEps,
	);
	note(`${p}attn.qkv`, y, "all");
	const qkv = context.linear(y, `${p}attn.qkv`);
	const attended =
		context.forwardOnly && context.batch === 1
			? attendAlone(qkv, c.heads)
			: attendTogether(qkv, context);
	note(`${p}attn.proj`, attended, "all");
	const after = residual(context, x, attended, `${p}attn.proj`);
	return mlp(context, after, i, "all");
}

/** Attention of whole images, [B*T, 3D] to [B*T, D], with its gradient. */
function attendTogether(
	qkv: Value,
	{ c, batch: b, tokens: t }: BlockContext,
): Value {
	const split = transpose(
		reshape(qkv, [b, t, 3 * c.heads, c.width / c.heads]),
		[0, 2, 1, 3],
	); // [B, 3h, T, d]
	const attention = attend(
		heads(split, 0, c.heads),
		heads(split, 1, c.heads),
		heads(split, 2, c.heads),
	);
	return withGradient(attention.output, [split], (dy) => {
		const { dq, dk, dv } = attention.gradient(dy);
		return [concat([dq, dk, dv], 1)];
	});
}

/** The last block where only its class row is read: [B*T, D] to [B, D]. Keys and values of all rows, the query of one. */
function classBlock(context: BlockContext, x: Value, i: number): Value {
	const { c, params, batch: b, tokens: t, note } = context;
	const d = c.width;
	const p = `blocks.${i}.`;
	const y = layerNorm(
		x,
		get(params, `${p}norm1.weight`),
		get(params, `${p}norm1.bias`),
		c.layerNormEps,
	);
	note(`${p}attn.qkv`, y, "all");
	const first = reshape(slice(reshape(y, [b, t, d]), 1, 0, 1), [b, d]);
	const q = reshape(context.linear(first, `${p}attn.qkv`, [0, d]), [
		b,
		c.heads,
		1,
		d / c.heads,
	]);
	const kv = context.linear(y, `${p}attn.qkv`, [d, 3 * d]);
	const split = transpose(
		reshape(kv, [b, t, 2 * c.heads, d / c.heads]),
		[0, 2, 1, 3],
	); // [B, 2h, T, d]
	const attention = attend(
		q,
		heads(split, 0, c.heads),
		heads(split, 1, c.heads),
	);
	const merged = withGradient(attention.output, [q, split], (dy) => {
		const { dq, dk, dv } = attention.gradient(dy);
		return [dq, concat([dk, dv], 1)];
	});
	note(`${p}attn.proj`, merged, "class");
	const row = reshape(slice(reshape(x, [b, t, d]), 1, 0, 1), [b, d]);
	const after = residual(context, row, merged, `${p}attn.proj`);
	return mlp(context, after, i, "class");
}

/**
 * The tokens before block `upTo` and, on the way, those after each block of `keep` (counted from 0), without the final norm.
 * Forward only, and in float32 without `layers`.
 */
export function trunk(
	c: VitConfig,
	params: ValueDict,
	pixels: Value /* [B, 3, H, W]; with `layers` as they are, uint8 [B, H, W, 3] */,
	upTo: number,
	keep: readonly number[] = [],
	layers?: Layers,
): { state: Value; hidden: readonly Value[] } {
	const batch = pixels.shape[0] as number;
	const tokens = tokenCount(c);
	const all = scaled(c, params);
	const context: BlockContext = {
		c,
		params: all,
		linear: layers?.linear ?? float32Linear(all),
		batch,
		tokens,
		note: () => {},
		forwardOnly: true,
	};
	const embedded = layers
		? tokensOf(c, params, layers.patches(c, pixels))
		: embed(c, params, pixels);
	let x = reshape(embedded, [batch * tokens, c.width]);
	const hidden = new Map<number, Value>();
	for (let i = 0; i < upTo; i++) {
		x = block(context, x, i);
		if (keep.includes(i)) hidden.set(i, reshape(x, [batch, tokens, c.width]));
	}
	return {
		state: reshape(x, [batch, tokens, c.width]),
		hidden: keep.map((i) => hidden.get(i) as Value),
	};
}

/** The blocks from `from` on and the final norm, from the trunk's state. `keep`: blocks below the last, counted from 0. */
export function top(
	c: VitConfig,
	params: ValueDict,
	state: Value /* [B, T, D] */,
	from: number,
	options: {
		read: Read;
		forwardOnly?: boolean;
		keep?: readonly number[];
		layers?: Layers | undefined;
	},
): Top {
	const [batch, tokens] = state.shape as [number, number, number];
	const d = c.width;
	const layerInputs: Record<string, Value> = {};
	const note: Note = (layer, value, rows) => {
		layerInputs[layer] =
			rows === "class"
				? value
				: reshape(value, [batch, tokens, value.shape.at(-1) as number]);
	};
	const all = scaled(c, params);
	const context: BlockContext = {
		c,
		params: all,
		linear: options.layers?.linear ?? float32Linear(all),
		batch,
		tokens,
		note,
		forwardOnly: options.forwardOnly ?? false,
	};
	const classOnly = options.read === "class" && from < c.depth;
	let x = reshape(state, [batch * tokens, d]);
	const kept = new Map<number, Value>();
	for (let i = from; i < c.depth; i++) {
		x =
			classOnly && i === c.depth - 1
				? classBlock(context, x, i)
				: block(context, x, i);
		if (options.keep?.includes(i)) kept.set(i, reshape(x, [batch, tokens, d]));
	}
	const hidden = (options.keep ?? []).map((i) => kept.get(i) as Value);
	const finalNorm = (v: Value) =>
		layerNorm(
			v,
			get(params, "norm.weight"),
			get(params, "norm.bias"),
			c.layerNormEps,
		);
	if (classOnly)
		return { tokens: null, embedding: finalNorm(x), hidden, layerInputs };
	const normed = reshape(finalNorm(x), [batch, tokens, d]);
	return {
		tokens: normed,
		embedding: reshape(slice(normed, 1, 0, 1), [batch, d]),
		hidden,
		layerInputs,
	};
}

/**
 * Patch embeddings from the tokens after some blocks: through the final norm, each at length 1, added, at length 1 again.
 * `params` holds the pretrained final norm.
 */
export function patchEmbedding(
	c: VitConfig,
	params: ValueDict,
	hidden: readonly Value[] /* [B, T, D] each */,
): Value /* [B, N, D] */ {
	const first = 1 + c.registers;
	const unit = (x: Value): Value =>
		div(x, max(sqrt(reduceSum(mul(x, x), [-1])), 1e-12));
	const parts = hidden.map((tokens) =>
		unit(
			layerNorm(
				slice(tokens, 1, first, tokens.shape[1] as number),
				get(params, "norm.weight"),
				get(params, "norm.bias"),
				c.layerNormEps,
			),
		),
	);
	return unit(parts.reduce((a, b) => add(a, b)));
}
