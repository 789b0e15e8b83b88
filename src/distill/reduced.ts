/**
 * Which part of a teacher's block a narrower student keeps (inherit.ts).
 *
 * - Of a head's dimensions, those that say most of q kᵀ, and of what attn.proj adds to the stream: leading singular vectors, by the second
 *   moments of queries, keys and values. A mean of the keys adds the same to all scores of a query, which softmax does not see.
 * - Of the MLP's units, those whose variance moves the stream most.
 */
import type { Tensor } from "../engine/tensor.ts";
import { symmetricEigen, timesTransposed, transpose } from "../linalg/eigen.ts";
import type { Linear } from "../linalg/ridge.ts";
import type { Backbone } from "../models/backbone.ts";
import type { VitConfig } from "../models/vit.ts";

/** Times the largest eigenvalue: smaller ones are noise. */
const NOISE = 1e-8;

/** Sums over rows of what the block's layers read. */
export interface BlockSums {
	readonly rows: number;
	/** Of qkv's input x: x [D] and x xᵀ [D, D]. */
	readonly x: Float64Array;
	readonly xx: Float64Array;
	/** Of fc2's input u, the units: u and u², [hidden]. */
	readonly units: Float64Array;
	readonly squares: Float64Array;
}

/** The part of a block's qkv and fc1 that the student keeps; `block` is their prefix, `a` [Ds, Dt] the student's stream of the teacher's. */
export function reduced(
	{ weights, config }: Backbone,
	block: string,
	student: VitConfig,
	a: Float64Array,
	sums: BlockSums,
): { qkv: Linear; fc1: Linear } {
	const get = (name: string) =>
		Float64Array.from((weights[block + name] as Tensor).data);
	const dt = config.width;
	const linear = (layer: string): Linear => ({
		weight: get(`${layer}.weight`),
		bias: get(`${layer}.bias`),
	});
	const intoStream = (layer: string) => {
		const weight = get(`${layer}.weight`); // [Dt, in]
		return timesTransposed(transpose(weight, weight.length / dt), a, dt); // [in, Ds]
	};
	const hidden = Math.round(student.width * student.mlpRatio);
	return {
		qkv: keptOfHeads(linear("attn.qkv"), intoStream("attn.proj"), {
			heads: config.heads,
			kept: student.width / student.heads,
			sums,
		}),
		fc1: keptUnits(linear("mlp.fc1"), intoStream("mlp.fc2"), hidden, sums),
	};
}

function keptOfHeads(
	qkv: Linear,
	moved: Float64Array /* [Dt, Ds]: what attn.proj makes of each of its inputs */,
	{
		heads,
		kept,
		sums,
	}: {
		readonly heads: number;
		readonly kept: number;
		readonly sums: BlockSums;
	},
): Linear {
	const dt = sums.x.length;
	const ds = moved.length / dt;
	const side = dt / heads;
	const mean = sums.x.map((sum) => sum / sums.rows);
	const second = sums.xx.map((sum) => sum / sums.rows);
	const parts: Linear[][] = [[], [], []];
	for (let h = 0; h < heads; h++) {
		const [q, k, v] = [0, 1, 2].map((kind) =>
			rowsOf(qkv, kind * dt + h * side, side, dt),
		) as [Linear, Linear, Linear];
		const queries = roots(spread(q, second, mean, "zero"), side);
		const { vectors, values } = symmetricEigen(
			around(queries.root, spread(k, second, mean, "mean"), side),
			side,
		);
		// With Cq^½ Ck^½ = U S Vᵀ: q kᵀ = (Uᵀ Cq^-½ q) S (Vᵀ Ck^-½ k), and S Vᵀ Ck^-½ = Uᵀ Cq^½. The values are S².
		const u = vectors.subarray(0, kept * side);
		const root = (i: number) =>
			Math.max(values[i] as number, NOISE * (values[0] as number)) ** 0.25;
		const scale = (kept / side) ** 0.25; // scores are divided by the root of the student's side
		parts[0]?.push(
			times(
				timesTransposed(u, queries.inverse, side),
				q,
				(i) => scale * root(i),
			),
		);
		parts[1]?.push(
			times(timesTransposed(u, queries.root, side), k, (i) => scale / root(i)),
		);
		const valued = roots(spread(v, second, mean, "mean"), side);
		const out = moved.subarray(h * side * ds, (h + 1) * side * ds); // [side, Ds]
		const leading = symmetricEigen(
			around(valued.root, timesTransposed(out, out, ds), side),
			side,
		).vectors.subarray(0, kept * side);
		parts[2]?.push(times(timesTransposed(leading, valued.inverse, side), v));
	}
	return stacked(parts.flat());
}

