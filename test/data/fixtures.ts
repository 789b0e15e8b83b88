/** Small data sets for the tests of data/: pictures of one colour in both layouts. */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { encodePng } from "../../src/data/image.ts";
import { uint8 } from "../../src/engine/tensor.ts";

export async function put(
	root: string,
	file: string,
	content: Uint8Array | string,
): Promise<void> {
	await mkdir(path.dirname(path.join(root, file)), { recursive: true });
	await writeFile(path.join(root, file), content);
}

/** A picture of one grey value, [6, 8, 3]. */
export async function picture(
	grey: number,
	[height, width] = [6, 8],
): Promise<Uint8Array> {
	const image = uint8([height as number, width as number, 3]);
	image.data.fill(grey);
	image.data.fill(255 - grey, -3 * (width as number)); // the lowest row, or it would show nothing
	return encodePng(image);
}

/** A mask with one pixel of the value, or none. */
export async function mask(
	value: number,
	[height, width] = [6, 8],
): Promise<Uint8Array> {
	const data = new Uint8Array((height as number) * (width as number));
	data[9] = value;
	return encodePng(uint8([height as number, width as number], data));
}

export async function mvtecCategory(
	root: string,
	id: string,
	from = 0,
): Promise<void> {
	await put(root, `${id}/train/good/0.png`, await picture(from + 1));
	await put(root, `${id}/train/good/10.PNG`, await picture(from + 2));
	await put(root, `${id}/train/good/9.png`, await picture(from + 3));
	await put(root, `${id}/test/good/0.png`, await picture(from + 4));
	await put(root, `${id}/test/crack/0.png`, await picture(from + 5));
	await put(root, `${id}/test/crack/1.png`, await picture(from + 6));
	await put(root, `${id}/ground_truth/crack/0_mask.png`, await mask(255));
}

export async function locoCategory(
	root: string,
	id: string,
	from = 20,
): Promise<void> {
	await put(root, `${id}/train/good/0.png`, await picture(from + 1));
	await put(root, `${id}/validation/good/0.png`, await picture(from + 2));
	await put(root, `${id}/test/good/0.png`, await picture(from + 3));
	await put(
		root,
		`${id}/test/logical_anomalies/000.png`,
		await picture(from + 4),
	);
	await put(
		root,
		`${id}/test/structural_anomalies/000.png`,
		await picture(from + 5),
	);
	await put(
		root,
		`${id}/ground_truth/logical_anomalies/000/000.png`,
		await mask(255),
	);
	await put(
		root,
		`${id}/ground_truth/logical_anomalies/000/001.png`,
		await mask(254),
	);
	await put(
		root,
		`${id}/ground_truth/structural_anomalies/000/000.png`,
		await mask(254),
	);
	await put(
		root,
		`${id}/defects_config.json`,
		JSON.stringify([
			{
				defect_name: "missing",
				pixel_value: 255,
				saturation_threshold: 20,
				relative_saturation: false,
			},
			{
				defect_name: "broken",
				pixel_value: 254,
				saturation_threshold: 1,
				relative_saturation: true,
			},
		]),
	);
}
