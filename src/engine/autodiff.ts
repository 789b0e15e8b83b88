/** Reverse-mode gradients: new nodes in the same graph, from the rules in ops/. */
import { fail } from "../errors.ts";
import { keyOf, scalar, type Value } from "./graph.ts";
import { add } from "./ops/elementwise.ts";
import { expand } from "./ops/shape.ts";

const key = (value: Value): object | string => keyOf(value);

/** What a value's gradient flows into: the inputs of its custom rule, or of its node. */
function parents(value: Value): readonly Value[] {
	const v = canonical(value);
	if (v.custom) return v.custom.inputs;
	return v.source.kind === "node" ? v.source.node.inputs : [];
}

/** The twin with a custom rule, where one was made of this edge. */
const canonical = (value: Value): Value =>
	value.source.kind === "node"
		? (value.source.node.outputs[value.source.index] ?? value)
		: value;

/**
 * Gradients of the scalar `loss` with respect to each of `wrt`, in that order.
 * A value that `loss` does not depend on gets a zero of its shape.
 */
export function gradients(loss: Value, wrt: readonly Value[]): Value[] {
	const targets = new Set(wrt.map(key));
	const needs = new Map<object | string, boolean>();
	const order: Value[] = []; // each after its parents
	const stack: { value: Value; next: number }[] = [];
	const open = (value: Value) => {
		if (needs.has(key(value))) return;
		needs.set(key(value), targets.has(key(value)));
		stack.push({ value: canonical(value), next: 0 });
	};
	open(loss);
	for (let top = stack.at(-1); top; top = stack.at(-1)) {
		const list = parents(top.value);
		const child = list[top.next++];
		if (child) {
			open(child);
			continue;
		}
		stack.pop();
		if (list.some((p) => needs.get(key(p)))) needs.set(key(top.value), true);
		if (needs.get(key(top.value))) order.push(top.value);
	}

	const total = new Map<object | string, Value>();
	total.set(key(loss), expand(scalar(1), loss.shape));
	for (const value of order.reverse()) {
		const dy = total.get(key(value));
		const list = parents(value);
		if (!dy || !list.some((p) => needs.get(key(p)))) continue;
		const wanted = list.map((p) => needs.get(key(p)) === true);
		const into = flow(value, dy, wanted);
		list.forEach((p, i) => {
			const d = into[i];
			if (!d || !wanted[i]) return;
			const before = total.get(key(p));
			total.set(key(p), before ? add(before, d) : d);
		});
	}
	return wrt.map((w) => total.get(key(w)) ?? expand(scalar(0), w.shape));
}

function flow(
	value: Value,
	dy: Value,
	needs: readonly boolean[],
): readonly (Value | null)[] {
	if (value.custom) return value.custom.rule(dy, needs);
	if (value.source.kind !== "node") return [];
	const { op, inputs, outputs, attributes } = value.source.node;
	if (!op.gradient || value.source.index !== 0)
		throw fail("NOT_DIFFERENTIABLE", { op: op.onnx });
	return op.gradient({ dy, inputs, outputs, attributes, needs });
}
