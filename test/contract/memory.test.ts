/** What every memory of the registry must do, under all forms it has. */
import { describe, expect, test } from "vitest";
import { type AnyTensor, float32 } from "../../src/engine/tensor.ts";
import { KeepsightError } from "../../src/errors.ts";
import { memories } from "../../src/memory/index.ts";
import type {
	Features,
	Memory,
	MemoryDefinition,
} from "../../src/memory/memory.ts";
import { Random } from "../../src/random.ts";
import {
	entry,
	features,
	part,
	patchCount,
	unit,
} from "../memory/synthetic.ts";

const d = 12;

interface Form {
	readonly options: Readonly<Record<string, unknown>>;
	/** How far scores after a merge may lie from those of learning all at once, relative; or why they are no measure. */
	readonly merged: number | string;
	/** The same for the mean of cross-fitted scores. */
	readonly mergedMean: number;
	/** Why a category's memory is not its own affair. */
	readonly shared?: string;
}
/** Moments merge exactly; the scale of earlier cross-fitted scores is estimated. */
const moments = { merged: 1e-6, mergedMean: 0.05 };
const pooled = { ...moments, shared: "one density for everything learnt" };
const otherOdd = "an image may be odd among 40 that is not among 25";
const otherWords = "words are found in the images learnt first";
/** Cross-fitted scores of earlier images stay, though there are now more images to be like. */
const bank = { merged: 1e-6, mergedMean: 0.15 };
const forms: Record<keyof typeof memories, readonly Form[]> = {
	dne: [
		{ options: { robust: false }, ...moments },
		{ options: {}, merged: otherOdd, mergedMean: 0.3 },
		{ options: { form: "paper" }, ...pooled },
		{ options: { form: "paper", analytic: true }, ...pooled },
		{ options: { drift: "ldc", robust: false }, ...moments },
	],
	patches: [
		{ options: {}, ...bank },
		// the second rounding to 8 bits is of what the first left, but for the last digit of a step
		{ options: { store: "int8" }, ...bank, merged: 1e-4 },
		// room for 40 of 200 patches: the second choice is among those of the first
		{ options: { bytesPerTask: 40 * 2 * d }, merged: 0.5, mergedMean: 0.3 },
		{
			options: { store: "int8", bytesPerTask: 40 * (d + 4) },
			merged: 0.5,
			mergedMean: 0.3,
		},
	],
	words: [
		{ options: { words: 8 }, merged: otherWords, mergedMean: 0.3 },
		{
			options: { words: 3, temperature: 0.5 },
			merged: otherWords,
			mergedMean: 0.3,
		},
	],
};
/** Tensors that may be absent: there for the newest task only, or not in memories of before. */
const optional = new Set(["newest.learnt", "usual"]);

/** Whatever happens, as a rejection. */
const attempt = async (action: () => unknown): Promise<unknown> => action();

