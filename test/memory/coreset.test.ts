/** Greedy k-centre against its definition, in float64 on the patches themselves, which lie as the projection cannot mistake. */
import { describe, expect, it } from "vitest";
import { float32, type Tensor } from "../../src/engine/tensor.ts";
import { kCentre } from "../../src/memory/coreset.ts";
import { Random } from "../../src/random.ts";
import { directions } from "./synthetic.ts";

const d = 32;
const random = new Random("coreset.test");
const choose = (
	rows: readonly Tensor[],
	wanted: number,
	{ seed = 1, threads = 1 } = {},
) => kCentre(rows, wanted, new Random(seed), threads);

/** All rows as vectors of float64. */
const vectors = (rows: readonly Tensor[]): Float64Array[] =>
	rows.flatMap(({ shape, data }) =>
		Array.from({ length: shape[0] as number }, (_, i) =>
			Float64Array.from(data.subarray(i * d, (i + 1) * d)),
		),
	);
const distance = (a: Float64Array, b: Float64Array): number =>
	Math.sqrt(a.reduce((sum, x, k) => sum + (x - (b[k] as number)) ** 2, 0));
const meanOf = (points: readonly Float64Array[]): Float64Array =>
	(points[0] as Float64Array).map(
		(_, k) =>
			points.reduce((sum, p) => sum + (p[k] as number), 0) / points.length,
	);
/** Largest distance of a point to its nearest centre. */
const radius = (
	points: readonly Float64Array[],
	centres: readonly number[],
): number =>
	Math.max(
		...points.map((p) =>
			Math.min(...centres.map((c) => distance(p, points[c] as Float64Array))),
		),
	);
/** The definition: first what is nearest the mean, then always what is farthest from all so far. */
function plain(points: readonly Float64Array[], wanted: number): number[] {
	const mean = meanOf(points);
	const toMean = points.map((p) => distance(p, mean));
	const chosen = [toMean.indexOf(Math.min(...toMean))];
	while (chosen.length < wanted) {
		const far = points.map((p) =>
			Math.min(...chosen.map((c) => distance(p, points[c] as Float64Array))),
		);
		chosen.push(far.indexOf(Math.max(...far)));
	}
	return chosen;
}
/** Sets of k among n. */
function* subsets(n: number, k: number, from = 0): Generator<number[]> {
	if (k === 0) yield [];
	else
		for (let i = from; i <= n - k; i++)
			for (const rest of subsets(n, k - 1, i + 1)) yield [i, ...rest];
}

/** Points of one line: any projection scales all their distances alike. */
const onALine = (positions: readonly number[]): Tensor => {
	const [direction] = vectors([directions(1, d, new Random("line"))]);
	return float32(
		[positions.length, d],
		Float32Array.from(
			positions.flatMap((x) =>
				[...(direction as Float64Array)].map((u) => x * u),
			),
		),
	);
};

describe("the choice", () => {
	it("is the definition's, in its order, where the projection keeps all distances: points of a line", async () => {
		const positions = Array.from({ length: 40 }, () => random.uniform(-1, 1));
		const rows = [
			onALine(positions.slice(0, 7)),
			onALine(positions.slice(7, 30)),
			onALine(positions.slice(30)),
		];
		expect(await choose(rows, 12)).toEqual(plain(vectors(rows), 12));
	});

	it("starts nearest the mean and then takes one of each far group before a second of any", async () => {
		const groups = directions(6, d, new Random("groups"));
		// group 0 is the largest and near the mean; the others lie 10 away
		const sizes = [30, 4, 9, 1, 6, 2];
		const rows = sizes.map((n, g) =>
			float32(
				[n, d],
				Float32Array.from(
					{ length: n * d },
					(_, i) =>
						(g === 0 ? 0 : 10) * (groups.data[g * d + (i % d)] as number) +
						0.05 * random.normal(),
				),
			),
		);
		const groupOf = sizes.flatMap((n, g) => new Array<number>(n).fill(g));
		const chosen = (await choose(rows, 9)).map((i) => groupOf[i]);
		expect(chosen[0]).toBe(0);
		expect(chosen.slice(1, 6).toSorted()).toEqual([1, 2, 3, 4, 5]);
	});

	/** The projection to 64 bends a distance by a tenth, rarely by a third. */
	const bent = 1.3;

	it("covers: every point lies within twice the best possible radius, but for what the projection bends", async () => {
		let byChance = 0;
		for (let set = 0; set < 20; set++) {
			const r = new Random("tiny", set);
			const places = vectors([directions(3, d, r)]);
			const rows = [
				float32(
					[10, d],
					Float32Array.from(
						{ length: 10 * d },
						(_, i) =>
							(places[Math.floor(i / d) % 3]?.[i % d] as number) +
							0.05 * r.normal(),
					),
				),
			];
			const points = vectors(rows);
			for (const k of [2, 3, 4]) {
				const best = Math.min(
					...[...subsets(10, k)].map((centres) => radius(points, centres)),
				);
				const chosen = await choose(rows, k, { seed: set });
				expect(new Set(chosen).size).toBe(k);
				expect(radius(points, chosen)).toBeLessThanOrEqual(2 * bent * best);
				const drawn = r.permutation(10).slice(0, k);
				if (radius(points, drawn) > 2 * bent * best) byChance++;
			}
		}
		expect(byChance).toBeGreaterThan(15); // of 60: the bound says something
	});

	it("covers better than the same number drawn by chance", async () => {
		// nine of ten patches are alike
		const rows = Array.from({ length: 10 }, (_, image) =>
			float32(
				[40, d],
				Float32Array.from(
					{ length: 40 * d },
					(_, i) =>
						(i % d === 0 ? 1 : 0) +
						(i < 36 * d ? 0.02 : 0.3) * new Random(image, i).normal(),
				),
			),
		);
		const points = vectors(rows);
		const greedy = radius(points, await choose(rows, 40));
		const drawn = Array.from({ length: 10 }, (_, i) =>
			radius(points, new Random("drawn", i).permutation(400).slice(0, 40)),
		);
		expect(greedy).toBeLessThan(0.75 * Math.min(...drawn));
	});
});

