/** What every strategy must hold, on a tiny network and drawn images; and what GPM promises. */
import {
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createAugmenter } from "../../src/augment.ts";
import type { Image } from "../../src/data/task.ts";
import {
	type AnyTensor,
	float32,
	type Tensor,
	type TensorDict,
	uint8,
} from "../../src/engine/tensor.ts";
import type { RunEvent } from "../../src/events.ts";
import { initialHead, type LearnSettings, learn } from "../../src/learn.ts";
import { loadBackbone } from "../../src/models/index.ts";
import {
	readSafetensors,
	toTensor,
	writeSafetensors,
} from "../../src/models/safetensors.ts";
import type { Plugin } from "../../src/plugins.ts";
import { unstack } from "../../src/probe.ts";
import { Random } from "../../src/random.ts";
import { VersionedFolder } from "../../src/storage.ts";
import { strategies } from "../../src/strategies/index.ts";
import type {
	Strategy,
	StrategyDefinition,
} from "../../src/strategies/strategy.ts";
import { type Network, Trunk, trainableWeights } from "../../src/trunk.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-strategies-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const size: [number, number] = [32, 32];
const network: Network = {
	backbone: loadBackbone(
		{ name: "vit", width: 24, depth: 3, heads: 2, patch: 8 },
		size,
		1,
	),
	from: 1,
	patchBlocks: [],
	threads: 1,
};
const start: TensorDict = {
	...trainableWeights(network),
	...initialHead(2, 24, new Random(1, "head")),
};
const settings: LearnSettings = {
	epochs: 2,
	viewPool: null,
	batchSize: 8,
	optimizer: {
		name: "adam",
		lr: 3e-3,
		betas: [0.9, 0.999],
		eps: 1e-8,
		weightDecay: 1e-3,
		momentum: 0,
	},
	schedule: "cosine",
	warmup: 0,
	clipNorm: null,
	head: "shared",
	seed: 5,
};

/** Stripes of a task's own direction, with noise. */
function drawImages(task: number, count: number): Image[] {
	const r = new Random("images", task);
	return Array.from({ length: count }, () => {
		const phase = r.uniform(0, 6);
		const data = new Uint8Array(32 * 32 * 3);
		for (let y = 0; y < 32; y++)
			for (let x = 0; x < 32; x++)
				for (let c = 0; c < 3; c++)
					data[(y * 32 + x) * 3 + c] = Math.max(
						0,
						Math.min(
							255,
							128 +
								80 * Math.sin((task % 2 ? x : y) * 0.6 + phase + c * task) +
								r.normal(0, 12),
						),
					);
		return uint8([32, 32, 3], data);
	});
}

let folders = 0;
/** One task trained from `weights`; the same call gives the same bytes. */
async function trainOn(
	task: number,
	strategy: Strategy,
	weights: TensorDict,
	changes: Partial<LearnSettings> = {},
	{
		checkpoint = VersionedFolder.open(join(work, String(folders++))),
		stopAfter = Number.POSITIVE_INFINITY,
	}: { checkpoint?: VersionedFolder; stopAfter?: number } = {},
) {
	const trunk = new Trunk(network);
	const stop = { requested: false };
	const rehearsal = strategy.rehearse?.() ?? null;
	const training = createAugmenter({
		pretext: { name: "cutpaste", options: {} },
		images: [
			...drawImages(task, 12),
			...(rehearsal ? unstack(rehearsal.images) : []),
		],
		workers: 0,
		seed: 5,
	});
	const events: RunEvent[] = [];
	const result = await learn({
		network,
		trunk,
		settings: { ...settings, ...changes },
		strategy,
		task: { id: `task${task}`, categories: [] },
		taskIndex: task,
		taskCount: 2,
		training,
		rehearsal,
		heldOut: null,
		start: weights,
		checkpoint,
		emit(event) {
			events.push(event);
			if (event.type === "epoch" && event.epoch === stopAfter)
				stop.requested = true;
		},
		stop,
	});
	await training.close();
	return { ...result, events };
}

