import { describe, expect, it } from "vitest";
import { float32 } from "../../src/engine/tensor.ts";
import { lessSurround } from "../../src/memory/surround.ts";
import { Random } from "../../src/random.ts";

describe("what is about a patch", () => {
	const [rows, columns, d] = [3, 4, 5];
	const random = new Random("surround");
	const pictures = 2;
	const patches = float32(
		[pictures * rows * columns, d],
		Float32Array.from({ length: pictures * rows * columns * d }, () =>
			random.normal(),
		),
	);
	const at = (p: number, r: number, c: number): number[] => {
		const i = (p * rows + r) * columns + c;
		return [...patches.data.subarray(i * d, (i + 1) * d)];
	};

	it("is taken off by its share, the corners' too, and one picture never touches the next", () => {
		const strength = 0.4;
		const { shape, data } = lessSurround(patches, [rows, columns], strength);
		expect(shape).toEqual(patches.shape);
		for (let p = 0; p < pictures; p++)
			for (let r = 0; r < rows; r++)
				for (let c = 0; c < columns; c++) {
					const near: number[][] = [];
					for (let y = 0; y < rows; y++)
						for (let x = 0; x < columns; x++)
							if (Math.abs(y - r) <= 1 && Math.abs(x - c) <= 1)
								near.push(at(p, y, x));
					const raw = at(p, r, c).map(
						(v, k) =>
							v -
							(strength *
								near.reduce((sum, row) => sum + (row[k] as number), 0)) /
								near.length,
					);
					const length = Math.hypot(...raw);
					const i = (p * rows + r) * columns + c;
					raw.forEach((v, k) => {
						expect(data[i * d + k]).toBeCloseTo(v / length, 6);
					});
				}
	});

	it("of a picture of one colour leaves the patches as they are, of length 1; zeros stay zeros", () => {
		const same = float32([4, 2], Float32Array.of(3, 4, 3, 4, 3, 4, 3, 4));
		for (const [i, x] of lessSurround(same, [2, 2], 0.5).data.entries())
			expect(x).toBeCloseTo(i % 2 === 0 ? 0.6 : 0.8, 6);
		const none = lessSurround(float32([4, 2]), [2, 2], 0.5).data;
		expect([...none]).toEqual(Array(8).fill(0));
	});
});
