import { describe, expect, it } from "vitest";
import {
	type DetectionCurve,
	fitDetection,
	probabilityAt,
	safeProbabilityAt,
	safeSizeAt,
	sizeAt,
	type Trial,
} from "../../src/metrics/detection.ts";

/** So many hits of `of` a size. */
const trialsOf = (
	table: readonly (readonly [size: number, hits: number])[],
	of = 8,
): Trial[] =>
	table.flatMap(([size, hits]) =>
		Array.from({ length: of }, (_, i) => ({ size, hit: i < hits })),
	);

const table = trialsOf([
	[2, 0],
	[3, 1],
	[4, 1],
	[6, 3],
	[8, 5],
	[12, 7],
	[16, 8],
	[24, 8],
]);
const curve = fitDetection(table).curve as DetectionCurve;

describe("a fixed table of hits and misses", () => {
	it("fits as statsmodels 0.15 does (GLM, binomial)", () => {
		expect(curve.b0).toBeCloseTo(-6.811556665466725, 9);
		expect(curve.b1).toBeCloseTo(3.600537852084805, 9);
		expect(curve.logLikelihood).toBeCloseTo(-20.49772335828736, 10);
		expect(sizeAt(curve, 0.5, table).value).toBeCloseTo(6.631403227645853, 8);
		expect(sizeAt(curve, 0.9, table).value).toBeCloseTo(12.207681895372932, 8);
	});

	it("a90/95 is the largest a90 of all curves within the deviance (SciPy 1.17, SLSQP over both coefficients; a grid says 17.60346)", () => {
		expect(safeSizeAt(curve, 0.9, table).value).toBeCloseTo(
			17.603468054265768,
			5,
		);
	});

	it.each([
		[4, 0.13941571385833532, 0.050930056626732764],
		[8, 0.6627450752138596, 0.5019753829903963],
		[20, 0.9815612643402999, 0.9253838318102806],
	])(
		"at %d px the probability and its lower bound (SciPy 1.17)",
		(size, probability, low) => {
			expect(probabilityAt(curve, size)).toBeCloseTo(probability, 9);
			expect(safeProbabilityAt(curve, table, size)).toBeCloseTo(low, 6);
		},
	);

	it("the bound at a90/95 is 90 %", () => {
		const size = safeSizeAt(curve, 0.9, table).value as number;
		expect(safeProbabilityAt(curve, table, size)).toBeCloseTo(0.9, 9);
	});
});

describe("no estimate, and why", () => {
	it.each([
		["there are no trials", []],
		["all were hits", trialsOf([[2, 8]])],
		[
			"all were misses",
			trialsOf([
				[2, 0],
				[4, 0],
			]),
		],
		["all were of one size", trialsOf([[2, 4]])],
		[
			"hits and misses do not overlap: no hit is smaller than a miss, so any steep curve fits",
			trialsOf([
				[2, 0],
				[4, 8],
			]),
		],
		[
			"hits and misses do not overlap: no hit is smaller than a miss, so any steep curve fits",
			trialsOf([
				[2, 0],
				[3, 4],
				[4, 8],
			]),
		],
		[
			"no hit is larger than a miss: detection does not grow with size",
			trialsOf([
				[2, 8],
				[4, 0],
			]),
		],
		[
			"detection does not grow with size",
			trialsOf([
				[2, 5],
				[4, 4],
				[8, 2],
			]),
		],
	])("%s", (reason, trials) => {
		expect(fitDetection(trials)).toEqual({ curve: null, reason });
	});

	it("a size beyond those tried is not told", () => {
		const small = trialsOf([
			[2, 2],
			[4, 3],
			[8, 5],
		]);
		const found = fitDetection(small).curve as DetectionCurve;
		expect(sizeAt(found, 0.9, small)).toEqual({
			value: null,
			reason: "it lies above the largest size tried (8 px)",
		});
		expect(safeSizeAt(found, 0.9, small).value).toBeNull();
		const large = trialsOf([
			[8, 7],
			[16, 7],
			[32, 8],
		]);
		const other = fitDetection(large).curve as DetectionCurve;
		expect(sizeAt(other, 0.5, large)).toEqual({
			value: null,
			reason: "it lies below the smallest size tried (8 px)",
		});
	});

	it("a90 without a90/95 where trials are few", () => {
		const few = trialsOf(
			[
				[2, 1],
				[4, 1],
				[8, 2],
				[16, 2],
			],
			2,
		);
		const found = fitDetection(few).curve as DetectionCurve;
		expect(sizeAt(found, 0.9, few).value).toBeGreaterThan(4);
		expect(safeSizeAt(found, 0.9, few).reason).toMatch(/do not bound it/);
	});
});

it("many trials bring the bound to the estimate", () => {
	const many = [...table, ...table, ...table, ...table].flatMap((t) => [t, t]);
	const found = fitDetection(many).curve as DetectionCurve;
	expect(found.b1).toBeCloseTo(curve.b1, 8);
	const [a90, safe] = [
		sizeAt(found, 0.9, many).value as number,
		safeSizeAt(found, 0.9, many).value as number,
	];
	expect(safe).toBeGreaterThan(a90);
	expect(safe).toBeLessThan(14);
});
