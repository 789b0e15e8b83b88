/** Maps from patches to pixels, against sums over two dimensions; which patches a mask leaves. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { uint8 } from "../src/engine/tensor.ts";
import { enlarge, patchesOf } from "../src/maps.ts";
import { Random } from "../src/random.ts";

/** By definition: a Gaussian of .3 patches over the linearly interpolated grid, the border held, as a sum over eighths of a patch. */
function byDefinition(
	map: Float32Array,
	[gh, gw]: readonly [number, number],
	[h, w]: readonly [number, number],
	[y, x]: readonly [number, number],
): number {
	const linear = (v: number, u: number): number => {
		const inside = (t: number, n: number) => Math.min(n - 1, Math.max(0, t));
		const [a, b] = [inside(v, gh), inside(u, gw)];
		const [top, left] = [Math.floor(a), Math.floor(b)];
		const [p, q] = [a - top, b - left];
		const at = (r: number, c: number) =>
			map[Math.min(gh - 1, r) * gw + Math.min(gw - 1, c)] as number;
		return (
			(1 - p) * ((1 - q) * at(top, left) + q * at(top, left + 1)) +
			p * ((1 - q) * at(top + 1, left) + q * at(top + 1, left + 1))
		);
	};
	const [v, u] = [((y + 0.5) * gh) / h - 0.5, ((x + 0.5) * gw) / w - 0.5];
	let sum = 0;
	let total = 0;
	for (let i = -8; i <= 8; i++)
		for (let j = -8; j <= 8; j++) {
			const weight = Math.exp(-(i * i + j * j) / 64 / (2 * 0.09));
			sum += weight * linear(v + i / 8, u + j / 8);
			total += weight;
		}
	return sum / total;
}

describe("enlarge", () => {
	it("is a Gaussian over linear interpolation", () => {
		const grid = [3, 5] as const;
		const size = [20, 31] as const;
		const random = new Random("maps");
		const map = Float32Array.from({ length: 15 }, () => random.normal());
		const { shape, data } = enlarge(map, grid, size);
		expect(shape).toEqual(size);
		for (let y = 0; y < 20; y++)
			for (let x = 0; x < 31; x++)
				expect(data[y * 31 + x]).toBeCloseTo(
					byDefinition(map, grid, size, [y, x]),
					5,
				);
	});

	it("keeps a constant, and never leaves the range of its patches", () => {
		fc.assert(
			fc.property(
				fc.integer({ min: 1, max: 6 }),
				fc.integer({ min: 1, max: 6 }),
				fc.integer({ min: 1, max: 40 }),
				fc.integer({ min: 1, max: 40 }),
				fc.integer(),
				(gh, gw, h, w, seed) => {
					const random = new Random("range", seed);
					const map = Float32Array.from({ length: gh * gw }, () =>
						random.normal(),
					);
					const { data } = enlarge(map, [gh, gw], [h, w]);
					expect(Math.min(...data)).toBeGreaterThan(Math.min(...map) - 1e-5);
					expect(Math.max(...data)).toBeLessThan(Math.max(...map) + 1e-5);
				},
			),
			{ numRuns: 50 },
		);
	});

	it("puts a patch where it is", () => {
		const map = new Float32Array(16);
		map[4 * 2 + 1] = 1; // third row, second column
		const { data } = enlarge(map, [4, 4], [80, 120]);
		const at = data.indexOf(Math.max(...data));
		expect(Math.abs(Math.floor(at / 120) - 49.5)).toBeLessThan(3);
		expect(Math.abs((at % 120) - 44.5)).toBeLessThan(3);
	});
});

it("without smoothing, a lone patch keeps its value, so that it is outlined where its image is an alarm", () => {
	const map = new Float32Array(256);
	map[16 * 5 + 9] = 2.3;
	const highest = (smoothing?: number) =>
		Math.max(...enlarge(map, [16, 16], [224, 224], smoothing).data);
	expect(highest(0)).toBeGreaterThan(2);
	expect(highest()).toBeLessThan(2);
});

describe("patchesOf", () => {
	it("takes patches that are white by half, whatever the mask's size", () => {
		const mask = uint8([4, 8]); // 2 x 2 patches of 2 x 4 pixels
		mask.data.set([255, 255, 255, 255], 0); // half of the first
		mask.data.set([255, 255, 255], 4); // less than half of the second
		mask.data.set([128, 128, 128, 128, 255, 255, 255, 255], 16); // half of both below
		mask.data.set([127, 127, 127, 127], 12); // dark is not white
		expect([...patchesOf(mask, [2, 2])]).toEqual([1, 0, 1, 1]);
	});
	it("of a mask smaller than the grid, the nearest pixel", () => {
		expect([
			...patchesOf(uint8([1, 2], Uint8Array.of(0, 200)), [2, 4]),
		]).toEqual([0, 0, 1, 1, 0, 0, 1, 1]);
	});
});
