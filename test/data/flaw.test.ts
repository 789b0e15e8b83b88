import { describe, expect, it } from "vitest";
import { detailOf, flawOf, isBlurred } from "../../src/data/flaw.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { Random } from "../../src/random.ts";

const picture = (grey: (i: number, random: Random) => number) => {
	const random = new Random("flaw");
	const image = uint8([20, 20, 3]);
	for (let i = 0; i < 400; i++)
		image.data.fill(grey(i, random), 3 * i, 3 * i + 3);
	return image;
};

it.each([
	["black", () => 0, "dark"],
	[
		"the noise of a sensor in the dark",
		(_: number, r: Random) => r.uniform(0, 14),
		"dark",
	],
	["a dim picture with a part", (i: number) => (i % 20 < 3 ? 40 : 4), null],
	["white", () => 255, "empty"],
	[
		"grey with a little noise",
		(_: number, r: Random) => 120 + r.uniform(0, 4),
		"empty",
	],
	["a plain part with a small spot", (i: number) => (i < 4 ? 20 : 120), null],
] as const)("%s: %s", (_, grey, expected) => {
	expect(flawOf(picture(grey))).toBe(expected);
});

describe("detail", () => {
	const side = 64;
	/** Squares with `soft` pixels between dark and bright, a little noise on top. */
	const squares = (soft: number, contrast = 100) => {
		const random = new Random("detail");
		const image = uint8([side, side, 3]);
		const edge = (x: number) =>
			Math.min(1, Math.max(-1, Math.sin(x / 4) / Math.max(0.01, soft / 4)));
		for (let i = 0; i < side * side; i++) {
			const value = edge(i % side) * edge(Math.floor(i / side));
			image.data.fill(
				128 + contrast * value + random.normal(),
				3 * i,
				3 * i + 3,
			);
		}
		return image;
	};

	it("is that of the edges, whatever the contrast, and goes with the focus", () => {
		const sharp = detailOf(squares(0));
		expect(Math.abs(detailOf(squares(0, 30)) - sharp)).toBeLessThan(0.2);
		expect(isBlurred(detailOf(squares(0.5)), sharp)).toBe(false);
		expect(isBlurred(detailOf(squares(4)), sharp)).toBe(true);
		expect(isBlurred(detailOf(squares(4)), detailOf(squares(4)))).toBe(false); // of a smooth part
	});

	it("of a plain picture is no less", () => {
		const plain = picture((_, r) => 120 + r.uniform(0, 4));
		expect(isBlurred(detailOf(plain), detailOf(squares(0)))).toBe(false);
		expect(detailOf(picture(() => 7))).toBe(0);
		expect(detailOf(uint8([1, 1, 3]))).toBe(0);
	});
});
