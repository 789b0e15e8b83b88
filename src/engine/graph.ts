/**
 * The typed tensor graph. A Value is an edge: it knows its shape, its dtype and the node that makes it, and holds no
 * data. Values are built by the functions of ops/, differentiated by autodiff.ts and written as ONNX by onnx.ts.
 */
import { fail } from "../errors.ts";
import {
	type AnyTensor,
	type DType,
	float32,
	float64,
	type Shape,
} from "./tensor.ts";

export type Attribute =
	| number
	| string
	| readonly number[]
	| { readonly float: number }
	| { readonly body: Body };
export type Attributes = Readonly<Record<string, Attribute>>;

/** A graph that a node runs once for each of some items. */
export interface Body {
	readonly item: Value;
	readonly outputs: Readonly<Record<string, Value>>;
	/** Values of its other inputs. */
	readonly weights: Readonly<Record<string, AnyTensor>>;
}

/** Where a value comes from: fed at every run, a constant of the graph, or computed. */
export type Source =
	| { readonly kind: "input"; readonly name: string }
	| { readonly kind: "constant"; readonly tensor: AnyTensor }
	| { readonly kind: "node"; readonly node: Node; readonly index: number };

/** An edge of the graph: a tensor that is not there yet. */
export interface Value {
	readonly shape: Shape;
	readonly dtype: DType;
	readonly source: Source;
	/** Gradient rule that replaces descending into the nodes behind this value (see `withGradient`). */
	readonly custom?: CustomGradient;
}
/** Named edges. */
export type ValueDict = Record<string, Value>;

export interface Node {
	readonly op: Op;
	readonly inputs: readonly Value[];
	readonly attributes: Attributes;
	readonly outputs: Value[];
}

/** What a gradient rule sees: the upstream gradient of the first output, and the node. `needs[i]`: input i wants one. */
export interface GradientContext {
	readonly dy: Value;
	readonly inputs: readonly Value[];
	readonly outputs: readonly Value[];
	readonly attributes: Attributes;
	readonly needs: readonly boolean[];
}

/** One operator: its ONNX name, its shape rule, its gradient. */
export interface Op {
	readonly onnx: string;
	/** Absent: ai.onnx. */
	readonly domain?: "com.microsoft";
	/** Shapes of the outputs; throws through `mismatch` when the inputs do not fit. */
	shape(inputs: readonly Value[], attributes: Attributes): readonly Shape[];
	/** Of the outputs, by position. Default: the dtype of the first input. */
	dtype?(
		inputs: readonly Value[],
		attributes: Attributes,
		output: number,
	): DType;
	/** Gradient of every input, null where there is none. Absent: not differentiable, and asking is an error. */
	gradient?(context: GradientContext): readonly (Value | null)[];
	/** ONNX attributes and extra constant inputs where they differ from `attributes` and `inputs`. */
	emit?(
		inputs: readonly Value[],
		attributes: Attributes,
	): { inputs?: readonly Value[]; attributes?: Attributes };
}

interface CustomGradient {
	readonly inputs: readonly Value[];
	rule(dy: Value, needs: readonly boolean[]): readonly (Value | null)[];
}

export const input = (
	name: string,
	shape: Shape,
	dtype: DType = "float32",
): Value => ({ shape, dtype, source: { kind: "input", name } });

/** An input for every tensor, by its name. */
export const inputsOf = (
	tensors: Readonly<
		Record<string, { readonly shape: Shape; readonly dtype?: DType }>
	>,
): ValueDict =>
	Object.fromEntries(
		Object.entries(tensors).map(([name, { shape, dtype }]) => [
			name,
			input(name, shape, dtype),
		]),
	);

/** A small tensor written into the graph. Large ones belong to `input`: they would be copied into the model's bytes. */
export const constant = (tensor: AnyTensor): Value => ({
	shape: tensor.shape,
	dtype: tensor.dtype,
	source: { kind: "constant", tensor },
});

