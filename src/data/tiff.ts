/**
 * Anomaly maps as files: TIFF with one channel of 32-bit floats, laid out as MVTec's evaluation scripts read maps,
 * <dir>/<dataset>/<category>/test/<type>/<stem>.tiff. Written plainly (TIFF 6.0, section 3 with SampleFormat of section 19: little-endian,
 * uncompressed, one strip), since libvips would round the floats to bytes and every reader knows this form.
 */
import path from "node:path";
import { float32, type Tensor } from "../engine/tensor.ts";
import { writeAtomic } from "../storage.ts";
import { readFloats } from "./image.ts";

/** The map's file for a test image: its id with another ending. `data check` finds images that differ in their ending alone. */
export const mapFile = (dir: string, sampleId: string): string =>
	path.join(
		dir,
		`${sampleId.slice(0, sampleId.length - path.extname(sampleId).length)}.tiff`,
	);

/** Writes a map [H, W]; returns its path. */
export function writeMap(dir: string, sampleId: string, map: Tensor): string {
	const file = mapFile(dir, sampleId);
	writeAtomic(file, encodeTiff(map));
	return file;
}

/** The map [H, W] of a test image, bit for bit; an error that names the file where there is none or it is of another form. */
export async function readMap(dir: string, sampleId: string): Promise<Tensor> {
	const { size, data } = await readFloats(mapFile(dir, sampleId));
	return float32(size, data);
}

const SHORT = 3;
const LONG = 4;

/** [H, W] as TIFF. The bytes depend on nothing but the map. */
export function encodeTiff({ shape, data }: Tensor): Uint8Array {
	const [height = 0, width = 0] = shape;
	const start = 136; // of the pixels: after the header (8), the directory of 10 entries (126), and 2 bytes to a multiple of 8
	const bytes = new Uint8Array(start + data.byteLength);
	const view = new DataView(bytes.buffer);
	bytes.set([0x49, 0x49, 42, 0, 8, 0, 0, 0]); // "II", 42, the directory's place
	const entries = [
		[256, LONG, width],
		[257, LONG, height],
		[258, SHORT, 32], // bits a sample
		[259, SHORT, 1], // not compressed
		[262, SHORT, 1], // 0 is black
		[273, LONG, start],
		[277, SHORT, 1], // samples a pixel
		[278, LONG, height], // rows a strip
		[279, LONG, data.byteLength],
		[339, SHORT, 3], // floating point
	] as const;
	view.setUint16(8, entries.length, true);
	entries.forEach(([tag, type, value], i) => {
		const at = 10 + 12 * i;
		view.setUint16(at, tag, true);
		view.setUint16(at + 2, type, true);
		view.setUint32(at + 4, 1, true);
		view.setUint32(at + 8, value, true); // a SHORT lies in the first two bytes
	});
	new Float32Array(bytes.buffer, start).set(data);
	return bytes;
}
