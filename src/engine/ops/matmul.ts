/** Matrix products: batched with transposes and a factor (FusedMatMul), and the linear layer (Gemm). */
import {
	type Attributes,
	apply,
	constant,
	type GradientContext,
	mismatch,
	type Op,
	scalar,
	type Value,
} from "../graph.ts";
import { int8, type Shape, uint8 } from "../tensor.ts";
import { mul } from "./elementwise.ts";
import { reduceSum } from "./reduce.ts";
import { reshape } from "./shape.ts";

interface MatMulAttributes {
	readonly transA: boolean;
	readonly transB: boolean;
	readonly alpha: number;
}
const read = (a: Attributes): MatMulAttributes => ({
	transA: a.transA === 1,
	transB: a.transB === 1,
	alpha: (a.alpha as { float: number }).float,
});

/** With A = op(a), B = op(b): dA = alpha dy Bᵀ, dB = alpha Aᵀ dy, each transposed back where op transposes. */
function ofProduct(
	{ dy, inputs, attributes, needs }: GradientContext,
	product: typeof matmul,
): readonly (Value | null)[] {
	const [a, b] = inputs as [Value, Value];
	const { transA, transB, alpha } = read(attributes);
	const da = () =>
		transA
			? product(b, dy, { transA: transB, transB: true, alpha })
			: product(dy, b, { transB: !transB, alpha });
	const db = () =>
		transB
			? product(dy, a, { transA: true, transB: transA, alpha })
			: product(a, dy, { transA: !transA, alpha });
	return [needs[0] ? da() : null, needs[1] ? db() : null];
}

/** Of a product with weight [in, out], a scale [out], and a bias [out] where there is one. */
function integerShape(op: string, inputs: readonly Value[]): readonly Shape[] {
	const [x, w, ...perOutput] = inputs as [Value, Value, ...Value[]];
	const out = w.shape[1] as number;
	if (
		x.shape.length !== 2 ||
		w.shape.length !== 2 ||
		x.shape[1] !== w.shape[0] ||
		perOutput.some(({ shape }) => shape.length !== 1 || shape[0] !== out)
	)
		throw mismatch(
			op,
			inputs,
			"Needs x [rows, in], weight [in, out], and a scale and a bias an output.",
		);
	return [[x.shape[0] as number, out]];
}

export const products = {
	/** y = alpha op(a) op(b) over equal leading axes, op an optional transpose of the last two. */
	matmul: {
		onnx: "FusedMatMul",
		domain: "com.microsoft",
		shape: (inputs, attributes) => {
			const [a, b] = inputs as [Value, Value];
			const { transA, transB } = read(attributes);
			const ra = a.shape.length;
			const rb = b.shape.length;
			if (
				ra < 2 ||
				ra !== rb ||
				a.shape.slice(0, -2).some((s, i) => s !== b.shape[i])
			)
				throw mismatch(
					"matmul",
					inputs,
					"Both need the same leading axes and at least two.",
				);
			const [m, k] = transA
				? [a.shape[ra - 1], a.shape[ra - 2]]
				: [a.shape[ra - 2], a.shape[ra - 1]];
			const [k2, n] = transB
				? [b.shape[rb - 1], b.shape[rb - 2]]
				: [b.shape[rb - 2], b.shape[rb - 1]];
			if (k !== k2)
				throw mismatch(
					"matmul",
					inputs,
					"Inner sizes differ. Transpose an operand or check embedDim.",
				);
			return [[...a.shape.slice(0, -2), m as number, n as number]];
		},
		gradient: (context) => ofProduct(context, matmul),
	},
	/**
	 * The product by head of operands that lie token by token: a [M, h, K] (or by head already, [h, M, K]) and b [N, h, K] with
	 * `transB`, [K, h, N] without, to [h, M, N]. The same numbers as `matmul` of transposed copies, without the copies; forward only.
	 */
	headProduct: {
		onnx: "FusedMatMul",
		domain: "com.microsoft",
		shape: (inputs, { byHead, transB }) => {
			const [a, b] = inputs as [Value, Value];
			const [m, h, k] = (
				byHead ? [a.shape[1], a.shape[0], a.shape[2]] : a.shape
			) as [number, number, number];
			const [n, h2, k2] = (
				transB ? b.shape : [b.shape[2], b.shape[1], b.shape[0]]
			) as [number, number, number];
			if (a.shape.length !== 3 || b.shape.length !== 3 || h !== h2 || k !== k2)
				throw mismatch(
					"headProduct",
					inputs,
					"Needs equal heads and inner sizes.",
				);
			return [[h, m, n]];
		},
		emit: (_, { byHead, transB, alpha }) => ({
			attributes: {
				transBatchA: byHead ? 0 : 1,
				transBatchB: 1,
				transB: transB as number,
				alpha: alpha as { float: number },
			},
		}),
	},
	/**
	 * y = alpha x wᵀ + beta b with timm's weight [out, in]; x [rows, in].
	 * dx = alpha dy w, dw = alpha dyᵀ x, db = beta (sum of dy over the rows).
	 */
	linear: {
		onnx: "Gemm",
		shape: (inputs) => {
			const [x, w, b] = inputs as [Value, Value, Value | undefined];
			if (
				x.shape.length !== 2 ||
				w.shape.length !== 2 ||
				x.shape[1] !== w.shape[1]
			)
				throw mismatch(
					"linear",
					inputs,
					"Needs x [rows, in] and weight [out, in].",
				);
			if (b && (b.shape.length !== 1 || b.shape[0] !== w.shape[0]))
				throw mismatch(
					"linear",
					inputs,
					"The bias needs one number an output.",
				);
			return [[x.shape[0] as number, w.shape[0] as number]];
		},
		emit: (_, { alpha, beta }) => ({
			attributes: {
				transB: 1,
				...(alpha === undefined ? {} : { alpha }),
				...(beta === undefined ? {} : { beta }),
			},
		}),
		gradient: ({ dy, inputs, attributes, needs }) => {
			const [x, w, b] = inputs as [Value, Value, Value | undefined];
			const alpha =
				(attributes.alpha as { float: number } | undefined)?.float ?? 1;
			const beta =
				(attributes.beta as { float: number } | undefined)?.float ?? 1;
			const db = () => {
				const total = reshape(reduceSum(dy, [0]), (b as Value).shape);
				return beta === 1 ? total : mul(total, beta);
			};
			return [
				needs[0] ? gemm(dy, w, { alpha }) : null,
				needs[1] ? gemm(dy, x, { transA: true, alpha }) : null,
				...(b ? [needs[2] ? db() : null] : []),
			];
		},
	},
	/**
	 * y = (x − zero) diag-scaled w + b in integers: x uint8 [rows, in], weight int8 [in, out], scale and bias float32 [out], the bias optional.
	 * Processors without VNNI add pairs of products in 16 bits, which saturate: x of 7 bits is exact everywhere.
	 */
	integerLinear: {
		onnx: "MatMulIntegerToFloat",
		domain: "com.microsoft",
		shape: (inputs) => integerShape("integerLinear", inputs),
		dtype: () => "float32",
		emit: ([x, w, scale, b], { zero }) => ({
			inputs: [
				x as Value,
				w as Value,
				scalar(1),
				scale as Value,
				constant(uint8([], Uint8Array.of(zero as number))),
				constant(int8([])),
				...(b ? [b] : []),
			],
			attributes: {},
		}),
	},
	/**
	 * y = step (q − zero) diag-scaled w + b in integers: x float32 [rows, in] becomes q in 8 bits with a step and a zero of its own,
	 * those of all its rows together, from its smallest number (or 0) to its largest (or 0). Weight int8 [in, out], scale and bias
	 * float32 [out]. Exact sums wherever the session's weights are known to it (runtime.ts).
	 */
	dynamicLinear: {
		onnx: "DynamicQuantizeMatMul",
		domain: "com.microsoft",
		shape: (inputs) => integerShape("dynamicLinear", inputs),
		emit: ([x, w, scale, b]) => ({
			inputs: [
				x as Value,
				w as Value,
				scale as Value,
				constant(int8([])),
				b as Value,
			],
			attributes: {},
		}),
	},
	/** Plain two-dimensional product through Gemm, for the gradients of `linear`: 2-D Gemm is faster than FusedMatMul there. */
	gemm: {
		onnx: "Gemm",
		shape: (inputs, { transA, transB }) => {
			const [a, b] = inputs as [Value, Value];
			const k = transA ? a.shape[0] : a.shape[1];
			if (
				a.shape.length !== 2 ||
				b.shape.length !== 2 ||
				k !== (transB ? b.shape[1] : b.shape[0])
			)
				throw mismatch(
					"gemm",
					inputs,
					"Inner sizes differ. Transpose an operand.",
				);
			return [
				[
					(transA ? a.shape[1] : a.shape[0]) as number,
					(transB ? b.shape[0] : b.shape[1]) as number,
				],
			];
		},
		gradient: (context) => ofProduct(context, gemm),
	},
} satisfies Record<string, Op>;

