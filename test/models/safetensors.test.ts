/** The safetensors reader against hostile files, and the writer against the reader and the files of other writers. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { AnyTensor } from "../../src/engine/tensor.ts";
import { KeepsightError } from "../../src/errors.ts";
import {
	readSafetensors,
	readSafetensorsFile,
	type StoredTensor,
	toFloat32,
	toTensor,
	writeSafetensors,
} from "../../src/models/safetensors.ts";

/** A file with this header, as it stands, and so many bytes of data. */
function file(
	header: string | Uint8Array,
	dataBytes = 0,
	claimed?: bigint,
): Uint8Array {
	const json = typeof header === "string" ? Buffer.from(header) : header;
	const out = new Uint8Array(8 + json.length + dataBytes);
	new DataView(out.buffer).setBigUint64(
		0,
		claimed ?? BigInt(json.length),
		true,
	);
	out.set(json, 8);
	return out;
}
const read = (bytes: Uint8Array) => readSafetensors(bytes, "x.safetensors");
const entry = (shape: unknown, offsets: unknown, dtype: unknown = "F32") =>
	JSON.stringify({ dtype, shape, data_offsets: offsets });

describe("hostile files", () => {
	it.each<[string, Uint8Array, RegExp]>([
		[
			"no bytes",
			new Uint8Array(0),
			/0 bytes; the header's length alone takes 8/,
		],
		["7 bytes", new Uint8Array(7), /7 bytes/],
		[
			"a header of 2^63 bytes",
			file("{}", 0, 2n ** 63n),
			/claims 9223372036854775808 bytes; the limit is 100000000/,
		],
		[
			"a header above the limit",
			file("{}", 0, 100_000_001n),
			/the limit is 100000000/,
		],
		[
			"a header longer than the file",
			file("{}", 0, 3n),
			/claims 3 bytes, but the file ends after 10/,
		],
		["an empty header", file(""), /does not start with \{/],
		["a list", file("[]"), /does not start with \{/],
		["a byte order mark", file("\uFEFF{}"), /does not start with \{/],
		[
			"bad UTF-8",
			file(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d])),
			/not UTF-8/,
		],
		["bad JSON", file('{"a":}'), /not valid JSON/],
		["an unfinished string", file('{"a'), /not valid JSON/],
		["text after the object", file("{}x"), /not valid JSON/],
		[
			"100,000 brackets",
			file(`{"a":${"[".repeat(100_000)}`),
			/nested too deeply at offset/,
		],
		[
			"a duplicate tensor",
			file(`{"a":${entry([1], [0, 4])},"a":${entry([1], [0, 4])}}`, 4),
			/the key "a" twice/,
		],
		[
			"a duplicate tensor, escaped",
			file(`{"a":${entry([1], [0, 4])},"\\u0061":${entry([1], [0, 4])}}`, 4),
			/the key "a" twice/,
		],
		[
			"a duplicate dtype",
			file(
				'{"a":{"dtype":"F32","dtype":"U8","shape":[1],"data_offsets":[0,4]}}',
				4,
			),
			/the key "dtype" twice/,
		],
		[
			"a duplicate in metadata",
			file('{"__metadata__":{"k":"1","k" : "2"}}'),
			/the key "k" twice/,
		],
		[
			"__proto__ as tensor",
			file(`{"__proto__":${entry([1], [0, 4])}}`, 4),
			/"__proto__"/,
		],
		[
			"__proto__ in a tensor",
			file(
				'{"a":{"__proto__":{},"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
				4,
			),
			/"__proto__"/,
		],
		[
			"metadata that is no text",
			file('{"__metadata__":{"k":1}}'),
			/"k" is not a string/,
		],
		[
			"metadata that is no object",
			file('{"__metadata__":"k"}'),
			/__metadata__ is not an object/,
		],
		[
			"a tensor that is no object",
			file('{"a":1}'),
			/tensor "a" is not an object/,
		],
		[
			"an unknown dtype",
			file(`{"a":${entry([1], [0, 1], "F8_E4M3")}}`, 1),
			/dtype "F8_E4M3"; known are F32/,
		],
		[
			"a dtype of the prototype",
			file(`{"a":${entry([1], [0, 1], "constructor")}}`, 1),
			/dtype "constructor"/,
		],
		[
			"no dtype",
			file('{"a":{"shape":[1],"data_offsets":[0,4]}}', 4),
			/dtype none/,
		],
		[
			"a negative side",
			file(`{"a":${entry([-1], [0, 4])}}`, 4),
			/shape \[-1\]/,
		],
		[
			"a fractional side",
			file(`{"a":${entry([1.5], [0, 6])}}`, 6),
			/shape \[1.5\]/,
		],
		[
			"a side of text",
			file(`{"a":${entry(["1"], [0, 4])}}`, 4),
			/shape \["1"\]/,
		],
		[
			"a side of 2^53",
			file(`{"a":${entry([2 ** 53], [0, 0])}}`),
			/every side must be/,
		],
		[
			"a shape that is no list",
			file(`{"a":${entry(4, [0, 4])}}`, 4),
			/shape 4/,
		],
		[
			"a product that overflows",
			file(`{"a":${entry([2 ** 32, 2 ** 32], [0, 0])}}`),
			/more than 2\^53 bytes/,
		],
		[
			"a product that overflows u64 to 0",
			file(`{"a":${entry([2 ** 31, 2 ** 31, 4], [0, 0])}}`),
			/more than 2\^53 bytes/,
		],
		[
			"elements that fit and bytes that do not",
			file(`{"a":${entry([2 ** 52], [0, 0])}}`),
			/more than 2\^53 bytes/,
		],
		[
			"an overflow times 0",
			file(`{"a":${entry([2 ** 40, 2 ** 40, 0], [0, 0])}}`),
			/more than 2\^53 bytes/,
		],
		[
			"a huge honest-looking claim",
			file(`{"a":${entry([2 ** 40], [0, 2 ** 42])}}`, 4),
			/outside the 4 bytes/,
		],
		[
			"negative offsets",
			file(`{"a":${entry([1], [-4, 0])}}`, 4),
			/data_offsets \[-4,0\]/,
		],
		[
			"three offsets",
			file(`{"a":${entry([1], [0, 4, 4])}}`, 4),
			/two whole numbers/,
		],
		[
			"offsets the wrong way round",
			file(`{"a":${entry([1], [4, 0])}}`, 4),
			/takes 4 bytes/,
		],
		[
			"offsets that do not match the shape",
			file(`{"a":${entry([2], [0, 4])}}`, 4),
			/F32 \[2\] takes 8 bytes/,
		],
		[
			"a tensor beyond the file",
			file(`{"a":${entry([2], [0, 8])}}`, 4),
			/0\.\.8, outside the 4 bytes/,
		],
		[
			"overlapping tensors",
			file(`{"a":${entry([2], [0, 8])},"b":${entry([2], [4, 12])}}`, 12),
			/"b" starts at 4 and overlaps tensor "a", which ends at 8/,
		],
		[
			"the same bytes twice",
			file(`{"a":${entry([1], [0, 4])},"b":${entry([1], [0, 4])}}`, 4),
			/overlaps/,
		],
		[
			"a hole",
			file(`{"a":${entry([1], [0, 4])},"b":${entry([1], [8, 12])}}`, 12),
			/a hole of 4 bytes at 4, between tensor "a" and tensor "b"/,
		],
		[
			"a hole before the first",
			file(`{"a":${entry([1], [4, 8])}}`, 8),
			/a hole of 4 bytes at 0, between the header/,
		],
		[
			"trailing bytes",
			file(`{"a":${entry([1], [0, 4])}}`, 5),
			/1 bytes follow the last tensor, which ends at 4/,
		],
		["data without tensors", file("{}", 3), /3 bytes follow/],
	])("rejects %s", (_, bytes, wording) => {
		expect(() => read(bytes)).toThrow(KeepsightError);
		expect(() => read(bytes)).toThrow(wording);
		expect(() => read(bytes)).toThrow(
			/^x\.safetensors is not a valid safetensors file: .*Copy or download it again/s,
		);
	});

	it("keeps errors short when names are long", () => {
		expect(() => read(file(`{"${"a".repeat(1_000_000)}":1}`))).toThrow(
			/^.{0,400}$/s,
		);
	});

	it("reads or rejects any bytes, and never anything else", () => {
		const valid = writeSafetensors(
			{
				a: { dtype: "float32", shape: [2], data: new Float32Array(2) },
				b: { dtype: "uint8", shape: [3], data: new Uint8Array(3) },
			},
			{ k: "v" },
		);
		const flips = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), {
			minLength: 1,
			maxLength: 4,
		});
		const mutated = fc
			.tuple(flips, fc.nat(valid.length))
			.map(([changes, length]) => {
				const bytes = valid.slice(0, length % 3 ? valid.length : length);
				for (const [at, value] of changes)
					if (at < bytes.length) bytes[at] = value;
				return bytes;
			});
		fc.assert(
			fc.property(
				fc.oneof(
					mutated,
					fc.string().map((s) => file(s)),
					fc.uint8Array(),
				),
				(bytes) => {
					try {
						read(bytes);
					} catch (error) {
						if (!(error instanceof KeepsightError)) throw error;
					}
				},
			),
			{ numRuns: 2000, seed: 1 },
		);
	});

	it("takes what is unusual and valid", () => {
		expect(read(file("{}")).tensors).toEqual({});
		expect(read(file("{}      ")).metadata).toEqual({});
		const { tensors } = read(
			file(
				`{"constructor":${entry([0, 5], [0, 0])},"s":${entry([], [0, 4])},"t":${entry([2], [4, 6], "BOOL")}}`,
				6,
			),
		);
		expect(tensors.constructor).toMatchObject({
			dtype: "F32",
			shape: [0, 5],
			data: new Float32Array(0),
		});
		expect(tensors.s?.data).toEqual(new Float32Array(1));
		expect(tensors.toString).toBeUndefined();
		expect(toTensor(tensors.t as StoredTensor).dtype).toBe("uint8");
	});

	it("names a file that is missing", () => {
		expect(() => readSafetensorsFile("/nowhere/w.safetensors")).toThrow(
			/Could not read \/nowhere\/w\.safetensors: there is no such file/,
		);
	});
});

