/**
 * The one door to onnxruntime. `run` blocks the thread behind its promise, so sessions live in a child process (child.ts).
 * Memory patterns and the arena are off: 1.5 x and 1.1 x less memory at the same speed (docs/experiments.md).
 */
import { createRequire } from "node:module";
import type * as Ort from "onnxruntime-node";
import { providersOf } from "./device.ts";
import { input, type Value } from "./graph.ts";
import { outputName, toOnnx } from "./onnx.ts";
import { integerLinear } from "./ops/index.ts";
import {
	type AnyTensor,
	type Arrays,
	type DType,
	float32,
	int8,
	type Tensor,
	uint8,
} from "./tensor.ts";

export interface SessionOptions {
	/** Threads inside an operator. Always stated: the default starves other processes. */
	readonly threads: number;
	/** Inputs that become constants of the graph, prepacked by the runtime. */
	readonly weights?: Readonly<Record<string, AnyTensor>>;
}

const dtypes: Record<string, DType> = {
	float32: "float32",
	uint8: "uint8",
	int8: "int8",
	int64: "int64",
	int32: "int32",
	float64: "float64",
	float16: "float16",
	bool: "uint8",
};

/** Loaded with the first session: not in threads that only know names of methods, which it would not survive the end of. */
let ort: typeof Ort;

let device = "cpu";

/** Where all sessions of this process compute that are created from now on. */
export function computeOn(name: string): void {
	device = name;
}

export class Session {
	readonly #session: Ort.InferenceSession;
	readonly #inputs: readonly {
		name: string;
		shape: readonly number[];
		dtype: DType;
	}[];
	readonly #outputs: readonly string[];
	/** Wrapped once: making an ort.Tensor a parameter and step costs more than the small ops. */
	readonly #wrapped = new WeakMap<object, Ort.Tensor>();

	private constructor(
		session: Ort.InferenceSession,
		inputs: readonly { name: string; shape: readonly number[]; dtype: DType }[],
		outputs: readonly string[],
	) {
		this.#session = session;
		this.#inputs = inputs;
		this.#outputs = outputs;
	}

	static async create(
		outputs: Readonly<Record<string, Value>>,
		options: SessionOptions,
	): Promise<Session> {
		const model = toOnnx(outputs, options.weights);
		const inInt8 = Object.values(options.weights ?? {}).some(
			({ dtype }) => dtype === "int8",
		);
		const session = await opened(model.bytes, options.threads, inInt8);
		return new Session(session, model.inputs, model.outputs);
	}

	#wrap(tensor: AnyTensor): Ort.Tensor {
		const known = this.#wrapped.get(tensor.data) ?? toOrt(tensor);
		this.#wrapped.set(tensor.data, known);
		return known;
	}

	/**
	 * Runs once. Outputs named in `into` are written to those tensors' memory, which may be that of a feed when every read
	 * of the feed happens before (step.ts makes sure); the others come back as new tensors.
	 */
	async run(
		feeds: Readonly<Record<string, AnyTensor>>,
		into: Readonly<Record<string, AnyTensor>> = {},
	): Promise<Record<string, Tensor>> {
		const wrapped: Record<string, Ort.Tensor> = {};
		for (const { name, shape } of this.#inputs) {
			const tensor = feeds[name];
			if (!tensor)
				throw new Error(
					`Session.run: input "${name}" ${JSON.stringify(shape)} is not fed.`,
				);
			if (
				tensor.shape.length !== shape.length ||
				tensor.shape.some((s, i) => s !== shape[i])
			)
				throw new Error(
					`Session.run: input "${name}" is ${JSON.stringify(tensor.shape)}, the graph wants ${JSON.stringify(shape)}.`,
				);
			wrapped[name] = this.#wrap(tensor);
		}
		const fetches: Record<string, Ort.Tensor | null> = {};
		for (const name of this.#outputs) {
			const target = into[name];
			fetches[outputName(name)] = target ? this.#wrap(target) : null;
		}
		const results = await this.#session.run(wrapped, fetches);
		const out: Record<string, Tensor> = {};
		for (const name of this.#outputs) {
			if (into[name]) continue;
			out[name] = fromOrt(results[outputName(name)] as Ort.Tensor);
		}
		return out;
	}

	async release(): Promise<void> {
		await this.#session.release();
	}
}

