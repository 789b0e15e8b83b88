import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { crc32 } from "node:zlib";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
	decodeImage,
	encodePng,
	imageSize,
	readImage,
	readMask,
} from "../../src/data/image.ts";
import { encodeTiff } from "../../src/data/tiff.ts";
import { float32, uint8 } from "../../src/engine/tensor.ts";

let dir: string;
beforeAll(async () => {
	dir = await mkdtemp(path.join(tmpdir(), "keepsight-image-"));
});
afterAll(() => rm(dir, { recursive: true }));

const width = 8;
const height = 6;
const rgb = { raw: { width, height, channels: 3 } } as const;
const flat = (r: number, g: number, b: number) =>
	Uint8Array.from(
		{ length: width * height * 3 },
		(_, i) => [r, g, b][i % 3] as number,
	);
const plain = () => sharp(flat(200, 100, 50), rgb);
const firstPixel = async (bytes: Uint8Array) => {
	const image = await decodeImage(bytes, "test");
	expect(image.shape).toEqual([height, width, 3]);
	return Array.from(image.data.slice(0, 3));
};

describe("every kind of picture has a defined result", () => {
	it.each(["png", "tiff", "webp"] as const)("%s", async (format) => {
		const bytes = await plain()
			.toFormat(format, format === "webp" ? { lossless: true } : {})
			.toBuffer();
		expect(await firstPixel(bytes)).toEqual([200, 100, 50]);
	});

	it("jpeg, to within its loss", async () => {
		const [r = 0, g = 0, b = 0] = await firstPixel(
			await plain().jpeg({ quality: 95 }).toBuffer(),
		);
		expect(
			Math.max(Math.abs(r - 200), Math.abs(g - 100), Math.abs(b - 50)),
		).toBeLessThanOrEqual(2);
	});

	it("grey: three equal channels", async () => {
		const bytes = await sharp(new Uint8Array(width * height).fill(77), {
			raw: { width, height, channels: 1 },
		})
			.toColourspace("b-w")
			.png()
			.toBuffer();
		expect(await firstPixel(bytes)).toEqual([77, 77, 77]);
	});

	it.each([
		[0xffff, 255],
		[0x8080, 128],
		[0x00ff, 0],
	])("16 bits are scaled: %i -> %i", async (value, expected) => {
		const bytes = await sharp(new Uint16Array(width * height).fill(value), {
			raw: { width, height, channels: 1 },
		})
			.toColourspace("grey16")
			.png()
			.toBuffer();
		expect((await sharp(bytes).metadata()).depth).toBe("ushort");
		expect(await firstPixel(bytes)).toEqual([expected, expected, expected]);
	});

	it("floats, which between 0 and 1 would be black, are refused", async () => {
		const map = encodeTiff(float32([height, width]));
		await expect(decodeImage(map, "map.tiff")).rejects.toThrow(
			/^Cannot read the image map.tiff: its pixels are numbers \(float\).*; 8 and 16 bits are read/,
		);
	});

	it("CIELAB, whose floats have a scale: the colour", async () => {
		const bytes = await sharp({
			create: { width, height, channels: 3, background: "#785a3c" },
		})
			.toColourspace("lab")
			.tiff({ compression: "none" })
			.toBuffer();
		for (const [k, value] of (await firstPixel(bytes)).entries())
			expect(Math.abs(value - ([120, 90, 60][k] as number))).toBeLessThan(3);
	});

	it("alpha: composited on black, whatever colour lies under it", async () => {
		const pixel = (alpha: number) =>
			sharp({
				create: {
					width,
					height,
					channels: 4,
					background: { r: 200, g: 100, b: 50, alpha },
				},
			})
				.png()
				.toBuffer();
		expect(await firstPixel(await pixel(0.5))).toEqual([100, 50, 25]);
		expect(await firstPixel(await pixel(0))).toEqual([0, 0, 0]);
	});

	it("palette", async () => {
		const bytes = await plain().png({ palette: true }).toBuffer();
		expect(bytes[25]).toBe(3); // PNG's colour type: indexed
		expect(await firstPixel(bytes)).toEqual([200, 100, 50]);
	});

	it("cmyk: converted to sRGB", async () => {
		const grey = await sharp(flat(128, 128, 128), rgb)
			.toColourspace("cmyk")
			.jpeg()
			.toBuffer();
		const [r = 0, g = 0, b = 0] = await firstPixel(grey);
		for (const v of [r, g, b]) expect(Math.abs(v - 128)).toBeLessThan(20);
	});

	it("animation: the first frame", async () => {
		const frames = new Uint8Array([
			...flat(10, 20, 30),
			...flat(200, 200, 200),
		]);
		const bytes = await sharp(frames, {
			raw: { width, height: 2 * height, channels: 3, pageHeight: height },
		})
			.webp({ lossless: true, loop: 0 })
			.toBuffer();
		expect((await sharp(bytes, { animated: true }).metadata()).pages).toBe(2);
		expect(await firstPixel(bytes)).toEqual([10, 20, 30]);
	});

	it("EXIF orientation: applied, also to the size", async () => {
		const pixels = flat(0, 0, 0);
		pixels.set([255, 255, 255], 0); // top left, stored
		const bytes = await sharp(pixels, rgb)
			.withMetadata({ orientation: 6 })
			.png()
			.toBuffer();
		const file = path.join(dir, "turned.png");
		await writeFile(file, bytes);
		const image = await readImage(file);
		expect(image.shape).toEqual([width, height, 3]); // 6 is a quarter turn clockwise
		expect(Array.from(image.data.slice(3 * (height - 1), 3 * height))).toEqual([
			255, 255, 255,
		]); // now top right
		expect(await imageSize(file)).toEqual([width, height]);
	});
});

