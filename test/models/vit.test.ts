/** The Vision Transformer's graphs against each other; its numbers against PyTorch's are the golden check's business. */
import { describe, expect, it } from "vitest";
import { gradients } from "../../src/engine/autodiff.ts";
import { input, type Value, type ValueDict } from "../../src/engine/graph.ts";
import { mul, sum } from "../../src/engine/ops/index.ts";
import { Session } from "../../src/engine/runtime.ts";
import {
	float32,
	sizeOf,
	type Tensor,
	type TensorDict,
	uint8,
} from "../../src/engine/tensor.ts";
import {
	embed,
	gridOf,
	initialise,
	linearLayers,
	normalise,
	parameterShapes,
	patchEmbedding,
	tokenCount,
	top,
	topShapes,
	trunk,
	type VitConfig,
} from "../../src/models/vit.ts";
import { Random } from "../../src/random.ts";

/** Wider than high, with registers and LayerScale. */
const config: VitConfig = {
	imageSize: [16, 32],
	patch: 8,
	width: 24,
	depth: 3,
	heads: 2,
	mlpRatio: 8 / 3,
	registers: 2,
	layerScale: true,
	classPosition: true,
	layerNormEps: 1e-6,
	mean: [0.4, 0.5, 0.6],
	std: [0.2, 0.25, 0.3],
};
const random = new Random("vit.test");
const weights = initialise(config, random);
for (const [name, t] of Object.entries(weights))
	if (!/norm|bias|patch/.test(name))
		// large enough that every part shows
		for (let i = 0; i < t.data.length; i++)
			t.data[i] = random.normal(0, name.endsWith("gamma") ? 0.5 : 0.2);
const images = uint8(
	[2, 16, 32, 3],
	Uint8Array.from({ length: 2 * 16 * 32 * 3 }, () => random.integer(256)),
);

const params: ValueDict = Object.fromEntries(
	Object.entries(weights).map(([n, t]) => [n, input(n, t.shape)]),
);
const tokensOf = (c: VitConfig) =>
	embed(c, params, normalise(c, input("images", images.shape, "uint8")));
async function run(
	outputs: ValueDict,
	fed: TensorDict = weights,
): Promise<TensorDict> {
	const session = await Session.create(outputs, { threads: 1 });
	const out = await session.run({ ...fed, images });
	await session.release();
	return out;
}
const worst = (a: Tensor | undefined, b: Tensor | undefined): number => {
	expect(a?.shape).toEqual(b?.shape);
	return (a as Tensor).data.reduce(
		(m, x, i) => Math.max(m, Math.abs(x - ((b as Tensor).data[i] as number))),
		0,
	);
};

describe("shapes", () => {
	it("one token a patch, row by row, after class and registers", () => {
		expect(gridOf(config)).toEqual([2, 4]);
		expect(tokenCount(config)).toBe(1 + 2 + 8);
		expect(tokensOf(config).shape).toEqual([2, 11, 24]);
		expect(parameterShapes(config).pos_embed).toEqual([1, 9, 24]);
		expect(
			parameterShapes({ ...config, classPosition: false }).pos_embed,
		).toEqual([1, 8, 24]);
		expect(parameterShapes(config)["blocks.0.mlp.fc1.weight"]).toEqual([
			64, 24,
		]);
	});
	it("the top is what training copies: its blocks and the final norm, or everything", () => {
		const names = Object.keys(topShapes(config, 2));
		expect(names.every((n) => /^(blocks\.2\.|norm\.)/.test(n))).toBe(true);
		expect(names).toContain("norm.weight");
		expect(topShapes(config, 0)).toEqual(parameterShapes(config));
		expect(linearLayers(config, 2)).toEqual([
			"blocks.2.attn.qkv",
			"blocks.2.attn.proj",
			"blocks.2.mlp.fc1",
			"blocks.2.mlp.fc2",
		]);
	});
});

