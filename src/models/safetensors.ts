/**
 * safetensors: a strict reader and a deterministic writer. https://github.com/huggingface/safetensors#format
 *   u64 length of the header | JSON header { name: { dtype, shape, data_offsets: [begin, end] } } | data, no holes
 * Files come from anywhere, so nothing in the header is believed before it was held against the file's size; nothing is
 * allocated from it. Stricter than JSON.parse, which keeps the last of two equal keys: two readers could see two files.
 * Little-endian machines only (all that Node and onnxruntime run on here).
 */
import type { AnyTensor, DType, Shape, Tensor } from "../engine/tensor.ts";
import { halfToNumber } from "../engine/half.ts";
import { fail } from "../errors.ts";
import { isCount, isObject, readBytes } from "../storage.ts";

/** How each dtype lies in memory. Half precisions are raw bits until `toFloat32`. */
const arrays = {
	F32: Float32Array,
	F16: Uint16Array,
	BF16: Uint16Array,
	F64: Float64Array,
	I64: BigInt64Array,
	I32: Int32Array,
	I8: Int8Array,
	U8: Uint8Array,
	BOOL: Uint8Array,
} as const;
export type StoredDType = keyof typeof arrays;
export type StoredTensor = {
	[T in StoredDType]: {
		readonly dtype: T;
		readonly shape: Shape;
		readonly data: InstanceType<(typeof arrays)[T]>;
	};
}[StoredDType];

export interface Safetensors {
	/** Without prototype: a tensor named "constructor" is a tensor, and absent ones are undefined. */
	readonly tensors: Record<string, StoredTensor>;
	readonly metadata: Record<string, string>;
}

const headerLimit = 100_000_000; // bytes; the reference implementation's cap
const metadataKey = "__metadata__";

/** Reads a whole file; one clear error if it is missing, unreadable or not valid. */
export const readSafetensorsFile = (path: string): Safetensors =>
	readSafetensors(readBytes(path), path);

/** `name` is what errors call the file. Tensors are views of `bytes` where their alignment allows it. */
export function readSafetensors(bytes: Uint8Array, name: string): Safetensors {
	const invalid = (problem: string) =>
		fail("SAFETENSORS_INVALID", { file: name, problem });
	if (bytes.byteLength < 8)
		throw invalid(
			`${bytes.byteLength} bytes; the header's length alone takes 8`,
		);
	const claimed = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(
		0,
		true,
	);
	if (claimed > BigInt(headerLimit))
		throw invalid(
			`its header claims ${claimed} bytes; the limit is ${headerLimit}`,
		);
	const dataStart = 8 + Number(claimed);
	if (dataStart > bytes.byteLength)
		throw invalid(
			`its header claims ${claimed} bytes, but the file ends after ${bytes.byteLength}`,
		);
	const header = parseHeader(bytes.subarray(8, dataStart), invalid);
	const dataBytes = bytes.byteLength - dataStart;

	const metadata: Record<string, string> = Object.create(null);
	const found: {
		key: string;
		dtype: StoredDType;
		shape: number[];
		begin: number;
		end: number;
	}[] = [];
	for (const [key, entry] of Object.entries(header)) {
		const where = `tensor ${show(key)}`;
		if (!isObject(entry))
			throw invalid(
				`${key === metadataKey ? metadataKey : where} is not an object`,
			);
		if (key === metadataKey) {
			for (const [k, v] of Object.entries(entry)) {
				if (typeof v !== "string")
					throw invalid(`${metadataKey} ${show(k)} is not a string`);
				metadata[k] = v;
			}
			continue;
		}
		const { dtype, shape, data_offsets: offsets } = entry;
		if (typeof dtype !== "string" || !Object.hasOwn(arrays, dtype)) {
			throw invalid(
				`${where} has dtype ${show(dtype)}; known are ${Object.keys(arrays).join(", ")}`,
			);
		}
		if (!Array.isArray(shape) || !shape.every(isCount))
			throw invalid(
				`${where} has shape ${show(shape)}; every side must be a whole number from 0 to 2^53 - 1`,
			);
		if (
			!Array.isArray(offsets) ||
			offsets.length !== 2 ||
			!offsets.every(isCount)
		) {
			throw invalid(
				`${where} has data_offsets ${show(offsets)}; they must be two whole numbers from 0 to 2^53 - 1`,
			);
		}
		const [begin, end] = offsets as [number, number];
		const known = dtype as StoredDType;
		const size = checkedProduct([...shape, arrays[known].BYTES_PER_ELEMENT]);
		if (size === null)
			throw invalid(`${where} has shape ${show(shape)}: more than 2^53 bytes`);
		if (end > dataBytes)
			throw invalid(
				`${where} lies at ${begin}..${end}, outside the ${dataBytes} bytes of data`,
			);
		if (end - begin !== size)
			throw invalid(
				`${where} has data_offsets ${begin}..${end}, but ${known} ${show(shape)} takes ${size} bytes`,
			);
		found.push({ key, dtype: known, shape, begin, end });
	}

	// In file order every tensor starts where the one before ended, and the last ends with the file.
	let position = 0;
	let previous = "the header";
	const inFileOrder = [...found].sort(
		(a, b) => a.begin - b.begin || a.end - b.end,
	);
	for (const { key, begin, end } of inFileOrder) {
		const where = `tensor ${show(key)}`;
		if (begin < position)
			throw invalid(
				`${where} starts at ${begin} and overlaps ${previous}, which ends at ${position}`,
			);
		if (begin > position)
			throw invalid(
				`there is a hole of ${begin - position} bytes at ${position}, between ${previous} and ${where}`,
			);
		position = end;
		previous = where;
	}
	if (position !== dataBytes)
		throw invalid(
			`${dataBytes - position} bytes follow the last tensor, which ends at ${position}`,
		);

	const tensors: Record<string, StoredTensor> = Object.create(null);
	for (const { key, dtype, shape, begin, end } of found) {
		tensors[key] = {
			dtype,
			shape,
			data: view(dtype, bytes.subarray(dataStart + begin, dataStart + end)),
		} as StoredTensor;
	}
	return { tensors, metadata };
}