describe("writer", () => {
	it("gives the same bytes for the same tensors, header padded, data aligned", () => {
		const a: AnyTensor = {
			dtype: "uint8",
			shape: [3],
			data: new Uint8Array([1, 2, 3]),
		};
		const b: AnyTensor = {
			dtype: "float64",
			shape: [],
			data: new Float64Array([Math.PI]),
		};
		const c: AnyTensor = {
			dtype: "float32",
			shape: [1],
			data: new Float32Array([0.5]),
		};
		const bytes = writeSafetensors({ a, b, c, "10": c }, { z: "1", y: "2" });
		expect(writeSafetensors({ "10": c, c, b, a }, { y: "2", z: "1" })).toEqual(
			bytes,
		);
		const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
		expect(length % 8).toBe(0);
		expect(
			Buffer.from(bytes.subarray(8, 8 + length))
				.toString()
				.trimEnd(),
		).toBe(
			'{"__metadata__":{"y":"2","z":"1"},"b":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"10":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"c":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},"a":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}}',
		);
	});

	it("refuses a shape that does not fit its data, and reserved names", () => {
		const data = new Float32Array(3);
		expect(() =>
			writeSafetensors({ a: { dtype: "float32", shape: [2], data } }),
		).toThrow(/writeSafetensors a.*\[2\] x \[3\]/);
		expect(() =>
			writeSafetensors({
				__metadata__: { dtype: "float32", shape: [3], data },
			}),
		).toThrow(/cannot be named/);
	});

	it("round-trips any tensors bit for bit, NaN payloads included, at any alignment", () => {
		const side = fc.array(fc.nat(4), { maxLength: 3 });
		const make = <T extends AnyTensor>(
			dtype: T["dtype"],
			type: { new (buffer: ArrayBuffer): T["data"]; BYTES_PER_ELEMENT: number },
		) =>
			side.chain((shape) => {
				const n = shape.reduce((x, y) => x * y, 1) * type.BYTES_PER_ELEMENT;
				return fc.uint8Array({ minLength: n, maxLength: n }).map(
					(raw) =>
						({
							dtype,
							shape,
							data: new type(new Uint8Array(raw).buffer as ArrayBuffer),
						}) as AnyTensor,
				);
			});
		const tensor = fc.oneof(
			make("float32", Float32Array),
			make("float64", Float64Array),
			make("float16", Uint16Array),
			make("int64", BigInt64Array),
			make("int32", Int32Array),
			make("uint8", Uint8Array),
		);
		const name = fc
			.string({ unit: "grapheme" })
			.filter((s) => s !== "__proto__" && s !== "__metadata__");
		const raw = (t: { data: ArrayBufferView }) =>
			Buffer.from(t.data.buffer, t.data.byteOffset, t.data.byteLength).toString(
				"hex",
			);
		fc.assert(
			fc.property(
				fc.dictionary(name, tensor, { maxKeys: 6 }),
				fc.dictionary(name, fc.string({ unit: "grapheme" })),
				fc.nat(8),
				(tensors, metadata, shift) => {
					const bytes = writeSafetensors(tensors, metadata);
					const moved = Buffer.alloc(bytes.length + shift).subarray(shift); // a Buffer, as readFile gives, off any alignment
					moved.set(bytes);
					const back = read(moved);
					expect({ ...back.metadata }).toEqual({ ...metadata });
					expect(Object.keys(back.tensors).sort()).toEqual(
						Object.keys(tensors).sort(),
					);
					for (const [key, t] of Object.entries(tensors)) {
						const got = toTensor(back.tensors[key] as StoredTensor);
						expect([got.dtype, got.shape, raw(got)]).toEqual([
							t.dtype,
							t.shape,
							raw(t),
						]);
					}
				},
			),
			{ seed: 2 },
		);
	});
});

