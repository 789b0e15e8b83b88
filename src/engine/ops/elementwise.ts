/** Element by element, with NumPy's broadcasting for two operands. */
import {
	apply,
	broadcast,
	constant,
	type GradientContext,
	mismatch,
	type Op,
	scalar,
	type Value,
} from "../graph.ts";
import { dataTypes } from "../onnx.ts";
import { type DType, uint8 } from "../tensor.ts";
import { reduceSum } from "./reduce.ts";
import { reshape } from "./shape.ts";

/** The gradient of a broadcast operand: the sum over the axes that were stretched. */
export function unbroadcast(gradient: Value, shape: readonly number[]): Value {
	const lead = gradient.shape.length - shape.length;
	const axes = gradient.shape
		.map((_, i) => i)
		.filter(
			(i) => i < lead || (shape[i - lead] === 1 && gradient.shape[i] !== 1),
		);
	if (axes.length === 0) return gradient;
	return reshape(reduceSum(gradient, axes), shape);
}

const binary = (
	onnx: string,
	gradient: (c: {
		dy: Value;
		a: Value;
		b: Value;
		y: Value;
	}) => readonly [() => Value, () => Value],
): Op => ({
	onnx,
	shape: ([a, b]) => [broadcast(onnx.toLowerCase(), a as Value, b as Value)],
	gradient: ({ dy, inputs, outputs, needs }) => {
		const [a, b] = inputs as [Value, Value];
		const [da, db] = gradient({ dy, a, b, y: outputs[0] as Value });
		return [
			needs[0] ? unbroadcast(da(), a.shape) : null,
			needs[1] ? unbroadcast(db(), b.shape) : null,
		];
	},
});

const unary = (
	onnx: string,
	gradient: (c: { dy: Value; x: Value; y: Value }) => Value,
): Op => ({
	onnx,
	shape: ([x]) => [(x as Value).shape],
	gradient: ({ dy, inputs, outputs }: GradientContext) => [
		gradient({ dy, x: inputs[0] as Value, y: outputs[0] as Value }),
	],
});

export const elementwise = {
	// d(a+b) = da + db
	add: binary("Add", ({ dy }) => [() => dy, () => dy]),
	// d(a-b) = da - db
	sub: binary("Sub", ({ dy }) => [() => dy, () => neg(dy)]),
	// d(ab) = b da + a db
	mul: binary("Mul", ({ dy, a, b }) => [() => mul(dy, b), () => mul(dy, a)]),
	// d(a/b) = da/b - (a/b) db/b
	div: binary("Div", ({ dy, b, y }) => [
		() => div(dy, b),
		() => neg(div(mul(dy, y), b)),
	]),
	// the smaller operand takes the gradient; at a tie the first
	min: binary("Min", ({ dy, a, b }) => [
		() => where(lessOrEqual(a, b), dy, scalar(0)),
		() => where(lessOrEqual(a, b), scalar(0), dy),
	]),
	// the larger operand takes the gradient; at a tie the second
	max: binary("Max", ({ dy, a, b }) => [
		() => where(lessOrEqual(a, b), scalar(0), dy),
		() => where(lessOrEqual(a, b), dy, scalar(0)),
	]),
	neg: unary("Neg", ({ dy }) => neg(dy)),
	exp: unary("Exp", ({ dy, y }) => mul(dy, y)),
	log: unary("Log", ({ dy, x }) => div(dy, x)),
	// d sqrt(x) = dx / (2 sqrt(x))
	sqrt: unary("Sqrt", ({ dy, y }) => div(mul(dy, 0.5), y)),
	// d erf(x) = 2/sqrt(pi) exp(-x^2) dx
	erf: unary("Erf", ({ dy, x }) =>
		mul(dy, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI))),
	),
	/** a <= b as a boolean; no gradient. */
	lessOrEqual: {
		onnx: "LessOrEqual",
		shape: ([a, b]) => [broadcast("lessOrEqual", a as Value, b as Value)],
		dtype: () => "uint8",
	},
	/** condition ? a : b */
	where: {
		onnx: "Where",
		shape: (inputs) => {
			const [c, a, b] = inputs as [Value, Value, Value];
			return [broadcast("where", c, { ...a, shape: broadcast("where", a, b) })];
		},
		dtype: (inputs) => (inputs[1] as Value).dtype,
		gradient: ({ dy, inputs }) => {
			const [c, a, b] = inputs as [Value, Value, Value];
			return [
				null,
				unbroadcast(where(c, dy, scalar(0)), a.shape),
				unbroadcast(where(c, scalar(0), dy), b.shape),
			];
		},
	},
	/** round(x / step) + zero in 0..255, halves to even, a step a row: x [rows, n], steps [rows]. */
	quantiseRows: {
		onnx: "QuantizeLinear",
		shape: (inputs) => {
			const [x, steps] = inputs as [Value, Value];
			if (x.shape.length !== 2 || steps.shape.join() !== `${x.shape[0]}`)
				throw mismatch(
					"quantiseRows",
					inputs,
					"Needs x [rows, n] and a step a row.",
				);
			return [x.shape];
		},
		dtype: () => "uint8",
		emit: (inputs, { zero }) => {
			const zeros = uint8((inputs[1] as Value).shape);
			zeros.data.fill(zero as number);
			return { inputs: [...inputs, constant(zeros)], attributes: { axis: 0 } };
		},
	},
	/** To another dtype; towards 0 where that holds whole numbers. No gradient. */
	cast: {
		onnx: "Cast",
		shape: ([x]) => [(x as Value).shape],
		dtype: (_, { to }) => to as DType,
		emit: (_, { to }) => ({ attributes: { to: dataTypes[to as DType] } }),
	},
} satisfies Record<string, Op>;

