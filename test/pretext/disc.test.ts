import { describe, expect, it } from "vitest";
import type { Image } from "../../src/data/task.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { type Pasted, pasteDisc } from "../../src/pretext/disc.ts";
import { Random } from "../../src/random.ts";
import { noise, plain } from "./pictures.ts";

const paste = (
	image: Image,
	options: Partial<Parameters<typeof pasteDisc>[2]>,
) =>
	pasteDisc(image, new Random("disc test"), {
		diameter: 10,
		contrast: 40,
		roi: null,
		...options,
	});

/** How far every pixel changed, as a share of the contrast: [y, x, share]. */
const changed = (before: Image, { image, contrast }: Pasted) => {
	const width = before.shape[1] as number;
	return Array.from({ length: before.data.length / 3 }, (_, i) => ({
		y: Math.floor(i / width),
		x: i % width,
		share:
			Math.abs((image.data[3 * i] as number) - (before.data[3 * i] as number)) /
			contrast,
	})).filter(({ share }) => share > 0);
};

describe("a pasted disc", () => {
	it.each([2, 5, 10, 23.5, 40])(
		"of %d px covers its area, round its centre",
		(diameter) => {
			const before = plain(60, 80, 120);
			const pasted = paste(before, { diameter }) as Pasted;
			const pixels = changed(before, pasted);
			const area = pixels.reduce((sum, { share }) => sum + share, 0);
			expect(area / ((Math.PI * diameter ** 2) / 4)).toBeCloseTo(1, 1);
			const [cy, cx] = pasted.centre;
			for (const { y, x } of pixels)
				expect(Math.hypot(y - cy, x - cx)).toBeLessThan(diameter / 2 + 0.5);
			expect(pasted.contrast).toBeCloseTo(40, 0);
		},
	);

	it("has the contrast asked for on any texture that leaves room, and says what it reached elsewhere", () => {
		const soft = noise(64, 64, 1);
		soft.data.forEach((v, i) => {
			soft.data[i] = 100 + v / 8;
		});
		expect((paste(soft, { contrast: 25 }) as Pasted).contrast).toBeCloseTo(
			25,
			0,
		);
		expect((paste(plain(32, 32, 5), {}) as Pasted).contrast).toBeCloseTo(40, 0); // only lighter
		expect((paste(plain(32, 32, 250), {}) as Pasted).contrast).toBeCloseTo(
			40,
			0,
		); // only darker
		expect(
			(paste(plain(32, 32, 100), { contrast: 200 }) as Pasted).contrast,
		).toBeCloseTo(155, 0);
	});

	it("leaves the picture it was given as it is, and is the same for the same generator", () => {
		const image = noise(40, 40, 2);
		const before = Uint8Array.from(image.data);
		const one = paste(image, {});
		expect(image.data).toEqual(before);
		expect(paste(image, {})).toEqual(one);
	});

	it("lies where the region is white, whatever the region's size", () => {
		const roi = uint8([4, 8]);
		for (let y = 0; y < 4; y++)
			for (let x = 4; x < 8; x++) roi.data[y * 8 + x] = 255;
		const before = plain(64, 64, 120);
		for (let seed = 0; seed < 20; seed++) {
			const pasted = pasteDisc(before, new Random(seed), {
				diameter: 12,
				contrast: 40,
				roi,
			}) as Pasted;
			for (const { x } of changed(before, pasted))
				expect(x).toBeGreaterThanOrEqual(32);
		}
	});

	it("has no place in a picture that is smaller, or in a region without white", () => {
		expect(paste(plain(9, 40, 120), {})).toBeNull();
		expect(paste(plain(40, 40, 120), { roi: uint8([2, 2]) })).toBeNull();
	});
});
