/**
 * Which product is on the image: linear discriminant analysis (Fisher 1936) on L2-normalised class tokens of the PRETRAINED network,
 * so that no training strategy can spoil it. An image goes to the nearest mean in the squared Mahalanobis distance of ONE
 * covariance, pooled within all categories and shrunk as Ledoit & Wolf 2004 do from the pooled moments; covariances of
 * each category's own would need their log-determinant and confuse small categories. With one category it is a plain Gaussian.
 *
 * Unknown product: the distance is out when it exceeds limit = max + (max − median) of the category's own leave-one-out
 * distances: beyond its furthest normal by as much again as that one lies beyond the middle. A category with fewer than 20 of
 * them borrows the others' (each relative to its own mean); while there are none at all, nothing is out.
 * The other half of the rule, the share of unfamiliar patches, belongs to the patch memory.
 *
 * Each category stores its moments and its leave-one-out distances relative to their mean. The mean follows from the moments and
 * the pooled covariance, so limits stay right when other categories come and go.
 */
import type { AnyTensor, Tensor } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import {
	type Gaussian,
	gaussianOf,
	ledoitWolf,
	leaveOneOut,
	type LeaveOneOut,
	type Moments,
	mergeMoments,
	momentsOf,
	type Rows,
	squaredDistances,
} from "../linalg/covariance.ts";
import { type Features, known, sumBytes, unitRows } from "./memory.ts";
import {
	list,
	restoreMoments,
	restoreReals,
	type Stored,
	storeMoments,
} from "./stored.ts";

export interface Route {
	/** The nearest category. */
	readonly id: string;
	/** Squared distance to it. */
	readonly distance: number;
	/** Whether that is further than its normals go: perhaps no product of this memory. */
	readonly out: boolean;
	/** Squared distances to all, in the order of `ids`. */
	readonly distances: Float64Array;
}

export interface RoutingLimit {
	/** Largest leave-one-out distance of the category's normals. */
	readonly maximum: number;
	/** Their .99 quantile, interpolated. */
	readonly quantile: number;
	/** Squared distances above it are out; Infinity while nothing can be measured. */
	readonly limit: number;
}

const ENOUGH = 20;

interface Kept {
	readonly moments: Moments;
	/** d² / mean d², leave-one-out. */
	readonly relative: Float64Array;
}

interface Derived {
	readonly gaussians: ReadonlyMap<string, Gaussian>;
	readonly limits: ReadonlyMap<string, RoutingLimit>;
}

export class Router {
	readonly #d: number;
	readonly #kept = new Map<string, Kept>();
	#derived: Derived | null = null;

	constructor(embedDim: number) {
		this.#d = embedDim;
	}

	get ids(): readonly string[] {
		return [...this.#kept.keys()];
	}

	add(id: string, features: Features): void {
		if (this.#kept.has(id)) throw fail("CATEGORY_ALREADY_LEARNT", { id });
		const rows = this.#rows(id, features);
		const moments = momentsOf(rows);
		this.#set(id, { moments, relative: this.#relative(id, rows, moments) });
	}

	remove(id: string): void {
		known(this.#kept, id);
		this.#kept.delete(id);
		this.#derived = null;
	}

	merge(id: string, features: Features): void {
		const kept = known(this.#kept, id);
		const rows = this.#rows(id, features);
		const moments = mergeMoments(kept.moments, momentsOf(rows));
		this.#set(id, {
			moments,
			relative: Float64Array.from([
				...kept.relative,
				...this.#relative(id, rows, moments),
			]),
		});
	}

	/** Each image on its own; `frozen` is not normalised yet. */
	route(frozen: Tensor): readonly Route[] {
		const { gaussians, limits } = this.#derive();
		const { ids } = this;
		if (ids.length === 0)
			throw fail("CATEGORY_NOT_LEARNT", { id: "any product", known: ids });
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
			return {
				id,
				distance,
				out: distance > known(limits, id).limit,
				distances,
			};
		});
	}

