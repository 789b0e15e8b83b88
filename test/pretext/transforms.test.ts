import { describe, expect, test } from "vitest";
import type { Image } from "../../src/data/task.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import * as transforms from "../../src/pretext/transforms.ts";
import { Random } from "../../src/random.ts";
import { noise, plain } from "./pictures.ts";

type Rgb = readonly [number, number, number];
const pixels = (data: Uint8Array): Rgb[] =>
	Array.from(
		{ length: data.length / 3 },
		(_, p) => [...data.subarray(p * 3, p * 3 + 3)] as unknown as Rgb,
	);
const byte = (x: number) => Math.trunc(Math.min(Math.max(x, 0), 255));
const luma = ([r, g, b]: Rgb) => Math.trunc(0.2989 * r + 0.587 * g + 0.114 * b);

/** torchvision's formulas written out: blend(image, other, ratio), rgb -> hsv -> rgb with the hue in [0, 1). */
const reference = {
	brightness: (image: Rgb[], f: number) =>
		image.map((p) => p.map((x) => byte(f * x))),
	contrast(image: Rgb[], f: number) {
		const mean = image.reduce((sum, p) => sum + luma(p), 0) / image.length;
		return image.map((p) => p.map((x) => byte(f * x + (1 - f) * mean)));
	},
	saturation: (image: Rgb[], f: number) =>
		image.map((p) => p.map((x) => byte(f * x + (1 - f) * luma(p)))),
	hue: (image: Rgb[], turn: number) =>
		image.map((p) => {
			const [r, g, b] = p.map((x) => x / 255) as unknown as Rgb;
			const [v, least] = [Math.max(r, g, b), Math.min(r, g, b)];
			const c = v - least;
			const degrees =
				c === 0
					? 0
					: v === r
						? 60 * ((g - b) / c)
						: v === g
							? 60 * (2 + (b - r) / c)
							: 60 * (4 + (r - g) / c);
			const h = (((degrees / 360 + turn) % 1) + 1) % 1;
			const s = v === 0 ? 0 : c / v;
			// the textbook's k-form: f(n) = v - v s max(0, min(k, 4 - k, 1)), k = (n + 6h) mod 6
			return [5, 3, 1].map((n) => {
				const k = (n + 6 * h) % 6;
				return byte((v - v * s * Math.max(0, Math.min(k, 4 - k, 1))) * 255.999);
			});
		}),
};
const ours = {
	brightness: transforms.adjustBrightness,
	contrast: transforms.adjustContrast,
	saturation: transforms.adjustSaturation,
	hue: transforms.adjustHue,
};

describe("colour steps equal torchvision's formulas to 1 level (the truncation's edge)", () => {
	const image = noise(64, 48, 1).data;
	image.set([
		0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0, 7, 7,
		7,
	]); // corners of the cube
	const cases = [
		...(["brightness", "contrast", "saturation"] as const).flatMap((step) =>
			[0.5, 0.9, 0.963, 1, 1.1].map((f) => [step, f] as const),
		),
		...[-0.5, -0.1, -0.037, 0, 0.02, 0.1, 0.5].map(
			(turn) => ["hue", turn] as const,
		),
	];
	test.each(cases)("%s %f", (step, amount) => {
		const expected = reference[step](pixels(image), amount).flat();
		const actual = Uint8Array.from(image);
		ours[step](actual, amount);
		let [largest, differing] = [0, 0];
		for (const [i, x] of expected.entries()) {
			const d = Math.abs(x - (actual[i] as number));
			largest = Math.max(largest, d);
			if (d > 0) differing++;
		}
		expect(largest).toBeLessThanOrEqual(1);
		expect(differing / expected.length).toBeLessThan(0.002);
	});

	test("factor 1 and turn 0 change nothing", () => {
		for (const step of [
			"brightness",
			"contrast",
			"saturation",
			"hue",
		] as const) {
			const data = Uint8Array.from(image);
			ours[step](data, step === "hue" ? 0 : 1);
			expect(data).toEqual(image);
		}
	});
});

