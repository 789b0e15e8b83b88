/**
 * Backbones from disk: a folder with config.json and model.safetensors, with tensor names of timm or of Python's transformers.
 * Widths, depth, patch and grid are read off the tensors; config.json gives what tensors cannot tell (heads, epsilon, activation).
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
	float32,
	type Shape,
	type Tensor,
	type TensorDict,
} from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import { isObject, readText, treeProblem } from "../storage.ts";
import type { Precision } from "./quantise.ts";
import { resizeGrid } from "./resize.ts";
import { readSafetensorsFile, toFloat32 } from "./safetensors.ts";
import { gridOf, parameterShapes, type VitConfig } from "./vit.ts";

export interface Backbone {
	readonly config: VitConfig;
	readonly weights: TensorDict;
	/** In what its frozen blocks compute; default float32. */
	readonly precision?: Precision;
}

/** ImageNet's, which every published ViT here was trained with unless its files say otherwise. */
export const imagenetMean = [0.485, 0.456, 0.406] as const;
export const imagenetStd = [0.229, 0.224, 0.225] as const;

type Json = Readonly<Record<string, unknown>>;

/** Names of transformers' ViT, DeiT and DINOv2 models in timm's. */
const renames: readonly (readonly [RegExp, string])[] = [
	[/^(vit|deit|dinov2|dinov2_with_registers|model|backbone)\./, ""],
	[/^embeddings\.cls_token$/, "cls_token"],
	[/^embeddings\.register_tokens$/, "reg_token"],
	[/^register_tokens$/, "reg_token"],
	[/^embeddings\.position_embeddings$/, "pos_embed"],
	[/^embeddings\.patch_embeddings\.projection\./, "patch_embed.proj."],
	[/^encoder\.layer\./, "blocks."],
	[/\.layernorm_before\./, ".norm1."],
	[/\.layernorm_after\./, ".norm2."],
	[/\.attention\.output\.dense\./, ".attn.proj."],
	[/\.attention\.attention\.(query|key|value)\./, ".attn.$1."],
	[/\.intermediate\.dense\./, ".mlp.fc1."],
	[/^(blocks\.\d+)\.output\.dense\./, "$1.mlp.fc2."],
	[/\.layer_scale([12])\.lambda1$/, ".ls$1.gamma"],
	[/^layernorm\./, "norm."],
];

/** Parts of published checkpoints that no embedding reads. */
const unused =
	/^(head|head_dist|fc_norm|classifier|pooler|decoder|lm_head)\.|mask_token$/;

/** Kinds of transformers' models whose encoder is this ViT. */
const modelTypes: readonly unknown[] = [
	"vit",
	"vit_mae",
	"vit_msn",
	"deit",
	"dinov2",
	"dinov2_with_registers",
];

/** Reads a backbone folder and fits its positional grid to `imageSize` ([H, W] in px; null: the one it was trained at). */
export function readBackbone(
	dir: string,
	imageSize: readonly [number, number] | null,
): Backbone {
	for (const file of ["config.json", "model.safetensors"])
		if (!existsSync(join(dir, file)))
			throw fail("BACKBONE_INCOMPLETE", { dir, file });
	const weightsPath = join(dir, "model.safetensors");
	const json = checkArchitecture(join(dir, "config.json"));
	const stored = renamed(weightsPath);
	const odd = notFinite(stored);
	if (odd !== null)
		throw fail("BACKBONE_DAMAGED", {
			dir,
			problem: `tensor ${odd} of model.safetensors holds NaN or infinity`,
			remedy: "Download or copy it again; if it stays so, ask whoever made it",
		});
	const tensors = joinQkv(stored, weightsPath);
	const config = configFrom(
		json,
		readPreprocessor(dir),
		tensors,
		weightsPath,
		imageSize,
	);
	return { config, weights: fit(tensors, config, weightsPath) };
}

/** The first tensor with a value that is no number to compute with; null: none has. */
export function notFinite(tensors: TensorDict): string | null {
	// by index: several times as fast as by value, and there are tens of millions
	for (const [name, { data }] of Object.entries(tensors))
		for (let i = 0; i < data.length; i++)
			if (!Number.isFinite(data[i])) return name;
	return null;
}

/** The content of a config.json, or why nothing with this configuration can be built, whatever its tensors. */
export function checkArchitecture(path: string): Json {
	const json = readJson(path);
	const unsupported = (problem: string) =>
		fail("BACKBONE_UNSUPPORTED", { file: path, problem });
	if (json.use_swiglu_ffn === true)
		throw unsupported(
			"it uses SwiGLU layers (DINOv2 giant); use small, base or large",
		);
	if (json.model_type === "dinov3_vit")
		throw unsupported("it uses rotary positions (DINOv3)");
	const type = json.model_type ?? null;
	const activation = json.hidden_act ?? "gelu";
	if (type !== null && !modelTypes.includes(type))
		throw unsupported(
			`its model_type is ${shown(type)}; known are ${modelTypes.join(", ")}`,
		);
	if (activation !== "gelu")
		throw unsupported(
			`its activation is ${shown(activation)}; only gelu is built`,
		);
	const { num_attention_heads: heads } = json;
	if (
		heads !== undefined &&
		!(Number.isSafeInteger(heads) && Number(heads) > 0)
	)
		throw unsupported(
			`its num_attention_heads are ${JSON.stringify(heads)}, not a whole number above 0`,
		);
	return json;
}

