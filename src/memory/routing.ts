/**
 * Which product is on the image: linear discriminant analysis (Fisher 1936) on L2-normalised class tokens of the PRETRAINED network,
 * so that no training strategy can spoil it. ONE covariance, pooled within all categories and shrunk as Ledoit & Wolf 2004 do
 * from the pooled moments; covariances of each category's own would need their log-determinant and confuse small categories.
 *
 * A defect does not only add something, it takes away part of what tells the product from the others. So, with v = x − g and
 * a = μ_k − g from the mean g of all means, both whitened, an image goes to the least
 *   d²_k = min over 0 <= ρ <= 1 of ‖v − ρa‖² + c(1 − ρ)²,   ρ = (v·a + c) / (a·a + c), cut off at 0 and 1.
 * ρ = 1 is the plain Mahalanobis distance, which favours categories near g for any image that lost much. Far outside c hardly
 * counts and the angle decides, as in cosine scoring (Dehak et al. 2011, IEEE TASLP 19(4)); among normals c keeps a
 * product whose mean lies between the others'. With one category it is a plain Gaussian, with two it is Fisher's rule.
 *
 * The answer is always a known product. The distance alone cannot tell that there is none: heavy defects lie further out than
 * foreign products. `isOut` is therefore only one of two conditions (knowledge.ts). It asks the product's own Gaussian, and
 * its farthest normal as if that had not been learnt: what is learnt later moves neither. How the rule and c were chosen, without test images: docs/decisions/0005-scores-and-routing.md.
 */
import { BLURRED, isBlurred } from "../data/flaw.ts";
import { constant, scalar, type Value } from "../engine/graph.ts";
import {
	add,
	argMax,
	div,
	gemm,
	lessOrEqual,
	max,
	min,
	mul,
	neg,
	reduceSum,
	reshape,
	sub,
	where,
} from "../engine/ops/index.ts";
import { type AnyTensor, float64, type Tensor } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import { factor, solveLower } from "../linalg/cholesky.ts";
import {
	dot,
	type Gaussian,
	leaveOneOut,
	ledoitWolf,
	type Moments,
	mergeMoments,
	momentsOf,
	type Rows,
	rowOf,
	shrunkCovariance,
	squaredDistances,
} from "../linalg/covariance.ts";
import {
	type Chosen,
	inverseLower,
	squaredDistanceOf,
	unitRowsOf,
} from "./chosen.ts";
import { type Features, known, sumBytes, unitRows } from "./memory.ts";
import {
	list,
	restoreMoments,
	restoreReals,
	rounded,
	type Stored,
	storedGaussian,
	storeMoments,
} from "./stored.ts";

/** What it reads of images. */
interface FrozenTokens extends Pick<Features, "ids" | "frozen"> {
	/** `detailOf` each picture; absent: not known. */
	readonly detail?: readonly number[]; // [n]
}

export interface Route {
	/** The nearest category. */
	readonly id: string;
	/** Its d², see above: at most the squared Mahalanobis distance to its mean. */
	readonly distance: number;
	/** d² of all, in the order of `ids`. */
	readonly distances: Float64Array;
}

/** c: to lose all that is the product's own costs as much as five standard deviations in one direction. */
const lossCost = 25;

export class Router {
	readonly #d: number;
	readonly #moments = new Map<string, Moments>();
	/** Largest leave-one-out squared distance of a category's normals; none of a single image, or stored before this was measured. */
	readonly #farthest = new Map<string, number>();
	/** Of a category's normals, the least detail (data/flaw.ts); none where it was not measured of all. */
	readonly #detail = new Map<string, number>();
	#space: Space | null = null; // derived
	readonly #own = new Map<string, Gaussian>(); // derived

	constructor(embedDim: number) {
		this.#d = embedDim;
	}

