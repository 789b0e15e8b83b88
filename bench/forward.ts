/**
 * One process that looks at images with ViT-S/14 at 224 px as frozen detection does (patches of blocks 6 and 9, class token), random
 * weights: a line on standard input, a line of JSON back, ms an image.
 * node forward.js '{"threads":2}'
 */
import { answerLines } from "./answers.ts";
import { networkOf, picture } from "./network.ts";
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

function seeing(precision: "float32" | "int8", batch: number) {
	const trunk = new Trunk({
		backbone: { ...backbone, precision },
		from: backbone.config.depth,
		patchBlocks: [5, 8],
		threads,
	});
	return async () => {
		const began = performance.now();
		await trunk.seeAll(images.slice(0, batch));
		return (performance.now() - began) / batch;
	};
}

await answerLines({
	"float32 16": seeing("float32", 16),
	"int8 16": seeing("int8", 16),
	"float32 1": seeing("float32", 1),
	"int8 1": seeing("int8", 1),
});
