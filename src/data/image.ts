/**
 * The one door to image decoding (sharp on libvips): files and bytes in, RGB tensors out.
 *
 * What a picture becomes, whatever it was:
 * - EXIF orientation is applied, so that a part seen by a turned camera stands as the photographer saw it;
 * - grey becomes three equal channels, a palette its colours, 16 bits are scaled to 8 (65535 -> 255), CMYK and pictures with a
 *   colour profile become sRGB; floats and 32 bits (TIFF) are refused;
 * - alpha is composited on black: what lies under a transparent pixel is whatever the drawing tool left there, and black is the
 *   same for everybody;
 * - of an animation or a multi-page file the first frame counts.
 * Read are PNG, JPEG, TIFF, WebP and (own reader, libvips has none) BMP. All other loaders of libvips are blocked, SVG and PDF
 * above all: they are programs more than pictures. The format is found from the bytes, never from the file's name.
 *
 * Resizing is Pillow's bicubic: the whole picture, no crop, antialiased. Measured against Pillow 13 on real parts: shrinking by
 * libvips mean difference 0.03-0.6 of 255, at most 4; enlarging by resample.ts at most 1.
 */
import { readFile } from "node:fs/promises";
import sharp, { type Sharp } from "sharp";
import type { Tensor } from "../engine/tensor.ts";
import { uint8 } from "../engine/tensor.ts";
import { fail, KeepsightError } from "../errors.ts";
import { isBmp, readBmp } from "./bmp.ts";
import { resample } from "./resample.ts";
import type { Image } from "./task.ts";

sharp.block({ operation: ["VipsForeignLoad"] });
sharp.unblock({
	operation: [
		"VipsForeignLoadJpeg",
		"VipsForeignLoadPng",
		"VipsForeignLoadTiff",
		"VipsForeignLoadWebp",
	],
});

/** Endings, lower case, that count as an image when a folder is read. */
export const imageEndings: readonly string[] = [
	".png",
	".jpg",
	".jpeg",
	".bmp",
	".tif",
	".tiff",
	".webp",
];

/** More pixels than this are refused before they are decoded: 100 million, 300 MB as RGB. */
export const pixelLimit = 100_000_000;
/** Pictures above this are decoded one at a time, so that many of them at once do not fill the memory. */
const largePixels = 16_000_000;

export type Size = readonly [height: number, width: number];
type Bytes = Uint8Array;

/** A picture as the network sees it, and [H, W] of the picture itself (orientation applied). */
export interface Sized {
	readonly image: Image;
	readonly size: Size;
}

/** The picture in the file, resized to [H, W]; at its own size without one. Errors name the path. */
export async function readImage(path: string, size?: Size): Promise<Image> {
	return (await readSized(path, size)).image;
}

export async function readSized(path: string, size?: Size): Promise<Sized> {
	return decode(await readBytes(path), path, size);
}

/** The same for bytes that came from elsewhere; `name` is what errors call them. */
export async function decodeImage(
	bytes: Bytes,
	name: string,
	size?: Size,
): Promise<Image> {
	return (await decode(bytes, name, size)).image;
}

async function decode(bytes: Bytes, name: string, size?: Size): Promise<Sized> {
	return named(name, async () => {
		const source = await openPicture(bytes, name);
		const [h, w] = source.size;
		return oneLargeAtATime(h * w, async () => {
			const to = size ?? source.size;
			const picture = source
				.sharp()
				.autoOrient()
				.flatten({ background: "#000" });
			return {
				image: await resized(picture, source.size, to),
				size: source.size,
			};
		});
	});
}

async function resized(
	picture: Sharp,
	[h, w]: Size,
	[toH, toW]: Size,
): Promise<Image> {
	const shrinks = toH <= h && toW <= w;
	// without fastShrinkOnLoad: false a JPEG would be shrunk by its own coarse steps first
	if (shrinks && (toH < h || toW < w))
		picture.resize(toW, toH, {
			fit: "fill",
			kernel: "cubic",
			fastShrinkOnLoad: false,
		});
	const { data: pixels, info } = await picture
		.toColourspace("srgb")
		.raw({ depth: "uchar" })
		.toBuffer({ resolveWithObject: true });
	if (info.channels !== 3)
		throw new Error(`it has ${info.channels} channels that are no colours`);
	return uint8(
		[toH, toW, 3],
		shrinks ? plain(pixels) : resample(pixels, [h, w], [toH, toW]),
	);
}

