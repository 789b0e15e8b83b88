/**
 * What a student learns, as a graph: to say of a crop what the teacher said (crops.ts), in what the detector reads, the patch embedding
 * before its last block and the class token. The loss is 1 - cosine, since directions are all that distances between embeddings see.
 *
 * The teacher's D dimensions become the student's by leading eigenvectors of second moments E[x xᵀ]: the projection that keeps most of
 * every inner product. A student as wide as the teacher or wider learns the rows as they are.
 */
import { type Pool, type Crops, validation } from "./crops.ts";
import {
	constant,
	input,
	inputsOf,
	type Value,
	type ValueDict,
} from "../engine/graph.ts";
import {
	add,
	div,
	gemm,
	max,
	mul,
	reduceSum,
	reshape,
	slice,
	sqrt,
	sub,
	sum,
	toFloat,
} from "../engine/ops/index.ts";
import { Session } from "../engine/runtime.ts";
import type { StepBuilder } from "../engine/step.ts";
import { float32, type Tensor, type TensorDict } from "../engine/tensor.ts";
import { traceOf } from "../linalg/covariance.ts";
import { symmetricEigen } from "../linalg/eigen.ts";
import {
	embed,
	gridOf,
	normalise,
	parameterShapes,
	patchEmbedding,
	top,
	type VitConfig,
} from "../models/vit.ts";
import { imageGroups, imagesTogether } from "../trunk.ts";

/** Crops that the projection is found on. */
const PROJECTED = 512;
/** Crops that are measured at a time. */
const MEASURED = 16;

/** 1 - mean cosine. */
export interface Losses {
	readonly patches: number;
	readonly classes: number;
}

/** The student's patches are those after its last block but one, counted from 0: the last is the class token's alone. */
export const readAfter = ({ depth }: VitConfig): number => depth - 2;

/**
 * The student's dimensions of the teacher's, [Dt, Ds]: leading directions of patches, class tokens (by their weight) and, where they are
 * given, the sums of x xᵀ of unit vectors that the student's stream is to carry. Its rows are in coordinates that add up to 0: one
 * dimension fewer, and nothing that a layer norm takes off.
 */
export function projectionOf(
	pool: Pool,
	width: number,
	{
		classWeight,
		streams,
	}: { readonly classWeight: number; readonly streams?: Float64Array },
): Tensor {
	const d = pool.read("train", 0).classes.shape[1] as number;
	if (width >= d) {
		const identity = float32([d, width]);
		for (let i = 0; i < d; i++) identity.data[i * width + i] = 1;
		return identity;
	}
	const ofPatches = new Float64Array(d * d);
	const ofClasses = new Float64Array(d * d);
	let crops = 0;
	for (let i = 0; crops < PROJECTED && i < pool.counts("train").length; i++) {
		const { patches, classes } = pool.read("train", i);
		// every 16th patch: neighbours say nearly the same
		addMoments(ofPatches, patches.data, d, 16, 128);
		addMoments(ofClasses, classes.data, d, 1, 0);
		crops += classes.shape[0] as number;
	}
	const all = new Float64Array(d * d);
	const parts: [Float64Array, number][] = [
		[ofPatches, 1],
		[ofClasses, classWeight],
	];
	if (streams) parts.push([streams, 1]);
	for (const [moments, weight] of parts) {
		const share = weight / traceOf(moments, d);
		for (let i = 0; i < all.length; i++)
			all[i] = (all[i] as number) + share * (moments[i] as number);
	}
	return leading(all, d, width);
}

/** Adds x xᵀ of every `every`-th row x = row - zero, at length 1. */
function addMoments(
	to: Float64Array,
	data: ArrayLike<number>,
	d: number,
	every: number,
	zero: number,
): void {
	const x = new Float64Array(d);
	for (let row = 0; row < data.length; row += every * d) {
		for (let i = 0; i < d; i++) x[i] = (data[row + i] as number) - zero;
		const length = Math.hypot(...x) || 1;
		for (let i = 0; i < d; i++) {
			const xi = (x[i] as number) / length ** 2;
			for (let k = 0; k < d; k++)
				to[i * d + k] = (to[i * d + k] as number) + xi * (x[k] as number);
		}
	}
}

