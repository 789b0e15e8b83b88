/**
 * Metrics of anomaly maps against ground truth, over the test images of one category, at the size of the pictures:
 * - pixel AUROC and average precision: every pixel is an image of its own (image.ts);
 * - AUPRO (Bergmann et al. 2021, section 5.1.1): mean overlap with the connected components of the masks, over the share of defect-free
 *   pixels above the threshold; components are found image by image and averaged over the set. In terms of the found defect pixels a
 *   component of area a gives each of its pixels the weight 1/a;
 * - AU-sPRO of LOCO categories (spro.ts): each mask is one region, whatever its components; false alarms are counted on good images and
 *   on those of the same kind (logical or structural), outside all masks.
 * Good images count for false alarms. Higher scores are more anomalous; infinite ones are compared like any other.
 *
 * Maps come one by one and are not kept. Up to ten million pixels everything is exact, every distinct score a threshold; from there on
 * scores are counted in bins .003 % wide (tally.ts), and memory no longer grows. What cannot be measured is null with its reason for the
 * whole category: a metric over some of the defects would look like one over all.
 */
import { fail } from "../errors.ts";
import { components } from "./components.ts";
import {
	area,
	type Curve,
	stepwisePrecision,
	type Sweep,
	sweep,
	thinned,
} from "./curve.ts";
import type { Layout } from "./index.ts";
import {
	type Measured,
	meanOf,
	measured,
	undefinedBecause,
} from "./measured.ts";
import { highest, type Saturation, saturatedAt } from "./spro.ts";
import { Tally } from "./tally.ts";

export type { Curve } from "./curve.ts";

/** LOCO's kinds of anomalies. */
export type Kind = "logical" | "structural";

/** [H, W], row by row. */
interface Plane<T> {
	readonly shape: readonly number[];
	readonly data: T;
}

export interface PixelMeterOptions {
	readonly layout: Layout;
	/** What the values in the masks mean (defects_config.json); null: the category has no such file, and no AU-sPRO. */
	readonly defects: ReadonlyMap<
		number,
		{ readonly saturation: Saturation }
	> | null;
	/** Above so many pixels in all, scores are counted in bins. Default 10 million. */
	readonly exactPixels?: number;
}

export interface MeasuredMap {
	/** Path relative to the data root: what errors and reasons name. */
	readonly id: string;
	/** float32 [H, W]; higher: more anomalous. */
	readonly map: Plane<Float32Array>;
	/** null: a good image, every pixel of it defect-free. */
	readonly defect: string | null;
	readonly kind: "good" | Kind | null;
	/** One mask a defect, uint8 [H, W], 0: good; null: the anomalous image has no ground truth. Of a good image not looked at. */
	readonly masks:
		| readonly {
				readonly mask: Plane<Uint8Array>;
				/** The value that names the defect (LOCO). */
				readonly value: number;
		  }[]
		| null;
}

/** A curve's counts, and the weight that is everything found. */
interface Counts {
	readonly sweep: Sweep;
	readonly total: number;
}

export class PixelMeter {
	readonly #layout: Layout;
	readonly #defects: PixelMeterOptions["defects"];
	readonly #exactPixels: number;

