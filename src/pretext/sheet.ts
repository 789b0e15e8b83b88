/** A contact sheet of a pretext task: what the network is shown, for a person to look at before training on it. */
import type { Image } from "../data/task.ts";
import { uint8 } from "../engine/tensor.ts";
import { Random } from "../random.ts";
import type { PretextTask } from "./pretext.ts";
import { paste, sidesOf } from "./transforms.ts";

const gapPx = 4;

/**
 * In each block of rows: the images as they are, then one row of views a class, in the order of `pretext.classes`.
 * Images of one size; as many blocks as it takes at `columns` images a row. The next image is the other one (NSA).
 */
export function contactSheet(
	images: readonly Image[],
	pretext: PretextTask,
	seed: number,
	columns: number,
): Image {
	const [first] = images;
	if (!first) return uint8([0, 0, 3]);
	const [height, width] = sidesOf(first);
	const rowsPerBlock = 1 + pretext.classes.length;
	const across = Math.min(columns, images.length);
	const rows = rowsPerBlock * Math.ceil(images.length / across);
	const sheet = uint8([
		rows * (height + gapPx) - gapPx,
		across * (width + gapPx) - gapPx,
		3,
	]);
	sheet.data.fill(255);
	for (const [i, image] of images.entries()) {
		const other = images[(i + 1) % images.length] as Image;
		const views = [
			image,
			...pretext.augment(image, new Random(seed, "sheet", i), other),
		];
		for (const [k, view] of views.entries()) {
			paste(
				sheet,
				view,
				(Math.floor(i / across) * rowsPerBlock + k) * (height + gapPx),
				(i % across) * (width + gapPx),
			);
		}
	}
	return sheet;
}
