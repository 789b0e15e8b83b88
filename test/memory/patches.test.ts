/** The patch memory against plain loops over the centres that it stores. */
import { describe, expect, it, test } from "vitest";
import { fromHalf, toHalf } from "../../src/engine/half.ts";
import {
	type AnyTensor,
	float32,
	type Tensor,
} from "../../src/engine/tensor.ts";
import { patches } from "../../src/memory/patches.ts";
import type { Features, Memory } from "../../src/memory/memory.ts";
import { list } from "../../src/memory/stored.ts";
import { lessSurround } from "../../src/memory/surround.ts";
import { Random } from "../../src/random.ts";
import {
	directions,
	entry,
	features,
	part,
	patchCount,
	unit,
} from "./synthetic.ts";

const d = 48;
const create = (chosen: object = {}): Memory =>
	patches.create(patches.options.parse(chosen), {
		embedDim: d,
		threads: 1,
		grid: [1, patchCount],
	});
const good = features("a", "good", 30, d);
const test9 = features("a", "test", 9, d);
const learnt = async (
	chosen: object = {},
	more: object = {},
): Promise<Memory> => {
	const memory = create(chosen);
	await memory.add(entry("a", 30, { learnt: good, ...more }), new Random(1));
	return memory;
};

/** The rows of a tensor. */
const rowsOf = ({ data }: Tensor): Float32Array[] =>
	Array.from({ length: data.length / d }, (_, i) =>
		data.slice(i * d, (i + 1) * d),
	);
const imagesOf = (all: Features): Float32Array[][] =>
	(all.patches as readonly Tensor[]).map(rowsOf);
/** 1 − x·c of the nearest centre, in float64; 2 without one. */
const distance = (
	x: Float32Array,
	centres: readonly ArrayLike<number>[],
): number =>
	centres.reduce(
		(least, c) =>
			Math.min(
				least,
				1 - x.reduce((sum, v, k) => sum + v * (c[k] as number), 0),
			),
		2,
	);
const score = (
	image: readonly Float32Array[],
	centres: readonly ArrayLike<number>[],
): number => Math.max(0, ...image.map((x) => distance(x, centres)));
/** The centres as the memory reads them: (u − 128) · scale, or halves. */
function centresOf(memory: Memory, id = "a"): ArrayLike<number>[] {
	const { bank, scale } = memory.tensors(id) as Record<string, AnyTensor>;
	if (bank?.dtype === "float16") return rowsOf(fromHalf(bank));
	const rows = Array.from(
		{ length: scale?.data.length ?? 0 },
		(_, i) => (bank?.data.slice(i * d, (i + 1) * d) ?? []) as Uint8Array,
	);
	return rows.map((row, i) =>
		Array.from(row, (u) => (u - 128) * Number(scale?.data[i])),
	);
}
/** For each stored centre the image it is a patch of, by the nearest. */
function owners(memory: Memory, all: Features): number[] {
	const candidates = imagesOf(all).flatMap((image, i) =>
		image.map((x) => ({ x, i })),
	);
	return centresOf(memory).map((c) => {
		const length = Math.hypot(...Array.from(c)); // which storing changes a little
		const direction = Array.from(c, (value) => value / length);
		const distances = candidates.map(({ x }) => distance(x, [direction]));
		const least = Math.min(...distances);
		expect(least).toBeLessThan(1e-4);
		return candidates[distances.indexOf(least)]?.i as number;
	});
}
const bankBytes = (memory: Memory): number => {
	const { bank, scale } = memory.tensors("a");
	return (bank?.data.byteLength ?? 0) + (scale?.data.byteLength ?? 0);
};
const close = (found: ArrayLike<number>, expected: readonly number[]) => {
	expect(found.length).toBe(expected.length);
	for (const [i, value] of expected.entries())
		expect(Math.abs((found[i] as number) - value)).toBeLessThan(1e-6);
};
const mean = (values: ArrayLike<number>) =>
	Array.from(values).reduce((a, b) => a + b, 0) / values.length;

