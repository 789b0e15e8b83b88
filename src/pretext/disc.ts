/**
 * A defect of known size and contrast, pasted into a picture: a disc that was cut out elsewhere in the same picture (CutPaste, Li et al.,
 * CVPR 2021, with a round patch instead of a rectangle), made darker or lighter as a whole until its mean differs from what it covers by a
 * stated number of grey levels. Size and contrast are thus known, and its texture is that of the product.
 */
import type { Image } from "../data/task.ts";
import { type Tensor, uint8 } from "../engine/tensor.ts";
import type { Random } from "../random.ts";
import { sidesOf } from "./transforms.ts";

export interface Disc {
	/** In pixels of the picture; 1 at least. */
	readonly diameter: number;
	/** By how many of 255 grey levels the means differ. */
	readonly contrast: number;
	/** White where the disc may lie and where it may come from, of any size [H, W]; null: everywhere. */
	readonly roi: Tensor<"uint8"> | null;
}

export interface Pasted {
	readonly image: Image;
	/** Of the disc, in pixels. */
	readonly centre: readonly [y: number, x: number];
	/** The difference of means that was reached: less where the picture has no darker or lighter grey. */
	readonly contrast: number;
}

const mostDraws = 10_000;

/** A copy of the picture with a disc in it; null: no place was found for one. */
export function pasteDisc(
	image: Image,
	random: Random,
	{ diameter, contrast, roi }: Disc,
): Pasted | null {
	const side = Math.ceil(diameter);
	const pixels = discPixels(diameter);
	const place = drawPlace(image, random, { side, pixels, roi });
	const source = place && drawPlace(image, random, { side, pixels, roi });
	if (!source) return null;
	const [, width] = sidesOf(image);
	/** Where in the data the pixel's colour begins, of a disc at this corner. */
	const at = ([top, left]: Place, { y, x }: DiscPixel) =>
		((top + y) * width + left + x) * 3;
	const copy = uint8(image.shape, Uint8Array.from(image.data));
	const mean = greyMean(image, pixels, (pixel) => at(place, pixel));
	const shift =
		shifted(mean, contrast, random.uniform() < 0.5) -
		greyMean(image, pixels, (pixel) => at(source, pixel));
	let change = 0;
	let area = 0;
	for (const pixel of pixels) {
		area += pixel.cover;
		for (let c = 0; c < 3; c++) {
			const [to, from] = [at(place, pixel) + c, at(source, pixel) + c];
			const old = image.data[to] as number;
			const fresh = Math.min(
				255,
				Math.max(0, (image.data[from] as number) + shift),
			);
			copy.data[to] = Math.round(old + pixel.cover * (fresh - old));
			change += ((copy.data[to] as number) - old) / 3;
		}
	}
	const middle = (side - 1) / 2;
	return {
		image: copy,
		centre: [place[0] + middle, place[1] + middle],
		contrast: Math.abs(change) / area,
	};
}

/** Darker or lighter by the contrast, the other way where there is no room, as far as there is. */
function shifted(mean: number, contrast: number, darker: boolean): number {
	const room = darker ? mean : 255 - mean;
	const other = 255 - room;
	const way = room >= contrast || room >= other ? darker : !darker;
	return way ? Math.max(0, mean - contrast) : Math.min(255, mean + contrast);
}

type Place = readonly [top: number, left: number];

interface DiscPixel {
	readonly y: number;
	readonly x: number;
	/** How much of the pixel lies in the disc, 0..1, to a linear approximation. */
	readonly cover: number;
}

/** Pixels of a disc within its box. */
function discPixels(diameter: number): readonly DiscPixel[] {
	const side = Math.ceil(diameter);
	const pixels: DiscPixel[] = [];
	for (let y = 0; y < side; y++)
		for (let x = 0; x < side; x++) {
			const distance = Math.hypot(y - (side - 1) / 2, x - (side - 1) / 2);
			const cover = Math.min(1, diameter / 2 + 0.5 - distance);
			if (cover > 0) pixels.push({ y, x, cover });
		}
	return pixels;
}

/** Mean grey of the pixels, each as far as it is covered. */
function greyMean(
	{ data }: Image,
	pixels: readonly DiscPixel[],
	at: (pixel: DiscPixel) => number,
): number {
	let [sum, area] = [0, 0];
	for (const pixel of pixels) {
		area += pixel.cover;
		for (let c = 0; c < 3; c++)
			sum += (pixel.cover * (data[at(pixel) + c] as number)) / 3;
	}
	return sum / area;
}

/** The corner of a box of this side whose disc lies wholly where it may. */
function drawPlace(
	image: Image,
	random: Random,
	{
		side,
		pixels,
		roi,
	}: {
		readonly side: number;
		readonly pixels: readonly DiscPixel[];
		readonly roi: Tensor<"uint8"> | null;
	},
): Place | null {
	const [height, width] = sidesOf(image);
	if (side > height || side > width) return null;
	const [roiHeight = 1, roiWidth = 1] = roi?.shape ?? [];
	const allowed = (y: number, x: number) =>
		roi === null ||
		(roi.data[
			Math.floor(((y + 0.5) * roiHeight) / height) * roiWidth +
				Math.floor(((x + 0.5) * roiWidth) / width)
		] as number) > 127;
	for (let draw = 0; draw < mostDraws; draw++) {
		const top = random.integer(height - side + 1);
		const left = random.integer(width - side + 1);
		if (pixels.every(({ y, x }) => allowed(top + y, left + x)))
			return [top, left];
	}
	return null;
}