/** A square of a picture, in its pixels. */
export interface Part {
	readonly top: number;
	readonly left: number;
	readonly side: number;
}

/** Parts of one picture, each resized to every one of `sizes`; `choose` is told how large the picture is. */
export async function readParts(
	path: string,
	choose: (size: Size) => readonly Part[],
	sizes: readonly Size[],
): Promise<Image[][]> {
	const { data, shape } = await readImage(path);
	const [height, width] = shape as [number, number, number];
	return Promise.all(
		choose([height, width]).map(({ top, left, side }) =>
			Promise.all(
				sizes.map((size) =>
					resized(
						sharp(data, { raw: { width, height, channels: 3 } }).extract({
							top,
							left,
							width: side,
							height: side,
						}),
						[side, side],
						size,
					),
				),
			),
		),
	);
}

/** A ground-truth mask at its own size with the values of the file (0: good); of a coloured mask the largest channel. */
export async function readMask(path: string): Promise<Tensor<"uint8">> {
	const { data, shape } = await readImage(path);
	const [h = 0, w = 0] = shape;
	const mask = uint8([h, w]);
	for (let i = 0; i < mask.data.length; i++)
		mask.data[i] = Math.max(
			data[3 * i] as number,
			data[3 * i + 1] as number,
			data[3 * i + 2] as number,
		);
	return mask;
}

/** A TIFF of one channel of 32-bit floats, [H, W] as they are: an anomaly map. What holds other pixels is refused, not converted. */
export async function readFloats(
	path: string,
): Promise<{ size: Size; data: Float32Array }> {
	try {
		const { size, sharp: decoder } = await open(await readFile(path), path);
		const { format, channels, depth, bitsPerSample, pages } =
			await decoder().metadata();
		const found = `${format} of ${pages ?? 1} x ${channels} x ${bitsPerSample} bits (${depth})`;
		// half-precision floats count as "float" too, and are read wrongly
		if (found !== "tiff of 1 x 1 x 32 bits (float)")
			throw new Error(`it is ${found}`);
		const pixels = await decoder()
			.toColourspace("b-w")
			.raw({ depth: "float" })
			.toBuffer();
		return { size, data: floatsIn(plain(pixels)) };
	} catch (error) {
		if (error instanceof KeepsightError) throw error;
		throw fail("MAP_UNUSABLE", { path, problem: reasonOf(error) });
	}
}

/** Where they are, if their place allows it: a map may have 400 MB. */
const floatsIn = (bytes: Bytes): Float32Array =>
	bytes.byteOffset % 4 === 0
		? new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
		: new Float32Array(bytes.slice().buffer);

/** [H, W] of the picture as `readImage` gives it (orientation applied), from the header alone. */
export async function imageSize(path: string): Promise<Size> {
	const bytes = await readBytes(path);
	return named(path, async () => (await openPicture(bytes, path)).size);
}

/** What bytes are, from the header alone: [H, W] (orientation applied) and the ending that such files have. */
export async function inspectImage(
	bytes: Bytes,
	name: string,
): Promise<{ readonly size: Size; readonly ending: string }> {
	return named(name, async () => {
		const { size, format } = await openPicture(bytes, name);
		return { size, ending: `.${format}` };
	});
}

/** RGB [H, W, 3] or grey [H, W] as PNG. Level 0 (fast) to 9 (small). The bytes depend on nothing but the pixels and the level. */
export async function encodePng(
	image: Tensor<"uint8">,
	level = 6,
): Promise<Bytes> {
	const [height = 0, width = 0, channels = 1] = image.shape;
	if (channels !== 1 && channels !== 3)
		throw fail("SHAPE_MISMATCH", {
			op: "encodePng",
			shapes: [image.shape],
			hint: "Give [H, W] or [H, W, 3].",
		});
	const picture = sharp(image.data, { raw: { width, height, channels } });
	return plain(
		await (channels === 1 ? picture.toColourspace("b-w") : picture)
			.png({ compressionLevel: level, adaptiveFiltering: false })
			.toBuffer(),
	);
}

/** RGB [H, W, 3] as WebP, a tenth of the PNG: for pages, where the exact pixels do not matter. Quality 0 to 100. */
export async function encodeWebp(
	image: Tensor<"uint8">,
	quality = 80,
): Promise<Bytes> {
	const [height = 0, width = 0] = image.shape;
	return plain(
		await sharp(image.data, { raw: { width, height, channels: 3 } })
			.webp({ quality, effort: 2 })
			.toBuffer(),
	);
}

