/**
 * CutPaste: a patch of the image, its colours jittered, pasted elsewhere in the same image.
 * Li et al., "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization", CVPR 2021, section 2.2
 * (CutPaste), 2.3 (scar, 3-way). As DNE uses it (Li et al., ACM MM 2022): aspect log-uniform in [b, 1/b] with
 * b ~ U(.1, 1) for each patch; the paper draws it from (.3, 1) or (1, 3.3).
 * Departures: the aspect is cut off where the patch would not fit (the public code crops beyond the edge, which pastes
 * black); scars scale with the shorter side, since the paper gives pixels of a 256 px image.
 */
import { z } from "zod";
import type { Image } from "../data/task.ts";
import { uint8 } from "../engine/tensor.ts";
import type { Random } from "../random.ts";
import { definePretext } from "./pretext.ts";
import {
	colorJitter,
	crop,
	drawRotated,
	paste,
	sidesOf,
} from "./transforms.ts";
import { type MakeAnomaly, makeViews, viewOptions } from "./views.ts";

const area = [0.02, 0.15] as const; // share of the image
const smallestAspect = [0.1, 1] as const; // of b
const scarWidth = [2, 16] as const; // px of 256
const scarLength = [10, 25] as const; // px of 256
const scarDegrees = 45;

const options = z.strictObject({
	...viewOptions,
	patchJitter: z
		.number()
		.min(0)
		.max(0.5)
		.default(0.1)
		.describe(
			"strength of the colour jitter of the patch alone, on top of `jitter`; 0: none, the anomaly is then place and edge only",
		),
});

/** [height, width] of a patch: area A ~ U(.02, .15) of the image, log(width / height) ~ U(log b, -log b), b ~ U(.1, 1). */
export function drawPatchSize(
	random: Random,
	height: number,
	width: number,
): readonly [number, number] {
	const share = random.uniform(...area);
	const b = random.uniform(...smallestAspect);
	// width² = A·H·W·aspect <= W² and height² = A·H·W / aspect <= H²
	const fitting = (aspect: number) =>
		Math.min(
			Math.max(aspect, (share * width) / height),
			width / (share * height),
		);
	const aspect = Math.exp(
		random.uniform(Math.log(fitting(b)), Math.log(fitting(1 / b))),
	);
	const side = (length: number, most: number) =>
		Math.min(Math.max(Math.round(length), 1), most);
	return [
		side(Math.sqrt((share * height * width) / aspect), height),
		side(Math.sqrt(share * height * width * aspect), width),
	];
}

function drawPlace(
	random: Random,
	image: Image,
	height: number,
	width: number,
): readonly [number, number] {
	const [imageHeight, imageWidth] = sidesOf(image);
	return [
		random.integer(imageHeight - height + 1),
		random.integer(imageWidth - width + 1),
	];
}

const copy = (image: Image) => uint8(image.shape, Uint8Array.from(image.data));

const cutPaste =
	(patchJitter: number): MakeAnomaly =>
	(image, random) => {
		const [height, width] = drawPatchSize(random, ...sidesOf(image));
		const [fromTop, fromLeft] = drawPlace(random, image, height, width);
		const patch = colorJitter(
			crop(image, fromTop, fromLeft, height, width),
			patchJitter,
			random,
		);
		let [top, left] = drawPlace(random, image, height, width);
		// elsewhere: not onto itself (an image of a few pixels may leave no other place)
		for (
			let draws = 0;
			top === fromTop && left === fromLeft && draws < 100;
			draws++
		)
			[top, left] = drawPlace(random, image, height, width);
		const anomalous = copy(image);
		paste(anomalous, patch, top, left);
		return anomalous;
	};

const cutPasteScar =
	(patchJitter: number): MakeAnomaly =>
	(image, random) => {
		const scale = Math.min(...sidesOf(image)) / 256;
		const width = Math.max(1, Math.round(random.uniform(...scarWidth) * scale));
		const length = Math.max(
			1,
			Math.round(random.uniform(...scarLength) * scale),
		);
		const scar = colorJitter(
			crop(image, ...drawPlace(random, image, length, width), length, width),
			patchJitter,
			random,
		);
		const degrees = random.uniform(-scarDegrees, scarDegrees);
		const [cos, sin] = [
			Math.cos((degrees * Math.PI) / 180),
			Math.abs(Math.sin((degrees * Math.PI) / 180)),
		];
		const boxHeight = Math.ceil(length * cos + width * sin); // the box around the rotated scar
		const boxWidth = Math.ceil(width * cos + length * sin);
		const anomalous = copy(image);
		drawRotated(
			anomalous,
			scar,
			degrees,
			...drawPlace(random, image, boxHeight, boxWidth),
			boxHeight,
			boxWidth,
		);
		return anomalous;
	};

export const cutpaste = definePretext({
	title: "CutPaste",
	paper: "Li et al., CVPR 2021; options of DNE (Li et al., ACM MM 2022)",
	options,
	create: (o) => ({
		classes: ["normal", "cutpaste"],
		augment: (image, random) =>
			makeViews(image, random, o, [cutPaste(o.patchJitter)]),
	}),
});

export const scar = definePretext({
	title: "CutPaste scar",
	paper: "Li et al., CVPR 2021",
	options,
	create: (o) => ({
		classes: ["normal", "scar"],
		augment: (image, random) =>
			makeViews(image, random, o, [cutPasteScar(o.patchJitter)]),
	}),
});

export const threeWay = definePretext({
	title: "CutPaste 3-way",
	paper: "Li et al., CVPR 2021",
	options,
	create: (o) => ({
		classes: ["normal", "cutpaste", "scar"],
		augment: (image, random) =>
			makeViews(image, random, o, [
				cutPaste(o.patchJitter),
				cutPasteScar(o.patchJitter),
			]),
	}),
});
