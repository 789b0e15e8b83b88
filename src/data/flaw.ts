/**
 * Pictures that show nothing, whatever the product: a covered lens, a light that is off, an empty buffer. Absolute and cautious limits
 * on the pixels as the network sees them: a dim picture of a part is for the detector to judge.
 */
import { quantile } from "../metrics/interval.ts";
import type { Image } from "./task.ts";

/** Grey levels of 255. */
const DARK = 16;
const FLAT = 2;

/** "dark": 99 of 100 pixels are nearly black; "empty": all are alike (standard deviation below 2 grey levels). */
export function flawOf({ data }: Image): "dark" | "empty" | null {
	const n = data.length / 3;
	const luminance = Float64Array.from(
		{ length: n },
		(_, i) =>
			0.299 * (data[3 * i] as number) +
			0.587 * (data[3 * i + 1] as number) +
			0.114 * (data[3 * i + 2] as number),
	).sort();
	if (quantile(luminance, 0.99) < DARK) return "dark";
	const mean = luminance.reduce((sum, value) => sum + value, 0) / n;
	const variance =
		luminance.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n;
	return Math.sqrt(variance) < FLAT ? "empty" : null;
}