	get ids(): readonly string[] {
		return [...this.#moments.keys()];
	}

	add(id: string, features: FrozenTokens): void {
		if (this.#moments.has(id)) throw fail("CATEGORY_ALREADY_LEARNT", { id });
		const rows = this.#rows(id, features);
		this.#set(id, rounded(momentsOf(rows)));
		this.#measure(id, rows);
		if (features.detail) this.#detail.set(id, Math.min(...features.detail));
	}

	remove(id: string): void {
		known(this.#moments, id);
		this.#moments.delete(id);
		this.#farthest.delete(id);
		this.#detail.delete(id);
		this.#own.delete(id);
		this.#space = null;
	}

	merge(id: string, features: FrozenTokens): void {
		const before = known(this.#moments, id);
		const rows = this.#rows(id, features);
		this.#set(id, rounded(mergeMoments(before, momentsOf(rows))));
		this.#measure(id, rows);
		const least = this.#detail.get(id);
		if (features.detail && least !== undefined)
			this.#detail.set(id, Math.min(least, ...features.detail));
		else this.#detail.delete(id);
	}

	imagesOf(id: string): number {
		return known(this.#moments, id).n;
	}

	/** Each image on its own; `frozen` is not normalised yet. */
	route(frozen: Tensor): readonly Route[] {
		const { ids } = this;
		if (ids.length === 0)
			throw fail("CATEGORY_NOT_LEARNT", { id: "any product", known: ids });
		const space = this.#shared();
		const names = Array.from({ length: frozen.shape[0] ?? 0 }, (_, i) =>
			String(i + 1),
		);
		const rows = unitRows("the images to be routed", names, frozen, this.#d);
		return names.map((_, r) => {
			const v = whitened(space, rowOf(rows, r));
			const distances = Float64Array.from(ids, (id) =>
				distanceTo(known(space.directions, id), v),
			);
			const distance = Math.min(...distances);
			const id = ids[distances.indexOf(distance)] as string;
			return { id, distance, distances };
		});
	}

	/** Whether one image lies farther out than any normal of this category; null: not known. */
	isOut(id: string, frozen: Tensor): boolean | null {
		const own = this.#gaussian(id);
		const farthest = this.#farthest.get(id);
		if (farthest === undefined) return null;
		const row = unitRows("the image to be placed", ["1"], frozen, this.#d);
		return (squaredDistances(own, row)[0] as number) > farthest;
	}

	#shared(): Space {
		try {
			this.#space ??= spaceOf(this.#moments);
		} catch (error) {
			for (const id of this.ids) this.#gaussian(id); // says which of them is damaged
			throw error;
		}
		return this.#space;
	}

	#gaussian(id: string): Gaussian {
		const own =
			this.#own.get(id) ?? storedGaussian(id, known(this.#moments, id));
		this.#own.set(id, own);
		return own;
	}

	/** `route` as a graph: position of the nearest category in `ids`, int64 [], for one class token [1, D]. */
	routeGraph(frozen: Value): Value {
		const { centre, factor: l, directions } = this.#shared();
		const d = this.#d;
		const a = float64([this.ids.length, d]); // [K, D]
		for (const [k, id] of this.ids.entries())
			a.data.set(known(directions, id), k * d);
		const squares = float64(
			[a.shape[0] as number, 1],
			Float64Array.from(this.ids, (id) => {
				const own = known(directions, id);
				return dot(own, own) + lossCost;
			}),
		);
		const v = gemm(
			sub(unitRowsOf(frozen), constant(float64([d], centre))),
			constant(float64([d, d], inverseLower(l, d))),
			{ transB: true },
		); // [1, D]
		const along = gemm(constant(a), v, { transB: true }); // [K, 1]
		const rho = min(max(div(add(along, lossCost), constant(squares)), 0), 1);
		const rest = sub(v, mul(rho, constant(a)));
		const lost = sub(1, rho);
		const distances = add(
			reduceSum(mul(rest, rest), [1]),
			mul(mul(lost, lost), lossCost),
		);
		return reshape(argMax(neg(distances), 0), []);
	}

	/** `isOut` as a graph: 1 where it is, else 0, float64 []. */
	isOutGraph(chosen: Chosen, frozen: Value): Value {
		const squared = squaredDistanceOf(
			chosen,
			chosen.ids.map((id) => this.#gaussian(id)),
			unitRowsOf(frozen),
		);
		const farthest = chosen.number(
			(id) => this.#farthest.get(id) ?? Number.MAX_VALUE,
		);
		return where(
			lessOrEqual(reshape(squared, []), farthest),
			scalar(0, "float64"),
			1,
		);
	}

	/** The least detail that a picture of the chosen category has, unless it is out of focus: float64 []. */
	leastDetailGraph(chosen: Chosen): Value {
		return chosen.number((id) => {
			const least = this.#detail.get(id);
			return least === undefined ? -Number.MAX_VALUE : least - BLURRED;
		});
	}

	/** Whether a picture with this detail is out of focus beside those of this category; false where that is not known. */
	isBlurred(id: string, detail: number): boolean {
		known(this.#moments, id);
		const least = this.#detail.get(id);
		return least !== undefined && isBlurred(detail, least);
	}

	tensors(id: string): Record<string, AnyTensor> {
		const moments = known(this.#moments, id);
		const farthest = this.#farthest.get(id);
		const detail = this.#detail.get(id);
		return {
			...storeMoments(moments),
			...(detail !== undefined && { detail: list(Float64Array.of(detail)) }),
			...(farthest !== undefined && {
				farthest: list(Float64Array.of(farthest)),
			}),
		};
	}

	restore(id: string, tensors: Stored): void {
		this.#set(id, restoreMoments(id, tensors, this.#d));
		for (const [name, values] of [
			["farthest", this.#farthest],
			["detail", this.#detail],
		] as const) {
			values.delete(id); // memories of before have none
			if (Object.hasOwn(tensors, name))
				values.set(id, restoreReals(id, tensors, name, 1)[0] as number);
		}
	}

	bytes(id: string): number {
		return sumBytes(this.tensors(id));
	}

	#rows(id: string, features: FrozenTokens): Rows {
		return unitRows(id, features.ids, features.frozen, this.#d);
	}

	/** Of these normals, which are among those of the moments; earlier ones are known by their farthest alone, and that stays. */
	#measure(id: string, rows: Rows): void {
		const moments = known(this.#moments, id);
		const { mean, n } = moments;
		const distances = leaveOneOut(
			moments,
			ledoitWolf(moments),
		).squaredDistances(rows, mean, n);
		if (distances.length > 0)
			this.#farthest.set(
				id,
				Math.max(this.#farthest.get(id) ?? 0, ...distances),
			);
	}

	#set(id: string, moments: Moments): void {
		this.#moments.set(id, moments);
		this.#own.delete(id);
		this.#space = null;
	}
}

interface Space {
	/** g */
	readonly centre: Float64Array; // [D]
	/** L, LLᵀ the shared covariance. */
	readonly factor: Float64Array; // [D, D]
	readonly directions: ReadonlyMap<string, Float64Array>; // a of every category, [D]
}

/** Sorted by id, so that sums don't depend on the order of restoring. */
function spaceOf(moments: ReadonlyMap<string, Moments>): Space {
	const all = [...moments].sort(([a], [b]) => (a < b ? -1 : 1));
	const within = pooled(all.map(([, m]) => m));
	const d = within.mean.length;
	const l = factor(shrunkCovariance(within.covariance, ledoitWolf(within)), d);
	const centre = new Float64Array(d); // every category counts alike, however many images it has
	for (const [, { mean }] of all)
		for (let i = 0; i < d; i++)
			centre[i] = (centre[i] as number) + (mean[i] as number) / all.length;
	return {
		centre,
		factor: l,
		directions: new Map(
			all.map(([id, { mean }]) => [id, whitened({ centre, factor: l }, mean)]),
		),
	};
}

/** L⁻¹(x − g) */
function whitened(
	{ centre, factor: l }: Pick<Space, "centre" | "factor">,
	x: Float64Array,
): Float64Array {
	const v = x.map((value, i) => value - (centre[i] as number));
	solveLower(l, v.length, v, v);
	return v;
}

/** min over 0 <= ρ <= 1 of ‖v − ρa‖² + c(1 − ρ)². */
function distanceTo(a: Float64Array, v: Float64Array): number {
	const rho = Math.min(
		Math.max((dot(v, a) + lossCost) / (dot(a, a) + lossCost), 0),
		1,
	);
	let rest = 0;
	for (let i = 0; i < v.length; i++) {
		const left = (v[i] as number) - rho * (a[i] as number);
		rest += left * left;
	}
	return rest + lossCost * (1 - rho) ** 2;
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
