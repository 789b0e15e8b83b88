import { expect, test } from "vitest";
import { float32, type Tensor } from "../../src/engine/tensor.ts";
import { KeepsightError } from "../../src/errors.ts";
import {
	concatRows,
	gaussianOf,
	momentsOf,
	squaredDistances,
} from "../../src/linalg/covariance.ts";
import { unitRows } from "../../src/memory/memory.ts";
import { Router } from "../../src/memory/routing.ts";
import { Random } from "../../src/random.ts";
import { features, part } from "./synthetic.ts";

const d = 12;
const router = (
	...categories: readonly (readonly [string, number])[]
): Router => {
	const made = new Router(d);
	for (const [id, n] of categories) made.add(id, features(id, "good", n));
	return made;
};
const three = () => router(["a", 40], ["b", 30], ["c", 60]);
const routed = (r: Router, id: string, n = 100) =>
	r.route(features(id, "test", n).frozen);
const share = <T>(values: readonly T[], test: (value: T) => boolean) =>
	values.filter(test).length / values.length;

test("each image goes to its own product", () => {
	const r = three();
	for (const id of r.ids) {
		const routes = routed(r, id);
		expect(share(routes, (route) => route.id === id)).toBeGreaterThan(0.97);
		for (const route of routes)
			expect(route.distance).toBe(Math.min(...route.distances));
	}
});

test("a product of few images, down to a single one, takes its spread from the others", () => {
	const few = [1, 2, 4, 8].flatMap((n) =>
		[0, 1, 2, 3].map((i) => [`few ${n} ${i}`, n] as const),
	);
	const r = router(["a", 40], ["b", 30], ...few);
	const right = few.flatMap(([id]) =>
		routed(r, id, 20).map((route) => route.id === id),
	);
	expect(share(right, Boolean)).toBeGreaterThan(0.97);
	const alone = routed(router(["one", 1]), "stranger");
	expect(alone.every((route) => Number.isFinite(route.distance))).toBe(true);
});

test("after a product is removed it routes as if that one had never been learnt", () => {
	const r = three();
	r.remove("c");
	expect(routed(r, "a")).toEqual(routed(router(["a", 40], ["b", 30]), "a"));
});

test("restored, in any order, it routes bit for bit the same; merging equals learning at once", () => {
	const r = three();
	const restored = new Router(d);
	for (const id of ["a", "b", "c"]) restored.restore(id, r.tensors(id));
	expect(routed(restored, "b")).toEqual(routed(r, "b"));
	const reversed = new Router(d);
	for (const id of ["c", "b", "a"]) reversed.restore(id, r.tensors(id));
	expect(routed(reversed, "b").map((route) => route.distance)).toEqual(
		routed(r, "b").map((route) => route.distance),
	);
	expect(r.bytes("a")).toBe(
		Object.values(r.tensors("a")).reduce(
			(sum, t) => sum + t.data.byteLength,
			0,
		),
	);

	const merged = router(["b", 30], ["c", 60]);
	merged.add("a", part(features("a", "good", 40), 0, 25));
	merged.merge("a", part(features("a", "good", 40), 25, 40));
	routed(merged, "a").forEach((route, i) => {
		expect(route.distance / (routed(r, "a")[i]?.distance ?? 0)).toBeCloseTo(
			1,
			6, // covariances are rounded to float32
		);
	});
});

interface Line {
	/** Distance of a and c from b, which lies between them. */
	readonly span: number;
	/** Share of what is a product's own that is left. */
	readonly kept?: number;
	/** How far out along directions of little variance. */
	readonly out?: number;
}
function onALine(id: string, n: number, line: Line): Tensor {
	const { span, kept = 1, out = 0 } = line;
	const own = { a: span, b: 0, c: -span }[id] ?? 0;
	const random = new Random("line", id, n, span, kept, out);
	const row = () =>
		Array.from({ length: d }, (_, i) => {
			const mean = i === 0 ? kept * own : i === 1 ? 10 : i > 8 ? out : 0;
			return mean + (i > 8 ? 0.01 : 0.1) * random.normal();
		});
	return float32(
		[n, d],
		Float32Array.from(Array.from({ length: n }, row).flat()),
	);
}
const onTheLine = ["a", "b", "c"];
const names = Array.from({ length: 40 }, (_, i) => String(i));
function lineRouter(line: Line): Router {
	const r = new Router(d);
	for (const id of onTheLine) {
		const frozen = onALine(id, 40, line);
		r.add(id, { ids: names, frozen });
	}
	return r;
}