describe.each([
	[{}],
	[{ store: "int8" }],
	[{ bytesPerTask: 3000 }],
	[{ store: "int8", bytesPerTask: 3000 }],
])("%j", (chosen) => {
	it("a map is each patch's distance to its nearest stored centre, and its maximum is the score", async () => {
		const memory = await learnt(chosen);
		const { scores, maps } = await memory.score("a", test9);
		const centres = centresOf(memory);
		const excess: number[] = [];
		for (const [i, image] of imagesOf(test9).entries()) {
			const map = maps?.[i] as Float32Array;
			excess.push(
				...image.map((x, k) => (map[k] as number) - distance(x, centres)),
			);
			expect(scores[i]).toBe(Math.max(...map));
		}
		expect(maps?.length).toBe(9);
		expect(Math.min(...excess)).toBeGreaterThan(-1e-6);
		// these good parts are so alike that 8 bits may miss the nearest for one as near
		expect(Math.max(...excess)).toBeLessThan(1e-3);
		expect(excess.filter((x) => x > 1e-6).length).toBeLessThan(3);
	});

	it("cross-fitted scores are those against the centres of other images; held-out ones against all", async () => {
		const heldOut = features("a", "heldOut", 4, d);
		const memory = await learnt(chosen, { heldOut });
		const centres = centresOf(memory);
		const owner = owners(memory, good);
		expect(owner).toEqual(owner.toSorted((a, b) => a - b)); // an image's centres lie together
		close(memory.crossFitted("a").scores, [
			...imagesOf(good).map((image, i) =>
				score(
					image,
					centres.filter((_, c) => owner[c] !== i),
				),
			),
			...imagesOf(heldOut).map((image) => score(image, centres)),
		]);
		expect(memory.crossFitted("a").optimism).toBeNull();
	});
});

describe("storing", () => {
	it.each([
		// a component of c is wrong by at most 2^-11 of itself, and Σ|x c| is at most 1
		["float16", 2 ** -11, 1e-4],
		// a component is wrong by at most half a step: the largest component / 127
		["int8", (0.5 * Math.sqrt(d)) / 127, 3e-3],
	])(
		"%s: scores are off by no more than its rounding, in fact far less",
		async (store, bound, typical) => {
			const memory = await learnt({ store });
			const { scores } = await memory.score("a", test9);
			const exact = imagesOf(good).flat();
			const errors = imagesOf(test9).map((image, i) =>
				Math.abs((scores[i] as number) - score(image, exact)),
			);
			expect(Math.max(...errors)).toBeLessThan(bound);
			expect(Math.max(...errors)).toBeLessThan(typical);
			expect(mean(scores)).toBeGreaterThan(0.015); // what the errors are to be compared with
		},
	);

	it.each([
		["float16", 2 * d],
		["int8", d + 4],
	])("%s: a bank is as large as it may be", async (store, row) => {
		for (const bytesPerTask of [row, 2 * row - 1, 999, 3000]) {
			const bytes = bankBytes(await learnt({ store, bytesPerTask }));
			expect(bytes).toBeLessThanOrEqual(bytesPerTask);
			expect(bytes).toBeGreaterThan(bytesPerTask - row);
		}
		const all = await learnt({ store });
		expect(bankBytes(all)).toBe(30 * patchCount * row);
		const { "crossFitted.scores": scores } = all.tensors("a");
		expect(all.bytes("a")).toBe(bankBytes(all) + 8 * 30 + 16); // scores and what is usual
		expect(scores?.data.length).toBe(30);
	});

	it.each(["float16", "int8"])(
		"%s: of more products than are kept ready each scores as it did",
		async (store) => {
			const one = await learnt({ store });
			const { scores } = await one.score("a", test9);
			const many = create({ store });
			const ids = Array.from({ length: 70 }, (_, i) => `copy ${i}`);
			for (const id of ids) many.restore(id, one.tensors("a"));
			for (const id of [...ids, ...ids.slice(0, 3)])
				expect((await many.score(id, test9)).scores).toEqual(scores);
		},
	);

	it("a budget below one patch keeps one", async () => {
		const memory = await learnt({ bytesPerTask: 1 });
		expect(bankBytes(memory)).toBe(2 * d);
		const { scores } = await memory.score("a", test9);
		expect(scores.every(Number.isFinite)).toBe(true);
	});

	it("the patches of a bank that holds all are those learnt, in their order", async () => {
		const { bank } = (await learnt()).tensors("a");
		expect(bank?.data).toEqual(
			toHalf(
				float32(
					[30 * patchCount, d],
					Float32Array.from(
						imagesOf(good).flatMap((i) => i.flatMap((x) => [...x])),
					),
				),
			).data,
		);
	});

	it("a coreset covers more than the first patches of the same number do", async () => {
		const memory = await learnt({ bytesPerTask: 20 * 2 * d });
		const { scores } = await memory.score("a", test9);
		const first = imagesOf(good).flat().slice(0, 20);
		expect(Math.max(...scores)).toBeLessThan(
			Math.max(...imagesOf(test9).map((image) => score(image, first))),
		);
	});
});

