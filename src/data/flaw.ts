/**
 * Pictures that show nothing, whatever the product: a covered lens, a light that is off, an empty buffer. Absolute and cautious limits
 * on the pixels as the network sees them: a dim picture of a part is for the detector to judge.
 */
import { quantile } from "../metrics/interval.ts";
import type { Image } from "./task.ts";

/** Grey levels of 255. */
export const DARK = 16;
export const FLAT = 2;
export const DARK_SHARE = 0.99;
/** Of red, green and blue. */
export const LUMINANCE = [0.299, 0.587, 0.114] as const;

/** "dark": 99 of 100 pixels are nearly black; "empty": all are alike (standard deviation below 2 grey levels). */
export function flawOf({ data }: Image): "dark" | "empty" | null {
	const n = data.length / 3;
	const [red, green, blue] = LUMINANCE;
	const luminance = Float64Array.from(
		{ length: n },
		(_, i) =>
			red * (data[3 * i] as number) +
			green * (data[3 * i + 1] as number) +
			blue * (data[3 * i + 2] as number),
	).sort();
	if (quantile(luminance, DARK_SHARE) < DARK) return "dark";
	const mean = luminance.reduce((sum, value) => sum + value, 0) / n;
	const variance =
		luminance.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n;
	return Math.sqrt(variance) < FLAT ? "empty" : null;
}
