/**
 * Scores with weights, counted: what every curve over the thresholds of an anomaly map is made of. Exact at first, in bins once
 * there are too many to keep.
 *
 * A float32 of the usual order is a uint32: its bits with the sign flipped, all of them flipped below zero. A bin is all keys that
 * share the leading 24 bits (sign, exponent, 15 bits of the mantissa), so it is at most 2^-15 = .003 % of its scores wide, whatever
 * the scale of the map; what lies in one bin counts as tied. Pages of bins appear where scores fall: 2.6 MB where the highest score is
 * a thousand times the lowest, 128 MB for every number there is.
 */

/** Distinct keys from the highest to the lowest, and the weight that each has. */
export interface Ranked {
	readonly keys: Uint32Array;
	readonly weights: Float64Array;
}

type Pages = (Float64Array | undefined)[];

const binBits = 24;
const pageBits = 12;
const pageSize = 2 ** pageBits;

export class Tally {
	// exact: a key and the number of its weight for every score
	#keys = new Uint32Array(1024);
	#which = new Uint32Array(1024);
	#length = 0;
	readonly #weights = new Map<number, number>();
	/** Weight of every bin, page by page; null while exact. */
	#pages: Pages | null = null;
	#ranked: Ranked | null = null;

	/** Counts each score with this weight. NaN has no place in an order and must not come here. */
	add(scores: Float32Array, weight: number): void {
		const bits = new Uint32Array(
			scores.buffer,
			scores.byteOffset,
			scores.length,
		);
		this.#ranked = null;
		if (this.#pages) addToBins(this.#pages, bits, weight);
		else this.#append(bits, weight);
	}

	#append(bits: Uint32Array, weight: number): void {
		const which = this.#weights.get(weight) ?? this.#weights.size;
		this.#weights.set(weight, which);
		const end = this.#length + bits.length;
		if (end > this.#keys.length) {
			const room = Math.max(end, 2 * this.#keys.length);
			this.#keys = enlarged(this.#keys, room);
			this.#which = enlarged(this.#which, room);
		}
		const keys = this.#keys.subarray(this.#length, end);
		for (let i = 0; i < bits.length; i++) keys[i] = keyOf(bits[i] as number);
		this.#which.fill(which, this.#length, end);
		this.#length = end;
	}

	/** From now on in bins: what was counted moves there. */
	coarsen(): void {
		if (this.#pages) return;
		this.#ranked = null;
		const weights = [...this.#weights.keys()];
		const keys = this.#keys;
		const which = this.#which;
		const pages: Pages = [];
		for (let i = 0; i < this.#length; i++)
			addKey(pages, keys[i] as number, weights[which[i] as number] as number);
		this.#pages = pages;
		this.#keys = this.#which = new Uint32Array(0);
	}

	ranked(): Ranked {
		this.#ranked ??= this.#pages
			? rankedBins(this.#pages)
			: this.#rankedScores();
		return this.#ranked;
	}

	#rankedScores(): Ranked {
		const weights = [...this.#weights.keys()];
		const [keys, which] = sorted(
			this.#keys.subarray(0, this.#length),
			this.#which.subarray(0, this.#length),
		);
		const distinct = new Uint32Array(keys.length);
		const sums = new Float64Array(keys.length);
		let last = -1;
		for (let i = keys.length - 1; i >= 0; i--) {
			const key = keys[i] as number;
			if (last < 0 || distinct[last] !== key) distinct[++last] = key;
			sums[last] =
				(sums[last] as number) + (weights[which[i] as number] as number);
		}
		return {
			keys: distinct.subarray(0, last + 1),
			weights: sums.subarray(0, last + 1),
		};
	}
}

type Pair = readonly [keys: Uint32Array, which: Uint32Array];

/** Keys in ascending order with what belongs to them: radix sort, 11 bits at a time. */
function sorted(keys: Uint32Array, which: Uint32Array): Pair {
	const pair = (): Pair => [
		new Uint32Array(keys.length),
		new Uint32Array(keys.length),
	];
	const [one, other] = [pair(), pair()];
	distribute([keys, which], one, 0);
	distribute(one, other, 11);
	distribute(other, one, 22);
	return one;
}

/** One pass: in the order of the 11 bits from `shift` on, equal ones as they were. */
function distribute(
	[fromKeys, fromWhich]: Pair,
	[toKeys, toWhich]: Pair,
	shift: number,
): void {
	const places = new Uint32Array(2 ** 11 + 1); // where the next key with these bits goes
	for (let i = 0; i < fromKeys.length; i++) {
		const digit = (((fromKeys[i] as number) >>> shift) & 0x7ff) + 1;
		places[digit] = (places[digit] as number) + 1;
	}
	for (let d = 1; d < places.length; d++)
		places[d] = (places[d] as number) + (places[d - 1] as number);
	for (let i = 0; i < fromKeys.length; i++) {
		const key = fromKeys[i] as number;
		const digit = (key >>> shift) & 0x7ff;
		const place = places[digit] as number;
		places[digit] = place + 1;
		toKeys[place] = key;
		toWhich[place] = fromWhich[i] as number;
	}
}

/** The key of a float32 by its bits; −0 and 0 are the same score. */
function keyOf(bits: number): number {
	const positive = bits >>> 31 === 0;
	if (positive || bits === 0x80000000) return (bits | 0x80000000) >>> 0;
	return ~bits >>> 0;
}

function addToBins(pages: Pages, bits: Uint32Array, weight: number): void {
	for (let i = 0; i < bits.length; i++)
		addKey(pages, keyOf(bits[i] as number), weight);
}

function addKey(pages: Pages, key: number, weight: number): void {
	const bin = key >>> (32 - binBits);
	const page = (pages[bin >>> pageBits] ??= new Float64Array(pageSize));
	const at = bin & (pageSize - 1);
	page[at] = (page[at] as number) + weight;
}

function rankedBins(pages: Readonly<Pages>): Ranked {
	const keys: number[] = [];
	const weights: number[] = [];
	for (let p = pages.length - 1; p >= 0; p--) {
		const page = pages[p];
		if (!page) continue;
		for (let i = pageSize - 1; i >= 0; i--) {
			const weight = page[i] as number;
			if (weight === 0) continue;
			keys.push(p * pageSize + i);
			weights.push(weight);
		}
	}
	return {
		keys: Uint32Array.from(keys),
		weights: Float64Array.from(weights),
	};
}

function enlarged(list: Uint32Array, room: number): Uint32Array<ArrayBuffer> {
	const larger = new Uint32Array(room);
	larger.set(list);
	return larger;
}
