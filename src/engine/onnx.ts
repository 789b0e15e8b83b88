/** Writes a graph as an ONNX model (protobuf, onnx.proto3 of ONNX 1.16, opset 17 with com.microsoft 1). */
import { fail } from "../errors.ts";
import { type Attribute, keyOf, nodesOf, type Value } from "./graph.ts";
import { Message } from "./protobuf.ts";
import type { AnyTensor, DType } from "./tensor.ts";

/** TensorProto.DataType */
export const dataTypes: Record<DType, number> = {
	float32: 1,
	uint8: 2,
	int8: 3,
	int32: 6,
	int64: 7,
	float16: 10,
	float64: 11,
};
const boolean = 9;

export interface OnnxModel {
	readonly bytes: Uint8Array;
	/** Names to feed, with shape and dtype. */
	readonly inputs: readonly {
		readonly name: string;
		readonly shape: readonly number[];
		readonly dtype: DType;
	}[];
	readonly outputs: readonly string[];
}

/** What a protobuf message, and so a model in one file, can hold. */
const LARGEST = 2 ** 31 - 1;

/**
 * The model that computes the named outputs. Its inputs are those the outputs depend on.
 * `weights`: values of inputs that become initialisers (prepacked by the runtime), for graphs that are only run forward.
 */
export function toOnnx(
	outputs: Readonly<Record<string, Value>>,
	weights: Readonly<Record<string, AnyTensor>> = {},
): OnnxModel {
	const { graph, inputs } = graphOf(outputs, weights, {
		prefix: "",
		outputName,
	});
	return {
		bytes: modelOf(graph),
		inputs: [...inputs].map(([name, v]) => ({
			name,
			shape: v.shape,
			dtype: v.dtype,
		})),
		outputs: Object.keys(outputs),
	};
}

/** What is inside a node may not have a name of outside. */
const inside = "one.";

/**
 * The same for any number of items, one after the other: every input and output gets a first axis, and the graph is run for each of its
 * elements. So an item's outputs are the same bits alone and among others. Names are as they are given.
 */
export function toOnnxEach(
	outputs: Readonly<Record<string, Value>>,
	weights: Readonly<Record<string, AnyTensor>> = {},
): Uint8Array {
	const { graph: body, inputs } = bodyGraph(outputs, weights, inside);
	const scan = new Message();
	for (const name of inputs.keys()) scan.text(1, name);
	for (const name of Object.keys(outputs)) scan.text(2, name);
	scan
		.text(3, "each")
		.text(4, "Scan")
		.message(5, graphAttribute("body", body))
		.message(5, attributeProto("num_scan_inputs", inputs.size, inside));
	const graph = new Message().message(1, scan).text(2, "keepsight");
	for (const [name, value] of inputs)
		graph.message(11, valueInfo(name, value, "N"));
	for (const [name, value] of Object.entries(outputs))
		graph.message(12, valueInfo(name, value, "N"));
	return modelOf(graph);
}

const bodyGraph = (
	outputs: Readonly<Record<string, Value>>,
	weights: Readonly<Record<string, AnyTensor>>,
	prefix: string,
) => graphOf(outputs, weights, { prefix, outputName: (name) => prefix + name });

function modelOf(graph: Message): Uint8Array {
	const model = new Message()
		.integer(1, 8)
		.text(2, "keepsight")
		.message(7, graph)
		.message(8, new Message().text(1, "").integer(2, 17))
		.message(8, new Message().text(1, "com.microsoft").integer(2, 1));
	if (model.length > LARGEST)
		throw fail("GRAPH_TOO_LARGE", { bytes: model.length });
	return model.bytes();
}