describe("toFloat32", () => {
	it.each<[string, StoredTensor, number[]]>([
		[
			"BF16",
			{
				dtype: "BF16",
				shape: [4],
				data: new Uint16Array([0x3f80, 0xc000, 0x0001, 0x7f80]),
			},
			[1, -2, 2 ** -133, Number.POSITIVE_INFINITY],
		],
		[
			"F16",
			{
				dtype: "F16",
				shape: [7],
				data: new Uint16Array([
					0x3c00, 0xc000, 0x0001, 0x7bff, 0xfc00, 0x7e00, 0x8000,
				]),
			},
			[1, -2, 2 ** -24, 65504, Number.NEGATIVE_INFINITY, Number.NaN, -0],
		],
		[
			"F64",
			{ dtype: "F64", shape: [1], data: new Float64Array([0.1]) },
			[Math.fround(0.1)],
		],
		["F32", { dtype: "F32", shape: [1], data: new Float32Array([0.5]) }, [0.5]],
	])("widens %s exactly", (_, tensor, expected) => {
		expect(toFloat32(tensor)).toEqual({
			dtype: "float32",
			shape: tensor.shape,
			data: new Float32Array(expected),
		});
	});

	it("refuses whole numbers by name", () => {
		expect(() =>
			toFloat32({ dtype: "U8", shape: [1], data: new Uint8Array(1) }, "labels"),
		).toThrow(/^labels .*U8/);
	});
});

