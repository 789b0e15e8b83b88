/** Distance of every patch to its nearest centres, as one matrix product: the graph takes the bank as an input, whichever product's it is. */
import { input } from "../engine/graph.ts";
import { add, linear, reduceMax, topK } from "../engine/ops/index.ts";
import { Session } from "../engine/runtime.ts";
import { float32, type Tensor } from "../engine/tensor.ts";
import { EXCLUDED } from "./constraints.ts";

/** Kept, the newest: products differ in the size of their banks, and each size is a session of its own. */
const SESSIONS = 16;

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
	 * Mean cosine distances 1 − x·c [N] of patches [N, D] to the nearest of the centres [M, D], all rows at length 1. Centres in the
	 * half-open range `except` do not count, nor do those of a pair that `window` [N, M] excludes; where fewer are left than are averaged,
	 * those are, and where none is left, the distance is 2, the largest there is.
	 */
	async distances(
		patches: Tensor,
		centres: Tensor,
		{
			except = [0, 0],
			window = null,
		}: {
			readonly except?: readonly [number, number];
			readonly window?: Tensor | null;
		} = {},
	): Promise<Float32Array> {
		const [n, d] = patches.shape as [number, number];
		const m = centres.shape[0] as number;
		const bias = float32([m]);
		bias.data.fill(EXCLUDED, ...except);
		const session = await this.#session(n, m, d, window !== null);
		const { similarity } = await session.run({
			patches,
			centres,
			bias,
			...(window && { window }),
		});
		return meanDistances((similarity as Tensor).data, n);
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
		const all = linear(
			input("patches", [n, d]),
			input("centres", [m, d]),
			input("bias", [m]),
		);
		const counted = windowed ? add(all, input("window", [n, m])) : all;
		const made = Session.create(
			{
				similarity:
					this.#neighbours === 1
						? reduceMax(counted, [1])
						: topK(counted, Math.min(this.#neighbours, m)),
			},
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

/** Of n rows of similarities, the largest first; those of centres that do not count are far below -1. */
function meanDistances(similarities: Float32Array, n: number): Float32Array {
	const k = similarities.length / n;
	return Float32Array.from({ length: n }, (_, i) => {
		const counted = similarities
			.subarray(i * k, (i + 1) * k)
			.filter((s) => s > EXCLUDED / 2);
		if (counted.length === 0) return 2;
		const mean = counted.reduce((a, b) => a + b, 0) / counted.length;
		return Math.min(2, Math.max(0, 1 - mean));
	});
}
