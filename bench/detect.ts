/**
 * One process that has learnt a product with patches and density and scores images: a line on standard input, a line of JSON back.
 * node detect.js '{"images":200,"threads":2}'
 * The memories are those of configs/flagship.yaml.
 * Drawn pictures and random weights, unless "data" and "weights" name others.
 * "bare": ms an image of the network alone, 16 at a time. "score": ms an image from the file to both scores and the map. "learn": ms of
 * the coreset with its cross-fit, the features given. "fit": ms an image of learning all anew, from the files. "peak": bytes.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig, memoriesOf } from "../src/config.ts";
import { drawDemo } from "../src/data/demo.ts";
import { findCategories, readTestCategory } from "../src/data/index.ts";
import type { Sample } from "../src/data/task.ts";
import { Eyes, joinFeatures, localiserOf } from "../src/evaluate.ts";
import { type AllFeatures, Knowledge, patchesRead } from "../src/knowledge.ts";
import { readBackbone } from "../src/models/backbone.ts";
import { Random } from "../src/random.ts";
import { Trunk } from "../src/trunk.ts";
import { answerLines } from "./answers.ts";
import { networkOf, picture } from "./network.ts";

export interface DetectJob {
	/** Learnt. */
	readonly images: number;
	readonly threads: number;
	/** A backbone's folder. */
	readonly weights?: string;
	/** A category's folder. */
	readonly data?: string;
}

const job = JSON.parse(process.argv[2] as string) as DetectJob;
const random = new Random("bench");
const backbone =
	job.weights === undefined
		? networkOf({ model: "small", last: 3, batch: 16, ...job }, random).backbone
		: readBackbone(job.weights, [224, 224]);
const from = backbone.config.depth;
const { config } = await loadConfig("configs/flagship.yaml");
const memories = memoriesOf(config);
const network = {
	backbone,
	from,
	patchBlocks: patchesRead(backbone.config, memories).blocks,
	threads: job.threads,
};
const trunk = new Trunk(network);
const bare = new Trunk({ ...network, patchBlocks: [] });
const setup = { memories, from, falseAlarms: config.evaluate.falseAlarms };
const folder = mkdtempSync(join(tmpdir(), "keepsight-bench-"));

async function drawn(): Promise<string> {
	await drawDemo(folder, {
		seed: 3,
		products: 1,
		size: 224,
		train: job.images,
		testGood: 8,
		perDefect: 4,
		validation: 2,
	});
	const [category] = await findCategories(folder);
	if (category === undefined) throw new Error("bench: nothing was drawn");
	return join(folder, category);
}

const category = await readTestCategory(job.data ?? (await drawn()), "product");
const normals = category.normals.slice(0, job.images);
const scored = category.test.slice(0, 32);

async function features(): Promise<AllFeatures> {
	const eyes = new Eyes(trunk);
	const parts: AllFeatures[] = [];
	for await (const sample of eyes.each(normals))
		parts.push(await eyes.features(sample, null));
	return joinFeatures(parts);
}

async function learn(learnt: AllFeatures): Promise<Knowledge> {
	const knowledge = new Knowledge(backbone, setup, job.threads);
	await knowledge.remember(
		{
			id: "product",
			group: "product",
			learnt,
			trained: learnt.ids.map(() => false),
			heldOut: null,
			roi: null,
		},
		new Random("bench", "memory"),
	);
	knowledge.addTask(
		{ id: "product", categories: ["product"], learning: {} },
		null,
		{ weightsPerTask: false },
	);
	return knowledge;
}

let knowledge = await learn(await features());
let learnt: AllFeatures | null = null; // made when first asked for: "peak" without it is what scoring needs
const localiser = localiserOf(knowledge);
async function score(sample: Sample, fresh: Eyes): Promise<void> {
	const category = knowledge.route(await fresh.frozen(sample));
	const { map } = await knowledge.judge(
		category,
		await fresh.features(sample, null),
	);
	if (!map) throw new Error("bench: there is no map");
	await localiser.mapOf(sample, map);
}

const timed = async (work: () => Promise<unknown>): Promise<number> => {
	const began = performance.now();
	await work();
	return performance.now() - began;
};
const batch = Array.from({ length: 16 }, () => picture(random));
await answerLines({
	bare: async () => (await timed(() => bare.seeAll(batch))) / 16,
	score: async () => {
		const fresh = new Eyes(trunk);
		const ms = await timed(async () => {
			for await (const sample of fresh.each(scored)) await score(sample, fresh);
		});
		return ms / scored.length;
	},
	learn: async () => {
		learnt ??= await features();
		const given = learnt;
		return timed(async () => {
			await (await learn(given)).release();
		});
	},
	fit: async () => {
		await knowledge.release();
		const ms = await timed(async () => {
			knowledge = await learn(await features());
		});
		return ms / normals.length;
	},
	peak: async () =>
		1024 *
		Number(
			/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1],
		),
	end: async () => {
		rmSync(folder, { recursive: true, force: true });
		return 0;
	},
});