/** Two tasks in sequence, with the strategy's tensors written to bytes and read back in between, as a run does. */
async function sequence(definition: StrategyDefinition, options: object = {}) {
	const make = () => definition.create(definition.options.parse(options));
	const first = make();
	const one = await trainOn(0, first, start);
	const second = make();
	const kept = first.tensors ?? {};
	const copy = readSafetensors(writeSafetensors(kept), "copy").tensors;
	Object.assign(
		second.tensors ?? {},
		Object.fromEntries(Object.entries(copy).map(([n, t]) => [n, toTensor(t)])),
	);
	const from = definition.startsFrom === "initial" ? start : one.weights;
	const two = await trainOn(1, second, from);
	return { one, two, kept, second };
}

const difference = (a: TensorDict, b: TensorDict): number => {
	let worst = 0;
	for (const [name, t] of Object.entries(a))
		t.data.forEach((v, i) => {
			worst = Math.max(
				worst,
				Math.abs(v - ((b[name] as Tensor).data[i] as number)),
			);
		});
	return worst;
};

/** The strategy that docs/add-your-own-strategy.md holds, on the sources instead of the package. */
async function exampleOfTheDocs(): Promise<StrategyDefinition> {
	const code = readFileSync("examples/strategy.mjs", "utf8");
	expect(readFileSync("docs/add-your-own-strategy.md", "utf8")).toContain(code);
	mkdirSync(".cache", { recursive: true });
	const file = resolve(".cache/example-strategy.mjs"); // below the root, where its packages are found
	writeFileSync(file, code.replace('"keepsight"', '"../src/index.ts"'));
	const { default: plugin } = (await import(file)) as { default: Plugin };
	return plugin.strategies?.l2 as StrategyDefinition;
}

const trained: [string, StrategyDefinition][] = [
	...Object.entries(strategies as Record<string, StrategyDefinition>),
	["l2 (docs/add-your-own-strategy.md)", await exampleOfTheDocs()] as [
		string,
		StrategyDefinition,
	],
].filter(([, d]) => d.trains !== false);
const reference = sequence(strategies.finetune);

describe.each(trained)("strategy %s", (_name, definition) => {
	it("gives the same bytes for the same seed, with its tensors saved and restored", async () => {
		const [a, b] = [await sequence(definition), await sequence(definition)];
		expect(difference(a.two.weights, b.two.weights)).toBe(0);
		expect(writeSafetensors(a.kept)).toEqual(writeSafetensors(b.kept));
	});
	it("trains on the first task as finetune does", async () => {
		const own = await sequence(definition);
		expect(
			difference(own.one.weights, (await reference).one.weights),
		).toBeLessThanOrEqual(1e-6);
		expect(own.one.learning.weightChange).toBeGreaterThan(1e-3);
	});
	it("trains from weights in any order of names to the same bytes", async () => {
		const make = () => definition.create(definition.options.parse({}));
		const changes = { clipNorm: 0.1 }; // the norm is a sum over all of them
		const [a, b] = [
			await trainOn(0, make(), start, changes),
			await trainOn(
				0,
				make(),
				Object.fromEntries(Object.entries(start).reverse()),
				changes,
			),
		];
		expect(difference(a.weights, b.weights)).toBe(0);
		expect(b.learning).toEqual(a.learning);
	});
	it.each([null, 1])(
		"resumes the second task after an epoch to the same bytes, pool of views: %s",
		async (viewPool) => {
			const make = () => definition.create(definition.options.parse({}));
			const first = make();
			const one = await trainOn(0, first, start);
			/** As a run restores it: from what was kept of the first task. */
			const restored = () => {
				const strategy = make();
				for (const [name, t] of Object.entries(first.tensors ?? {}))
					(strategy.tensors as Record<string, AnyTensor>)[name] = {
						...t,
						data: t.data.slice(),
					} as AnyTensor;
				return strategy;
			};
			const from = definition.startsFrom === "initial" ? start : one.weights;
			const epochs = { epochs: 3, viewPool };
			const whole = await trainOn(1, restored(), from, epochs);
			const checkpoint = VersionedFolder.open(join(work, String(folders++)));
			await expect(
				trainOn(1, restored(), from, epochs, { checkpoint, stopAfter: 2 }),
			).rejects.toThrow("interrupted");
			const resumed = await trainOn(1, restored(), from, epochs, {
				checkpoint,
			});
			expect(resumed.events.filter((e) => e.type === "epoch")).toHaveLength(1);
			expect(difference(resumed.weights, whole.weights)).toBe(0);
			expect(resumed.learning).toEqual(whole.learning);
		},
	);
});

