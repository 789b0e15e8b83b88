/** Which size of defect is found: discs of known size and contrast, pasted into good pictures that were not learnt. */
import type { Found } from "../data/find.ts";
import { readImage, webpUri } from "../data/image.ts";
import { evenly } from "../data/index.ts";
import type { Image } from "../data/task.ts";
import type { Tensor } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import type { Prediction } from "../events.ts";
import {
	type DetectionCurve,
	fitDetection,
	safeSizeAt,
	sizeAt,
} from "../metrics/detection.ts";
import { type Rate, rateOf } from "../metrics/interval.ts";
import { type Measured, undefinedBecause } from "../metrics/measured.ts";
import { type Pasted, pasteDisc } from "../pretext/disc.ts";
import { crop } from "../pretext/transforms.ts";
import { Random } from "../random.ts";
import { type Scoring, stopped } from "./scoring.ts";

/** What is pasted. */
export interface Discs {
	/** A picture, white where discs may lie; absent: everywhere. */
	readonly roi?: string;
	/** In pixels; absent: twelve from 2 to a quarter of the shorter side. */
	readonly diameters?: readonly number[];
	/** Grey levels of 255 between a disc and what it covers. */
	readonly contrast: number;
	readonly mmPerPixel?: number;
}

export interface Pasting {
	/** The good picture it was pasted into. */
	readonly name: string;
	/** Pixels. */
	readonly diameter: number;
	/** Grey levels that were reached. */
	readonly contrast: number;
	readonly score: number | null;
	readonly hit: boolean;
}

export interface Detection {
	readonly dir: string;
	/** Good pictures that are stopped with nothing pasted; no disc goes into these. */
	readonly untouched: Rate;
	readonly stoppedUntouched: readonly string[];
	/** Good pictures that show nothing, or cannot be read. */
	readonly unusable: readonly string[];
	readonly contrast: number;
	readonly roi: boolean;
	readonly trials: readonly Pasting[];
	readonly sizes: readonly { readonly diameter: number; readonly hits: Rate }[];
	readonly curve: DetectionCurve | null;
	/** Why there is no curve. */
	readonly reason: string | null;
	/** Pixels. */
	readonly a50: Measured;
	readonly a90: Measured;
	readonly a90Safe: Measured;
	readonly mmPerPixel: number | null;
}

/** A pasted disc, cut out of its picture for the page. */
export interface Example {
	readonly diameter: number;
	readonly hit: boolean;
	/** data: URI */
	readonly picture: string;
}

/** Good pictures that discs are pasted into, at most, and discs of one size, at least. */
const MOST_PICTURES = 30;
const LEAST_DISCS = 20;
/** Sizes where none are told. */
const SIZES = 12;
const EXAMPLES = 8;
/** Of pictures with a disc, in memory at a time. */
const PIXELS = 32_000_000;

