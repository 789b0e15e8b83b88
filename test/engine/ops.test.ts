/** Every operator's gradient by central differences of its own forward pass, and its shape rule's refusals. An operator without a case fails. */
import { describe, expect, it } from "vitest";
import { gradients } from "../../src/engine/autodiff.ts";
import {
	constant,
	input,
	type Op,
	type Value,
} from "../../src/engine/graph.ts";
import * as o from "../../src/engine/ops/index.ts";
import { Session } from "../../src/engine/runtime.ts";
import { float32, int8, type Tensor, uint8 } from "../../src/engine/tensor.ts";
import { Random } from "../../src/random.ts";

interface Case {
	readonly shapes: readonly (readonly number[])[];
	readonly build: (...x: Value[]) => Value;
	/** Draws inputs where the function is smooth. Default: normal. */
	readonly draw?: (r: Random) => number;
}
const positive = (r: Random) => r.uniform(0.5, 2);
const cases: Readonly<
	Record<keyof typeof o.ops, readonly Case[] | "no gradient">
> = {
	add: [
		{ shapes: [[2, 3], [3]], build: o.add },
		{
			shapes: [
				[2, 1, 3],
				[4, 1],
			],
			build: o.add,
		},
	],
	sub: [
		{
			shapes: [
				[2, 3],
				[2, 1],
			],
			build: o.sub,
		},
	],
	mul: [
		{ shapes: [[2, 3], []], build: o.mul },
		{
			shapes: [
				[2, 3],
				[2, 3],
			],
			build: o.mul,
		},
	],
	div: [{ shapes: [[2, 3], [3]], build: o.div, draw: positive }],
	min: [
		{
			shapes: [
				[3, 4],
				[3, 4],
			],
			build: o.min,
		},
		{ shapes: [[3, 4], [4]], build: o.min },
	],
	max: [
		{
			shapes: [
				[3, 4],
				[3, 4],
			],
			build: o.max,
		},
	],
	neg: [{ shapes: [[5]], build: o.neg }],
	exp: [{ shapes: [[5]], build: o.exp }],
	log: [{ shapes: [[5]], build: o.log, draw: positive }],
	sqrt: [{ shapes: [[5]], build: o.sqrt, draw: positive }],
	erf: [{ shapes: [[7]], build: o.erf }],
	lessOrEqual: "no gradient",
	where: [
		{
			shapes: [
				[3, 3],
				[3, 3],
			],
			build: (a, b) =>
				o.where(
					o.lessOrEqual(
						constant(
							float32(
								[3, 3],
								new Float32Array([1, -1, 1, -1, 1, -1, 1, -1, 1]),
							),
						),
						0,
					),
					a,
					b,
				),
		},
	],
	cast: "no gradient",
	gather: "no gradient",
	each: "no gradient",
	reduceSum: [
		{ shapes: [[2, 3, 4]], build: (x) => o.reduceSum(x, [0, -1]) },
		{ shapes: [[2, 3]], build: (x) => o.reduceSum(x, []) },
	],
	topK: "no gradient",
	argMax: "no gradient",
	reduceSumSquare: [{ shapes: [[2, 3]], build: o.sumSquare }],
	softmax: [{ shapes: [[2, 5]], build: o.softmax }],
	logSoftmax: [{ shapes: [[2, 5]], build: o.logSoftmax }],
	matmul: ([false, true] as const).flatMap((transA) =>
		([false, true] as const).map((transB) => ({
			shapes: [transA ? [2, 4, 3] : [2, 3, 4], transB ? [2, 5, 4] : [2, 4, 5]],
			build: (a: Value, b: Value) =>
				o.matmul(a, b, { transA, transB, alpha: 0.7 }),
		})),
	),
	integerLinear: "no gradient",
	dynamicLinear: "no gradient",
	headProduct: "no gradient",
	quantiseRows: "no gradient",
	reduceMax: "no gradient",
	linear: [
		{
			shapes: [[3, 4], [5, 4], [5]],
			build: (x, w, b) => o.linear(x as Value, w as Value, b),
		},
		{
			shapes: [
				[3, 4],
				[5, 4],
			],
			build: (x, w, b) => o.linear(x as Value, w as Value, b),
		},
		{
			shapes: [[3, 4], [5, 4], [5]],
			build: (x, w, b) => o.linear(x, w, b, { alpha: 0.5, beta: 2 }),
		},
	],
	gemm: ([false, true] as const).flatMap((transA) =>
		([false, true] as const).map((transB) => ({
			shapes: [transA ? [4, 3] : [3, 4], transB ? [5, 4] : [4, 5]],
			build: (a: Value, b: Value) =>
				o.gemm(a, b, { transA, transB, alpha: 1.3 }),
		})),
	),
	layerNorm: [
		{
			shapes: [[3, 6], [6], [6]],
			build: (x, w, b) => o.layerNorm(x, w, b, 1e-6),
		},
	],
	gelu: [{ shapes: [[3, 5]], build: (x) => o.gelu(x) }],
	reshape: [{ shapes: [[2, 6]], build: (x) => o.reshape(x, [3, 4]) }],
	transpose: [{ shapes: [[2, 3, 4]], build: (x) => o.transpose(x, [2, 0, 1]) }],
	expand: [{ shapes: [[2, 1, 3]], build: (x) => o.expand(x, [2, 4, 3]) }],
	slice: [{ shapes: [[4, 5]], build: (x) => o.slice(x, 1, 1, 3) }],
	concat: [
		{
			shapes: [
				[2, 3],
				[2, 1],
			],
			build: (a, b) => o.concat([a, b], 1),
		},
	],
};

