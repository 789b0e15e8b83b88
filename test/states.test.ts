/** Views of a pool: each is drawn and seen once, and training sees what it would have seen without keeping anything. */
import { describe, expect, it } from "vitest";
import { type Augmenter, createAugmenter } from "../src/augment.ts";
import { epochSteps, planStep } from "../src/draws.ts";
import { type AnyTensor, uint8 } from "../src/engine/tensor.ts";
import { loadBackbone } from "../src/models/index.ts";
import { Random } from "../src/random.ts";
import { States } from "../src/states.ts";
import { Trunk } from "../src/trunk.ts";

const backbone = loadBackbone(
	{ name: "vit", width: 32, depth: 3, heads: 2, patch: 8 },
	[32, 32],
	1,
);
const random = new Random("states.test");
const images = Array.from({ length: 7 }, () =>
	uint8(
		[32, 32, 3],
		Uint8Array.from({ length: 3072 }, () => random.integer(256)),
	),
);
const plan = planStep(2, null);
const stepsOf = (epoch: number, pool: number | null) =>
	epochSteps(3, "task", epoch, images.length, plan, null, pool);

/** An augmenter that counts the images whose views were asked for. */
function counting(): { training: Augmenter; asked: () => number } {
	const training = createAugmenter({
		pretext: { name: "cutpaste", options: {} },
		images,
		workers: 0,
		seed: 3,
	});
	let asked = 0;
	return {
		training: {
			...training,
			views(jobs) {
				asked += jobs.length;
				return training.views(jobs);
			},
		},
		asked: () => asked,
	};
}

describe.each([2, 0])("where blocks from %d on train", (from) => {
	const trunk = new Trunk({ backbone, from, patchBlocks: [], threads: 1 });

	async function seen(
		pool: number | null,
		keep: number | null,
		epochs: number,
	) {
		const { training, asked } = counting();
		const states = new States(trunk, training, keep);
		const all: AnyTensor[][] = [];
		const asks: number[] = [];
		for (let epoch = 0; epoch < epochs; epoch++) {
			const epochStates: AnyTensor[] = [];
			for await (const state of states.of(stepsOf(epoch, pool)))
				epochStates.push({ ...state, data: state.data.slice() } as AnyTensor);
			all.push(epochStates);
			asks.push(asked());
		}
		return { all, asks };
	}

	it("a pool's views are made in the first epochs alone", async () => {
		const kept = await seen(2, 2, 5);
		expect(kept.asks).toEqual([8, 16, 16, 16, 16]); // 7 images, the last step wraps around
		const anew = await seen(2, null, 5);
		expect(anew.asks).toEqual([8, 16, 24, 32, 40]);
		expect(kept.all).toEqual(anew.all);
	});

	it("without a pool every epoch draws new ones", async () => {
		const { asks, all } = await seen(null, null, 2);
		expect(asks).toEqual([8, 16]);
		expect(all[0]).not.toEqual(all[1]);
	});
});

it("epochs of a pool take turns, in orders of their own", () => {
	const keys = (epoch: number) =>
		stepsOf(epoch, 2).flatMap(({ jobs }) => jobs.map(({ key }) => key.join()));
	expect(new Set(keys(0))).toEqual(new Set(keys(2)));
	expect(keys(0)).not.toEqual(keys(2));
	expect(new Set([...keys(0), ...keys(1)]).size).toBe(14);
	const other = (epoch: number) =>
		new Map(
			stepsOf(epoch, 2).flatMap(({ jobs }) =>
				jobs.map((job) => [job.image, job.other]),
			),
		);
	expect(other(0)).toEqual(other(2)); // a view's other image too
});

it("says how much memory the pool takes", () => {
	const trunk = new Trunk({ backbone, from: 2, patchBlocks: [], threads: 1 });
	expect(new States(trunk, counting().training, 3).bytes(3)).toBe(
		7 * 3 * 2 * 17 * 32 * 4,
	);
});
