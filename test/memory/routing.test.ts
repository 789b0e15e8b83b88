import { expect, test } from "vitest";
import { KeepsightError } from "../../src/errors.ts";
import { Router } from "../../src/memory/routing.ts";
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

test("each image goes to its own product and is not out", () => {
	for (const id of ["a", "b", "c"]) {
		const routes = routed(three(), id);
		expect(share(routes, (route) => route.id === id)).toBeGreaterThan(0.97);
		expect(share(routes, (route) => route.out)).toBeLessThan(0.03);
		for (const route of routes)
			expect(route.distance).toBe(Math.min(...route.distances));
	}
});

test("a product never learnt is out, also where only one product is known", () => {
	for (const r of [three(), router(["a", 40])])
		expect(share(routed(r, "stranger"), (route) => route.out)).toBeGreaterThan(
			0.9,
		);
	expect(
		share(routed(router(["a", 40]), "a"), (route) => route.out),
	).toBeLessThan(0.03);
});

test("limits: quantile <= maximum <= limit, and they follow when other products come and go", () => {
	const r = three();
	const { quantile, maximum, limit } = r.limit("a");
	expect(quantile).toBeLessThanOrEqual(maximum);
	expect(maximum).toBeLessThan(limit);
	r.remove("c");
	expect(r.limit("a").maximum).toBeCloseTo(
		router(["a", 40], ["b", 30]).limit("a").maximum,
		0,
	);
});

test("few images borrow the others' spread; a single one alone calls nothing out", () => {
	const few = [1, 2, 4, 8].flatMap((n) =>
		[0, 1, 2, 3].map((i) => [`few ${n} ${i}`, n] as const),
	);
	const r = router(["a", 40], ["b", 30], ...few);
	const routes = few.flatMap(([id]) =>
		routed(r, id, 20).map((route) => ({ ...route, right: route.id === id })),
	);
	expect(share(routes, (route) => route.right)).toBeGreaterThan(0.97);
	expect(share(routes, (route) => route.out)).toBeLessThan(0.03);
	const alone = routed(router(["one", 1]), "stranger");
	expect(
		alone.every((route) => !route.out && Number.isFinite(route.distance)),
	).toBe(true);
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
	expect(reversed.limit("a")).toEqual(r.limit("a"));
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
			9,
		);
	});
	expect(merged.limit("a").maximum / r.limit("a").maximum).toBeCloseTo(1, 0);
});

test("an image is routed the same alone and in a batch", () => {
	const r = three();
	const batch = routed(r, "a", 5);
	for (let i = 0; i < 5; i++)
		expect(r.route(part(features("a", "test", 5), i, i + 1).frozen)[0]).toEqual(
			batch[i],
		);
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