function parseHeader(
	bytes: Uint8Array,
	invalid: (problem: string) => Error,
): Record<string, unknown> {
	let text: string;
	try {
		text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
			bytes,
		);
	} catch {
		throw invalid("its header is not UTF-8");
	}
	if (!text.startsWith("{")) throw invalid("its header does not start with {");
	const problem = keyProblem(text); // before parsing: bounds the depth, too
	if (problem) throw invalid(problem);
	try {
		return JSON.parse(text) as Record<string, unknown>; // starts with {, so it is an object
	} catch {
		throw invalid("its header is not valid JSON");
	}
}

/** What JSON.parse would let pass: equal keys in one object, "__proto__", and nesting no header needs. Syntax is its business. */
function keyProblem(text: string): string | null {
	const open: (Set<string> | null)[] = []; // keys of each object we are in; null for a list
	for (let i = 0; i < text.length; i++) {
		const c = text[i];
		if (c === "{" || c === "[") {
			if (open.length === 3)
				return `its header is nested too deeply at offset ${8 + i}`;
			open.push(c === "{" ? new Set() : null);
		} else if (c === "}" || c === "]") {
			open.pop();
		} else if (c === '"') {
			const start = i++;
			while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
			let next = i + 1;
			while (" \t\n\r".includes(text[next] ?? "x")) next++;
			const keys = open.at(-1);
			if (text[next] !== ":" || !keys) continue;
			let key: string;
			try {
				key = JSON.parse(text.slice(start, i + 1)) as string; // "a" and "\u0061" are the same key
			} catch {
				return null; // not JSON at all: the parser says so
			}
			if (key === "__proto__") return 'its header has the key "__proto__"';
			if (keys.has(key)) return `its header has the key ${show(key)} twice`;
			keys.add(key);
		}
	}
	return null;
}

/** A value of the header for an error: hostile ones can be long. */
function show(value: unknown): string {
	const text = JSON.stringify(value) ?? "none";
	return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}

/** null above 2^53 - 1. A side of 0 does not excuse an overflow before it. */
function checkedProduct(factors: readonly number[]): number | null {
	let product = 1;
	for (const f of factors) {
		product *= f;
		if (!Number.isSafeInteger(product)) return null;
	}
	return product;
}

function view(dtype: StoredDType, bytes: Uint8Array): StoredTensor["data"] {
	const type = arrays[dtype];
	const aligned =
		bytes.byteOffset % type.BYTES_PER_ELEMENT === 0
			? bytes
			: new Uint8Array(bytes); // a copy (Buffer's slice would not be one)
	return new type(
		aligned.buffer as ArrayBuffer,
		aligned.byteOffset,
		aligned.byteLength / type.BYTES_PER_ELEMENT,
	);
}

// ---- conversions ----

