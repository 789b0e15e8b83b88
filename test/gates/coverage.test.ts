/** What the gate on coverage objects to, and its table. */
import { describe, expect, it } from "vitest";
import {
	coverageProblems,
	coverageTable,
} from "../../scripts/gates/coverage.js";

const lines = {
	"engine/a.ts": { total: 100, covered: 95 },
	"engine/ops/b.ts": { total: 50, covered: 50 },
	"memory/c.ts": { total: 0, covered: 0 },
	"metrics/d.ts": { total: 10, covered: 10 },
	"strategies/e.ts": { total: 10, covered: 10 },
	"server/f.ts": { total: 10, covered: 1 },
	"run.ts": { total: 10, covered: 5 },
};

describe("coverage", () => {
	it("passes at 95 %; elsewhere it is told only", () => {
		expect(coverageProblems(lines)).toEqual([]);
	});
	it("a file below fails, unless there is a reason", () => {
		const less = { ...lines, "engine/ops/b.ts": { total: 50, covered: 47 } };
		expect(coverageProblems(less)).toEqual([
			"src/engine/ops/b.ts: 94.0 % of its lines are run by its tests, 95 are asked for. Test the rest, or say in scripts/gates/coverage.js why not.",
		]);
		expect(coverageProblems(less, { "engine/ops/b.ts": "a test" })).toEqual([]);
	});
	it("a folder that was not counted fails", () => {
		const { "metrics/d.ts": _, ...others } = lines;
		expect(coverageProblems(others).join()).toContain(
			"src/metrics: nothing was counted",
		);
	});
	it("a reason for a file that is not there fails", () => {
		expect(coverageProblems(lines, { "engine/z.ts": "a test" })).toHaveLength(
			1,
		);
	});
	it("is a row a folder", () => {
		expect(coverageTable(lines).slice(1)).toEqual([
			"(src)                    1     10  50.0 %",
			"engine                   1    100  95.0 %",
			"engine/ops               1     50 100.0 %",
			"memory                   1      0   0.0 %",
			"metrics                  1     10 100.0 %",
			"server                   1     10  10.0 %",
			"strategies               1     10 100.0 %",
		]);
	});
});
