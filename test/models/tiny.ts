/** Tiny backbones as the hub lays them out. */
import { float32, type TensorDict } from "../../src/engine/tensor.ts";
import { writeSafetensors } from "../../src/models/safetensors.ts";
import { initialise, type VitConfig } from "../../src/models/vit.ts";
import { Random } from "../../src/random.ts";

export const tinyConfig: VitConfig = {
	imageSize: [32, 32],
	patch: 8,
	width: 64,
	depth: 3,
	heads: 1,
	mlpRatio: 2,
	registers: 0,
	layerScale: false,
	classPosition: true,
	layerNormEps: 1e-6,
	mean: [0.5, 0.5, 0.5],
	std: [0.5, 0.5, 0.5],
};

const json = (value: object) => Buffer.from(JSON.stringify(value));

/** As timm publishes: its own names, pretrained_cfg in config.json, the classifier still there. */
export function timmFiles(seed: number): Record<string, Uint8Array> {
	return {
		".gitattributes": Buffer.from("*.safetensors filter=lfs\n"),
		"README.md": Buffer.from("---\nlicense: apache-2.0\n---\n# tiny\n"),
		"config.json": json({
			architecture: "vit_tiny_patch8_32",
			num_classes: 9,
			pretrained_cfg: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
		}),
		"model.safetensors": writeSafetensors({
			...initialise(tinyConfig, new Random("tiny", seed)),
			"head.weight": float32([9, 64]),
		}),
		"pytorch_model.bin": Buffer.from("a pickle"),
	};
}

/** As transformers publishes DINOv2. */
export function dinov2Files(seed: number): Record<string, Uint8Array> {
	const config = { ...tinyConfig, layerScale: true };
	const tensors: TensorDict = {};
	for (const [name, t] of Object.entries(
		initialise(config, new Random("tiny", seed)),
	)) {
		const to = name
			.replace("cls_token", "embeddings.cls_token")
			.replace("pos_embed", "embeddings.position_embeddings")
			.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
			.replace(/^norm\./, "layernorm.")
			.replace(/^blocks\./, "encoder.layer.")
			.replace(".attn.proj.", ".attention.output.dense.")
			.replace(/\.ls([12])\.gamma$/, ".layer_scale$1.lambda1");
		const third = t.data.length / 3;
		if (to.includes(".attn.qkv."))
			["query", "key", "value"].forEach((part, i) => {
				tensors[to.replace(".attn.qkv.", `.attention.attention.${part}.`)] =
					float32(
						[(t.shape[0] as number) / 3, ...t.shape.slice(1)],
						t.data.slice(i * third, (i + 1) * third),
					);
			});
		else tensors[to] = t;
	}
	return {
		"README.md": Buffer.from("# no front matter\n"),
		"config.json": json({
			model_type: "dinov2",
			num_attention_heads: 1,
			hidden_act: "gelu",
			layer_norm_eps: 1e-6,
		}),
		"preprocessor_config.json": json({
			image_mean: [0.5, 0.5, 0.5],
			image_std: [0.5, 0.5, 0.5],
		}),
		"model.safetensors": writeSafetensors(tensors),
	};
}