const random = new Random("ops");
const tensor = (
	shape: readonly number[],
	draw = (r: Random) => r.normal(),
): Tensor =>
	float32(
		shape,
		Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () =>
			draw(random),
		),
	);

describe("gradients by finite differences", () => {
	it("has a case for every operator", () => {
		expect(Object.keys(cases).sort()).toEqual(Object.keys(o.ops).sort());
	});

	for (const [name, list] of Object.entries(cases)) {
		if (list === "no gradient") {
			it(`${name} has none`, () => {
				expect(
					(o.ops[name as keyof typeof o.ops] as Op).gradient,
				).toBeUndefined();
			});
			continue;
		}
		list.forEach((c, index) => {
			it(`${name} ${index}`, async () => {
				const x = c.shapes.map((shape, i) => input(`x${i}`, shape));
				const y = c.build(...x);
				const weight = tensor(y.shape);
				const loss = o.sum(o.mul(y, input("w", y.shape)));
				const outputs = Object.fromEntries(
					gradients(loss, x).map((g, i) => [`g${i}`, g]),
				);
				const session = await Session.create(
					{ loss, ...outputs },
					{ threads: 1 },
				);
				const values = c.shapes.map((shape) => tensor(shape, c.draw));
				const feeds = (list: readonly Tensor[]) => ({
					w: weight,
					...Object.fromEntries(list.map((t, i) => [`x${i}`, t])),
				});
				const out = await session.run(feeds(values));
				const h = 4e-3;
				for (const [i, value] of values.entries()) {
					const analytic = (out[`g${i}`] as Tensor).data;
					expect((out[`g${i}`] as Tensor).shape).toEqual(value.shape);
					const scale = Math.max(1, ...analytic.map(Math.abs));
					for (let j = 0; j < value.data.length; j++) {
						const at = async (delta: number) => {
							const moved = values.map((t, k) =>
								k === i
									? float32(
											t.shape,
											t.data.map((v, m) => (m === j ? v + delta : v)),
										)
									: t,
							);
							return ((await session.run(feeds(moved))).loss as Tensor)
								.data[0] as number;
						};
						const numeric = ((await at(h)) - (await at(-h))) / (2 * h);
						expect(
							Math.abs(numeric - (analytic[j] as number)),
							`${name} d/dx${i}[${j}]: ${analytic[j]} against ${numeric}`,
						).toBeLessThan(3e-3 * scale);
					}
				}
				await session.release();
			});
		});
	}
});

