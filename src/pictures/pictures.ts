/**
 * What the detector saw, as PNG: the picture, its anomaly map, the map laid over the picture, and the ground truth, side by side; and
 * `visualizations/pictures.json`, which says what each of them shows. The report reads both.
 *
 * A map's value is −log10 of the chance that a good part shows such a value at all, so 2 means one good part in 100. Colours run from 0 to
 * three times the threshold in every picture, and end there, so pictures of all products and runs compare with each other.
 */
import { z } from "zod";
import { encodePng } from "../data/image.ts";
import { resample } from "../data/resample.ts";
import { type Tensor, uint8 } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import { isAnomalous } from "../metrics/image.ts";
import { evaluateAnew, type Run, type ScoreRow, taskFolder } from "../run.ts";
import { readJsonObject, stableJson } from "../storage.ts";
import { heatColours, levelOf } from "./colours.ts";
import { drawContour } from "./contour.ts";
import { type Role, roles } from "./shown.ts";

export interface Sight {
	/** At its own size. */
	readonly image: Tensor<"uint8">; // [H, W, 3]
	/** Calibrated; null: the memory makes none. */
	readonly map: Tensor | null; // [H, W]
	/** 1 where there is a defect; null: none is known. */
	readonly mask: Tensor<"uint8"> | null; // [H, W]
	/** null: none is known; nothing is then outlined, and colours run to three times 2. */
	readonly threshold: number | null;
}

export const panels = ["picture", "map", "overlay", "truth"] as const;
export type Panel = (typeof panels)[number];

/** Between two panels, white. */
export const gapPx = 8;
/** Sides of a panel; larger pictures are shrunk. */
const largestPx = 480;
/** Colours end at this many thresholds. */
export const colourRange = 3;
const usualThreshold = 2;
/** Weight of the map's colour in an overlay where it is full. */
const strength = 0.65;

type Size = readonly [height: number, width: number];
type Rgb = Tensor<"uint8">; // [H, W, 3]

/** The panels there are, in the order of `panels`, side by side as one PNG; each at most 480 px wide and high. */
export async function pictureOf(sight: Sight): Promise<Uint8Array> {
	const [h, w] = sizeOf(sight, "pictureOf");
	const scale = Math.min(1, largestPx / Math.max(h, w));
	const size: Size = [
		Math.max(1, Math.round(scale * h)),
		Math.max(1, Math.round(scale * w)),
	];
	return encodePng(sideBySide(draw(shrunk(sight, size))));
}

/** Which panels `pictureOf` draws. */
export const panelsOf = ({ map, mask }: Pick<Sight, "map" | "mask">): Panel[] =>
	panels.filter(
		(panel) => panel === "picture" || (panel === "truth" ? mask : map) !== null,
	);

/** The picture under its map, outlined where the map reaches the threshold, as PNG at the picture's own size. */
export async function overlayOf({
	image,
	map,
	threshold,
}: {
	readonly image: Rgb;
	readonly map: Tensor;
	readonly threshold: number | null;
}): Promise<Uint8Array> {
	const sight = { image, map, mask: null, threshold };
	const [h, w] = sizeOf(sight, "overlayOf");
	return encodePng(
		overlay(image, map, threshold, Math.round(Math.max(h, w) / largestPx)),
	);
}

function sizeOf({ image, map, mask }: Sight, op: string): Size {
	const [h = 0, w = 0, channels] = image.shape;
	const fits = (tensor: { shape: readonly number[] } | null) =>
		tensor === null ||
		(tensor.shape.length === 2 &&
			tensor.shape[0] === h &&
			tensor.shape[1] === w);
	if (channels !== 3 || h * w === 0 || !fits(map) || !fits(mask))
		throw fail("SHAPE_MISMATCH", {
			op,
			shapes: [image, map, mask].flatMap((t) => (t ? [t.shape] : [])),
			hint: "Give the picture [H, W, 3], and its map and mask [H, W] at the same size.",
		});
	return [h, w];
}

