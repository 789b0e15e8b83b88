import fc from "fast-check";
import { expect, test } from "vitest";
import { components } from "../../src/metrics/components.ts";

/** The second way: labels spread to their neighbours until nothing changes. */
function spread(mask: readonly number[], width: number): number[][] {
	const labels = mask.map((v, i) => (v > 0 ? i : -1));
	const touch = (a: number, b: number) =>
		Math.abs((a % width) - (b % width)) <= 1 &&
		Math.abs(Math.floor(a / width) - Math.floor(b / width)) <= 1;
	for (let changed = true; changed; ) {
		changed = false;
		for (const [i, a] of labels.entries())
			for (const [j, b] of labels.entries())
				if (a >= 0 && b > a && touch(i, j)) {
					labels[j] = a;
					changed = true;
				}
	}
	return [...new Set(labels)]
		.filter((label) => label >= 0)
		.map((label) => labels.flatMap((l, i) => (l === label ? [i] : [])));
}

test("corners connect, borders do not wrap", () => {
	// two diagonal neighbours, and two pixels at the ends of touching rows
	const mask = [
		[1, 0, 0, 1],
		[0, 1, 0, 0],
		[0, 0, 0, 1],
		[1, 0, 0, 0],
	].flat();
	expect(
		components(Uint8Array.from(mask), 4).map((pixels) => [...pixels]),
	).toEqual([[0, 5], [3], [11], [12]]);
});

test("any mask, as by spreading labels; the mask is left as it was", () => {
	const masks = fc.integer({ min: 1, max: 7 }).chain((width) =>
		fc
			.array(
				fc.array(fc.constantFrom(0, 0, 1, 200), {
					minLength: width,
					maxLength: width,
				}),
				{ minLength: 1, maxLength: 7 },
			)
			.map((rows) => ({ mask: rows.flat(), width })),
	);
	fc.assert(
		fc.property(masks, ({ mask, width }) => {
			const given = Uint8Array.from(mask);
			const found = components(given, width).map((pixels) =>
				[...pixels].sort((a, b) => a - b),
			);
			expect(found).toEqual(spread(mask, width));
			expect([...given]).toEqual(mask);
		}),
	);
});
