/** The network in two parts: what goes through in groups is what goes through one by one. */
import { describe, expect, it } from "vitest";
import { gradients } from "../src/engine/autodiff.ts";
import { input, type Value } from "../src/engine/graph.ts";
import { add, mul, slice, sum } from "../src/engine/ops/index.ts";
import { Session } from "../src/engine/runtime.ts";
import { type AnyTensor, uint8 } from "../src/engine/tensor.ts";
import type { Image } from "../src/data/task.ts";
import { initialise, type VitConfig } from "../src/models/vit.ts";
import { Random } from "../src/random.ts";
import { sha256 } from "../src/storage.ts";
import {
	blocksAt,
	imageGroups,
	type Sight,
	StateCache,
	type Network,
	stateInput,
	topOf,
	Trunk,
	trainableWeights,
} from "../src/trunk.ts";

/** 1.6 MB of hidden activations an image: a batch of 7 needs two groups of unequal length. */
const config: VitConfig = {
	imageSize: [32, 32],
	patch: 2,
	width: 384,
	depth: 2,
	heads: 6,
	mlpRatio: 4,
	registers: 0,
	layerScale: true,
	classPosition: true,
	layerNormEps: 1e-6,
	mean: [0.5, 0.5, 0.5],
	std: [0.25, 0.25, 0.25],
};
const batch = 7;
const random = new Random("trunk.test");
const weights = initialise(config, random);
for (const [name, t] of Object.entries(weights))
	if (name.endsWith("gamma")) t.data.fill(0.5);
const pixels = uint8(
	[batch, 32, 32, 3],
	Uint8Array.from({ length: batch * 32 * 32 * 3 }, () => random.integer(256)),
);

/** Everything of image i. */
function rowOf(tensor: AnyTensor | undefined, i: number): Uint8Array {
	if (!tensor) throw new Error("no such output");
	const size = tensor.data.length / batch;
	return (tensor.data as Uint8Array).subarray(i * size, (i + 1) * size);
}

function expectClose(a: ArrayLike<number>, b: ArrayLike<unknown> | undefined) {
	expect(a.length).toBe(b?.length);
	let error = 0;
	for (let i = 0; i < a.length; i++)
		error = Math.max(error, Math.abs((a[i] as number) - Number(b?.[i])));
	expect(error).toBeLessThanOrEqual(1e-4);
}

describe("groups of images", () => {
	it("cover the batch once, in order, none larger than is asked for", () => {
		expect(imageGroups(batch, 4)).toEqual([
			[0, 4],
			[4, 7],
		]);
		for (const n of [1, 2, 6, 12, 13, 32]) {
			const groups = imageGroups(n, 4);
			expect(groups[0]?.[0]).toBe(0);
			expect(groups.at(-1)?.[1]).toBe(n);
			for (const [i, [start, end]] of groups.entries()) {
				expect(end).toBeGreaterThan(start);
				expect(end - start).toBeLessThanOrEqual(4);
				if (i > 0) expect(start).toBe(groups[i - 1]?.[1]);
			}
		}
	});

	it("one image too large for the cache still goes through", () => {
		const huge = { ...config, width: 8192 };
		const backbone = { config: huge, weights };
		expect(
			new Trunk({ backbone, from: 1, patchBlocks: [], threads: 1 }).together,
		).toBe(1);
	});

	for (const from of [0, 1])
		it(`give the embeddings and gradients of single images, first trained block ${from}`, async () => {
			const network: Network = {
				backbone: { config, weights },
				from,
				patchBlocks: [],
				threads: 2,
			};
			const trained = trainableWeights(network);
			const params = Object.fromEntries(
				Object.entries(trained).map(([n, t]) => [n, input(n, t.shape)]),
			);
			const trunk = new Trunk(network);
			const state = stateInput(network, "state", batch);
			const single = (i: number) =>
				topOf(network, params, slice(state, 0, i, i + 1));
			// some columns only: a sum of squares over all of a normalised vector hardly moves
			const loss = (embeddings: Value) => {
				const part = slice(embeddings, 1, 0, 100);
				return sum(mul(part, part));
			};
			const { embedding: together, layerInputs } = topOf(
				network,
				params,
				state,
			);
			const singles = Array.from({ length: batch }, (_, i) => single(i));
			const apart = singles.map(({ embedding }) => embedding);
			const names = Object.keys(params);
			const wrt = Object.values(params);
			const layer = "blocks.1.attn.qkv";
			const outputs: Record<string, Value> = {
				together,
				inputs: layerInputs[layer] as Value,
			};
			for (const [i, part] of singles.entries())
				outputs[`inputs ${i}`] = part.layerInputs[layer] as Value;
			for (const [i, value] of apart.entries()) outputs[`apart ${i}`] = value;
			for (const [i, g] of gradients(loss(together), wrt).entries())
				outputs[`together ${names[i]}`] = g;
			const sumApart = apart.map(loss).reduce((a, b) => add(a, b));
			for (const [i, g] of gradients(sumApart, wrt).entries())
				outputs[`apart ${names[i]}`] = g;
			const session = await Session.create(outputs, { threads: 2 });
			const out = await session.run({
				...trained,
				state: await trunk.states(pixels),
			});
			await session.release();
			const states = await trunk.states(pixels);
			for (let i = 0; i < batch; i++) {
				expectClose(rowOf(out.inputs, i), out[`inputs ${i}`]?.data);
				expectClose(rowOf(out.together, i), out[`apart ${i}`]?.data);
				const image = { shape: [32, 32, 3] as const, data: rowOf(pixels, i) };
				const alone = await trunk.see(image as never);
				expectClose(rowOf(states, i), alone.state.data);
			}
			await trunk.releaseBatches();
			for (const name of names) {
				const a = out[`together ${name}`]?.data as Float32Array;
				const b = out[`apart ${name}`]?.data as Float32Array;
				let [error, scale] = [0, 0];
				for (let i = 0; i < a.length; i++) {
					error = Math.max(
						error,
						Math.abs((a[i] as number) - (b[i] as number)),
					);
					scale = Math.max(scale, Math.abs(b[i] as number));
				}
				// a key's bias has no gradient in exact arithmetic, but the query's beside it has
				expect(error, name).toBeLessThanOrEqual(1e-4 * scale);
				expect(scale, name).toBeGreaterThan(0);
			}
		}, 60_000);
});