/** Options that leave nothing of a method. */
const nothing: Record<string, object> = {
	ewc: { lambda: 0 },
	si: { c: 0 },
	replay: { buffer: 0 },
	der: { alpha: 0 },
	"der++": { buffer: 0 },
	lwf: { alpha: 0 },
	gpm: { epsilon: 0 },
	"l2 (docs/add-your-own-strategy.md)": { lambda: 0 },
};
const methods = trained.filter(([, d]) => d.paper !== "reference");

describe.each(methods)("method %s", (name, definition) => {
	it("equals finetune bit for bit where its options leave nothing of it", async () => {
		const own = await sequence(definition, nothing[name]);
		expect(difference(own.two.weights, (await reference).two.weights)).toBe(0);
		expect(own.kept).toEqual({});
	});
	it("acts on the second task, and says so", async () => {
		const own = await sequence(definition);
		expect(
			difference(own.two.weights, (await reference).two.weights),
		).toBeGreaterThan(1e-5);
		const plain = new Set(Object.keys((await reference).two.learning));
		expect(
			Object.keys(own.two.learning).filter((key) => !plain.has(key)),
		).not.toEqual([]);
	});
});

describe("ewc", () => {
	it.each(["exact", "empirical", "embedding"])(
		"measures the Fisher (%s) one sample at a time",
		async (fisher) => {
			const strategy = strategies.ewc.create(
				strategies.ewc.options.parse({ fisher }),
			);
			await trainOn(0, strategy, start);
			const total = Object.entries(strategy.tensors ?? {})
				.filter(([n]) => n.startsWith("fisher:"))
				.flatMap(([, t]) => [...(t.data as Float32Array)]);
			expect(Math.min(...total)).toBeGreaterThanOrEqual(0);
			expect(Math.max(...total)).toBeGreaterThan(0);
		},
	);
	it("online keeps one anchor and a decaying sum", async () => {
		const { kept, second, two } = await sequence(strategies.ewc, {
			form: "online",
			gamma: 0,
		});
		const anchor = second.tensors?.["anchor:head.weight"] as Tensor;
		expect(anchor.data).toEqual((two.weights["head.weight"] as Tensor).data);
		expect(kept["anchor:head.weight"]?.data).not.toEqual(anchor.data);
	});
});

describe("lwf", () => {
	it.each(["features", "layers"])(
		"keeps what it holds (%s) nearer to the teacher the larger its weight",
		async (of) => {
			const distances: number[] = [];
			for (const alpha of [1e-9, 10]) {
				const { two } = await sequence(strategies.lwf, { of, alpha });
				distances.push(two.learning.distillation as number);
			}
			const [free, held] = distances as [number, number];
			expect(held).toBeGreaterThan(0);
			expect(held).toBeLessThan(0.8 * free);
		},
	);
});

describe("rehearsal", () => {
	it("keeps equal shares of a fixed total, whole pairs, and drops the oldest share's end", async () => {
		const { kept, second } = await sequence(strategies["der++"], { buffer: 8 });
		const task = (t: Record<string, AnyTensor> = {}) =>
			Array.from((t.task as Tensor).data);
		expect(task(kept)).toEqual(new Array(8).fill(0));
		expect(task(second.tensors)).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
		const bytes = 32 * 32 * 3;
		expect(second.tensors?.images?.data.slice(0, 4 * bytes)).toEqual(
			kept.images?.data.slice(0, 4 * bytes),
		);
		expect(second.tensors?.logits?.data.slice(0, 4 * 4)).toEqual(
			kept.logits?.data.slice(0, 4 * 4),
		);
	});
	it("says when a task has fewer images than its share, and keeps them all", async () => {
		const strategy = strategies.replay.create(
			strategies.replay.options.parse({ buffer: 100 }),
		);
		const { events } = await trainOn(0, strategy, start);
		expect(strategy.tensors?.images?.shape[0]).toBe(12);
		expect(events.filter((e) => e.type === "notice")).toEqual([
			{
				type: "notice",
				text: "The buffer holds 100 images a task, this task has 12: all of them are kept.",
			},
		]);
	});
	it("DER makes the stored views again exactly: the network that gave the logits is at no distance from them", async () => {
		const strategy = strategies.der.create(
			strategies.der.options.parse({ alpha: 1 }),
		);
		const one = await trainOn(0, strategy, start);
		const frozen = await trainOn(1, strategy, one.weights, {
			epochs: 1,
			optimizer: { ...settings.optimizer, lr: 1e-12, weightDecay: 0 },
		});
		expect(frozen.learning.logitDistance).toBeLessThan(1e-8);
	});
	it("needs room for a current image in a step", async () => {
		const strategy = strategies.replay.create(
			strategies.replay.options.parse({}),
		);
		await trainOn(0, strategy, start);
		await expect(trainOn(1, strategy, start, { batchSize: 2 })).rejects.toThrow(
			/A step has 1 image, but the strategy needs 2/,
		);
	});
});

