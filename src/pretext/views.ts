/**
 * The frame all pretext tasks share (DNE's training code; Li et al., ACM MM 2022): one colour jitter of the image before
 * the anomaly is made, the same for all of its views, and one rotation after it, drawn for each view. So neither
 * colour nor angle tells the classes apart, only the anomaly does.
 */
import { z } from "zod";
import type { Image } from "../data/task.ts";
import type { Random } from "../random.ts";
import { colorJitter, rotate } from "./transforms.ts";

/** Options of every pretext task whose views are jittered and turned. */
export const viewOptions = {
	jitter: z
		.number()
		.min(0)
		.max(0.5)
		.default(0.1)
		.describe(
			"strength of the colour jitter of the whole image: brightness, contrast, saturation, hue; 0: none",
		),
	rotation: z
		.number()
		.min(0)
		.max(180)
		.default(90)
		.describe(
			"largest rotation of a view, in degrees to either side, corners black; 0: none",
		),
};

export interface ViewOptions {
	readonly jitter: number;
	readonly rotation: number;
}

/** Makes one anomalous version of an image: a new image, the given one stays as it is. */
export type MakeAnomaly = (image: Image, random: Random) => Image;

/** [normal, one view for each anomaly]. */
export function makeViews(
	image: Image,
	random: Random,
	options: ViewOptions,
	anomalies: readonly MakeAnomaly[],
): readonly Image[] {
	const normal = colorJitter(image, options.jitter, random);
	const views = [normal, ...anomalies.map((make) => make(normal, random))];
	if (options.rotation === 0) return views;
	return views.map((view) =>
		rotate(view, random.uniform(-options.rotation, options.rotation)),
	);
}