describe("embedding of pixels", () => {
	it("is the patch projection of normalised pixels plus its position", async () => {
		const { tokens } = await run({ tokens: tokensOf(config) });
		const [b, row, column] = [1, 1, 2];
		const at = 3 + row * 4 + column; // class, two registers, then patches
		const w = weights["patch_embed.proj.weight"] as Tensor; // [24, 3, 8, 8]
		for (const d of [0, 17]) {
			let y = (weights["patch_embed.proj.bias"] as Tensor).data[d] as number;
			for (let c = 0; c < 3; c++)
				for (let i = 0; i < 8; i++)
					for (let j = 0; j < 8; j++) {
						const pixel = images.data[
							((b * 16 + row * 8 + i) * 32 + column * 8 + j) * 3 + c
						] as number;
						y +=
							(w.data[((d * 3 + c) * 8 + i) * 8 + j] as number) *
							((pixel / 255 - (config.mean[c] as number)) /
								(config.std[c] as number));
					}
			y += (weights.pos_embed as Tensor).data[
				(1 + row * 4 + column) * 24 + d
			] as number;
			expect(tokens?.data[(b * 11 + at) * 24 + d]).toBeCloseTo(y, 4);
		}
		for (
			let r = 0;
			r < 2;
			r++ // registers have no position
		)
			expect(tokens?.data.subarray((1 + r) * 24, (2 + r) * 24)).toEqual(
				(weights.reg_token as Tensor).data.subarray(r * 24, (r + 1) * 24),
			);
	});
});

describe("one network in two parts", () => {
	const whole = () => top(config, params, tokensOf(config), 0, { read: "all" });
	it("the class row alone is what all rows give", async () => {
		const out = await run({
			all: whole().embedding,
			alone: top(config, params, tokensOf(config), 0, { read: "class" })
				.embedding,
		});
		expect(worst(out.alone, out.all)).toBeLessThan(1e-5);
	});
	it.each([1, 2, 3])("split before block %i", async (from) => {
		const pixels = normalise(config, input("images", images.shape, "uint8"));
		const { state, hidden } = trunk(config, params, pixels, from, [from - 1]);
		const out = await run({
			whole: whole().embedding,
			parts: top(config, params, state, from, {
				read: "class",
				forwardOnly: true,
			}).embedding,
			state,
			hidden: hidden[0] as Value,
		});
		expect(worst(out.parts, out.whole)).toBeLessThan(1e-5);
		expect(worst(out.hidden, out.state)).toBe(0);
	});
	it("an image's tokens do not depend on the batch", async () => {
		const { tokens } = await run({ tokens: whole().tokens as Value });
		const single = top(
			config,
			params,
			embed(
				config,
				params,
				normalise(config, input("one", [1, 16, 32, 3], "uint8")),
			),
			0,
			{ read: "all" },
		).tokens as Value;
		const session = await Session.create({ single }, { threads: 1 });
		const one = uint8([1, 16, 32, 3], images.data.slice(16 * 32 * 3));
		const out = await session.run({ ...weights, one });
		await session.release();
		const half = (tokens as Tensor).data.subarray(11 * 24);
		expect(
			out.single?.data.reduce(
				(m, x, i) => Math.max(m, Math.abs(x - (half[i] as number))),
				0,
			),
		).toBeLessThan(1e-5);
	});
	it("gradients through the class row are those through all rows", async () => {
		const names = Object.keys(weights);
		const probe = input("probe", [2, 24]);
		const outputs: ValueDict = {};
		for (const read of ["class", "all"] as const) {
			const { embedding } = top(config, params, tokensOf(config), 0, { read });
			gradients(
				sum(mul(embedding, probe)),
				names.map((n) => params[n] as Value),
			).forEach((g, i) => {
				outputs[`${read} ${names[i]}`] = g;
			});
		}
		const fed = {
			...weights,
			probe: {
				dtype: "float32",
				shape: [2, 24],
				data: Float32Array.from({ length: 48 }, () => random.normal()),
			} satisfies Tensor,
		};
		const out = await run(outputs, fed);
		for (const n of names) {
			const b = out[`all ${n}`] as Tensor;
			const scale = b.data.reduce((m, x) => Math.max(m, Math.abs(x)), 1e-3);
			expect(worst(out[`class ${n}`], b) / scale, n).toBeLessThan(1e-4);
		}
	});
});