	limit(id: string): RoutingLimit {
		return known(this.#derive().limits, id);
	}

	tensors(id: string): Record<string, AnyTensor> {
		const { moments, relative } = known(this.#kept, id);
		return { ...storeMoments(moments), "crossFitted.relative": list(relative) };
	}

	restore(id: string, tensors: Stored): void {
		this.#set(id, {
			moments: restoreMoments(id, tensors, this.#d),
			relative: restoreReals(id, tensors, "crossFitted.relative"),
		});
	}

	bytes(id: string): number {
		return sumBytes(this.tensors(id));
	}

	#rows(id: string, features: Features): Rows {
		return unitRows(id, features.ids, features.frozen, this.#d);
	}

	#set(id: string, kept: Kept): void {
		this.#kept.set(id, kept);
		this.#derived = null;
	}

	/** Leave-one-out distances of `rows`, which are among the samples behind `moments`, over their expected mean. */
	#relative(id: string, rows: Rows, moments: Moments): Float64Array {
		const within = pooled([
			...[...this.#kept]
				.filter(([other]) => other !== id)
				.map(([, kept]) => kept.moments),
			moments,
		]);
		const loo = leaveOneOut(within, ledoitWolf(within));
		const expected = loo.expected(moments, moments.mean, moments.n);
		const scores = loo.squaredDistances(rows, moments.mean, moments.n);
		return expected === null || expected <= 0
			? new Float64Array(0)
			: scores.map((score) => score / expected);
	}

	/** Sorted by id, so that sums don't depend on the order of restoring. */
	#derive(): Derived {
		if (this.#derived) return this.#derived;
		if (this.#kept.size === 0)
			return { gaussians: new Map(), limits: new Map() };
		const all = [...this.#kept].sort(([a], [b]) => (a < b ? -1 : 1));
		const within = pooled(all.map(([, kept]) => kept.moments));
		const shrinkage = ledoitWolf(within);
		const shared = gaussianOf(within, shrinkage);
		const loo = leaveOneOut(within, shrinkage);
		this.#derived = {
			gaussians: new Map(
				all.map(([id, kept]) => [id, { ...shared, mean: kept.moments.mean }]),
			),
			limits: new Map(
				all.map(([id, kept]) => [
					id,
					limitOf(
						kept,
						within,
						loo,
						all.map(([, other]) => other.relative),
					),
				]),
			),
		};
		return this.#derived;
	}
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

function limitOf(
	kept: Kept,
	within: Moments,
	loo: LeaveOneOut,
	everyone: readonly Float64Array[],
): RoutingLimit {
	const enough = kept.relative.length >= ENOUGH;
	const relative = (
		enough
			? kept.relative
			: Float64Array.from(everyone.flatMap((values) => [...values]))
	).toSorted();
	const own =
		loo.expected(kept.moments, kept.moments.mean, kept.moments.n) ?? 0;
	const average =
		loo.expected(
			{ ...within, mean: kept.moments.mean },
			kept.moments.mean,
			within.n,
		) ?? 0;
	const scale = enough
		? own
		: Math.max(own, average * (1 + 1 / kept.moments.n)); // a mean of n images is itself off by 1/n of the spread
	if (relative.length === 0 || scale === 0)
		return {
			maximum: Number.POSITIVE_INFINITY,
			quantile: Number.POSITIVE_INFINITY,
			limit: Number.POSITIVE_INFINITY,
		};
	const maximum = scale * quantileOf(relative, 1);
	return {
		maximum,
		quantile: scale * quantileOf(relative, 0.99),
		limit: 2 * maximum - scale * quantileOf(relative, 0.5),
	};
}

/** Of sorted values, linearly interpolated. */
function quantileOf(sorted: Float64Array, q: number): number {
	const at = q * (sorted.length - 1);
	const low = sorted[Math.floor(at)] as number;
	return (
		low + ((sorted[Math.ceil(at)] as number) - low) * (at - Math.floor(at))
	);
}
