/**
 * Golden samples: pictures whose pixels lie beside the graph, with what `predict` says of them. A memory holds no images, so they are
 * drawn, from a seed, unless some are given.
 */
import { findImages } from "../data/find.ts";
import { encodePng } from "../data/image.ts";
import { uint8 } from "../engine/tensor.ts";
import type { Picture, Predictor } from "../predictor.ts";
import { Random } from "../random.ts";

type Size = readonly [number, number];
/** Of a pixel, 0..255. */
type Drawing = (y: number, x: number, channel: number) => number;

/** Made with a generator of its own, for pictures of [H, W]; grainy, as a picture without detail is out of focus. */
const drawings: Readonly<Record<string, (r: Random, size: Size) => Drawing>> = {
	stripes: (r) => {
		const [down, across] = [r.uniform(0.02, 0.3), r.uniform(0.02, 0.3)];
		return (y, x, c) =>
			128 + 90 * Math.sin(down * y + across * x + c) + r.normal(0, 6);
	},
	gradient: (r, [h, w]) => {
		const from = [0, 1, 2].map(() => r.uniform(0, 120));
		return (y, x, c) =>
			(from[c] as number) + 60 * (y / h + x / w) + r.normal(0, 6);
	},
	disc: (r, [h, w]) => {
		const radius = r.uniform(0.2, 0.35) * Math.min(h, w);
		return (y, x, c) =>
			(Math.hypot(y - h / 2, x - w / 2) < radius ? 190 - 20 * c : 60) +
			r.normal(0, 6);
	},
	noise: (r) => () => 128 + r.normal(0, 50),
	dark: () => () => 0,
};

export interface NamedPicture {
	readonly name: string;
	readonly picture: Picture;
}

/** `largest`: size of the largest input. `told`: the product that they count as; null: to be recognised. */
export function drawnSamples(
	predictor: Predictor,
	largest: Size,
	told: string | null,
): Promise<NamedPicture[]> {
	const [h, w] = largest;
	return Promise.all(
		Object.entries(drawings).map(async ([name, make]) => {
			const draw = make(new Random("export", name), largest);
			const image = uint8([h, w, 3]);
			for (let i = 0; i < image.data.length; i++) {
				const value = draw(
					Math.floor(i / (3 * w)),
					Math.floor(i / 3) % w,
					i % 3,
				);
				image.data[i] = Math.max(0, Math.min(255, Math.round(value)));
			}
			const bytes = await encodePng(image);
			const picture = predictor.picture({ path: name, name, told }, bytes);
			return { name, picture: await picture };
		}),
	);
}

/** Pictures at this path: a file, a folder or a pattern. */
export async function givenSamples(
	predictor: Predictor,
	input: string,
	told: string | null,
): Promise<NamedPicture[]> {
	const found = await findImages(input);
	const pictures: NamedPicture[] = [];
	for await (const group of predictor.read([found], told))
		for (const picture of group)
			pictures.push({ name: picture.found.name, picture });
	return pictures;
}
