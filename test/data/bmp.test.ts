import fc from "fast-check";
import { expect, it } from "vitest";
import { readBmp } from "../../src/data/bmp.ts";
import { decodeImage } from "../../src/data/image.ts";

/** A BMP of the given depth; `rows` are the pixel bytes as they are stored. */
function bmp(
	width: number,
	height: number,
	depth: number,
	palette: readonly number[],
	rows: readonly number[],
	compression = 0,
): Uint8Array {
	const start = 54 + palette.length;
	const bytes = new Uint8Array(start + rows.length);
	const view = new DataView(bytes.buffer);
	bytes.set([0x42, 0x4d]);
	view.setUint32(10, start, true);
	view.setUint32(14, 40, true);
	view.setInt32(18, width, true);
	view.setInt32(22, height, true);
	view.setUint16(28, depth, true);
	view.setUint32(30, compression, true);
	view.setUint32(46, depth <= 8 ? palette.length / 4 : 0, true);
	bytes.set(palette, 54);
	bytes.set(rows, start);
	return bytes;
}

const red = [0, 0, 255];
const green = [0, 255, 0];

it.each([
	["24 bits, bottom up", bmp(1, 2, 24, [], [...green, 0, ...red, 0])],
	["24 bits, top down", bmp(1, -2, 24, [], [...red, 0, ...green, 0])],
	["32 bits", bmp(1, 2, 32, [], [...green, 0, ...red, 0])],
	[
		"8 bits with a palette",
		bmp(1, 2, 8, [...red, 0, ...green, 0], [1, 0, 0, 0, 0, 0, 0, 0]),
	],
	[
		"4 bits",
		bmp(1, 2, 4, [...red, 0, ...green, 0], [0x10, 0, 0, 0, 0x00, 0, 0, 0]),
	],
	[
		"1 bit",
		bmp(1, 2, 1, [...red, 0, ...green, 0], [0x80, 0, 0, 0, 0x00, 0, 0, 0]),
	],
])("%s", async (_name, bytes) => {
	const image = await decodeImage(bytes, "a.bmp");
	expect(image.shape).toEqual([2, 1, 3]);
	expect([...image.data]).toEqual([255, 0, 0, 0, 255, 0]);
});

it.each([
	["cut off", bmp(4, 4, 24, [], [0, 0, 0]), /cut off/],
	[
		"run-length coded",
		bmp(1, 1, 8, [0, 0, 0, 0], [0, 0, 0, 0], 1),
		/compressed/,
	],
	["16 bits", bmp(1, 1, 16, [], [0, 0, 0, 0]), /16 bits/],
	["outside its palette", bmp(1, 1, 8, [0, 0, 0, 0], [9, 0, 0, 0]), /palette/],
	["no width", bmp(0, 1, 24, [], [0, 0, 0, 0]), /size/],
])("refused: %s", async (_name, bytes, message) => {
	await expect(decodeImage(bytes, "bad.bmp")).rejects.toMatchObject({
		code: "IMAGE_UNREADABLE",
		message: expect.stringMatching(message),
	});
});

it("no bytes crash the reader", () => {
	fc.assert(
		fc.property(fc.uint8Array({ minLength: 0, maxLength: 200 }), (tail) => {
			try {
				const { width, height, pixels } = readBmp(
					Uint8Array.from([0x42, 0x4d, ...tail]),
				);
				if (width * height < 10_000) pixels();
			} catch (error) {
				expect((error as Error).message).toMatch(/BMP/);
			}
		}),
	);
});