for (const [name, registered] of Object.entries(memories)) {
	const definition = registered as unknown as MemoryDefinition;
	describe.each(
		forms[name as keyof typeof memories].map(
			(form) => [JSON.stringify(form.options), form] as const,
		),
	)(`${name} %s`, (_, { options, merged, mergedMean, shared }) => {
		const create = (): Memory =>
			definition.create(definition.options.parse(options), {
				embedDim: d,
				grid: [1, patchCount],
				threads: 1,
			});
		const three = async (memory = create()): Promise<Memory> => {
			await memory.add(entry("a", 30), new Random(1));
			await memory.add(
				entry("b", 20, { heldOut: features("b", "heldOut", 5) }),
				new Random(2),
			);
			await memory.add(
				entry("c", 25, {
					trained: Array.from({ length: 25 }, (_, i) => i < 20),
				}),
				new Random(3),
			);
			return memory;
		};
		const everythingOf = async (memory: Memory, id: string) =>
			structuredClone({
				id,
				...(await memory.score(id, features(id, "test", 9))),
				crossFitted: memory.crossFitted(id),
				tensors: memory.tensors(id),
				bytes: memory.bytes(id),
			});
		const everything = async (memory: Memory) => {
			const all: Awaited<ReturnType<typeof everythingOf>>[] = [];
			for (const id of [...memory.ids].sort())
				all.push(await everythingOf(memory, id));
			return all;
		};

		test("has a title, a paper, and strict options", () => {
			expect(definition.title).not.toBe("");
			expect(definition.paper).not.toBe("");
			expect(
				definition.options.safeParse({ ...options, nosuch: 1 }).success,
			).toBe(false);
		});

		test("the same for the same seed", async () => {
			expect(await everything(await three())).toEqual(
				await everything(await three()),
			);
		});

		test("restored, in any order, it is the same bit for bit, and its tensors are its own", async () => {
			const memory = await three();
			const restored = create();
			for (const id of [...memory.ids].reverse())
				restored.restore(id, memory.tensors(id));
			const before = await everything(memory);
			expect(await everything(restored)).toEqual(before);
			for (const tensor of Object.values(memory.tensors("a")))
				tensor.data.fill(0 as never);
			expect(await everything(restored)).toEqual(before);
		});

		test("learning and removing another category changes nothing of an earlier one", async (context) => {
			if (shared) return context.skip(shared);
			const memory = create();
			await memory.add(entry("a", 30), new Random(1));
			const before = await everythingOf(memory, "a");
			await memory.add(entry("b", 20), new Random(2));
			expect(await everythingOf(memory, "a")).toEqual(before);
			await memory.merge("b", features("b", "more", 5), new Random(3));
			expect(await everythingOf(memory, "a")).toEqual(before);
			memory.remove("b");
			expect(await everythingOf(memory, "a")).toEqual(before);
		});

		test("what is learnt of a category does not depend on those learnt before", async (context) => {
			if (shared) return context.skip(shared);
			const alone = create();
			await alone.add(entry("c", 25), new Random(3));
			const later = create();
			await later.add(entry("a", 30), new Random(1));
			await later.add(entry("c", 25), new Random(3));
			expect(await everythingOf(later, "c")).toEqual(
				await everythingOf(alone, "c"),
			);
		});

		test("an image scores the same alone and in a batch, so does each of its patches; far images score higher", async () => {
			const memory = await three();
			for (const id of memory.ids) {
				const all = features(id, "test", 9);
				const batch = await memory.score(id, all);
				expect(batch.scores.length).toBe(9);
				for (let i = 0; i < 9; i++)
					expect(await memory.score(id, part(all, i, i + 1))).toEqual({
						scores: batch.scores.slice(i, i + 1),
						maps: batch.maps?.slice(i, i + 1) ?? null,
					});
				for (const map of batch.maps ?? []) expect(map.length).toBe(patchCount);
				const far = await memory.score(id, features(id, "bad", 9, d, 25));
				expect(Math.min(...far.scores)).toBeGreaterThan(
					Math.max(...batch.scores),
				);
			}
		});

		test("merging scores as learning all at once does, and moves cross-fitted scores to the new scale", async () => {
			const all = features("a", "good", 40);
			const apart = create();
			await apart.add(
				entry("a", 25, { learnt: part(all, 0, 25) }),
				new Random(1),
			);
			await apart.merge("a", part(all, 25, 40), new Random(1));
			const whole = create();
			await whole.add(entry("a", 40, { learnt: all }), new Random(1));
			const query = features("a", "test", 9);
			const expected = (await whole.score("a", query)).scores;
			const scored = (await apart.score("a", query)).scores;
			for (const [i, value] of typeof merged === "number"
				? scored.entries()
				: [])
				expect(Math.abs(value / (expected[i] as number) - 1)).toBeLessThan(
					merged as number,
				);
			const mean = (values: Float64Array) =>
				values.reduce((x, y) => x + y) / values.length;
			expect(apart.crossFitted("a").scores.length).toBe(40);
			expect(
				Math.abs(
					mean(apart.crossFitted("a").scores) /
						mean(whole.crossFitted("a").scores) -
						1,
				),
			).toBeLessThan(mergedMean);
		});

		test("removing forgets all of it", async () => {
			const memory = await three();
			const [a, b] = [memory.tensors("a"), memory.tensors("b")];
			memory.remove("c");
			expect(memory.ids).toEqual(["a", "b"]);
			await expect(
				attempt(() => memory.score("c", features("c", "test", 1))),
			).rejects.toThrow('holds no "c"');
			const restored = create();
			restored.restore("a", a);
			restored.restore("b", b);
			expect(await everything(memory)).toEqual(await everything(restored));
			await memory.add(entry("c", 25), new Random(3)); // it may be learnt again
			expect(memory.ids).toEqual(["a", "b", "c"]);
		});

		test("bytes count every tensor", async () => {
			const memory = await three();
			expect(memory.bytes("a")).toBe(
				Object.values(memory.tensors("a")).reduce(
					(sum, t) => sum + t.data.byteLength,
					0,
				),
			);
		});

		test("a single image has nothing to be compared with: only held-out images have cross-fitted scores", async () => {
			for (const [heldOut, count] of [
				[null, 0],
				[features("a", "heldOut", 3), 3],
			] as const) {
				const memory = create();
				await memory.add(entry("a", 1, { heldOut }), new Random(1));
				expect(memory.crossFitted("a").scores.length).toBe(count);
			}
		});

		test("held-out images are counted beside the learnt ones, and are not learnt", async () => {
			const heldOut = features("a", "heldOut", 6);
			const [plain, more] = [create(), create()];
			await plain.add(entry("a", 20), new Random(1));
			await more.add(entry("a", 20, { heldOut }), new Random(1));
			const { scores } = more.crossFitted("a");
			expect(scores.slice(0, 20)).toEqual(plain.crossFitted("a").scores);
			expect(scores.slice(20)).toEqual((await more.score("a", heldOut)).scores);
			const query = features("a", "test", 5);
			expect(await more.score("a", query)).toEqual(
				await plain.score("a", query),
			);
		});

		test.each([1, 2, 3, 5])("%d images: finite scores", async (n) => {
			const memory = create();
			await memory.add(
				entry("a", n, {
					heldOut: n === 1 ? features("a", "heldOut", 2) : null,
				}),
				new Random(1),
			);
			await memory.merge("a", features("a", "more", 1), new Random(1));
			await memory.add(entry("b", n), new Random(1));
			const usable = (value: number) => Number.isFinite(value) && value >= 0;
			for (const id of memory.ids) {
				const { scores, maps } = await memory.score(
					id,
					features(id, "test", 5),
				);
				expect(scores.every(usable)).toBe(true);
				expect(maps?.every((map) => map.every(usable)) ?? true).toBe(true);
				expect(memory.crossFitted(id).scores.every(usable)).toBe(true);
			}
		});

		test("one image many times, and zeros: finite scores", async () => {
			for (const value of [1, 0]) {
				const memory = create();
				const filled = (n: number) =>
					unit(float32([n, d], new Float32Array(n * d).fill(value)));
				const same: Features = {
					...features("a", "good", 10),
					embedding: float32([10, d], new Float32Array(10 * d).fill(value)),
					patches: Array.from({ length: 10 }, () => filled(patchCount)),
				};
				await memory.add(entry("a", 10, { learnt: same }), new Random(1));
				for (const query of [features("a", "test", 5), same]) {
					const { scores } = await memory.score("a", query);
					expect(scores.every(Number.isFinite)).toBe(true);
				}
				expect(memory.crossFitted("a").scores.every(Number.isFinite)).toBe(
					true,
				);
			}
		});

		test("what cannot be used is refused and changes nothing", async () => {
			const memory = await three();
			const before = await everything(memory);
			const bad = features("d", "good", 3);
			bad.embedding.data[d + 1] = Number.NaN;
			const [, second] = bad.patches ?? [];
			second?.data.fill(Number.NaN, 1, 2);
			const refused: (() => unknown)[] = [
				() => memory.add(entry("d", 3, { learnt: bad }), new Random(1)),
				() => memory.add(entry("d", 3, { heldOut: bad }), new Random(1)),
				() => memory.add(entry("a", 3), new Random(1)),
				() =>
					memory.add(
						entry("d", 3, { learnt: features("d", "good", 3, d + 1) }),
						new Random(1),
					),
				() => memory.add(entry("d", 0), new Random(1)),
				() => memory.merge("a", bad, new Random(1)),
				() => memory.merge("d", features("d", "good", 3), new Random(1)),
				() => memory.remove("d"),
				() => memory.score("a", bad),
				() => memory.score("d", features("d", "test", 1)),
				() => memory.crossFitted("d"),
				() => memory.tensors("d"),
				() => memory.restore("a", {}),
			];
			for (const action of refused)
				await expect(attempt(action)).rejects.toThrow(KeepsightError);
			await expect(
				attempt(() => memory.merge("a", bad, new Random(1))),
			).rejects.toThrow(/image d\/good\/1 (has|hold) the value NaN/);
			expect(await everything(memory)).toEqual(before);
		});

		test("a stored tensor that is missing or of another type is refused by its name and changes nothing", async () => {
			const memory = await three();
			const before = await everything(memory);
			for (const id of ["a", "c"])
				for (const [tensor, value] of Object.entries(memory.tensors(id))) {
					const { [tensor]: _, ...rest } = memory.tensors(id);
					const other: AnyTensor = {
						dtype: "int64",
						shape: [value.data.length],
						data: new BigInt64Array(value.data.length),
					};
					const expected = `The stored memory of ${id} cannot be read: tensor "${tensor}"`;
					if (!optional.has(tensor))
						expect(() => memory.restore(id, rest)).toThrow(expected);
					expect(() =>
						memory.restore(id, { ...rest, [tensor]: other }),
					).toThrow(expected);
				}
			expect(await everything(memory)).toEqual(before);
		});
	});
}