function graphOf(
	outputs: Readonly<Record<string, Value>>,
	weights: Readonly<Record<string, AnyTensor>>,
	naming: {
		/** Of everything but outputs. */
		readonly prefix: string;
		readonly outputName: (name: string) => string;
	},
): { readonly graph: Message; readonly inputs: ReadonlyMap<string, Value> } {
	const names = new Map<object | string, string>();
	const inputs = new Map<string, Value>();
	const initialisers: Message[] = [];
	const nodes: Message[] = [];
	const nameOf = (value: Value): string => {
		const key = keyOf(value);
		const known = names.get(key);
		if (known !== undefined) return known;
		const { source } = value;
		let name: string;
		if (source.kind === "input") {
			const weight = weights[source.name];
			name = naming.prefix + source.name;
			if (weight) initialisers.push(tensorProto(name, weight));
			else inputs.set(source.name, value);
		} else {
			name = `${naming.prefix}v${names.size}`;
			if (source.kind === "constant")
				initialisers.push(tensorProto(name, source.tensor));
		}
		names.set(key, name);
		return name;
	};

	const list = Object.values(outputs);
	// A computed value that is asked for carries its output name from the start; inputs, constants and second names need a copy.
	const copied: [string, Value][] = [];
	for (const [name, value] of Object.entries(outputs)) {
		if (value.source.kind === "node" && !names.has(keyOf(value)))
			names.set(keyOf(value), naming.outputName(name));
		else copied.push([name, value]);
	}
	nodesOf(list).forEach((node, index) => {
		const emitted = node.op.emit?.(node.inputs, node.attributes);
		const message = new Message();
		for (const x of emitted?.inputs ?? node.inputs) message.text(1, nameOf(x));
		for (const y of node.outputs) message.text(2, nameOf(y));
		message.text(3, `n${index}`).text(4, node.op.onnx);
		for (const [name, attribute] of Object.entries(
			emitted?.attributes ?? node.attributes,
		))
			message.message(
				5,
				attributeProto(name, attribute, `${naming.prefix}n${index}.`),
			);
		if (node.op.domain) message.text(7, node.op.domain);
		nodes.push(message);
	});
	for (const [name, value] of copied)
		nodes.push(
			new Message()
				.text(1, nameOf(value))
				.text(2, naming.outputName(name))
				.text(3, `copy ${name}`)
				.text(4, "Identity"),
		);
	const graph = new Message();
	for (const n of nodes) graph.message(1, n);
	graph.text(2, "keepsight");
	for (const t of initialisers) graph.message(5, t);
	for (const [name, value] of inputs)
		graph.message(11, valueInfo(naming.prefix + name, value));
	for (const [name, value] of Object.entries(outputs))
		graph.message(12, valueInfo(naming.outputName(name), value));
	return { graph, inputs };
}

/** The name inside the model of the caller's output `name`: marked, since an input may have the same name. */
export const outputName = (name: string): string => `=${name}`;

/** `each`: name of a first axis of any length. */
function valueInfo(name: string, value: Value, each?: string): Message {
	const shape = new Message();
	if (each !== undefined) shape.message(1, new Message().text(2, each));
	for (const side of value.shape)
		shape.message(1, new Message().integer(1, side));
	const isBoolean =
		value.source.kind === "node" && value.source.node.op.onnx === "LessOrEqual";
	const type = new Message()
		.integer(1, isBoolean ? boolean : dataTypes[value.dtype])
		.message(2, shape);
	return new Message().text(1, name).message(2, new Message().message(1, type));
}

function tensorProto(name: string, tensor: AnyTensor): Message {
	const message = new Message();
	for (const side of tensor.shape) message.integer(1, side);
	const { buffer, byteOffset, byteLength } = tensor.data;
	return message
		.integer(2, dataTypes[tensor.dtype])
		.text(8, name)
		.raw(9, new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength));
}

const graphAttribute = (name: string, graph: Message): Message =>
	new Message().text(1, name).message(6, graph).integer(20, 5);

/** `prefix`: of the names in a body. */
function attributeProto(
	name: string,
	attribute: Attribute,
	prefix: string,
): Message {
	const message = new Message().text(1, name);
	if (typeof attribute === "number")
		return message.integer(3, attribute).integer(20, 2);
	if (typeof attribute === "string")
		return message.text(4, attribute).integer(20, 3);
	if ("body" in attribute) {
		const { outputs, weights } = attribute.body;
		return graphAttribute(name, bodyGraph(outputs, weights, prefix).graph);
	}
	if ("float" in attribute)
		return message.float(2, attribute.float).integer(20, 1);
	for (const value of attribute) message.integer(8, value);
	return message.integer(20, 7);
}