const attributes = (o: Partial<MatMulAttributes>): Attributes => ({
	transA: o.transA ? 1 : 0,
	transB: o.transB ? 1 : 0,
	alpha: { float: o.alpha ?? 1 },
});

/** alpha op(a) op(b) over equal leading axes. */
export const matmul = (
	a: Value,
	b: Value,
	options: Partial<MatMulAttributes> = {},
): Value => apply(products.matmul, [a, b], attributes(options));
/** alpha a bᵀ by head: a [M, h, K] and b [N, h, K] to [h, M, N]. */
export const headScores = (a: Value, b: Value, alpha: number): Value =>
	apply(products.headProduct, [a, b], {
		byHead: 0,
		transB: 1,
		alpha: { float: alpha },
	});
/** p b by head: p [h, M, K] and b [K, h, N] to [h, M, N]. */
export const headSums = (p: Value, b: Value): Value =>
	apply(products.headProduct, [p, b], {
		byHead: 1,
		transB: 0,
		alpha: { float: 1 },
	});
/** alpha op(a) op(b) of two matrices. */
export const gemm = (
	a: Value,
	b: Value,
	options: Partial<MatMulAttributes> = {},
): Value => apply(products.gemm, [a, b], attributes(options));
/** (x − zero) w · scale + b, computed in integers: x uint8 [rows, in], weight int8 [in, out], scale and bias [out]; null: no bias. */
export const integerLinear = (
	x: Value,
	weight: Value,
	scale: Value,
	bias: Value | null,
	zero: number,
): Value =>
	apply(products.integerLinear, [x, weight, scale, ...(bias ? [bias] : [])], {
		zero,
	});
/** x w · scale + b, computed in integers, with x float32 [rows, in] rounded to 8 bits from its smallest to its largest number; weight int8 [in, out], scale and bias [out]. */
export const dynamicLinear = (
	x: Value,
	weight: Value,
	scale: Value,
	bias: Value,
): Value => apply(products.dynamicLinear, [x, weight, scale, bias]);
/** alpha x wᵀ + beta b: x [rows, in], weight [out, in], bias [out]. */
export const linear = (
	x: Value,
	weight: Value,
	bias?: Value,
	scale?: { alpha: number; beta: number },
): Value =>
	apply(
		products.linear,
		bias ? [x, weight, bias] : [x, weight],
		scale ? { alpha: { float: scale.alpha }, beta: { float: scale.beta } } : {},
	);