describe("finding", () => {
	it("a foreign patch shows at its place and nowhere else", async () => {
		const memory = await learnt();
		const before = await memory.score("a", test9);
		const highest = Math.max(...before.scores);
		const [foreign] = rowsOf(directions(1, d, new Random("foreign")));
		for (let place = 0; place < patchCount; place++) {
			const image = part(test9, 3, 4);
			const changed = image.patches?.[0]?.data.slice() as Float32Array;
			changed.set(foreign as Float32Array, place * d);
			const { scores, maps } = await memory.score("a", {
				...image,
				patches: [float32([patchCount, d], changed)],
			});
			const map = Array.from(maps?.[0] ?? []);
			expect(map.length).toBe(patchCount);
			expect(map.indexOf(Math.max(...map))).toBe(place);
			expect(scores[0]).toBeGreaterThan(3 * highest);
			for (const [i, value] of map.entries())
				if (i !== place) expect(value).toBe(before.maps?.[3]?.[i]);
		}
	});

	it("where all good patches are kept, cross-fitted scores are as large as those of fresh normals, plain ones are 0", async () => {
		const memory = await learnt();
		const fresh = await memory.score("a", features("a", "fresh", 200, d));
		const { scores } = memory.crossFitted("a");
		expect(Math.abs(mean(scores) / mean(fresh.scores) - 1)).toBeLessThan(0.05);
		const own = await memory.score("a", good);
		expect(Math.max(...own.scores)).toBeLessThan(1e-3);
	});
});

describe("merging", () => {
	it("keeps the earlier images' scores and adds those of the new ones, against all centres but their own", async () => {
		const memory = create();
		await memory.add(
			entry("a", 20, { learnt: part(good, 0, 20) }),
			new Random(1),
		);
		const before = memory.crossFitted("a").scores.slice();
		await memory.merge("a", part(good, 20, 30), new Random(2));
		const after = memory.crossFitted("a").scores;
		expect(after.slice(0, 20)).toEqual(before);
		const centres = centresOf(memory);
		const owner = owners(memory, good);
		close(
			after.slice(20),
			imagesOf(good)
				.slice(20)
				.map((image, i) =>
					score(
						image,
						centres.filter((_, c) => owner[c] !== 20 + i),
					),
				),
		);
	});

	it("stays within the budget, and draws old and new patches", async () => {
		const budget = { bytesPerTask: 40 * 2 * d };
		const memory = create(budget);
		await memory.add(
			entry("a", 15, { learnt: part(good, 0, 15) }),
			new Random(1),
		);
		await memory.merge("a", part(good, 15, 30), new Random(2));
		expect(bankBytes(memory)).toBe(40 * 2 * d);
		const owner = owners(memory, good);
		expect(owner.some((i) => i < 15)).toBe(true);
		expect(owner.some((i) => i >= 15)).toBe(true);
	});
});

