/**
 * Pictures that show nothing, whatever the product: a covered lens, a light that is off, an empty buffer. Absolute and cautious limits
 * on the pixels as the network sees them: a dim picture of a part is for the detector to judge. And pictures out of focus, which only what a
 * product usually looks like can tell from those of smooth parts.
 */
import { quantile } from "../metrics/interval.ts";
import type { Image } from "./task.ts";

/** Grey levels of 255. */
export const DARK = 16;
export const FLAT = 2;
export const DARK_SHARE = 0.99;
/** Of red, green and blue. */
export const LUMINANCE = [0.299, 0.587, 0.114] as const;
/** log2: a picture with half the detail of any good one is blurred. */
export const BLURRED = 1;
/** Mean square of a Laplacian, in grey levels squared, that is as good as none: a quarter of what rounding to whole grey levels makes. */
export const NONE = 0.1;

export type Flaw = "dark" | "empty";
/** "dark": 99 of 100 pixels are nearly black; "empty": all are alike (standard deviation below 2 grey levels). */
export function flawOf({ data }: Image): Flaw | null {
	const n = data.length / 3;
	const luminance = Float64Array.from({ length: n }, (_, i) =>
		luminanceAt(data, i),
	);
	const mean = luminance.reduce((sum, value) => sum + value, 0) / n;
	// a brighter mean is no dark picture's; most need not be sorted
	if (
		mean < DARK + 255 * (1 - DARK_SHARE) + 1 &&
		quantile(luminance.slice().sort(), DARK_SHARE) < DARK
	)
		return "dark";
	const variance =
		luminance.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n;
	return Math.sqrt(variance) < FLAT ? "empty" : null;
}

/**
 * How much of its fine structure a picture has: log2 of the energy of its Laplacian at half its size over that at a quarter. Edges give about the same
 * in every picture, whatever its contrast; out of focus, the finer band fades first.
 */
export function detailOf({ shape, data }: Image): number {
	const [h, w] = shape as [number, number, number];
	const grey = new Float32Array(h * w);
	for (let i = 0; i < grey.length; i++) grey[i] = luminanceAt(data, i);
	const fine = halved({ h, w, grey });
	const energies = [fine, halved(fine)].map((p) => laplacianEnergy(p) + NONE);
	return Math.log2((energies[0] as number) / (energies[1] as number));
}

/** `least`: the least detail of the product's good pictures. */
export const isBlurred = (detail: number, least: number): boolean =>
	detail < least - BLURRED;

const luminanceAt = (data: Uint8Array, i: number): number =>
	LUMINANCE[0] * (data[3 * i] as number) +
	LUMINANCE[1] * (data[3 * i + 1] as number) +
	LUMINANCE[2] * (data[3 * i + 2] as number);

interface Plane {
	readonly h: number;
	readonly w: number;
	readonly grey: Float32Array; // [h, w]
}

/** Means of 2 x 2 pixels. */
function halved({ h, w, grey }: Plane): Plane {
	const [rows, columns] = [h >> 1, w >> 1];
	const out = new Float32Array(rows * columns);
	for (let y = 0; y < rows; y++)
		for (let x = 0; x < columns; x++) {
			const i = 2 * (y * w + x);
			out[y * columns + x] =
				((grey[i] as number) +
					(grey[i + 1] as number) +
					(grey[i + w] as number) +
					(grey[i + w + 1] as number)) /
				4;
		}
	return { h: rows, w: columns, grey: out };
}

/** Mean square of four times a pixel less those beside it; 0 of a picture without inner pixels. */
function laplacianEnergy({ h, w, grey }: Plane): number {
	let sum = 0;
	for (let y = 1; y < h - 1; y++)
		for (let x = 1; x < w - 1; x++) {
			const i = y * w + x;
			const beside =
				(grey[i - 1] as number) +
				(grey[i + 1] as number) +
				(grey[i - w] as number) +
				(grey[i + w] as number);
			sum += (4 * (grey[i] as number) - beside) ** 2;
		}
	return sum / Math.max(1, (h - 2) * (w - 2));
}
