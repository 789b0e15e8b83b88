/** Backbone folders in the tensor names of timm and transformers, and what is wrong with them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { halfToNumber, numberToHalf } from "../../src/engine/half.ts";
import {
	type AnyTensor,
	float32,
	type Tensor,
	type TensorDict,
} from "../../src/engine/tensor.ts";
import { readBackbone } from "../../src/models/backbone.ts";
import { loadBackbone } from "../../src/models/index.ts";
import {
	readSafetensorsFile,
	toFloat32,
	writeSafetensors,
} from "../../src/models/safetensors.ts";
import {
	initialise,
	parameterShapes,
	type VitConfig,
} from "../../src/models/vit.ts";
import { Random } from "../../src/random.ts";
import { describeGolden } from "../golden.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-backbone-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const config: VitConfig = {
	imageSize: [24, 24],
	patch: 8,
	width: 64,
	depth: 2,
	heads: 2,
	mlpRatio: 2,
	registers: 0,
	layerScale: false,
	classPosition: true,
	layerNormEps: 1e-12,
	mean: [0.5, 0.5, 0.5],
	std: [0.5, 0.5, 0.5],
};
const dinov2: VitConfig = {
	...config,
	registers: 4,
	layerScale: true,
	layerNormEps: 1e-6,
	mean: [0.485, 0.456, 0.406],
	std: [0.229, 0.224, 0.225],
};
const weights = initialise(config, new Random("backbone.test"));
const dinoWeights = initialise(dinov2, new Random("backbone.test"));

let folders = 0;
function folder(
	tensors: Readonly<Record<string, AnyTensor>> | Uint8Array,
	json: object,
	preprocessor?: object,
): string {
	const dir = join(work, String(folders++));
	mkdirSync(dir, { recursive: true });
	writeFileSync(
		join(dir, "model.safetensors"),
		tensors instanceof Uint8Array ? tensors : writeSafetensors(tensors),
	);
	writeFileSync(join(dir, "config.json"), JSON.stringify(json));
	if (preprocessor)
		writeFileSync(
			join(dir, "preprocessor_config.json"),
			JSON.stringify(preprocessor),
		);
	return dir;
}

/** The names that transformers gives: its ViT's, or its DINOv2's. */
function transformersNames(
	tensors: TensorDict,
	kind: "vit" | "dinov2",
): TensorDict {
	const out: TensorDict = {};
	const start = kind === "vit" ? "vit." : "";
	const names: readonly (readonly [RegExp, string])[] = [
		[/^(cls_token)$/, "embeddings.$1"],
		[/^reg_token$/, "embeddings.register_tokens"],
		[/^pos_embed$/, "embeddings.position_embeddings"],
		[/^patch_embed\.proj\./, "embeddings.patch_embeddings.projection."],
		[/^norm\./, "layernorm."],
		[/^blocks\./, "encoder.layer."],
		[/\.attn\.proj\./, ".attention.output.dense."],
		...(kind === "vit"
			? ([
					[/\.norm1\./, ".layernorm_before."],
					[/\.norm2\./, ".layernorm_after."],
					[/\.mlp\.fc1\./, ".intermediate.dense."],
					[/\.mlp\.fc2\./, ".output.dense."],
				] as const)
			: ([[/\.ls([12])\.gamma$/, ".layer_scale$1.lambda1"]] as const)),
	];
	for (const [name, t] of Object.entries(tensors)) {
		const qkv = /^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$/.exec(name);
		if (qkv)
			["query", "key", "value"].forEach((part, i) => {
				const third = t.data.length / 3;
				out[
					`${start}encoder.layer.${qkv[1]}.attention.attention.${part}.${qkv[2]}`
				] = float32(
					[(t.shape[0] as number) / 3, ...t.shape.slice(1)],
					t.data.slice(i * third, (i + 1) * third),
				);
			});
		else
			out[start + names.reduce((n, [from, to]) => n.replace(from, to), name)] =
				t;
	}
	return out;
}

const extra = (shape: number[]) => float32(shape);
const expectWeights = (found: TensorDict, wanted: TensorDict) => {
	expect(Object.keys(found)).toEqual(Object.keys(wanted));
	for (const [name, t] of Object.entries(wanted)) {
		expect(found[name]?.shape, name).toEqual(t.shape);
		expect(found[name]?.data, name).toEqual(t.data);
	}
};