/** An edge, or a number of the other operand's dtype. */
export type Operand = Value | number;
/** A number becomes a constant of the other operand's dtype. */
const value = (x: Operand, other: Operand): Value =>
	typeof x === "number"
		? scalar(x, typeof other === "number" ? "float32" : other.dtype)
		: x;
/** a + b. Shapes broadcast as in NumPy, here and below. */
export const add = (a: Operand, b: Operand): Value =>
	apply(elementwise.add, [value(a, b), value(b, a)]);
/** a - b */
export const sub = (a: Operand, b: Operand): Value =>
	apply(elementwise.sub, [value(a, b), value(b, a)]);
/** a b */
export const mul = (a: Operand, b: Operand): Value =>
	apply(elementwise.mul, [value(a, b), value(b, a)]);
/** a / b */
export const div = (a: Operand, b: Operand): Value =>
	apply(elementwise.div, [value(a, b), value(b, a)]);
/** The smaller of both. */
export const min = (a: Operand, b: Operand): Value =>
	apply(elementwise.min, [value(a, b), value(b, a)]);
/** The larger of both. */
export const max = (a: Operand, b: Operand): Value =>
	apply(elementwise.max, [value(a, b), value(b, a)]);
/** -x */
export const neg = (x: Value): Value => apply(elementwise.neg, [x]);
/** e^x */
export const exp = (x: Value): Value => apply(elementwise.exp, [x]);
/** Natural logarithm. */
export const log = (x: Value): Value => apply(elementwise.log, [x]);
/** Square root. */
export const sqrt = (x: Value): Value => apply(elementwise.sqrt, [x]);
export const erf = (x: Value): Value => apply(elementwise.erf, [x]);
export const lessOrEqual = (a: Operand, b: Operand): Value =>
	apply(elementwise.lessOrEqual, [value(a, b), value(b, a)]);
/** a where c is true, b elsewhere. */
export const where = (c: Value, a: Operand, b: Operand): Value =>
	apply(elementwise.where, [c, value(a, b), value(b, a)]);
/** round(x / step) + zero in 0..255 with a step a row: x [rows, n], steps [rows, 1] or [rows]. */
export const quantiseRows = (x: Value, steps: Value, zero: number): Value =>
	apply(elementwise.quantiseRows, [x, reshape(steps, x.shape.slice(0, 1))], {
		zero,
	});
export const cast = (x: Value, to: DType): Value =>
	x.dtype === to ? x : apply(elementwise.cast, [x], { to });
export const toFloat = (x: Value): Value => cast(x, "float32");
