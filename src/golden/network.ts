/** vit.*, dino.* and optim.*: the network, its gradients, the optimisers. */
import { gradients } from "../engine/autodiff.ts";
import {
	input,
	inputsOf,
	type Value,
	type ValueDict,
} from "../engine/graph.ts";
import { crossEntropy, mean, mul } from "../engine/ops/index.ts";
import type { OptimizerOptions } from "../engine/optim.ts";
import { Session } from "../engine/runtime.ts";
import { TrainingStep } from "../engine/step.ts";
import { float32, type Tensor, type TensorDict } from "../engine/tensor.ts";
import { resizeGrid } from "../models/resize.ts";
import { embed, gridOf, top, type VitConfig } from "../models/vit.ts";
import { headOf } from "../trunk.ts";
import { absolute, type Check, isTrue, relative } from "./compare.ts";

export interface VitJson {
	readonly image: number;
	readonly patch: number;
	readonly dim: number;
	readonly depth: number;
	readonly heads: number;
	readonly mlpRatio: number;
	readonly classes: number;
	readonly layerNormEps: number;
	readonly labels: readonly number[];
}

export function vitConfig(
	json: VitJson,
	weights: TensorDict,
	imageSize: readonly [number, number],
): VitConfig {
	const config: VitConfig = {
		imageSize,
		patch: json.patch,
		width: json.dim,
		depth: json.depth,
		heads: json.heads,
		mlpRatio: json.mlpRatio,
		registers: weights.reg_token?.shape[1] ?? 0,
		layerScale: "blocks.0.ls1.gamma" in weights,
		classPosition: false,
		layerNormEps: json.layerNormEps,
		mean: [0, 0, 0],
		std: [1, 1, 1],
	};
	const [h, w] = gridOf(config);
	return {
		...config,
		classPosition: weights.pos_embed?.shape[1] === h * w + 1,
	};
}

const side = (t: Tensor): readonly [number, number] => [
	t.shape[2] as number,
	t.shape[3] as number,
];

export function oneHot(labels: readonly number[], classes: number): Tensor {
	const t = float32([labels.length, classes]);
	labels.forEach((label, i) => {
		t.data[i * classes + label] = 1;
	});
	return t;
}

/** Everything but the key third of attn.qkv.bias, whose gradient is rounding noise around 0. */
function withoutKeyThird(name: string, data: Float32Array): Float32Array {
	if (!name.endsWith("attn.qkv.bias")) return data;
	const third = data.length / 3;
	return Float32Array.from([
		...data.subarray(0, third),
		...data.subarray(2 * third),
	]);
}

export const pixelsToLoss = (
	config: VitConfig,
	params: ValueDict,
	pixels: Value,
	labels: Value,
) => {
	const { embedding } = top(config, params, embed(config, params, pixels), 0, {
		read: "class",
	});
	const logits = headOf(params, embedding);
	return { logits, loss: crossEntropy(logits, labels) };
};

export const vit: Check = async (dir) => {
	const json = dir.json<VitJson>("vit.config.json");
	const weights = dir.tensors("vit.weights.safetensors");
	const expected = dir.tensors("vit.forward.safetensors");
	const grads = dir.tensors("vit.grads.safetensors");
	const images = expected.input as Tensor;
	const config = vitConfig(json, weights, [json.image, json.image]);
	const params = inputsOf(weights);
	const pixels = input("input", images.shape);
	const labels = oneHot(json.labels, json.classes);
	const { logits, loss } = pixelsToLoss(
		config,
		params,
		pixels,
		input("labels", labels.shape),
	);
	const names = Object.keys(weights);
	const dw = gradients(
		loss,
		names.map((n) => params[n] as Value),
	);
	const tokens = top(config, params, embed(config, params, pixels), 0, {
		read: "all",
	}).tokens as Value;
	const session = await Session.create(
		{
			tokens,
			logits,
			loss,
			...Object.fromEntries(names.map((n, i) => [`d ${n}`, dw[i] as Value])),
		},
		{ threads: 2 },
	);
	const out = await session.run({ ...weights, input: images, labels });
	await session.release();
	const data = (name: string) => (out[name] as Tensor).data;
	const missing = names
		.filter((n) => !(n in grads))
		.concat(Object.keys(grads).filter((n) => !(n in weights)));
	return [
		...(["tokens", "logits", "loss"] as const).map((name) => ({
			name: `vit.forward ${name}`,
			error: relative(data(name), (expected[name] as Tensor).data),
			tolerance: 1e-4,
		})),
		...names.map((n) => ({
			name: `vit.grads ${n}`,
			error: relative(
				withoutKeyThird(n, data(`d ${n}`)),
				withoutKeyThird(n, grads[n]?.data ?? new Float32Array(0)),
			),
			tolerance: 1e-4,
		})),
		isTrue("vit.grads has every parameter", missing.length === 0),
	];
};

