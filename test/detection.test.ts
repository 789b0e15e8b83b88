/** The built program with patches: maps on disk and back, ground truth of all kinds, a region of interest, the report that train leaves. */
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodePng } from "../src/data/image.ts";
import { readMap } from "../src/data/tiff.ts";
import { uint8 } from "../src/engine/tensor.ts";
import { drawCategory, size } from "./drawn.ts";
import { keepsight } from "./here.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-detection-"));
const data = join(work, "data");
const config = join(work, "run.yaml");
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** White in the rectangle, in pixels: [top, bottom) x [left, right). */
const mask = async (
	path: string,
	[top, bottom, left, right]: readonly [number, number, number, number],
	side = size,
): Promise<void> => {
	const picture = uint8([side, side]);
	for (let y = top; y < bottom; y++)
		picture.data.fill(255, y * side + left, y * side + right);
	mkdirSync(join(path, ".."), { recursive: true });
	writeFileSync(path, await encodePng(picture));
};
const truth = (category: string, i: number) =>
	join(data, category, "ground_truth/spot", `${i}_mask.png`);

beforeAll(async () => {
	for (const [kind, id] of ["mvtec/a", "mvtec/b"].entries()) {
		await drawCategory(join(data, id), kind, 12, 4);
		for (let i = 0; i < 4; i++) await mask(truth(id, i), [9, 18, 9, 18]);
	}
	await mask(join(work, "left.png"), [0, size, 0, Math.round(size * 0.8)]);
	writeFileSync(
		config,
		`name: patches
data: { root: ${data}, tasks: [mvtec/a, mvtec/b] }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 4 }
trainable: none
pretext: { name: cutpaste }
strategy: { name: frozen }
memory: [{ name: patches, blocks: [0.34], weight: 3 }, { name: dne }]
out: ${join(work, "out")}
threads: 1
`,
	);
});

const dirOf = (name: string) => join(work, "out", name, "Anomaly");
const train = (name: string, ...sets: string[]) =>
	keepsight(
		"train",
		"--config",
		config,
		...[`name=${name}`, ...sets].flatMap((s) => ["--set", s]),
	);
const metricsOf = (name: string) =>
	JSON.parse(readFileSync(join(dirOf(name), "metrics.json"), "utf8"));