test("an image far outside that lost most of its product goes to it, not to the product nearest to all others", () => {
	const line = { span: 3 };
	const broken = { ...line, kept: 0.3, out: 1 };
	const r = lineRouter(line);
	for (const id of ["a", "c"])
		expect(
			r.route(onALine(id, 40, broken)).every((route) => route.id === id),
		).toBe(true);

	const parts = onTheLine.map((id) =>
		unitRows(id, names, onALine(id, 40, line), d),
	);
	const means = parts.map((rows) => momentsOf(rows).mean);
	const centred = parts.map((rows, k) => ({
		...rows,
		data: rows.data.map((value, i) => value - (means[k]?.[i % d] ?? 0)),
	}));
	const shared = gaussianOf(momentsOf(concatRows(centred, d)));
	const lost = unitRows("a", names, onALine("a", 40, broken), d);
	const [toA, toB] = means.map((mean) =>
		squaredDistances({ ...shared, mean }, lost),
	);
	for (const i of names.keys()) expect(toB?.[i]).toBeLessThan(toA?.[i] ?? 0); // the Mahalanobis distance would say b
});

test("a product between the others keeps its normals", () => {
	const line = { span: 0.8 }; // 8 standard deviations
	const r = lineRouter(line);
	for (const id of onTheLine) {
		const routes = r.route(onALine(id, 200, line));
		expect(share(routes, (route) => route.id === id)).toBeGreaterThan(0.97);
	}
});

test("an image is routed the same alone and in a batch", () => {
	const r = three();
	const batch = routed(r, "a", 5);
	for (let i = 0; i < 5; i++)
		expect(r.route(part(features("a", "test", 5), i, i + 1).frozen)[0]).toEqual(
			batch[i],
		);
});

test("an image is out where it lies farther than any normal of its product, whatever else is learnt", () => {
	const r = router(["a", 40]);
	const out = (made: Router, id: string, kind: string, shift = 0) =>
		Array.from({ length: 20 }, (_, i) => {
			const { frozen } = part(features(id, kind, 20, d, shift), i, i + 1);
			return made.isOut("a", frozen);
		});
	expect(share(out(r, "a", "good"), Boolean)).toBe(0);
	expect(share(out(r, "a", "test"), Boolean)).toBeLessThan(0.2);
	expect(share(out(r, "b", "test"), Boolean)).toBe(1);
	const before = out(r, "a", "test", 0.8);
	expect(new Set(before).size).toBe(2);
	r.add("b", features("b", "good", 30));
	expect(out(r, "a", "test", 0.8)).toEqual(before);
	const restored = new Router(d);
	restored.restore("a", r.tensors("a"));
	expect(out(restored, "a", "test", 0.8)).toEqual(before);
	const { farthest, ...earlier } = r.tensors("a");
	expect(farthest?.data.length).toBe(1);
	restored.restore("a", earlier);
	expect(out(restored, "b", "test")).toEqual(new Array(20).fill(null));
	expect(out(router(["a", 1]), "b", "test")).toEqual(new Array(20).fill(null));
});

test("images added later count for how far out is out", () => {
	const r = router(["a", 40]);
	const farthest = () => r.tensors("a").farthest?.data[0] as number;
	const before = farthest();
	r.merge("a", features("a", "more", 5, d, 2));
	expect(farthest()).toBeGreaterThan(before);
});

test("out of focus is what has half the detail of any normal; where one was not looked at, nothing is", () => {
	const seen = (kind: string, detail: readonly number[]) => ({
		...features("a", kind, detail.length),
		detail,
	});
	const r = new Router(d);
	r.add("a", seen("good", [-1, -0.5, -2]));
	const blurred = (made: Router) =>
		[-1, -2.9, -3.1].map((detail) => made.isBlurred("a", detail));
	expect(blurred(r)).toEqual([false, false, true]);
	const restored = new Router(d);
	restored.restore("a", r.tensors("a"));
	expect(blurred(restored)).toEqual([false, false, true]);
	r.merge("a", seen("more", [-2.2]));
	expect(blurred(r)).toEqual([false, false, false]);
	r.merge("a", seen("yet more", [0]));
	expect(r.tensors("a").detail?.data[0]).toBe(-2.2);
	const { detail, ...earlier } = restored.tensors("a");
	expect(detail?.data[0]).toBe(-2);
	r.restore("a", earlier);
	expect(blurred(r)).toEqual([false, false, false]);
	restored.merge("a", features("a", "unseen", 3));
	expect(restored.tensors("a").detail).toBeUndefined();
});

test("what cannot be used is refused", () => {
	const nothing = new Router(d);
	for (const action of [
		() => routed(nothing, "a"),
		() => three().add("a", features("a", "good", 2)),
		() => three().merge("x", features("x", "good", 2)),
		() => three().remove("x"),
		() => three().route(features("a", "test", 2, d + 1).frozen),
	])
		expect(action).toThrow(KeepsightError);
});
