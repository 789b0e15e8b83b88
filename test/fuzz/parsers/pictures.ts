/** Pictures and anomaly maps: real encodings, as sharp makes them here, and what a disk or a sender makes of them. */
import { strict as assert } from "node:assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import {
	decodeImage,
	imageSize,
	inspectImage,
	readMask,
	readParts,
} from "../../../src/data/image.ts";
import { encodeTiff, readMap } from "../../../src/data/tiff.ts";
import { float32 } from "../../../src/engine/tensor.ts";
import type { Parser, Reader } from "../harness.ts";
import { bytes, type Mutator, png } from "../mutate.ts";

const [width, height] = [23, 17];
/** Noise with an edge in it. */
const raw = (channels: 1 | 2 | 3 | 4) =>
	sharp(
		Buffer.from(
			Array.from({ length: width * height * channels }, (_, i) =>
				i % 7 === 0 ? 255 : (i * 31) % 251,
			),
		),
		{ raw: { width, height, channels } },
	);

/** Windows bitmaps, which sharp does not write: 24 bits bottom up, 8 bits with a palette top down, 32 bits with masks. */
function bitmaps(): Buffer[] {
	const header = (depth: number, h: number, extra: number, compression = 0) => {
		const stride = Math.ceil((width * depth) / 32) * 4;
		const start = 54 + extra;
		const out = Buffer.alloc(start + stride * Math.abs(h));
		out.write("BM");
		out.writeUInt32LE(out.length, 2);
		out.writeUInt32LE(start, 10);
		out.writeUInt32LE(40, 14);
		out.writeInt32LE(width, 18);
		out.writeInt32LE(h, 22);
		out.writeUInt16LE(1, 26);
		out.writeUInt16LE(depth, 28);
		out.writeUInt32LE(compression, 30);
		for (let i = start; i < out.length; i++) out[i] = (i * 37) % 5;
		return out;
	};
	const masked = header(32, height, 12, 3);
	[0xff0000, 0xff00, 0xff].forEach((mask, i) => {
		masked.writeUInt32LE(mask, 54 + 4 * i);
	});
	return [
		header(24, height, 0),
		header(8, -height, 4 * 256),
		header(1, height, 8),
		masked,
	];
}

const toBytes = async (list: readonly ReturnType<typeof raw>[]) =>
	Promise.all(list.map((one) => one.toBuffer()));

/** Reads a picture in all the ways there are, and holds what comes against the size that its header says. */
function reader(dir: string, seeds: readonly Buffer[]): Reader {
	const file = join(dir, "a.img");
	return {
		seeds,
		async read(content) {
			const { size, ending } = await inspectImage(content, "a.img");
			const [h, w] = size;
			assert(h >= 1 && w >= 1 && h * w <= 100_000_000);
			assert.match(ending, /^\.(png|jpeg|tiff|webp|bmp)$/);
			if (h * w > 50_000) return; // decoded in the tests of large pictures
			const own = await decodeImage(content, "a.img");
			assert.deepEqual(own.shape, [h, w, 3]);
			assert.equal(own.data.length, h * w * 3);
			for (const side of [8, 40]) {
				const { shape, data } = await decodeImage(content, "a.img", [
					side,
					side,
				]);
				assert.deepEqual(shape, [side, side, 3]);
				assert.equal(data.length, side * side * 3);
			}
			writeFileSync(file, content);
			assert.deepEqual(await imageSize(file), size);
			const mask = await readMask(file);
			assert.deepEqual([mask.shape, mask.data.length], [[h, w], h * w]);
			const side = Math.min(h, w);
			const parts = await readParts(
				file,
				() => [{ top: h - side, left: w - side, side }],
				[[8, 8]],
			);
			assert.equal(parts[0]?.[0]?.data.length, 8 * 8 * 3);
		},
	};
}

const format = (
	name: string,
	make: () => Promise<readonly Buffer[]> | readonly Buffer[],
	mutate: Mutator = bytes,
	more: readonly string[] = [],
): Parser => ({
	name,
	covers: ["data/image.ts", ...more],
	mutate,
	cases: 60,
	open: async (dir) => reader(dir, await make()),
});

export const pictures: readonly Parser[] = [
	format(
		"png",
		() =>
			toBytes([
				raw(3).png(),
				raw(4).png({ palette: true }),
				raw(1).toColourspace("grey16").png(),
				raw(2).png({ progressive: true }),
			]),
		png,
	),
	format("jpeg", () =>
		toBytes([
			raw(3).jpeg(),
			raw(1).jpeg({ progressive: true }),
			raw(3).toColourspace("cmyk").jpeg(),
			raw(3).withMetadata({ orientation: 6 }).jpeg(),
		]),
	),
	format("webp", () =>
		toBytes([raw(3).webp(), raw(4).webp({ lossless: true })]),
	),
	format("tiff", () =>
		toBytes([
			raw(3).tiff({ compression: "none" }),
			raw(4).tiff({ compression: "lzw" }),
			raw(1).tiff({
				compression: "deflate",
				tile: true,
				tileWidth: 16,
				tileHeight: 16,
			}),
			raw(3).tiff({ compression: "jpeg" }),
			raw(1).toColourspace("grey16").tiff({ compression: "none" }),
			raw(3).toColourspace("lab").tiff({ compression: "none" }),
			raw(3).toColourspace("cmyk").tiff({ compression: "none" }),
		]),
	),
	format("bmp", bitmaps, bytes, ["data/bmp.ts"]),
	{
		name: "map",
		covers: ["data/tiff.ts", "data/image.ts"],
		mutate: bytes,
		cases: 150,
		open: (dir) => ({
			seeds: [
				encodeTiff(
					float32(
						[5, 7],
						Float32Array.from({ length: 35 }, (_, i) => i / 3),
					),
				),
			],
			async read(content) {
				writeFileSync(join(dir, "a.tiff"), content);
				const { shape, data } = await readMap(dir, "a.png");
				assert.equal(data.length, (shape[0] ?? 0) * (shape[1] ?? 0));
				assert(data.length >= 1);
			},
		}),
	},
];
