import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { mapFile, readMap, writeMap } from "../../src/data/tiff.ts";
import { float32, type Tensor } from "../../src/engine/tensor.ts";
import { picture, put } from "./fixtures.ts";

const dir = mkdtempSync(path.join(tmpdir(), "keepsight-maps-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const id = "mvtec/bottle/test/crack/000.png";

const bitsOf = ({ shape, data }: Tensor) => ({
	shape: [...shape],
	bits: [...new Uint32Array(data.buffer, data.byteOffset, data.length)],
});

test("lies where MVTec's scripts look: the test image's place, another ending", () => {
	expect(mapFile("maps", id)).toBe(
		path.join("maps", "mvtec", "bottle", "test", "crack", "000.tiff"),
	);
	expect(mapFile("maps", "loco/kit/test/good/part 1.5.JPG")).toBe(
		path.join("maps", "loco", "kit", "test", "good", "part 1.5.tiff"),
	);
});

describe("written and read again", () => {
	test("is the same bit for bit, whatever the floats", async () => {
		const maps = fc
			.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }))
			.chain(([h, w]) =>
				fc
					.array(
						fc.oneof(
							fc.float(),
							fc.constantFrom(0, -0, 1e-45, Infinity, -Infinity, Number.NaN),
						),
						{ minLength: h * w, maxLength: h * w },
					)
					.map((values) => float32([h, w], Float32Array.from(values))),
			);
		await fc.assert(
			fc.asyncProperty(maps, async (map) => {
				writeMap(dir, id, map);
				expect(bitsOf(await readMap(dir, id))).toEqual(bitsOf(map));
			}),
			{ numRuns: 30 },
		);
	});

	test("the same map gives the same bytes, also from a part of a larger array", () => {
		const data = Float32Array.from({ length: 20 }, (_, i) => i / 3);
		const file = writeMap(dir, id, float32([2, 3], data.subarray(5, 11)));
		const bytes = readFileSync(file);
		expect(bytes.length).toBe(136 + 4 * 6);
		writeMap(dir, id, float32([2, 3], data.slice(5, 11)));
		expect(readFileSync(file)).toEqual(bytes);
	});
});

describe("what is no such map is refused with its path", () => {
	const other = "mvtec/bottle/test/crack/001.png";
	const file = mapFile(dir, other);

	test("none at all", async () => {
		await expect(readMap(dir, "mvtec/bottle/test/crack/9.png")).rejects.toThrow(
			`Cannot use the anomaly map ${mapFile(dir, "mvtec/bottle/test/crack/9.png")}: there is no such file.`,
		);
	});

	test("a picture of bytes", async () => {
		await put(dir, path.relative(dir, file), await picture(7));
		await expect(readMap(dir, other)).rejects.toThrow(
			`Cannot use the anomaly map ${file}: it is png of 1 x 3 x 8 bits (uchar). A map is a TIFF of one channel in 32-bit floats`,
		);
	});

	test("one cut off", async () => {
		const whole = readFileSync(writeMap(dir, other, float32([64, 64])));
		writeFileSync(file, whole.subarray(0, 5000));
		await expect(readMap(dir, other)).rejects.toThrow(
			`Cannot use the anomaly map ${file}: `,
		);
	});
});