const shared = join(import.meta.dirname, "../../../shared");
const foreign = existsSync(shared)
	? ["golden", "golden/spro", "models/dinov2-small"]
			.map((d) => join(shared, d))
			.filter(existsSync)
			.flatMap((d) =>
				readdirSync(d)
					.filter((n) => n.endsWith(".safetensors"))
					.map((n) => join(d, n)),
			)
	: [];

describe.skipIf(foreign.length === 0)(
	"files of other writers (skipped: ../shared is absent)",
	() => {
		it("are read, and written again with the same content", () => {
			for (const path of foreign) {
				const { tensors } = readSafetensorsFile(path);
				expect(Object.keys(tensors).length, path).toBeGreaterThan(0);
				const again = read(
					writeSafetensors(
						Object.fromEntries(
							Object.entries(tensors).map(([k, t]) => [k, toTensor(t)]),
						),
					),
				);
				for (const [key, t] of Object.entries(tensors)) {
					const b = again.tensors[key] as StoredTensor;
					expect(b.shape, `${path} ${key}`).toEqual(t.shape);
					expect(
						Buffer.compare(rawBytes(b), rawBytes(t)),
						`${path} ${key}`,
					).toBe(0);
				}
			}
		});

		it("have the shapes that Python wrote", () => {
			const golden = foreign.find((f) =>
				f.endsWith("dino.forward.safetensors"),
			);
			if (!golden) return;
			const { tensors } = readSafetensorsFile(golden);
			const header = JSON.parse(
				readFileSync(golden)
					.subarray(8, 8 + readFileSync(golden).readUInt32LE(0))
					.toString(),
			) as Record<string, { shape: number[] }>;
			for (const [key, { shape }] of Object.entries(header))
				expect(tensors[key]?.shape).toEqual(shape);
		});
	},
);

const rawBytes = (t: StoredTensor) =>
	Buffer.from(t.data.buffer, t.data.byteOffset, t.data.byteLength);
