/**
 * Keepsight-N: what the benchmark draws, learns and looks at, and after which product. Nothing here depends on a detector's results.
 * Products are numbered from 0 in the order they are learnt; `after` counts products learnt.
 */

/** Test images as they are, or the same parts under another lamp or out of focus. */
export const splits = ["test", "drift_light", "drift_blur"] as const;
export type Split = (typeof splits)[number];

export interface Protocol {
	/** Of the pictures. */
	readonly seed: number;
	readonly products: number;
	/** How many products, from the first, are also learnt from fewer or dirty images and looked at under drift. */
	readonly varied: number;
	/** Pixels a side. */
	readonly size: number;
	/** Good images that a product is learnt from. */
	readonly train: number;
	/** Good test images of a product. */
	readonly testGood: number;
	/** Test images of each kind of defect. */
	readonly perDefect: number;
	/** After so many products all learnt ones are looked at; rising, the last is `products`, and `varied` and `unknownAfter` are among them. */
	readonly milestones: readonly number[];
	/** After so many, those not learnt yet are looked at too: they are unknown. */
	readonly unknownAfter: number;
	/** Fewer images than `train`. */
	readonly images: readonly number[];
	/** Shares of defective images in train/good; rising. */
	readonly dirty: readonly number[];
	/** Numbers of further good images under each drift that thresholds are set by anew; rising. */
	readonly recalibrated: readonly number[];
	/** The last of the varied products, each also learnt in a memory of its own. */
	readonly alone: {
		readonly products: number;
		/** Each `train` or one of `images`. */
		readonly images: readonly number[];
	};
}

/** The benchmark of this many products, 2 or more; 100 is Keepsight-100. */
export function protocolOf(products: number, seed: number): Protocol {
	const varied = Math.min(25, products);
	const unknownAfter = Math.floor(products / 2);
	const milestones = [1, 10, 25, 50, varied, unknownAfter, products];
	return {
		seed,
		products,
		varied,
		size: 256,
		train: 20,
		testGood: 10,
		perDefect: 2,
		milestones: [...new Set(milestones)]
			.filter((n) => n <= products)
			.sort((a, b) => a - b),
		unknownAfter,
		images: [1, 5, 10],
		dirty: [0.05, 0.1, 0.2],
		recalibrated: [10, 20],
		alone: { products: Math.min(5, varied), images: [5, 20] },
	};
}

/** One memory, and what it learns one after the other. */
export interface Chapter {
	readonly name: string;
	/** In the order they are learnt. */
	readonly products: readonly number[];
	/** Good images of each. */
	readonly images: number;
	/** Share of them that is replaced by defective ones. */
	readonly dirty: number;
}

/** All products in one memory. */
export const line = "line";
export const fewer = (images: number): string => `images-${images}`;
export const soiled = (share: number): string =>
	`dirty-${Number((100 * share).toPrecision(12))}`;
export const alone = (images: number, product: number): string =>
	`alone-${images}-${product}`;

/** Numbers of the products that are learnt alone as well. */
export const aloneOf = ({ varied, alone: { products } }: Protocol): number[] =>
	upTo(varied).slice(varied - products);

export function chaptersOf(protocol: Protocol): readonly Chapter[] {
	const { train } = protocol;
	const varied = upTo(protocol.varied);
	const all = upTo(protocol.products);
	return [
		{ name: line, products: all, images: train, dirty: 0 },
		...protocol.images.map((images) => ({
			name: fewer(images),
			products: varied,
			images,
			dirty: 0,
		})),
		...protocol.dirty.map((dirty) => ({
			name: soiled(dirty),
			products: varied,
			images: train,
			dirty,
		})),
		...protocol.alone.images.flatMap((images) =>
			aloneOf(protocol).map((product) => ({
				name: alone(images, product),
				products: [product],
				images,
				dirty: 0,
			})),
		),
	];
}

/** Test images of one product. */
export interface Target {
	readonly product: number;
	readonly split: Split;
	/** By how many good images of that drift its threshold is set first; 0: it stays as learnt. */
	readonly recalibrated: number;
}

/** What a chapter's memory is shown once it has learnt so many products; nothing where it goes on at once. */
export function targetsAfter(
	protocol: Protocol,
	{ name, products }: Chapter,
	after: number,
): readonly Target[] {
	const shown = (
		list: readonly number[],
		split: Split = "test",
		recalibrated = 0,
	) => list.map((product): Target => ({ product, split, recalibrated }));
	const learnt = products.slice(0, after);
	if (name !== line) {
		if (after === products.length) return shown(learnt);
		const own = learnt.slice(-1);
		return shown(own.filter((product) => aloneOf(protocol).includes(product)));
	}
	if (!protocol.milestones.includes(after)) return shown(learnt.slice(-1));
	return [
		...shown(learnt),
		...(after === protocol.unknownAfter ? shown(products.slice(after)) : []),
		...(after === protocol.varied
			? splits
					.filter((split) => split !== "test")
					.flatMap((split) =>
						[0, ...protocol.recalibrated].flatMap((images) =>
							shown(learnt, split, images),
						),
					)
			: []),
	];
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
