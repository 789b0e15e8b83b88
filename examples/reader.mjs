// @ts-check
/**
 * A data set of one's own in one file: pictures side by side in one folder, and a labels.csv that says of each what it is for,
 *   file,use,defect
 *   0001.png,learn,
 *   0002.png,test,
 *   0003.png,test,scratch
 * in <data.root>/<anything>/<category>/.
 *   npx keepsight train --config RUN.yaml --plugin reader.mjs
 */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { definePlugin, listImages, sampleOf } from "keepsight";

/** Pictures with this use, and their defects. Names come from the folder, so none of the table leads out of it. */
async function samples(
	/** @type {string} */ dir,
	/** @type {string} */ id,
	/** @type {string} */ use,
	/** @type {import("keepsight").ReadOptions} */ options = {},
) {
	const lines = (await readFile(join(dir, "labels.csv"), "utf8"))
		.trim()
		.split(/\r?\n/);
	const rows = new Map(
		lines.map((line) => [line.split(",")[0], line.split(",")]),
	);
	const images = await listImages(dir, {
		...options,
		root: options.root ?? dir,
	});
	return images
		.filter(({ name }) => rows.get(name)?.[1] === use)
		.map(({ name, path }) => {
			const defect = rows.get(name)?.[2] || null;
			/** @type {import("keepsight").Sample["kind"]} */
			const kind = defect === null ? "good" : "structural";
			return { ...sampleOf(`${id}/${name}`, path), defect, kind };
		});
}

/** @type {import("keepsight").DatasetReader} */
const table = {
	title: "labels.csv",
	layout: "mvtec", // one image AUROC, good against defective
	matches: (dir) =>
		stat(join(dir, "labels.csv")).then(
			() => true,
			() => false,
		),
	readNormals: async (dir, id, options) => ({
		id,
		normals: await samples(dir, id, "learn", options),
		heldOut: [],
	}),
	readTest: (dir, id, options) => samples(dir, id, "test", options),
};

export default definePlugin({ readers: { table } });
