/** A small memory of three categories in two tasks, one of them recalibrated: a file of every kind that memory/ has. */
import { float32 } from "../../src/engine/tensor.ts";
import { type AllFeatures, Knowledge } from "../../src/knowledge.ts";
import { loadBackbone } from "../../src/models/index.ts";
import { Random } from "../../src/random.ts";
import { taskFolder } from "../../src/run.ts";
import { VersionedFolder } from "../../src/storage.ts";
import { unit } from "../memory/synthetic.ts";

const d = 8;

/** n images of a product that lies about its own direction. */
export function featuresOf(product: number, n: number, seed = 0): AllFeatures {
	const random = new Random("fuzz", product, seed);
	const rows = (m: number, at: number) =>
		float32(
			[m, d],
			Float32Array.from(
				{ length: m * d },
				(_, i) => (i % d === at ? 3 : 0) + random.normal(0, 0.3),
			),
		);
	return {
		ids: Array.from({ length: n }, (_, i) => `${product}/${i}`),
		embedding: rows(n, product),
		frozen: rows(n, d - 1 - product),
		patches: { 1: Array.from({ length: n }, () => unit(rows(6, product))) },
		detail: Array.from({ length: n }, () => 1 + random.uniform()),
	};
}

export async function taughtIn(dir: string): Promise<void> {
	const knowledge = new Knowledge(
		loadBackbone(
			{ name: "vit", width: d, depth: 2, heads: 2, patch: 8 },
			[16, 24],
			1,
		),
		{
			memories: [
				{ name: "dne", options: { form: "routed" }, weight: 0.5 },
				{ name: "patches", options: { store: "int8" }, weight: 0.25 },
				{ name: "words", options: { words: 4 }, weight: 0.25 },
			],
			from: 1,
			falseAlarms: 0.02,
		},
		1,
	);
	for (const [task, products] of [[0], [1, 2]].entries()) {
		const categories = products.map((product) => `mvtec/${product}`);
		for (const [i, product] of products.entries())
			await knowledge.remember(
				{
					id: categories[i] as string,
					group: `task ${task}`,
					learnt: featuresOf(product, 30),
					trained: Array.from({ length: 30 }, (_, k) => k < 24),
					heldOut: null,
					roi: null,
				},
				new Random(1, product),
			);
		const weights = {
			"norm.weight": float32([d], new Float32Array(d).fill(1)),
			"head.bias": float32([2]),
		};
		knowledge.current = weights;
		knowledge.addTask(
			{ id: categories.join("+"), categories, learning: { loss: 1 / 3 } },
			weights,
			{ weightsPerTask: false },
		);
	}
	await knowledge.recalibrate("mvtec/0", featuresOf(0, 20, 1));
	knowledge.setThreshold("mvtec/0", 2.5);
	knowledge.save(VersionedFolder.open(dir), taskFolder);
	await knowledge.release();
}
