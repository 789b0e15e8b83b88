/**
 * Distribution of Normal Embeddings: what is kept of a category is the Gaussian of its L2-normalised class tokens.
 * Li et al., "Towards Continual Adaptation in Industrial Anomaly Detection", ACM MM 2022.
 * The raw score is the SQUARED Mahalanobis distance, whose tail a gamma fits; the paper's distance is its square root.
 *
 * Forms:
 *   routed  (ours) a Gaussian a category; the image is scored against the one it is routed to. Images too odd to be of good parts stay out
 *           of it (crossfit.ts).
 *   paper   one Gaussian for everything learnt (pooled.ts); the id asked for is ignored, in scores and in calibration.
 *           The newest task's embeddings are kept until a newer task comes, as its sampling needs them.
 * drift: ldc moves earlier moments along when weights change, by a linear map fitted on the current task
 *   (Gomez-Villa et al., "Exemplar-free Continual Representation Learning via Learnable Drift Compensation", ECCV 2024).
 *   Departure: the map is a ridge regression towards the identity in closed form, theirs a projector trained by SGD; with
 *   fewer images than dimensions, directions that the task does not show then stay where they were instead of shrinking to 0.
 *
 * Stored is what merges: empirical moments (the covariance in float32). Shrinkage is derived. Also n cross-fitted scores, since the images they
 * came from are gone; when moments move (merge, drift), the earlier scores are scaled by the change of their mean,
 * which the moments tell (covariance.ts, `expected`).
 */
import { z } from "zod";
import { reshape } from "../engine/ops/index.ts";
import { type AnyTensor, float32, uint8 } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import { factor, solve } from "../linalg/cholesky.ts";
import {
	concatRows,
	type Gaussian,
	gaussianOf,
	ledoitWolf,
	leaveOneOut,
	type Moments,
	mapMoments,
	mergeMoments,
	momentsOf,
	type Rows,
	rowOf,
	squaredDistances,
	traceOf,
} from "../linalg/covariance.ts";
import { Random } from "../random.ts";
import { type Chosen, squaredDistanceOf, unitRowsOf } from "./chosen.ts";
import {
	densityOf,
	joined,
	learntDensity,
	readable,
	rescaled,
} from "./crossfit.ts";
import {
	type CrossFitted,
	defineMemory,
	type Entry,
	type Features,
	type ImageValues,
	known,
	type Memory,
	normalised,
	type RawScores,
	type ScoreValues,
	sumBytes,
	unitRows,
} from "./memory.ts";
import { type EarlierTask, pooledMoments, pooledSample } from "./pooled.ts";
import {
	integer,
	list,
	restoreArray,
	restoreInteger,
	restoreMoments,
	restoreReals,
	storedGaussian,
	rounded,
	type Stored,
	storeMoments,
} from "./stored.ts";

const options = z
	.strictObject({
		form: z
			.enum(["routed", "paper"])
			.default("routed")
			.describe(
				"routed: one Gaussian a category; paper: one Gaussian for everything learnt",
			),
		analytic: z
			.boolean()
			.default(false)
			.describe(
				"paper only: the pooled moments in closed form instead of by drawing",
			),
		drift: z
			.enum(["none", "ldc"])
			.default("none")
			.describe("ldc: earlier moments follow the features when weights change"),
		robust: z
			.boolean()
			.default(true)
			.describe(
				"routed only: images too odd to be of good parts stay out of the Gaussian",
			),
	})
	.refine((o) => o.form === "paper" || !o.analytic, {
		path: ["analytic"],
		error: "analytic belongs to form: paper",
	});

/** Ridge strength of the drift map, relative to the mean square of a feature. */
const DRIFT_RIDGE = 1e-2;

interface Kept {
	readonly group: string;
	/** Seeds the draws of the paper's form. */
	readonly seed: number;
	readonly moments: Moments;
	readonly crossFitted: CrossFitted;
	readonly newest: Newest | null;
}

/** Embeddings of the newest task, kept by the paper's form only. */
interface Newest {
	readonly learnt: Rows;
	readonly trained: readonly boolean[];
	readonly heldOut: Rows;
}

interface Pool extends CrossFitted {
	readonly gaussian: Gaussian;
}

