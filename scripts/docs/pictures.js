/**
 * docs/pictures/: what docs/concepts.md shows, all from the drawn demo line. Two runs below .cache/docs/ are needed (some minutes on two cores);
 * what is finished there is not learnt again. Numbers in docs/concepts.md are read off these runs.
 */
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { root, run } from "../project.js";

/** Below the root, where every command runs. */
const cache = ".cache/docs";
const pictures = join(root, "docs", "pictures");
const config = [
	"--config",
	"configs/demo.yaml",
	"--set",
	`data.root=${cache}/data`,
];

/** Nothing protects what was learnt, and nothing but densities is kept. */
const unprotected = [
	"name=finetune",
	"image_size=112",
	"trainable={ last: 2 }",
	"backbone.precision=float32",
	"strategy={ name: finetune }",
	"memory=[{ name: dne, form: routed }]",
	"train.epochs=5",
].flatMap((set) => ["--set", set]);

/** Name -> path below the run of the demo line, or that of `unprotected`. */
const drawn = {
	"map.webp": "demo/Anomaly/visualizations/mvtec.flange/best-2.png",
	"scores.svg": "demo/Anomaly/visualizations/charts/scores-5.svg",
	"routing.svg": "demo/Anomaly/visualizations/charts/embeddings.svg",
	"forgetting.svg":
		"finetune/Anomaly/visualizations/charts/matrix-imageAuroc.svg",
	"cutpaste.webp": "cutpaste.png",
	"nsa.webp": "nsa.png",
};

export async function drawPictures() {
	keepsight("data", "demo", `${cache}/data`, "--quiet");
	const train = ["train", ...config, "--out", cache, "--resume", "--quiet"];
	keepsight(...train);
	keepsight(...train, ...unprotected);
	for (const name of ["cutpaste", "nsa"])
		keepsight(
			"data",
			"sheet",
			...config,
			"--set",
			`pretext={ name: ${name} }`,
			"--task",
			"loco/bottle",
			"--images",
			"4",
			"--out",
			`${cache}/${name}.png`,
		);
	mkdirSync(pictures, { recursive: true });
	for (const [name, path] of Object.entries(drawn)) {
		const [from, to] = [join(root, cache, path), join(pictures, name)];
		if (name.endsWith(".svg")) copyFileSync(from, to);
		else await sharp(from).webp({ quality: 80 }).toFile(to);
		console.log(`docs/pictures/${name}: drawn`);
	}
}

function keepsight(...args) {
	if (!run(process.execPath, [join(root, "dist", "cli.js"), ...args]))
		throw new Error(`keepsight ${args[0]} failed; its message is above`);
}