describe("a region", () => {
	const roi = Uint8Array.of(0, 1, 1, 0, 1);
	/** Only the patches that count, in their order. */
	const inside = (all: Features): Features => ({
		...all,
		patches: (all.patches as readonly Tensor[]).map(({ data }) =>
			float32(
				[3, d],
				data.filter((_, i) => roi[Math.floor(i / d)] === 1),
			),
		),
	});
	const heldOut = features("a", "heldOut", 3, d);

	it("is all that is learnt and scored: the map is 0 outside it", async () => {
		const memory = await learnt({}, { roi, heldOut });
		const alone = patches.create(patches.options.parse({}), {
			embedDim: d,
			threads: 1,
			grid: [1, 3],
		});
		await alone.add(
			entry("a", 30, { learnt: inside(good), heldOut: inside(heldOut) }),
			new Random(1),
		);
		expect(memory.tensors("a").bank).toEqual(alone.tensors("a").bank);
		expect(memory.crossFitted("a")).toEqual(alone.crossFitted("a"));
		const { scores, maps } = await memory.score("a", test9);
		const expected = await alone.score("a", inside(test9));
		expect(scores).toEqual(expected.scores);
		for (const [i, map] of (maps ?? []).entries()) {
			const [a, b, c] = expected.maps?.[i] ?? [];
			expect([...map]).toEqual([0, a, b, 0, c]);
		}
	});

	it("comes back with the memory, and holds for images added later", async () => {
		const memory = await learnt({}, { roi, learnt: part(good, 0, 20) });
		const restored = create();
		restored.restore("a", memory.tensors("a"));
		expect(await restored.score("a", test9)).toEqual(
			await memory.score("a", test9),
		);
		await restored.merge("a", part(good, 20, 30), new Random(2));
		const whole = await learnt({}, { roi });
		expect(restored.tensors("a").roi).toEqual(whole.tensors("a").roi);
		expect(restored.tensors("a").bank).toEqual(whole.tensors("a").bank);
		expect(restored.bytes("a")).toBe(
			bankBytes(whole) + 8 * 30 + 16 + patchCount,
		);
	});

	it("hides a foreign patch outside it", async () => {
		const memory = await learnt({}, { roi });
		const [foreign] = rowsOf(directions(1, d, new Random("foreign")));
		const image = part(test9, 0, 1);
		const changed = image.patches?.[0]?.data.slice() as Float32Array;
		changed.set(foreign as Float32Array, 3 * d);
		expect(
			await memory.score("a", {
				...image,
				patches: [float32([patchCount, d], changed)],
			}),
		).toEqual(await memory.score("a", image));
	});

	it.each([
		["too short", Uint8Array.of(0, 1, 1)],
		["too long", Uint8Array.of(0, 1, 1, 0, 1, 1)],
		["empty", Uint8Array.of(0, 0, 0, 0, 0)],
	])("that is %s is refused", async (_, wrong) => {
		await expect(learnt({}, { roi: wrong })).rejects.toMatchObject({
			code: "FEATURES_UNUSABLE",
		});
	});
});