/** Map and mask by the largest value a pixel covers: what reaches the threshold, and the smallest defect, stays visible. */
function shrunk({ image, map, mask, threshold }: Sight, to: Size): Sight {
	const [h = 0, w = 0] = image.shape;
	if (to[0] === h && to[1] === w) return { image, map, mask, threshold };
	return {
		image: uint8([...to, 3], resample(image.data, [h, w], to)),
		map: map && {
			...map,
			shape: to,
			data: highest(map.data, [h, w], new Float32Array(to[0] * to[1]), to),
		},
		mask:
			mask &&
			uint8(to, highest(mask.data, [h, w], new Uint8Array(to[0] * to[1]), to)),
		threshold,
	};
}

function highest<T extends Float32Array | Uint8Array>(
	values: T,
	[h, w]: Size,
	out: T,
	[toH, toW]: Size,
): T {
	for (let y = 0; y < toH; y++)
		for (let x = 0; x < toW; x++) {
			let most = Number.NEGATIVE_INFINITY;
			const bottom = Math.ceil(((y + 1) * h) / toH);
			const right = Math.ceil(((x + 1) * w) / toW);
			for (let i = Math.floor((y * h) / toH); i < bottom; i++)
				for (let j = Math.floor((x * w) / toW); j < right; j++)
					if ((values[i * w + j] as number) > most)
						most = values[i * w + j] as number;
			out[y * toW + x] = most;
		}
	return out;
}

function draw({ image, map, mask, threshold }: Sight): Rgb[] {
	return panelsOf({ map, mask }).map((panel) => {
		switch (panel) {
			case "picture":
				return image;
			case "map":
				return coloured(map as Tensor, threshold);
			case "overlay":
				return overlay(image, map as Tensor, threshold, 1);
			case "truth":
				return outlined(image, (mask as Tensor<"uint8">).data, 1);
		}
	});
}

const levels = ({ data }: Tensor, threshold: number | null): Uint8Array => {
	const top = colourRange * (threshold ?? usualThreshold);
	return Uint8Array.from(data, (value) => levelOf(value / top));
};

function coloured(map: Tensor, threshold: number | null): Rgb {
	const [h = 0, w = 0] = map.shape;
	const out = uint8([h, w, 3]);
	levels(map, threshold).forEach((level, i) => {
		out.data.set(heatColours.subarray(3 * level, 3 * level + 3), 3 * i);
	});
	return out;
}

/** The map's colour covers the more the higher the value, from nothing at 0 to `strength` at the threshold. */
function overlay(
	image: Rgb,
	map: Tensor,
	threshold: number | null,
	thickness: number,
): Rgb {
	const out = uint8(image.shape, image.data.slice());
	levels(map, threshold).forEach((level, i) => {
		const weight = strength * Math.min(1, (level * colourRange) / 255);
		for (let channel = 0; channel < 3; channel++) {
			const at = 3 * i + channel;
			const below = image.data[at] as number;
			const colour = heatColours[3 * level + channel] as number;
			out.data[at] = Math.round(below + weight * (colour - below));
		}
	});
	if (threshold === null) return out;
	const inside = Uint8Array.from(map.data, (value) =>
		isAnomalous(value, threshold) ? 1 : 0,
	);
	return outlined(out, inside, thickness);
}

function outlined(image: Rgb, inside: Uint8Array, thickness: number): Rgb {
	const [h = 0, w = 0] = image.shape;
	const out = uint8(image.shape, image.data.slice());
	drawContour(out.data, inside, [h, w], Math.max(1, thickness));
	return out;
}

function sideBySide(parts: readonly Rgb[]): Rgb {
	const [h = 0, w = 0] = parts[0]?.shape ?? [];
	const width = parts.length * (w + gapPx) - gapPx;
	const out = uint8([h, width, 3]);
	out.data.fill(255);
	parts.forEach(({ data }, k) => {
		for (let y = 0; y < h; y++)
			out.data.set(
				data.subarray(3 * y * w, 3 * (y + 1) * w),
				3 * (y * width + k * (w + gapPx)),
			);
	});
	return out;
}

