// What `keepsight predict` says of pictures, from an exported folder: node predict.mjs PICTURE... (onnxruntime-node, sharp)
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ort from "onnxruntime-node";
import sharp from "sharp";
import { resample } from "./resample.mjs";

const file = (name) => fileURLToPath(new URL(name, import.meta.url));
const manifest = JSON.parse(readFileSync(file("manifest.json"), "utf8"));
const { graph, inputs, runtime, verdicts, products } = manifest;
const session = await ort.InferenceSession.create(file(graph), {
	extra: runtime.session,
});

/** The picture as bytes [height, width, 3]: libvips shrinks as Pillow does, but enlarges otherwise. */
async function resized(path, [height, width]) {
	const picture = sharp(path).autoOrient().flatten({ background: "#000" });
	const { autoOrient: own } = await sharp(path).metadata();
	const shrinks = height <= own.height && width <= own.width;
	const how = { fit: "fill", kernel: "cubic", fastShrinkOnLoad: false };
	if (shrinks) picture.resize(width, height, how);
	const rgb = picture.toColourspace("srgb").raw({ depth: "uchar" });
	const bytes = await rgb.toBuffer();
	const to = [height, width];
	return shrinks ? bytes : resample(bytes, [own.height, own.width], to);
}

for (const path of process.argv.slice(2)) {
	const feeds = {};
	for (const { name, size } of inputs) {
		const bytes = await resized(path, size);
		const n = size[0] * size[1];
		const pixels = new Float32Array(3 * n); // [3, height, width]
		for (let i = 0; i < 3 * n; i++)
			pixels[i] = bytes[(i % n) * 3 + Math.floor(i / n)];
		feeds[name] = new ort.Tensor("float32", pixels, [1, 3, ...size]);
	}
	const found = await session.run(feeds);
	const [score, threshold, says, at] = [
		"score",
		"threshold",
		"verdict",
		"task",
	].map((name) => Number(found[name].data[0]));
	const verdict = verdicts[says];
	const known = verdict !== "unknown" && verdict !== "unusable";
	const task = known ? products[at].id : null;
	console.log(JSON.stringify({ path, score, threshold, verdict, task }));
}
