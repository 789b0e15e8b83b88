import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
	type Calibration,
	calibrate,
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
	test("is SciPy's maximum likelihood, the largest 8 % taken for the next one, corrected for its bias", () => {
		const gamma = fitTail("gamma", scores) as Extract<
			Calibration,
			{ kind: "gamma" }
		>;
		expect(gamma.shape).toBeCloseTo(4.907227944972816 * 0.7, 9);
		expect(gamma.shape * gamma.scale).toBeCloseTo(3.33, 12); // the mean stays
		const gumbel = fitTail("gumbel", scores) as Extract<
			Calibration,
			{ kind: "gumbel" }
		>;
		expect(gumbel.scale).toBeCloseTo(1.1942774253920232 * 1.077, 6);
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
	const few = fitTail("gumbel", scores.slice(0, 7)); // by its form alone
	const many = fitTail("gumbel", scores);

	/** The raw score whose −log10 p is this, by halving. */
	const rawAt = (fitted: Calibration, score: number): number => {
		let [low, high] = [0, 1000];
		for (let i = 0; i < 100; i++) {
			const middle = (low + high) / 2;
			if (calibrate(fitted, middle) < score) low = middle;
			else high = middle;
		}
		return low;
	};

	test.each([
		[1, 0.03],
		[2, 0.003],
		[3, 0.0003],
		[6, 3e-7],
		[12, 1e-9],
	])("at %d it is less than %d from −log10 p", (score, error) => {
		expect(few.upper).toBeNull();
		expect(many.upper).not.toBeNull();
		const raw = rawAt(few, score);
		expect(Math.abs(straightened(few, raw) - score)).toBeLessThan(error);
		const further = rawAt(many, score); // measured above the median, the tail is a little farther from its line
		expect(Math.abs(straightened(many, further) - score)).toBeLessThan(
			Math.max(1e-9, 10 * error),
		);
	});

	test("from there on it only comes nearer, and below it goes on straight, where p rounds to 1", () => {
		for (const fitted of [few, many]) {
			const steps = [-1000, -100, -10, 0, 1, 2, 3];
			const lines = steps.map((raw) => straightened(fitted, raw));
			const slope = straightened(fitted, 1) - straightened(fitted, 0);
			for (const [i, raw] of steps.entries())
				expect(lines[i] as number).toBeCloseTo(
					straightened(fitted, 0) + slope * raw,
					9,
				);
			let before = Number.POSITIVE_INFINITY;
			for (let raw = rawAt(fitted, 1); raw < 300; raw++) {
				const away = Math.abs(
					straightened(fitted, raw) - calibrate(fitted, raw),
				);
				expect(away).toBeLessThanOrEqual(before + 1e-9);
				before = away;
			}
		}
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

describe("realised false alarms on fresh scores of the same law, at 1 in 100", () => {
	const realised = (
		kind: "gamma" | "gumbel",
		draw: (random: Random) => number,
		dirty = 0,
	): number => {
		const random = new Random("calibration", kind);
		let alarms = 0;
		for (let repetition = 0; repetition < 200; repetition++) {
			const learnt = Array.from({ length: 60 }, (_, i) =>
				i < dirty ? 1e3 : draw(random),
			);
			const fitted = fitTail(kind, learnt);
			for (let i = 0; i < 200; i++)
				if (calibrate(fitted, draw(random)) > threshold(0.01)) alarms++;
		}
		return alarms / 40_000;
	};
	const gumbel = (random: Random) =>
		0.3 - 0.04 * Math.log(-Math.log(1 - random.uniform()));
	const wide = (
		random: Random, // squared distances of photographs: not all are taken alike
	) => random.gamma(10, 1) * Math.exp(random.normal(0, 0.3));

	test("a Gumbel, and squared distances with a heavier tail than a gamma", () => {
		for (const rate of [realised("gumbel", gumbel), realised("gamma", wide)]) {
			expect(rate).toBeGreaterThan(0.005);
			expect(rate).toBeLessThan(0.015);
		}
	});

	test("an exact gamma: fewer, since its tail is taken for the exponential it approaches", () => {
		const rate = realised("gamma", (random) => random.gamma(20, 1));
		expect(rate).toBeGreaterThan(0.001);
		expect(rate).toBeLessThan(0.005);
	});

	test("3 of 60 images are defective, as far out as may be: fewer by three quarters at most", () => {
		for (const [kind, draw] of [
			["gumbel", gumbel],
			["gamma", wide],
		] as const)
			expect(realised(kind, draw, 3) / realised(kind, draw)).toBeGreaterThan(
				0.25,
			);
	});
});