/** The same as a data: URI. */
export const webpUri = async (image: Tensor<"uint8">): Promise<string> =>
	`data:image/webp;base64,${Buffer.from(await encodeWebp(image)).toString("base64")}`;

interface Source {
	readonly size: Size;
	/** As sharp names it, or "bmp". */
	readonly format: string;
	/** What its channels hold, as sharp names it, where that is neither grey levels nor a colour; else null. */
	readonly numbers: string | null;
	/** A fresh decoding pipeline. */
	sharp(): Sharp;
}

/** What holds numbers instead of grey levels is refused: between 0 and 1, as floats mostly are, they would be black. */
async function openPicture(bytes: Bytes, name: string): Promise<Source> {
	const source = await open(bytes, name);
	if (source.numbers !== null)
		throw fail("IMAGE_UNREADABLE", {
			path: name,
			reason: `its pixels are numbers (${source.numbers}) whose black and white are not known; 8 and 16 bits are read`,
		});
	return source;
}

async function open(bytes: Bytes, name: string): Promise<Source> {
	if (bytes.length === 0)
		throw fail("IMAGE_UNREADABLE", { path: name, reason: "the file is empty" });
	if (isBmp(bytes)) {
		const bitmap = readBmp(bytes);
		const { width, height } = bitmap;
		checkPixels(width, height, name);
		return {
			size: [height, width],
			format: "bmp",
			numbers: null,
			sharp: () =>
				sharp(bitmap.pixels(), { raw: { width, height, channels: 3 } }),
		};
	}
	// "error" refuses truncated data too; "warning" would also refuse a PNG for a strange colour profile
	const options = { failOn: "error", limitInputPixels: false } as const;
	const { format, depth, space, autoOrient } = await sharp(
		bytes,
		options,
	).metadata();
	const known = ["uchar", "ushort"].includes(depth) || space === "lab"; // CIELAB's floats have their scale
	const { width, height } = autoOrient;
	checkPixels(width, height, name);
	return {
		size: [height, width],
		format,
		numbers: known ? null : depth,
		sharp: () => sharp(bytes, options),
	};
}

function checkPixels(width: number, height: number, name: string): void {
	if (width * height > pixelLimit)
		throw fail("IMAGE_TOO_LARGE", {
			path: name,
			width,
			height,
			limit: pixelLimit,
		});
}

/** The file as it is; errors as `readImage` gives them. */
export async function readBytes(path: string): Promise<Bytes> {
	try {
		return await readFile(path);
	} catch (error) {
		throw fail("IMAGE_UNREADABLE", { path, reason: reasonOf(error) });
	}
}

/** Gives every failure of a decoder the path and the remedy. */
async function named<T>(path: string, work: () => Promise<T>): Promise<T> {
	try {
		return await work();
	} catch (error) {
		if (error instanceof KeepsightError) throw error;
		throw fail("IMAGE_UNREADABLE", { path, reason: reasonOf(error) });
	}
}

function reasonOf(error: unknown): string {
	const { code, message } = error as NodeJS.ErrnoException;
	if (code === "ENOENT") return "there is no such file";
	if (code === "EACCES") return "reading it is not permitted";
	if (code === "EISDIR") return "it is a folder";
	if (/unsupported image format/.test(message))
		return "it is not a PNG, JPEG, BMP, TIFF or WebP image";
	// what libvips says of damaged data depends on what its other threads do
	if (
		/^(Unknown error|Input buffer has corrupt header|\w*(vips|Vips|2vips|png|jpeg|tiff|webp)\w*:)/i.test(
			message.trim(),
		)
	)
		return "its data is damaged or cut off";
	return (
		message.split("\n").find((line) => line.trim() !== "") ?? "unknown"
	).trim();
}

let large: Promise<unknown> = Promise.resolve();
function oneLargeAtATime<T>(
	pixels: number,
	work: () => Promise<T>,
): Promise<T> {
	if (pixels <= largePixels) return work();
	const turn = large.then(work);
	large = turn.catch(() => {});
	return turn;
}

/** A Buffer as the plain array it is. */
const plain = (buffer: Buffer): Bytes =>
	new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
