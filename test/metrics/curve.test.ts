import { describe, expect, test } from "vitest";
import {
	area,
	type Curve,
	stepwisePrecision,
	sweep,
	thinned,
} from "../../src/metrics/curve.ts";
import { Tally } from "../../src/metrics/tally.ts";
import { Random } from "../../src/random.ts";

const ranked = (scores: readonly number[], weight = 1) => {
	const tally = new Tally();
	tally.add(Float32Array.from(scores), weight);
	return tally.ranked();
};

describe("a curve by hand", () => {
	// found 3, 2, 1; alarms 2 (a tie), 1, 0, 0: points (0, 1/3), (1/4, 2/3), (1/2, 1), (1, 1)
	const s = sweep(ranked([3, 2, 1]), [ranked([2, 0]), ranked([1, 0])]);
	test("sweep", () => {
		expect([...s.found]).toEqual([1, 2, 3, 3]);
		expect([...s.alarms]).toEqual([0, 1, 2, 4]);
	});
	test("area is cut at the limit, inside a line or at a point", () => {
		const to = (limit: number) => area(s, 3, limit) * limit;
		expect(to(0.25)).toBeCloseTo(1 / 8, 15);
		expect(to(1 / 8)).toBeCloseTo((1 / 8) * (5 / 12), 15); // mean height of 1/3 and 1/2
		expect(to(1)).toBeCloseTo(1 / 8 + 5 / 24 + 1 / 2, 15);
		expect(area(s, 6, 1)).toBeCloseTo(area(s, 3, 1) / 2, 15);
	});
	test("average precision", () => {
		expect(stepwisePrecision(s)).toBeCloseTo((1 + 2 / 3 + 3 / 5) / 3, 15);
	});
	test("thinned: all points of a short curve, the end interpolated", () => {
		expect(thinned(s, 3, 1)).toEqual([
			[0, 0],
			[0, 1 / 3],
			[1 / 4, 2 / 3],
			[1 / 2, 1],
			[1, 1],
		]);
		expect(thinned(s, 3, 0.125)).toEqual([
			[0, 0],
			[0, 1 / 3],
			[0.125, 0.5],
		]);
	});
});

test("a thinned curve of 200,000 points has about 200 and nearly the same area", () => {
	const random = new Random("curve");
	const draw = (shift: number) =>
		Array.from({ length: 100_000 }, () => random.normal() + shift);
	const s = sweep(ranked(draw(1)), [ranked(draw(0))]);
	for (const limit of [1, 0.3, 0.05]) {
		const points = thinned(s, 100_000, limit);
		expect(points.length).toBeGreaterThan(100);
		expect(points.length).toBeLessThanOrEqual(202);
		expect(points.at(-1)?.[0]).toBe(limit);
		expect(trapezium(points) / limit).toBeCloseTo(area(s, 100_000, limit), 3);
	}
});

const trapezium = (points: Curve): number =>
	points.slice(1).reduce((sum, [x, y], i) => {
		const [x0, y0] = points[i] as readonly [number, number];
		return sum + ((x - x0) * (y + y0)) / 2;
	}, 0);