describe("names", () => {
	it("timm, with its head left out and its pretrained_cfg read", () => {
		const dir = folder(
			{ ...weights, "head.weight": extra([9, 64]), "head.bias": extra([9]) },
			{
				architecture: "vit_small",
				num_attention_heads: 2,
				layer_norm_eps: 1e-12,
				pretrained_cfg: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
			},
		);
		const backbone = readBackbone(dir, [24, 24]);
		expect(backbone.config).toEqual(config);
		expectWeights(backbone.weights, weights);
	});
	it("timm without a number of heads: 64 wide each", () => {
		const { config: found } = readBackbone(folder(weights, {}), [24, 24]);
		expect(found.heads).toBe(1);
		expect(found.layerNormEps).toBe(1e-6);
		expect(found.mean).toEqual([0.485, 0.456, 0.406]);
	});
	it("transformers' ViT: query, key and value are joined, the pooler is left out", () => {
		const dir = folder(
			{
				...transformersNames(weights, "vit"),
				"vit.pooler.dense.weight": extra([64, 64]),
				"classifier.bias": extra([9]),
			},
			{ num_attention_heads: 2, layer_norm_eps: 1e-12, hidden_act: "gelu" },
			{ image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] },
		);
		const backbone = readBackbone(dir, [24, 24]);
		expect(backbone.config).toEqual(config);
		expectWeights(backbone.weights, weights);
	});
	it("transformers' DINOv2 with registers and LayerScale", () => {
		const dir = folder(
			{
				...transformersNames(dinoWeights, "dinov2"),
				"embeddings.mask_token": extra([1, 64]),
			},
			{ num_attention_heads: 2, layer_norm_eps: 1e-6 },
		);
		const backbone = readBackbone(dir, [24, 24]);
		expect(backbone.config).toEqual(dinov2);
		expectWeights(backbone.weights, dinoWeights);
	});
	it("timm's registers: positions on the patches alone", () => {
		const c = { ...dinov2, classPosition: false };
		const w = initialise(c, new Random(1));
		const backbone = readBackbone(
			folder(w, { num_attention_heads: 2 }),
			[24, 24],
		);
		expect(backbone.config).toEqual(c);
		expectWeights(backbone.weights, w);
	});
});

describe("half precisions", () => {
	/** The same file with every number as 16 bits. */
	function halved(dtype: "F16" | "BF16"): Uint8Array {
		const header: Record<string, unknown> = {};
		const parts: Buffer[] = [];
		let at = 0;
		for (const [name, t] of Object.entries(weights)) {
			const bits = Uint16Array.from(
				t.data,
				(_, i) =>
					dtype === "BF16"
						? 0x3f80 + (i % 64) // 1 to 1.5 in steps of 1/128
						: 0x3c00 + (i % 512), // 1 to 1.5 in steps of 1/1024
			);
			parts.push(Buffer.from(bits.buffer));
			header[name] = {
				dtype,
				shape: t.shape,
				data_offsets: [at, at + bits.byteLength],
			};
			at += bits.byteLength;
		}
		const json = Buffer.from(JSON.stringify(header));
		const length = Buffer.alloc(8);
		length.writeBigUInt64LE(BigInt(json.length));
		return Buffer.concat([length, json, ...parts]);
	}
	it.each([
		["F16", 512, 1024],
		["BF16", 64, 128],
	] as const)("%s is read exactly", (dtype, period, parts) => {
		const { weights: found } = readBackbone(
			folder(halved(dtype), { num_attention_heads: 2 }),
			[24, 24],
		);
		for (const [name, t] of Object.entries(found))
			expect(t.data, name).toEqual(
				t.data.map((_, i) => 1 + (i % period) / parts),
			);
	});
});