describe("gpm", () => {
	const definition = strategies.gpm as StrategyDefinition;

	it("acts after the first task: moves nothing the first task's inputs see", async () => {
		const own = await sequence(definition, { epsilon: 0.9 });
		expect(
			difference(own.two.weights, (await reference).two.weights),
		).toBeGreaterThan(1e-4);
		for (const [name, after] of Object.entries(own.two.weights)) {
			const before = own.one.weights[name] as Tensor;
			const move = Float64Array.from(
				after.data,
				(v, i) => v - (before.data[i] as number),
			);
			const basis = own.kept[name.replace(/\.weight$/, "")];
			if (!basis || !name.endsWith(".weight")) {
				expect(Math.max(...move.map(Math.abs)), `${name} is frozen`).toBe(0);
				continue;
			}
			const [k, n] = basis.shape as [number, number];
			let seen = 0;
			let total = 0;
			for (let row = 0; row < move.length / n; row++) {
				for (let i = 0; i < n; i++) total += (move[row * n + i] as number) ** 2;
				for (let b = 0; b < k; b++) {
					let dot = 0;
					for (let i = 0; i < n; i++)
						dot +=
							(move[row * n + i] as number) * (basis.data[b * n + i] as number);
					seen += dot * dot;
				}
			}
			expect(total, `${name} moves where it may`).toBeGreaterThan(0);
			// the move is read off float32 weights, whose rounding alone is seen; the projected step itself obeys 1e-5
			const rounding =
				Math.sqrt(after.data.length) *
				6e-8 *
				Math.max(...after.data.map(Math.abs));
			expect(Math.sqrt(seen), name).toBeLessThanOrEqual(
				1e-5 * Math.sqrt(total) + rounding,
			);
		}
		expect(own.two.learning.freeRank).toBeLessThan(
			own.one.learning.freeRank as number,
		);
	});
});

it("with a pool, what was computed once is what would be computed again", async () => {
	const trained = (epochs: number, checkpoint?: VersionedFolder) =>
		trainOn(
			0,
			{},
			start,
			{ epochs, viewPool: 2, schedule: "constant" },
			checkpoint && { checkpoint },
		);
	const notices = ({ events }: Awaited<ReturnType<typeof trained>>) =>
		events.flatMap((e) => (e.type === "notice" ? e.text : []));
	// two epochs fill the pool, the third uses it; resumed after two, the third computes it anew
	const whole = await trained(3);
	const checkpoint = VersionedFolder.open(join(work, "pool"));
	const two = await trained(2, checkpoint);
	const resumed = await trained(3, checkpoint);
	expect(difference(resumed.weights, whole.weights)).toBe(0);
	expect(notices(whole).join()).toMatch(
		/2 views of each of 12 images take up to \d+ MB/,
	);
	expect(notices(two)).toEqual([]); // nothing would be used again
});

it("a gradient that is not finite stops the run and leaves the last epoch's state", async () => {
	const checkpoint = VersionedFolder.open(join(work, "nan"));
	const bad = {
		...start,
		"head.bias": float32([2], new Float32Array([Number.NaN, 0])),
	};
	const training = createAugmenter({
		pretext: { name: "cutpaste", options: {} },
		images: drawImages(0, 8),
		workers: 0,
		seed: 5,
	});
	const job = {
		network,
		trunk: new Trunk(network),
		settings,
		strategy: {},
		task: { id: "t", categories: [] },
		taskIndex: 0,
		taskCount: 1,
		training,
		rehearsal: null,
		heldOut: null,
		start: bad,
		checkpoint,
		emit: () => {},
		stop: { requested: false },
	};
	await expect(learn(job)).rejects.toThrow(
		/loss became NaN in task t, epoch 1, step 1/,
	);
	expect(checkpoint.version).toBe(0);
});
