/** A picture as it would look if the part lay turned or the camera were mirrored: pixels change places, nothing is interpolated. */
import { uint8 } from "../engine/tensor.ts";
import type { Image } from "./task.ts";

/** "turns": by 90, 180 and 270 degrees (180 of pictures that are not square). "flips": left-right, up-down, both. "all": either and their combinations. */
export const augments = ["none", "turns", "flips", "all"] as const;
export type Augment = (typeof augments)[number];

/** Where the pixel of row y and column x comes from, in a picture of h x w. */
type Source = (
	y: number,
	x: number,
	h: number,
	w: number,
) => readonly [y: number, x: number];

const half: Source = (y, x, h, w) => [h - 1 - y, w - 1 - x];
const quarters: readonly Source[] = [
	(y, x, _h, w) => [x, w - 1 - y],
	(y, x, h) => [h - 1 - x, y],
];
const mirrors: readonly Source[] = [
	(y, x, _h, w) => [y, w - 1 - x],
	(y, x, h) => [h - 1 - y, x],
];
const diagonals: readonly Source[] = [
	(y, x) => [x, y],
	(y, x, h, w) => [h - 1 - x, w - 1 - y],
];

/** The other views of a picture; all of its own size. */
export const otherViews = (image: Image, augment: Augment): Image[] =>
	sourcesOf(image, augment).map((source) => seenFrom(image, source));

/** One of all views, the picture itself among them: the same for the same number in [0, 1). */
export function viewAt(image: Image, at: number): Image {
	const sources: readonly Source[] = [
		(y, x) => [y, x],
		...sourcesOf(image, "all"),
	];
	return seenFrom(image, sources[Math.floor(at * sources.length)] as Source);
}

function sourcesOf({ shape }: Image, augment: Augment): readonly Source[] {
	const square = shape[0] === shape[1];
	const sources: Readonly<Record<Augment, readonly Source[]>> = {
		none: [],
		turns: [half, ...(square ? quarters : [])],
		flips: [half, ...mirrors],
		all: [half, ...mirrors, ...(square ? [...quarters, ...diagonals] : [])],
	};
	return sources[augment];
}

function seenFrom({ shape, data }: Image, source: Source): Image {
	const [h = 0, w = 0] = shape;
	const view = uint8([h, w, 3]);
	for (let y = 0; y < h; y++)
		for (let x = 0; x < w; x++) {
			const [fromY, fromX] = source(y, x, h, w);
			const from = 3 * (fromY * w + fromX);
			view.data.set(data.subarray(from, from + 3), 3 * (y * w + x));
		}
	return view;
}