describe("what does not fit is named", () => {
	const without = (name: string) => {
		const { [name]: _, ...rest } = weights;
		return rest;
	};
	const two = { num_attention_heads: 2 };
	it.each([
		[
			"a missing tensor",
			without("blocks.1.mlp.fc2.bias"),
			two,
			/tensor blocks\.1\.mlp\.fc2\.bias is missing/,
		],
		[
			"a missing block",
			Object.fromEntries(
				Object.entries(weights).map(([n, t]) => [
					n.replace("blocks.1.", "blocks.2."),
					t,
				]),
			),
			two,
			/tensor blocks\.1\.norm1\.weight is missing/,
		],
		[
			"another shape",
			{ ...weights, "norm.bias": extra([32]) },
			two,
			/tensor norm\.bias has shape \[32\].*needs \[64\]/,
		],
		[
			"a tensor left over",
			{ ...weights, "attn_pool.latent": extra([1]) },
			two,
			/attn_pool\.latent.*no place/,
		],
		[
			"a tensor with the name of an object's own",
			{ ...weights, toString: extra([1]) },
			two,
			/toString.*no place/,
		],
		[
			"a key without its query",
			{
				...without("blocks.0.attn.qkv.weight"),
				"encoder.layer.0.attention.attention.key.weight": extra([64, 64]),
			},
			two,
			/blocks\.0\.attn\.qkv\.weight is missing/,
		],
		[
			"one tensor under two names",
			{ ...weights, "embeddings.cls_token": extra([1, 1, 64]) },
			two,
			/tensors cls_token and embeddings\.cls_token are both cls_token|tensors embeddings\.cls_token and cls_token are both cls_token/,
		],
		["no class token", without("cls_token"), two, /no tensor cls_token/],
		[
			"heads that do not divide the width",
			weights,
			{ num_attention_heads: 5 },
			/64 cannot be split into 5 heads/,
		],
		["another activation", weights, { hidden_act: "quick_gelu" }, /quick_gelu/],
		[
			"SwiGLU",
			without("blocks.0.mlp.fc1.weight"),
			{ use_swiglu_ffn: true },
			/SwiGLU/,
		],
		[
			"another model_type",
			weights,
			{ ...two, model_type: "beit" },
			/model_type is "beit"; known are vit, /,
		],
		[
			"a distillation token",
			{ ...weights, "deit.embeddings.distillation_token": extra([1, 1, 64]) },
			two,
			/distilled DeiT/,
		],
		[
			"rotary positions",
			without("pos_embed"),
			{ model_type: "dinov3_vit" },
			/DINOv3/,
		],
	] as [string, TensorDict, object, RegExp][])(
		"%s",
		(_, tensors, json, text) => {
			expect(() => readBackbone(folder(tensors, json), [24, 24])).toThrow(text);
		},
	);
	it("its own image size, where its positions are no square grid", () => {
		const odd = { ...weights, pos_embed: extra([1, 12, 64]) };
		expect(readBackbone(folder(weights, two), null).config.imageSize).toEqual([
			24, 24,
		]);
		expect(() => readBackbone(folder(odd, two), null)).toThrow(
			/its 12 positions are no square grid/,
		);
	});
	it("an image that is no whole number of patches", () => {
		expect(() => readBackbone(folder(weights, two), [24, 30])).toThrow(
			"Use 24 x 32",
		);
	});
	it("a folder without its files, broken JSON, and no folder", () => {
		const dir = folder(weights, two);
		writeFileSync(join(dir, "config.json"), "[1]");
		expect(() => readBackbone(dir, [24, 24])).toThrow(/config\.json.*JSON/);
		rmSync(join(dir, "config.json"));
		expect(() => readBackbone(dir, [24, 24])).toThrow("has no config.json");
		expect(() =>
			loadBackbone({ name: join(work, "nowhere") }, [24, 24], 1),
		).toThrow("nowhere");
	});
});

describe("positions at another image size", () => {
	it("the class token's row stays, a constant grid stays constant, and any [H, W] fits", () => {
		const positions = (weights.pos_embed as Tensor).data.slice();
		positions.fill(0.25, 64);
		const dir = folder(
			{ ...weights, pos_embed: float32([1, 10, 64], positions) },
			{ num_attention_heads: 2 },
		);
		const { config: found, weights: fitted } = readBackbone(dir, [16, 40]);
		expect(found.imageSize).toEqual([16, 40]);
		expect(fitted.pos_embed?.shape).toEqual(parameterShapes(found).pos_embed);
		expect(fitted.pos_embed?.shape).toEqual([1, 1 + 2 * 5, 64]);
		expect(fitted.pos_embed?.data.subarray(0, 64)).toEqual(
			positions.subarray(0, 64),
		);
		for (const x of fitted.pos_embed?.data.subarray(64) ?? [])
			expect(x).toBeCloseTo(0.25, 6);
	});
});

describe("weights stored in half precision", () => {
	it("are those numbers in float32", () => {
		const halves: Record<string, AnyTensor> = {};
		const rounded: TensorDict = {};
		for (const [name, { shape, data }] of Object.entries(dinoWeights)) {
			const bits = Uint16Array.from(data, numberToHalf);
			halves[name] = { dtype: "float16", shape, data: bits };
			rounded[name] = float32(shape, Float32Array.from(bits, halfToNumber));
		}
		const dir = folder(halves, { num_attention_heads: 2 });
		expect(readBackbone(dir, [24, 24]).weights).toEqual(rounded);
	});
});

describeGolden("golden", () => {
	const read = (name: string): TensorDict => {
		const path = join(import.meta.dirname, "../../../shared/golden", name);
		return Object.fromEntries(
			Object.entries(readSafetensorsFile(path).tensors).map(([n, t]) => [
				n,
				toFloat32(t),
			]),
		);
	};
	it("positional grid of a larger image, to 1e-4", () => {
		const resized = read("dino.resized.safetensors");
		const [, , h, w] = (resized.input as Tensor).shape;
		const { weights: fitted } = readBackbone(
			folder(read("dino.weights.safetensors"), { num_attention_heads: 1 }),
			[h as number, w as number],
		);
		const expected = (resized.pos_embed as Tensor).data;
		const found = fitted.pos_embed?.data as Float32Array;
		expect(found.length).toBe(expected.length);
		const scale = expected.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
		const error = expected.reduce(
			(m, x, i) => Math.max(m, Math.abs(x - (found[i] as number))),
			0,
		);
		expect(error / scale).toBeLessThanOrEqual(1e-4);
	});
});
