/**
 * One process that adds a product to a memory, as `keepsight learn` does: a line on standard input, a line of JSON back, in ms.
 * node learn.js '{"images":200,"threads":2}'
 * "forward": the network alone over the product's images, decoded. "coreset": the choice of the bank's patches. "first": the product as the
 * first of a memory. "second", "twentieth": as those. "end": the pictures go.
 */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig, memoriesOf } from "../src/config.ts";
import { drawDemo } from "../src/data/demo.ts";
import { findCategories, readCategory } from "../src/data/index.ts";
import { type MemorySetup, patchesRead } from "../src/knowledge.ts";
import { kCentre } from "../src/memory/coreset.ts";
import { lessSurround } from "../src/memory/surround.ts";
import { loadBackbone } from "../src/models/index.ts";
import { Random } from "../src/random.ts";
import { teach } from "../src/teach.ts";
import { Trunk } from "../src/trunk.ts";
import { answerLines } from "./answers.ts";

const job = JSON.parse(process.argv[2] as string) as {
	readonly images: number;
	readonly threads: number;
};
const folder = mkdtempSync(join(tmpdir(), "keepsight-bench-"));
const root = join(folder, "data");
await drawDemo(root, {
	seed: 3,
	products: 1,
	size: 224,
	train: job.images,
	testGood: 1,
	perDefect: 1,
	validation: 2,
});
const [id] = await findCategories(root);
const data = join(root, id as string);
const { config } = await loadConfig("configs/flagship.yaml", [
	`threads=${job.threads}`,
]);
const backbone = loadBackbone(config.backbone, config.imageSize, config.seed);
const setups = memoriesOf(config);
const { blocks, grid } = patchesRead(backbone.config, setups);
const trunk = new Trunk({
	backbone,
	from: backbone.config.depth,
	patchBlocks: blocks,
	threads: job.threads,
});
const { normals } = await readCategory(data, "product");
const pictures = await Promise.all(
	normals.map((s) => s.read(config.imageSize)),
);
const { bytesPerTask, surround } = (setups[0] as MemorySetup).options as {
	readonly bytesPerTask: number;
	readonly surround: number;
};

const timed = async (work: () => Promise<unknown>): Promise<number> => {
	const began = performance.now();
	await work();
	return performance.now() - began;
};
const learnt = (memDir: string, task: string) =>
	teach(
		{
			memDir,
			change: { kind: "learn", task, data, review: false },
			config: task === "1" ? config : null,
		},
		{ emit: () => undefined, stop: { requested: false } },
	);

/** Memories of 1 and of 19 products. */
const small = join(folder, "1");
const large = join(folder, "19");
await learnt(small, "1");
await learnt(large, "1");
for (let n = 2; n < 20; n++) await learnt(large, String(n));
/** In a copy, which the time does not count. */
const next = async (of: string): Promise<number> => {
	const copy = join(folder, "copy");
	rmSync(copy, { recursive: true, force: true });
	cpSync(of, copy, { recursive: true });
	return timed(() => learnt(copy, "next"));
};

let rows: Awaited<ReturnType<Trunk["seeAll"]>> = [];
await answerLines({
	forward: () =>
		timed(async () => {
			rows = await trunk.seeAll(pictures);
		}),
	coreset: () => {
		const patches = rows.flatMap(({ patches: own }) =>
			own ? lessSurround(own, grid, surround) : [],
		);
		const room = Math.floor(bytesPerTask / (backbone.config.width + 4));
		return timed(() =>
			kCentre(patches, room, new Random("bench"), job.threads),
		);
	},
	first: async () => {
		const fresh = join(folder, "fresh");
		rmSync(fresh, { recursive: true, force: true });
		return timed(() => learnt(fresh, "1"));
	},
	second: () => next(small),
	twentieth: () => next(large),
	end: async () => {
		rmSync(folder, { recursive: true, force: true });
		return 0;
	},
});