describe("how many", () => {
	const rows = [directions(6, d, random), directions(5, d, random)];

	it.each([11, 12, 1000])("%d of 11: all, in order", async (wanted) => {
		expect(await choose(rows, wanted)).toEqual([
			0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
		]);
	});

	it.each([1, 2, 5, 10])("%d of 11: so many, all different", async (wanted) => {
		const chosen = await choose(rows, wanted);
		expect(chosen.length).toBe(wanted);
		expect(new Set(chosen).size).toBe(wanted);
		for (const i of chosen) expect(i).toBeLessThan(11);
	});

	it("fewer choices are the beginning of more", async () => {
		expect((await choose(rows, 10)).slice(0, 4)).toEqual(await choose(rows, 4));
	});

	it("what is there already is not taken again: one row many times gives one centre", async () => {
		const [row] = vectors([directions(1, d, random)]);
		const same = float32(
			[50, d],
			Float32Array.from({ length: 50 * d }, (_, i) => row?.[i % d] as number),
		);
		expect(await choose([same], 20)).toEqual([0]);
		expect(await choose([float32([50, d])], 20)).toEqual([0]);
	});

	it("every row several times: as many centres as there are different rows", async () => {
		for (let set = 0; set < 10; set++) {
			const different = directions(30, d, new Random("duplicates", set));
			const rows = Array.from({ length: 8 }, () => different);
			const chosen = await choose(rows, 100, { seed: set });
			expect(new Set(chosen.map((i) => i % 30)).size).toBe(30);
			expect(chosen.length).toBe(30);
		}
	});
});

describe("the same", () => {
	const rows = Array.from({ length: 5 }, () => directions(100, d, random));

	it("for the same seed, and with any number of threads", async () => {
		const chosen = await choose(rows, 60);
		expect(await choose(rows, 60)).toEqual(chosen);
		for (const threads of [2, 3])
			expect(await choose(rows, 60, { threads })).toEqual(chosen);
	});

	it("however the rows are dealt to images", async () => {
		const whole = float32(
			[500, d],
			Float32Array.from(rows.flatMap(({ data }) => [...data])),
		);
		expect(await choose([whole], 60)).toEqual(await choose(rows, 60));
	});

	it("where somebody follows; who throws ends it", async () => {
		const told: string[] = [];
		const chosen = await kCentre(rows, 200, new Random(1), 1, async (...at) => {
			told.push(at.join(" "));
		});
		expect(told).toEqual([64, 128, 192].map((n) => `${n} 200 centres`));
		expect(chosen).toEqual(await choose(rows, 200));
		const stopped = kCentre(rows, 200, new Random(1), 1, async () => {
			throw new Error("enough");
		});
		await expect(stopped).rejects.toThrow("enough");
	});

	it("rows stay as they were", async () => {
		const before = rows.map(({ data }) => data.slice());
		await choose(rows, 60);
		expect(rows.map(({ data }) => data)).toEqual(before);
	});
});
