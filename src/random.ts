/**
 * Seeded random numbers: sfc32 (Chris Doty-Humphrey, PractRand) seeded through an FNV-1a hash of the keys.
 * A generator is derived from a purpose ("augment", task, epoch, index), never shared: what is drawn for one
 * image does not depend on who drew before, on the batch, or on a thread, and resuming needs no saved state.
 */
export class Random {
	#a: number;
	#b: number;
	#c: number;
	#d: number;
	#spare: number | null = null;
	readonly #key: string;

	/** Different keys give independent streams; the same keys always the same one. */
	constructor(...keys: readonly (string | number)[]) {
		this.#key = JSON.stringify(keys);
		this.#a = fnv1a(this.#key, 0x811c9dc5);
		this.#b = fnv1a(this.#key, 0x9e3779b9);
		this.#c = fnv1a(this.#key, 0x85ebca6b);
		this.#d = 1;
		for (let i = 0; i < 16; i++) this.uint32();
	}

	/** A new generator for a sub-purpose; does not advance this one. */
	derive(...keys: readonly (string | number)[]): Random {
		return new Random(this.#key, ...keys);
	}

	uint32(): number {
		const t = (this.#a + this.#b + this.#d) | 0;
		this.#d = (this.#d + 1) | 0;
		this.#a = this.#b ^ (this.#b >>> 9);
		this.#b = (this.#c + (this.#c << 3)) | 0;
		this.#c = (this.#c << 21) | (this.#c >>> 11);
		this.#c = (this.#c + t) | 0;
		return t >>> 0;
	}

	/** Uniform in [from, to), 53 bits. */
	uniform(from = 0, to = 1): number {
		const u =
			((this.uint32() >>> 5) * 67108864 + (this.uint32() >>> 6)) /
			9007199254740992;
		return from + (to - from) * u;
	}

	/** A whole number in [0, n). */
	integer(n: number): number {
		return Math.floor(this.uniform() * n);
	}

	/** Normal, by the polar method (Marsaglia 1964). */
	normal(mean = 0, deviation = 1): number {
		if (this.#spare !== null) {
			const z = this.#spare;
			this.#spare = null;
			return mean + deviation * z;
		}
		for (;;) {
			const u = this.uniform(-1, 1);
			const v = this.uniform(-1, 1);
			const s = u * u + v * v;
			if (s > 0 && s < 1) {
				const f = Math.sqrt((-2 * Math.log(s)) / s);
				this.#spare = v * f;
				return mean + deviation * u * f;
			}
		}
	}

	/** Gamma with shape k >= 1 and the given scale (Marsaglia & Tsang 2000). */
	gamma(k: number, scale: number): number {
		const d = k - 1 / 3;
		const c = 1 / Math.sqrt(9 * d);
		for (;;) {
			const x = this.normal();
			const v = (1 + c * x) ** 3;
			if (v <= 0) continue;
			if (
				Math.log(1 - this.uniform()) <
				0.5 * x * x + d - d * v + d * Math.log(v)
			)
				return d * v * scale;
		}
	}

	/** 0..n-1 in random order (Fisher-Yates). */
	permutation(n: number): number[] {
		const order = Array.from({ length: n }, (_, i) => i);
		for (let i = n - 1; i > 0; i--) {
			const j = this.integer(i + 1);
			const t = order[i] as number;
			order[i] = order[j] as number;
			order[j] = t;
		}
		return order;
	}
}

function fnv1a(text: string, start: number): number {
	let h = start;
	for (let i = 0; i < text.length; i++) {
		h ^= text.charCodeAt(i);
		h = Math.imul(h, 0x01000193);
	}
	h ^= h >>> 16;
	h = Math.imul(h, 0x7feb352d);
	h ^= h >>> 15;
	return h | 0;
}