const bits = ({ state, frozen, patches }: Sight): string =>
	[state, frozen, patches]
		.map((t) => (t ? `${t.shape} ${sha256(Buffer.from(t.data.buffer))}` : ""))
		.join();

describe("patches", () => {
	it.each([
		[12, [0.5, 0.75], [5, 8]],
		[12, [1], [11]],
		[12, [0.01, 1 / 12, 0.1], [0, 0, 0]],
		[3, [0.34, 0.67], [0, 1]],
		[24, [0.5], [11]],
	])("of %d blocks the fractions %j are the blocks %j", (depth, at, blocks) => {
		expect(blocksAt({ ...config, depth }, at)).toEqual(blocks);
	});

	const small: VitConfig = { ...config, patch: 8, width: 24, heads: 2 };
	const backbone = { config: small, weights: initialise(small, random) };
	const image = uint8([32, 32, 3], rowOf(pixels, 0).slice());
	const seen = (
		from: number,
		patchBlocks: readonly number[],
		cache: StateCache | null = null,
	) => new Trunk({ backbone, from, patchBlocks, threads: 1 }, cache).see(image);

	it("are seen beside the state where they are asked for: rows of length 1", async () => {
		const { patches } = await seen(1, [0]);
		expect(patches?.shape).toEqual([16, 24]);
		for (let i = 0; i < 16; i++)
			expect(
				Math.hypot(...(patches?.data.subarray(i * 24, (i + 1) * 24) ?? [])),
			).toBeCloseTo(1, 6);
		expect((await seen(1, [])).patches).toBeNull();
	});

	it("do not depend on which blocks train, and change neither state nor class token", async () => {
		const [one, all] = [await seen(1, [0]), await seen(2, [0])];
		expectClose(one.patches?.data ?? [], all.patches?.data);
		const [bare, both] = [await seen(2, []), await seen(2, [0, 1])];
		expectClose(both.frozen.data, bare.frozen.data);
		expectClose(
			both.state.data as Float32Array,
			bare.state.data as Float32Array,
		);
		expect(both.patches?.data).not.toEqual(all.patches?.data);
	});

	it("are bit for bit the same whatever is seen beside them, from the cache too", async () => {
		const network = {
			backbone: { config, weights },
			from: 1,
			patchBlocks: [0],
			threads: 2,
		};
		const alone = new Trunk(network);
		expect(alone.together).toBe(4);
		const images = Array.from({ length: 9 }, (_, i) =>
			uint8(
				[32, 32, 3],
				Uint8Array.from({ length: 3072 }, (_, k) => (k * (i + 3)) % 251),
			),
		);
		const one: string[] = [];
		for (const each of images) one.push(bits(await alone.see(each)));
		const all = await new Trunk(network).seeAll(images);
		expect(all.map(bits)).toEqual(one);

		const cached = new Trunk(network, new StateCache(1e9));
		const some = [4, 0, 7];
		for (const i of some) await cached.see(images[i] as Image);
		expect((await cached.seeAll(images)).map(bits)).toEqual(one);
		const reversed = await cached.seeAll([...images].reverse());
		expect(reversed.map(bits)).toEqual(one.reverse());
	});

	it("of tiles are those of each tile, in the order of the whole picture", async () => {
		const trunk = new Trunk({
			backbone,
			from: 1,
			patchBlocks: [0],
			threads: 1,
		});
		const side = 64; // 2 x 2 tiles of 4 x 4 patches
		const picture = (seed: number) =>
			uint8(
				[side, side, 3],
				Uint8Array.from(
					{ length: side * side * 3 },
					(_, k) => (k * seed) % 241,
				),
			);
		const pictures = [picture(7), picture(11)];
		const grids = await trunk.seeTiles(pictures, 2);
		for (const [p, { data }] of pictures.entries())
			for (const [down, across] of [
				[0, 0],
				[0, 1],
				[1, 0],
				[1, 1],
			] as const) {
				const tile = uint8([32, 32, 3]);
				for (let y = 0; y < 32; y++)
					for (let i = 0; i < 96; i++)
						tile.data[96 * y + i] = data[
							3 * side * (32 * down + y) + 96 * across + i
						] as number;
				const { patches } = await trunk.see(tile);
				for (let r = 0; r < 4; r++) {
					const from = ((4 * down + r) * 8 + 4 * across) * 24;
					expect(grids[p]?.data.slice(from, from + 4 * 24)).toEqual(
						patches?.data.slice(r * 4 * 24, (r + 1) * 4 * 24),
					);
				}
			}
	});

	it("come from the cache as from the graph", async () => {
		const cache = new StateCache(1e6);
		const plain = await seen(1, [0]);
		for (let i = 0; i < 2; i++)
			expect(await seen(1, [0], cache)).toEqual(plain);
	});
});