function readJson(path: string): Json {
	const text = readText(path);
	try {
		const json: unknown = JSON.parse(text);
		const odd = treeProblem(json);
		if (odd !== null) throw new Error(odd);
		if (isObject(json)) return json;
		throw new Error("not a JSON object");
	} catch (error) {
		throw fail("BACKBONE_UNSUPPORTED", {
			file: path,
			problem: `it cannot be read as JSON (${(error as Error).message})`,
		});
	}
}

const readPreprocessor = (dir: string): Json => {
	const path = join(dir, "preprocessor_config.json");
	return existsSync(path) ? readJson(path) : {};
};

function renamed(path: string): TensorDict {
	const out: TensorDict = {};
	const origins = new Map<string, string>();
	for (const [name, tensor] of Object.entries(
		readSafetensorsFile(path).tensors,
	)) {
		const to = renames.reduce(
			(n, [pattern, by]) => n.replace(pattern, by),
			name,
		);
		if (unused.test(to)) continue;
		const origin = origins.get(to);
		if (origin !== undefined)
			throw fail("BACKBONE_UNSUPPORTED", {
				file: path,
				problem: `its tensors ${origin} and ${name} are both ${to}`,
			});
		origins.set(to, name);
		out[to] = toFloat32(tensor, `${path}: ${name}`);
	}
	return out;
}

/** query, key and value of transformers, stacked as timm's qkv. */
function joinQkv(tensors: TensorDict, path: string): TensorDict {
	const out: TensorDict = {};
	for (const [name, tensor] of Object.entries(tensors)) {
		const match = /^(.*\.attn\.)(query|key|value)\.(weight|bias)$/.exec(name);
		if (!match) {
			out[name] = tensor;
			continue;
		}
		if (match[2] !== "query") continue;
		const parts = ["query", "key", "value"].map((part) => {
			const t = tensors[`${match[1]}${part}.${match[3]}`];
			if (!t || t.shape.join() !== tensor.shape.join())
				throw fail("WEIGHTS_DO_NOT_FIT", {
					file: path,
					tensor: `${match[1]}${part}.${match[3]}`,
					found: t?.shape ?? null,
					wanted: tensor.shape,
				});
			return t;
		});
		const data = new Float32Array(3 * tensor.data.length);
		parts.forEach((t, i) => {
			data.set(t.data, i * tensor.data.length);
		});
		out[`${match[1]}qkv.${match[3]}`] = float32(
			[3 * (tensor.shape[0] as number), ...tensor.shape.slice(1)],
			data,
		);
	}
	return out;
}

