import { describe, expect, it } from "vitest";
import { fleissKappa, repeatabilityOf } from "../../src/metrics/gauge.ts";

describe("repeatability", () => {
	it("of parts seen unequally often, against statsmodels 0.15 (anova_lm) and SciPy 1.17 (chi-square)", () => {
		const found = repeatabilityOf([
			[0.31, 0.42, 0.36],
			[1.2, 1.05, 1.31, 1.18],
			[0.75, 0.71],
			[2.4, 2.52, 2.3],
			[0.9],
		]);
		expect(found.freedom).toBe(8);
		expect(found.repeatability.value).toBeCloseTo(0.09030042450989183, 12);
		expect(found.partVariation.value).toBeCloseTo(0.8345940975661806, 12);
		expect(found.shareWithin.value).toBeCloseTo(0.011571093524508434, 12);
		expect(found.grr.value).toBeCloseTo(0.10756901749346061, 12);
		expect(found.interval?.[0]).toBeCloseTo(0.06099405694462113, 11);
		expect(found.interval?.[1]).toBeCloseTo(0.17299492399342167, 11);
	});

	it("of parts seen equally often is that of restricted maximum likelihood, as far as statsmodels' mixedlm climbs", () => {
		const found = repeatabilityOf([
			[0.184, 0.52, 0.455, 0.434],
			[0.83, 0.986, 0.601, 0.773],
			[0.186, 0.51, 0.342, 0.243],
			[-1.538, -1.38, -1.301, -1.386],
			[1.294, 1.207, 0.092, 0.339],
			[0.394, 0.32, 0.51, 0.512],
		]);
		expect((found.repeatability.value as number) ** 2).toBeCloseTo(
			0.0757170866,
			5,
		);
		expect((found.partVariation.value as number) ** 2).toBeCloseTo(
			0.643556607,
			4,
		);
	});

	it("is null with a reason where nothing can be said", () => {
		expect(repeatabilityOf([[1], [2]]).repeatability).toEqual({
			value: null,
			reason: "no part was seen twice",
		});
		const one = repeatabilityOf([[1, 3]]);
		expect(one.repeatability.value).toBeCloseTo(Math.SQRT2, 12);
		expect(one.grr.reason).toBe("there is only one part");
		expect(repeatabilityOf([[1, Infinity], [2]]).grr.reason).toBe(
			"a score is infinite",
		);
		expect(
			repeatabilityOf([
				[1, 1],
				[1, 1],
			]).shareWithin,
		).toEqual({ value: null, reason: "all numbers are equal" });
	});

	it("parts that differ by less than their pictures do have no variation of their own", () => {
		const found = repeatabilityOf([
			[1, 5],
			[2, 4],
		]);
		expect(found.partVariation.value).toBe(0);
		expect(found.shareWithin.value).toBe(1);
	});
});

describe("Fleiss' kappa", () => {
	it("of Fleiss' own form, against statsmodels 0.15", () => {
		const table = [
			[0, 0, 0, 0, 14],
			[0, 2, 6, 4, 2],
			[0, 0, 3, 5, 6],
			[0, 3, 9, 2, 0],
			[2, 2, 8, 1, 1],
			[7, 7, 0, 0, 0],
			[3, 2, 6, 3, 0],
			[2, 5, 3, 2, 2],
			[6, 5, 2, 1, 0],
			[0, 2, 2, 3, 7],
		];
		expect(fleissKappa(table).value).toBeCloseTo(0.20993070442195522, 12);
		expect(
			fleissKappa([
				[4, 0, 0],
				[3, 1, 0],
				[0, 4, 0],
				[0, 2, 2],
				[4, 0, 0],
			]).value,
		).toBeCloseTo(0.5870206489675517, 12);
	});

	it("of parts seen unequally often: kappas of the verdicts, weighted by p (1 - p) (NumPy)", () => {
		const table = [
			[4, 0, 0],
			[2, 1, 0],
			[0, 5, 0],
			[0, 2, 2],
		];
		expect(fleissKappa(table).value).toBeCloseTo(0.5321637426900585, 12);
		expect(fleissKappa([...table, [1, 0, 0]]).value).toBeCloseTo(
			0.5321637426900585,
			12,
		); // a part seen once says nothing
	});

	it("is 1 in full agreement, and null where there is one verdict only", () => {
		expect(
			fleissKappa([
				[3, 0],
				[0, 3],
			]).value,
		).toBe(1);
		expect(
			fleissKappa([
				[3, 0],
				[3, 0],
			]),
		).toEqual({ value: null, reason: "all pictures got the same verdict" });
		expect(fleissKappa([[3, 0]]).value).toBeNull();
	});
});
