/**
 * One process that measures maps of a category's test images: a line on standard input, a line of JSON back.
 * node pixel.js '{"data":CATEGORY,"out":FOLDER}'
 * Ground truth is the category's, read beforehand. Maps are drawn: smooth noise, higher where there is a defect; they are written to
 * FOLDER as maps.f32 and the union of an image's masks as masks.u8, both [n, H, W], with shape.json, for the peer.
 * "measure": ms of all metrics of maps, from the maps on.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readDefectTypes } from "../src/data/defects.ts";
import { readTestCategory } from "../src/data/index.ts";
import { enlarge } from "../src/maps.ts";
import { type MeasuredMap, PixelMeter } from "../src/metrics/pixel.ts";
import { Random } from "../src/random.ts";
import { answerLines } from "./answers.ts";

export interface PixelJob {
	readonly data: string;
	readonly out: string;
}

const job = JSON.parse(process.argv[2] as string) as PixelJob;
const category = await readTestCategory(job.data, "product");
const defects = await readDefectTypes(job.data);
const random = new Random("bench", "pixel");
const grid = [16, 16] as const;
const measured: MeasuredMap[] = [];
const unions: Uint8Array[] = [];
for (const sample of category.test) {
	const size = await sample.size();
	const noise = Float32Array.from({ length: 256 }, () => random.normal());
	const map = enlarge(noise, grid, size);
	const masks = (await sample.readMasks?.()) ?? null;
	const union = new Uint8Array(map.data.length);
	for (const { mask } of masks ?? [])
		for (let i = 0; i < union.length; i++) if (mask.data[i] !== 0) union[i] = 1;
	for (let i = 0; i < union.length; i++)
		map.data[i] = (map.data[i] as number) + (union[i] as number);
	const { id, defect, kind } = sample;
	measured.push({ id, map, defect, kind, masks });
	unions.push(union);
}
const bytes = (arrays: readonly (Float32Array | Uint8Array)[]) =>
	Buffer.concat(
		arrays.map((a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength)),
	);
writeFileSync(
	join(job.out, "maps.f32"),
	bytes(measured.map(({ map }) => map.data)),
);
writeFileSync(join(job.out, "masks.u8"), bytes(unions));
writeFileSync(
	join(job.out, "shape.json"),
	JSON.stringify([measured.length, ...(measured[0]?.map.shape ?? [])]),
);

function aupro(): number {
	const meter = new PixelMeter({ layout: category.layout, defects });
	for (const map of measured) meter.add(map);
	const { value } = meter.results().aupro30 ?? {};
	if (!value) throw new Error("bench: there is no AUPRO");
	return value;
}

await answerLines({
	measure: async () => {
		const began = performance.now();
		aupro();
		return performance.now() - began;
	},
	aupro: async () => aupro(),
});
