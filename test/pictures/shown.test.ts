import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chooseShown } from "../../src/pictures/shown.ts";
import type { ScoreRow } from "../../src/run.ts";

const row = (
	label: 0 | 1,
	score: number,
	threshold: number | null = 2,
): ScoreRow => ({
	path: `${label} ${score}`,
	defect: label === 0 ? null : "crack",
	label,
	score,
	threshold,
	routed: "a",
});
const readable = (rows: readonly ScoreRow[], perRole?: number) =>
	chooseShown(rows, perRole).map(
		({ index, role }) => `${role}: ${rows[index]?.path}`,
	);

describe("chooseShown", () => {
	test("a detector that errs: missed, false alarms, borderline, best", () => {
		const rows = [
			...[0.1, 0.4, 1.9, 2.1, 3, 9].map((score) => row(1, score)),
			...[0, 0.2, 1.8, 2.3, 5, 7].map((score) => row(0, score)),
		];
		expect(readable(rows, 2)).toEqual([
			"missed: 1 0.1",
			"missed: 1 0.4",
			"false alarm: 0 7",
			"false alarm: 0 5",
			"borderline: 1 2.1",
			"borderline: 1 1.9",
			"best: 1 9",
			"best: 0 0",
		]);
	});
	test("one that does not: weakest defects and worst good parts; the borderline ones are shown already", () => {
		const rows = [
			...[3, 4, 5].map((score) => row(1, score)),
			...[0.3, 0.2, 0.1].map((score) => row(0, score)),
		];
		expect(readable(rows, 2)).toEqual([
			"weakest defect: 1 3",
			"weakest defect: 1 4",
			"worst good: 0 0.3",
			"worst good: 0 0.2",
			"best: 1 5",
			"best: 0 0.1",
		]);
	});
	test("the threshold itself alarms; equal scores go by their place; without a threshold nobody is wrong", () => {
		expect(readable([row(1, 2), row(0, 2)])).toEqual([
			"weakest defect: 1 2",
			"false alarm: 0 2",
		]);
		const equal = [row(0, 1), row(0, 1), row(0, 1)];
		expect(chooseShown(equal, 2).map(({ index }) => index)).toEqual([0, 1]);
		expect(
			readable([row(1, 0, null), row(0, 9, null)]).map((text) =>
				text.replace(/:.*/, ""),
			),
		).toEqual(["weakest defect", "worst good"]);
		expect(chooseShown([])).toEqual([]);
	});
	test("of any scores: nobody twice, roles that are true, few", () => {
		const rows = fc.array(
			fc.record({
				label: fc.constantFrom(0 as const, 1 as const),
				score: fc.oneof(
					fc.double({ min: 0, max: 6, noNaN: true }),
					fc.constantFrom(Number.POSITIVE_INFINITY, 2, 0),
				),
			}),
			{ maxLength: 60 },
		);
		fc.assert(
			fc.property(rows, fc.integer({ min: 1, max: 5 }), (list, perRole) => {
				const all = list.map(({ label, score }) => row(label, score));
				const chosen = chooseShown(all, perRole);
				expect(chosen).toEqual(chooseShown(all, perRole));
				const indices = chosen.map(({ index }) => index);
				expect(new Set(indices).size).toBe(indices.length);
				expect(indices.length).toBeLessThanOrEqual(4 * perRole);
				if (all.length > 0) expect(indices.length).toBeGreaterThan(0);
				for (const { index, role } of chosen) {
					const { label, score } = all[index] as ScoreRow;
					if (role === "missed" || role === "false alarm")
						expect(score < 2).toBe(label === 1);
					if (role === "weakest defect" || role === "worst good")
						expect(score >= 2).toBe(label === 1);
				}
				// no defect that is left out scores lower than one that counts as missed or weakest
				const weak = chosen.filter(({ role }) =>
					["missed", "weakest defect"].includes(role),
				);
				const others = all.filter(
					({ label }, i) => label === 1 && !weak.some((w) => w.index === i),
				);
				for (const { index } of weak)
					for (const other of others)
						expect(other.score).toBeGreaterThanOrEqual(
							(all[index] as ScoreRow).score,
						);
			}),
		);
	});
});
