/** Moves numbers about, computes none. */
import {
	apply,
	axisOf,
	ints,
	mismatch,
	type Op,
	scalar,
	type Value,
} from "../graph.ts";
import { type Shape, sizeOf } from "../tensor.ts";
import { unbroadcast } from "./elementwise.ts";

const list = (x: unknown): readonly number[] => x as readonly number[];

export const shape = {
	reshape: {
		onnx: "Reshape",
		shape: ([x], { to }) => {
			if (sizeOf(list(to)) !== sizeOf((x as Value).shape))
				throw mismatch(
					"reshape",
					[x as Value],
					`[${list(to).join(", ")}] has another number of elements.`,
				);
			return [list(to)];
		},
		emit: ([x], { to }) => ({
			inputs: [x as Value, ints(list(to))],
			attributes: {},
		}),
		gradient: ({ dy, inputs }) => [reshape(dy, (inputs[0] as Value).shape)],
	},
	/** Axis i of the result is axis perm[i] of the operand; the gradient goes back by the inverse permutation. */
	transpose: {
		onnx: "Transpose",
		shape: ([x], { perm }) => [
			list(perm).map((i) => (x as Value).shape[i] as number),
		],
		gradient: ({ dy, attributes: { perm } }) => [
			transpose(
				dy,
				list(perm).map((_, i) => list(perm).indexOf(i)),
			),
		],
	},
	/** Stretch sides of 1. */
	expand: {
		onnx: "Expand",
		shape: (_, { to }) => [list(to)],
		emit: ([x], { to }) => ({
			inputs: [x as Value, ints(list(to))],
			attributes: {},
		}),
		gradient: ({ dy, inputs }) => [unbroadcast(dy, (inputs[0] as Value).shape)],
	},
	/** Elements [start, end) of one axis; the gradient is padded with zeros. */
	slice: {
		onnx: "Slice",
		shape: ([x], { axis, start, end }) => [
			(x as Value).shape.map((side, i) =>
				i === axis ? (end as number) - (start as number) : side,
			),
		],
		emit: ([x], { axis, start, end }) => ({
			inputs: [
				x as Value,
				ints([start as number]),
				ints([end as number]),
				ints([axis as number]),
			],
			attributes: {},
		}),
		gradient: ({ dy, inputs, attributes: { axis, start, end } }) => {
			const x = inputs[0] as Value;
			const side = x.shape[axis as number] as number;
			const zeros = (n: number) =>
				expand(
					scalar(0),
					x.shape.map((s, i) => (i === axis ? n : s)),
				);
			const parts = [
				...(start ? [zeros(start as number)] : []),
				dy,
				...((end as number) < side ? [zeros(side - (end as number))] : []),
			];
			return [concat(parts, axis as number)];
		},
	},
	/** Along the first axis, the elements at these positions (int64, any shape); no gradient. */
	gather: {
		onnx: "Gather",
		shape: ([x, at]) => [
			[...(at as Value).shape, ...(x as Value).shape.slice(1)],
		],
		emit: () => ({ attributes: { axis: 0 } }),
	},
	concat: {
		onnx: "Concat",
		shape: (inputs, { axis }) => {
			const first = inputs[0] as Value;
			for (const x of inputs) {
				if (
					x.shape.length !== first.shape.length ||
					x.shape.some((s, i) => i !== axis && s !== first.shape[i])
				)
					throw mismatch(
						"concat",
						inputs,
						`All sides but axis ${Number(axis)} must be equal.`,
					);
			}
			const total = inputs.reduce(
				(n, x) => n + (x.shape[axis as number] as number),
				0,
			);
			return [first.shape.map((s, i) => (i === axis ? total : s))];
		},
		gradient: ({ dy, inputs, attributes: { axis }, needs }) => {
			let at = 0;
			return inputs.map((x, i) => {
				const from = at;
				at += x.shape[axis as number] as number;
				return needs[i] ? slice(dy, axis as number, from, at) : null;
			});
		},
	},
} satisfies Record<string, Op>;

/** The same numbers, in row-major order, with other sides. */
export const reshape = (x: Value, to: Shape): Value =>
	to.length === x.shape.length && to.every((s, i) => s === x.shape[i])
		? x
		: apply(shape.reshape, [x], { to: [...to] });
/** Axis i of the result is axis perm[i] of x. */
export const transpose = (x: Value, perm: readonly number[]): Value =>
	apply(shape.transpose, [x], { perm: [...perm] });
/** Sides of 1 repeated, as broadcasting does. */
export const expand = (x: Value, to: Shape): Value =>
	to.length === x.shape.length && to.every((s, i) => s === x.shape[i])
		? x
		: apply(shape.expand, [x], { to: [...to] });
/** Elements [start, end) of one axis. */
export const slice = (
	x: Value,
	axis: number,
	start: number,
	end: number,
): Value =>
	apply(shape.slice, [x], { axis: axisOf(axis, x.shape.length), start, end });
/** Elements of the first axis, at the positions `at` (int64, any shape). */
export const gather = (x: Value, at: Value): Value =>
	apply(shape.gather, [x, at]);
/** One after the other along an axis (negative: counted from the last). */
export const concat = (values: readonly Value[], axis: number): Value =>
	values.length === 1
		? (values[0] as Value)
		: apply(shape.concat, values, {
				axis: axisOf(axis, (values[0] as Value).shape.length),
			});
