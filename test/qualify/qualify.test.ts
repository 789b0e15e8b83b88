/** Figures from predictions that are made up. */
import { describe, expect, it } from "vitest";
import { changesOf, gaugeOf } from "../../src/qualify/gauge.ts";
import { isWrong, labelledOf } from "../../src/qualify/labelled.ts";
import { gauge, group, labelled, prediction, task } from "./made-up.ts";

describe("escapes and overkill", () => {
	it("are counted of the usable pictures, the unsure ones by the threshold", () => {
		expect(labelled.overkill).toMatchObject({
			events: 2,
			trials: 5,
			value: 0.4,
		});
		expect(labelled.escapes).toMatchObject({
			events: 2,
			trials: 5,
			value: 0.4,
		});
		expect(labelled.kinds[0]).toMatchObject({
			defect: null,
			pictures: 6,
			verdicts: { good: 2, defect: 1, unsure: 2, unknown: 0, unusable: 1 },
		});
		expect(labelled.pictures.filter(isWrong).map(({ score }) => score)).toEqual(
			[2.1, 2.5, 1.2, 1.8],
		);
	});

	it("fall where a person decides what is unsure", () => {
		const { escapes, overkill, unsure } = labelled.withPerson;
		expect(escapes.events).toBe(1);
		expect(overkill.events).toBe(1);
		expect(unsure).toMatchObject({ events: 4, trials: 10 });
	});

	it("a picture that no product fits is stopped: no escape, but overkill", () => {
		const unknown = prediction(1, { verdict: "unknown", task: null });
		const other = prediction(1, { task: "another" });
		const found = labelledOf(
			"d",
			[
				{ ...group("crack", [1, 1]), predictions: [unknown, other] },
				{ ...group("good", [1]), predictions: [unknown] },
			],
			task,
		);
		expect(found.kinds.map(({ defect }) => defect)).toEqual([null, "crack"]); // good parts first
		expect(found.escapes.events).toBe(1);
		expect(found.overkill.events).toBe(1);
		expect(found.otherProduct).toBe(1);
	});

	it("of a folder without good parts there is no overkill to tell", () => {
		const found = labelledOf("d", [group("crack", [3])], task);
		expect(found.overkill.value).toBeNull();
		expect(found.escapes.value).toBe(0);
		expect(found.escapes.interval[1]).toBeCloseTo(0.975, 12);
		expect(found.escapes.below).toBeCloseTo(0.95, 12);
	});
});

describe("repeatability", () => {
	it("tells whose decision changes and whose verdict alone", () => {
		expect(gauge.parts.map(changesOf)).toEqual([
			"decision",
			null,
			"verdict",
			null,
		]);
		expect(gauge.decision.steady).toMatchObject({ events: 3, trials: 4 });
		expect(gauge.verdict.steady).toMatchObject({ events: 2, trials: 4 });
		// stopped or passed: [1 2] [0 3] [0 3] [3 0], by hand 1 − (4/3) / (8 · 2 · 1/3 · 2/3)
		expect(gauge.decision.kappa.value).toBeCloseTo(1 - 4 / 3 / (32 / 9), 12);
	});

	it("unusable pictures are counted and left out", () => {
		const { parts, score } = gaugeOf("g", [
			group("a", [1, null, 1.2]),
			group("b", [3, null]),
		]);
		expect(parts[0]).toMatchObject({ pictures: 3, passed: 2, stopped: 0 });
		expect(parts[1]).toMatchObject({ deviation: null, stopped: 1 });
		expect(score.freedom).toBe(1);
	});
});