/** The width - 1 eigenvectors of the largest eigenvalues, as columns, turned into coordinates that add up to 0 (Helmert's). */
function leading(matrix: Float64Array, d: number, width: number): Tensor {
	const { vectors } = symmetricEigen(matrix, d);
	const out = float32([d, width]);
	for (let k = 1; k < width; k++) {
		const one = 1 / Math.sqrt(k * (k + 1));
		for (let i = 0; i < d; i++) {
			const x = vectors[(k - 1) * d + i] as number;
			for (let s = 0; s <= k; s++)
				out.data[i * width + s] =
					(out.data[i * width + s] as number) + x * (s < k ? one : -k * one);
		}
	}
	return out;
}

/** How a graph gets its inputs: a step's builder, or plain ones. */
type Inputs = Pick<StepBuilder, "feed" | "constant">;

/** Both losses of `batch` crops, which are fed as "pixels", "patches" and "classes". */
export function lossesOf(
	config: VitConfig,
	params: ValueDict,
	batch: number,
	projection: Tensor,
	{ feed, constant: fixed }: Inputs,
	options: { forwardOnly?: boolean } = {},
): Record<keyof Losses, Value> {
	const d = config.width;
	const dt = projection.shape[0] as number;
	const [rows, columns] = gridOf(config);
	const n = rows * columns;
	const pixels = feed("pixels", [batch, ...config.imageSize, 3], "uint8");
	const patches = feed("patches", [batch, n, dt], "uint8");
	const classes = feed("classes", [batch, dt]);
	const project = fixed(projection);
	const keep = [readAfter(config)];
	const parts = imageGroups(batch, imagesTogether(config)).map(([from, to]) => {
		const part = (x: Value) =>
			to - from === batch ? x : slice(x, 0, from, to);
		const seen = top(
			config,
			params,
			embed(config, params, normalise(config, part(pixels))),
			0,
			{ read: "class", keep, ...options },
		);
		const wanted = gemm(
			reshape(sub(toFloat(part(patches)), 128), [(to - from) * n, dt]),
			project,
		);
		const said = reshape(patchEmbedding(config, params, seen.hidden), [
			(to - from) * n,
			d,
		]);
		return {
			patches: sum(cosines(said, wanted)),
			classes: sum(cosines(seen.embedding, gemm(part(classes), project))),
		};
	});
	const mean = (key: "patches" | "classes", count: number) =>
		sub(
			1,
			mul(
				parts.map((part) => part[key]).reduce((a, b) => add(a, b)),
				1 / count,
			),
		);
	return {
		patches: mean("patches", batch * n),
		classes: mean("classes", batch),
	};
}

/** Of the rows of two matrices. */
function cosines(a: Value, b: Value): Value {
	const length = (x: Value) => max(sqrt(reduceSum(mul(x, x), [1])), 1e-6);
	return div(reduceSum(mul(a, b), [1]), mul(length(a), length(b)));
}

/** The student's losses on crops of pictures it never sees. */
export class Meter {
	readonly #session: Session;
	readonly #batches: readonly Crops[];

	private constructor(session: Session, batches: readonly Crops[]) {
		this.#session = session;
		this.#batches = batches;
	}

	static async create(
		config: VitConfig,
		projection: Tensor,
		pool: Pool,
		threads: number,
	): Promise<Meter> {
		const losses = lossesOf(
			config,
			inputsOf(
				Object.fromEntries(
					Object.entries(parameterShapes(config)).map(([name, shape]) => [
						name,
						{ shape },
					]),
				),
			),
			MEASURED,
			projection,
			{
				feed: (name, shape, dtype) => input(`x:${name}`, shape, dtype),
				constant,
			},
			{ forwardOnly: true },
		);
		return new Meter(
			await Session.create(losses, { threads }),
			validation(pool, MEASURED),
		);
	}

	async losses(weights: TensorDict): Promise<Losses> {
		const sums = { patches: 0, classes: 0 };
		for (const { pixels, patches, classes } of this.#batches) {
			const said = await this.#session.run({
				...weights,
				"x:pixels": pixels,
				"x:patches": patches,
				"x:classes": classes,
			});
			sums.patches += (said.patches as Tensor).data[0] as number;
			sums.classes += (said.classes as Tensor).data[0] as number;
		}
		const n = this.#batches.length;
		return { patches: sums.patches / n, classes: sums.classes / n };
	}

	release(): Promise<void> {
		return this.#session.release();
	}
}
