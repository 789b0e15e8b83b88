/** LOCO's defects_config.json: what each mask value means and when that defect counts as found (saturated sPRO). */
import { readFile } from "node:fs/promises";
import path from "node:path";
import * as z from "zod";
import { fail, firstIssue } from "../errors.ts";
import { codeOf } from "../storage.ts";

const schema = z
	.array(
		z.strictObject({
			defect_name: z.string().min(1),
			/** The value of this defect's pixels in its mask. */
			pixel_value: z.int().min(1).max(255),
			/** Area in pixels, or a share of the mask's area if relative. */
			saturation_threshold: z.number().positive(),
			relative_saturation: z.boolean(),
		}),
	)
	.refine(
		(all) =>
			all.every((d) => !d.relative_saturation || d.saturation_threshold <= 1),
		"a relative saturation_threshold is a share, at most 1",
	)
	.refine(
		(all) => new Set(all.map((d) => d.pixel_value)).size === all.length,
		"two defects share one pixel_value",
	);

export interface DefectType {
	readonly name: string;
	readonly value: number;
	readonly saturation: {
		readonly threshold: number;
		readonly relative: boolean;
	};
}

/** The category's defect types by mask value; null where the category has no such file. */
export async function readDefectTypes(
	dir: string,
): Promise<ReadonlyMap<number, DefectType> | null> {
	const file = path.join(dir, "defects_config.json");
	let text: string;
	try {
		text = await readFile(file, "utf8");
	} catch (error) {
		if (codeOf(error) === "ENOENT") return null;
		throw fail("CANNOT_READ", { path: file, code: codeOf(error) });
	}
	let json: unknown;
	try {
		json = JSON.parse(text);
	} catch (error) {
		throw fail("DATA_BAD_DEFECTS_CONFIG", {
			path: file,
			reason: (error as Error).message,
		});
	}
	const parsed = schema.safeParse(json);
	if (!parsed.success)
		throw fail("DATA_BAD_DEFECTS_CONFIG", {
			path: file,
			reason: firstIssue(parsed.error),
		});
	return new Map(
		parsed.data.map((d) => [
			d.pixel_value,
			{
				name: d.defect_name,
				value: d.pixel_value,
				saturation: {
					threshold: d.saturation_threshold,
					relative: d.relative_saturation,
				},
			},
		]),
	);
}
