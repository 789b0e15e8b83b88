/** Colours, outlines, panels, and the index of pictures in a run folder. */
import {
	existsSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { decodeImage } from "../../src/data/image.ts";
import { float32, type Tensor, uint8 } from "../../src/engine/tensor.ts";
import { Random } from "../../src/random.ts";
import { heatColours, levelOf } from "../../src/pictures/colours.ts";
import { drawContour } from "../../src/pictures/contour.ts";
import {
	apart,
	gapPx,
	overlayOf,
	pictureOf,
	picturePath,
	readPictures,
	type Shown,
	writePictures,
} from "../../src/pictures/pictures.ts";
import type { Run, ScoreRow } from "../../src/run.ts";
import { hostile, madeUpRun, part, rowsOf } from "../reports/made-up-run.ts";

/** CIE lightness of an sRGB colour, 0..100. */
function lightness(rgb: ArrayLike<number>): number {
	const [r = 0, g = 0, b = 0] = Array.from(rgb, (value) => {
		const c = value / 255;
		return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
	});
	const y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
	return y > 216 / 24389 ? 116 * Math.cbrt(y) - 16 : (y * 24389) / 27;
}

describe("colours", () => {
	const colour = (level: number) => heatColours.slice(3 * level, 3 * level + 3);
	test("are inferno's, also between what is kept (levels 64, 128, 192 of matplotlib's table)", () => {
		expect(colour(0)).toEqual(Uint8Array.of(0, 0, 4));
		expect(colour(255)).toEqual(Uint8Array.of(0xfc, 0xff, 0xa4));
		for (const [level, published] of [
			[64, [0x57, 0x10, 0x6e]],
			[128, [0xbc, 0x37, 0x54]],
			[192, [0xf9, 0x8e, 0x09]],
		] as const)
			colour(level).forEach((value, k) => {
				expect(Math.abs(value - (published[k] as number))).toBeLessThanOrEqual(
					1,
				);
			});
	});
	test("grow lighter evenly: they read in grey and by every eye", () => {
		const steps = Array.from(
			{ length: 16 },
			(_, k) => lightness(colour(16 * k + 15)) - lightness(colour(16 * k)),
		);
		for (let level = 1; level < 256; level++)
			expect(lightness(colour(level))).toBeGreaterThan(
				lightness(colour(level - 1)) - 0.3,
			);
		expect(Math.min(...steps)).toBeGreaterThan(2.5);
		expect(Math.max(...steps)).toBeLessThan(9);
	});
	test("end at their ends", () => {
		expect(
			[-1, 0, 0.5, 1, 7, Number.POSITIVE_INFINITY, Number.NaN].map(levelOf),
		).toEqual([0, 0, 128, 255, 255, 255, 0]);
	});
});

describe("contour", () => {
	const inside = (h: number, w: number) => {
		const random = new Random("blobs");
		const blobs = Array.from({ length: 4 }, () => [
			random.uniform(0, h),
			random.uniform(0, w),
			random.uniform(1, 6),
		]) as [number, number, number][];
		return Uint8Array.from({ length: h * w }, (_, i) =>
			blobs.some(
				([y, x, r]) => Math.hypot(Math.floor(i / w) - y, (i % w) - x) < r,
			)
				? 1
				: 0,
		);
	};
	test.each([1, 2])(
		"thickness %i: as wide as the distances to both sides say",
		(t) => {
			const [h, w] = [24, 31];
			const set = inside(h, w);
			const pixels = new Uint8Array(3 * h * w).fill(100);
			drawContour(pixels, set, [h, w], t);
			const distance = (i: number, wanted: number) => {
				let least = Number.POSITIVE_INFINITY;
				for (let j = 0; j < h * w; j++)
					if (set[j] === wanted)
						least = Math.min(
							least,
							Math.abs(Math.floor(i / w) - Math.floor(j / w)) +
								Math.abs((i % w) - (j % w)),
						);
				return least;
			};
			const seen = new Set<number>();
			for (let i = 0; i < h * w; i++) {
				const far = Math.max(distance(i, 0), distance(i, 1));
				const expected = far <= t ? 255 : far <= 2 * t ? 16 : 100;
				expect(pixels[3 * i], `pixel ${i}`).toBe(expected);
				seen.add(expected);
			}
			expect(seen.size).toBe(3);
		},
	);
	test("none around nothing, around everything, or along the border", () => {
		for (const value of [0, 1]) {
			const pixels = new Uint8Array(3 * 20).fill(7);
			drawContour(pixels, new Uint8Array(20).fill(value), [4, 5]);
			expect(pixels).toEqual(new Uint8Array(60).fill(7));
		}
	});
});

const grey = (h: number, w: number, value = 90) =>
	uint8([h, w, 3], new Uint8Array(3 * h * w).fill(value));
const peak = (h: number, w: number, at: number, value: number) => {
	const map = float32([h, w]);
	map.data[at] = value;
	return map;
};
const at = ({ data, shape }: Tensor<"uint8">, y: number, x: number) =>
	Array.from(data.subarray(3 * (y * (shape[1] as number) + x)).subarray(0, 3));

describe("pictureOf", () => {
	const [h, w] = [30, 40];
	const mask = uint8([h, w]);
	mask.data.fill(1, 0, 10 * w);
	const panelsOf = async (
		sight: Parameters<typeof pictureOf>[0],
		count: number,
	) => apart(await decodeImage(await pictureOf(sight), "picture"), count);

	test("four panels with a white gap, the first the picture as it is", async () => {
		const sight = {
			image: grey(h, w),
			map: peak(h, w, 15 * w + 20, 6),
			mask,
			threshold: 2,
		};
		const whole = await decodeImage(await pictureOf(sight), "picture");
		expect(whole.shape).toEqual([h, 4 * w + 3 * gapPx, 3]);
		expect(at(whole, 3, w + 2)).toEqual([255, 255, 255]);
		const [picture, map, overlay, truth] = apart(whole, 4) as [
			Tensor<"uint8">,
			Tensor<"uint8">,
			Tensor<"uint8">,
			Tensor<"uint8">,
		];
		expect(picture).toEqual(sight.image);
		expect(at(map, 15, 20)).toEqual([0xfc, 0xff, 0xa4]); // three thresholds: the last colour
		expect(at(map, 0, 0)).toEqual([0, 0, 4]);
		expect(at(overlay, 0, 0)).toEqual([90, 90, 90]); // nothing there: the picture alone
		expect(at(overlay, 15, 20)).toEqual([255, 255, 255]); // one pixel: all line
		expect(at(overlay, 15, 22)).toEqual([16, 16, 16]);
		expect(at(truth, 9, 5)).toEqual([255, 255, 255]);
		expect(at(truth, 10, 5)).toEqual([255, 255, 255]);
		expect(at(truth, 8, 5)).toEqual([16, 16, 16]);
		expect(at(truth, 0, 5)).toEqual([90, 90, 90]); // not along the border
	});
	test("colours stand for multiples of the threshold, so pictures compare", async () => {
		const colour = async (value: number, threshold: number) => {
			const [, map] = await panelsOf(
				{ image: grey(h, w), map: peak(h, w, 0, value), mask: null, threshold },
				3,
			);
			return at(map as Tensor<"uint8">, 0, 0);
		};
		expect(await colour(3, 2)).toEqual(await colour(6, 4));
		expect(await colour(60, 2)).toEqual(await colour(6, 2));
		expect(await colour(3, 2)).not.toEqual(await colour(6, 2));
	});
	test("what there is not has no panel; without a threshold nothing is outlined", async () => {
		const image = grey(h, w);
		const map = peak(h, w, 15 * w + 20, 6);
		const size = async (sight: Parameters<typeof pictureOf>[0]) =>
			(await decodeImage(await pictureOf(sight), "p")).shape[1];
		expect(await size({ image, map: null, mask: null, threshold: 2 })).toBe(w);
		expect(await size({ image, map: null, mask, threshold: 2 })).toBe(
			2 * w + gapPx,
		);
		const [, , overlay] = await panelsOf(
			{ image, map, mask: null, threshold: null },
			3,
		);
		expect(at(overlay as Tensor<"uint8">, 15, 22)).toEqual([90, 90, 90]);
	});
	test("a big picture is shrunk to 480 px; a single pixel above the threshold is still outlined", async () => {
		const [bigH, bigW] = [700, 1300];
		const bigMask = uint8([bigH, bigW]);
		bigMask.data[333 * bigW + 777] = 1;
		const [picture, map, overlay, truth] = (await panelsOf(
			{
				image: grey(bigH, bigW),
				map: peak(bigH, bigW, 333 * bigW + 777, 6),
				mask: bigMask,
				threshold: 2,
			},
			4,
		)) as Tensor<"uint8">[];
		expect(picture?.shape).toEqual([258, 480, 3]);
		const [y, x] = [
			Math.floor((333 * 258) / 700),
			Math.floor((777 * 480) / 1300),
		];
		expect(at(map as Tensor<"uint8">, y, x)).toEqual([0xfc, 0xff, 0xa4]);
		expect(at(overlay as Tensor<"uint8">, y, x)).toEqual([255, 255, 255]);
		expect(at(truth as Tensor<"uint8">, y, x)).toEqual([255, 255, 255]);
	});
	test("sizes that differ are refused", async () => {
		await expect(
			pictureOf({
				image: grey(3, 4),
				map: float32([4, 3]),
				mask: null,
				threshold: 2,
			}),
		).rejects.toThrow("pictureOf: shapes do not fit: [3, 4, 3] x [4, 3].");
	});
	test("an overlay alone has the picture's own size, and a line that grows with it", async () => {
		const [bigH, bigW] = [960, 1100];
		const map = float32([bigH, bigW]);
		map.data.fill(6, 0, 400 * bigW);
		const overlay = await decodeImage(
			await overlayOf({ image: grey(bigH, bigW), map, threshold: 2 }),
			"overlay",
		);
		expect(overlay.shape).toEqual([bigH, bigW, 3]);
		const column = Array.from(
			{ length: 12 },
			(_, k) => at(overlay, 394 + k, 9)[0],
		);
		expect(column.filter((value) => value === 255)).toHaveLength(4);
		expect(column.filter((value) => value === 16)).toHaveLength(4);
	});
});

describe("writePictures", () => {
	let base: string;
	let run: Run;
	beforeEach(() => {
		base = mkdtempSync(join(tmpdir(), "keepsight-pictures-"));
		run = madeUpRun(join(base, "Anomaly"));
	});
	afterEach(() => {
		run.close();
		rmSync(base, { recursive: true, force: true });
	});
	const shown = (id: string, index: number, role: Shown["role"]): Shown => {
		const row = rowsOf(id, 2)[index] as ScoreRow;
		return { row, role, ...part(row, index, [20, 30]) };
	};

	test("writes PNG and index; other categories stay, earlier pictures of the same go", async () => {
		expect(readPictures(run)).toEqual([]);
		await writePictures(run, [
			{ id: "mvtec/bottle", shown: [shown("mvtec/bottle", 40, "missed")] },
			{ id: hostile, shown: [shown(hostile, 3, "false alarm")] },
		]);
		await writePictures(run, [
			{
				id: "mvtec/bottle",
				// one map after the other
				shown: (async function* () {
					yield shown("mvtec/bottle", 41, "missed");
					yield shown("mvtec/bottle", 42, "missed");
					yield shown("mvtec/bottle", 1, "worst good");
				})(),
			},
		]);
		const index = readPictures(run);
		expect(index.map(({ id }) => id)).toEqual([hostile, "mvtec/bottle"]);
		const pictures = index[1]?.pictures ?? [];
		expect(pictures.map(({ file }) => file)).toEqual([
			"mvtec.bottle/missed-1.png",
			"mvtec.bottle/missed-2.png",
			"mvtec.bottle/worst-good-1.png",
		]);
		const row = rowsOf("mvtec/bottle", 2)[42] as ScoreRow;
		expect(pictures[1]).toEqual({
			...row,
			file: "mvtec.bottle/missed-2.png",
			role: "missed",
			panels: ["picture", "map", "overlay", "truth"],
		});
		expect(pictures[2]?.panels).toEqual(["picture", "map", "overlay"]);
		for (const entry of index.flatMap((category) => category.pictures))
			expect(existsSync(picturePath(run, entry))).toBe(true);
		const json = JSON.parse(
			readFileSync(join(run.dir, "visualizations", "pictures.json"), "utf8"),
		);
		expect(Object.keys(json)).toEqual(["categories", "format"]);

		await writePictures(run, [
			{ id: "mvtec/bottle", shown: [shown("mvtec/bottle", 41, "missed")] },
		]);
		expect(
			readdirSync(join(run.dir, "visualizations", "mvtec.bottle")),
		).toEqual(["missed-1.png"]);
	});
	test("an infinite score has a place in JSON", async () => {
		const one = shown("mvtec/bottle", 40, "best");
		const row = { ...one.row, score: Number.POSITIVE_INFINITY };
		await writePictures(run, [
			{ id: "mvtec/bottle", shown: [{ ...one, row }] },
		]);
		expect(readPictures(run)[0]?.pictures[0]?.score).toBe(Number.MAX_VALUE);
	});
	test("an index of someone else's is not trusted", () => {
		const path = join(run.dir, "visualizations", "pictures.json");
		run.writeVisualization("pictures.json", "{}");
		expect(() => readPictures(run)).toThrow("has format version");
		writeFileSync(path, JSON.stringify({ format: 1, categories: [{ id: 3 }] }));
		expect(() => readPictures(run)).toThrow("is damaged");
		const entry = { file: "../../secret.png" } as Parameters<
			typeof picturePath
		>[1];
		expect(() => picturePath(run, entry)).toThrow("Refused the file name");
	});
});
