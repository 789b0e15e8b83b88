import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
	type Calibration,
	calibrate,
	fitQuartiles,
	fitTail,
	gammaTails,
	isExtrapolated,
	straightened,
	threshold,
} from "../src/calibration.ts";
import { Random } from "../src/random.ts";

const scores = [1.2, 3.4, 2.2, 5.9, 4.1, 2.8, 7.7, 3.3, 1.9, 2.6];

test.each([
	// k, x, log Q(k, x) by mpmath with 60 digits; SciPy's gamma.logsf is -inf on the far ones
	[0.3, 0.015, -0.378333247722449],
	[1, 1, -1],
	[2.5, 1.25, -0.25296498396882416],
	[2.5, 250, -241.99649751735856],
	[17.3, 16, -0.5194835140891115],
	[17.3, 17.3, -0.7592456025371719],
	[17.3, 1e6, -999806.3227857832],
	[192, 150, -0.000555386081612315],
	[192, 384, -62.47406984944003],
	[1000, 1000.5, -0.7143926986057814],
	[1000, 1e7, -9989803.242767997],
])("log-survival of gamma(%d) at %d", (k, x, expected) => {
	expect(Math.abs(gammaTails(k, x).above / expected - 1)).toBeLessThan(1e-11);
});

describe("fit", () => {
	test("is SciPy's maximum likelihood, corrected for its bias", () => {
		const gamma = fitTail("gamma", scores) as Extract<
			Calibration,
			{ kind: "gamma" }
		>;
		expect(gamma.shape).toBeCloseTo(3.965505849885577 * 0.7, 9);
		expect(gamma.shape * gamma.scale).toBeCloseTo(3.51, 12); // the mean stays
		const gumbel = fitTail("gumbel", scores) as Extract<
			Calibration,
			{ kind: "gumbel" }
		>;
		expect(gumbel.scale).toBeCloseTo(1.3241603586879784 * 1.077, 6);
	});

	test("survives JSON", () => {
		for (const kind of ["gamma", "gumbel"] as const) {
			const fitted = fitTail(kind, scores);
			expect(JSON.parse(JSON.stringify(fitted))).toEqual(fitted);
		}
	});

	test.each([
		["no score", []],
		["one", [3]],
		["two equal", [3, 3]],
		["zeros", [0, 0, 0]],
		["many equal", Array.from({ length: 50 }, () => 2)],
		["a zero among others", [0, ...scores]],
		["a huge one", [1e300, ...scores]],
		["tiny ones", scores.map((x) => x * 1e-200)],
	])("%s: finite and increasing", (_, values) => {
		for (const kind of ["gamma", "gumbel"] as const) {
			const fitted = fitTail(kind, values);
			const far = Math.max(1, ...values);
			const found = [0.5, 1, 2, 10, 1e3].map((x) => calibrate(fitted, far * x));
			expect(found.every(Number.isFinite)).toBe(true);
			expect(found).toEqual([...found].sort((a, b) => a - b));
			expect(calibrate(fitted, 0)).not.toBeNaN();
		}
	});

	test("scores that are not finite are refused", () => {
		expect(() => fitTail("gamma", [1, Number.NaN])).toThrow("not finite");
		expect(() => calibrate(fitTail("gamma", scores), Number.NaN)).toThrow(
			"not a number",
		);
	});
});

test("strictly increasing, without ties, from far below to far beyond the normals", () => {
	for (const kind of ["gamma", "gumbel"] as const) {
		for (const values of [
			scores,
			scores.map((x) => 100 + x),
			scores.map((x) => x * 1e-4),
		]) {
			const fitted = fitTail(kind, values);
			const top = Math.max(...values);
			const grid = Array.from(
				{ length: 2000 },
				(_, i) => top * 10 ** (-1 + i / 100),
			); // to 10^19 times the largest
			const found = grid.map((x) => calibrate(fitted, x));
			for (let i = 1; i < found.length; i++)
				expect(found[i] as number).toBeGreaterThan(found[i - 1] as number);
		}
	}
});

test("any two raw scores keep their order", () => {
	const positive = fc.double({ min: 1e-6, max: 1e12, noNaN: true });
	fc.assert(
		fc.property(
			fc.array(positive, { maxLength: 30 }),
			positive,
			fc.double({ min: 1e-5, max: 10, noNaN: true }),
			(values, raw, step) => {
				const fitted = fitTail("gamma", values);
				expect(calibrate(fitted, raw * (1 + step))).toBeGreaterThanOrEqual(
					calibrate(fitted, raw),
				);
			},
		),
		{ seed: 1 },
	);
});

