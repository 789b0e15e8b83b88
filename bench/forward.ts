/**
 * One process that looks at images as frozen detection does: with ViT-S/14 at 224 px (patches of blocks 6 and 9, class token; random
 * weights), and with what is shipped. A line on standard input, a line of JSON back, ms an image.
 * node forward.js '{"threads":2}'
 */
import { answerLines } from "./answers.ts";
import { flops, gemmRate } from "./floor.ts";
import { networkOf, picture } from "./network.ts";
import { patchesRead } from "../src/knowledge.ts";
import type { Backbone } from "../src/models/backbone.ts";
import { loadBackbone } from "../src/models/index.ts";
import { type Precision, precisions } from "../src/models/quantise.ts";
import { DEFAULT_BACKBONE } from "../src/models/shipped.ts";
import { Random } from "../src/random.ts";
import { Trunk } from "../src/trunk.ts";

const { threads } = JSON.parse(process.argv[2] as string) as {
	threads: number;
};
const random = new Random("bench");
const { backbone } = networkOf(
	{ model: "small", batch: 16, threads, last: null },
	random,
);
const images = Array.from({ length: 16 }, () => picture(random));

const shipped = loadBackbone(
	{ name: `models/${DEFAULT_BACKBONE}` },
	[224, 224],
	0,
);

function seeing(of: Backbone, precision: Precision, batch: number) {
	const trunk = new Trunk({
		backbone: { ...of, precision },
		from: of.config.depth,
		patchBlocks: patchesRead(of.config, [
			{ name: "patches", options: {}, weight: 1 },
		]).blocks,
		threads,
	});
	return async () => {
		const began = performance.now();
		await trunk.seeAll(images.slice(0, batch));
		return (performance.now() - began) / batch;
	};
}

const ofBoth = (precision: Precision, batch: number) => [
	[`${precision} ${batch}`, seeing(backbone, precision, batch)] as const,
	[`shipped ${precision} ${batch}`, seeing(shipped, precision, batch)] as const,
];
const { embedding, whole, last } = flops(backbone.config);

await answerLines({
	...Object.fromEntries(
		precisions.flatMap((precision) =>
			[16, 1].flatMap((batch) => ofBoth(precision, batch)),
		),
	),
	gemm: () => gemmRate(backbone.config, { batch: 16, threads }, random),
	flops: async () => embedding + (backbone.config.depth - 1) * whole + last,
});
