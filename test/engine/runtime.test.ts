/** Sessions: graphs run for each of many items, models opened from bytes, what is fed wrongly, and where they compute. */
import { afterEach, describe, expect, it } from "vitest";
import {
	deviceOf,
	devicePattern,
	kindsHere,
	providersOf,
} from "../../src/engine/device.ts";
import { input } from "../../src/engine/graph.ts";
import { toOnnxEach } from "../../src/engine/onnx.ts";
import { each } from "../../src/engine/ops/each.ts";
import { add, linear, mul, sum } from "../../src/engine/ops/index.ts";
import { productBy } from "../../src/engine/products.ts";
import {
	computeOn,
	Model,
	saturates,
	Session,
} from "../../src/engine/runtime.ts";
import { float32, float64 } from "../../src/engine/tensor.ts";
import { Random } from "../../src/random.ts";

const random = new Random("sessions");
const numbers = (...shape: number[]) => {
	const tensor = float32(shape);
	tensor.data.forEach((_, i) => {
		tensor.data[i] = random.normal();
	});
	return tensor;
};

const weights = { w: numbers(3, 4), b: numbers(3) };
const x = numbers(5, 2, 4); // 5 items [2, 4]
const layer = (item: ReturnType<typeof input>) =>
	linear(item, input("w", [3, 4]), input("b", [3]));

/** The layer of one item, by a session of its own. */
async function alone(n: number) {
	const session = await Session.create(
		{ y: layer(input("x", [2, 4])) },
		{ threads: 1, weights },
	);
	const { y } = await session.run({
		x: float32([2, 4], x.data.slice(n * 8, (n + 1) * 8)),
	});
	await session.release();
	return [...(y?.data ?? [])];
}

describe("a graph for each of many items", () => {
	it("inside another graph says of an item what it says of it alone, bit for bit", async () => {
		const { y, total } = each(
			input("x", [5, 2, 4]),
			(item) => {
				const y = layer(item);
				return { y, total: sum(mul(y, y), [0, 1]) };
			},
			weights,
		);
		expect([y?.shape, total?.shape]).toEqual([[5, 2, 3], [5]]);
		const session = await Session.create(
			{ y: y as NonNullable<typeof y>, total: total as NonNullable<typeof y> },
			{ threads: 1 },
		);
		const got = await session.run({ x });
		await session.release();
		for (let n = 0; n < 5; n++) {
			const expected = await alone(n);
			expect([...(got.y?.data.slice(n * 6, (n + 1) * 6) ?? [])]).toEqual(
				expected,
			);
			expect(got.total?.data[n]).toBeCloseTo(
				expected.reduce((s, value) => s + value * value, 0),
				4,
			);
		}
	});

	it("as a model of its own takes any number of them", async () => {
		const model = await Model.open(
			toOnnxEach({ y: layer(input("x", [2, 4])) }, weights),
			1,
		);
		const { y } = await model.run({ x });
		expect(y?.shape).toEqual([5, 2, 3]);
		expect([...(y?.data.slice(12, 18) ?? [])]).toEqual(await alone(2));
		const one = await model.run({
			x: float32([1, 2, 4], x.data.slice(16, 24)),
		});
		expect([...(one.y?.data ?? [])]).toEqual(await alone(2));
		await model.release();
	});
});

describe("a session", () => {
	afterEach(() => computeOn("cpu"));

	it("writes into the memory it is given", async () => {
		const session = await Session.create(
			{ y: add(input("a", [2]), input("b", [2])) },
			{ threads: 1 },
		);
		const y = float32([2]);
		const feeds = {
			a: float32([2], Float32Array.of(1, 2)),
			b: float32([2], Float32Array.of(10, 20)),
		};
		expect(await session.run(feeds, { y })).toEqual({});
		expect([...y.data]).toEqual([11, 22]);
		await expect(session.run({ a: feeds.a })).rejects.toThrow(
			'input "b" [2] is not fed',
		);
		await expect(session.run({ ...feeds, b: float32([1, 2]) })).rejects.toThrow(
			'input "b" is [1,2], the graph wants [2]',
		);
		await session.release();
	});

	it("knows whether this processor's product of 8-bit numbers saturates, and asks once", async () => {
		const first = saturates();
		expect(saturates()).toBe(first);
		expect(typeof (await first)).toBe("boolean");
	});

	it("is refused where its device is not, instead of computing elsewhere", async () => {
		computeOn(process.platform === "darwin" ? "dml:0" : "coreml");
		await expect(
			Session.create({ y: add(input("a", [2]), 1) }, { threads: 1 }),
		).rejects.toThrow();
	});
});

it("products in float64 are those of plain loops; of nothing, zeros", async () => {
	const [m, n, k] = [3, 2, 4];
	const a = Float64Array.from({ length: m * k }, () => random.normal());
	const b = Float64Array.from({ length: n * k }, () => random.normal());
	const product = await productBy(1)(a, b, k);
	for (let i = 0; i < m; i++)
		for (let j = 0; j < n; j++)
			expect(product[i * n + j]).toBeCloseTo(
				a
					.subarray(i * k, (i + 1) * k)
					.reduce((s, value, c) => s + value * (b[j * k + c] as number), 0),
				12,
			);
	expect(await productBy(1)(new Float64Array(0), b, k)).toEqual(
		float64([0]).data,
	);
});

describe("a device", () => {
	it("is a kind, and which of several", () => {
		expect(deviceOf("cuda:1")).toEqual({ kind: "cuda", index: 1 });
		expect(deviceOf("webgpu")).toEqual({ kind: "webgpu", index: 0 });
		for (const name of ["cpu", "cuda", "cuda:12", "dml:0"])
			expect(name).toMatch(devicePattern);
		for (const name of ["", "gpu", "cuda:", "cuda:123", "cpu:0", "webgpu:1"])
			expect(name).not.toMatch(devicePattern);
	});
	it("is asked for alone: nothing else would be taken in silence", () => {
		expect(providersOf("cuda:1")).toEqual([{ name: "cuda", deviceId: 1 }]);
		expect(providersOf("dml")).toEqual([{ name: "dml", deviceId: 0 }]);
		for (const name of ["coreml", "webgpu", "cpu"])
			expect(providersOf(name)).toEqual([name]);
	});
	it("is one the runtime has on the platform", () => {
		expect(kindsHere("linux")).toEqual(["cuda", "webgpu", "cpu"]);
		expect(kindsHere("darwin")).toEqual(["coreml", "webgpu", "cpu"]);
		expect(kindsHere("win32")).toEqual(["dml", "webgpu", "cpu"]);
	});
});
