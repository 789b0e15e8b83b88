/**
 * Which product is on the image: linear discriminant analysis (Fisher 1936) on L2-normalised class tokens of the PRETRAINED network,
 * so that no training strategy can spoil it. An image goes to the nearest mean in the squared Mahalanobis distance of ONE
 * covariance, pooled within all categories and shrunk as Ledoit & Wolf 2004 do from the pooled moments; covariances of
 * each category's own would need their log-determinant and confuse small categories. With one category it is a plain Gaussian.
 *
 * The answer is always a known product. The distance alone cannot tell that there is none: heavy defects lie further out than
 * foreign products (docs/decisions/0005-scores-and-routing.md).
 */
import type { AnyTensor, Tensor } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import {
	type Gaussian,
	gaussianOf,
	type Moments,
	mergeMoments,
	momentsOf,
	type Rows,
	squaredDistances,
} from "../linalg/covariance.ts";
import { type Features, known, sumBytes, unitRows } from "./memory.ts";
import { restoreMoments, type Stored, storeMoments } from "./stored.ts";

export interface Route {
	/** The nearest category. */
	readonly id: string;
	/** Squared distance to it. */
	readonly distance: number;
	/** Squared distances to all, in the order of `ids`. */
	readonly distances: Float64Array;
}

export class Router {
	readonly #d: number;
	readonly #moments = new Map<string, Moments>();
	#gaussians: ReadonlyMap<string, Gaussian> | null = null; // derived

	constructor(embedDim: number) {
		this.#d = embedDim;
	}

	get ids(): readonly string[] {
		return [...this.#moments.keys()];
	}

	add(id: string, features: Features): void {
		if (this.#moments.has(id)) throw fail("CATEGORY_ALREADY_LEARNT", { id });
		this.#set(id, momentsOf(this.#rows(id, features)));
	}

	remove(id: string): void {
		known(this.#moments, id);
		this.#moments.delete(id);
		this.#gaussians = null;
	}

	merge(id: string, features: Features): void {
		const before = known(this.#moments, id);
		const added = momentsOf(this.#rows(id, features));
		this.#set(id, mergeMoments(before, added));
	}

	/** Each image on its own; `frozen` is not normalised yet. */
	route(frozen: Tensor): readonly Route[] {
		const { ids } = this;
		if (ids.length === 0)
			throw fail("CATEGORY_NOT_LEARNT", { id: "any product", known: ids });
		this.#gaussians ??= gaussiansOf(this.#moments);
		const gaussians = this.#gaussians;
		const names = Array.from({ length: frozen.shape[0] ?? 0 }, (_, i) =>
			String(i + 1),
		);
		const rows = unitRows("the images to be routed", names, frozen, this.#d);
		const columns = ids.map((id) =>
			squaredDistances(known(gaussians, id), rows),
		);
		return names.map((_, r) => {
			const distances = Float64Array.from(
				columns,
				(column) => column[r] as number,
			);
			const distance = Math.min(...distances);
			const id = ids[distances.indexOf(distance)] as string;
			return { id, distance, distances };
		});
	}

	tensors(id: string): Record<string, AnyTensor> {
		return storeMoments(known(this.#moments, id));
	}

	restore(id: string, tensors: Stored): void {
		this.#set(id, restoreMoments(id, tensors, this.#d));
	}

	bytes(id: string): number {
		return sumBytes(this.tensors(id));
	}

	#rows(id: string, features: Features): Rows {
		return unitRows(id, features.ids, features.frozen, this.#d);
	}

	#set(id: string, moments: Moments): void {
		this.#moments.set(id, moments);
		this.#gaussians = null;
	}
}

/** Every category's mean with the shared covariance. Sorted by id, so that sums don't depend on the order of restoring. */
function gaussiansOf(
	moments: ReadonlyMap<string, Moments>,
): ReadonlyMap<string, Gaussian> {
	const all = [...moments].sort(([a], [b]) => (a < b ? -1 : 1));
	const shared = gaussianOf(pooled(all.map(([, m]) => m)));
	return new Map(all.map(([id, { mean }]) => [id, { ...shared, mean }]));
}

/** Moments within categories: as if every category had been moved to a common mean. */
function pooled(parts: readonly Moments[]): Moments {
	const first = parts[0] as Moments;
	const n = parts.reduce((sum, part) => sum + part.n, 0);
	const mean = new Float64Array(first.mean.length); // the mean of means only sets the scale of the target's floor
	const covariance = new Float64Array(first.covariance.length);
	let fourth = 0;
	for (const part of parts) {
		const share = part.n / n;
		for (let i = 0; i < mean.length; i++)
			mean[i] = (mean[i] as number) + share * (part.mean[i] as number);
		for (let i = 0; i < covariance.length; i++)
			covariance[i] =
				(covariance[i] as number) + share * (part.covariance[i] as number);
		fourth += part.fourth;
	}
	return { n, mean, covariance, third: new Float64Array(mean.length), fourth };
}
