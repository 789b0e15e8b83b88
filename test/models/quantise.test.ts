/** The frozen blocks in 8-bit integers: near float32, bit for bit independent of what is seen beside, whole where weights are degenerate. */
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { toInt8 } from "../../src/engine/bytes.ts";
import { saturates, Session } from "../../src/engine/runtime.ts";
import { input } from "../../src/engine/graph.ts";
import { dynamicLinear } from "../../src/engine/ops/index.ts";
import { float32, int8, type Tensor, uint8 } from "../../src/engine/tensor.ts";
import type { Image } from "../../src/data/task.ts";
import { type Backbone, readBackbone } from "../../src/models/backbone.ts";
import { loadBackbone } from "../../src/models/index.ts";
import { quantise } from "../../src/models/quantise.ts";
import { initialise, type VitConfig } from "../../src/models/vit.ts";
import { Random } from "../../src/random.ts";
import { StateCache, Trunk } from "../../src/trunk.ts";

const config: VitConfig = {
	imageSize: [32, 48],
	patch: 8,
	width: 48,
	depth: 3,
	heads: 3,
	mlpRatio: 4,
	registers: 2,
	layerScale: true,
	classPosition: true,
	layerNormEps: 1e-6,
	mean: [0.5, 0.4, 0.3],
	std: [0.25, 0.2, 0.3],
};
/** Random weights, large enough that every layer matters, with norms and biases as training leaves them. */
function weightsOf(seed: number) {
	const random = new Random("quantise.test", seed);
	const weights = initialise(config, random);
	for (const [name, { data }] of Object.entries(weights))
		for (const i of data.keys())
			if (name.endsWith("gamma")) data[i] = random.uniform(0.2, 1);
			else if (/norm\d?\.weight$/.test(name))
				data[i] = Math.exp(random.normal(0, 1));
			else if (name.endsWith("bias")) data[i] = random.normal(0, 0.3);
			else if (/(qkv|proj|fc1|fc2)\.weight$/.test(name))
				data[i] = (data[i] as number) * 6;
	return weights;
}
const weights = weightsOf(1);
const imageOf = (seed: number, { imageSize: [h, w] } = config): Image => {
	const random = new Random("image", seed);
	return uint8(
		[h, w, 3],
		Uint8Array.from({ length: h * w * 3 }, (_, i) =>
			Math.round(128 + 60 * Math.sin(i / (5 + seed)) + random.uniform(-50, 50)),
		),
	);
};
const images = Array.from({ length: 5 }, (_, i) => imageOf(i));

const trunkOf = (
	precision: "float32" | "int8",
	{ from = 3, threads = 1, w = weights, patchBlocks = [1] } = {},
	cache: StateCache | null = null,
) =>
	new Trunk(
		{
			backbone: { config, weights: w, precision },
			from,
			patchBlocks,
			threads,
		},
		cache,
	);

/** Of rows of the last axis, the least. */
function cosine(a: Tensor, b: Tensor): number {
	const d = a.shape.at(-1) as number;
	let least = 1;
	for (let r = 0; r < a.data.length; r += d) {
		let [ab, aa, bb] = [0, 0, 0];
		for (let i = r; i < r + d; i++) {
			const [x, y] = [a.data[i] as number, b.data[i] as number];
			ab += x * y;
			aa += x * x;
			bb += y * y;
		}
		least = Math.min(least, ab / Math.sqrt(aa * bb));
	}
	return least;
}

describe("a trunk in int8", () => {
	it.each([
		["nothing trains", 3, [1]],
		["patches of the last block too", 3, [0, 2]],
		["the last block trains", 2, [1]],
	])("says nearly what float32 says: %s", async (_, from, patchBlocks) => {
		const exact = trunkOf("float32", { from, patchBlocks });
		const rounded = trunkOf("int8", { from, patchBlocks });
		for (const image of images) {
			const [a, b] = [await exact.see(image), await rounded.see(image)];
			expect(b.patches).not.toEqual(a.patches);
			expect(cosine(a.patches as Tensor, b.patches as Tensor)).toBeGreaterThan(
				0.998,
			);
			expect(cosine(a.frozen, b.frozen)).toBeGreaterThan(0.998);
			expect(b.state.shape).toEqual(a.state.shape);
			expect(cosine(a.state as Tensor, b.state as Tensor)).toBeGreaterThan(
				0.998,
			);
		}
	});

	it("says the same of an image to the bit: alone, in any company, from the cache, with one thread or two", async () => {
		const alone = [];
		for (const image of images) alone.push(await trunkOf("int8").see(image));
		expect(await trunkOf("int8").seeAll(images)).toEqual(alone);
		expect(
			await trunkOf("int8", { threads: 2 }).seeAll([...images].reverse()),
		).toEqual([...alone].reverse());
		const cached = trunkOf("int8", {}, new StateCache(1e8));
		const [, one] = images;
		await cached.seeAll([one as Image]);
		expect(await cached.seeAll(images)).toEqual(alone);
		// beside an image of another range
		const white = uint8([32, 48, 3]);
		white.data.fill(255);
		const [, second] = await trunkOf("int8").seeAll([white, one as Image]);
		expect(second).toEqual(alone[1]);
	});

	it("gives training the states that it gives a single image", async () => {
		const trunk = trunkOf("int8", { from: 2 });
		const batch = uint8([5, 32, 48, 3]);
		for (const [i, { data }] of images.entries())
			batch.data.set(data, i * data.length);
		const { data } = (await trunk.states(batch)) as Tensor;
		for (const [i, image] of images.entries()) {
			const { state } = await trunk.see(image);
			const own = state.data as Float32Array;
			expect(data.slice(i * own.length, (i + 1) * own.length)).toEqual(own);
		}
		await trunk.releaseBatches();
	});

	it("leaves a network that trains as a whole in float32", async () => {
		const [a, b] = [
			await trunkOf("float32", { from: 0, patchBlocks: [] }).see(
				images[0] as Image,
			),
			await trunkOf("int8", { from: 0, patchBlocks: [] }).see(
				images[0] as Image,
			),
		];
		expect(b).toEqual(a);
	});

	it("lives with dead channels, dead outputs, and images and rows of one number", async () => {
		const w = weightsOf(2);
		const put = (name: string, at: (i: number) => boolean) => {
			const { data } = w[name] as Tensor;
			for (const i of data.keys()) if (at(i)) data[i] = 0;
		};
		put("blocks.0.norm1.weight", (i) => i === 3); // with its bias: a column of zeros comes in
		put("blocks.0.norm1.bias", (i) => i === 3);
		put("blocks.0.attn.qkv.weight", (i) => i % 48 === 5); // a column that nothing reads
		put("blocks.1.mlp.fc1.weight", (i) => i < 48 * 7); // outputs that are their bias
		put("blocks.1.mlp.fc2.weight", () => true);
		put("blocks.2.ls1.gamma", () => true);
		put("patch_embed.proj.weight", (i) => i < 3 * 64);
		const black = uint8([32, 48, 3]);
		for (const image of [black, ...images.slice(0, 2)]) {
			const a = await trunkOf("float32", { w }).see(image);
			const b = await trunkOf("int8", { w }).see(image);
			expect(cosine(a.frozen, b.frozen)).toBeGreaterThan(0.998);
			expect(cosine(a.patches as Tensor, b.patches as Tensor)).toBeGreaterThan(
				0.998,
			);
		}
	});
});

