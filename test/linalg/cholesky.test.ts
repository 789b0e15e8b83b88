import { expect, test } from "vitest";
import {
	factor,
	inverse,
	logDet,
	solve,
	solveLower,
} from "../../src/linalg/cholesky.ts";
import { Random } from "../../src/random.ts";
import { relativeError } from "../golden.ts";

const d = 12;
const random = new Random("cholesky");
const b = Float64Array.from({ length: d * d }, () => random.normal());
/** B·Bᵀ + I */
const a = Float64Array.from({ length: d * d }, (_, at) => {
	const [i, j] = [Math.floor(at / d), at % d];
	let sum = i === j ? 1 : 0;
	for (let k = 0; k < d; k++)
		sum += (b[i * d + k] as number) * (b[j * d + k] as number);
	return sum;
});
const times = (x: Float64Array) =>
	Float64Array.from({ length: d }, (_, i) =>
		x.reduce((sum, value, j) => sum + value * (a[i * d + j] as number), 0),
	);

test("solve, inverse and the quadratic form agree with the matrix", () => {
	const l = factor(a, d);
	const x = Float64Array.from({ length: d }, () => random.normal());
	expect(relativeError(solve(l, d, times(x)), x)).toBeLessThan(1e-12);
	const inverted = inverse(l, d);
	for (let i = 0; i < d; i++) {
		const unit = Float64Array.from({ length: d }, (_, j) => Number(i === j));
		expect(
			relativeError(times(inverted.subarray(i * d, (i + 1) * d)), unit),
		).toBeLessThan(1e-11);
	}
	const form = solveLower(l, d, times(x)).reduce((sum, y) => sum + y * y, 0); // (Ax)ᵀA⁻¹(Ax) = xᵀAx
	expect(form).toBeCloseTo(
		times(x).reduce((sum, y, i) => sum + y * (x[i] as number), 0),
		9,
	);
});

test("logDet of a known determinant", () => {
	expect(logDet(factor(Float64Array.of(4, 2, 2, 3), 2), 2)).toBeCloseTo(
		Math.log(8),
		14,
	);
});

test("a matrix that is not positive definite is refused, with the pivot", () => {
	expect(() => factor(Float64Array.of(1, 2, 2, 1), 2)).toThrow(
		"pivot 1 of 2 is -3",
	);
	expect(() => factor(Float64Array.of(Number.NaN), 1)).toThrow(
		"not positive definite",
	);
});
