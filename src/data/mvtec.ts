/**
 * MVTec AD's layout (Bergmann et al. 2019), also that of VisA and of most people's own data:
 * train/good, test/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png. Missing ground truth is no error: such an image has no
 * masks, and pixel metrics say why they are null.
 */
import path from "node:path";
import { fail } from "../errors.ts";
import {
	exists,
	isDirectory,
	list,
	listFolders,
	listImages,
	stemOf,
} from "./files.ts";
import { imageSize, readMask, readSized, type Size } from "./image.ts";
import type { DatasetReader, ReadOptions, Sample } from "./task.ts";

export const mvtec: DatasetReader = {
	title: "MVTec AD",
	layout: "mvtec",
	async matches(dir) {
		return (
			(await isDirectory(path.join(dir, "train"))) ||
			(await isDirectory(path.join(dir, "test")))
		);
	},
	async readNormals(dir, id, options = {}) {
		return { id, normals: await readGood(dir, id, options), heldOut: [] };
	},
	async readTest(dir, id, options = {}) {
		const within = { ...options, root: options.root ?? dir };
		const samples: Sample[] = [];
		for (const folder of await listFolders(path.join(dir, "test"), within)) {
			const images = await listImages(folder.path, within);
			if (images.length === 0)
				throw fail("DATA_EMPTY_CLASS", { dir: folder.path });
			const good = folder.name === "good";
			const masks = good
				? new Map<string, string>()
				: await masksByStem(
						path.join(dir, "ground_truth", folder.name),
						within,
					);
			for (const image of images) {
				const mask = masks.get(stemOf(image.name));
				samples.push({
					...sampleOf(`${id}/test/${folder.name}/${image.name}`, image.path),
					defect: good ? null : folder.name,
					kind: good ? "good" : "structural",
					...(mask === undefined
						? {}
						: { readMasks: async () => [binary(await readMask(mask))] }),
				});
			}
		}
		return samples;
	},
};

/** The good images of train/good; none is an error, since nothing could be learnt. */
export async function readGood(
	dir: string,
	id: string,
	options: ReadOptions,
): Promise<readonly Sample[]> {
	const folder = path.join(dir, "train", "good");
	const images = await listImages(folder, {
		...options,
		root: options.root ?? dir,
	});
	if (images.length === 0)
		throw fail("DATA_NO_GOOD_IMAGES", { category: id, dir: folder });
	return images.map((image) =>
		goodSample(`${id}/train/good/${image.name}`, image.path),
	);
}

/** `<stem>_mask.png` -> its path, by the image's stem. */
export async function masksByStem(
	dir: string,
	options: ReadOptions,
): Promise<Map<string, string>> {
	if (!(await exists(dir))) return new Map();
	const masks = (await list(dir, options)).filter(
		(e) => !e.isDirectory && /_mask\.png$/i.test(e.name),
	);
	return new Map(
		masks.map((e) => [e.name.slice(0, -"_mask.png".length), e.path]),
	);
}

export const goodSample = (id: string, file: string): Sample => ({
	...sampleOf(id, file),
	defect: null,
	kind: "good",
});

/** A picture as a sample; its size is read once, when it is asked for. */
export function sampleOf(
	id: string,
	file: string,
): Pick<Sample, "id" | "path" | "read" | "size"> {
	let size: Size | null = null;
	return {
		id,
		path: file,
		async read(wanted) {
			const picture = await readSized(file, wanted);
			size = picture.size;
			return picture.image;
		},
		async size() {
			size ??= await imageSize(file);
			return size;
		},
	};
}

/** All pixels above 0 belong to the defect; `value` is the largest, the one that names it. */
export function binary(mask: Awaited<ReturnType<typeof readMask>>): {
	mask: typeof mask;
	value: number;
} {
	let value = 0;
	for (const v of mask.data) value = Math.max(value, v);
	return {
		mask: { ...mask, data: mask.data.map((v) => (v > 0 ? 1 : 0)) },
		value,
	};
}
