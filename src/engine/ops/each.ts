/** A graph run for each of some items. */
import {
	applyAll,
	type Attribute,
	type Body,
	input,
	type Op,
	type Value,
	type ValueDict,
} from "../graph.ts";
import type { AnyTensor } from "../tensor.ts";

const bodyOf = (attribute: Attribute | undefined): Body =>
	(attribute as { readonly body: Body }).body;

export const loops = {
	/** The outputs of `body` for every element along the first axis, one after the other; forward only. */
	each: {
		onnx: "Scan",
		shape: ([x], { body }) =>
			Object.values(bodyOf(body).outputs).map((output) => [
				(x as Value).shape[0] as number,
				...output.shape,
			]),
		dtype: (_, { body }, output) =>
			(Object.values(bodyOf(body).outputs)[output] as Value).dtype,
		emit: (_, { body }) => ({
			attributes: { body: body as Attribute, num_scan_inputs: 1 },
		}),
	},
} satisfies Record<string, Op>;

/**
 * `compute` of every element of x [N, ...], with their results side by side again: [N, ...]. One by one, so that what is said of an
 * element does not depend on the others. `weights`: values of the inputs that `compute` reads.
 */
export function each(
	x: Value,
	compute: (item: Value) => ValueDict,
	weights: Readonly<Record<string, AnyTensor>>,
): ValueDict {
	const item = input("item", x.shape.slice(1), x.dtype);
	const outputs = compute(item);
	const values = applyAll(loops.each, [x], {
		body: { body: { item, outputs, weights } },
	});
	return Object.fromEntries(
		Object.keys(outputs).map((name, i) => [name, values[i] as Value]),
	);
}
