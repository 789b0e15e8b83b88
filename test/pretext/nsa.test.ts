import { expect, test } from "vitest";
import { createPretext } from "../../src/pretext/index.ts";
import { Random } from "../../src/random.ts";
import { difference, disc, meanChange, noise, plain } from "./pictures.ts";

const still = { jitter: 0, rotation: 0 };

test("one patch: sides within clip(.03 + Gamma(2, .05), .05, .2) x 2 x (.7 to 1.3), mean change above 1 level", () => {
	const pretext = createPretext({
		name: "nsa",
		options: { ...still, patches: 1 },
	});
	const [image, other] = [noise(100, 150, 1), noise(100, 150, 2)];
	for (let i = 0; i < 200; i++) {
		const { height, width } = difference(
			image,
			pretext.augment(image, new Random(i), other)[1] as typeof image,
		);
		// + 2: the ring of the patch keeps the image's values; less than 2 x .05 only where the border cut the source
		expect(height + 2).toBeLessThanOrEqual(0.4 * 1.3 * 100);
		expect(width + 2).toBeLessThanOrEqual(0.4 * 1.3 * 150);
		expect(height).toBeGreaterThanOrEqual(1);
	}
});

test("the coin: at most `patches` of them, and on average more change with more patches", () => {
	const [image, other] = [disc(64, 64, 1), disc(64, 64, 2)];
	const mean = (patches: number) => {
		const pretext = createPretext({
			name: "nsa",
			options: { ...still, patches },
		});
		let sum = 0;
		for (let i = 0; i < 200; i++)
			sum += meanChange(
				image,
				pretext.augment(image, new Random(i), other)[1] as typeof image,
			);
		return sum / 200;
	};
	const ratio = mean(3) / mean(1); // 1 + 2 · ½, less the overlap
	expect(ratio).toBeGreaterThan(1.5);
	expect(ratio).toBeLessThan(2.3);
});

test("every anomaly is one: even where most places are background the change is visible", () => {
	const pretext = createPretext({
		name: "nsa",
		options: { ...still, patches: 1 },
	});
	const [image, other] = [disc(64, 64, 3), disc(64, 64, 4)];
	for (let i = 0; i < 100; i++)
		expect(
			difference(
				image,
				pretext.augment(image, new Random(i), other)[1] as typeof image,
			).pixels,
		).toBeGreaterThan(0);
});

test("with a known background every patch meets the part", () => {
	const pretext = createPretext({
		name: "nsa",
		options: { ...still, patches: 1, background: { grey: 230, tolerance: 10 } },
	});
	const [image, other] = [disc(64, 64, 5), disc(64, 64, 6)];
	for (let i = 0; i < 50; i++) {
		const anomalous = pretext.augment(
			image,
			new Random(i),
			other,
		)[1] as typeof image;
		let onPart = 0;
		for (let p = 0; p < image.data.length; p += 3)
			if (
				image.data[p] !== 230 &&
				[0, 1, 2].some((c) => image.data[p + c] !== anomalous.data[p + c])
			)
				onPart++;
		expect(onPart).toBeGreaterThan(0);
	}
});

test("blank images are an error that says so", () => {
	const pretext = createPretext({ name: "nsa" });
	expect(() =>
		pretext.augment(plain(32, 32, 9), new Random(1), plain(32, 32, 200)),
	).toThrow(/blank images/);
	expect(() =>
		pretext.augment(plain(32, 32, 9), new Random(1), plain(32, 40, 200)),
	).toThrow(/\[32, 32, 3\] x \[32, 40, 3\]/);
});
