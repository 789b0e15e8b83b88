/** Half precision against the definition of the format, value by value. */
import { describe, expect, it } from "vitest";
import {
	fromHalf,
	halfToNumber,
	numberToHalf,
	toHalf,
} from "../../src/engine/half.ts";
import { float32 } from "../../src/engine/tensor.ts";
import { Random } from "../../src/random.ts";

/** All values of the format that are not negative, by their bits, which rise with them; read from text as the standard writes them. */
const finite = Array.from({ length: 0x7c00 }, (_, bits) => {
	const text = bits.toString(2).padStart(15, "0");
	const exponent = Number.parseInt(text.slice(0, 5), 2);
	const hidden = exponent === 0 ? "0" : "1";
	return (
		Number.parseInt(hidden + text.slice(5), 2) *
		2 ** (Math.max(exponent, 1) - 25)
	);
});

/** The nearest value by search; of two equally near the one with an even last bit. The step after 65504 would be 65536. */
function nearestBits(value: number): number {
	const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
	const magnitude = Math.abs(value);
	let [low, high] = [0, finite.length]; // finite[low] <= magnitude < finite[high]
	while (high - low > 1) {
		const middle = (low + high) >> 1;
		if ((finite[middle] as number) <= magnitude) low = middle;
		else high = middle;
	}
	const down = magnitude - (finite[low] as number);
	const up = (finite[high] ?? 65536) - magnitude;
	if (down === up) return sign | (low % 2 === 0 ? low : high);
	return sign | (down < up ? low : high);
}

describe("halves as numbers", () => {
	it("are what the standard says", () => {
		for (const [bits, value] of finite.entries()) {
			if (
				!Object.is(halfToNumber(bits), value) ||
				!Object.is(halfToNumber(bits | 0x8000), -value)
			)
				expect.fail(`${bits} is ${halfToNumber(bits)}, not ${value}`);
		}
		expect(halfToNumber(0x3c00)).toBe(1);
		expect(halfToNumber(0x3555)).toBe(0.333251953125);
		expect(halfToNumber(0x7bff)).toBe(65504);
		expect(halfToNumber(0x0001)).toBe(2 ** -24);
		expect(halfToNumber(0x7c00)).toBe(Number.POSITIVE_INFINITY);
		expect(halfToNumber(0xfc00)).toBe(Number.NEGATIVE_INFINITY);
	});

	it("come back to the same bits, all 65536 of them; what is not a number stays that", () => {
		for (let bits = 0; bits < 65536; bits++) {
			const value = halfToNumber(bits);
			if ((bits & 0x7fff) > 0x7c00) {
				expect(value).toBeNaN();
				expect(halfToNumber(numberToHalf(value))).toBeNaN();
			} else if (numberToHalf(value) !== bits)
				expect.fail(`${bits} became ${numberToHalf(value)}`);
		}
	});
});

describe("numbers as halves", () => {
	it("go to the nearest, ties to even: midpoints, and the float32 to either side of them", () => {
		const step = new Float32Array(1);
		const bits = new Uint32Array(step.buffer);
		for (let low = 0; low < finite.length; low++) {
			step[0] = ((finite[low] as number) + (finite[low + 1] ?? 65536)) / 2;
			const middle = bits[0] as number;
			for (const next of [middle - 1, middle, middle + 1]) {
				bits[0] = next;
				const value: number = step[0];
				if (numberToHalf(value) !== nearestBits(value))
					expect.fail(
						`${value}: ${numberToHalf(value)}, not ${nearestBits(value)}`,
					);
				if (numberToHalf(-value) !== nearestBits(-value))
					expect.fail(`${-value}: ${numberToHalf(-value)}`);
			}
		}
	});

	it("go to the nearest: random float32 of every size", () => {
		const random = new Random("half.test");
		for (let i = 0; i < 100_000; i++) {
			const value = Math.fround(random.normal() * 2 ** random.uniform(-30, 17));
			if (numberToHalf(value) !== nearestBits(value))
				expect.fail(
					`${value}: ${numberToHalf(value)}, not ${nearestBits(value)}`,
				);
		}
	});

	it.each([
		[65504, 0x7bff],
		[65519.99609375, 0x7bff], // the last float32 below the middle
		[65520, 0x7c00],
		[1e30, 0x7c00],
		[Number.POSITIVE_INFINITY, 0x7c00],
		[-65520, 0xfc00],
		[2 ** -14, 0x0400], // the smallest normal
		[2 ** -14 - 2 ** -25, 0x0400], // rounds up into it, to even
		[2 ** -14 - 2 ** -24, 0x03ff],
		[2 ** -24, 0x0001],
		[2 ** -25, 0], // the middle between 0 and the smallest
		[2 ** -25 + 2 ** -48, 0x0001],
		[3 * 2 ** -25, 0x0002],
		[1e-30, 0],
		[0, 0],
		[-0, 0x8000],
		[-(2 ** -25), 0x8000],
	])("%d has the bits %i", (value, bits) => {
		expect(numberToHalf(value)).toBe(bits);
	});

	it("what is not a number stays that", () => {
		expect(halfToNumber(numberToHalf(Number.NaN))).toBeNaN();
	});
});

it("tensors keep their shape, and what was a half stays as it is", () => {
	const half = toHalf(
		float32([2, 3], Float32Array.of(1, -0.1, 1e-6, 65504, 0, -2)),
	);
	expect(half.dtype).toBe("float16");
	expect(half.shape).toEqual([2, 3]);
	const back = fromHalf(half);
	expect(back.dtype).toBe("float32");
	expect(back.shape).toEqual([2, 3]);
	expect([...back.data]).toEqual([
		1,
		-0.0999755859375,
		17 * 2 ** -24,
		65504,
		0,
		-2,
	]);
	expect(toHalf(back)).toEqual(half);
});
