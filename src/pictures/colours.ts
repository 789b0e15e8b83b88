/**
 * The colours of anomaly maps: inferno, by Nathaniel J. Smith and Stéfan van der Walt (2015, public domain by CC0, as matplotlib
 * ships it). Its lightness rises evenly from black to pale yellow, so it reads in grey and by colour-blind eyes alike.
 * Kept is every fifth of its 256 colours; what lies between is interpolated, off by at most 1.2 of 255.
 */

const stops = [
	"000004 02020c 050417 0a0722 10092d 160b39 1e0c45 260c51 2f0a5b 380962 400a67 490b6a 510e6c",
	"59106e 61136e 69166e 71196e 781c6d 801f6c 88226a 902568 982766 a02a63 a82e5f b0315b b73557",
	"bf3952 c63d4d cc4248 d34743 d94d3d df5337 e45a31 e9612b ed6925 f1711f f47918 f78212 f98b0b",
	"fa9407 fb9d07 fca60c fcb014 fbba1f fac42a f8cd37 f6d746 f4e156 f2ea69 f2f27d f5f992 fcffa4",
]
	.join(" ")
	.split(" ");

/** Red, green and blue, 0..255, of 256 levels. */
export const heatColours: Uint8Array = table(); // [256, 3]

function table(): Uint8Array {
	const steps = 255 / (stops.length - 1);
	return Uint8Array.from({ length: 3 * 256 }, (_, i) => {
		const at = Math.floor(i / 3) / steps;
		const channel = (stop: number) =>
			Number.parseInt(
				(stops[Math.min(stop, stops.length - 1)] as string).slice(
					2 * (i % 3),
					2 * (i % 3) + 2,
				),
				16,
			);
		const low = Math.floor(at);
		return Math.round(
			channel(low) + (at - low) * (channel(low + 1) - channel(low)),
		);
	});
}

/** The level of a share of the range, 0..255; what lies outside counts as its end, what is no number as 0. */
export const levelOf = (share: number): number =>
	share > 0 ? Math.round(255 * Math.min(share, 1)) : 0;

/** "#1e0c45, #380962, ...": for a CSS gradient. */
export const heatGradient: string = stops
	.filter((_, i) => i % 3 === 0)
	.map((stop) => `#${stop}`)
	.join(", ");
