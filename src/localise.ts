/** What the anomaly maps of a category are worth: pixel metrics against the ground truth, at the pictures' own size. */
import { readDefectTypes } from "./data/defects.ts";
import { imageSize } from "./data/image.ts";
import type { Sample, TestCategory } from "./data/task.ts";
import { mapFile, readMap } from "./data/tiff.ts";
import type { Tensor } from "./engine/tensor.ts";
import { fail, KeepsightError } from "./errors.ts";
import { heed, type Stop } from "./events.ts";
import { enlarge } from "./maps.ts";
import { metrics as imageMetrics, pixelMetrics } from "./metrics/index.ts";
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
	readonly curves: Readonly<Record<string, Curve>>;
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
	async mapOf(sample: Sample, map: Float32Array) {
		return enlarge(map, this.#grid, await imageSize(sample.path));
	}

	/** Of the last measuring; undefined where there was none. */
	curvesOf(category: string): PixelResult["curves"] | undefined {
		return this.#earlier.get(category)?.result.curves;
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
	try {
		const meter = new PixelMeter({
			layout: category.layout,
			defects: await readDefectTypes(category.dir),
		});
		const highest: number[] = [];
		for (const [i, sample] of category.test.entries()) {
			await heed(stop);
			const map = await mapOf(sample, i);
			const masks = (await sample.readMasks?.()) ?? null;
			const { id, defect, kind } = sample;
			meter.add({ id, map, defect, kind, masks });
			highest.push(map.data.reduce((a, b) => Math.max(a, b)));
		}
		const rows = category.test.map(({ id, defect }, i) =>
			metricRow({
				path: id,
				defect,
				label: defect === null ? 0 : 1,
				score: highest[i] as number,
				threshold: null,
				routed: null,
			}),
		);
		return {
			values: {
				...meter.results(),
				imageAurocMapMax: imageMetrics.imageAuroc.compute(
					rows,
					category.layout,
				),
			},
			curves: meter.curves(),
		};
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		const { message } = error;
		return {
			values: Object.fromEntries(
				Object.keys(pixelMetrics).map((name) => [
					name,
					undefinedBecause(message),
				]),
			),
			curves: {},
		};
	}
}

/** The map of a test image that someone else made. */
export async function storedMap(dir: string, sample: Sample): Promise<Tensor> {
	const map = await readMap(dir, sample.id);
	const [h, w] = await imageSize(sample.path);
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