describe("what is no picture is a named error", () => {
	const svg = Buffer.from(
		'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
	);
	const cases: [string, () => Promise<Uint8Array> | Uint8Array, RegExp][] = [
		["empty.png", () => new Uint8Array(0), /the file is empty/],
		["drawing.png", () => svg, /not a PNG, JPEG, BMP, TIFF or WebP/],
		["page.png", () => Buffer.from("%PDF-1.7\n"), /not a PNG/],
		[
			"animation.png",
			() => Buffer.from("GIF89a\x01\x00\x01\x00\x00\x00\x00;", "latin1"),
			/not a PNG/,
		],
		["text.jpg", () => Buffer.from("hello"), /not a PNG/],
		[
			"cut.jpg",
			async () =>
				(
					await sharp({
						create: {
							width: 200,
							height: 200,
							channels: 3,
							noise: { type: "gaussian", mean: 128, sigma: 40 },
							background: "#000",
						},
					})
						.jpeg()
						.toBuffer()
				).subarray(0, 3000),
			/cut\.jpg/,
		],
		[
			"cut.png",
			async () =>
				(
					await sharp({
						create: {
							width: 200,
							height: 200,
							channels: 3,
							noise: { type: "gaussian", mean: 128, sigma: 40 },
							background: "#000",
						},
					})
						.png()
						.toBuffer()
				).subarray(0, 3000),
			/cut\.png/,
		],
	];
	it.each(cases)("%s", async (name, bytes, message) => {
		const file = path.join(dir, name);
		await writeFile(file, await bytes());
		await expect(readImage(file, [8, 8])).rejects.toMatchObject({
			code: "IMAGE_UNREADABLE",
			message: expect.stringMatching(message),
		});
		await expect(readImage(file)).rejects.toMatchObject({
			message: expect.stringContaining(file),
		});
		await expect(readImage(file)).rejects.toMatchObject({
			message: expect.stringContaining("keepsight data check"),
		});
	});

	it("a missing file and a folder", async () => {
		await expect(
			readImage(path.join(dir, "nowhere.png")),
		).rejects.toMatchObject({
			code: "IMAGE_UNREADABLE",
			message: expect.stringMatching(/no such file/),
		});
		await expect(readImage(dir)).rejects.toMatchObject({
			message: expect.stringMatching(/is a folder/),
		});
	});

	it("a picture of 2.5 billion pixels is refused by its header", async () => {
		const bytes = await plain().png().toBuffer();
		bytes.writeUInt32BE(50_000, 16);
		bytes.writeUInt32BE(50_000, 20);
		bytes.writeUInt32BE(crc32(bytes.subarray(12, 29)), 29);
		await expect(decodeImage(bytes, "bomb.png", [8, 8])).rejects.toMatchObject({
			code: "IMAGE_TOO_LARGE",
		});
	});
});

it("the name's ending does not matter, the bytes do", async () => {
	const file = path.join(dir, "jpeg inside.png");
	await writeFile(file, await plain().jpeg().toBuffer());
	expect((await readImage(file, [3, 4])).shape).toEqual([3, 4, 3]);
});

it("resizing covers the whole image, both ways and mixed", async () => {
	const ramp = Uint8Array.from(
		{ length: 64 * 64 * 3 },
		(_, i) => 4 * (Math.floor(i / 3) % 64),
	);
	const bytes = await sharp(ramp, {
		raw: { width: 64, height: 64, channels: 3 },
	})
		.png()
		.toBuffer();
	for (const size of [
		[16, 16],
		[128, 128],
		[16, 128],
	] as const) {
		const { data, shape } = await decodeImage(bytes, "ramp", size);
		expect(shape).toEqual([...size, 3]);
		const row = Array.from(
			{ length: size[1] },
			(_, x) => data[3 * x] as number,
		);
		// the middle of a linear ramp stays linear, whatever the size: pixel centres map to pixel centres
		const at = Math.round(size[1] * 0.5);
		expect(
			Math.abs((row[at] as number) - 4 * (((at + 0.5) * 64) / size[1] - 0.5)),
		).toBeLessThanOrEqual(1);
	}
});

it("masks keep their size and values; PNGs come back as they went", async () => {
	const mask = uint8(
		[3, 5],
		Uint8Array.from([0, 0, 255, 254, 0, 1, 0, 0, 0, 0, 7, 0, 0, 0, 238]),
	);
	const file = path.join(dir, "mask.png");
	await writeFile(file, await encodePng(mask));
	expect(await readMask(file)).toEqual(mask);
	const image = uint8(
		[2, 2, 3],
		Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 250, 251, 252]),
	);
	expect(await decodeImage(await encodePng(image, 2), "again")).toEqual(image);
});

it("many large pictures at once are decoded in turn", async () => {
	const bytes = await sharp({
		create: { width: 4200, height: 4000, channels: 3, background: "#123456" },
	})
		.png({ compressionLevel: 1 })
		.toBuffer();
	const images = await Promise.all(
		Array.from({ length: 4 }, () => decodeImage(bytes, "large", [4, 4])),
	);
	for (const image of images)
		expect(Array.from(image.data.slice(0, 3))).toEqual([0x12, 0x34, 0x56]);
});