describe("a foreign product", () => {
	const foreign = async (memory: Memory, images: Features) => {
		const { maps } = await memory.score("a", images);
		return maps?.map((map) => memory.foreign?.("a", map));
	};
	const usualIn = (memory: Memory) => {
		const { usual } = memory.tensors("a") as { usual: Tensor<"float64"> };
		const [limit, share] = usual.data as unknown as [number, number];
		return { limit, share };
	};
	/** Each image with so many of its patches taken from another product. */
	const replaced = (count: number): Features => ({
		...test9,
		patches: imagesOf(test9).map((rows, i) => {
			const others = imagesOf(features("b", "test", 9, d))[i];
			const mixed = rows.map((row, k) => (k < count ? others?.[k] : row));
			return float32(
				[patchCount, d],
				Float32Array.from(mixed.flatMap((row) => [...(row ?? [])])),
			);
		}),
	});

	it("is told by nearly all of its patches; a defect is some of them", async () => {
		const memory = await learnt();
		const { limit, share } = usualIn(memory);
		expect(limit).toBeGreaterThan(0);
		expect(share).toBeGreaterThan(0);
		const needed = Math.max(0.5, 3 * share) * patchCount;
		for (let count = 0; count <= patchCount; count++)
			if (count > needed || count + 1 <= needed)
				expect(await foreign(memory, replaced(count))).toEqual(
					new Array(9).fill(count > needed),
				);
		expect(needed).toBeLessThan(patchCount);
	});

	it("what is usual are cross-fitted distances: the .99 quantile of all, and the most that an image has above it", async () => {
		const memory = await learnt();
		const bank = imagesOf(good);
		const distances = bank.map((rows, i) =>
			rows.map((row) => distance(row, bank.filter((_, k) => k !== i).flat())),
		);
		const sorted = distances.flat().sort((a, b) => a - b);
		const { limit, share } = usualIn(memory);
		expect(limit).toBeGreaterThan((sorted[147] as number) - 0.01);
		expect(limit).toBeLessThan((sorted[149] as number) + 0.01);
		const most = Math.max(
			...distances.map((own) => own.filter((v) => v > limit).length),
		);
		expect(share).toBeCloseTo(most / patchCount, 6);
	});

	it("comes back with the memory; one that does not hold it, or of one image, does not know", async () => {
		const memory = await learnt();
		const restored = create();
		const { usual, ...before } = memory.tensors("a");
		restored.restore("a", { ...before, usual: usual as AnyTensor });
		const all = replaced(patchCount);
		expect(await foreign(restored, all)).toEqual(await foreign(memory, all));
		restored.restore("a", before);
		expect(await foreign(restored, all)).toEqual(new Array(9).fill(null));
		expect(restored.tensors("a")).not.toHaveProperty("usual");
		const single = create();
		await single.add(
			entry("a", 1, { learnt: part(good, 0, 1) }),
			new Random(1),
		);
		expect(await foreign(single, all)).toEqual(new Array(9).fill(null));
	});

	it("images added later only make it harder to be foreign", async () => {
		const memory = await learnt();
		const before = usualIn(memory);
		await memory.merge("a", part(good, 0, 3), new Random(2)); // seen already: distance 0
		expect(usualIn(memory)).toEqual(before);
	});

	it("is judged by what is looked at alone", async () => {
		const roi = Uint8Array.from({ length: patchCount }, (_, i) =>
			Number(i > 2),
		);
		const memory = await learnt({}, { roi });
		const { limit } = usualIn(memory);
		memory.restore("a", {
			...memory.tensors("a"),
			usual: list(Float64Array.of(limit, 0.1)), // two patches are too few for the share
		});
		expect(await foreign(memory, replaced(patchCount))).toEqual(
			new Array(9).fill(true),
		);
		expect(await foreign(memory, replaced(3))).toEqual(
			new Array(9).fill(false),
		);
	});
});

describe("few images", () => {
	test("one: no cross-fitted score but those of held-out images", async () => {
		for (const [heldOut, count] of [
			[null, 0],
			[features("a", "heldOut", 3, d), 3],
		] as const) {
			const memory = create();
			await memory.add(
				entry("a", 1, { learnt: part(good, 0, 1), heldOut }),
				new Random(1),
			);
			expect(memory.crossFitted("a").scores.length).toBe(count);
		}
	});

	test("a bank of one centre measures every image but its own", async () => {
		const memory = await learnt({ bytesPerTask: 2 * d });
		expect(memory.crossFitted("a").scores.length).toBe(29);
	});
});

