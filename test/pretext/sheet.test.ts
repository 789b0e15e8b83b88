import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { expect, test } from "vitest";
import { createPretext, pretexts } from "../../src/pretext/index.ts";
import { contactSheet } from "../../src/pretext/sheet.ts";
import { crop } from "../../src/pretext/transforms.ts";
import { disc } from "./pictures.ts";

test.each(Object.keys(pretexts))(
	"%s: rows of normals and of each class, a PNG to look at",
	async (name) => {
		const images = [1, 2, 3, 4, 5].map((seed) => disc(40, 56, seed));
		const pretext = createPretext({ name });
		const sheet = contactSheet(images, pretext, 7, 3);
		const rows = 2 * (1 + pretext.classes.length); // two blocks
		expect(sheet.shape).toEqual([rows * 44 - 4, 3 * 60 - 4, 3]);
		expect(crop(sheet, 0, 60, 40, 56).data).toEqual(images[1]?.data);
		expect(crop(sheet, (rows / 2) * 44, 60, 40, 56).data).toEqual(
			images[4]?.data,
		);
		const dir = await mkdtemp(join(tmpdir(), "keepsight-sheet-"));
		try {
			const [height, width] = sheet.shape as [number, number];
			const file = join(dir, "sheet.png");
			await sharp(sheet.data, { raw: { width, height, channels: 3 } })
				.png()
				.toFile(file);
			expect((await sharp(file).metadata()).height).toBe(height);
		} finally {
			await rm(dir, { recursive: true });
		}
	},
);
