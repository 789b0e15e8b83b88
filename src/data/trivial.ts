/**
 * What a picture says without being looked at (methods.md, protocol): width times height, aspect ratio, bytes of the file, mean and
 * contrast of its grey. If one of these alone tells defects from good parts, the data set leaks, and a detector below that line
 * has learnt nothing. Values only; `eval --trivial` forms the AUROC.
 */
import { stat } from "node:fs/promises";
import { mapLimited } from "./files.ts";
import { readImage } from "./image.ts";
import type { Sample } from "./task.ts";

export interface TrivialNumbers {
	/** Width times height. */
	readonly pixels: number;
	/** Width over height. */
	readonly aspect: number;
	readonly fileBytes: number;
	/** Mean grey, 0..255. */
	readonly mean: number;
	/** Standard deviation of the grey. */
	readonly contrast: number;
}
export const trivialNames = [
	"pixels",
	"aspect",
	"fileBytes",
	"mean",
	"contrast",
] as const satisfies readonly (keyof TrivialNumbers)[];

/** One entry a sample, in their order. */
export async function trivialNumbers(
	samples: readonly Pick<Sample, "path">[],
): Promise<TrivialNumbers[]> {
	return mapLimited(samples, 4, async ({ path }) => {
		const { data, shape } = await readImage(path);
		const [height = 0, width = 0] = shape;
		let sum = 0;
		let squares = 0;
		for (let i = 0; i < data.length; i += 3) {
			const grey =
				0.299 * (data[i] as number) +
				0.587 * (data[i + 1] as number) +
				0.114 * (data[i + 2] as number); // Rec. 601
			sum += grey;
			squares += grey * grey;
		}
		const n = width * height;
		const mean = sum / n;
		return {
			pixels: n,
			aspect: width / height,
			fileBytes: (await stat(path)).size,
			mean,
			contrast: Math.sqrt(Math.max(0, squares / n - mean * mean)),
		};
	});
}