export const dino: Check = async (dir) => {
	const weights = dir.tensors("dino.weights.safetensors");
	const expected = dir.tensors("dino.forward.safetensors");
	const grads = dir.tensors("dino.grads.safetensors");
	const images = expected.input as Tensor;
	const config = vitConfig(
		dir.json<VitJson>("vit.config.json"),
		weights,
		side(images),
	);
	const params = inputsOf(weights);
	const tokens = top(
		config,
		params,
		embed(config, params, input("input", images.shape)),
		0,
		{ read: "all" },
	).tokens as Value;
	const cotangent = grads.cotangent as Tensor;
	const names = Object.keys(weights);
	const dw = gradients(
		mean(mul(tokens, input("cotangent", cotangent.shape))),
		names.map((n) => params[n] as Value),
	);
	const session = await Session.create(
		{
			tokens,
			...Object.fromEntries(names.map((n, i) => [`d ${n}`, dw[i] as Value])),
		},
		{ threads: 2 },
	);
	const out = await session.run({ ...weights, input: images, cotangent });
	await session.release();
	return [
		{
			name: "dino.forward tokens",
			error: relative(
				(out.tokens as Tensor).data,
				(expected.tokens as Tensor).data,
			),
			tolerance: 1e-4,
		},
		...names.map((n) => ({
			name: `dino.grads ${n}`,
			error: relative(
				withoutKeyThird(n, (out[`d ${n}`] as Tensor).data),
				withoutKeyThird(n, grads[n]?.data ?? new Float32Array(0)),
			),
			tolerance: 1e-4,
		})),
	];
};

export const dinoResized: Check = async (dir) => {
	const weights = dir.tensors("dino.weights.safetensors");
	const small = dir.tensors("dino.forward.safetensors").input as Tensor;
	const expected = dir.tensors("dino.resized.safetensors");
	const images = expected.input as Tensor;
	const json = dir.json<VitJson>("vit.config.json");
	const config = vitConfig(json, weights, side(images));
	const positions = resizeGrid(
		weights.pos_embed as Tensor,
		gridOf({ ...config, imageSize: side(small) }),
		gridOf(config),
	);
	const resized = { ...weights, pos_embed: positions };
	const tokens = top(
		config,
		inputsOf(resized),
		embed(config, inputsOf(resized), input("input", images.shape)),
		0,
		{ read: "all" },
	).tokens as Value;
	const session = await Session.create({ tokens }, { threads: 2 });
	const out = await session.run({ ...resized, input: images });
	await session.release();
	return [
		{
			name: "dino.resized pos_embed",
			error: relative(positions.data, (expected.pos_embed as Tensor).data),
			tolerance: 1e-4,
		},
		{
			name: "dino.resized tokens",
			error: relative(
				(out.tokens as Tensor).data,
				(expected.tokens as Tensor).data,
			),
			tolerance: 1e-4,
		},
	];
};

export const optimiser =
	(
		name: "adam" | "adamw" | "sgd",
		options: Partial<OptimizerOptions> & { lr: number },
	): Check =>
	async (dir) => {
		const json = dir.json<VitJson>("vit.config.json");
		const weights = dir.tensors("vit.weights.safetensors");
		const images = dir.tensors("vit.forward.safetensors").input as Tensor;
		const expected = dir.tensors(`optim.${name}.safetensors`);
		const { losses } = dir.json<{ losses: number[] }>(`optim.${name}.json`);
		const config = vitConfig(json, weights, [json.image, json.image]);
		const labels = oneHot(json.labels, json.classes);
		const step = await TrainingStep.create({
			params: Object.fromEntries(
				Object.entries(weights).map(([n, t]) => [
					n,
					float32(t.shape, t.data.slice()),
				]),
			),
			optimizer: {
				name,
				betas: [0.9, 0.999],
				eps: 1e-8,
				weightDecay: 0,
				momentum: 0,
				...options,
			},
			clipNorm: null,
			threads: 2,
			build: (s) => ({
				loss: pixelsToLoss(
					config,
					s.params,
					s.feed("input", images.shape),
					s.feed("labels", labels.shape),
				).loss,
			}),
		});
		const seen: number[] = [];
		for (let i = 0; i < losses.length; i++)
			seen.push(
				(
					await step.run({ input: images, labels }, i, {
						name: "constant",
						warmup: 0,
						total: losses.length,
					})
				).loss,
			);
		await step.release();
		const isRelative = name === "sgd";
		return [
			{
				name: `optim.${name} losses`,
				error: absolute(seen, losses),
				tolerance: 1e-5,
			},
			...Object.keys(weights).map((n) => {
				const known = expected[n]?.data ?? new Float32Array(0);
				const now = (step.params[n] as Tensor).data;
				const key = n.endsWith("attn.qkv.bias");
				if (isRelative)
					return {
						name: `optim.${name} ${n}`,
						error: relative(now, known),
						tolerance: 1e-4,
					};
				if (key && name === "adam")
					return {
						name: `optim.${name} ${n}`,
						error: absolute(now, known),
						tolerance: 2e-4,
					};
				return {
					name: `optim.${name} ${n}`,
					error: absolute(withoutKeyThird(n, now), withoutKeyThird(n, known)),
					tolerance: 5e-5,
				};
			}),
		];
	};