describe("gelu at exactly 0", () => {
	it("has slope 1/2 and no NaN", async () => {
		const x = input("x", [3]);
		const y = o.gelu(x);
		const session = await Session.create(
			{ y, g: gradients(o.sum(y), [x])[0] as Value },
			{ threads: 1 },
		);
		const out = await session.run({
			x: float32([3], new Float32Array([0, -0, 1e-40])),
		});
		expect([...(out.g as Tensor).data]).toEqual([0.5, 0.5, 0.5]);
	});
});

describe("a linear layer of integers", () => {
	const layer = o.integerLinear(
		input("x", [2, 3], "uint8"),
		input("w", [3, 2], "int8"),
		input("scale", [2]),
		input("b", [2]),
		64,
	);

	it("is exact, at the ends of 7 and 8 bits too", async () => {
		const session = await Session.create({ y: layer }, { threads: 1 });
		const { y } = await session.run({
			x: uint8([2, 3], Uint8Array.of(64, 65, 62, 127, 127, 127)),
			w: int8([3, 2], Int8Array.of(5, 127, -7, 127, 11, 127)),
			scale: float32([2], Float32Array.of(0.5, 2)),
			b: float32([2], Float32Array.of(1, -1000)),
		});
		await session.release();
		// 0, 1, -2 by [5 -7 11] and 127s; 63s
		expect([...(y as Tensor).data]).toEqual([
			(-7 - 22) / 2 + 1,
			-127 * 2 - 1000,
			(63 * 9) / 2 + 1,
			63 * 381 * 2 - 1000,
		]);
	});

	it("wants inputs that fit", () => {
		const [x, w] = [input("x", [2, 3], "uint8"), input("w", [3, 2], "int8")];
		const [two, three] = [input("two", [2]), input("three", [3])];
		expect(() => o.integerLinear(x, w, three, two, 64)).toThrow("a scale");
		expect(() => o.integerLinear(x, w, two, three, 64)).toThrow("a scale");
		expect(() =>
			o.integerLinear(x, input("v", [2, 2], "int8"), two, two, 64),
		).toThrow("[2, 2]");
	});
});

describe("a linear layer that rounds its input", () => {
	it("has a step and a zero for all its rows", async () => {
		const session = await Session.create(
			{
				y: o.dynamicLinear(
					input("x", [2, 2]),
					input("w", [2, 2], "int8"),
					input("scale", [2]),
					input("b", [2]),
				),
			},
			{ threads: 1 },
		);
		const w = int8([2, 2], Int8Array.of(1, 127, 2, -127));
		const scale = float32([2], Float32Array.of(1, 0.5));
		const b = float32([2], Float32Array.of(0, 10));
		const of = async (...x: number[]) => {
			const fed = float32([2, 2], Float32Array.from(x));
			return [...((await session.run({ x: fed, w, scale, b })).y?.data ?? [])];
		};
		// -1 to 254: steps of 1
		expect(await of(-1, 254, 7.4, 0)).toEqual([
			-1 + 508,
			(-127 - 254 * 127) / 2 + 10,
			7,
			(7 * 127) / 2 + 10,
		]);
		expect(await of(0, 0, 0, 0)).toEqual([0, 10, 0, 10]);
		await session.release();
	});

	it("wants inputs that fit", () => {
		const [two, three] = [input("two", [2]), input("three", [3])];
		const w = input("w", [3, 2], "int8");
		expect(() => o.dynamicLinear(input("x", [2, 3]), w, two, three)).toThrow(
			"a scale",
		);
		expect(() => o.dynamicLinear(input("x", [2, 2]), w, two, two)).toThrow(
			"[2, 2]",
		);
	});
});

