/** What every memory of the registry must do, under all forms it has. */
import { describe, expect, test } from "vitest";
import { float32 } from "../../src/engine/tensor.ts";
import { KeepsightError } from "../../src/errors.ts";
import { memories } from "../../src/memory/index.ts";
import type { Memory } from "../../src/memory/memory.ts";
import { Random } from "../../src/random.ts";
import { entry, features, part } from "../memory/synthetic.ts";

const d = 12;
const forms: Record<
	keyof typeof memories,
	readonly { [option: string]: unknown }[]
> = {
	dne: [
		{},
		{ form: "paper" },
		{ form: "paper", analytic: true },
		{ drift: "ldc" },
	],
};

for (const [name, definition] of Object.entries(memories)) {
	describe.each(forms[name as keyof typeof memories])(
		`${name} %j`,
		(chosen) => {
			const create = (): Memory =>
				definition.create(definition.options.parse(chosen), { embedDim: d });
			const three = (memory = create()): Memory => {
				memory.add(entry("a", 30), new Random(1));
				memory.add(
					entry("b", 20, { heldOut: features("b", "heldOut", 5) }),
					new Random(2),
				);
				memory.add(
					entry("c", 25, {
						trained: Array.from({ length: 25 }, (_, i) => i < 20),
					}),
					new Random(3),
				);
				return memory;
			};
			const everything = (memory: Memory) =>
				memory.ids.map((id) => [
					id,
					memory.score(id, features(id, "test", 9)),
					memory.crossFitted(id),
					memory.tensors(id),
					memory.bytes(id),
				]);

			test("has a title, a paper, and strict options", () => {
				expect(definition.title).not.toBe("");
				expect(definition.paper).not.toBe("");
				expect(
					definition.options.safeParse({ ...chosen, nosuch: 1 }).success,
				).toBe(false);
			});

			test("the same for the same seed", () => {
				expect(everything(three())).toEqual(everything(three()));
			});

			test("restored, in any order, it is the same bit for bit, and its tensors are its own", () => {
				const memory = three();
				const restored = create();
				for (const id of [...memory.ids].reverse())
					restored.restore(id, memory.tensors(id));
				const sorted = (m: Memory) =>
					everything(m).sort(([a], [b]) =>
						JSON.stringify(a) < JSON.stringify(b) ? -1 : 1,
					);
				expect(sorted(restored)).toEqual(sorted(memory));
				for (const tensor of Object.values(memory.tensors("a")))
					tensor.data.fill(0 as never);
				expect(
					restored.tensors("a").mean?.data.some((value) => value !== 0),
				).toBe(true);
			});

			test("an image scores the same alone and in a batch; far images score higher", () => {
				const memory = three();
				for (const id of memory.ids) {
					const batch = memory.score(id, features(id, "test", 9));
					for (let i = 0; i < 9; i++)
						expect(
							memory.score(id, part(features(id, "test", 9), i, i + 1)),
						).toEqual(batch.slice(i, i + 1));
					expect(
						Math.min(...memory.score(id, features(id, "bad", 9, d, 25))),
					).toBeGreaterThan(Math.max(...batch));
				}
			});

			test("merging scores as learning all at once does, and moves cross-fitted scores to the new scale", () => {
				const all = features("a", "good", 40);
				const apart = create();
				apart.add(entry("a", 25, { learnt: part(all, 0, 25) }), new Random(1));
				apart.merge("a", part(all, 25, 40));
				const whole = create();
				whole.add(entry("a", 40, { learnt: all }), new Random(1));
				const query = features("a", "test", 9);
				const expected = whole.score("a", query);
				apart.score("a", query).forEach((value, i) => {
					expect(Math.abs(value / (expected[i] as number) - 1)).toBeLessThan(
						1e-9,
					);
				});
				const mean = (values: Float64Array) =>
					values.reduce((x, y) => x + y) / values.length;
				expect(apart.crossFitted("a").scores.length).toBe(40);
				expect(
					Math.abs(
						mean(apart.crossFitted("a").scores) /
							mean(whole.crossFitted("a").scores) -
							1,
					),
				).toBeLessThan(0.05);
			});

			test("removing forgets all of it", () => {
				const memory = three();
				const [a, b] = [memory.tensors("a"), memory.tensors("b")];
				memory.remove("c");
				expect(memory.ids).toEqual(["a", "b"]);
				expect(() => memory.score("c", features("c", "test", 1))).toThrow(
					'holds no "c"',
				);
				const restored = create();
				restored.restore("a", a);
				restored.restore("b", b);
				expect(everything(memory)).toEqual(everything(restored));
			});

			test("bytes count every tensor", () => {
				const memory = three();
				expect(memory.bytes("a")).toBe(
					Object.values(memory.tensors("a")).reduce(
						(sum, t) => sum + t.data.byteLength,
						0,
					),
				);
			});

			test.each([1, 2, 3, 5])("%d images: finite scores", (n) => {
				const memory = create();
				memory.add(
					entry("a", n, {
						heldOut: n === 1 ? features("a", "heldOut", 2) : null,
					}),
					new Random(1),
				);
				memory.merge("a", features("a", "more", 1));
				memory.add(entry("b", n), new Random(1));
				for (const id of memory.ids) {
					expect(
						memory
							.score(id, features(id, "test", 5))
							.every((value) => Number.isFinite(value) && value >= 0),
					).toBe(true);
					expect(
						memory
							.crossFitted(id)
							.scores.every((value) => Number.isFinite(value) && value >= 0),
					).toBe(true);
				}
			});

			test("one image many times, and zeros: finite scores", () => {
				for (const value of [1, 0]) {
					const memory = create();
					const same = {
						...features("a", "good", 10),
						embedding: float32([10, d], new Float32Array(10 * d).fill(value)),
					};
					memory.add(entry("a", 10, { learnt: same }), new Random(1));
					expect(
						memory.score("a", features("a", "test", 5)).every(Number.isFinite),
					).toBe(true);
					expect(memory.score("a", same).every(Number.isFinite)).toBe(true);
					expect(memory.crossFitted("a").scores.every(Number.isFinite)).toBe(
						true,
					);
				}
			});

			test("what cannot be used is refused and changes nothing", () => {
				const memory = three();
				const before = everything(memory);
				const bad = features("d", "good", 3);
				bad.embedding.data[d + 1] = Number.NaN;
				const refused: (() => void)[] = [
					() => memory.add(entry("d", 3, { learnt: bad }), new Random(1)),
					() => memory.add(entry("d", 3, { heldOut: bad }), new Random(1)),
					() => memory.add(entry("a", 3), new Random(1)),
					() =>
						memory.add(
							entry("d", 3, { learnt: features("d", "good", 3, d + 1) }),
							new Random(1),
						),
					() => memory.add(entry("d", 0), new Random(1)),
					() => memory.merge("a", bad),
					() => memory.merge("d", features("d", "good", 3)),
					() => memory.remove("d"),
					() => memory.score("a", bad),
					() => memory.restore("a", {}),
					() =>
						memory.restore("a", { ...memory.tensors("a"), mean: float32([d]) }),
				];
				for (const action of refused) expect(action).toThrow(KeepsightError);
				expect(() => memory.merge("a", bad)).toThrow(
					"image d/good/1 has the value NaN",
				);
				expect(everything(memory)).toEqual(before);
			});
		},
	);
}