/** The panels of a picture that `pictureOf` drew. */
export function apart(picture: Rgb, count: number): Rgb[] {
	const [h = 0, width = 0] = picture.shape;
	const w = (width + gapPx) / count - gapPx;
	return Array.from({ length: count }, (_, k) => {
		const part = uint8([h, w, 3]);
		for (let y = 0; y < h; y++) {
			const start = 3 * (y * width + k * (w + gapPx));
			part.data.set(picture.data.subarray(start, start + 3 * w), 3 * y * w);
		}
		return part;
	});
}

// ---- visualizations/pictures.json ----

const format = 1;
const indexName = "pictures.json";

export interface PictureEntry {
	/** Relative to visualizations/. */
	readonly file: string;
	/** Of the image, relative to the data root. */
	readonly path: string;
	/** null: good. */
	readonly defect: string | null;
	readonly label: 0 | 1;
	readonly score: number;
	readonly threshold: number | null;
	/** The task it was scored as; null: unknown product. */
	readonly routed: string | null;
	readonly role: Role;
	/** From left to right. */
	readonly panels: readonly Panel[];
}

export interface CategoryPictures {
	readonly id: string;
	readonly pictures: readonly PictureEntry[];
}

/** One test image to be shown; its threshold is the row's. */
export interface Shown extends Omit<Sight, "threshold"> {
	readonly row: ScoreRow;
	readonly role: Role;
}

/**
 * Draws the pictures of these categories and enters them into the index, where other categories stay and earlier pictures of these go.
 * `shown` may be an async generator, which then makes one map after the other.
 */
export async function writePictures(
	run: Run,
	categories: readonly {
		readonly id: string;
		readonly shown: Iterable<Shown> | AsyncIterable<Shown>;
	}[],
): Promise<void> {
	for (const { id, shown } of categories) {
		const pictures: PictureEntry[] = [];
		for await (const one of shown) {
			const { path, defect, label, score, threshold, routed } = one.row;
			const { role } = one;
			const number = pictures.filter((p) => p.role === role).length + 1;
			const file = `${taskFolder(id)}/${role.replaceAll(" ", "-")}-${number}.png`;
			run.writeVisualization(file, await pictureOf({ ...one, threshold }));
			pictures.push({
				file,
				path,
				defect,
				label,
				threshold,
				routed,
				role,
				score: finite(score),
				panels: panelsOf(one),
			});
		}
		const before = readPictures(run);
		const others = before.filter((other) => other.id !== id);
		run.writeVisualization(
			indexName,
			stableJson({ format, categories: [...others, { id, pictures }] }),
		);
		const drawn = new Set(pictures.map(({ file }) => file));
		for (const { file } of before.find((own) => own.id === id)?.pictures ?? [])
			if (!drawn.has(file)) run.removeVisualization(file);
	}
}

/** JSON has no infinities. */
const finite = (score: number): number =>
	Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, score));

/** The index; empty where no pictures were made. */
export function readPictures(run: Run): readonly CategoryPictures[] {
	const path = run.visualization(indexName);
	const remedy = evaluateAnew(run.dir);
	const json = readJsonObject(path, remedy);
	if (!json) return [];
	if (json.format !== format)
		throw fail("FORMAT_VERSION", { path, found: json.format, known: format });
	const parsed = z.array(categorySchema).safeParse(json.categories);
	if (!parsed.success)
		throw fail("DAMAGED", {
			path,
			problem: "its list of categories is missing or of the wrong kind",
			remedy,
		});
	return parsed.data;
}

/** Where a picture of the index lies. */
export const picturePath = (run: Run, { file }: PictureEntry): string =>
	run.visualization(file);

const categorySchema = z.object({
	id: z.string(),
	pictures: z.array(
		z.object({
			file: z.string(),
			path: z.string(),
			defect: z.string().nullable(),
			label: z.union([z.literal(0), z.literal(1)]),
			score: z.number(),
			threshold: z.number().nullable(),
			routed: z.string().nullable(),
			role: z.enum(roles),
			panels: z.array(z.enum(panels)),
		}),
	),
});