describe("colorJitter", () => {
	test("gives a new image, stays within what its factors allow, and differs between draws", () => {
		const image = plain(8, 8, 100);
		const values = Array.from(
			{ length: 200 },
			(_, i) =>
				transforms.colorJitter(image, 0.1, new Random(i)).data[0] as number,
		);
		expect(image.data.every((x) => x === 100)).toBe(true);
		expect(Math.min(...values)).toBeGreaterThanOrEqual(100 * 0.9 - 3);
		expect(Math.max(...values)).toBeLessThanOrEqual(100 * 1.1);
		expect(new Set(values).size).toBeGreaterThan(10);
	});
	test("strength 0 is a copy", () => {
		const image = noise(5, 7, 2);
		const jittered = transforms.colorJitter(image, 0, new Random(1));
		expect(jittered.data).toEqual(image.data);
		expect(jittered.data).not.toBe(image.data);
	});
});

describe("rotate", () => {
	const grey = (...rows: number[][]): Image =>
		uint8(
			[rows.length, (rows[0] as number[]).length, 3],
			Uint8Array.from(rows.flat().flatMap((x) => [x, x, x])),
		);
	const rowsOf = (image: Image) => {
		const [h, w] = image.shape as [number, number];
		return Array.from({ length: h }, (_, y) =>
			Array.from({ length: w }, (_, x) => image.data[(y * w + x) * 3]),
		);
	};
	test("90 degrees are counter-clockwise and exact", () => {
		expect(
			rowsOf(transforms.rotate(grey([1, 2, 3], [4, 5, 6], [7, 8, 9]), 90)),
		).toEqual([
			[3, 6, 9],
			[2, 5, 8],
			[1, 4, 7],
		]);
		expect(rowsOf(transforms.rotate(grey([1, 2], [3, 4]), 90))).toEqual([
			[2, 4],
			[1, 3],
		]);
		expect(rowsOf(transforms.rotate(grey([1, 2], [3, 4]), 180))).toEqual([
			[4, 3],
			[2, 1],
		]);
	});
	test("0 degrees are the image", () => {
		const image = noise(9, 14, 3);
		expect(transforms.rotate(image, 0).data).toEqual(image.data);
	});
	test("corners turn black, the centre stays: at 45 degrees the share of black is that of the geometry", () => {
		const rotated = transforms.rotate(plain(200, 200, 255), 45);
		const white =
			rotated.data.reduce((sum, x) => sum + (x === 255 ? 1 : 0), 0) /
			rotated.data.length;
		expect(white).toBeCloseTo(2 * (Math.SQRT2 - 1), 2); // the octagon two squares share
		expect(rotated.data[0]).toBe(0);
		expect(rotated.data[(100 * 200 + 100) * 3]).toBe(255);
	});
});

test("crop and paste are inverse; paste leaves the rest alone", () => {
	const image = noise(12, 10, 4);
	const cut = transforms.crop(image, 3, 2, 5, 4);
	expect(cut.shape).toEqual([5, 4, 3]);
	expect([...cut.data.subarray(0, 3)]).toEqual([
		...image.data.subarray((3 * 10 + 2) * 3, (3 * 10 + 2) * 3 + 3),
	]);
	const target = plain(12, 10, 0);
	transforms.paste(target, cut, 3, 2);
	expect(transforms.crop(target, 3, 2, 5, 4).data).toEqual(cut.data);
	expect(target.data.reduce((a, b) => a + b, 0)).toBe(
		cut.data.reduce((a, b) => a + b, 0),
	);
});

test("resize is bilinear with pixel centres at .5", () => {
	const ramp = uint8([1, 2, 3], Uint8Array.from([0, 0, 0, 100, 100, 100]));
	expect(
		[...transforms.resize(ramp, 1, 4).data].filter((_, i) => i % 3 === 0),
	).toEqual([0, 25, 75, 100]);
	expect(transforms.resize(noise(6, 6, 5), 4, 9).shape).toEqual([4, 9, 3]);
});
