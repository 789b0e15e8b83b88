import { describe, expect, it } from "vitest";
import { ridge, scales } from "../../src/linalg/ridge.ts";
import { Random } from "../../src/random.ts";

const rows = 200;
const n = 5;
const out = 3;
const random = new Random("ridge.test");
const x = Array.from({ length: rows }, () =>
	Float64Array.from({ length: n }, (_, i) => random.normal(i, 1 + i)),
);
const weight = Float64Array.from({ length: out * n }, () =>
	random.normal(0, 1),
);
const bias = Float64Array.from({ length: out }, () => random.normal(0, 3));
const noise = x.map(() =>
	Float64Array.from({ length: out }, () => random.normal(0, 0.5)),
);
const linear = (row: Float64Array) =>
	bias.map((b, o) =>
		row.reduce((sum, v, i) => sum + v * (weight[o * n + i] as number), b),
	);

function sumsOf(from: readonly Float64Array[], to: readonly Float64Array[]) {
	const a = (from[0] as Float64Array).length;
	const b = (to[0] as Float64Array).length;
	const sums = {
		x: new Float64Array(a),
		y: new Float64Array(b),
		xx: new Float64Array(a * a),
		xy: new Float64Array(a * b),
	};
	const add = (at: Float64Array, i: number, v: number) => {
		at[i] = (at[i] as number) + v;
	};
	for (const [r, u] of from.entries()) {
		const v = to[r] as Float64Array;
		u.forEach((ui, i) => {
			add(sums.x, i, ui);
			u.forEach((uj, j) => add(sums.xx, i * a + j, ui * uj));
			v.forEach((vj, j) => add(sums.xy, i * b + j, ui * vj));
		});
		v.forEach((vj, j) => add(sums.y, j, vj));
	}
	return sums;
}

const close = (a: Float64Array, b: Float64Array, digits: number) =>
	a.forEach((v, i) => expect(v).toBeCloseTo(b[i] as number, digits));

describe("ridge", () => {
	it("without penalty finds the function that made the data", () => {
		const found = ridge(sumsOf(x, x.map(linear)), rows, 0);
		close(found.weight, weight, 8);
		close(found.bias, bias, 7);
	});

	it("is where the penalised error has no slope", () => {
		const y = x.map((row, r) =>
			linear(row).map((v, o) => v + (noise[r]?.[o] as number)),
		);
		const penalty = 0.3;
		const found = ridge(sumsOf(x, y), rows, penalty);
		let variance = 0;
		for (let i = 0; i < n; i++) {
			const column = x.map((row) => row[i] as number);
			const mean = column.reduce((a, b) => a + b) / rows;
			variance += column.reduce((a, v) => a + (v - mean) ** 2, 0) / rows / n;
		}
		for (let o = 0; o < out; o++) {
			const errors = x.map((row, r) => {
				const said = row.reduce(
					(sum, v, i) => sum + v * (found.weight[o * n + i] as number),
					found.bias[o] as number,
				);
				return (y[r]?.[o] as number) - said;
			});
			expect(errors.reduce((a, b) => a + b)).toBeCloseTo(0, 7);
			for (let i = 0; i < n; i++) {
				const slope = errors.reduce(
					(sum, e, r) => sum + (e * (x[r]?.[i] as number)) / rows,
					0,
				);
				expect(slope).toBeCloseTo(
					penalty * variance * (found.weight[o * n + i] as number),
					8,
				);
			}
		}
	});
});

it("scales fits number by number, and gives 0 where nothing varies", () => {
	const from = x.map((row) => Float64Array.of(row[0] as number, 7));
	const to = from.map(([a]) => Float64Array.of(3 - 2 * (a as number), 4));
	const one = (rowsOf: readonly Float64Array[], f: (v: number) => number) =>
		[0, 1].map((k) =>
			rowsOf.reduce((sum, row) => sum + f(row[k] as number), 0),
		);
	const sums = {
		x: Float64Array.from(one(from, (v) => v)),
		y: Float64Array.from(one(to, (v) => v)),
		xx: Float64Array.from(one(from, (v) => v * v)),
		xy: Float64Array.from([0, 1], (k) =>
			from.reduce(
				(sum, row, r) => sum + (row[k] as number) * (to[r]?.[k] as number),
				0,
			),
		),
	};
	const found = scales(sums, rows);
	close(found.weight, Float64Array.of(-2, 0), 8);
	close(found.bias, Float64Array.of(3, 4), 8);
});