describe("what cannot be used", () => {
	it("names image and problem", async () => {
		const memory = await learnt();
		const three = features("b", "good", 3, d);
		const refusal = (f: Features) =>
			memory.add(entry("b", 3, { learnt: f }), new Random(1));
		await expect(refusal({ ...three, patches: null })).rejects.toThrow(
			"The features of b cannot be used: 3 images have 0 sets of patches.",
		);
		await expect(
			refusal({ ...three, patches: three.patches?.slice(1) ?? null }),
		).rejects.toThrow("3 images have 2 sets of patches");
		await expect(refusal(features("b", "good", 3, d - 1))).rejects.toThrow(
			`patches of image b/good/0 have shape [${patchCount}, ${d - 1}]`,
		);
		await expect(
			memory.add(
				entry("b", 0, { learnt: features("b", "good", 0, d) }),
				new Random(1),
			),
		).rejects.toMatchObject({ code: "FEATURES_UNUSABLE" });
	});

	const wrong: [string, object, string, (t: AnyTensor) => AnyTensor | null][] =
		[
			["a bank that is missing", {}, "bank", () => null],
			[
				"a bank of another type",
				{ store: "int8" },
				"bank",
				(t) => toHalf(float32([1, d], new Float32Array(t.data.length))),
			],
			["a bank cut off", {}, "bank", (t) => cut(t, 1)],
			["an empty bank", {}, "bank", (t) => cut(t, t.data.length)],
			[
				"a bank with a value that is not finite",
				{},
				"bank",
				(t) => withValue(t, 0x7e00),
			],
			[
				"a bank with an infinite value",
				{},
				"bank",
				(t) => withValue(t, 0x7c00),
			],
			["int8: a bank cut off", { store: "int8" }, "bank", (t) => cut(t, 1)],
			["int8: scales that are missing", { store: "int8" }, "scale", () => null],
			["int8: a scale too few", { store: "int8" }, "scale", (t) => cut(t, 1)],
			[
				"int8: a scale too many",
				{ store: "int8" },
				"scale",
				(t) =>
					({
						...t,
						shape: [t.data.length + 1],
						data: Float32Array.of(...(t.data as Float32Array), 1),
					}) as AnyTensor,
			],
			[
				"int8: a scale that is not finite",
				{ store: "int8" },
				"scale",
				(t) => withValue(t, Number.NaN),
			],
			[
				"int8: a scale beyond float32",
				{ store: "int8" },
				"scale",
				(t) => withValue(t, 3e38),
			],
			[
				"a score that is not finite",
				{},
				"crossFitted.scores",
				(t) => withValue(t, Number.NaN),
			],
			["scores that are missing", {}, "crossFitted.scores", () => null],
		];
	const cut = (t: AnyTensor, by: number) =>
		({
			...t,
			shape: [t.data.length - by],
			data: t.data.slice(0, t.data.length - by),
		}) as AnyTensor;
	const withValue = (t: AnyTensor, value: number) => {
		const data = t.data.slice();
		data[2] = value as never;
		return { ...t, data } as AnyTensor;
	};
	it.each(wrong)("stored: %s", async (_, chosen, name, damage) => {
		const { [name]: tensor, ...rest } = (await learnt(chosen)).tensors("a");
		const damaged = damage(tensor as AnyTensor);
		expect(() =>
			create(chosen).restore(
				"a",
				damaged ? { ...rest, [name]: damaged } : rest,
			),
		).toThrow(`tensor "${name}"`);
	});
});

