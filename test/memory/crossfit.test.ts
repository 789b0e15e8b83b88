import { expect, it } from "vitest";
import { momentsOf, type Rows } from "../../src/linalg/covariance.ts";
import { learntDensity } from "../../src/memory/crossfit.ts";
import { rounded } from "../../src/memory/stored.ts";
import { Random } from "../../src/random.ts";

const [n, d] = [60, 8];

/** Draws of N(0, I), the last of them moved away. */
function images(moved: number): Rows {
	const random = new Random("crossfit");
	const data = Float64Array.from({ length: n * d }, () => random.normal());
	for (let i = (n - moved) * d; i < n * d; i++)
		data[i] = (data[i] as number) + 5;
	return { n, d, data };
}

const first = (count: number, { data }: Rows): Rows => ({
	n: count,
	d,
	data: data.slice(0, count * d),
});

it("a few images far from the others stay out of the moments, and are scored as never seen", () => {
	const all = images(3);
	const { moments, scores } = learntDensity(all, { robust: true });
	expect(moments).toEqual(rounded(momentsOf(first(n - 3, all))));
	const alone = learntDensity(first(n - 3, all), { robust: false });
	expect(scores.slice(0, n - 3)).toEqual(alone.scores);
	expect(Math.min(...scores.slice(n - 3))).toBeGreaterThan(
		2 * Math.max(...alone.scores),
	);
});

it("not robust, they count; and where none is odd, nothing changes", () => {
	const dirty = images(3);
	expect(learntDensity(dirty, { robust: false }).moments).toEqual(
		rounded(momentsOf(dirty)),
	);
	const clean = images(0);
	expect(learntDensity(clean, { robust: true })).toEqual(
		learntDensity(clean, { robust: false }),
	);
});

it("of fewer than 32 images none is odd: their quartiles say too little", () => {
	const few = first(31, images(0));
	few.data.fill(50, 30 * d);
	expect(learntDensity(few, { robust: true }).moments.n).toBe(31);
});
