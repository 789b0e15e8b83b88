// @ts-check
/**
 * A pretext task of one's own in one file: the network learns to tell a part from the same part with a faded disc, its colours drawn
 * towards their mean.
 *   npx keepsight train --config RUN.yaml --plugin pretext.mjs --set "pretext={ name: faded, strength: 0.5 }"
 *   npx keepsight data sheet --config RUN.yaml --plugin pretext.mjs --set "pretext={ name: faded }"     shows what it draws
 */
import {
	definePlugin,
	definePretext,
	makeViews,
	uint8,
	viewOptions,
	z,
} from "keepsight";

const options = z.strictObject({
	...viewOptions, // jitter and rotation, the same for all views of an image
	strength: z
		.number()
		.gt(0)
		.max(1)
		.default(0.7)
		.describe("Of the fading; 1: one colour."),
});

const faded = definePretext({
	title: "Faded disc",
	paper: "",
	options,
	create: (chosen) => ({
		classes: ["normal", "faded"],
		augment: (image, random) =>
			makeViews(image, random, chosen, [
				(normal, random) => {
					const [height, width] = /** @type {[number, number, number]} */ (
						normal.shape
					);
					const radius = random.uniform(0.08, 0.2) * Math.min(height, width); // px
					const [y, x] = [random.uniform(0, height), random.uniform(0, width)];
					const data = Uint8Array.from(normal.data); // the given image stays as it is
					const mean = data.reduce((sum, v) => sum + v, 0) / data.length;
					for (let at = 0; at < data.length; at++) {
						const pixel = Math.floor(at / 3);
						if (
							Math.hypot(Math.floor(pixel / width) - y, (pixel % width) - x) <
							radius
						)
							data[at] =
								Number(data[at]) + chosen.strength * (mean - Number(data[at]));
					}
					return uint8(normal.shape, data);
				},
			]),
	}),
});

export default definePlugin({ pretexts: { faded } });
