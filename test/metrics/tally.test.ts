import fc from "fast-check";
import { expect, test } from "vitest";
import { type Ranked, Tally } from "../../src/metrics/tally.ts";

const scores = fc.array(
	fc.record({
		score: fc.oneof(
			fc.integer({ min: -3, max: 3 }),
			fc.float({ noNaN: true }),
			fc.constantFrom(0, -0, Infinity, -Infinity),
		),
		weight: fc.constantFrom(1, 0.5, 1 / 3, 1 / 7),
	}),
	{ maxLength: 60 },
);

function tallyOf(list: readonly { score: number; weight: number }[]): Tally {
	const tally = new Tally();
	for (const { score, weight } of list)
		tally.add(Float32Array.of(score), weight);
	return tally;
}

const plain = ({ keys, weights }: Ranked) => ({
	keys: [...keys],
	weights: [...weights],
});

test("ranks as the scores themselves do, equal ones added up", () => {
	fc.assert(
		fc.property(scores, (list) => {
			const { keys, weights } = tallyOf(list).ranked();
			const distinct = [
				...new Set(list.map(({ score }) => Math.fround(score) + 0)),
			].sort((a, b) => b - a);
			expect(keys.length).toBe(distinct.length);
			expect([...keys]).toEqual([...keys].sort((a, b) => b - a));
			distinct.forEach((score, i) => {
				const expected = list
					.filter((x) => Math.fround(x.score) === score)
					.reduce((sum, x) => sum + x.weight, 0);
				expect(weights[i]).toBeCloseTo(expected, 12);
			});
		}),
	);
});

test("neither the order nor the size of what is added matters", () => {
	const many = Float32Array.from({ length: 5000 }, (_, i) =>
		Math.sin(i * 12.9898),
	);
	const whole = new Tally();
	whole.add(many, 1);
	whole.add(many.subarray(0, 700), 0.25);
	const parts = new Tally();
	parts.add(many.subarray(0, 700), 0.25);
	for (let i = many.length; i > 0; i -= 50) parts.add(many.slice(i - 50, i), 1);
	expect(plain(parts.ranked())).toEqual(plain(whole.ranked()));
});

test("bins are at most .003 % wide, in order, and keep all weight", () => {
	fc.assert(
		fc.property(scores, scores, (before, after) => {
			const tally = tallyOf(before);
			tally.ranked();
			tally.coarsen();
			for (const { score, weight } of after)
				tally.add(Float32Array.of(score), weight);
			const inBins = tally.ranked();
			const all = [...before, ...after];
			expect(plain(inBins).keys).toEqual(
				plain(inBins).keys.toSorted((a, b) => b - a),
			);
			expect(inBins.weights.reduce((a, b) => a + b, 0)).toBeCloseTo(
				all.reduce((sum, x) => sum + x.weight, 0),
				10,
			);
		}),
	);
	const binsOf = (...values: number[]) => {
		const tally = new Tally();
		tally.coarsen();
		tally.add(Float32Array.from(values), 1);
		return tally.ranked().keys.length;
	};
	for (const x of [1, -1, 2 ** -15, 2 ** 66]) {
		expect(binsOf(x, x * (1 + 0.99 * 2 ** -15))).toBe(1);
		expect(binsOf(x, x * (1 + 2 ** -15))).toBe(2);
	}
});