	/** Defect-free pixels by the kind of their image; "other" where it has none. */
	readonly #good = {
		good: new Tally(),
		logical: new Tally(),
		structural: new Tally(),
		other: new Tally(),
	};
	/** Defect pixels: as such, and each with 1/area of its component. */
	readonly #pixels = new Tally();
	readonly #components = new Tally();
	/** The pixels that count of LOCO's regions, each with 1/s. */
	readonly #regions = { logical: new Tally(), structural: new Tally() };

	readonly #count = {
		pixels: 0,
		defectPixels: 0,
		components: 0,
		logical: 0,
		structural: 0,
		goodImages: 0,
		anomalousImages: 0,
	};
	/** Anomalous images without ground truth, and those whose ground truth marks no pixel. */
	readonly #missing: string[] = [];
	readonly #black: string[] = [];
	/** Counts of the curves swept since the last map. */
	readonly #swept = new Map<string, Counts | string>();

	constructor({
		layout,
		defects,
		exactPixels = 10_000_000,
	}: PixelMeterOptions) {
		this.#layout = layout;
		this.#defects = layout === "loco" ? defects : null;
		this.#exactPixels = exactPixels;
	}

	/** Counts a map; nothing of it is kept. */
	add(image: MeasuredMap): void {
		const { id, map, defect, kind } = image;
		this.#swept.clear();
		checkNumbers(id, map);
		if (defect === null) {
			this.#count.goodImages++;
			this.#makeRoom(map.data.length);
			this.#good.good.add(map.data, 1);
			return;
		}
		this.#count.anomalousImages++;
		const masks = this.#checkedMasks(image);
		if (!masks) return;
		this.#makeRoom(map.data.length);
		const union = new Uint8Array(map.data.length);
		for (const { mask, value } of masks) {
			mark(union, mask.data);
			this.#addRegion(kind, value, scoresWhere(map.data, mask.data, true));
		}
		this.#good[kind ?? "other"].add(scoresWhere(map.data, union, false), 1);
		for (const pixels of components(union, map.shape[1] as number)) {
			const scores = scoresAt(map.data, pixels);
			this.#pixels.add(scores, 1);
			this.#components.add(scores, 1 / scores.length);
			this.#count.defectPixels += scores.length;
			this.#count.components++;
		}
	}

	/** Metric -> value: pixelAuroc, pixelAveragePrecision, aupro30, aupro05; for LOCO also auSpro05 and that of either kind. */
	results(): Record<string, Measured> {
		const roc = this.#roc();
		const pro = this.#pro();
		return {
			pixelAuroc: areaTo(1, roc),
			pixelAveragePrecision: valueOf(roc, ({ sweep: s }) =>
				stepwisePrecision(s),
			),
			aupro30: areaTo(0.3, pro),
			aupro05: areaTo(0.05, pro),
			...(this.#layout === "loco" && {
				auSpro05: this.auSproMean(0.05),
				auSpro05Logical: this.auSpro("logical", 0.05),
				auSpro05Structural: this.auSpro("structural", 0.05),
			}),
		};
	}

	/** Area under sPRO of one kind up to a false-positive rate, in 0..1. */
	auSpro(kind: Kind, limit: number): Measured {
		return areaTo(limit, this.#spro(kind));
	}

	/** The mean of logical and structural where both exist, else the one that does. */
	auSproMean(limit: number): Measured {
		const kinds = [
			this.auSpro("logical", limit),
			this.auSpro("structural", limit),
		];
		const present = kinds.filter(({ value }) => value !== null);
		return meanOf(present.length > 0 ? present : kinds);
	}

	/** For a chart, up to a share of .3; null where there is none. */
	proCurve(): Curve | null {
		const counts = this.#pro();
		return typeof counts === "string"
			? null
			: thinned(counts.sweep, counts.total, 0.3);
	}

	/** The image's masks, each of the map's size, with pixels in it and a known value; null (noted) where one has no pixel or there is none. */
	#checkedMasks({ id, map, masks }: MeasuredMap): MeasuredMap["masks"] {
		if (!masks || masks.length === 0) {
			this.#missing.push(id);
			return null;
		}
		for (const { mask, value } of masks) {
			if (mask.shape[0] !== map.shape[0] || mask.shape[1] !== map.shape[1])
				throw fail("MASK_SIZE_DIFFERS", {
					id,
					mask: mask.shape,
					map: map.shape,
				});
			if (mask.data.every((v) => v === 0)) {
				this.#black.push(id);
				return null;
			}
			if (this.#defects && !this.#defects.has(value))
				throw fail("MASK_VALUE_UNKNOWN", {
					id,
					value,
					file: `${id.split("/test/")[0]}/defects_config.json`,
					known: [...this.#defects.keys()],
				});
		}
		return masks;
	}

	/** A region of LOCO: its kind of defect says how much of it has to be found. */
	#addRegion(kind: MeasuredMap["kind"], value: number, scores: Float32Array) {
		const defect = this.#defects?.get(value);
		if (!defect || (kind !== "logical" && kind !== "structural")) return;
		const s = saturatedAt(defect.saturation, scores.length);
		this.#regions[kind].add(highest(scores, s), 1 / s);
		this.#count[kind]++;
	}

	/** Before the next map is counted: goes over to bins if it is one too many. */
	#makeRoom(pixels: number): void {
		this.#count.pixels += pixels;
		if (this.#count.pixels <= this.#exactPixels) return;
		for (const tally of [
			...Object.values(this.#good),
			this.#pixels,
			this.#components,
			...Object.values(this.#regions),
		])
			tally.coarsen();
	}

	// Counts of the curves, or why there are none. Each is swept once, however many metrics read it.

	#roc(): Counts | string {
		return this.#once("roc", () =>
			this.#over(this.#pixels, this.#count.defectPixels, this.#good),
		);
	}

	#pro(): Counts | string {
		return this.#once("pro", () =>
			this.#over(this.#components, this.#count.components, this.#good),
		);
	}

	#spro(kind: Kind): Counts | string {
		const { good, [kind]: own } = this.#good;
		return this.#once(kind, () =>
			this.#over(this.#regions[kind], this.#count[kind], { good, own }, kind),
		);
	}

	#once(
		curve: "roc" | "pro" | Kind,
		sweepIt: () => Counts | string,
	): Counts | string {
		const counts = this.#swept.get(curve) ?? sweepIt();
		this.#swept.set(curve, counts);
		return counts;
	}

	#over(
		found: Tally,
		total: number,
		good: Readonly<Record<string, Tally>>,
		kind?: Kind,
	): Counts | string {
		const reason = this.#reason(kind);
		if (reason !== null) return reason;
		const alarms = Object.values(good).map((tally) => tally.ranked());
		return { sweep: sweep(found.ranked(), alarms), total };
	}

	#reason(kind?: Kind): string | null {
		const { goodImages, anomalousImages } = this.#count;
		if (goodImages + anomalousImages === 0) return "no images";
		if (anomalousImages === 0) return "no anomalous images";
		if (goodImages === 0) return "no good images";
		if (this.#missing.length > 0)
			return `no ground truth for ${someOf(this.#missing)} (${this.#missing.length} of ${anomalousImages} anomalous images)`;
		if (this.#black.length > 0)
			return `no pixel is marked in the ground truth of ${someOf(this.#black)}`;
		if (kind && !this.#defects) return "no defects_config.json";
		if (kind && this.#count[kind] === 0) return `no ${kind} anomalies`;
		return null;
	}
}

const valueOf = (
	counts: Counts | string,
	compute: (counts: Counts) => number,
): Measured =>
	typeof counts === "string"
		? undefinedBecause(counts)
		: measured(compute(counts));

const areaTo = (limit: number, counts: Counts | string): Measured =>
	valueOf(counts, ({ sweep: s, total }) => area(s, total, limit));

/** The first three. */
const someOf = (ids: readonly string[]): string =>
	`${ids.slice(0, 3).join(", ")}${ids.length > 3 ? ", ..." : ""}`;

/** Adds the pixels of a mask to those marked. */
function mark(marked: Uint8Array, mask: Uint8Array): void {
	for (let i = 0; i < mask.length; i++) if (mask[i] !== 0) marked[i] = 1;
}

function scoresAt(scores: Float32Array, pixels: Int32Array): Float32Array {
	const chosen = new Float32Array(pixels.length);
	for (let i = 0; i < pixels.length; i++)
		chosen[i] = scores[pixels[i] as number] as number;
	return chosen;
}

/** The scores of the pixels that are marked, or of those that are not. */
function scoresWhere(
	scores: Float32Array,
	mask: Uint8Array,
	marked: boolean,
): Float32Array {
	const chosen = new Float32Array(scores.length);
	let length = 0;
	for (let i = 0; i < scores.length; i++)
		if ((mask[i] !== 0) === marked) chosen[length++] = scores[i] as number;
	return chosen.subarray(0, length);
}

function checkNumbers(id: string, { shape, data }: MeasuredMap["map"]): void {
	for (let i = 0; i < data.length; i++) {
		if (!Number.isNaN(data[i])) continue;
		const width = shape[1] as number;
		const row = Math.floor(i / width);
		throw fail("MAP_NOT_A_NUMBER", { id, row, column: i - row * width });
	}
}
