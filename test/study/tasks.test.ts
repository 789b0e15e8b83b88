/** Rows by task, and the choice of a row without a look at the task that it is reported on. */
import { describe, expect, test } from "vitest";
import type { FinishedCell } from "../../src/study/cells.ts";
import { taskTable } from "../../src/study/tasks.ts";
import { makeCell } from "./made-up.ts";

const tasks = [
	["mvtec/a", "mvtec"],
	["mvtec/b", "mvtec"],
	["loco/c", "loco"],
] as const;
/** Separation of each task's anomalies, whatever was learnt since. */
const cell = (label: string, by: readonly number[], seed = 1): FinishedCell =>
	makeCell({
		label,
		seed,
		tasks,
		separation: (i, j) => (j > i ? null : (by[j] as number)),
	});
const finals = ({ results }: FinishedCell): readonly (number | null)[] =>
	results.matrices.imageAuroc?.at(-1) ?? [];

describe("by task", () => {
	const one = [
		cell("good at a", [3, 0.5, 0.5]),
		cell("good at b and c", [0.2, 2, 2]),
		cell("fair", [1.5, 1.4, 1.4]),
	];
	const table = taskTable(one, 200);

	test("values are those of the matrix, within their intervals", () => {
		expect(table.tasks).toEqual(["mvtec/a", "mvtec/b", "loco/c"]);
		for (const [i, { label, values }] of table.rows.entries()) {
			expect(label).toBe(one[i]?.label);
			expect(values.map(({ value }) => value)).toEqual(
				finals(one[i] as FinishedCell).map((x) => expect.closeTo(x as number)),
			);
			for (const { value, low, high } of values) {
				expect(low).toBeLessThanOrEqual(value as number);
				expect(high).toBeGreaterThanOrEqual(value as number);
				expect((high as number) - (low as number)).toBeLessThan(0.7);
			}
		}
	});

	test("each task is left to the row that is best on the others", () => {
		const matrix = one.map(finals) as number[][];
		const chosen = [0, 1, 2].map((left) => {
			const means = matrix.map((row) =>
				row.filter((_, j) => j !== left).reduce((a, b) => a + b, 0),
			);
			return means.indexOf(Math.max(...means));
		});
		expect(chosen[0]).toBe(1); // b and c say so, which is the worst for a
		const { leaveOneOut } = table;
		expect(leaveOneOut?.chosen).toEqual(chosen.map((i) => one[i]?.label));
		const values = chosen.map((i, j) => matrix[i]?.[j] as number);
		expect(leaveOneOut?.values).toEqual(values.map((x) => expect.closeTo(x)));
		const { value, low, high } = leaveOneOut?.mean ?? {};
		expect(value).toBeCloseTo(values.reduce((a, b) => a + b, 0) / 3, 12);
		expect(low).toBeLessThan(high as number);
	});

	test("a row is the mean of its cells", () => {
		const seeds = [1, 2].map((seed) => cell("fair", [1.5, 1.4, 1.4], seed));
		const [row] = taskTable(seeds, 20).rows;
		const [a, b] = seeds.map((each) => finals(each)[1] as number);
		expect(row?.values[1]?.value).toBeCloseTo(
			((a as number) + (b as number)) / 2,
			12,
		);
	});

	test("without a choice there is none; what was not scored has its reason", () => {
		expect(taskTable(one.slice(0, 1), 20).leaveOneOut).toBeNull();
		expect(taskTable([], 20)).toEqual({
			tasks: [],
			rows: [],
			leaveOneOut: null,
		});
		const [whole, cut] = one as [FinishedCell, FinishedCell];
		const short = { ...cut, finalScores: cut.finalScores.slice(0, 2) };
		const { rows, leaveOneOut } = taskTable([whole, short], 20);
		expect(leaveOneOut).toBeNull();
		expect(rows[1]?.values[2]).toEqual({
			value: null,
			low: null,
			high: null,
			reason:
				"good at b and c (seed 1, order 1) has no scores of loco/c after the last task",
		});
	});
});
