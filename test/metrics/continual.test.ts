import { existsSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as continual from "../../src/metrics/continual.ts";

const file = new URL(
	"../../../shared/golden/metrics.continual.json",
	import.meta.url,
);
test.skipIf(!existsSync(file))(
	"equals golden/metrics.continual.json to 1e-9 (skipped where ../shared/golden is absent)",
	() => {
		const golden = JSON.parse(readFileSync(file, "utf8")) as {
			matrix: number[][];
			untrained: number[];
		} & Record<string, number>;
		expect(
			continual.forwardTransfer(golden.matrix, golden.untrained).value,
		).toBeCloseTo(golden.forwardTransfer as number, 9);
		const {
			average,
			averageIncremental,
			learning,
			forgetting,
			backwardTransfer,
		} = continual;
		for (const [name, metric] of Object.entries({
			average,
			averageIncremental,
			learning,
			forgetting,
			backwardTransfer,
		})) {
			expect(metric(golden.matrix).value).toBeCloseTo(
				golden[name] as number,
				9,
			);
		}
	},
);

// three tasks, worked out by hand
const lower = [
	[0.9, null, null],
	[0.95, 0.8, null],
	[0.85, 0.7, 0.6],
];

describe("three tasks by hand", () => {
	test("a lower triangle is enough for all but forward transfer", () => {
		expect(continual.average(lower).value).toBeCloseTo(
			(0.85 + 0.7 + 0.6) / 3,
			15,
		);
		expect(continual.averageIncremental(lower).value).toBeCloseTo(
			(0.9 + 0.875 + (0.85 + 0.7 + 0.6) / 3) / 3,
			15,
		);
		expect(continual.learning(lower).value).toBeCloseTo(
			(0.9 + 0.8 + 0.6) / 3,
			15,
		);
		expect(continual.forgetting(lower).value).toBeCloseTo(
			(0.95 - 0.85 + 0.8 - 0.7) / 2,
			15,
		);
		expect(continual.backwardTransfer(lower).value).toBeCloseTo(
			(0.85 - 0.9 + 0.7 - 0.8) / 2,
			15,
		);
		expect(continual.forwardTransfer(lower, 0.5)).toEqual({
			value: null,
			reason: "no value for task 2 after learning task 1",
		});
		expect(
			continual.learningTransfer(lower, [0.8, 0.8, 0.8]).value,
		).toBeCloseTo((0.1 + 0 - 0.2) / 3, 15);
	});

	test("forgetting is negative where a task gained after its best", () => {
		expect(
			continual.forgetting([
				[0.6, null],
				[0.8, 0.9],
			]).value,
		).toBeCloseTo(-0.2, 15);
	});

	test("forward transfer against a row or one number", () => {
		const full = [
			[0.9, 0.6, 0.7],
			[0.9, 0.9, 0.4],
			[0.9, 0.9, 0.9],
		];
		expect(continual.forwardTransfer(full, 0.5).value).toBeCloseTo(0, 15);
		expect(continual.forwardTransfer(full, [0.1, 0.5, 0.6]).value).toBeCloseTo(
			(0.1 - 0.2) / 2,
			15,
		);
		expect(continual.forwardTransfer(full, [0.1, null, 0.6]).reason).toBe(
			"no value for the baseline of task 2",
		);
	});

	test("restricted to some tasks", () => {
		expect(continual.average(lower, [0, 2]).value).toBeCloseTo(
			(0.85 + 0.6) / 2,
			15,
		);
		expect(continual.averageIncremental(lower, [1]).value).toBeCloseTo(
			(0.8 + 0.7) / 2,
			15,
		); // rows before task 2 don't count
		expect(continual.forgetting(lower, [2]).value).toBe(null);
	});
});

describe("where something is missing", () => {
	test("one task: nothing to forget or transfer", () => {
		const one = [[0.9, null, null]]; // the first of three tasks learnt
		expect(continual.average(one).value).toBe(0.9);
		expect(continual.averageIncremental(one).value).toBe(0.9);
		for (const m of [
			continual.forgetting(one),
			continual.backwardTransfer(one),
			continual.forwardTransfer(one, 0.5),
		]) {
			expect(m).toEqual({ value: null, reason: "needs more tasks" });
		}
	});

	test("joint fills the last row alone", () => {
		const joint = [
			[null, null],
			[0.9, 0.8],
		];
		expect(continual.average(joint).value).toBeCloseTo(0.85, 15);
		expect(continual.learning(joint).reason).toBe(
			"no value for task 1 after learning task 1",
		);
		expect(continual.forgetting(joint).value).toBe(null);
	});

	test("nothing learnt", () => {
		expect(continual.average([]).value).toBe(null);
	});
});

test("forgetting is at least minus backward transfer, and both are 0 where nothing changes", () => {
	const matrices = fc.integer({ min: 2, max: 6 }).chain((n) =>
		fc.array(
			fc.array(fc.double({ min: 0, max: 1, noNaN: true }), {
				minLength: n,
				maxLength: n,
			}),
			{ minLength: n, maxLength: n },
		),
	);
	fc.assert(
		fc.property(matrices, (matrix) => {
			const f = continual.forgetting(matrix).value as number;
			expect(f).toBeGreaterThanOrEqual(
				-(continual.backwardTransfer(matrix).value as number) - 1e-12,
			);
			const still = matrix.map(() => matrix[0] as number[]);
			expect(continual.forgetting(still).value).toBe(0);
			expect(continual.backwardTransfer(still).value).toBe(0);
		}),
	);
});
