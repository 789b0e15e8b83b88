/**
 * Windows bitmaps, uncompressed: what many inspection cameras write, and what the shipped libvips cannot read.
 * Depths 1, 4, 8 (palette), 24 and 32 bits, rows bottom-up or top-down. Run-length coded files and 16-bit ones are refused by name.
 * Layout: BITMAPFILEHEADER (14 bytes), BITMAPINFOHEADER (40 or more), palette, rows padded to 4 bytes, pixels as BGR.
 */

export interface Bitmap {
	readonly width: number;
	readonly height: number;
	/** RGB, row-major. */
	readonly pixels: () => Uint8Array; // [H, W, 3]
}

export const isBmp = (bytes: Uint8Array): boolean =>
	bytes[0] === 0x42 && bytes[1] === 0x4d;

/** Reads the header; `pixels()` decodes. Throws a plain Error with the reason. */
export function readBmp(bytes: Uint8Array): Bitmap {
	if (bytes.length < 54) throw new Error("the BMP header is cut off");
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const start = view.getUint32(10, true);
	const headerBytes = view.getUint32(14, true);
	const width = view.getInt32(18, true);
	const signedHeight = view.getInt32(22, true);
	const depth = view.getUint16(28, true);
	const compression = view.getUint32(30, true);
	if (headerBytes < 40)
		throw new Error(`BMP with an OS/2 header (${headerBytes} bytes)`);
	if (width <= 0 || signedHeight === 0)
		throw new Error(`BMP of size ${width} x ${signedHeight}`);
	// 3 = BI_BITFIELDS; with 32 bits practically always the usual BGRA masks, which are checked here.
	const usualMasks =
		compression === 3 &&
		depth === 32 &&
		bytes.length >= 66 &&
		[0xff0000, 0xff00, 0xff].every(
			(mask, i) => view.getUint32(54 + 4 * i, true) === mask,
		);
	if (compression !== 0 && !usualMasks)
		throw new Error(`compressed BMP (method ${compression})`);
	if (![1, 4, 8, 24, 32].includes(depth))
		throw new Error(`BMP of ${depth} bits a pixel`);
	const height = Math.abs(signedHeight);
	const stride = Math.ceil((width * depth) / 32) * 4;
	if (start + stride * height > bytes.length)
		throw new Error("the BMP file is cut off");
	const colours = view.getUint32(46, true) || 2 ** Math.min(depth, 8);
	const palette = 14 + headerBytes;
	if (depth <= 8 && palette + 4 * Math.min(colours, 2 ** depth) > bytes.length)
		throw new Error("the palette of the BMP file is cut off");
	if (start < palette) throw new Error("the BMP pixels lie within its header");

	const pixels = (): Uint8Array => {
		const out = new Uint8Array(width * height * 3);
		for (let y = 0; y < height; y++) {
			const row = start + stride * (signedHeight > 0 ? height - 1 - y : y);
			for (let x = 0; x < width; x++) {
				let at = row + (x * depth) / 8;
				if (depth <= 8) {
					const bit = x * depth;
					const index =
						((bytes[row + (bit >> 3)] as number) >> (8 - depth - (bit & 7))) &
						((1 << depth) - 1);
					if (index >= colours)
						throw new Error("a BMP pixel lies outside its palette");
					at = palette + 4 * index;
				}
				const to = (y * width + x) * 3;
				out[to] = bytes[at + 2] as number;
				out[to + 1] = bytes[at + 1] as number;
				out[to + 2] = bytes[at] as number;
			}
		}
		return out;
	};
	return { width, height, pixels };
}
