/** A stored density that was damaged is refused with the tensor and what is wrong with it. */
import { describe, expect, it } from "vitest";
import {
	type AnyTensor,
	float32,
	float64,
	uint8,
} from "../../src/engine/tensor.ts";
import { dne } from "../../src/memory/dne.ts";
import { Random } from "../../src/random.ts";
import { entry, features, part } from "./synthetic.ts";

const d = 12;
const create = () =>
	dne.create(dne.options.parse({ form: "paper" }), {
		embedDim: d,
		threads: 1,
		grid: [1, 1],
	});
const memory = create();
const all = features("a", "good", 30, d);
await memory.add(
	entry("a", 20, { learnt: part(all, 0, 20), heldOut: part(all, 20, 30) }),
	new Random(1),
);
const good: Record<string, AnyTensor> = memory.tensors("a");

const int32 = (...values: number[]): AnyTensor => ({
	dtype: "int32",
	shape: [values.length],
	data: Int32Array.from(values),
});
const changed = (name: string, change: (data: number[]) => number[]) => {
	const { data } = good[name] as AnyTensor;
	const values = change([...data].map(Number));
	return data instanceof Float32Array
		? float32([values.length], Float32Array.from(values))
		: data instanceof Uint8Array
			? uint8([values.length], Uint8Array.from(values))
			: float64([values.length], Float64Array.from(values));
};

describe("a stored density", () => {
	it("is restored whole", () => {
		const restored = create();
		restored.restore("a", good);
		expect(restored.tensors("a")).toEqual(good);
	});

	it.each<[string, AnyTensor | null, string]>([
		["n", int32(0), "is 0"],
		["n", int32(), "is empty"],
		["n", float32([1]), "is float32 instead of int32"],
		["mean", null, "is missing"],
		[
			"mean",
			changed("mean", (data) => data.slice(1)),
			`has ${d - 1} values instead of ${d}`,
		],
		[
			"covariance",
			changed("covariance", ([, ...data]) => [Number.NaN, ...data]),
			"holds a value that is not finite",
		],
		[
			"newest.learnt",
			changed("newest.learnt", (data) => data.slice(1)),
			`is not a finite [n, ${d}]`,
		],
		[
			"newest.heldOut",
			changed("newest.heldOut", ([, ...data]) => [
				Number.POSITIVE_INFINITY,
				...data,
			]),
			`is not a finite [n, ${d}]`,
		],
		[
			"newest.trained",
			changed("newest.trained", (data) => data.slice(2)),
			"has 18 values instead of 20",
		],
	])("with %s as %j: %s", (name, tensor, problem) => {
		const { [name]: _, ...others } = good;
		expect(() =>
			create().restore("a", tensor ? { ...others, [name]: tensor } : others),
		).toThrow(expect.objectContaining({ code: "MEMORY_DAMAGED" }));
		expect(() =>
			create().restore("a", tensor ? { ...others, [name]: tensor } : others),
		).toThrow(problem);
	});
});