export async function detectionOf(
	{
		dir,
		good,
		discs,
		roi,
	}: {
		readonly dir: string;
		readonly good: readonly Found[];
		readonly discs: Discs;
		/** White where discs may lie; null: everywhere. */
		readonly roi: Tensor<"uint8"> | null;
	},
	scoring: Scoring,
): Promise<{ detection: Detection; examples: readonly Example[] }> {
	const untouched = await scoring.files(good);
	const judged = good.flatMap((found, i) => {
		const decision = stopped(untouched[i] as Prediction);
		return decision === null ? [] : [{ found, decision }];
	});
	const passing = judged.filter(({ decision }) => !decision);
	const hosts = evenly(passing.length, MOST_PICTURES).map(
		(i) => (passing[i] as (typeof passing)[number]).found,
	);
	const rounds = hosts.length > 0 ? Math.ceil(LEAST_DISCS / hosts.length) : 0;
	const trials: Pasting[] = [];
	const examples: Example[] = [];
	let diameters = discs.diameters ?? [];
	for (const [h, found] of hosts.entries()) {
		const image = await readImage(found.path);
		if (diameters.length === 0) diameters = diametersFor(image); // of the first picture, for all
		const shown = evenly(diameters.length, EXAMPLES).map((i) => diameters[i]);
		const planned = Array.from({ length: rounds }, (_, round) =>
			diameters.map((diameter) => ({ round, diameter })),
		).flat();
		const atOnce = Math.max(
			1,
			Math.floor(
				PIXELS / ((image.shape[0] as number) * (image.shape[1] as number)),
			),
		);
		for (let at = 0; at < planned.length; at += atOnce) {
			const pasted = planned.slice(at, at + atOnce).map((plan) => ({
				...plan,
				...withDisc(image, found, plan, discs.contrast, roi),
			}));
			const predictions = await scoring.images(pasted);
			for (const [
				i,
				{ round, diameter, contrast, image, centre },
			] of pasted.entries()) {
				const prediction = predictions[i] as Prediction;
				const hit = stopped(prediction) === true;
				const { score } = prediction;
				trials.push({ name: found.name, diameter, contrast, score, hit });
				if (h === 0 && round === 0 && shown.includes(diameter))
					examples.push({
						diameter,
						hit,
						picture: await cutOut(image, centre, diameter),
					});
			}
			await scoring.told(trials.length, hosts.length * planned.length);
		}
	}
	const points = trials.map(({ diameter, hit }) => ({ size: diameter, hit }));
	const { curve, reason: unfitted } = fitDetection(points);
	const reason =
		hosts.length > 0
			? unfitted
			: judged.length > 0
				? "every usable picture is stopped with nothing pasted"
				: "no picture is usable";
	const estimate = (of: (curve: DetectionCurve) => Measured) =>
		curve ? of(curve) : undefinedBecause(reason as string);
	return {
		detection: {
			dir,
			untouched: rateOf(judged.length - passing.length, judged.length),
			unusable: good.flatMap(({ name }, i) =>
				stopped(untouched[i] as Prediction) === null ? [name] : [],
			),
			stoppedUntouched: judged.flatMap(({ found, decision }) =>
				decision ? [found.name] : [],
			),
			contrast: discs.contrast,
			roi: roi !== null,
			trials,
			sizes: diameters.map((diameter) => {
				const own = trials.filter((trial) => trial.diameter === diameter);
				return {
					diameter,
					hits: rateOf(own.filter(({ hit }) => hit).length, own.length),
				};
			}),
			curve,
			reason,
			a50: estimate((c) => sizeAt(c, 0.5, points)),
			a90: estimate((c) => sizeAt(c, 0.9, points)),
			a90Safe: estimate((c) => safeSizeAt(c, 0.9, points)),
			mmPerPixel: discs.mmPerPixel ?? null,
		},
		examples,
	};
}

/** The picture with a disc that its name, its size and the round alone decide: another memory is shown the same ones. */
function withDisc(
	image: Image,
	found: Found,
	{ round, diameter }: { readonly round: number; readonly diameter: number },
	contrast: number,
	roi: Tensor<"uint8"> | null,
): Pasted & { readonly name: string } {
	const random = new Random("qualify", found.name, round, diameter);
	const pasted = pasteDisc(image, random, { diameter, contrast, roi });
	if (!pasted) throw fail("NO_PLACE_FOR_DISC", { path: found.path, diameter });
	return {
		...pasted,
		name: `${found.path}, disc ${round + 1} of ${diameter} px`, // no other picture is called so
	};
}

/** The disc with what is around it. */
async function cutOut(
	image: Image,
	[y, x]: readonly [number, number],
	diameter: number,
): Promise<string> {
	const [height, width] = image.shape as [number, number, number];
	const side = Math.min(height, width, Math.max(48, Math.ceil(3 * diameter)));
	const start = (centre: number, most: number) =>
		Math.min(most - side, Math.max(0, Math.round(centre - side / 2)));
	return webpUri(crop(image, start(y, height), start(x, width), side, side));
}

/** In equal steps of the logarithm, whole pixels, each once. */
function diametersFor({ shape }: Image): readonly number[] {
	const most = Math.max(
		2,
		Math.min(shape[0] as number, shape[1] as number) / 4,
	);
	return [
		...new Set(
			Array.from({ length: SIZES }, (_, i) =>
				Math.round(2 * (most / 2) ** (i / (SIZES - 1))),
			),
		),
	];
}
