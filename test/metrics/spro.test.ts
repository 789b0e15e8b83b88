import { expect, test } from "vitest";
import { highest, saturatedAt } from "../../src/metrics/spro.ts";

test.each([
	// threshold, relative, area -> s
	[400, false, 1000, 400],
	[400, false, 90, 90], // never more than there is
	[400.9, false, 1000, 400],
	[0.5, true, 9, 4], // int(t·area)
	[1, true, 9, 9],
	[0.3, true, 2, 1], // int gives 0, which no share can have below it
])("%f (relative: %s) of %i pixels: %i", (threshold, relative, area, s) => {
	expect(saturatedAt({ threshold, relative }, area)).toBe(s);
});

test("the highest scores of a region, which itself is left as it was", () => {
	const scores = Float32Array.of(3, -1, Infinity, 2, 2);
	expect([...highest(scores, 3)]).toEqual([2, 3, Infinity]);
	expect([...highest(scores, 5)]).toEqual([...scores]);
	expect([...scores]).toEqual([3, -1, Infinity, 2, 2]);
});
