/**
 * Natural synthetic anomalies: patches of ANOTHER normal image, resized and blended in without a seam.
 * Schlüter et al., "Natural Synthetic Anomalies for Self-Supervised Anomaly Detection and Localization", ECCV 2022,
 * section 3.1 and the authors' patch_ex; classification with two classes instead of their pixel-wise labels.
 * Departures: one set of bounds for every product (theirs are chosen by class); the resized patch is limited by the
 * image alone (theirs compares whole sides with bounds of half sides); a patch that changes its place by no more than
 * 1 grey level on average is drawn again (theirs leaves such an image labelled normal); colour jitter and rotation
 * around it as for CutPaste, so that pretext tasks differ in the anomaly only (theirs: by class; set both to 0 for none).
 */
import { z } from "zod";
import type { Image } from "../data/task.ts";
import { uint8 } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import type { Random } from "../random.ts";
import { blendSeamlessly } from "./poisson.ts";
import { definePretext } from "./pretext.ts";
import { crop, paste, resize, sidesOf } from "./transforms.ts";
import { makeViews, viewOptions } from "./views.ts";

const halfWidth = {
	offset: 0.03,
	shape: 2,
	scale: 0.05,
	least: 0.05,
	most: 0.2,
}; // shares of the side
const zoom = { mean: 1, deviation: 0.5, least: 0.7, most: 1.3 };
const leastForeground = 0.25; // of the source patch, and of it on the target's foreground
const leastChange = 1; // grey levels
const mostDraws = 200;

const options = z.strictObject({
	...viewOptions,
	patches: z
		.int()
		.min(1)
		.default(3)
		.describe(
			"most patches an image: the first always, each further one by the toss of a coin",
		),
	background: z
		.strictObject({
			grey: z
				.number()
				.min(0)
				.max(255)
				.describe("grey value of a uniform background"),
			tolerance: z
				.number()
				.min(0)
				.max(255)
				.describe("a pixel that is no farther from it belongs to it"),
		})
		.nullable()
		.default(null)
		.describe(
			"where parts lie on a uniform background: patches hold and meet at least a quarter of foreground; null: no background is known, patches lie anywhere",
		),
});
type Background = z.output<typeof options>["background"];

const clip = (x: number, least: number, most: number) =>
	Math.min(Math.max(x, least), most);

/** Half the side of a patch, in px: clip(.03 + Gamma(2, .05), .05, .2) of the image's side. */
function drawHalfWidth(random: Random, side: number): number {
	const share =
		halfWidth.offset + random.gamma(halfWidth.shape, halfWidth.scale);
	return Math.max(
		1,
		Math.floor(clip(share, halfWidth.least, halfWidth.most) * side),
	);
}

interface Span {
	readonly start: number;
	readonly length: number;
}

/** Along one axis: centre anywhere but in the outer 5 %, cut off at the border. */
function drawSpan(random: Random, side: number, half: number): Span {
	const margin = Math.round(halfWidth.least * side);
	const centre = margin + random.integer(Math.max(1, side - 2 * margin));
	const start = Math.max(centre - half, 0);
	return { start, length: Math.min(centre + half, side) - start };
}

/** A patch of `source`, blended into `target` in place. False: nothing to be seen (or no foreground there); target is as before. */
function addPatch(
	target: Image,
	source: Image,
	random: Random,
	background: Background,
): boolean {
	const [imageHeight, imageWidth] = sidesOf(target);
	const rows = drawSpan(
		random,
		imageHeight,
		drawHalfWidth(random, imageHeight),
	);
	const columns = drawSpan(
		random,
		imageWidth,
		drawHalfWidth(random, imageWidth),
	);
	const scale = Math.min(
		clip(random.normal(zoom.mean, zoom.deviation), zoom.least, zoom.most),
		imageHeight / rows.length,
		imageWidth / columns.length,
	);
	const side = (length: number) => Math.max(1, Math.floor(length * scale));
	const [height, width] = [side(rows.length), side(columns.length)];
	const patch = resize(
		crop(source, rows.start, columns.start, rows.length, columns.length),
		height,
		width,
	);
	const top = random.integer(imageHeight - height + 1);
	const left = random.integer(imageWidth - width + 1);
	const before = crop(target, top, left, height, width);
	if (background && !meetsForeground(patch, before, background)) return false;
	if (blendSeamlessly(target, patch, top, left) > leastChange) return true;
	paste(target, before, top, left);
	return false;
}

/** At least a quarter of the patch is foreground, and at least a quarter of that falls on the target's foreground. */
function meetsForeground(
	patch: Image,
	place: Image,
	{ grey, tolerance }: NonNullable<Background>,
): boolean {
	let ofPatch = 0;
	let ofBoth = 0;
	const isForeground = ({ data }: Image, p: number) =>
		Math.abs(
			((data[p] as number) +
				(data[p + 1] as number) +
				(data[p + 2] as number)) /
				3 -
				grey,
		) > tolerance;
	for (let p = 0; p < patch.data.length; p += 3) {
		if (!isForeground(patch, p)) continue;
		ofPatch++;
		if (isForeground(place, p)) ofBoth++;
	}
	return (
		ofPatch >= (leastForeground * patch.data.length) / 3 &&
		ofPatch > 0 &&
		ofBoth >= leastForeground * ofPatch
	);
}

function addAnomaly(
	image: Image,
	source: Image,
	random: Random,
	patches: number,
	background: Background,
): Image {
	if (source.shape.some((side, axis) => side !== image.shape[axis])) {
		throw fail("SHAPE_MISMATCH", {
			op: "nsa",
			shapes: [image.shape, source.shape],
			hint: "Both images must have the same size.",
		});
	}
	const anomalous = uint8(image.shape, Uint8Array.from(image.data));
	for (let patch = 0; patch < patches; patch++) {
		if (patch > 0 && random.uniform() < 0.5) continue;
		let draws = 0;
		while (
			draws < mostDraws &&
			!addPatch(anomalous, source, random, background)
		)
			draws++;
		if (patch === 0 && draws === mostDraws)
			throw fail("PRETEXT_NO_CHANGE", {
				pretext: "nsa",
				draws,
				background: background !== null,
			});
	}
	return anomalous;
}

export const nsa = definePretext({
	title: "Natural synthetic anomalies",
	paper: "Schlüter et al., ECCV 2022",
	options,
	create: (o) => ({
		classes: ["normal", "nsa"],
		augment: (image, random, other) =>
			makeViews(image, random, o, [
				(normal, r) => addAnomaly(normal, other, r, o.patches, o.background),
			]),
	}),
});