function keptUnits(
	fc1: Linear,
	moved: Float64Array /* [hidden, Ds] */,
	count: number,
	{ units, squares, rows }: BlockSums,
): Linear {
	const hidden = units.length;
	const ds = moved.length / hidden;
	const effects = Array.from(units, (sum, j) => {
		const variance = (squares[j] as number) / rows - (sum / rows) ** 2;
		let square = 0;
		for (const x of moved.subarray(j * ds, (j + 1) * ds)) square += x * x;
		return variance * square;
	});
	const kept = [...effects.keys()]
		.sort((i, j) => (effects[j] as number) - (effects[i] as number) || i - j)
		.slice(0, count)
		.sort((i, j) => i - j);
	const width = fc1.weight.length / hidden;
	return stacked(kept.map((j) => rowsOf(fc1, j, 1, width)));
}

const rowsOf = (
	{ weight, bias }: Linear,
	from: number,
	count: number,
	width: number,
): Linear => ({
	weight: weight.subarray(from * width, (from + count) * width),
	bias: bias.subarray(from, from + count),
});

function stacked(layers: readonly Linear[]): Linear {
	const join = (parts: readonly Float64Array[]) => {
		const out = new Float64Array(parts.reduce((sum, p) => sum + p.length, 0));
		let at = 0;
		for (const p of parts) {
			out.set(p, at);
			at += p.length;
		}
		return out;
	};
	return {
		weight: join(layers.map(({ weight }) => weight)),
		bias: join(layers.map(({ bias }) => bias)),
	};
}

/** R times a layer, R [kept, side], its rows scaled. */
function times(
	r: Float64Array,
	{ weight, bias }: Linear,
	scale: (row: number) => number = () => 1,
): Linear {
	const side = bias.length;
	const scaled = r.map((x, i) => x * scale(Math.floor(i / side)));
	return {
		weight: timesTransposed(
			scaled,
			transpose(weight, weight.length / side),
			side,
		),
		bias: timesTransposed(scaled, bias, side),
	};
}

/** Second moments of what a layer says, about 0 or about its mean, from those of what it reads. */
function spread(
	{ weight, bias }: Linear,
	second: Float64Array,
	mean: Float64Array,
	about: "zero" | "mean",
): Float64Array {
	const d = mean.length;
	const n = bias.length;
	const out = timesTransposed(timesTransposed(weight, second, d), weight, d); // `second` is symmetric
	const middle = timesTransposed(weight, mean, d);
	for (let i = 0; i < n; i++)
		for (let j = 0; j < n; j++) {
			const [mi, mj] = [middle[i] as number, middle[j] as number];
			const [bi, bj] = [bias[i] as number, bias[j] as number];
			out[i * n + j] =
				(out[i * n + j] as number) +
				(about === "zero" ? mi * bj + bi * mj + bi * bj : -mi * mj);
		}
	return out;
}

/** The symmetric square root and its inverse. */
function roots(
	c: Float64Array,
	n: number,
): { root: Float64Array; inverse: Float64Array } {
	const { values, vectors } = symmetricEigen(c, n);
	const least = NOISE * (values[0] as number);
	const power = (p: number) => {
		const v = transpose(vectors, n); // [n, n], column k the k-th
		return timesTransposed(
			v.map((x, i) => x * Math.max(values[i % n] as number, least) ** p),
			v,
			n,
		);
	};
	return { root: power(0.5), inverse: power(-0.5) };
}

/** R C R of symmetric matrices. */
const around = (r: Float64Array, c: Float64Array, n: number): Float64Array =>
	timesTransposed(timesTransposed(r, c, n), r, n);
