/**
 * Distance of every patch to its nearest centres. They are found by one product of 8-bit matrices, whose graph takes the bank as an
 * input, whichever product's it is; the distances of the found are then computed from the numbers themselves.
 */
import { toBytes, toInt8 } from "../engine/bytes.ts";
import { input, scalar, type Value } from "../engine/graph.ts";
import {
	add,
	cast,
	div,
	integerLinear,
	lessOrEqual,
	max,
	min,
	mul,
	neg,
	reduceMax,
	reshape,
	sub,
	sum,
	topK,
	where,
} from "../engine/ops/index.ts";
import { Session } from "../engine/runtime.ts";
import { float32, type Tensor } from "../engine/tensor.ts";
import { EXCLUDED } from "./constraints.ts";

/** Kept, the newest: products differ in the size of their banks, and each size is a session of its own. */
const SESSIONS = 16;
/**
 * Found beyond those that are averaged: rounding may have put the nearest a little further back. On real parts 3 lose none of them
 * (docs/experiments.md); where more centres than these are alike to 1 / 1000, one of them counts.
 */
const SPARE = 3;
/** Code of 0 in a patch: 7 bits, which are exact on processors that add products in 16 bits. */
const ZERO = 64;

/** A bank's centres [M, D], all rows at length 1, made ready for the search. */
export class Centres {
	readonly codes: Tensor<"int8">; // [D, M]
	readonly scale: Tensor; // [M]
	/** One of them [D]. */
	readonly row: (i: number) => Float32Array;

	/** `row`: reads it from where it is stored, so that `rows` need not stay. */
	constructor(rows: Tensor, row = (i: number) => rowOf(rows, i)) {
		const { codes, scale } = toInt8(rows);
		this.codes = codes;
		this.scale = scale;
		this.row = row;
	}
}

export class Nearest {
	readonly #threads: number;
	readonly #neighbours: number;
	readonly #sessions = new Map<string, Promise<Session>>();

	/** `neighbours`: centres whose distances are averaged. */
	constructor(threads: number, neighbours: number) {
		this.#threads = threads;
		this.#neighbours = neighbours;
	}