export const dne = defineMemory({
	title: "Distribution of normal embeddings",
	paper: "Li et al. 2022",
	options,
	augmented: ({ form }) => form === "paper",
	create: (chosen, { embedDim }) => new Dne(chosen, embedDim),
});

class Dne implements Memory {
	readonly tail = "gamma"; // of squared distances
	readonly #options: z.output<typeof options>;
	readonly #d: number;
	readonly #kept = new Map<string, Kept>();
	readonly #gaussians = new Map<string, Gaussian>(); // derived, routed
	#pool: Pool | null = null; // derived, paper
	readonly drift?: NonNullable<Memory["drift"]>;
	readonly shared: boolean;

	constructor(chosen: z.output<typeof options>, d: number) {
		this.#options = chosen;
		this.#d = d;
		this.shared = chosen.form === "paper" || chosen.drift === "ldc";
		if (chosen.drift === "ldc")
			this.drift = (before, after) => this.#follow(before, after);
	}

	get ids(): readonly string[] {
		return [...this.#kept.keys()];
	}

	add(entry: Entry, random: Random): void {
		const { id, group } = entry;
		if (this.#kept.has(id)) throw fail("CATEGORY_ALREADY_LEARNT", { id });
		if (entry.trained.length !== entry.learnt.ids.length)
			throw fail("FEATURES_UNUSABLE", {
				id,
				problem: `${entry.learnt.ids.length} images have ${entry.trained.length} marks of training`,
			});
		const learnt = this.#rows(id, entry.learnt);
		const heldOut =
			entry.heldOut && entry.heldOut.ids.length > 0
				? this.#rows(id, entry.heldOut)
				: noRows(this.#d);
		const paper = this.#options.form === "paper";
		const { moments, gaussian, scores } = learntDensity(learnt, {
			robust: this.#options.robust && !paper,
		});
		const crossFitted = readable(
			scores,
			entry.trained,
			squaredDistances(gaussian, heldOut),
		);
		if (paper)
			for (const [other, kept] of this.#kept)
				if (kept.group !== group)
					this.#kept.set(other, { ...kept, newest: null });
		const seed = random.derive("dne", id).uint32() | 0;
		this.#set(id, {
			group,
			seed,
			moments,
			crossFitted,
			newest: paper ? { learnt, trained: entry.trained, heldOut } : null,
		});
		this.#gaussians.set(id, gaussian);
	}

	remove(id: string): void {
		known(this.#kept, id);
		this.#kept.delete(id);
		this.#forgetDerived(id);
	}

	merge(id: string, features: Features): void {
		const kept = known(this.#kept, id);
		const rows = this.#rows(id, features);
		const union = rounded(mergeMoments(kept.moments, momentsOf(rows)));
		const fresh = leaveOneOut(union, ledoitWolf(union)).squaredDistances(
			rows,
			union.mean,
			union.n,
		);
		const earlier = rescaled(kept.crossFitted, kept.moments, union);
		const newest = kept.newest && {
			...kept.newest,
			learnt: concatRows([kept.newest.learnt, rows], this.#d),
			trained: [...kept.newest.trained, ...features.ids.map(() => false)],
		};
		this.#set(id, {
			...kept,
			moments: union,
			crossFitted: { ...earlier, scores: joined(earlier.scores, fresh) },
			newest,
		});
	}

	#follow(before: Features, after: Features): void {
		const map = driftMap(
			this.#rows("the current task", before),
			this.#rows("the current task", after),
		);
		for (const [id, kept] of this.#kept) {
			const moments = rounded(mapMoments(kept.moments, map));
			const newest = kept.newest && {
				...kept.newest,
				learnt: mapRows(kept.newest.learnt, map),
				heldOut: mapRows(kept.newest.heldOut, map),
			};
			this.#set(id, {
				...kept,
				moments,
				crossFitted: rescaled(kept.crossFitted, kept.moments, moments, true),
				newest,
			});
		}
	}

