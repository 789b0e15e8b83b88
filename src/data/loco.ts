/**
 * MVTec LOCO AD's layout (Bergmann et al. 2022): train/good, validation/good (never learnt, only calibrated on), test/good,
 * test/logical_anomalies, test/structural_anomalies, and one mask a defect in ground_truth/<type>/<stem>/<nnn>.png, whose pixel value
 * names the defect; defects_config.json says from which area on each counts as found (its saturation).
 */
import path from "node:path";
import { fail } from "../errors.ts";
import {
	exists,
	isDirectory,
	listFolders,
	listImages,
	stemOf,
} from "./files.ts";
import { readMask } from "./image.ts";
import { binary, goodSample, readGood, sampleOf } from "./mvtec.ts";
import type { DatasetReader, ReadOptions, Sample } from "./task.ts";

const kinds = {
	good: "good",
	logical_anomalies: "logical",
	structural_anomalies: "structural",
} as const;
const kindOf = (folder: string): Sample["kind"] =>
	folder in kinds ? kinds[folder as keyof typeof kinds] : null;

export const loco: DatasetReader = {
	title: "MVTec LOCO AD",
	layout: "loco",
	async matches(dir) {
		if (await exists(path.join(dir, "defects_config.json"))) return true;
		const telling = [
			"validation/good",
			"test/logical_anomalies",
			"test/structural_anomalies",
		];
		return (
			await Promise.all(telling.map((t) => isDirectory(path.join(dir, t))))
		).includes(true);
	},
	async readNormals(dir, id, options = {}) {
		const validation = await listImages(path.join(dir, "validation", "good"), {
			...options,
			root: options.root ?? dir,
		});
		return {
			id,
			normals: await readGood(dir, id, options),
			heldOut: validation.map((e) =>
				goodSample(`${id}/validation/good/${e.name}`, e.path),
			),
		};
	},
	async readTest(dir, id, options = {}) {
		const within = { ...options, root: options.root ?? dir };
		const samples: Sample[] = [];
		for (const folder of await listFolders(path.join(dir, "test"), within)) {
			const images = await listImages(folder.path, within);
			if (images.length === 0)
				throw fail("DATA_EMPTY_CLASS", { dir: folder.path });
			const kind = kindOf(folder.name);
			for (const image of images) {
				const masks = masksFolder(dir, folder.name, stemOf(image.name));
				const hasMasks = kind !== "good" && (await isDirectory(masks));
				samples.push({
					...sampleOf(`${id}/test/${folder.name}/${image.name}`, image.path),
					defect: kind === "good" ? null : folder.name,
					kind,
					...(hasMasks ? { readMasks: () => readMasks(masks, within) } : {}),
				});
			}
		}
		return samples;
	},
};

/** Where the masks of the test image <type>/<stem> lie. */
export const masksFolder = (dir: string, type: string, stem: string): string =>
	path.join(dir, "ground_truth", type, stem);

/** One mask a defect. */
export async function readMasks(
	folder: string,
	options?: ReadOptions,
): Promise<Awaited<ReturnType<NonNullable<Sample["readMasks"]>>>> {
	return Promise.all(
		(await listImages(folder, options)).map(async (mask) =>
			binary(await readMask(mask.path)),
		),
	);
}
