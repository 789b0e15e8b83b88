/** A folder of good images and nothing else: what a line engineer has on the first day. It can be learnt and scored, not evaluated. */
import { fail } from "../errors.ts";
import { listImages } from "./files.ts";
import { goodSample } from "./mvtec.ts";
import type { DatasetReader } from "./task.ts";

export const folder: DatasetReader = {
	title: "folder of good images",
	layout: "folder",
	async matches(dir) {
		return (await listImages(dir, { followLinks: true })).length > 0;
	},
	async readNormals(dir, id, options = {}) {
		const images = await listImages(dir, {
			...options,
			root: options.root ?? dir,
		});
		if (images.length === 0)
			throw fail("DATA_NO_GOOD_IMAGES", { category: id, dir });
		return {
			id,
			normals: images.map((e) => goodSample(`${id}/${e.name}`, e.path)),
			heldOut: [],
		};
	},
	readTest: async () => [],
};
