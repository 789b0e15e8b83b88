import { describe, expect, it } from "vitest";
import { otherViews } from "../../src/data/turn.ts";
import { uint8 } from "../../src/engine/tensor.ts";

/** Each pixel's red tells it from all others. */
const picture = (h: number, w: number) =>
	uint8(
		[h, w, 3],
		Uint8Array.from({ length: h * w * 3 }, (_, i) =>
			i % 3 === 0 ? i / 3 + 1 : 7,
		),
	);
const reds = ({ data }: { data: Uint8Array }): number[] =>
	[...data].filter((_, i) => i % 3 === 0);

describe("other views", () => {
	it("of a picture that is not square keep its shape", () => {
		const image = picture(2, 3); // 1 2 3 / 4 5 6
		const views = otherViews(image, "all");
		expect(views.map(reds)).toEqual([
			[6, 5, 4, 3, 2, 1],
			[3, 2, 1, 6, 5, 4],
			[4, 5, 6, 1, 2, 3],
		]);
		expect(views.map(({ shape }) => shape)).toEqual(Array(3).fill([2, 3, 3]));
		expect(otherViews(image, "turns").map(reds)).toEqual([[6, 5, 4, 3, 2, 1]]);
	});

	it("of a square are turns by 180, 90 and 270 degrees, and flips", () => {
		const image = picture(2, 2); // 1 2 / 3 4
		expect(otherViews(image, "turns").map(reds)).toEqual([
			[4, 3, 2, 1],
			[2, 4, 1, 3],
			[3, 1, 4, 2],
		]);
		expect(otherViews(image, "flips").map(reds)).toEqual([
			[4, 3, 2, 1],
			[2, 1, 4, 3],
			[3, 4, 1, 2],
		]);
		const all = [image, ...otherViews(image, "all")].map(reds);
		expect(new Set(all.map(String)).size).toBe(8);
		expect(otherViews(image, "none")).toEqual([]);
	});

	it("move colours with their pixels", () => {
		const image = uint8([1, 2, 3], Uint8Array.of(1, 2, 3, 4, 5, 6));
		expect([...(otherViews(image, "flips")[1]?.data ?? [])]).toEqual([
			4, 5, 6, 1, 2, 3,
		]);
	});
});