describe("patch embeddings", () => {
	/** Patch p of image b of [2, 11, 24]: after class and registers, row by row. */
	const patchOf = (tokens: Tensor | undefined, b: number, p: number) =>
		Float64Array.from(
			(tokens as Tensor).data.subarray(
				(b * 11 + 3 + p) * 24,
				(b * 11 + 4 + p) * 24,
			),
		);
	const unit = (x: Float64Array): Float64Array => {
		const length = Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));
		return x.map((v) => v / length);
	};
	const normed = (x: Float64Array): Float64Array => {
		const mean = x.reduce((sum, v) => sum + v) / 24;
		const variance = x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 24;
		const { weight, bias } = finalNorm;
		return x.map(
			(v, i) =>
				((v - mean) / Math.sqrt(variance + config.layerNormEps)) *
					(weight.data[i] as number) +
				(bias.data[i] as number),
		);
	};
	/** A final norm that does something. */
	const r = new Random("final norm");
	const finalNorm = {
		weight: float32(
			[24],
			Float32Array.from({ length: 24 }, () => r.uniform(0.5, 2)),
		),
		bias: float32(
			[24],
			Float32Array.from({ length: 24 }, () => r.normal()),
		),
	};
	const fed = {
		...weights,
		"norm.weight": finalNorm.weight,
		"norm.bias": finalNorm.bias,
	};
	const pixels = () =>
		normalise(config, input("images", images.shape, "uint8"));

	it.each([[[1]], [[0, 1]], [[0, 1, 2]]])(
		"after blocks %j: each through the final norm and to length 1, added, to length 1 again",
		async (blocks) => {
			const { hidden } = trunk(config, params, pixels(), 3, blocks);
			const outputs: ValueDict = {
				patches: patchEmbedding(config, params, hidden),
			};
			for (const [i, value] of hidden.entries()) outputs[`hidden ${i}`] = value;
			const out = await run(outputs, fed);
			expect(out.patches?.shape).toEqual([2, 8, 24]);
			let error = 0;
			for (let b = 0; b < 2; b++)
				for (let p = 0; p < 8; p++) {
					const sum = new Float64Array(24);
					for (const i of blocks.keys())
						for (const [k, v] of unit(
							normed(patchOf(out[`hidden ${i}`], b, p)),
						).entries())
							sum[k] = (sum[k] as number) + v;
					for (const [k, v] of unit(sum).entries())
						error = Math.max(
							error,
							Math.abs(v - (out.patches?.data[(b * 8 + p) * 24 + k] as number)),
						);
				}
			expect(error).toBeLessThan(1e-6);
		},
	);

	it("the trunk keeps the tokens after the blocks asked for, in the order asked for", async () => {
		const { hidden } = trunk(config, params, pixels(), 3, [2, 0]);
		const after = (blocks: number) =>
			trunk(config, params, pixels(), blocks).state;
		const out = await run({
			first: hidden[0] as Value,
			second: hidden[1] as Value,
			afterThree: after(3),
			afterOne: after(1),
		});
		expect(worst(out.first, out.afterThree)).toBe(0);
		expect(worst(out.second, out.afterOne)).toBe(0);
	});

	it("tokens of zeros stay zeros", async () => {
		const zeros = input("zeros", [1, 11, 24]);
		const session = await Session.create(
			{ patches: patchEmbedding(config, params, [zeros]) },
			{ threads: 1 },
		);
		const out = await session.run({ ...weights, zeros: float32([1, 11, 24]) });
		await session.release();
		expect(out.patches?.data).toEqual(new Float32Array(8 * 24));
	});
});

it("says what every linear layer reads, class row alone where the network reads no other", () => {
	const state = input("state", [2, 11, 24]);
	const { layerInputs } = top(config, params, state, 1, { read: "class" });
	expect(Object.keys(layerInputs).sort()).toEqual(
		linearLayers(config, 1).sort(),
	);
	expect(layerInputs["blocks.1.mlp.fc2"]?.shape).toEqual([2, 11, 64]);
	expect(layerInputs["blocks.2.attn.qkv"]?.shape).toEqual([2, 11, 24]);
	expect(layerInputs["blocks.2.attn.proj"]?.shape).toEqual([2, 24]);
	expect(layerInputs["blocks.2.mlp.fc2"]?.shape).toEqual([2, 64]);
});

it("random weights depend on the seed and on their name alone", () => {
	const c = { ...config, registers: 0 };
	const [a, b] = [config, c].map((x) => initialise(x, new Random(7)));
	expect(a?.["blocks.1.mlp.fc1.weight"]).toEqual(
		b?.["blocks.1.mlp.fc1.weight"],
	);
	for (const [name, shape] of Object.entries(parameterShapes(config)))
		expect(a?.[name]?.data.length, name).toBe(sizeOf(shape));
});
