/** What every pretext task promises. A new one in the registry is tested here without a further line. */
import { describe, expect, test } from "vitest";
import { createPretext, pretexts } from "../../src/pretext/index.ts";
import { Random } from "../../src/random.ts";
import { difference, disc, noise, sameBytes } from "../pretext/pictures.ts";

describe.each(Object.entries(pretexts))("%s", (name, definition) => {
	const [image, other] = [noise(60, 72, 1), noise(60, 72, 2)];
	const pretext = createPretext({ name });
	const still = createPretext({ name, options: { jitter: 0, rotation: 0 } });

	test("has a title, a paper and defaults for all options", () => {
		expect(definition.title).not.toBe("");
		expect(definition.paper).toMatch(/\d{4}/);
		expect(() => definition.options.parse({})).not.toThrow();
		expect(() => definition.options.parse({ jiter: 0.2 })).toThrow();
	});
	test("class 0 is normal, names differ", () => {
		expect(pretext.classes[0]).toBe("normal");
		expect(pretext.classes.length).toBeGreaterThan(1);
		expect(new Set(pretext.classes).size).toBe(pretext.classes.length);
	});
	test.each([
		[60, 72],
		[32, 32],
		[96, 33],
	])(
		"one view a class, each of the image's size (%i x %i)",
		(height, width) => {
			const views = pretext.augment(
				disc(height, width, 3),
				new Random(1),
				disc(height, width, 4),
			);
			expect(views.map((view) => view.shape)).toEqual(
				pretext.classes.map(() => [height, width, 3]),
			);
		},
	);
	test("the same key gives the same views, another key others", () => {
		const views = (key: number) =>
			pretext
				.augment(image, new Random("views", key), other)
				.map((view) => view.data);
		expect(views(1)).toEqual(views(1));
		for (const [k, view] of views(1).entries())
			expect(view).not.toEqual(views(2)[k]);
	});
	test("leaves its images unchanged and hands out memory of its own", () => {
		const copies = [image, other].map(({ data }) => Uint8Array.from(data));
		for (let i = 0; i < 20; i++) {
			for (const task of [pretext, still]) {
				const views = task.augment(image, new Random(i), other);
				expect(
					new Set([image, other, ...views].map(({ data }) => data.buffer)).size,
				).toBe(2 + views.length);
			}
		}
		expect([image.data, other.data]).toEqual(copies);
	});
	test("class 0 is the image but for jitter and rotation; every other class differs in a part of it", () => {
		for (let i = 0; i < 50; i++) {
			const [normal, ...anomalous] = still.augment(image, new Random(i), other);
			expect(sameBytes(normal as typeof image, image)).toBe(true);
			for (const view of anomalous) {
				const { pixels } = difference(image, view);
				expect(pixels).toBeGreaterThan(0);
				expect(pixels).toBeLessThan(0.75 * 60 * 72);
			}
		}
	});
	test("jitter alone moves the colours of class 0, but not its places", () => {
		const jittered = createPretext({ name, options: { rotation: 0 } });
		const [normal] = jittered.augment(image, new Random(3), other);
		const correlation = (a: Uint8Array, b: Uint8Array) => {
			const mean = (x: Uint8Array) => x.reduce((s, v) => s + v, 0) / x.length;
			const [ma, mb] = [mean(a), mean(b)];
			let [ab, aa, bb] = [0, 0, 0];
			for (const [i, x] of a.entries())
				[ab, aa, bb] = [
					ab + (x - ma) * ((b[i] as number) - mb),
					aa + (x - ma) ** 2,
					bb + ((b[i] as number) - mb) ** 2,
				];
			return ab / Math.sqrt(aa * bb);
		};
		expect(normal?.data).not.toEqual(image.data);
		expect(
			correlation(image.data, (normal as typeof image).data),
		).toBeGreaterThan(0.8);
	});
	test("each view has a rotation of its own", () => {
		const [part, another] = [disc(60, 60, 1), disc(60, 60, 2)]; // without black pixels of their own
		const rotated = createPretext({ name, options: { jitter: 0 } });
		const corners = rotated
			.augment(part, new Random(2), another)
			.map(({ data }) => data.reduce((n, x) => n + (x === 0 ? 1 : 0), 0));
		for (const black of corners) expect(black).toBeGreaterThan(0);
		expect(new Set(corners).size).toBe(corners.length);
	});
});

test("an unknown name is an error that lists the names", () => {
	expect(() => createPretext({ name: "cutpast" })).toThrow(
		`Did you mean "cutpaste"? Use one of: ${Object.keys(pretexts).join(", ")}.`,
	);
});