describe("the straight line of a Gumbel", () => {
	const fitted = fitTail("gumbel", scores) as Extract<
		Calibration,
		{ kind: "gumbel" }
	>;
	/** The raw score whose −log10 p is this: p = 1 − exp(−e^−z), turned round. */
	const rawAt = (score: number): number =>
		fitted.location - fitted.scale * Math.log(-Math.log1p(-(10 ** -score)));

	test.each([
		[1, 0.03],
		[2, 0.003],
		[3, 0.0003],
		[6, 3e-7],
		[12, 1e-9],
	])("at %d it is less than %d from −log10 p", (score, error) => {
		const raw = rawAt(score);
		expect(calibrate(fitted, raw)).toBeCloseTo(score, 6);
		expect(Math.abs(straightened(fitted, raw) - score)).toBeLessThan(error);
	});

	test("from there on it only comes nearer", () => {
		let before = 0.03;
		for (let score = 1; score < 300; score += 0.5) {
			const raw = fitted.location + (score / Math.LOG10E) * fitted.scale;
			const line = straightened(fitted, raw);
			expect(line).toBeCloseTo(score, 9);
			const away = Math.abs(line - calibrate(fitted, raw));
			expect(away).toBeLessThanOrEqual(before + 1e-9);
			before = away;
		}
	});

	test("below it goes on straight, where p rounds to 1", () => {
		const steps = [-100, -50, -2, -1, 0, 1, 2, 50].map(
			(z) => fitted.location + z * fitted.scale,
		);
		for (const [i, raw] of steps.entries())
			expect(straightened(fitted, raw)).toBeCloseTo(
				([-100, -50, -2, -1, 0, 1, 2, 50][i] as number) * Math.LOG10E,
				9,
			);
	});

	test("a gamma has none", () => {
		expect(() => straightened(fitTail("gamma", scores), 1)).toThrow("Gumbel");
	});
});

test("threshold and extrapolation", () => {
	expect(threshold(0.01)).toBe(2);
	expect(() => threshold(0)).toThrow("between 0 and 1");
	const fitted = fitTail("gamma", scores);
	expect(isExtrapolated(fitted, 0.05)).toBe(true);
	expect(isExtrapolated(fitted, 0.1)).toBe(false);
});

test("realised false alarms are near the nominal rate on fresh scores of the same law", () => {
	const random = new Random("calibration");
	const draw = {
		gamma: () => random.gamma(20, 1),
		gumbel: () => 0.3 - 0.04 * Math.log(-Math.log(1 - random.uniform())),
	};
	for (const kind of ["gamma", "gumbel"] as const) {
		let alarms = 0;
		for (let repetition = 0; repetition < 200; repetition++) {
			const fitted = fitTail(kind, Array.from({ length: 60 }, draw[kind]));
			for (let i = 0; i < 200; i++)
				if (calibrate(fitted, draw[kind]()) > threshold(0.01)) alarms++;
		}
		expect(alarms / 40_000).toBeGreaterThan(0.008);
		expect(alarms / 40_000).toBeLessThan(0.015);
	}
});

describe("a tail through the quartiles", () => {
	const drawn = (n: number): number[] => {
		const random = new Random("quartiles");
		return Array.from(
			{ length: n },
			() => 5 - 0.5 * Math.log(-Math.log(random.uniform(1e-12, 1))),
		);
	};

	test("finds the Gumbel it was drawn from, and a tenth of far outliers moves it little", () => {
		const clean = fitQuartiles(drawn(20_000));
		const dirty = fitQuartiles([
			...drawn(18_000),
			...new Array<number>(2000).fill(1e6),
		]);
		for (const [tail, tolerance] of [
			[clean, 0.02],
			[dirty, 0.15],
		] as const) {
			if (tail.kind !== "gumbel") throw new Error(tail.kind);
			expect(Math.abs(tail.location - 5)).toBeLessThan(tolerance);
			expect(Math.abs(tail.scale - 0.5)).toBeLessThan(tolerance);
		}
		expect(calibrate(dirty, 1e6)).toBeGreaterThan(1000);
	});

	test("of scores that are all alike is narrow, not broken", () => {
		for (const value of [0, 3, -2]) {
			const tail = fitQuartiles([value, value, value]);
			expect(calibrate(tail, value)).toBeLessThan(1);
			expect(calibrate(tail, value + 1)).toBeGreaterThan(10);
		}
	});
});
