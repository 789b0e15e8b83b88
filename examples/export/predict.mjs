// What `keepsight predict` says of pictures, from an exported folder: node predict.mjs PICTURE... (onnxruntime-node, sharp)
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ort from "onnxruntime-node";
import sharp from "sharp";

const file = (name) => fileURLToPath(new URL(name, import.meta.url));
const manifest = JSON.parse(readFileSync(file("manifest.json"), "utf8"));
const session = await ort.InferenceSession.create(file(manifest.graph), { extra: manifest.runtime.session });

for (const path of process.argv.slice(2)) {
	const feeds = {};
	for (const { name, size: [height, width] } of manifest.inputs) {
		const picture = sharp(path).autoOrient().flatten({ background: "#000" });
		const shrunk = picture.resize(width, height, { fit: "fill", kernel: "cubic", fastShrinkOnLoad: false });
		const bytes = await shrunk.toColourspace("srgb").raw({ depth: "uchar" }).toBuffer(); // [H, W, 3]
		const planes = Float32Array.from(bytes, (_, i) => bytes[(i % (height * width)) * 3 + Math.floor(i / (height * width))]);
		feeds[name] = new ort.Tensor("float32", planes, [1, 3, height, width]);
	}
	const { score, threshold, verdict, task } = await session.run(feeds);
	const says = manifest.verdicts[Number(verdict.data[0])];
	const known = says !== "unknown" && says !== "unusable";
	console.log(JSON.stringify({ path, score: score.data[0], threshold: threshold.data[0], verdict: says, task: known ? manifest.products[Number(task.data[0])].id : null }));
}
