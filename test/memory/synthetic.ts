/** Gaussian class tokens around a mean of their own per category, as stand-ins for a backbone's. */
import { float32, type Tensor } from "../../src/engine/tensor.ts";
import type { Entry, Features } from "../../src/memory/memory.ts";
import { Random } from "../../src/random.ts";

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
	};
}

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
	};
}
