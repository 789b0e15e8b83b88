/** Distances to the nearest centre against plain loops in float64. */
import { afterAll, describe, expect, it } from "vitest";
import { float32, type Tensor } from "../../src/engine/tensor.ts";
import { EXCLUDED } from "../../src/memory/constraints.ts";
import { Centres, Nearest } from "../../src/memory/nearest.ts";
import { Random } from "../../src/random.ts";
import { directions, unit } from "./synthetic.ts";

const d = 48;
const random = new Random("nearest.test");
const patches = directions(30, d, random);
const rows = directions(70, d, random);
const centres = new Centres(rows);
const nearest = new Nearest(1, 1);
const two = new Nearest(1, 2);
afterAll(async () => {
	await nearest.release();
	await two.release();
});

/** 1 − the largest x·c (or the mean of the `count` largest) over the centres outside the range, by two loops. */
function plain(
	x: Tensor,
	c: Tensor,
	[from, to]: readonly [number, number] = [0, 0],
	count = 1,
): number[] {
	const [n, m] = [x.shape[0] as number, c.shape[0] as number];
	return Array.from({ length: n }, (_, i) => {
		const found: number[] = [];
		for (let j = 0; j < m; j++) {
			if (j >= from && j < to) continue;
			let dot = 0;
			for (let k = 0; k < d; k++)
				dot += (x.data[i * d + k] as number) * (c.data[j * d + k] as number);
			found.push(dot);
		}
		const most = found.sort((a, b) => b - a).slice(0, count);
		return most.length === 0
			? 2 // no centre
			: 1 - most.reduce((a, b) => a + b, 0) / most.length;
	});
}
/** Sums of 48 products in float32, all below 1. */
function expectClose(found: Float32Array, expected: readonly number[]) {
	expect(found.length).toBe(expected.length);
	for (const [i, value] of expected.entries())
		expect(
			Math.abs((found[i] as number) - Math.max(0, value)),
			`patch ${i}`,
		).toBeLessThan(5e-7);
}

it.each([
	[nearest, 1],
	[two, 2],
] as const)(
	"finds the nearest of many, of patches close to one of them",
	async (search, count) => {
		const many = directions(5000, d, random);
		const close = float32(
			[40, d],
			many.data.slice(0, 40 * d).map((x) => x + 0.03 * random.normal()),
		);
		expectClose(
			await search.distances(unit(close), new Centres(many)),
			plain(unit(close), many, [0, 0], count),
		);
	},
);

it("what is excluded stays so in wide embeddings, however flat their rows", async () => {
	const wide = 1024;
	const flat = float32(
		[3, wide],
		Float32Array.from(
			{ length: 3 * wide },
			(_, i) => (i % 3 === 0 ? 1 : -1) / Math.sqrt(wide),
		),
	);
	const same = new Centres(flat);
	expect(await two.distances(flat, same, { except: [0, 3] })).toEqual(
		Float32Array.of(2, 2, 2),
	);
	const window = float32([3, 3]);
	window.data.fill(EXCLUDED);
	expect(await two.distances(flat, same, { window })).toEqual(
		Float32Array.of(2, 2, 2),
	);
});

describe("the mean of two", () => {
	it.each([
		[0, 0],
		[13, 29],
		[1, 70], // one is left
		[0, 70],
	] as const)("without the centres %d to %d", async (from, to) => {
		const except = [from, to] as const;
		expectClose(
			await two.distances(patches, centres, { except }),
			plain(patches, rows, except, 2),
		);
	});

	it("of a bank of one", async () => {
		const one = float32([1, d], rows.data.slice(0, d));
		expectClose(
			await two.distances(patches, new Centres(one)),
			plain(patches, one),
		);
	});
});

describe("distances", () => {
	it("to the nearest of all centres", async () => {
		expectClose(
			await nearest.distances(patches, centres),
			plain(patches, rows),
		);
	});

	it.each([
		[0, 1],
		[0, 40],
		[13, 29],
		[69, 70],
		[30, 30],
	] as const)("without the centres %d to %d", async (from, to) => {
		const found = await nearest.distances(patches, centres, {
			except: [from, to],
		});
		expectClose(found, plain(patches, rows, [from, to]));
	});

	it("an exclusion is forgotten by the next call", async () => {
		await nearest.distances(patches, centres, {
			except: [0, 69],
		});
		expectClose(
			await nearest.distances(patches, centres),
			plain(patches, rows),
		);
	});

	it("are 2 where every centre is excluded, and for opposite rows", async () => {
		expect(
			await nearest.distances(patches, centres, {
				except: [0, 70],
			}),
		).toEqual(new Float32Array(30).fill(2));
		const opposite = float32(
			patches.shape,
			patches.data.map((x) => -x),
		);
		for (let i = 0; i < 30; i++) {
			const row = (t: Tensor) =>
				float32([1, d], t.data.slice(i * d, (i + 1) * d));
			const [far] = await nearest.distances(
				row(opposite),
				new Centres(row(patches)),
			);
			expect(far).toBeGreaterThan(2 - 1e-6);
			expect(far).toBeLessThanOrEqual(2);
		}
	});

	it("are never below 0, and 0 for a patch that is a centre, but for rounding", async () => {
		const found = await nearest.distances(patches, new Centres(patches));
		for (const value of found) {
			expect(value).toBeGreaterThanOrEqual(0);
			expect(value).toBeLessThan(1e-6);
		}
	});

	it("of a patch of zeros are 1", async () => {
		expect(await nearest.distances(float32([2, d]), centres)).toEqual(
			Float32Array.of(1, 1),
		);
	});
});

it("banks of one size share a graph without sharing numbers; it works again after its release", async () => {
	const other = directions(70, d, random);
	const first = await nearest.distances(patches, centres);
	expectClose(
		await nearest.distances(patches, new Centres(other)),
		plain(patches, other),
	);
	expect(await nearest.distances(patches, centres)).toEqual(first);
	await nearest.release();
	expect(await nearest.distances(patches, centres)).toEqual(first);
});

it("a patch's distance does not depend on what is asked beside it", async () => {
	const all = await nearest.distances(patches, centres);
	for (let i = 0; i < 30; i += 7) {
		const one = float32([1, d], patches.data.slice(i * d, (i + 1) * d));
		const [alone] = await nearest.distances(one, centres);
		expect(alone).toBe(all[i]);
	}
});
