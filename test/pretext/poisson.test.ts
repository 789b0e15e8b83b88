import { expect, test } from "vitest";
import { blendSeamlessly, fillHarmonic } from "../../src/pretext/poisson.ts";
import { Random } from "../../src/random.ts";
import { difference, noise, plain } from "./pictures.ts";

test.each([
	[3, 3],
	[4, 9],
	[9, 4],
	[30, 41],
	[91, 90],
])(
	"fillHarmonic solves the 5-point equation on %i x %i and keeps the ring",
	(height, width) => {
		const random = new Random("ring", height, width);
		const row = width * 3;
		const isRing = (p: number) =>
			p < row || p >= (height - 1) * row || p % row < 3 || p % row >= row - 3;
		const u = Float64Array.from({ length: height * row }, (_, p) =>
			isRing(p) ? random.uniform(-255, 255) : 0,
		);
		const ring = u.filter((_, p) => isRing(p));
		fillHarmonic(u, height, width);
		expect(u.filter((_, p) => isRing(p))).toEqual(ring);
		let residual = 0;
		for (let p = 0; p < u.length; p++) {
			if (isRing(p)) continue;
			const at = (q: number) => u[q] as number;
			residual = Math.max(
				residual,
				Math.abs(4 * at(p) - at(p - 3) - at(p + 3) - at(p - row) - at(p + row)),
			);
		}
		expect(residual).toBeLessThan(1e-10); // values up to 255
	},
);

test("a patch that differs from its place by a constant vanishes: only gradients count", () => {
	const target = noise(20, 24, 1);
	for (let i = 0; i < target.data.length; i++)
		target.data[i] = 40 + ((target.data[i] as number) >> 1);
	const before = Uint8Array.from(target.data);
	const [top, left, height, width] = [4, 5, 11, 9];
	const patch = plain(height, width, 0);
	for (let y = 0; y < height; y++)
		for (let x = 0; x < width * 3; x++)
			patch.data[y * width * 3 + x] =
				(before[(top + y) * 72 + left * 3 + x] as number) + 30;
	expect(blendSeamlessly(target, patch, top, left)).toBe(0);
	expect(target.data).toEqual(before);
});

test("changes the inside of the patch alone and reports the mean change over the patch", () => {
	const target = noise(40, 40, 2);
	const before = { ...target, data: Uint8Array.from(target.data) };
	const mean = blendSeamlessly(target, noise(12, 16, 3), 7, 21);
	const { height, width } = difference(before, target);
	expect([height, width]).toEqual([10, 14]);
	const sum = target.data.reduce(
		(s, x, i) => s + Math.abs(x - (before.data[i] as number)),
		0,
	);
	expect(mean).toBeCloseTo(sum / (12 * 16 * 3), 10);
});

test("a patch without an inside changes nothing", () => {
	const target = noise(9, 9, 4);
	const before = Uint8Array.from(target.data);
	expect(blendSeamlessly(target, plain(2, 7, 0), 1, 1)).toBe(0);
	expect(target.data).toEqual(before);
});
