import { expect, it } from "vitest";
import { resample } from "../../src/data/resample.ts";

// Pillow 13: Image.fromarray(a).resize((W, H), Image.BICUBIC)
const source = Uint8Array.from({ length: 36 }, (_, i) => {
	const [x, y, c] = [Math.floor(i / 3) % 4, Math.floor(i / 12), i % 3];
	return (x * 37 + y * 91 + c * 50) % 256;
});
const enlarged = [
	0, 40, 90, 3, 53, 102, 27, 77, 127, 49, 99, 159, 70, 120, 190, 94, 144, 214,
	107, 157, 226, 27, 74, 136, 37, 91, 153, 61, 123, 176, 90, 146, 145, 116, 166,
	112, 141, 190, 135, 153, 203, 152, 88, 138, 188, 101, 151, 211, 125, 175, 233,
	147, 197, 119, 168, 218, 4, 192, 242, 26, 205, 255, 49, 151, 214, 85, 171,
	164, 102, 193, 80, 125, 127, 84, 93, 63, 115, 61, 82, 139, 84, 102, 152, 101,
	186, 255, 11, 210, 165, 23, 231, 10, 47, 107, 2, 79, 0, 41, 110, 4, 65, 135,
	28, 78, 147,
];
const reduced = [
	35, 88, 151, 89, 145, 145, 143, 192, 137, 171, 170, 100, 127, 87, 93, 82, 141,
	86,
];

it.each([
	[[5, 7], enlarged],
	[[2, 3], reduced],
] as const)("equals Pillow to %o", (size, expected) => {
	const got = resample(source, [3, 4], size);
	const worst = Math.max(
		...expected.map((v, i) => Math.abs(v - (got[i] as number))),
	);
	expect(worst).toBeLessThanOrEqual(1);
});

it("the same size changes nothing", () => {
	expect(resample(source, [3, 4], [3, 4])).toEqual(source);
});
