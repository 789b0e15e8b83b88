import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "vitest";
import { encodePng } from "../../src/data/image.ts";
import { trivialNumbers } from "../../src/data/trivial.ts";
import { uint8 } from "../../src/engine/tensor.ts";

it("size, aspect, bytes, mean and contrast", async () => {
	const dir = await mkdtemp(path.join(tmpdir(), "keepsight-trivial-"));
	const file = path.join(dir, "a.png");
	// half black, half white: mean 127.5, deviation 127.5
	await writeFile(
		file,
		await encodePng(
			uint8(
				[2, 4, 3],
				Uint8Array.from({ length: 24 }, (_, i) => (i < 12 ? 0 : 255)),
			),
		),
	);
	const [numbers] = await trivialNumbers([{ path: file }]);
	expect(numbers).toEqual({
		pixels: 8,
		aspect: 2,
		fileBytes: (await stat(file)).size,
		mean: expect.closeTo(127.5, 6),
		contrast: expect.closeTo(127.5, 6),
	});
	await rm(dir, { recursive: true });
});
