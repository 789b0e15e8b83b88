/** Gaussian class tokens around a mean of their own per category, and patches around some directions of its own, as stand-ins for a backbone's. */
import { float32, type Tensor } from "../../src/engine/tensor.ts";
import type { Entry, Features } from "../../src/memory/memory.ts";
import { Random } from "../../src/random.ts";

/** Patches of an image. */
export const patchCount = 5;

/** `kind` draws other images of the same category; `shift` moves them away from its normals. */
export function features(
	category: string,
	kind: string,
	n: number,
	d = 12,
	shift = 0,
): Features {
	const centre = new Random("centre", category);
	const mean = Float64Array.from({ length: d }, () => centre.normal());
	const random = new Random(category, kind);
	const tokens = (): Tensor =>
		float32(
			[n, d],
			Float32Array.from(
				{ length: n * d },
				(_, i) =>
					3 * (mean[i % d] as number) +
					shift +
					(0.3 + (i % d) / d) * random.normal(),
			),
		);
	return {
		ids: Array.from({ length: n }, (_, i) => `${category}/${kind}/${i}`),
		embedding: tokens(),
		frozen: tokens(),
		patches: patchesOf(category, kind, n, d, shift),
	};
}

/** Each place of an image has its own direction, as the pictures of a category are alike. */
function patchesOf(
	category: string,
	kind: string,
	n: number,
	d: number,
	shift: number,
): Tensor[] {
	const places = new Random("places", category);
	const means = Float64Array.from({ length: patchCount * d }, () =>
		places.normal(),
	);
	const random = new Random(category, kind, "patches");
	return Array.from({ length: n }, () =>
		unit(
			float32(
				[patchCount, d],
				Float32Array.from(
					means,
					(mean) => 3 * mean + shift + 0.5 * random.normal(),
				),
			),
		),
	);
}

/** Every row at length 1. */
export function unit({ shape, data }: Tensor): Tensor {
	const d = shape.at(-1) as number;
	const out = float32(shape);
	for (let at = 0; at < data.length; at += d) {
		const row = data.subarray(at, at + d);
		const length = Math.hypot(...row) || 1;
		for (let i = 0; i < d; i++) out.data[at + i] = (row[i] as number) / length;
	}
	return out;
}

/** Rows of length 1 in random directions. */
export const directions = (n: number, d: number, random: Random): Tensor =>
	unit(
		float32(
			[n, d],
			Float32Array.from({ length: n * d }, () => random.normal()),
		),
	);

export function entry(id: string, n: number, more: Partial<Entry> = {}): Entry {
	return {
		id,
		group: id,
		learnt: features(id, "good", n),
		trained: Array.from({ length: n }, () => false),
		heldOut: null,
		...more,
	};
}

/** The images from..to of a set. */
export function part(all: Features, from: number, to: number): Features {
	const rows = (t: Tensor): Tensor => {
		const d = t.shape[1] as number;
		return float32([to - from, d], t.data.slice(from * d, to * d));
	};
	return {
		ids: all.ids.slice(from, to),
		embedding: rows(all.embedding),
		frozen: rows(all.frozen),
		patches: all.patches?.slice(from, to) ?? null,
	};
}