describe("a run with patches", () => {
	it("finds the spots and where they are, and leaves a report with pictures", async () => {
		const { status, stdout, stderr } = await train("patches");
		expect(stderr).not.toMatch(/^error/m);
		expect(status).toBe(0);
		const { categories, reasons } = metricsOf("patches");
		for (const id of ["mvtec/a", "mvtec/b"]) {
			expect(categories[id].imageAuroc).toBeGreaterThan(0.9);
			expect(categories[id].pixelAuroc).toBeGreaterThan(0.7);
			expect(categories[id].aupro30).toBeGreaterThan(0.1);
		}
		expect(reasons["matrices.pixelAuroc"]).toBeUndefined();
		const report = join(dirOf("patches"), "report.html");
		expect(stdout).toContain(`Report: ${report}`);
		expect(readFileSync(report, "utf8")).toContain("data:image/webp");
		const pictures = readdirSync(
			join(dirOf("patches"), "visualizations/mvtec.a"),
		);
		expect(pictures.length).toBeGreaterThan(4);
	});

	it("reads patches of tiles: as many more, each a part of its tile", async () => {
		const one = ["data.tasks=[mvtec/a]", "image_size=12"];
		const bank = async (name: string, tiles: number) => {
			const memory = `memory=[{ name: patches, blocks: [0.34], tiles: ${tiles} }]`;
			const { status, stderr } = await train(name, ...one, memory);
			expect(stderr).not.toMatch(/^error/m);
			expect(status).toBe(0);
			return metricsOf(name);
		};
		const [whole, tiled] = [await bank("whole", 1), await bank("tiled", 2)];
		// 12 normals of 3 x 3 patches at 2 x 24 bytes, and of 6 x 6
		expect(tiled.memory.bytesPerTask - whole.memory.bytesPerTask).toBe(
			12 * 27 * 48,
		);
		expect(tiled.categories["mvtec/a"].pixelAuroc).toBeGreaterThan(
			whole.categories["mvtec/a"].pixelAuroc,
		);
	});

	it("reads several tilings at once, and the counts of words: from the stored memory alone as well", async () => {
		const roi = join(work, "left.png");
		const { status, stderr } = await train(
			"several",
			"data.tasks=[mvtec/a]",
			"image_size=12",
			"memory=[{ name: patches, blocks: [0.34], tiles: 2, augment: flips }, { name: patches, blocks: [0.34] }, { name: words, blocks: [0.34], words: 8 }]",
			`data.roi=[{ category: mvtec/a, mask: ${roi} }]`,
		);
		expect(stderr).not.toMatch(/^error/m);
		expect(status).toBe(0);
		expect(stderr.match(/augment (not )?taken/g)?.length).toBe(1);
		const trained = metricsOf("several");
		expect(trained.categories["mvtec/a"].imageAuroc).toBeGreaterThan(0.9);
		expect(trained.categories["mvtec/a"].pixelAuroc).toBeGreaterThan(0.7);
		expect(
			(await keepsight("eval", "--mem_dir", dirOf("several"))).status,
		).toBe(0);
		expect(metricsOf("several")).toEqual(trained);
	});

	it("counts alone make no maps, and say so", async () => {
		const { status } = await train(
			"counts",
			"data.tasks=[mvtec/a]",
			"memory=[{ name: words, blocks: [0.34], words: 8 }]",
		);
		expect(status).toBe(0);
		for (const command of ["eval", "predict"]) {
			const refused = await keepsight(
				command,
				"--mem_dir",
				dirOf("counts"),
				"--maps",
				join(work, "no-maps"),
				...(command === "predict" ? [join(data, "mvtec/a/test")] : []),
			);
			expect(refused.status, command).toBe(2);
			expect(refused.stderr).toContain("no memory");
		}
	});

	it("refuses memories that ask for different blocks", async () => {
		const { status, stderr } = await train(
			"blocks",
			"memory=[{ name: patches, blocks: [0.34] }, { name: words, blocks: [0.67] }]",
		);
		expect(status).toBe(2);
		expect(stderr).toContain("blocks (1 and 2)");
	});

	it("says which options suit the good parts, and scores with them from the stored memory alone", async () => {
		const { status, stderr } = await train(
			"options",
			"data.tasks=[mvtec/a]",
			"memory=[{ name: patches, blocks: [0.34], augment: all, window: 2, foreground: true }]",
		);
		expect(status).toBe(0);
		for (const option of ["augment", "foreground", "window"])
			expect(stderr).toMatch(
				new RegExp(
					`mvtec/a: ${option} (not )?taken, good parts' scores change by [+-]\\d`,
				),
			);
		const trained = metricsOf("options").categories;
		expect(
			(await keepsight("eval", "--mem_dir", dirOf("options"))).status,
		).toBe(0);
		expect(metricsOf("options").categories).toEqual(trained);
	});

	it("writes maps that give the same metrics when they are read back", async () => {
		const maps = join(work, "maps");
		const evaluated = await keepsight(
			"eval",
			"--mem_dir",
			dirOf("patches"),
			"--maps",
			maps,
		);
		expect(evaluated.status).toBe(0);
		const file = "mvtec/a/test/spot/0";
		expect(existsSync(join(maps, `${file}.png`))).toBe(true);
		const { shape, data: values } = await readMap(maps, `${file}.png`);
		expect(shape).toEqual([size, size]);
		const at = values.indexOf(Math.max(...values));
		for (const place of [Math.floor(at / size), at % size])
			expect(Math.abs(place - 13)).toBeLessThan(8);
		const again = await keepsight(
			"eval",
			"--scores",
			join(dirOf("patches"), "scores"),
			"--json",
			"--maps",
			maps,
			"--data_root",
			data,
		);
		expect(again.stderr).toBe("");
		expect(JSON.parse(again.stdout).categories).toEqual(
			metricsOf("patches").categories,
		);
	});

	it("names a map that is missing, and what belongs together", async () => {
		const scores = ["eval", "--scores", join(dirOf("patches"), "scores")];
		const { status, stderr } = await keepsight(
			...scores,
			"--maps",
			work,
			"--data_root",
			data,
		);
		expect(status).toBe(2);
		expect(stderr).toContain(join(work, "mvtec/a/test/good/0.tiff"));
		const alone = await keepsight(...scores, "--maps", work);
		expect(alone.status).toBe(2);
		expect(alone.stderr).toContain("--data_root");
	});

	it("writes no maps where no memory knows the place, or over the pictures", async () => {
		expect((await train("density", "memory=[{ name: dne }]")).status).toBe(0);
		expect(metricsOf("density").pixel).toBeUndefined();
		const picture = join(data, "mvtec/a/test/spot/0.png");
		const before = readFileSync(picture);
		for (const [run, dir, text] of [
			["density", join(work, "none"), "name: patches"],
			["patches", data, "data root"],
		] as const) {
			const { status, stderr } = await keepsight(
				"eval",
				"--mem_dir",
				dirOf(run),
				"--maps",
				dir,
			);
			expect(status).toBe(2);
			expect(stderr).toContain(text);
		}
		expect(readFileSync(picture).equals(before)).toBe(true);
	});

	it("says of ground truth that cannot be used what is wrong, and keeps all other figures", async () => {
		rmSync(truth("mvtec/a", 1));
		await mask(truth("mvtec/b", 2), [9, 18, 9, 18], 2 * size);
		expect(
			(await keepsight("eval", "--mem_dir", dirOf("patches"), "--quiet"))
				.status,
		).toBe(0);
		const { categories, reasons } = metricsOf("patches");
		expect(categories["mvtec/a"].pixelAuroc).toBeNull();
		expect(categories["mvtec/a"].imageAuroc).toBeGreaterThan(0.9);
		expect(reasons["matrices.aupro30.1.0"]).toContain(
			"mvtec/a/test/spot/1.png",
		);
		expect(reasons["matrices.aupro30.1.1"]).toMatch(/64.*32|32.*64/);
	});

	it("looks where the region of interest is white, and nowhere else", async () => {
		const region = join(work, "region.png");
		await mask(region, [24, 32, 0, 32]);
		const roi = `data.roi=[{ category: mvtec/a, mask: ${region} }]`;
		const alone = "memory=[{ name: patches, blocks: [0.34] }]";
		expect((await train("roi", roi, alone)).status).toBe(0);
		const maps = join(work, "roi-maps");
		await keepsight(
			"eval",
			"--mem_dir",
			dirOf("roi"),
			"--maps",
			maps,
			"--quiet",
		);
		const { data: values } = await readMap(maps, "mvtec/a/test/spot/0.png");
		const rows = (from: number, to: number) =>
			values.slice(from * size, to * size);
		const outside = rows(0, 16);
		expect(Math.max(...outside) - Math.min(...outside)).toBeLessThan(1e-4);
		expect(Math.max(...rows(26, 32))).toBeGreaterThan(outside[0] as number);
		// the spots lie outside, so nothing is left to find
		expect(metricsOf("roi").categories["mvtec/a"].imageAuroc).toBeLessThan(0.9);
		await mask(region, [0, 0, 0, 0]);
		const earlier = readFileSync(join(dirOf("roi"), "run.json"));
		const empty = await keepsight(
			"train",
			"--config",
			config,
			"--fresh",
			...["name=roi", roi, alone].flatMap((set) => ["--set", set]),
		);
		expect(empty.status).toBe(2);
		expect(empty.stderr).toContain("region.png");
		expect(readFileSync(join(dirOf("roi"), "run.json"))).toEqual(earlier);
		const foreign = await train(
			"foreign",
			roi.replace("mvtec/a", "mvtec/q"),
			alone,
		);
		expect(foreign.status).toBe(2);
		expect(foreign.stderr).toContain("mvtec/q");
	});
});
