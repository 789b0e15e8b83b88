import { describe, expect, test } from "vitest";
import { auroc } from "../../src/metrics/image.ts";
import {
	betaIncomplete,
	betaQuantile,
	chiSquareQuantile,
	clopperPearson,
	gammaIncomplete,
	logGamma,
	pairedBootstrap,
	ruleOfThree,
} from "../../src/metrics/interval.ts";
import { Random } from "../../src/random.ts";

const relative = (a: number, b: number) => Math.abs(a - b) / (Math.abs(b) || 1);

describe("against SciPy 1.17", () => {
	test.each([
		[0, 20, 0, 0.1684334709830853],
		[20, 20, 0.8315665290169147, 1],
		[1, 100, 0.00025314603297742086, 0.054459385392080645],
		[5, 50, 0.033275093589022475, 0.21813536643420225],
		[12, 1000, 0.0062155255595952455, 0.02086767959103641],
		[0, 1, 0, 0.975],
		[37, 64, 0.4481586249369795, 0.7006191938565355],
	])("Clopper-Pearson for %i of %i", (successes, trials, low, high) => {
		const [ourLow, ourHigh] = clopperPearson(successes, trials);
		expect(relative(ourLow, low)).toBeLessThan(1e-11);
		expect(relative(ourHigh, high)).toBeLessThan(1e-11);
	});

	test("another confidence", () => {
		expect(clopperPearson(3, 40, 0.99)).toEqual([
			expect.closeTo(0.008627788841722737, 12),
			expect.closeTo(0.24837227476949525, 12),
		]);
	});

	test.each([
		[0.2, 3, 8, 0.32220047360000015],
		[0.9, 0.5, 0.5, 0.7951672353008665],
		[0.5, 200, 190, 0.3060988014510171],
		[0.001, 1, 500, 0.39362105513881496],
		[0.7, 12.5, 2.25, 0.07269566926528323],
	])("incomplete beta at %d of (%d, %d), and back", (x, a, b, p) => {
		expect(relative(betaIncomplete(x, a, b), p)).toBeLessThan(1e-11);
		expect(relative(betaQuantile(p, a, b), x)).toBeLessThan(1e-11);
	});

	test.each([
		[0.1, 2.252712651734206],
		[0.5, 0.5723649429247],
		[1, 0],
		[2.5, 0.2846828704729192],
		[10, 12.801827480081469],
		[123.4, 469.3360974421906],
		[1e5, 1051287.7089736569],
	])("log gamma of %d", (x, expected) => {
		expect(relative(logGamma(x), expected)).toBeLessThan(1e-13);
	});
});

test.each([
	[0.5, 0.1, 0.34527915398142317],
	[3, 2, 0.32332358381693654],
	[3, 20, 0.9999995444850495],
	[50, 45, 0.24680203440017026],
	[200, 260, 0.999952499875557],
	[1, 1e-6, 9.99999500000168e-7],
])("incomplete gamma P(%d, %d), against SciPy", (a, x, p) => {
	expect(relative(gammaIncomplete(a, x), p)).toBeLessThan(1e-11);
});

test.each([
	[0.05, 1, 0.003932140000019522],
	[0.9, 1, 2.705543454095404],
	[0.025, 7, 1.689869180677355],
	[0.975, 7, 16.012764274629326],
	[0.025, 40, 24.433039170807888],
	[0.975, 400, 457.305481966065],
	[0.5, 2.5, 1.8738477677808791],
])(
	"the %d point of chi-square with %d degrees of freedom, against SciPy",
	(p, freedom, x) => {
		expect(relative(chiSquareQuantile(p, freedom), x)).toBeLessThan(1e-10);
	},
);

test("nothing in 100 trials is below 2.95 %, about 3 / 100", () => {
	expect(ruleOfThree(100)).toBeCloseTo(0.029513, 6);
	expect(ruleOfThree(0)).toBe(1);
});

test("no trials say nothing", () => {
	expect(clopperPearson(0, 0)).toEqual([0, 1]);
});

test("Clopper-Pearson covers the true rate at least as often as it says", () => {
	const random = new Random("coverage");
	let covered = 0;
	for (let k = 0; k < 1000; k++) {
		let hits = 0;
		for (let i = 0; i < 60; i++) if (random.uniform() < 0.1) hits++;
		const [low, high] = clopperPearson(hits, 60);
		if (low <= 0.1 && 0.1 <= high) covered++;
	}
	expect(covered / 1000).toBeGreaterThan(0.94);
});

describe("paired bootstrap", () => {
	const random = new Random("images");
	const a = Array.from({ length: 200 }, () => random.normal());
	const b = a.map((x) => x - 0.5 + 0.3 * random.normal());
	const meanDifference = (images: readonly number[]) =>
		images.reduce((sum, i) => sum + (a[i] as number) - (b[i] as number), 0) /
		images.length;

	test("of a mean agrees with the normal interval, and with itself for the same seed", () => {
		const result = pairedBootstrap(200, meanDifference, new Random("draws"));
		if (!result) throw new Error("undefined");
		const squares = a.reduce(
			(sum, x, i) => sum + (x - (b[i] as number) - result.estimate) ** 2,
			0,
		);
		const deviation = Math.sqrt(squares) / 200; // of the mean
		expect(result.high - result.low).toBeCloseTo(2 * 1.96 * deviation, 2);
		expect((result.high + result.low) / 2).toBeCloseTo(result.estimate, 2);
		expect(result.draws).toBe(2000);
		expect(pairedBootstrap(200, meanDifference, new Random("draws"))).toEqual(
			result,
		);
	});

	test("within groups keeps their sizes, so a class is never missing", () => {
		const labels = a.map((_, i) => (i < 3 ? 1 : 0));
		const areaOf = (scores: readonly number[], images: readonly number[]) => auroc(images.map((i) => scores[i] as number), images.map((i) => labels[i] as number)).value; // biome-ignore format: one formula
		const difference = (images: readonly number[]) => {
			const [one, two] = [areaOf(a, images), areaOf(b, images)];
			return one === null || two === null ? null : one - two;
		};
		expect(
			pairedBootstrap(200, difference, new Random("draws"), {
				draws: 300,
				groups: labels,
			})?.draws,
		).toBe(300);
		expect(
			pairedBootstrap(200, difference, new Random("draws"), { draws: 300 })
				?.draws,
		).toBeLessThan(300);
	});

	test("undefined on all images is null", () => {
		expect(pairedBootstrap(0, () => null, new Random("draws"))).toBe(null);
	});
});
