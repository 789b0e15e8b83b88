/**
 * A student's first weights: its teacher's, cut to its width, so that distillation (distill.ts) mends instead of beginning from noise.
 *
 * The student's stream is y = A x of the teacher's x: the leading directions of what both are to say (student.ts, `directions`), scaled as the
 * teacher's final norm scales them, in coordinates that add up to 0, since a layer norm takes the mean off. Every one of its blocks follows one
 * of the teacher's. From the first layer to the last, a layer's weights are those that come closest, by ridge regression on crops, to what
 * the teacher's layer says, given what the student's own layers below show: qkv and fc1 to the teacher's queries, keys, values and
 * hidden units, attn.proj and fc2 to A times the teacher's stream. So an error below is mended above. (Slicing by leading directions:
 * Ashkboos et al. 2024, SliceGPT; layer by layer on data: Frantar and Alistarh 2022, Optimal Brain Compression.)
 */
import type { Pool } from "./crops.ts";
import {
	constant,
	input,
	type Value,
	type ValueDict,
} from "../engine/graph.ts";
import {
	add,
	concat,
	div,
	gemm,
	layerNorm,
	linear,
	mul,
	reduceSum,
	reshape,
	slice,
	sqrt,
	sub,
} from "../engine/ops/index.ts";
import { Session } from "../engine/runtime.ts";
import {
	float32,
	type Tensor,
	type TensorDict,
	uint8,
} from "../engine/tensor.ts";
import { heed, type Stop } from "../events.ts";
import { timesTransposed, transpose } from "../linalg/eigen.ts";
import { type Linear, ridge, scales } from "../linalg/ridge.ts";
import type { Backbone } from "../models/backbone.ts";
import {
	embed,
	normalise,
	parameterShapes,
	top,
	type VitConfig,
	withoutLayerScale,
} from "../models/vit.ts";
import { reduced } from "./reduced.ts";
import { projectionOf, readAfter } from "./student.ts";

/** Crops that the layers are fitted on, and how many of them at a time. */
const CROPS = 128;
const TOGETHER = 8;
/** Of a layer's inputs, times their mean variance. */
const RIDGE = 1e-3;

/** Why this student cannot begin as a part of this teacher; null: it can. */
export function whyNot(
	teacher: VitConfig,
	student: VitConfig,
	last: number,
): string | null {
	if (student.patch !== teacher.patch)
		return `its patches are ${student.patch} px, the teacher's ${teacher.patch}`;
	if (student.width > teacher.width)
		return `its width is ${student.width}, the teacher's ${teacher.width}`;
	if (student.heads !== teacher.heads)
		return `it has ${student.heads} heads, the teacher ${teacher.heads}`;
	if (student.mlpRatio * student.width > teacher.mlpRatio * teacher.width)
		return `its MLP is wider than the teacher's`;
	if (student.depth - 1 > last + 1)
		return `${student.depth - 1} of its blocks come before patches are read, and the teacher's are read after block ${last + 1}`;
	return null;
}

/** The teacher's block (counted from 0) that each of the student's follows: evenly up to the `last` that patches are read after, then its last. */
const followed = (depth: number, last: number, end: number): number[] => [
	...Array.from(
		{ length: depth - 1 },
		(_, i) => Math.round(((i + 1) * (last + 1)) / (depth - 1)) - 1,
	),
	end - 1,
];

/** Inputs of a graph under a prefix, by the parameters' own names. */
const prefixed = (prefix: string, c: VitConfig): ValueDict =>
	Object.fromEntries(
		Object.entries(parameterShapes(c)).map(([name, shape]) => [
			name,
			input(prefix + name, shape),
		]),
	);

const underPrefix = (prefix: string, weights: TensorDict): TensorDict =>
	Object.fromEntries(
		Object.entries(weights).map(([name, t]) => [prefix + name, t]),
	);

/** All that a network shows of a batch, rows of class token and patches: the stream before block i (after the last: i = depth), and what layers read. */
interface Sight {
	readonly params: ValueDict;
	stream(i: number): Value /* [rows, D] */;
	/** ... and between its attention and its MLP. */
	between(i: number): Value /* [rows, D] */;
	/** What a layer reads. */
	read(layer: string): Value /* [rows, in] */;
}

function sightOf(c: VitConfig, prefix: string, pixels: Value): Sight {
	const params = prefixed(prefix, c);
	const embedded = embed(c, params, normalise(c, pixels));
	const { hidden, layerInputs } = top(c, params, embedded, 0, {
		read: "all",
		keep: [...Array(c.depth).keys()],
		forwardOnly: true,
	});
	/** Without register tokens, which a student has not. */
	const rows = (x: Value): Value => {
		const [b, t, d] = x.shape as [number, number, number];
		const kept =
			c.registers === 0
				? x
				: concat([slice(x, 1, 0, 1), slice(x, 1, 1 + c.registers, t)], 1);
		return reshape(kept, [b * (t - c.registers), d]);
	};
	const read = (layer: string) => rows(layerInputs[layer] as Value);
	const stream = (i: number) =>
		rows(i === 0 ? embedded : (hidden[i - 1] as Value));
	return {
		params,
		stream,
		between(i) {
			const layer = `blocks.${i}.attn.proj`;
			return add(
				stream(i),
				linear(
					read(layer),
					params[`${layer}.weight`] as Value,
					params[`${layer}.bias`] as Value,
				),
			);
		},
		read,
	};
}