	/**
	 * Mean cosine distances 1 − x·c [N] of patches [N, D], all rows at length 1, to the nearest of the centres. Centres in the half-open
	 * range `except` do not count, nor do those of a pair that `window` [N, M] excludes; where fewer are left than are averaged, those
	 * are, and where none is left, the distance is 2, the largest there is.
	 */
	async distances(
		patches: Tensor,
		{ codes, scale, row }: Centres,
		{
			except = [0, 0],
			window = null,
		}: {
			readonly except?: readonly [number, number];
			readonly window?: Tensor | null;
		} = {},
	): Promise<Float32Array> {
		const [n, d] = patches.shape as [number, number];
		const m = codes.shape[1] as number;
		const bias = float32([m]);
		bias.data.fill(EXCLUDED, ...except);
		const session = await this.#session(n, m, d, window !== null);
		const { values, positions } = (await session.run({
			// a patch's own scale does not change which centres are its nearest
			patches: toBytes(patches, ZERO).codes,
			centres: codes,
			scale,
			bias,
			...(window && { window }),
		})) as { values: Tensor; positions: unknown };
		const found = (positions as Tensor<"int64">).data;
		const out = new Float32Array(n);
		const width = found.length / n;
		for (let i = 0; i < n; i++) {
			const similarities: number[] = [];
			const patch = rowOf(patches, i);
			for (let k = i * width; k < (i + 1) * width; k++)
				if ((values.data[k] as number) > EXCLUDED / 2)
					similarities.push(product(patch, row(Number(found[k]))));
			out[i] = meanDistance(similarities, this.#neighbours);
		}
		return out;
	}

	#session(
		n: number,
		m: number,
		d: number,
		windowed: boolean,
	): Promise<Session> {
		const key = `${n} ${m} ${d} ${windowed}`;
		const known = this.#sessions.get(key);
		if (known) return known;
		const all = integerLinear(
			input("patches", [n, d], "uint8"),
			input("centres", [d, m], "int8"),
			input("scale", [m]),
			input("bias", [m]),
			ZERO,
		);
		const counted = windowed ? add(all, input("window", [n, m])) : all;
		const made = Session.create(
			{ ...topK(counted, Math.min(this.#neighbours + SPARE, m)) },
			{ threads: this.#threads },
		);
		this.#sessions.set(key, made);
		for (const [oldest, session] of this.#sessions) {
			if (this.#sessions.size <= SESSIONS) break;
			this.#sessions.delete(oldest);
			void session.then((s) => s.release());
		}
		return made;
	}

	async release(): Promise<void> {
		const sessions = [...this.#sessions.values()];
		this.#sessions.clear();
		for (const session of sessions) await (await session).release();
	}
}

/** What a search reads of a bank, as values of a graph. */
export interface CentreValues {
	readonly codes: Value; // int8 [D, M]
	readonly scale: Value; // [M]
	/** EXCLUDED for those that are none; null: all are. */
	readonly beyond: Value | null; // [M]
	readonly window: Value | null; // [N, M]
	/** The centres themselves [N, k, D], at positions [N, k]. */
	readonly at: (positions: Value) => Value;
}

/** `distances` as a graph. */
export function distancesOf(
	rows: Value /* [N, D] */,
	neighbours: number,
	{ codes, scale, beyond, window, at }: CentreValues,
): Value /* [N] */ {
	const [n, d] = rows.shape as [number, number];
	const m = codes.shape[1] as number;
	const all = integerLinear(bytesOf(rows), codes, scale, beyond, ZERO);
	const { values, positions } = topK(
		window ? add(all, window) : all,
		Math.min(neighbours + SPARE, m),
	); // [N, k]
	const products = sum(
		mul(
			cast(at(positions), "float64"),
			reshape(cast(rows, "float64"), [n, 1, d]),
		),
		[2],
	);
	const counted = where(
		lessOrEqual(values, EXCLUDED / 2),
		scalar(EXCLUDED, "float64"),
		products,
	);
	const { values: largest } = topK(counted, Math.min(neighbours, m));
	const excluded = lessOrEqual(largest, EXCLUDED / 2);
	const zero = scalar(0, "float64");
	const number = sum(where(excluded, zero, 1), [1]);
	const mean = div(sum(where(excluded, zero, largest), [1]), max(number, 1));
	const distance = min(max(sub(1, mean), 0), 2);
	return cast(
		where(lessOrEqual(number, 0), scalar(2, "float64"), distance),
		"float32",
	);
}

/** `toBytes` about ZERO as a graph. */
function bytesOf(rows: Value): Value {
	const x = cast(rows, "float64");
	const largest = reduceMax(max(x, neg(x)));
	const step = cast(div(largest, ZERO - 1), "float32");
	const steps = cast(where(lessOrEqual(step, 0), scalar(1), step), "float64");
	return cast(add(div(x, steps), ZERO + 0.5), "uint8"); // which rounds down
}

function rowOf({ shape, data }: Tensor, i: number): Float32Array {
	const d = shape[1] as number;
	return data.subarray(i * d, (i + 1) * d);
}

/** In four sums, which do not wait for each other. */
function product(x: Float32Array, y: Float32Array): number {
	const d = x.length;
	let [s0, s1, s2, s3] = [0, 0, 0, 0];
	let k = 0;
	for (; k + 3 < d; k += 4) {
		s0 += (x[k] as number) * (y[k] as number);
		s1 += (x[k + 1] as number) * (y[k + 1] as number);
		s2 += (x[k + 2] as number) * (y[k + 2] as number);
		s3 += (x[k + 3] as number) * (y[k + 3] as number);
	}
	for (; k < d; k++) s0 += (x[k] as number) * (y[k] as number);
	return s0 + s1 + s2 + s3;
}

/** 1 less the mean of the `count` largest similarities, or of as many as there are. */
function meanDistance(similarities: number[], count: number): number {
	const largest = similarities.sort((a, b) => b - a).slice(0, count);
	if (largest.length === 0) return 2;
	const mean = largest.reduce((a, b) => a + b, 0) / largest.length;
	return Math.min(2, Math.max(0, 1 - mean));
}
