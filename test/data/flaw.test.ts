import { expect, it } from "vitest";
import { flawOf } from "../../src/data/flaw.ts";
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
