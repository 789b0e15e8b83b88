import { describe, expect, test } from "vitest";
import { Random } from "../../src/random.ts";
import { project } from "../../src/pictures/projection.ts";

const drawn = (n: number, d: number, key: string) => {
	const random = new Random(key);
	return Float64Array.from(
		{ length: n * d },
		(_, i) => (d - (i % d)) * random.normal() + 3 * (i % d),
	);
};
const closeTo = (a: Float64Array, b: Float64Array, tolerance: number) => {
	expect(a).toHaveLength(b.length);
	a.forEach((value, i) => {
		expect(Math.abs(value - (b[i] as number))).toBeLessThan(tolerance);
	});
};

describe("project", () => {
	test("in two dimensions: a turn by half the arctangent of 2 s_xy / (s_xx − s_yy)", () => {
		const n = 40;
		const random = new Random("turn");
		const rows = Float64Array.from({ length: 2 * n }, () => 0);
		for (let i = 0; i < n; i++) {
			const [u, v] = [3 * random.normal(), random.normal()];
			rows[2 * i] = u * Math.cos(0.7) - v * Math.sin(0.7) + 5;
			rows[2 * i + 1] = u * Math.sin(0.7) + v * Math.cos(0.7) - 2;
		}
		const mean = [0, 1].map(
			(k) => rows.reduce((sum, x, i) => sum + (i % 2 === k ? x : 0), 0) / n,
		);
		let [xx, xy, yy] = [0, 0, 0];
		for (let i = 0; i < n; i++) {
			const x = (rows[2 * i] as number) - (mean[0] as number);
			const y = (rows[2 * i + 1] as number) - (mean[1] as number);
			xx += x * x;
			xy += x * y;
			yy += y * y;
		}
		const angle = 0.5 * Math.atan2(2 * xy, xx - yy);
		const { points, explained } = project(rows, n, 2);
		const along = Float64Array.from({ length: n }, (_, i) => {
			const x = (rows[2 * i] as number) - (mean[0] as number);
			const y = (rows[2 * i + 1] as number) - (mean[1] as number);
			return x * Math.cos(angle) + y * Math.sin(angle);
		});
		const found = Float64Array.from(
			{ length: n },
			(_, i) => points[2 * i] as number,
		);
		const sign = Math.sign((along[0] as number) * (found[0] as number));
		closeTo(
			found,
			along.map((x) => sign * x),
			1e-9,
		);
		expect(explained[0] + explained[1]).toBeCloseTo(1, 12);
		const inner = along.reduce((sum, x) => sum + x * x, 0) / (xx + yy);
		expect(explained[0]).toBeCloseTo(inner, 12);
	});
	test("by XᵀX and by XXᵀ alike: columns of zeros change nothing", () => {
		const [n, d] = [12, 5];
		const rows = drawn(n, d, "rows");
		const wide = new Float64Array(n * 30);
		for (let i = 0; i < n; i++)
			wide.set(rows.subarray(i * d, (i + 1) * d), i * 30);
		const [tall, broad] = [project(rows, n, d), project(wide, n, 30)];
		closeTo(tall.points, broad.points, 1e-9);
		expect(tall.explained[0]).toBeCloseTo(broad.explained[0], 12);
		expect(tall.explained[1]).toBeCloseTo(broad.explained[1], 12);
	});
	test("centred, uncorrelated, the first component the wider; no direction shows more", () => {
		const [n, d] = [50, 6];
		const rows = drawn(n, d, "more");
		const { points, explained } = project(rows, n, d);
		let [mean0, mean1, product] = [0, 0, 0];
		for (let i = 0; i < n; i++) {
			mean0 += points[2 * i] as number;
			mean1 += points[2 * i + 1] as number;
			product += (points[2 * i] as number) * (points[2 * i + 1] as number);
		}
		for (const value of [mean0, mean1, product])
			expect(Math.abs(value)).toBeLessThan(1e-8);
		expect(explained[0]).toBeGreaterThanOrEqual(explained[1]);
		const means = Array.from({ length: d }, (_, j) => {
			let sum = 0;
			for (let i = 0; i < n; i++) sum += rows[i * d + j] as number;
			return sum / n;
		});
		const total = rows.reduce(
			(sum, x, i) => sum + (x - (means[i % d] as number)) ** 2,
			0,
		);
		const random = new Random("directions");
		for (let trial = 0; trial < 200; trial++) {
			const way = Array.from({ length: d }, () => random.normal());
			const length = Math.hypot(...way);
			let shown = 0;
			for (let i = 0; i < n; i++) {
				let dot = 0;
				for (let j = 0; j < d; j++)
					dot +=
						((rows[i * d + j] as number) - (means[j] as number)) *
						((way[j] as number) / length);
				shown += dot * dot;
			}
			expect(shown / total).toBeLessThanOrEqual(explained[0] + 1e-12);
		}
	});
	test("little or nothing to project, and a wrong size", () => {
		expect(project(new Float64Array(0), 0, 3).points).toHaveLength(0);
		expect(project(Float64Array.of(1, 2, 3), 1, 3)).toEqual({
			points: new Float64Array(2),
			explained: [0, 0],
		});
		expect(project(Float64Array.of(1, 3), 2, 1).explained).toEqual([1, 0]);
		expect(() => project(new Float64Array(5), 2, 3)).toThrow(
			"project: shapes do not fit: [5] x [2, 3].",
		);
	});
});