/** LayerNorm without weights. */
function plainNorm(x: Value, eps: number): Value {
	const d = x.shape[1] as number;
	const ones = float32([d]);
	ones.data.fill(1);
	return layerNorm(x, constant(ones), constant(float32([d])), eps);
}

/** As a tensor [rows, columns]; of one row [columns]. */
const matrix = (m: Float64Array, columns: number): Tensor =>
	float32(
		m.length === columns ? [columns] : [m.length / columns, columns],
		Float32Array.from(m),
	);

/** Sums of x xᵀ, x yᵀ, x and y over rows. */
const moments = (x: Value, y: Value) => ({
	xx: gemm(x, x, { transA: true }),
	xy: gemm(x, y, { transA: true }),
	x: reduceSum(x, [0]),
	y: reduceSum(y, [0]),
});

export interface InheritJob {
	readonly teacher: Backbone;
	readonly student: VitConfig;
	readonly pool: Pool;
	/** Of the class token beside patches, in the choice of directions. */
	readonly classWeight: number;
	readonly threads: number;
	readonly stop: Stop;
	onProgress(done: number, total: number): void;
}

/** The student's weights, and what of the teacher's answers it is to say, [Dt, Ds] (student.ts). For a student that `whyNot` allows. */
export async function inherit({
	teacher: given,
	student,
	pool,
	classWeight,
	threads,
	stop,
	onProgress,
}: InheritJob): Promise<{ weights: TensorDict; projection: Tensor }> {
	const teacher = {
		config: { ...given.config, layerScale: false },
		weights: withoutLayerScale(given.weights),
	};
	const blocks = followed(
		student.depth,
		pool.settings.blocks.at(-1) as number,
		teacher.config.depth,
	);
	const batches = cropsOf(pool);
	const weights: TensorDict = Object.fromEntries(
		Object.entries(parameterShapes(student)).map(([name, shape]) => [
			name,
			float32(shape),
		]),
	);
	const pixels = input(
		"pixels",
		(batches[0] as Tensor<"uint8">).shape,
		"uint8",
	);
	const seen = {
		teacher: sightOf(teacher.config, "t:", pixels),
		student: sightOf(student, "s:", pixels),
	};
	const rows = (seen.student.stream(0).shape[0] as number) * batches.length;
	let done = 0;
	/** A graph's outputs, added up over all crops. */
	const sumUp = async <Name extends string>(
		outputs: Readonly<Record<Name, Value>>,
	): Promise<Record<Name, Float64Array>> => {
		const session = await Session.create(outputs, { threads });
		const sums: Record<string, Float64Array> = {};
		try {
			for (const batch of batches) {
				await heed(stop);
				const said = await session.run({
					...underPrefix("t:", teacher.weights),
					...underPrefix("s:", weights),
					pixels: batch,
				});
				for (const [name, { data }] of Object.entries(said)) {
					const sum = (sums[name] ??= new Float64Array(data.length));
					for (let i = 0; i < sum.length; i++)
						sum[i] = (sum[i] as number) + (data[i] as number);
				}
			}
		} finally {
			await session.release();
		}
		onProgress(++done, 4 * student.depth + 2);
		return sums as Record<Name, Float64Array>;
	};

	const survey = await sumUp(surveyOf(seen.teacher, teacher.config, blocks));
	const projection = projectionOf(pool, student.width, {
		classWeight,
		streams: survey.streams as Float64Array,
	});
	const put = (name: string, numbers: Float64Array) =>
		(weights[name] as Tensor).data.set(numbers);
	/** The layer's weights from what it is to read and to say. */
	const fit = async (layer: string, x: Value, y: Value) => {
		const { weight, bias } = ridge(await sumUp(moments(x, y)), rows, RIDGE);
		put(`${layer}.weight`, weight);
		put(`${layer}.bias`, bias);
	};
	const ones = (name: string) => (weights[name] as Tensor).data.fill(1);

	const a = streamOf(teacher, projection); // [Ds, Dt]
	const dt = teacher.config.width;
	const own = (name: string) =>
		Float64Array.from((teacher.weights[name] as Tensor).data);
	for (const name of ["cls_token", "patch_embed.proj.bias"])
		put(name, timesTransposed(own(name), a, dt));
	const positions = timesTransposed(own("pos_embed"), a, dt);
	const { data: places } = weights.pos_embed as Tensor;
	places.set(positions, places.length - positions.length); // a class token without one has 0
	const patches = own("patch_embed.proj.weight");
	put(
		"patch_embed.proj.weight",
		timesTransposed(a, transpose(patches, patches.length / dt), dt),
	);
	const toStream = (x: Value) =>
		gemm(x, constant(matrix(a, dt)), { transB: true });
	for (const [i, m] of blocks.entries()) {
		const of = `blocks.${m}.`;
		const to = `blocks.${i}.`;
		const sum = (name: string) => survey[`${m}.${name}`] as Float64Array;
		const layers = reduced(teacher, of, student, a, {
			rows,
			x: sum("x"),
			xx: sum("xx"),
			units: sum("units"),
			squares: sum("squares"),
		});
		ones(`${to}norm1.weight`);
		ones(`${to}norm2.weight`);
		await fit(
			`${to}attn.qkv`,
			seen.student.read(`${to}attn.qkv`),
			said(seen.teacher.read(`${of}attn.qkv`), layers.qkv),
		);
		await fit(
			`${to}attn.proj`,
			seen.student.read(`${to}attn.proj`),
			sub(toStream(seen.teacher.between(m)), seen.student.stream(i)),
		);
		await fit(
			`${to}mlp.fc1`,
			seen.student.read(`${to}mlp.fc1`),
			said(seen.teacher.read(`${of}mlp.fc1`), layers.fc1),
		);
		await fit(
			`${to}mlp.fc2`,
			seen.student.read(`${to}mlp.fc2`),
			sub(toStream(seen.teacher.stream(m + 1)), seen.student.between(i)),
		);
	}
	const last = readAfter(student);
	const norm = scales(
		await sumUp(
			scaleSums(
				plainNorm(seen.student.stream(last + 1), student.layerNormEps),
				gemm(
					layerNorm(
						seen.teacher.stream((blocks[last] as number) + 1),
						seen.teacher.params["norm.weight"] as Value,
						seen.teacher.params["norm.bias"] as Value,
						teacher.config.layerNormEps,
					),
					constant(projection),
				),
			),
		),
		rows,
	);
	put("norm.weight", norm.weight);
	put("norm.bias", norm.bias);
	return { weights, projection };
}

