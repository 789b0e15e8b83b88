/** The backbones of the package's models/ folder, with their real weights. */
import {
	existsSync,
	mkdtempSync,
	readdirSync,
	rmSync,
	statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readImage } from "../../src/data/image.ts";
import { drawDemo } from "../../src/data/demo.ts";
import type { Image } from "../../src/data/task.ts";
import type { Tensor } from "../../src/engine/tensor.ts";
import { auroc } from "../../src/metrics/image.ts";
import type { Backbone } from "../../src/models/backbone.ts";
import { damage } from "../../src/models/cache.ts";
import { loadBackbone } from "../../src/models/index.ts";
import { precisions } from "../../src/models/quantise.ts";
import { DEFAULT_BACKBONE, listShipped } from "../../src/models/shipped.ts";
import { blocksAt, type Sight, Trunk } from "../../src/trunk.ts";
import { keepsight } from "../program.ts";

const folder = mkdtempSync(join(tmpdir(), "keepsight-shipped-"));
const size = [224, 224] as const;
let good: Image[];
let tested: { image: Image; label: 0 | 1 }[];

beforeAll(async () => {
	await drawDemo(folder, {
		products: 1,
		seed: 5,
		train: 12,
		testGood: 12,
		perDefect: 3,
	});
	const dir = join(folder, "mvtec", "fabric");
	const read = (...path: string[]) =>
		Promise.all(
			readdirSync(join(dir, ...path))
				.sort()
				.map((name) => readImage(join(dir, ...path, name), size)),
		);
	good = await read("train", "good");
	tested = [];
	for (const kind of readdirSync(join(dir, "test")))
		for (const image of await read("test", kind))
			tested.push({ image, label: kind === "good" ? 0 : 1 });
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(listShipped())("$name", ({ name, dir, source, ...record }) => {
	it("is what its record says, with a licence, a model card and at most 12 MB", () => {
		expect(damage({ name, dir, source, ...record })).toBe(null);
		expect(record.licence).toBe("apache-2.0");
		expect(existsSync(source)).toBe(true);
		const bytes = readdirSync(dir)
			.map((file) => statSync(join(dir, file)).size)
			.reduce((a, b) => a + b);
		expect(bytes).toBeLessThanOrEqual(12e6);
	});

	it.each(precisions)(
		"tells woven cloth with defects from good one, in %s",
		async (precision) => {
			const backbone = loadBackbone({ name, precision }, size, 0);
			expect(await seen(backbone)).toBeGreaterThan(0.8);
		},
		60_000,
	);

	it("says the same of an image in 8-bit integers, whatever it is seen beside", async () => {
		const images = tested.slice(0, 5).map(({ image }) => image);
		const trunk = trunkOf(loadBackbone({ name, precision: "int8" }, size, 0));
		const together = await trunk.seeAll(images);
		for (const [i, image] of images.entries())
			expect((await trunk.seeAll([image]))[0]).toEqual(together[i]);
		await trunk.release();
	});
});

const trunkOf = (backbone: Backbone): Trunk =>
	new Trunk({
		backbone,
		from: backbone.config.depth,
		patchBlocks: blocksAt(
			backbone.config,
			backbone.config.patchBlocks as readonly number[],
		),
		threads: 2,
	});

/** AUROC of the largest distance of a patch to those of good parts. */
async function seen(backbone: Backbone): Promise<number> {
	const trunk = trunkOf(backbone);
	const patchesOf = ({ patches }: Sight): Float32Array =>
		(patches as Tensor).data;
	const d = backbone.config.width;
	const bank = (await trunk.seeAll(good)).flatMap((sight) => {
		const data = patchesOf(sight);
		return Array.from({ length: data.length / d / 8 }, (_, i) =>
			data.subarray(8 * i * d, (8 * i + 1) * d),
		);
	});
	const scores: number[] = [];
	for (const { image } of tested) {
		const [sight] = await trunk.seeAll([image]);
		const data = patchesOf(sight as Sight);
		let farthest = -1;
		for (let row = 0; row < data.length; row += d) {
			let nearest = -1;
			for (const other of bank) {
				let dot = 0;
				for (let k = 0; k < d; k++)
					dot += (data[row + k] as number) * (other[k] as number);
				if (dot > nearest) nearest = dot;
			}
			farthest = Math.max(farthest, 1 - nearest);
		}
		scores.push(farthest);
	}
	await trunk.release();
	return auroc(
		scores,
		tested.map(({ label }) => label),
	).value as number;
}

it("is the default, and `backbone list` shows it", () => {
	expect(listShipped().map(({ name }) => name)).toContain(DEFAULT_BACKBONE);
	expect(keepsight("backbone", "list").stdout).toContain(DEFAULT_BACKBONE);
});
