import { describe, expect, test } from "vitest";
import { drawPatchSize } from "../../src/pretext/cutpaste.ts";
import { createPretext } from "../../src/pretext/index.ts";
import { Random } from "../../src/random.ts";
import { difference, noise, sameBytes } from "./pictures.ts";

describe("patch size", () => {
	const draws = (height: number, width: number) =>
		Array.from({ length: 4000 }, (_, i) =>
			drawPatchSize(new Random("size", i), height, width),
		);

	test.each([
		[224, 224],
		[128, 512],
	])(
		"image of %i x %i: area .02-.15 of it, aspect within [1/10, 10]",
		(height, width) => {
			for (const [h, w] of draws(height, width)) {
				expect(h).toBeLessThanOrEqual(height);
				expect(w).toBeLessThanOrEqual(width);
				expect(
					((h + 0.5) * (w + 0.5)) / (height * width),
				).toBeGreaterThanOrEqual(0.02);
				expect(((h - 0.5) * (w - 0.5)) / (height * width)).toBeLessThanOrEqual(
					0.15,
				);
				expect((w + 0.5) / (h - 0.5)).toBeGreaterThanOrEqual(0.1);
				expect((w - 0.5) / (h + 0.5)).toBeLessThanOrEqual(10);
			}
		},
	);
	test("area is uniform, log aspect symmetric with the variance of U(log b, -log b), b ~ U(.1, 1)", () => {
		const sizes = draws(2000, 2000); // large: rounding to pixels does not matter
		const mean = (xs: number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;
		expect(mean(sizes.map(([h, w]) => (h * w) / 4e6))).toBeCloseTo(0.085, 2);
		const logs = sizes.map(([h, w]) => Math.log(w / h));
		expect(Math.abs(mean(logs))).toBeLessThan(0.05);
		// E[log² b] / 3, with E[log² b] = (2 - .1 (log² .1 - 2 log .1 + 2)) / .9; the cut at the image's edge takes off a little
		const variance =
			(2 - 0.1 * (Math.log(0.1) ** 2 - 2 * Math.log(0.1) + 2)) / 0.9 / 3;
		expect(Math.abs(mean(logs.map((x) => x * x)) - variance)).toBeLessThan(
			0.02,
		);
	});
	test("fits even a very thin image", () => {
		for (let i = 0; i < 200; i++) {
			const [h, w] = drawPatchSize(new Random(i), 4, 900);
			expect(h >= 1 && h <= 4 && w >= 1 && w <= 900).toBe(true);
		}
	});
});

test("without jitter and rotation CutPaste moves one rectangle of the image itself", () => {
	const pretext = createPretext({
		name: "cutpaste",
		options: { jitter: 0, patchJitter: 0, rotation: 0 },
	});
	const image = noise(64, 80, 1);
	for (let i = 0; i < 50; i++) {
		const [normal, anomalous] = pretext.augment(image, new Random(i), image);
		expect(sameBytes(normal as typeof image, image)).toBe(true);
		const { height, width, pixels } = difference(
			image,
			anomalous as typeof image,
		);
		expect(pixels).toBeGreaterThan(0.98 * height * width); // all of the box, but for chance
		expect((height * width) / (64 * 80)).toBeGreaterThan(0.015);
		expect((height * width) / (64 * 80)).toBeLessThan(0.17);
	}
});

test("scars have the paper's size, scaled with the shorter side", () => {
	const pretext = createPretext({
		name: "scar",
		options: { jitter: 0, rotation: 0 },
	});
	const image = noise(256, 400, 2);
	const areas = Array.from({ length: 300 }, (_, i) => {
		const { height, width, pixels } = difference(
			image,
			pretext.augment(image, new Random(i), image)[1] as typeof image,
		);
		expect(Math.max(height, width)).toBeLessThanOrEqual(
			Math.ceil(Math.hypot(16, 25)),
		);
		return pixels;
	});
	const mean = areas.reduce((a, b) => a + b, 0) / areas.length;
	expect(mean).toBeGreaterThan(9 * 17.5 * 0.9);
	expect(mean).toBeLessThan(9 * 17.5 * 1.1);
});

test("cutpaste and threeWay share the first anomaly's draws", () => {
	const options = { rotation: 0 };
	const image = noise(48, 48, 3);
	const two = createPretext({ name: "cutpaste", options }).augment(
		image,
		new Random(5),
		image,
	);
	const three = createPretext({ name: "threeWay", options }).augment(
		image,
		new Random(5),
		image,
	);
	expect(three[0]?.data).toEqual(two[0]?.data);
	expect(three[1]?.data).toEqual(two[1]?.data);
});