/** Batches of the pool's first crops. */
function cropsOf(pool: Pool): Tensor<"uint8">[] {
	const batches: Tensor<"uint8">[] = [];
	for (
		let i = 0;
		batches.length < CROPS / TOGETHER && i < pool.counts("train").length;
		i++
	) {
		const { shape, data } = pool.read("train", i).pixels;
		const [crops, ...image] = shape as [number, number, number, number];
		const size = data.length / crops;
		for (
			let from = 0;
			from + TOGETHER <= crops && batches.length < CROPS / TOGETHER;
			from += TOGETHER
		)
			batches.push(
				uint8(
					[TOGETHER, ...image],
					data.slice(from * size, (from + TOGETHER) * size),
				),
			);
	}
	return batches;
}

/** What the choice of directions, head dimensions and units needs to know of the teacher. */
function surveyOf(
	teacher: Sight,
	c: VitConfig,
	blocks: readonly number[],
): Record<string, Value> {
	const out: Record<string, Value> = {};
	const streams: Value[] = [];
	for (const m of blocks) {
		const reads = teacher.read(`blocks.${m}.attn.qkv`);
		const units = teacher.read(`blocks.${m}.mlp.fc2`);
		out[`${m}.xx`] = gemm(reads, reads, { transA: true });
		out[`${m}.x`] = reduceSum(reads, [0]);
		out[`${m}.units`] = reduceSum(units, [0]);
		out[`${m}.squares`] = reduceSum(mul(units, units), [0]);
		for (const stream of [teacher.stream(m), teacher.between(m)]) {
			const x = mul(
				plainNorm(stream, c.layerNormEps),
				teacher.params["norm.weight"] as Value,
			);
			const unit = div(x, sqrt(reduceSum(mul(x, x), [1])));
			streams.push(gemm(unit, unit, { transA: true }));
		}
	}
	out.streams = streams.reduce((x, y) => add(x, y));
	return out;
}

/** y = A x, [Ds, Dt]: the projection's directions of the stream less its mean, scaled as the final norm scales it. */
function streamOf(
	{ weights, config }: Backbone,
	projection: Tensor,
): Float64Array {
	const [dt, ds] = projection.shape as [number, number];
	const scale = (weights["norm.weight"] as Tensor).data;
	const a = new Float64Array(ds * dt);
	for (let s = 0; s < ds; s++) {
		const row = a.subarray(s * dt, (s + 1) * dt);
		for (let t = 0; t < dt; t++)
			row[t] = (projection.data[t * ds + s] as number) * (scale[t] as number);
		const mean = row.reduce((x, y) => x + y, 0) / config.width;
		for (let t = 0; t < dt; t++) row[t] = (row[t] as number) - mean;
	}
	return a;
}

const said = (x: Value, { weight, bias }: Linear): Value =>
	linear(
		x,
		constant(matrix(weight, x.shape[1] as number)),
		constant(matrix(bias, bias.length)),
	);

/** The same number by number: y = w x + b. */
const scaleSums = (x: Value, y: Value) => ({
	x: reduceSum(x, [0]),
	y: reduceSum(y, [0]),
	xx: reduceSum(mul(x, x), [0]),
	xy: reduceSum(mul(x, y), [0]),
});
