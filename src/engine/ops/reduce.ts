/** Sums over axes, and the soft maxima. */
import {
	apply,
	applyAll,
	axisOf,
	ints,
	mismatch,
	type Op,
	type Value,
} from "../graph.ts";
import { sizeOf } from "../tensor.ts";
import { exp, mul, sub } from "./elementwise.ts";
import { expand, reshape } from "./shape.ts";

const axesOf = (attributes: { axes?: unknown }): readonly number[] =>
	attributes.axes as readonly number[];

const reduced = (x: Value, axes: readonly number[]): readonly number[] =>
	x.shape.map((side, i) => (axes.includes(i) ? 1 : side));

export const reduce = {
	/** Sum over `axes`, which stay as sides of 1. d sum = dy stretched back. */
	reduceSum: {
		onnx: "ReduceSum",
		shape: ([x], attributes) => [reduced(x as Value, axesOf(attributes))],
		emit: ([x], attributes) => ({
			inputs: [x as Value, ints(axesOf(attributes))],
			attributes: { keepdims: 1 },
		}),
		gradient: ({ dy, inputs }) => [expand(dy, (inputs[0] as Value).shape)],
	},
	/** Sum of squares over `axes`, which stay as sides of 1. dx = 2 x dy. */
	reduceSumSquare: {
		onnx: "ReduceSumSquare",
		shape: ([x], attributes) => [reduced(x as Value, axesOf(attributes))],
		emit: (_, attributes) => ({
			attributes: { axes: axesOf(attributes), keepdims: 1 },
		}),
		gradient: ({ dy, inputs }) => [mul(mul(inputs[0] as Value, 2), dy)],
	},
	/** The largest along the last axis, which stays as a side of 1. */
	reduceMax: {
		onnx: "ReduceMax",
		shape: ([x]) => [[...(x as Value).shape.slice(0, -1), 1]],
		emit: () => ({ attributes: { axes: [-1], keepdims: 1 } }),
	},
	/** The k largest along the last axis, falling, and their positions (int64). */
	topK: {
		onnx: "TopK",
		shape: ([x], attributes) => {
			const of = (x as Value).shape;
			const k = attributes.k as number;
			if (!(k <= (of.at(-1) ?? 0)))
				throw mismatch("topK", [x as Value], `has no ${k} along its last axis`);
			const found = [...of.slice(0, -1), k];
			return [found, found];
		},
		dtype: ([x], _, output) => (output === 0 ? (x as Value).dtype : "int64"),
		emit: ([x], { k }) => ({
			inputs: [x as Value, ints([k as number])],
			attributes: { axis: -1, largest: 1, sorted: 1 },
		}),
	},
	/** Position (int64) of the maximum over `axis`, which stays as a side of 1; the first of equals. */
	argMax: {
		onnx: "ArgMax",
		shape: ([x], attributes) => [
			reduced(x as Value, [attributes.axis as number]),
		],
		dtype: () => "int64",
	},
	/** p = softmax(x) over the last axis; dx = p (dy - sum(p dy)). */
	softmax: {
		onnx: "Softmax",
		shape: ([x]) => [(x as Value).shape],
		emit: () => ({ attributes: { axis: -1 } }),
		gradient: ({ dy, outputs }) => {
			const p = outputs[0] as Value;
			return [mul(p, sub(dy, reduceSum(mul(p, dy), [p.shape.length - 1])))];
		},
	},
	/** q = log softmax(x) over the last axis; dx = dy - exp(q) sum(dy). */
	logSoftmax: {
		onnx: "LogSoftmax",
		shape: ([x]) => [(x as Value).shape],
		emit: () => ({ attributes: { axis: -1 } }),
		gradient: ({ dy, outputs }) => {
			const q = outputs[0] as Value;
			return [sub(dy, mul(exp(q), reduceSum(dy, [q.shape.length - 1])))];
		},
	},
} satisfies Record<string, Op>;

/** Sum over axes, kept as sides of 1. (ONNX's ReduceSum would take an empty list for all axes.) */
export const reduceSum = (x: Value, axes: readonly number[]): Value =>
	axes.length === 0
		? x
		: apply(reduce.reduceSum, [x], {
				axes: axes.map((a) => axisOf(a, x.shape.length)),
			});
/** The largest along the last axis, kept as a side of 1. */
export const reduceMax = (x: Value): Value => apply(reduce.reduceMax, [x]);
export const argMax = (x: Value, axis: number): Value =>
	apply(reduce.argMax, [x], { axis: axisOf(axis, x.shape.length) });
/** The k largest along the last axis, falling, and their positions (int64); the first of equals first. */
export function topK(
	x: Value,
	k: number,
): { readonly values: Value; readonly positions: Value } {
	const [values, positions] = applyAll(reduce.topK, [x], { k });
	return { values: values as Value, positions: positions as Value };
}
/** Sum of squares of all elements, shape []: row by row first, which the runtime does on all threads and without a copy. */
export function sumSquare(x: Value): Value {
	const last = x.shape.length - 1;
	return sum(
		last < 0 ? mul(x, x) : apply(reduce.reduceSumSquare, [x], { axes: [last] }),
	);
}
/** e^x over its sum along the last axis. */
export const softmax = (x: Value): Value => apply(reduce.softmax, [x]);
/** Logarithm of `softmax`, computed as one. */
export const logSoftmax = (x: Value): Value => apply(reduce.logSoftmax, [x]);

/** Sum over axes (default: all), which disappear. */
export function sum(
	x: Value,
	axes: readonly number[] = x.shape.map((_, i) => i),
): Value {
	const gone = axes.map((a) => axisOf(a, x.shape.length));
	return reshape(
		reduceSum(x, gone),
		x.shape.filter((_, i) => !gone.includes(i)),
	);
}
/** Mean over axes (default: all), which disappear. */
export function mean(
	x: Value,
	axes: readonly number[] = x.shape.map((_, i) => i),
): Value {
	const count = sizeOf(
		axes.map((a) => x.shape[axisOf(a, x.shape.length)] as number),
	);
	return mul(sum(x, axes), 1 / count);
}