	score(id: string, features: Features): RawScores {
		return {
			scores: squaredDistances(this.#gaussian(id), this.#rows(id, features)),
			maps: null,
		};
	}

	graph(chosen: Chosen, { embedding }: ImageValues): ScoreValues {
		const squared = squaredDistanceOf(
			chosen,
			chosen.ids.map((id) => this.#gaussian(id)),
			unitRowsOf(embedding),
		);
		return { score: reshape(squared, []), map: null, foreign: null };
	}

	/** Of the means, √(d² / D) in the stored density of the category. */
	staleness(id: string, features: Features): number {
		const { mean } = momentsOf(this.#rows(id, features));
		const [squared] = squaredDistances(
			storedGaussian(id, known(this.#kept, id).moments),
			{ n: 1, d: this.#d, data: mean },
		);
		return Math.sqrt((squared as number) / this.#d);
	}

	crossFitted(id: string): CrossFitted {
		const { crossFitted } = known(this.#kept, id);
		return this.#options.form === "paper" ? this.#pooled() : crossFitted;
	}

	tensors(id: string): Record<string, AnyTensor> {
		const { group, seed, moments, crossFitted, newest } = known(this.#kept, id);
		return {
			...storeMoments(moments),
			"crossFitted.scores": list(crossFitted.scores),
			"crossFitted.optimism": list(
				crossFitted.optimism === null
					? new Float64Array(0)
					: Float64Array.of(crossFitted.optimism),
			),
			group: bytesOf(group),
			seed: integer(seed),
			...(newest && storeNewest(newest)),
		};
	}

	restore(id: string, tensors: Stored): void {
		this.#set(id, {
			group: new TextDecoder().decode(
				restoreArray(id, tensors, "group", "uint8"),
			),
			seed: restoreInteger(id, tensors, "seed"),
			moments: restoreMoments(id, tensors, this.#d),
			crossFitted: {
				scores: restoreReals(id, tensors, "crossFitted.scores"),
				optimism: restoreReals(id, tensors, "crossFitted.optimism")[0] ?? null,
			},
			newest: restoreNewest(id, tensors, this.#d),
		});
	}

	bytes(id: string): number {
		return sumBytes(this.tensors(id));
	}

	#rows(id: string, features: Features): Rows {
		return unitRows(id, features.ids, features.embedding, this.#d);
	}

	#set(id: string, kept: Kept): void {
		this.#kept.set(id, kept);
		this.#forgetDerived(id);
	}

	#forgetDerived(id: string): void {
		this.#gaussians.delete(id);
		this.#pool = null;
	}

	#gaussian(id: string): Gaussian {
		const { moments } = known(this.#kept, id);
		if (this.#options.form === "paper") return this.#pooled().gaussian;
		const gaussian = this.#gaussians.get(id) ?? storedGaussian(id, moments);
		this.#gaussians.set(id, gaussian);
		return gaussian;
	}

	/** The paper's single Gaussian and the leave-one-out distances of its own sample. Sorted, so that the order of restoring cannot matter. */
	#pooled(): Pool {
		if (this.#pool) return this.#pool;
		const all = [...this.#kept].sort(([a], [b]) => (a < b ? -1 : 1));
		const drawnFrom = all.filter(([, kept]) => !kept.newest);
		const earlier = [...new Set(drawnFrom.map(([, kept]) => kept.group))].map(
			(group): EarlierTask => {
				const members = drawnFrom.filter(([, kept]) => kept.group === group);
				return {
					gaussian: gaussianOf(
						members.map(([, kept]) => kept.moments).reduce(mergeMoments),
					),
					normals: concatRows(
						members.map(([id, kept]) =>
							standardNormals(
								new Random("dne.paper", id, kept.seed),
								kept.moments.n,
								this.#d,
							),
						),
						this.#d,
					),
				};
			},
		);
		const newest = all.flatMap(([, kept]) => kept.newest ?? []);
		const current = concatRows(
			newest.map((part) => part.learnt),
			this.#d,
		);
		const sample = pooledSample(earlier, current);
		const moments = this.#options.analytic
			? pooledMoments(earlier, current)
			: momentsOf(sample);
		const { gaussian, scores } = densityOf(moments, sample);
		const drawn = sample.n - current.n;
		const heldOut = squaredDistances(
			gaussian,
			concatRows(
				newest.map((part) => part.heldOut),
				this.#d,
			),
		);
		const real = readable(
			scores.subarray(drawn),
			newest.flatMap((part) => part.trained),
			heldOut,
		);
		this.#pool = {
			gaussian,
			optimism: real.optimism,
			scores: joined(scores.subarray(0, drawn), real.scores),
		};
		return this.#pool;
	}
}

/** A [D, D] with A·before ≈ after: A = I + Bᵀ, B = (XᵀX + λI)⁻¹Xᵀ(Y − X), λ relative to the mean square of a feature times n. */
export function driftMap(before: Rows, after: Rows): Float64Array {
	const d = before.d;
	const gram = new Float64Array(d * d); // XᵀX
	const cross = new Float64Array(d * d); // (Y−X)ᵀX: row i belongs to output i
	for (let r = 0; r < before.n; r++) {
		const x = rowOf(before, r);
		const y = rowOf(after, r);
		for (let i = 0; i < d; i++) {
			const xi = x[i] as number;
			const change = (y[i] as number) - xi;
			for (let j = 0, at = i * d; j < d; j++, at++) {
				gram[at] = (gram[at] as number) + xi * (x[j] as number);
				cross[at] = (cross[at] as number) + change * (x[j] as number);
			}
		}
	}
	const ridge = (DRIFT_RIDGE * traceOf(gram, d)) / d || 1; // all features 0: any ridge gives A = I
	for (let i = 0; i < d; i++)
		gram[i * d + i] = (gram[i * d + i] as number) + ridge;
	const l = factor(gram, d);
	const map = new Float64Array(d * d);
	for (let i = 0; i < d; i++) {
		map.set(solve(l, d, cross.subarray(i * d, (i + 1) * d)), i * d);
		map[i * d + i] = (map[i * d + i] as number) + 1;
	}
	return map;
}

function mapRows(rows: Rows, a: Float64Array): Rows {
	const { n, d } = rows;
	const data = new Float64Array(n * d);
	for (let r = 0; r < n; r++)
		for (let i = 0; i < d; i++)
			for (let j = 0; j < d; j++)
				data[r * d + i] =
					(data[r * d + i] as number) +
					(a[i * d + j] as number) * (rows.data[r * d + j] as number);
	return { n, d, data: normalised({ n, d, data }).data.map(Math.fround) };
}

function standardNormals(random: Random, n: number, d: number): Rows {
	return {
		n,
		d,
		data: Float64Array.from({ length: n * d }, () => random.normal()),
	};
}

const noRows = (d: number): Rows => ({ n: 0, d, data: new Float64Array(0) });
const bytesOf = (text: string) => {
	const data = new TextEncoder().encode(text);
	return uint8([data.length], data);
};

const storeNewest = ({
	learnt,
	trained,
	heldOut,
}: Newest): Record<string, AnyTensor> => ({
	"newest.learnt": float32(
		[learnt.n, learnt.d],
		Float32Array.from(learnt.data),
	),
	"newest.trained": uint8([trained.length], Uint8Array.from(trained, Number)),
	"newest.heldOut": float32(
		[heldOut.n, heldOut.d],
		Float32Array.from(heldOut.data),
	),
});

function restoreNewest(id: string, tensors: Stored, d: number): Newest | null {
	if (!Object.hasOwn(tensors, "newest.learnt")) return null;
	const rows = (tensor: string): Rows => {
		const data = Float64Array.from(
			restoreArray(id, tensors, tensor, "float32"),
		);
		if (data.length % d !== 0 || !data.every(Number.isFinite))
			throw fail("MEMORY_DAMAGED", {
				id,
				tensor,
				problem: `is not a finite [n, ${d}]`,
			});
		return { n: data.length / d, d, data };
	};
	const learnt = rows("newest.learnt");
	const trained = Array.from(
		restoreArray(id, tensors, "newest.trained", "uint8"),
		Boolean,
	);
	if (trained.length !== learnt.n)
		throw fail("MEMORY_DAMAGED", {
			id,
			tensor: "newest.trained",
			problem: `has ${trained.length} values instead of ${learnt.n}`,
		});
	return { learnt, trained, heldOut: rows("newest.heldOut") };
}