describe("what good parts decide", () => {
	const withPatches = (images: readonly Tensor[]): Features => ({
		...features("a", "given", images.length, d),
		patches: images,
	});
	const taught = async (chosen: object, all: Features): Promise<Memory> => {
		const memory = create(chosen);
		await memory.add(
			entry("a", all.ids.length, { learnt: all }),
			new Random(1),
		);
		return memory;
	};
	/** Row i of the result is row order[i]. */
	const ordered = ({ shape, data }: Tensor, order: readonly number[]): Tensor =>
		float32(
			shape,
			Float32Array.from(
				order.flatMap((i) => [...data.subarray(i * d, (i + 1) * d)]),
			),
		);
	const restored = (chosen: object, memory: Memory): Memory => {
		const other = create(chosen);
		other.restore("a", memory.tensors("a"));
		return other;
	};
	const mirrored = [4, 3, 2, 1, 0];
	const images = good.patches as readonly Tensor[];

	it("a window: what is normal elsewhere is not here, if parts always lie alike", async () => {
		const chosen = { window: 1 };
		const memory = await taught(chosen, good);
		expect(memory.tensors("a").window?.data[0]).toBe(1);
		expect(memory.trials).toEqual([
			{ option: "window", taken: true, change: expect.closeTo(1, 1) },
		]);
		const wrong = withPatches([ordered(images[0] as Tensor, mirrored)]);
		const [found, plain] = [
			await memory.score("a", wrong),
			await (await learnt()).score("a", wrong),
		];
		expect(plain.scores[0]).toBeLessThan(0.01);
		expect(found.scores[0]).toBeGreaterThan(0.3);
		// the middle patch did not move; each of the others lies 2 or 4 places from where it belongs
		expect(found.maps?.[0]?.[2]).toBeLessThan(0.01);
		expect(await restored(chosen, memory).score("a", wrong)).toEqual(found);
		// by the positions of all centres
		const centres = centresOf(memory);
		const cells = memory.tensors("a").cells?.data as Int32Array;
		close(
			found.maps?.[0] as Float32Array,
			(imagesOf(wrong)[0] as Float32Array[]).map((x, at) =>
				score(
					[x],
					centres.filter((_, k) => Math.abs((cells[k] as number) - at) <= 1),
				),
			),
		);
	});

	it("no window where parts lie anyhow", async () => {
		const anyhow = withPatches([
			images[0] as Tensor,
			ordered(images[1] as Tensor, [2, 3, 4, 0, 1]),
		]);
		const memory = await taught({ window: 1 }, anyhow);
		expect(memory.tensors("a")).toEqual(
			(await taught({}, anyhow)).tensors("a"),
		);
		expect(memory.tensors("a").window).toBeUndefined();
		expect(memory.trials?.[0]?.taken).toBe(false);
		expect(memory.trials?.[0]?.change).toBeGreaterThan(1.05);
	});

	it("other views where they make good parts look more alike, and not else", async () => {
		const random = new Random("views");
		const single = Array.from({ length: 8 }, () => directions(5, d, random));
		const next = single.map((_, i) => single[(i + 1) % 8] as Tensor);
		const learnt = (turned: readonly Tensor[]) =>
			taught({ augment: "turns" }, { ...withPatches(single), turned });
		const helped = await learnt(next);
		expect(helped.tensors("a").augmented).toBeDefined();
		for (const x of helped.crossFitted("a").scores)
			expect(x).toBeLessThan(0.01); // its patches are also a view of the image before
		expect((await helped.score("a", withPatches(next))).scores[3]).toBeLessThan(
			0.01,
		);
		const plain = await learnt(single); // nothing that they do not show themselves
		expect(plain.tensors("a")).toEqual(
			(await taught({}, withPatches(single))).tensors("a"),
		);
	});

	it("the foreground: nothing behind the part is learnt or scored", async () => {
		const random = new Random("behind");
		const base = directions(2, d, random); // part, background
		const grid = [3, 5] as const;
		const scene = (defect: number | null): Tensor => {
			const rows = float32([15, d]);
			for (let i = 0; i < 15; i++) {
				const row = base.data.subarray(i === 7 ? 0 : d, i === 7 ? d : 2 * d);
				const noise = i === defect ? 0.15 : 0.03;
				for (let k = 0; k < d; k++)
					rows.data[i * d + k] = (row[k] as number) + noise * random.normal();
			}
			return unit(rows);
		};
		const build = () =>
			patches.create(patches.options.parse({ foreground: true }), {
				embedDim: d,
				threads: 1,
				grid,
			});
		const memory = build();
		const scenes = withPatches(Array.from({ length: 20 }, () => scene(null)));
		await memory.add(entry("a", 20, { learnt: scenes }), new Random(1));
		expect(memory.tensors("a")["foreground.offset"]).toBeDefined();
		const tested = withPatches([scene(0), scene(7)]);
		const found = await memory.score("a", tested);
		expect(found.maps?.[0]?.[0]).toBe(0);
		expect(found.scores[1]).toBeGreaterThan(2 * (found.scores[0] as number));
		const other = build();
		other.restore("a", memory.tensors("a"));
		expect(await other.score("a", tested)).toEqual(found);
	});

	it("a single good image decides nothing", async () => {
		const one = await taught(
			{ augment: "all", window: 1, foreground: true },
			{ ...part(good, 0, 1), turned: images.slice(1, 2) },
		);
		expect(one.trials).toEqual([]);
		expect(Object.keys(one.tensors("a"))).toEqual([
			"bank",
			"crossFitted.scores",
		]);
	});

	it("more good images of a category keep what was chosen", async () => {
		const memory = await taught({ window: 1 }, good);
		await memory.merge("a", features("a", "more", 5, d), new Random(2));
		expect(memory.tensors("a").window?.data[0]).toBe(1);
		expect(memory.crossFitted("a").scores).toHaveLength(35);
	});

	it("damaged places are refused", async () => {
		const chosen = { window: 1 };
		const memory = await taught(chosen, good);
		const { cells, ...rest } = memory.tensors("a");
		const { data } = cells as AnyTensor;
		const places = data as Int32Array;
		for (const wrong of [places.slice(1), places.map((x) => x + 5)])
			expect(() =>
				create(chosen).restore("a", {
					...rest,
					cells: { ...cells, shape: [wrong.length], data: wrong } as AnyTensor,
				}),
			).toThrow('tensor "cells"');
	});
});