describe("weights", () => {
	it("have a scale an output, their largest at 127", () => {
		const w = float32([2, 3], Float32Array.of(1.27, -0.5, 0.014, 0, 0, 0));
		const { codes, scale } = toInt8(w);
		expect(codes).toEqual(int8([3, 2], Int8Array.of(127, 0, -50, 0, 1, 0)));
		expect(scale.data[0]).toBeCloseTo(0.01, 8);
		expect(scale.data[1]).toBe(1);
	});

	it("of the blocks above stay as they are, and so do the backbone's own", () => {
		const before = JSON.stringify(weights["blocks.0.norm1.weight"]?.data);
		const { weights: out } = quantise(config, weights, 1);
		expect(JSON.stringify(weights["blocks.0.norm1.weight"]?.data)).toBe(before);
		for (const [name, tensor] of Object.entries(weights))
			if (!/^(blocks\.0|patch_embed)\./.test(name))
				expect(out[name]).toBe(tensor);
		expect(out["blocks.0.attn.qkv.weight"]).toBeUndefined();
		expect(out["blocks.0.ls1.gamma"]).toBeUndefined();
		expect(out["blocks.0.attn.qkv.codes"]).toMatchObject({
			dtype: "int8",
			shape: [48, 144],
		});
	});
});

describe("products of 8 bits", () => {
	it("are exact on this processor, or known not to be and then computed otherwise", async () => {
		expect(typeof (await saturates())).toBe("boolean");
		const [k, n] = [64, 16];
		const w = int8([k, n]);
		w.data.fill(127);
		const scale = float32([n]);
		scale.data.fill(1);
		const session = await Session.create(
			{
				y: dynamicLinear(
					input("x", [4, k]),
					input("w", [k, n], "int8"),
					input("scale", [n]),
					input("b", [n]),
				),
			},
			{ threads: 1, weights: { w, scale, b: float32([n]) } },
		);
		const x = float32([4, k]);
		x.data.fill(255);
		const { y } = await session.run({ x });
		await session.release();
		for (const sum of y?.data ?? []) expect(sum).toBe(k * 255 * 127);
	});
});

const dinov2 = new URL("../../../shared/models/dinov2-small", import.meta.url)
	.pathname;
describe.skipIf(!existsSync(dinov2))(
	`DINOv2-S in int8 (skipped where ${dinov2} is absent)`,
	() => {
		it("sees drawn pictures nearly as in float32", async () => {
			const backbone = readBackbone(dinov2, [224, 224]);
			const of = (precision: NonNullable<Backbone["precision"]>) =>
				new Trunk({
					backbone: { ...backbone, precision },
					from: 12,
					patchBlocks: [5, 8],
					threads: 2,
				});
			const [exact, rounded] = [of("float32"), of("int8")];
			for (const seed of [1, 2]) {
				const image = imageOf(seed, backbone.config);
				const [a, b] = [await exact.see(image), await rounded.see(image)];
				expect(cosine(a.frozen, b.frozen)).toBeGreaterThan(0.995);
				expect(
					cosine(a.patches as Tensor, b.patches as Tensor),
				).toBeGreaterThan(0.99);
			}
		}, 60_000);
	},
);

describe("a backbone", () => {
	it("computes in float32 unless it is asked for int8", () => {
		const sides = { name: "vit", width: 8, depth: 1, heads: 2, patch: 8 };
		expect(loadBackbone(sides, [8, 8], 1).precision).toBe("float32");
		expect(
			loadBackbone({ ...sides, precision: "int8" }, [8, 8], 1).precision,
		).toBe("int8");
	});
});
