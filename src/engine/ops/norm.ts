/** Layer normalisation over the last axis, and GELU by the error function. */
import { apply, applyAll, mismatch, type Op, type Value } from "../graph.ts";
import { add, div, exp, mul, sub } from "./elementwise.ts";
import { reduceSum } from "./reduce.ts";
import { reshape } from "./shape.ts";

export const norm = {
	/**
	 * y = (x - mean) / sqrt(var + eps) * w + b (Ba et al. 2016). With z the normalised x, s its inverse deviation and g = dy w:
	 * dx = s (g - mean(g) - z mean(g z)), dw = sum(dy z), db = sum(dy).
	 */
	layerNorm: {
		onnx: "LayerNormalization",
		shape: (inputs) => {
			const [x, w, b] = inputs as [Value, Value, Value];
			const d = x.shape.at(-1);
			if (w.shape.length !== 1 || w.shape[0] !== d || b.shape[0] !== d)
				throw mismatch(
					"layerNorm",
					inputs,
					"Weight and bias need one number an element of the last axis.",
				);
			const rows = [...x.shape.slice(0, -1), 1];
			return [x.shape, rows, rows];
		},
		emit: (_, { eps }) => ({
			attributes: { axis: -1, epsilon: eps as { float: number } },
		}),
		gradient: ({ dy, inputs, outputs, needs }) => {
			const [x, w, b] = inputs as [Value, Value, Value];
			const [, mean, inverse] = outputs as [Value, Value, Value];
			const last = x.shape.length - 1;
			const d = x.shape[last] as number;
			const lead = x.shape.map((_, i) => i).filter((i) => i < last);
			const z = mul(sub(x, mean), inverse);
			const dz = () => {
				const g = mul(dy, w);
				const m1 = mul(reduceSum(g, [last]), 1 / d);
				const m2 = mul(reduceSum(mul(g, z), [last]), 1 / d);
				return mul(sub(g, add(m1, mul(z, m2))), inverse); // this order rounds least
			};
			return [
				needs[0] ? dz() : null,
				needs[1] ? reshape(reduceSum(mul(dy, z), lead), w.shape) : null,
				needs[2] ? reshape(reduceSum(dy, lead), b.shape) : null,
			];
		},
	},
	/**
	 * y = x Φ(x) with the Gaussian distribution function Φ (Hendrycks & Gimpel 2016), one pass over memory.
	 * dx = dy (Φ(x) + x φ(x)), where Φ(x) = y / x comes for one division: the runtime's Erf runs on one thread. `gelu` keeps x from being 0.
	 */
	gelu: {
		onnx: "Gelu",
		domain: "com.microsoft",
		shape: ([x]) => [(x as Value).shape],
		gradient: ({ dy, inputs, outputs }) => {
			const x = inputs[0] as Value;
			const slope = mul(
				x,
				exp(sub(-0.5 * Math.log(2 * Math.PI), mul(mul(x, x), 0.5))),
			);
			return [mul(dy, add(div(outputs[0] as Value, x), slope))];
		},
	},
} satisfies Record<string, Op>;

export const layerNorm = (
	x: Value,
	weight: Value,
	bias: Value,
	eps: number,
): Value =>
	applyAll(norm.layerNorm, [x, weight, bias], {
		eps: { float: eps },
	})[0] as Value;

/**
 * GELU. For gradients x is moved by 1e-30 first, far below float32's resolution of any x but 0, where y / x would be 0 / 0;
 * a graph that only runs forward saves that pass.
 */
export const gelu = (
	x: Value,
	options: { forwardOnly?: boolean } = {},
): Value => apply(norm.gelu, [options.forwardOnly ? x : add(x, 1e-30)]);