function configFrom(
	json: Json,
	preprocessor: Json,
	tensors: TensorDict,
	path: string,
	wantedSize: readonly [number, number] | null,
): VitConfig {
	const unsupported = (problem: string) =>
		fail("BACKBONE_UNSUPPORTED", { file: path, problem });
	// Known relatives first: without this they would be reported by the first tensor they lack or have too much.
	if (tensors["rope.periods"])
		throw unsupported("it uses rotary positions (DINOv3)");
	if (tensors.dist_token || tensors["embeddings.distillation_token"])
		throw unsupported(
			"it has a distillation token (distilled DeiT); use the plain one",
		);
	const triple = (
		what: string,
		value: unknown,
		fits: (x: unknown) => boolean = isFinite,
	): readonly [number, number, number] => {
		if (!Array.isArray(value) || value.length !== 3 || !value.every(fits))
			throw unsupported(
				`the ${what} of its pixels is ${shown(value)} in config.json or preprocessor_config.json, where three numbers are needed, one a colour`,
			);
		return value as [number, number, number];
	};
	const need = (name: string, rank: number): Shape => {
		const shape = tensors[name]?.shape;
		if (!shape || shape.length !== rank)
			throw unsupported(
				`it has no tensor ${name} of ${rank} axes, which every ViT here has; found ${Object.keys(tensors).slice(0, 5).join(", ")} ...`,
			);
		return shape;
	};
	const width = need("cls_token", 3)[2] as number;
	const [, , patch, patchWidth] = need("patch_embed.proj.weight", 4) as [
		number,
		number,
		number,
		number,
	];
	const hidden = need("blocks.0.mlp.fc1.weight", 2)[0] as number;
	const depth = new Set(
		Object.keys(tensors).flatMap(
			(name) => /^blocks\.(\d+)\./.exec(name)?.[1] ?? [],
		),
	).size;
	const heads =
		typeof json.num_attention_heads === "number"
			? json.num_attention_heads
			: width / 64;
	if (patch !== patchWidth)
		throw unsupported(`its patches are ${patch}x${patchWidth}, not square`);
	if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0)
		throw unsupported(`its width ${width} cannot be split into ${heads} heads`);
	if (!(patch > 0 && hidden > 0))
		throw unsupported("a tensor of its first layers is empty");
	const [one, positions] = need("pos_embed", 3) as [number, number, number];
	const layerNormEps = json.layer_norm_eps ?? 1e-6;
	if (!isPositive(layerNormEps))
		throw unsupported(
			`its layer_norm_eps is ${shown(layerNormEps)}, not a number above 0`,
		);
	const classPosition = !Number.isInteger(Math.sqrt(positions));
	const side = Math.sqrt(positions - Number(classPosition)) * patch;
	const imageSize = wantedSize ?? ([side, side] as const);
	if (
		one !== 1 ||
		side < patch ||
		(wantedSize === null && !Number.isInteger(side / patch))
	)
		throw unsupported(`its ${positions} positions are no square grid`);
	const [h, w] = imageSize;
	if (h % patch !== 0 || w % patch !== 0)
		throw fail("IMAGE_SIZE_NOT_MULTIPLE", { imageSize, patch });
	const { patch_blocks: patchBlocks } = json; // our own entry, which students have (distill.ts)
	if (patchBlocks !== undefined && !isFractions(patchBlocks))
		throw unsupported(
			`its patch_blocks are ${shown(patchBlocks)}, not fractions of the depth such as [0.875]`,
		);
	return {
		imageSize,
		patch,
		width,
		depth,
		heads,
		mlpRatio: hidden / width,
		registers: tensors.reg_token ? (need("reg_token", 3)[1] as number) : 0,
		layerScale: "blocks.0.ls1.gamma" in tensors,
		classPosition,
		layerNormEps,
		...(patchBlocks !== undefined && { patchBlocks }),
		mean: triple(
			"mean",
			preprocessor.image_mean ?? pretrained(json).mean ?? imagenetMean,
		),
		std: triple(
			"deviation",
			preprocessor.image_std ?? pretrained(json).std ?? imagenetStd,
			isPositive,
		),
	};
}

const isFinite = (x: unknown): x is number =>
	typeof x === "number" && Number.isFinite(x);
const isPositive = (x: unknown): x is number => isFinite(x) && x > 0;

/** A value of a file for an error: hostile ones can be long. */
function shown(value: unknown): string {
	const text = JSON.stringify(value) ?? "none";
	return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}

const isFractions = (x: unknown): x is readonly number[] =>
	Array.isArray(x) &&
	x.length > 0 &&
	x.every((f) => typeof f === "number" && f > 0 && f <= 1);
const pretrained = (json: Json): Json =>
	isObject(json.pretrained_cfg) ? json.pretrained_cfg : {};

/** Exactly the parameters of the configured ViT, positions resized; anything missing, left over or of another shape is an error. */
export function fit(
	tensors: TensorDict,
	config: VitConfig,
	path: string,
): TensorDict {
	const shapes = parameterShapes(config);
	const weights: TensorDict = {};
	for (const [name, wanted] of Object.entries(shapes)) {
		const found = tensors[name];
		const tensor =
			name === "pos_embed" && found ? resizePositions(found, config) : found;
		if (
			!tensor ||
			tensor.shape.length !== wanted.length ||
			tensor.shape.some((s, i) => s !== wanted[i])
		)
			throw fail("WEIGHTS_DO_NOT_FIT", {
				file: path,
				tensor: name,
				found: tensor?.shape ?? null,
				wanted,
			});
		weights[name] = tensor;
	}
	const extra = Object.keys(tensors).find(
		(name) => !Object.hasOwn(shapes, name),
	);
	if (extra)
		throw fail("WEIGHTS_DO_NOT_FIT", {
			file: path,
			tensor: extra,
			found: tensors[extra]?.shape ?? null,
			wanted: null,
		});
	return weights;
}

/** The square grid it was trained on, at this image's grid; the class token's row stays. */
function resizePositions(positions: Tensor, config: VitConfig): Tensor {
	const d = positions.shape[2] as number;
	const first = config.classPosition ? 1 : 0;
	const side = Math.sqrt((positions.shape[1] as number) - first);
	const [h, w] = gridOf(config);
	if (!Number.isInteger(side) || (side === h && side === w)) return positions;
	const grid = resizeGrid(
		float32([1, side * side, d], positions.data.subarray(first * d)),
		[side, side],
		[h, w],
	);
	const data = new Float32Array((first + h * w) * d);
	data.set(positions.data.subarray(0, first * d));
	data.set(grid.data, first * d);
	return float32([1, first + h * w, d], data);
}