const scalars = new Map<string, Value>();
/** A constant of shape [], float64 or else float32. */
export function scalar(x: number, dtype: DType = "float32"): Value {
	const key = `${dtype} ${Object.is(x, -0) ? "-0" : x}`;
	let value = scalars.get(key);
	if (!value) {
		value = constant(
			dtype === "float64"
				? float64([], Float64Array.of(x))
				: float32([], Float32Array.of(x)),
		);
		scalars.set(key, value);
	}
	return value;
}

/** An int64 constant vector: axes, shapes, starts. */
export const ints = (values: readonly number[]): Value =>
	constant({
		dtype: "int64",
		shape: [values.length],
		data: BigInt64Array.from(values, (v) => BigInt(v)),
	});

/** A node of the graph; all its outputs. */
export function applyAll(
	op: Op,
	inputs: readonly Value[],
	attributes: Attributes = {},
): readonly Value[] {
	const node: Node = { op, inputs, attributes, outputs: [] };
	op.shape(inputs, attributes).forEach((shape, index) => {
		const dtype =
			op.dtype?.(inputs, attributes, index) ?? (inputs[0] as Value).dtype;
		node.outputs.push({ shape, dtype, source: { kind: "node", node, index } });
	});
	return node.outputs;
}

/** A node of the graph; its first output. */
export const apply = (
	op: Op,
	inputs: readonly Value[],
	attributes: Attributes = {},
): Value => applyAll(op, inputs, attributes)[0] as Value;

/** The same value with a gradient rule of its own from `inputs`: for groups of nodes whose joint gradient is cheaper than the chain's. */
export function withGradient(
	value: Value,
	inputs: readonly Value[],
	rule: CustomGradient["rule"],
): Value {
	const twin: Value = { ...value, custom: { inputs, rule } };
	if (value.source.kind === "node")
		value.source.node.outputs[value.source.index] = twin;
	return twin;
}

export const mismatch = (
	op: string,
	values: readonly Value[],
	hint: string,
): Error =>
	fail("SHAPE_MISMATCH", { op, shapes: values.map((v) => v.shape), hint });

/** Shape of the element-wise combination of two values by NumPy's rule. */
export function broadcast(op: string, a: Value, b: Value): Shape {
	const rank = Math.max(a.shape.length, b.shape.length);
	const shape: number[] = [];
	for (let i = 0; i < rank; i++) {
		const x = a.shape[a.shape.length - rank + i] ?? 1;
		const y = b.shape[b.shape.length - rank + i] ?? 1;
		if (x !== y && x !== 1 && y !== 1)
			throw mismatch(
				op,
				[a, b],
				"Sides must be equal or 1, aligned at the last axis.",
			);
		shape.push(x === 1 ? y : x);
	}
	return shape;
}

/** Axis counted from the front. */
export const axisOf = (axis: number, rank: number): number =>
	axis < 0 ? axis + rank : axis;

/** Two values that are the same edge (a twin made by `withGradient` counts as its original). */
export function keyOf(value: Value): object | string {
	const s = value.source;
	if (s.kind === "input") return `input:${s.name}`;
	if (s.kind === "constant") return s.tensor;
	return s.node.outputs[s.index] ?? value;
}

/** All nodes behind `outputs`, each after the nodes it reads. */
export function nodesOf(outputs: readonly Value[]): Node[] {
	const order: Node[] = [];
	const seen = new Set<Node>();
	const stack: { node: Node; next: number }[] = [];
	const visit = (value: Value) => {
		if (value.source.kind === "node" && !seen.has(value.source.node)) {
			seen.add(value.source.node);
			stack.push({ node: value.source.node, next: 0 });
		}
	};
	for (const output of outputs) {
		visit(output);
		for (let top = stack.at(-1); top; top = stack.at(-1)) {
			const child = top.node.inputs[top.next++];
			if (child) visit(child);
			else {
				order.push(top.node);
				stack.pop();
			}
		}
	}
	return order;
}
