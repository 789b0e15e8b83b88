/**
 * Optimisers as part of the graph. Each gives the move Δθ of one parameter, weight decay included, and its new state.
 * The learning rate and the bias corrections are fed at every step.
 */
import type { Value } from "./graph.ts";
import { add, div, mul, neg, sqrt } from "./ops/elementwise.ts";
import { gemm } from "./ops/matmul.ts";
import { sumSquare } from "./ops/reduce.ts";
import type { Shape } from "./tensor.ts";

export interface OptimizerOptions {
	readonly name: keyof typeof optimizers;
	readonly lr: number;
	readonly betas: readonly [number, number];
	readonly eps: number;
	readonly weightDecay: number;
	readonly momentum: number;
}

interface Update {
	readonly move: Value;
	readonly states: Readonly<Record<string, Value>>;
}

/** Fed at every step: the scheduled rate, and 1 - beta^t for both betas, t from 1. */
export interface StepScalars {
	readonly lr: Value;
	readonly correction1: Value;
	readonly correction2: Value;
}

export interface Optimizer {
	/** Tensors of the parameter's shape, zero at the start of every task. */
	states(shape: Shape): readonly string[];
	update(
		parameter: Value,
		gradient: Value,
		states: Readonly<Record<string, Value>>,
		scalars: StepScalars,
		options: OptimizerOptions,
	): Update;
}

/**
 * m ← β1 m + (1-β1) g, v ← β2 v + (1-β2) g²; Δ = -lr (m / c1) / (sqrt(v / c2) + eps). Kingma & Ba 2015, algorithm 1. Every pass over
 * a weight counts, so the states are decayed sums without the factors, M = m / (1-β1) and V = v / (1-β2), and corrections and signs
 * go into two scalars, as the paper's last remark on the algorithm does: with r = sqrt(c2 / (1-β2)),
 * Δ = (-lr (1-β1) r / c1) M / (sqrt(V) + eps r).
 */
function adamMove(
	g: Value,
	s: Readonly<Record<string, Value>>,
	{ lr, correction1, correction2 }: StepScalars,
	o: OptimizerOptions,
): Update {
	const [b1, b2] = o.betas;
	const sum = add(mul(s.sum as Value, b1), g);
	const squares = add(mul(s.squares as Value, b2), mul(g, g));
	const r = sqrt(mul(correction2, 1 / (1 - b2)));
	const root = add(sqrt(squares), mul(r, o.eps));
	const rate = neg(div(mul(mul(lr, 1 - b1), r), correction1));
	return { move: mul(div(sum, root), rate), states: { sum, squares } };
}

/** Beside the gradient, -lr wd θ. Loshchilov & Hutter 2019. */
const decayed = (
	move: Value,
	parameter: Value,
	{ lr }: StepScalars,
	{ weightDecay }: OptimizerOptions,
): Value =>
	weightDecay > 0 ? add(move, mul(parameter, mul(lr, -weightDecay))) : move;

/** Weights of this many rows and columns at least are matrices to Muon; a head's or a bias are not. */
const MATRIX = 16;
const isMatrix = (shape: Shape): boolean =>
	shape.length === 2 && shape.every((side) => side >= MATRIX);

/**
 * Nearly the closest matrix with orthonormal rows (or columns): X ← a X + (b A + c A²) X with A = X Xᵀ, five times from X / ‖X‖, which
 * brings most singular values near 1 and leaves the smallest below (Jordan et al. 2024, "Muon").
 */
function orthogonalised(x: Value): Value {
	const [a, b, c] = [3.4445, -4.775, 2.0315];
	const [rows, columns] = x.shape as [number, number];
	const wide = rows <= columns;
	let y = div(x, add(sqrt(sumSquare(x)), 1e-7));
	for (let i = 0; i < 5; i++) {
		const gram = gemm(y, y, wide ? { transB: true } : { transA: true });
		const p = add(mul(gram, b), gemm(gram, gram, { alpha: c }));
		y = add(mul(y, a), wide ? gemm(p, y) : gemm(y, p));
	}
	return y;
}

/** AdamW: weight decay beside the gradient. */
const adamw: Optimizer = {
	states: () => ["sum", "squares"],
	update: (p, g, s, scalars, o) => {
		const { move, states } = adamMove(g, s, scalars, o);
		return { move: decayed(move, p, scalars, o), states };
	},
};

export const optimizers = {
	/** Adam; weight decay is an L2 term in the gradient. */
	adam: {
		states: () => ["sum", "squares"],
		update: (p, g, s, scalars, o) =>
			adamMove(
				o.weightDecay > 0 ? add(g, mul(p, o.weightDecay)) : g,
				s,
				scalars,
				o,
			),
	},
	adamw,
	/**
	 * Muon: m ← β1 m + g with Nesterov's look ahead, u = orthogonalised(β1 m + g), Δ = -lr .2 sqrt(max(rows, columns)) u, which makes its
	 * moves as large as AdamW's (Liu et al. 2025, "Muon is scalable for LLM training", eq. 4). Decay as AdamW; what is no matrix moves by AdamW.
	 */
	muon: {
		states: (shape) => (isMatrix(shape) ? ["momentum"] : adamw.states(shape)),
		update: (p, g, s, scalars, o) => {
			if (!isMatrix(p.shape)) return adamw.update(p, g, s, scalars, o);
			const momentum = add(mul(s.momentum as Value, o.betas[0]), g);
			const ahead = orthogonalised(add(mul(momentum, o.betas[0]), g));
			const scale = -0.2 * Math.sqrt(Math.max(...p.shape));
			const move = mul(ahead, mul(scalars.lr, scale));
			return { move: decayed(move, p, scalars, o), states: { momentum } };
		},
	},
	/** SGD with momentum, no dampening, no Nesterov: m ← μ m + g, Δ = -lr m. Weight decay as L2. */
	sgd: {
		states: () => ["m"],
		update: (p, g, s, { lr }, o) => {
			const withDecay = o.weightDecay > 0 ? add(g, mul(p, o.weightDecay)) : g;
			const m = add(mul(s.m as Value, o.momentum), withDecay);
			return { move: mul(m, neg(lr)), states: { m } };
		},
	},
} satisfies Record<string, Optimizer>;

export interface Schedule {
	readonly name: "cosine" | "constant";
	/** Steps over which the rate rises linearly from lr / warmup to lr. */
	readonly warmup: number;
	readonly total: number;
}

/** Learning rate of step `step` (from 0): linear warm-up, then half a cosine to 0 (Loshchilov & Hutter 2017, eq. 5, no restarts) or constant. */
export function scheduled(
	lr: number,
	step: number,
	{ name, warmup, total }: Schedule,
): number {
	if (step < warmup) return (lr * (step + 1)) / warmup;
	if (name === "constant") return lr;
	return (
		0.5 *
		lr *
		(1 + Math.cos((Math.PI * (step - warmup)) / Math.max(1, total - warmup)))
	);
}
