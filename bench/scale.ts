/**
 * A process that scores with many products: a line on standard input, a line of JSON back.
 * node scale.js '{"products":100,"threads":1}'
 * All products are copies of one of 84 drawn images, whose bank is full, with the memories of configs/flagship.yaml on keepsight-tiny; the manifest names its
 * files again and again, and all are read, checked and kept as if they were each product's own. "disk": bytes a product; "manifest": bytes of the manifest.
 * "load": ms from the start of the process until it is ready, each time a new one; "loaded": ms of processor time that it took. "resident": its bytes, after a picture of each product.
 * "same": ms a picture, one told product; "turns": each told as the next product; "spent": ms of processor time a picture of these. "route": ms to route a picture.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findImages } from "../src/data/find.ts";
import { float32 } from "../src/engine/tensor.ts";
import { Knowledge } from "../src/knowledge.ts";
import { startScorer } from "../src/launch.ts";
import { Random } from "../src/random.ts";
import { memoryFolder, openRun } from "../src/run.ts";
import type { RunningScorer } from "../src/scorer.ts";
import { VersionedFolder } from "../src/storage.ts";
import { answerLines } from "./answers.ts";
import { learnProduct } from "./learnt.ts";

const job = JSON.parse(process.argv[2] as string) as {
	readonly products: number;
	readonly threads: number;
};
const { dir, memDir, category } = await learnProduct({
	train: 84,
	test: 50,
	threads: job.threads,
});

interface Meta {
	readonly tasks: readonly {
		readonly id: string;
		readonly categories: readonly { readonly id: string }[];
	}[];
}
const one = VersionedFolder.open(memoryFolder(memDir));
const disk = one.bytes((path) => path.startsWith("product/"));
const [task] = (one.meta as unknown as Meta).tasks;
const ids = Array.from({ length: job.products }, (_, i) => `product-${i}`);
one.commit({
	meta: {
		...one.meta,
		tasks: ids.map((id) => ({
			...task,
			id,
			categories: [{ ...task?.categories[0], id }],
		})),
	},
});
const { version } = one;

const found = await findImages(join(category, "test/good"));
const pictures = found.map(({ path }) => readFileSync(path));
let scorer: RunningScorer | null = null;
async function load(): Promise<number> {
	scorer?.close();
	const began = performance.now();
	scorer = await startScorer({ memDir, version }, "cpu");
	return performance.now() - began;
}
/** Processor time of the process that scores, ms. */
function spent(): number {
	const stat = readFileSync(`/proc/${scorer?.pid}/stat`, "utf8");
	const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from field 3; user and system time are 14 and 15, in 1/100 s
	return 10 * (Number(fields[11]) + Number(fields[12]));
}
async function scored(i: number, id: string): Promise<number> {
	const bytes = pictures[i % pictures.length] as Uint8Array;
	const began = performance.now();
	await scorer?.score([{ bytes, task: id, overlay: false }]);
	return performance.now() - began;
}
const middle = (x: readonly number[]) =>
	[...x].sort((a, b) => a - b)[x.length >> 1] as number;
let perPictureSpent = 0;
async function perPicture(idOf: (i: number) => string): Promise<number> {
	const times: number[] = [];
	const before = spent();
	for (let i = 0; i < 100; i++) times.push(await scored(i, idOf(i)));
	perPictureSpent = (spent() - before) / times.length;
	return middle(times);
}
const idAt = (i: number) => ids[i % ids.length] as string;

await answerLines({
	load,
	loaded: async () => spent(),
	spent: async () => perPictureSpent,
	disk: async () => disk,
	manifest: async () =>
		readFileSync(join(memoryFolder(memDir), "manifest.json")).byteLength,
	resident: async () => {
		for (const [i, id] of ids.entries()) await scored(i, id);
		const status = readFileSync(`/proc/${scorer?.pid}/status`, "utf8");
		return 1024 * Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]);
	},
	same: () => perPicture(() => idAt(0)),
	turns: () => perPicture(idAt),
	route: async () => {
		const knowledge = Knowledge.load(openRun(memDir, "read").memory, 1, []);
		const d = knowledge.backbone.config.width;
		const random = new Random(1, "scale");
		const frozen = float32(
			[1, d],
			Float32Array.from({ length: d }, () => random.normal(0, 1)),
		);
		knowledge.route(frozen); // what is derived once
		const times = Array.from({ length: 50 }, () => {
			const began = performance.now();
			knowledge.route(frozen);
			return performance.now() - began;
		});
		return middle(times);
	},
	end: async () => {
		scorer?.close();
		rmSync(dir, { recursive: true, force: true });
		return 0;
	},
});