/** A session of a model in a file, such as one that was exported. Who opens it has checked that it is the one that is meant. */
export class Model {
	readonly #session: Ort.InferenceSession;

	private constructor(session: Ort.InferenceSession) {
		this.#session = session;
	}

	static async open(bytes: Uint8Array, threads: number): Promise<Model> {
		return new Model(await opened(bytes, threads, true));
	}

	async run(
		feeds: Readonly<Record<string, AnyTensor>>,
	): Promise<Record<string, Tensor>> {
		const results = await this.#session.run(
			Object.fromEntries(
				Object.entries(feeds).map(([name, tensor]) => [name, toOrt(tensor)]),
			),
		);
		return Object.fromEntries(
			Object.entries(results).map(([name, tensor]) => [name, fromOrt(tensor)]),
		);
	}

	async release(): Promise<void> {
		await this.#session.release();
	}
}

/** `inInt8`: there are products of 8-bit numbers with constants. */
async function opened(
	bytes: Uint8Array,
	threads: number,
	inInt8: boolean,
): Promise<Ort.InferenceSession> {
	ort ??= await import("onnxruntime-node");
	const exact = inInt8 && (await saturates());
	return ort.InferenceSession.create(bytes, {
		executionProviders: providersOf(device),
		intraOpNumThreads: threads,
		interOpNumThreads: 1,
		executionMode: "sequential",
		graphOptimizationLevel: "all",
		enableMemPattern: false,
		enableCpuMemArena: false,
		logSeverityLevel: 3,
		extra: {
			session: {
				// idle threads of one session that spin would keep another session from their core (docs/experiments.md)
				intra_op: { allow_spinning: "0" },
				set_denormal_as_zero: "1",
				...(exact && { x64quantprecision: "1" }),
			},
		},
	});
}

const toOrt = ({ dtype, data, shape }: AnyTensor): Ort.Tensor =>
	new ort.Tensor(dtype as "float32", data as Float32Array, shape as number[]);
const fromOrt = ({ type, dims, data }: Ort.Tensor): Tensor => ({
	dtype: (dtypes[type] ?? "float32") as "float32",
	shape: dims,
	data: data as Arrays["float32"],
});

let saturating: Promise<boolean> | null = null;
/**
 * Whether this processor's fast product of uint8 and int8 is wrong for large numbers: those without VNNI add pairs of products in 16
 * bits, which saturate. The runtime then has a slower exact one, for weights that are constants of the graph; on other processors that
 * one would take twice the time for the same numbers.
 */
export function saturates(): Promise<boolean> {
	saturating ??= (async () => {
		const [rows, n, out] = [8, 64, 32] as const;
		const ones = float32([out]);
		ones.data.fill(1);
		const product = await Session.create(
			{
				y: integerLinear(
					input("x", [rows, n], "uint8"),
					input("w", [n, out], "int8"),
					input("ones", [out]),
					null,
					0,
				),
			},
			{ threads: 1 },
		);
		const x = uint8([rows, n]);
		const w = int8([n, out]);
		x.data.fill(255);
		w.data.fill(127);
		const { y } = await product.run({ x, w, ones });
		await product.release();
		return y?.data.some((sum) => sum !== n * 255 * 127) ?? true;
	})();
	return saturating;
}

/** The runtime's version, for run.json. */
export const { version: runtimeVersion } = createRequire(import.meta.url)(
	"onnxruntime-node/package.json",
) as { readonly version: string };