/** Any float as float32: F16 and BF16 exactly, F64 rounded to nearest. `name` is what the error calls it. */
export function toFloat32(tensor: StoredTensor, name = "tensor"): Tensor {
	const { dtype, shape, data } = tensor;
	if (dtype === "F32") return { dtype: "float32", shape, data };
	if (dtype === "F64")
		return { dtype: "float32", shape, data: Float32Array.from(data) };
	if (dtype === "F16")
		return {
			dtype: "float32",
			shape,
			data: Float32Array.from(data, halfToNumber),
		};
	if (dtype === "BF16") {
		const bits = new Uint32Array(data.length);
		for (let i = 0; i < data.length; i++) bits[i] = (data[i] as number) << 16; // bfloat16 is the upper half of float32
		return { dtype: "float32", shape, data: new Float32Array(bits.buffer) };
	}
	throw fail("SAFETENSORS_INVALID", {
		file: name,
		problem: `its dtype is ${dtype}, where floating-point numbers are needed`,
	});
}

/** As the engine's tensor of the same precision; BF16, which the engine lacks, as float32. */
export function toTensor(tensor: StoredTensor): AnyTensor {
	switch (tensor.dtype) {
		case "F32":
		case "BF16":
			return toFloat32(tensor);
		case "F64":
			return { dtype: "float64", shape: tensor.shape, data: tensor.data };
		case "F16":
			return { dtype: "float16", shape: tensor.shape, data: tensor.data };
		case "I64":
			return { dtype: "int64", shape: tensor.shape, data: tensor.data };
		case "I32":
			return { dtype: "int32", shape: tensor.shape, data: tensor.data };
		case "I8":
			return { dtype: "int8", shape: tensor.shape, data: tensor.data };
		case "U8":
		case "BOOL":
			return { dtype: "uint8", shape: tensor.shape, data: tensor.data };
	}
}

// ---- writing ----

const labels: Record<DType, StoredDType> = {
	float32: "F32",
	float64: "F64",
	float16: "F16",
	int64: "I64",
	int32: "I32",
	int8: "I8",
	uint8: "U8",
};

/**
 * The same tensors give the same bytes. As in the reference implementation, tensors lie by element size (largest first),
 * then by name, and the header is padded with spaces to 8 bytes: so all are aligned although no holes are allowed.
 */
export function writeSafetensors(
	tensors: Readonly<Record<string, AnyTensor>>,
	metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
	const byName = <T>([a]: readonly [string, T], [b]: readonly [string, T]) =>
		a < b ? -1 : 1;
	const entries = Object.entries(tensors).sort(
		(a, b) =>
			b[1].data.BYTES_PER_ELEMENT - a[1].data.BYTES_PER_ELEMENT || byName(a, b),
	);
	const header: [string, unknown][] = [];
	if (Object.keys(metadata).length > 0)
		header.push([
			metadataKey,
			Object.fromEntries(Object.entries(metadata).sort(byName)),
		]);
	let dataBytes = 0;
	for (const [name, { dtype, shape, data }] of entries) {
		if (name === metadataKey || name === "__proto__")
			throw new Error(`writeSafetensors: a tensor cannot be named ${name}`);
		if (!shape.every(isCount) || checkedProduct(shape) !== data.length)
			throw fail("SHAPE_MISMATCH", {
				op: `writeSafetensors ${name}`,
				shapes: [shape, [data.length]],
				hint: "The shape must name as many elements as the data holds.",
			});
		header.push([
			name,
			{
				dtype: labels[dtype],
				shape,
				data_offsets: [dataBytes, dataBytes + data.byteLength],
			},
		]);
		dataBytes += data.byteLength;
	}
	// JSON.stringify of an object would move integer-like names ("0") to the front; written out, the order is ours
	const json = Buffer.from(
		`{${header.map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`).join(",")}}`,
	);
	const headerBytes = Math.ceil(json.byteLength / 8) * 8;
	if (headerBytes > headerLimit)
		throw new Error(
			`writeSafetensors: the header would take ${headerBytes} bytes; the limit is ${headerLimit}`,
		);

	const out = new Uint8Array(8 + headerBytes + dataBytes);
	new DataView(out.buffer).setBigUint64(0, BigInt(headerBytes), true);
	out.fill(0x20, 8, 8 + headerBytes);
	out.set(json, 8);
	let position = 8 + headerBytes;
	for (const [, { data }] of entries) {
		out.set(
			new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
			position,
		);
		position += data.byteLength;
	}
	return out;
}