it("surround: learnt and scored are patches less what is about them", async () => {
	const shared = (all: Features): Features => ({
		...all,
		patches: (all.patches as readonly Tensor[]).map((image) =>
			lessSurround(image, [1, patchCount], 0.3),
		),
	});
	const chosen = { surround: 0.3, bytesPerTask: 100 * 2 * d };
	const memory = await learnt(chosen);
	const same = create({ bytesPerTask: 100 * 2 * d });
	await same.add(entry("a", 30, { learnt: shared(good) }), new Random(1));
	expect(memory.tensors("a")).toEqual(same.tensors("a"));
	expect(await memory.score("a", test9)).toEqual(
		await same.score("a", shared(test9)),
	);
	const restored = create(chosen);
	restored.restore("a", memory.tensors("a"));
	expect(await restored.score("a", test9)).toEqual(
		await memory.score("a", test9),
	);
	expect(memory.tensors("a").bank).not.toEqual(
		(await learnt({ bytesPerTask: 100 * 2 * d })).tensors("a").bank,
	);
});

describe("options", () => {
	it("blocks are fractions of the depth above 0", () => {
		expect(patches.patches?.(patches.options.parse({}))).toEqual({
			blocks: null, // as the backbone wants it
			tiles: 1,
			augment: "none",
		});
		for (const blocks of [[], [0], [1.1], 0.5])
			expect(patches.options.safeParse({ blocks }).success).toBe(false);
		expect(patches.options.safeParse({ blocks: [1] }).success).toBe(true);
		expect(patches.options.safeParse({ bytesPerTask: 0 }).success).toBe(false);
		for (const neighbours of [0, 1.5, 10])
			expect(patches.options.safeParse({ neighbours }).success).toBe(false);
		for (const surround of [-0.1, 1])
			expect(patches.options.safeParse({ surround }).success).toBe(false);
		for (const tiles of [0, 1.5, 9])
			expect(patches.options.safeParse({ tiles }).success).toBe(false);
		expect(patches.options.safeParse({ store: "float32" }).success).toBe(false);
	});
});

it("released, it can be used again", async () => {
	const memory = await learnt();
	const before = await memory.score("a", test9);
	await memory.release?.();
	expect(await memory.score("a", test9)).toEqual(before);
	await memory.release?.();
});