describe("rows in 8 bits", () => {
	it("have a step each; what is out of reach stops at the ends", async () => {
		const x = float32(
			[3, 3],
			Float32Array.of(-0.5, 1, 2.5, -20, 0, 2000, 0.25, -0.25, 0.5),
		);
		const row = input("x", [3, 3]);
		const session = await Session.create(
			{
				codes: o.quantiseRows(row, input("steps", [3, 1]), 16),
				largest: o.reduceMax(row),
			},
			{ threads: 1 },
		);
		const out = await session.run({
			x,
			steps: float32([3, 1], Float32Array.of(1, 1, 0.25)),
		});
		await session.release();
		expect([...(out.codes?.data ?? [])]).toEqual([
			16, 17, 18, 0, 16, 255, 17, 15, 18,
		]);
		expect(out.largest).toMatchObject({ shape: [3, 1] });
		expect([...(out.largest?.data ?? [])]).toEqual([2.5, 2000, 0.5]);
		expect(() => o.quantiseRows(row, input("steps", [2, 1]), 16)).toThrow();
	});
});

describe("products by head", () => {
	it("are those of transposed copies, bit for bit", async () => {
		const [t, h, d] = [37, 3, 16];
		const r = new Random("heads");
		const draw = (...shape: number[]) =>
			float32(
				shape,
				Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () =>
					r.normal(),
				),
			);
		const [a, b] = [input("a", [t, h, d]), input("b", [t, h, d])];
		const p = input("p", [h, t, t]);
		const byHead = (x: Value) => o.transpose(x, [1, 0, 2]);
		const session = await Session.create(
			{
				scores: o.headScores(a, b, 0.25),
				sums: o.headSums(p, b),
				scores2: o.matmul(byHead(a), byHead(b), { transB: true, alpha: 0.25 }),
				sums2: o.matmul(p, byHead(b)),
			},
			{ threads: 1 },
		);
		const out = await session.run({
			a: draw(t, h, d),
			b: draw(t, h, d),
			p: draw(h, t, t),
		});
		await session.release();
		expect(out.scores).toEqual(out.scores2);
		expect(out.sums).toEqual(out.sums2);
		expect(() => o.headScores(a, input("c", [t, 2, d]), 1)).toThrow(
			"equal heads",
		);
		expect(() => o.headSums(p, input("c", [t - 1, h, d]))).toThrow(
			"inner sizes",
		);
	});
});

describe("the k largest", () => {
	it("of every row, falling, equals too", async () => {
		const x = float32([2, 4], Float32Array.of(1, 3, 2, 3, -1, -4, -2, -3));
		const session = await Session.create(
			{ ...o.topK(input("x", [2, 4]), 3) },
			{ threads: 1 },
		);
		const { values, positions } = await session.run({ x });
		await session.release();
		expect(values).toMatchObject({ shape: [2, 3], dtype: "float32" });
		expect([...(values as Tensor).data]).toEqual([3, 3, 2, -1, -2, -3]);
		expect(positions).toMatchObject({ shape: [2, 3], dtype: "int64" });
		expect(Array.from((positions as Tensor).data, Number)).toEqual([
			1, 3, 2, 0, 2, 3,
		]);
	});

	it("of fewer are refused", () => {
		expect(() => o.topK(input("x", [4, 2]), 3)).toThrow("has no 3");
	});
});

describe("shape rules name both shapes", () => {
	const a = input("a", [16, 197, 192]);
	it.each([
		[
			"matmul",
			() => o.matmul(a, input("b", [16, 384, 192])),
			"[16, 197, 192] x [16, 384, 192]",
		],
		[
			"linear",
			() => o.linear(input("x", [4, 3]), input("w", [5, 4])),
			"[4, 3] x [5, 4]",
		],
		["add", () => o.add(a, input("b", [5])), "[16, 197, 192] x [5]"],
		[
			"concat",
			() => o.concat([input("x", [2, 3]), input("y", [3, 3])], 1),
			"[2, 3] x [3, 3]",
		],
		["reshape", () => o.reshape(input("x", [2, 3]), [4]), "[2, 3]"],
		[
			"layerNorm",
			() => o.layerNorm(a, input("w", [3]), input("b", [3]), 1e-6),
			"[16, 197, 192] x [3] x [3]",
		],
	])("%s", (_, build, text) => {
		expect(build).toThrow(text);
	});
	it("asks for a gradient where there is none", () => {
		const x = input("x", [2]);
		expect(() =>
			gradients(o.sum(o.toFloat(o.cast(x, "float64"))), [x]),
		).toThrow("has no gradient");
	});
});
