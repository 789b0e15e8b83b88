import { describe, expect, it } from "vitest";
import { float32, type Tensor } from "../../src/engine/tensor.ts";
import {
	EXCLUDED,
	foregroundOf,
	inFront,
	windowBias,
} from "../../src/memory/constraints.ts";
import { Random } from "../../src/random.ts";

describe("a window", () => {
	it("excludes what is further away, down or across", () => {
		// 3 x 4 cells; the patch in the middle left, centres in every cell
		const { shape, data } = windowBias([5], [...Array(12).keys()], 4, 1);
		expect(shape).toEqual([1, 12]);
		const x = EXCLUDED;
		expect([...data]).toEqual([0, 0, 0, x, 0, 0, 0, x, 0, 0, 0, x]);
	});
	it("has a row a patch and a column a centre", () => {
		const bias = windowBias([0, 3], [3, 0, 3], 4, 2);
		expect(bias.shape).toEqual([2, 3]);
		expect([...bias.data]).toEqual([EXCLUDED, 0, EXCLUDED, 0, EXCLUDED, 0]);
	});
});

describe("the foreground", () => {
	const [rows, columns, d] = [4, 5, 6];
	const random = new Random("foreground");
	const isPart = (cell: number) => {
		const [r, c] = [Math.floor(cell / columns), cell % columns];
		return r > 0 && r < rows - 1 && c > 0 && c < columns - 1;
	};
	/** The part lies along one direction, what is behind it along another; `sign` turns both round. */
	const view = (sign: number, only?: (cell: number) => boolean) => {
		const cells = [...Array(rows * columns).keys()].filter(
			only ?? (() => true),
		);
		const image: Tensor = float32([cells.length, d]);
		cells.forEach((cell, i) => {
			for (let k = 0; k < d; k++)
				image.data[i * d + k] =
					sign * (k === (isPart(cell) ? 2 : 4) ? 1 : 0) + 0.1 * random.normal();
		});
		return { rows: image, cells };
	};

	it.each([1, -1])("is the side that the border does not show (%d)", (sign) => {
		const images = Array.from({ length: 8 }, () => view(sign));
		const plane = foregroundOf(images, [rows, columns]);
		for (const { rows: image, cells } of images)
			expect([...inFront(image, plane)]).toEqual(
				cells.map((cell) => Number(isPart(cell))),
			);
	});

	it("is found within a region of interest", () => {
		const region = (cell: number) => cell % columns !== 2;
		const images = Array.from({ length: 8 }, () => view(1, region));
		const plane = foregroundOf(images, [rows, columns]);
		const { rows: image, cells } = view(1, region);
		expect([...inFront(image, plane)]).toEqual(
			cells.map((cell) => Number(isPart(cell))),
		);
	});
});
