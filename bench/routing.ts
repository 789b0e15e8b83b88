/**
 * One process that has learnt many drawn products, near-twins among them, with the memories of configs/flagship.yaml, and looks at the test
 * images of all: a line on standard input, a line of JSON back.
 * node routing.js '{"products":100,"threads":2}'
 * "good", "defect": share of images that are routed to another product; "good apart", "defect apart": of those without a near-twin. "unknown": share of the images of products that are not known which are
 * taken for a known one, each product left out in turn, with its near-twin. "twin": the same, the near-twin known. "called": share of known
 * products' defective images that are called unknown. "route", "forward": ms an image. "alone", "among": ms to score an image where its product
 * is the only one that was read, and where all were; an error unless both score the same bits.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../src/config.ts";
import { drawDemo } from "../src/data/demo.ts";
import { readCategory, readTestCategory } from "../src/data/index.ts";
import type { Sample } from "../src/data/task.ts";
import { Eyes, joinFeatures, networkOf } from "../src/evaluate.ts";
import { type AllFeatures, Knowledge } from "../src/knowledge.ts";
import { loadBackbone } from "../src/models/index.ts";
import { Random } from "../src/random.ts";
import { VersionedFolder } from "../src/storage.ts";
import { setupOf } from "../src/train.ts";
import { Trunk } from "../src/trunk.ts";
import { answerLines } from "./answers.ts";

const job = JSON.parse(process.argv[2] as string) as {
	readonly products: number;
	readonly threads: number;
};
const folder = mkdtempSync(join(tmpdir(), "keepsight-bench-"));
const root = join(folder, "data");
const { products } = await drawDemo(root, {
	seed: 41,
	products: job.products,
	size: 224,
	train: 12,
	validation: 0,
	testGood: 6,
	perDefect: 1,
});
const { config } = await loadConfig("configs/flagship.yaml");
const backbone = loadBackbone(config.backbone, config.imageSize, config.seed);
const knowledge = new Knowledge(
	backbone,
	setupOf(config, backbone.config),
	job.threads,
);
const { router } = knowledge;
const trunk = new Trunk(networkOf(knowledge, job.threads));
const eyes = new Eyes(trunk);

async function seen(samples: readonly Sample[]): Promise<AllFeatures[]> {
	const all: AllFeatures[] = [];
	for await (const sample of eyes.each(samples))
		all.push(await eyes.features(sample, null));
	eyes.forget(samples);
	return all;
}

interface Shown {
	readonly id: string;
	readonly defective: boolean;
	readonly features: AllFeatures;
}
const shown: Shown[] = [];
for (const { id } of products) {
	const { normals } = await readCategory(join(root, id), id);
	const learnt = joinFeatures(await seen(normals));
	await knowledge.remember(
		{
			id,
			group: id,
			learnt,
			trained: normals.map(() => false),
			heldOut: null,
			roi: null,
		},
		new Random(config.seed, "memory", id),
	);
	knowledge.addTask({ id, categories: [id], learning: {} }, null, {
		weightsPerTask: false,
	});
	const { test } = await readTestCategory(join(root, id), id);
	for (const [i, features] of (await seen(test)).entries())
		shown.push({ id, defective: test[i]?.defect !== null, features });
}
const twins = new Map(
	products.flatMap(({ id, twinOf }) =>
		twinOf === undefined
			? []
			: [[id, [twinOf]] as const, [twinOf, [id]] as const],
	),
);
const [first] = shown as [Shown];
const memory = VersionedFolder.open(join(folder, "memory"));
knowledge.save(memory, (id) => id.replaceAll("/", "."));
const alone = Knowledge.load(memory, job.threads, [first.id]);

const share = (list: readonly boolean[]): number =>
	list.filter(Boolean).length / list.length;
const wrong = async (defective: boolean, apart: boolean): Promise<number> =>
	share(
		shown
			.filter((image) => image.defective === defective)
			.filter(({ id }) => !apart || !twins.has(id))
			.map(({ id, features }) => knowledge.route(features.frozen) !== id),
	);
const unknown = async (features: AllFeatures): Promise<boolean> =>
	(await knowledge.judge(knowledge.route(features.frozen), features)).unknown;

/** Images of these products that are taken for another one, while the product and what `without` adds are not known to the router. */
async function missed(
	ids: readonly string[],
	without: (id: string) => readonly string[],
): Promise<number> {
	const found: boolean[] = [];
	for (const id of ids) {
		const left = [id, ...without(id)].map(
			(name) => [name, router.tensors(name)] as const,
		);
		for (const [name] of left) router.remove(name);
		for (const { features } of shown.filter((image) => image.id === id))
			found.push(await unknown(features));
		for (const [name, tensors] of left) router.restore(name, tensors);
	}
	return share(found.map((is) => !is));
}

const REPEATS = 50;
const perImage = async (work: () => Promise<unknown>): Promise<number> => {
	const began = performance.now();
	for (let i = 0; i < REPEATS; i++) await work();
	return (performance.now() - began) / REPEATS;
};
const picture = await (
	await readTestCategory(join(root, first.id), first.id)
).test[0]?.read(backbone.config.imageSize);
if (!picture) throw new Error("routing: no picture");

await answerLines({
	good: () => wrong(false, false),
	defect: () => wrong(true, false),
	"good apart": () => wrong(false, true),
	"defect apart": () => wrong(true, true),
	unknown: () =>
		missed(
			products.map(({ id }) => id),
			(id) => twins.get(id) ?? [],
		),
	twin: () => missed([...twins.keys()], () => []),
	called: async () => {
		const called: boolean[] = [];
		for (const { features, defective } of shown)
			if (defective) called.push(await unknown(features));
		return share(called);
	},
	route: () => perImage(async () => knowledge.route(first.features.frozen)),
	forward: () => perImage(() => trunk.see(picture)),
	alone: () => perImage(() => alone.judge(first.id, first.features)),
	among: async () => {
		const scores = await Promise.all(
			[alone, knowledge].map(
				async (known) => (await known.judge(first.id, first.features)).score,
			),
		);
		if (scores[0] !== scores[1])
			throw new Error("routing: other products change a score");
		return perImage(() => knowledge.judge(first.id, first.features));
	},
	end: async () => {
		rmSync(folder, { recursive: true, force: true });
		return 0;
	},
});
