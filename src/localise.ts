/** What the anomaly maps of a category are worth: pixel metrics against the ground truth, at the pictures' own size. */
import { readDefectTypes } from "./data/defects.ts";
import type { Sample, TestCategory } from "./data/task.ts";
import { mapFile, readMap } from "./data/tiff.ts";
import type { Tensor } from "./engine/tensor.ts";
import { type ErrorCode, fail, KeepsightError } from "./errors.ts";
import { heed, type Stop } from "./events.ts";
import { enlarge } from "./maps.ts";
import {
	definitionOf,
	metrics as imageMetrics,
	pixelMetrics,
} from "./metrics/index.ts";
import { type Measured, undefinedBecause } from "./metrics/measured.ts";
import { type Curve, PixelMeter } from "./metrics/pixel.ts";
import { metricRow, type ScoreRow } from "./run.ts";

/** The test images of a category with what was found. */
export interface ScoredCategory {
	readonly rows: readonly ScoreRow[];
	/** Score of every patch of every image; null: the memory does not tell. */
	readonly maps: readonly (Float32Array | null)[];
	/** Class tokens, as the weights of where each image was routed see it. */
	readonly embeddings: readonly Float32Array[]; // n of [D]
}

export interface PixelResult {
	/** Metric -> its value. */
	readonly values: Readonly<Record<string, Measured>>;
	/** PRO; null where it is not defined. */
	readonly pro: Curve | null;
}

/** Measures maps. Where all maps of a category are what they were, so is the result: banks never move. */
export class Localiser {
	readonly #grid: readonly [number, number];
	readonly #earlier = new Map<
		string,
		{ maps: readonly Float32Array[]; result: PixelResult }
	>();

	/** `grid`: patches down and across. */
	constructor(grid: readonly [number, number]) {
		this.#grid = grid;
	}

	/** The map at the picture's own size. */
	async mapOf(sample: Sample, map: Float32Array): Promise<Tensor> {
		return enlarge(map, this.#grid, await sample.size());
	}

	/**
	 * For the eye: not smoothed and nothing below 0, so that a patch that reaches the threshold also does so in the picture, instead of being
	 * averaged away by its normal neighbours.
	 */
	async pictureOf(sample: Sample, map: Float32Array): Promise<Tensor> {
		const positive = map.map((value) => Math.max(0, value));
		return enlarge(positive, this.#grid, await sample.size(), 0);
	}

	/** Of the last measuring; undefined where there was none. */
	proCurveOf(category: string): Curve | undefined {
		return this.#earlier.get(category)?.result.pro ?? undefined;
	}

	/** null where there are no maps. */
	async measure(
		category: TestCategory,
		{ maps }: Pick<ScoredCategory, "maps">,
		stop: Stop,
	): Promise<PixelResult | null> {
		const present = maps.filter((map) => map !== null);
		if (present.length < maps.length || maps.length === 0) return null;
		const earlier = this.#earlier.get(category.id);
		if (earlier && same(earlier.maps, present)) return earlier.result;
		const result = await pixelResult(
			category,
			(sample, i) => this.mapOf(sample, present[i] as Float32Array),
			stop,
		);
		this.#earlier.set(category.id, { maps: present, result });
		return result;
	}
}

/** Of maps at the pictures' own size, wherever they come from. What keeps them from being measured is the reason of every metric. */
export async function pixelResult(
	category: TestCategory,
	mapOf: (sample: Sample, i: number) => Promise<Tensor>,
	stop: Stop,
): Promise<PixelResult> {
	let problem: string | null = null; // of the ground truth
	const tried = async <T>(work: () => Promise<T>): Promise<T | null> => {
		try {
			return await work();
		} catch (error) {
			if (!(error instanceof KeepsightError) || !ofTruth.has(error.code))
				throw error;
			problem ??= error.message;
			return null;
		}
	};
	const defects = await tried(() => readDefectTypes(category.dir));
	const meter = new PixelMeter({ layout: category.layout, defects });
	const highest: number[] = [];
	for (const [i, sample] of category.test.entries()) {
		await heed(stop);
		const map = await mapOf(sample, i);
		const { id, defect, kind } = sample;
		if (problem === null)
			await tried(async () => {
				const masks = (await sample.readMasks?.()) ?? null;
				meter.add({ id, map, defect, kind, masks });
			});
		highest.push(map.data.reduce((a, b) => Math.max(a, b)));
	}
	const reason: string | null = problem;
	return {
		values: {
			...(reason === null ? meter.results() : nothing(category, reason)),
			imageAurocMapMax: imageAurocOf(category, highest),
		},
		pro: reason === null ? meter.proCurve() : null,
	};
}

/** Image AUROC by the definition of the tables, of any number an image. */
export function imageAurocOf(
	{ test, layout }: Pick<TestCategory, "test" | "layout">,
	scores: readonly number[],
): Measured {
	const rows = test.map(({ id, defect }, i) =>
		metricRow({
			path: id,
			defect,
			label: defect === null ? 0 : 1,
			score: scores[i] as number,
			threshold: null,
			routed: null,
		}),
	);
	return imageMetrics.imageAuroc.compute(rows, layout);
}

/** What may be wrong with ground truth: the reason of every metric that needs it. */
const ofTruth: ReadonlySet<string> = new Set<ErrorCode>([
	"MASK_SIZE_DIFFERS",
	"MASK_VALUE_UNKNOWN",
	"DATA_BAD_DEFECTS_CONFIG",
]);

const nothing = (
	{ layout }: TestCategory,
	reason: string,
): Record<string, Measured> =>
	Object.fromEntries(
		Object.keys(pixelMetrics)
			.filter((name) => definitionOf(name)?.layouts?.includes(layout) ?? true)
			.map((name) => [name, undefinedBecause(reason)]),
	);

/** The map of a test image that someone else made. */
export async function storedMap(dir: string, sample: Sample): Promise<Tensor> {
	const map = await readMap(dir, sample.id);
	const [h, w] = await sample.size();
	if (map.shape[0] !== h || map.shape[1] !== w)
		throw fail("MAP_UNUSABLE", {
			path: mapFile(dir, sample.id),
			problem: `it is ${map.shape.join(" x ")}, its image ${h} x ${w} (height x width)`,
		});
	return map;
}

const same = (
	a: readonly Float32Array[],
	b: readonly Float32Array[],
): boolean =>
	a.length === b.length &&
	a.every((map, i) => map.every((value, k) => value === b[i]?.[k]));
