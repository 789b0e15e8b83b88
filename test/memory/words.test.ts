/** Words: what is counted, against sums of its own; the contract all memories keep is test/contract/memory.test.ts. */
import { describe, expect, it } from "vitest";
import { fromHalf } from "../../src/engine/half.ts";
import { float32, type Tensor, uint8 } from "../../src/engine/tensor.ts";
import { KeepsightError } from "../../src/errors.ts";
import type { Entry, Features, Memory } from "../../src/memory/memory.ts";
import { words } from "../../src/memory/words.ts";
import { auroc } from "../../src/metrics/image.ts";
import { Random } from "../../src/random.ts";
import { directions, unit } from "./synthetic.ts";

const [d, rows, columns] = [16, 4, 5];
const n = rows * columns;
const create = (options: Readonly<Record<string, unknown>> = {}): Memory =>
	words.create(words.options.parse({ words: 6, ...options }), {
		embedDim: d,
		threads: 1,
		grid: [rows, columns],
	});

/** What pictures are made of: floor, nuts, washers. */
const kinds = directions(3, d, new Random("words.test"));

/** Pictures with so many nuts and washers, each a patch anywhere, on a floor. */
function pictures(
	seed: string,
	count: number,
	{ nuts = 3, washers = 2 }: { nuts?: number; washers?: number } = {},
): Features {
	const random = new Random("words.test", seed);
	const picture = (): Tensor => {
		const what = [
			...Array.from({ length: nuts }, () => 1),
			...Array.from({ length: washers }, () => 2),
			...Array.from({ length: n - nuts - washers }, () => 0),
		];
		return unit(
			float32(
				[n, d],
				Float32Array.from(
					random.permutation(n).flatMap((at) => {
						const from = (what[at] as number) * d;
						return Array.from(
							kinds.data.subarray(from, from + d),
							(x) => x + 0.05 * random.normal(),
						);
					}),
				),
			),
		);
	};
	const none = float32([count, d]);
	return {
		ids: Array.from({ length: count }, (_, i) => `${seed}/${i}`),
		embedding: none,
		frozen: none,
		patches: Array.from({ length: count }, picture),
	};
}

const entry = (learnt: Features, more: Partial<Entry> = {}): Entry => ({
	id: "kit",
	group: "kit",
	learnt,
	trained: learnt.ids.map(() => false),
	heldOut: null,
	...more,
});

async function taught(
	learnt: Features,
	options: Readonly<Record<string, unknown>> = {},
	more: Partial<Entry> = {},
): Promise<Memory> {
	const memory = create(options);
	await memory.add(entry(learnt, more), new Random(1));
	return memory;
}

const scores = async (memory: Memory, features: Features) =>
	Array.from((await memory.score("kit", features)).scores);

/** Shares of the words in a picture, by hand. */
function sharesOf(memory: Memory, patches: Tensor, temperature = 0.1) {
	const found = fromHalf(memory.tensors("kit").words as Tensor<"float16">);
	const k = found.shape[0] as number;
	const shares = new Float64Array(k);
	for (let i = 0; i < n; i++) {
		const parts = Array.from({ length: k }, (_, w) => {
			let dot = 0;
			for (let j = 0; j < d; j++)
				dot +=
					(patches.data[i * d + j] as number) *
					(found.data[w * d + j] as number);
			return Math.exp(dot / temperature);
		});
		const total = parts.reduce((a, b) => a + b);
		for (let w = 0; w < k; w++)
			shares[w] = (shares[w] as number) + (parts[w] as number) / total / n;
	}
	return shares;
}

describe("words", () => {
	it("tell a nut too few and a washer too many, though every patch is that of a good part", async () => {
		const memory = await taught(pictures("good", 40));
		const good = await scores(memory, pictures("test", 20));
		for (const bad of [{ nuts: 2 }, { washers: 3 }, { nuts: 2, washers: 3 }]) {
			const found = await scores(memory, pictures("bad", 20, bad));
			const { value } = auroc(
				[...good, ...found],
				[...good.map(() => 0 as const), ...found.map(() => 1 as const)],
			);
			expect(value).toBe(1);
		}
		const { maps } = await memory.score("kit", pictures("test", 2));
		expect(maps).toBeNull(); // which one is missing, no place tells
	});

	it("keeps the mean share of every word in the learnt images", async () => {
		const learnt = pictures("good", 12);
		const memory = await taught(learnt);
		const mean = (memory.tensors("kit").mean as Tensor<"float64">).data;
		const byHand = (learnt.patches as readonly Tensor[]).map((image) =>
			sharesOf(memory, image),
		);
		expect(mean.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
		for (const [w, value] of mean.entries())
			expect(value).toBeCloseTo(
				byHand.reduce((sum, own) => sum + (own[w] as number), 0) / 12,
				6,
			);
	});

	it("merging moves the Gaussian as if all had been learnt with the first words", async () => {
		const [first, more] = [pictures("good", 12), pictures("more", 8)];
		const memory = await taught(first);
		const before = memory.tensors("kit").words;
		await memory.merge("kit", more, new Random(2));
		const after = memory.tensors("kit");
		expect(after.words).toEqual(before);
		expect(after.n?.data).toEqual(Int32Array.of(20));
		const all = [first, more].flatMap(({ patches }) => patches ?? []);
		const shares = all.map((image) => sharesOf(memory, image));
		const mean = (after.mean as Tensor<"float64">).data;
		for (const [w, value] of mean.entries())
			expect(value).toBeCloseTo(
				shares.reduce((sum, own) => sum + (own[w] as number), 0) / 20,
				6,
			);
		expect(memory.crossFitted("kit").scores.length).toBe(20);
	});

	it("looks nowhere but in the region of interest", async () => {
		const roi = Uint8Array.from({ length: n }, (_, i) => (i < 10 ? 1 : 0));
		const learnt = pictures("good", 30);
		const memory = await taught(learnt, {}, { roi });
		const probe = pictures("test", 1);
		const [patches] = probe.patches as [Tensor];
		const other = float32(patches.shape, patches.data.slice());
		other.data.fill(0.25, 10 * d); // below the region
		const before = await scores(memory, probe);
		expect(await scores(memory, { ...probe, patches: [other] })).toEqual(
			before,
		);
		other.data.fill(0.25, 9 * d);
		expect(await scores(memory, { ...probe, patches: [other] })).not.toEqual(
			before,
		);
		const restored = create();
		restored.restore("kit", memory.tensors("kit"));
		expect(await scores(restored, probe)).toEqual(before);
		for (const bad of [new Uint8Array(n), new Uint8Array(3).fill(1)])
			await expect(taught(learnt, {}, { roi: bad })).rejects.toThrow("region");
	});

	it("has no more words than patches, and counts the nearest alone at a low temperature", async () => {
		const one = pictures("good", 1);
		const memory = await taught(one, { words: 1000 });
		expect(memory.tensors("kit").words?.shape).toEqual([n, d]);
		const hard = await taught(one, { temperature: 1e-4 });
		const counts = (hard.tensors("kit").mean as Tensor<"float64">).data.map(
			(share) => n * share,
		);
		for (const count of counts)
			expect(Math.abs(count - Math.round(count))).toBeLessThan(0.01);
	});

	it.each([
		["no patches", { patches: null }, "0 sets of patches"],
		["patches of another grid", { patches: [float32([n - 1, d])] }, "shape"],
		[
			"a patch that is no number",
			{ patches: [float32([n, d], new Float32Array(n * d).fill(Number.NaN))] },
			"NaN",
		],
		["no images", { ids: [], patches: [] }, "no images"],
	])("refuses %s", async (_, change, text) => {
		const memory = await taught(pictures("good", 4));
		const bad = { ...pictures("bad", 1), ...change } as Features;
		const refusal: unknown = await scores(memory, bad).catch(
			(error: unknown) => error,
		);
		expect(refusal).toBeInstanceOf(KeepsightError);
		expect((refusal as Error).message).toContain(text);
	});

	it("refuses a stored memory that does not fit", async () => {
		const memory = await taught(pictures("good", 4));
		const stored = memory.tensors("kit");
		const half = (...numbers: number[]): Tensor<"float16"> => ({
			dtype: "float16",
			shape: [numbers.length],
			data: Uint16Array.from(numbers),
		});
		const infinite = new Array<number>(d).fill(0x7c00);
		for (const bad of [half(...infinite, 0), half(...infinite), uint8([2])])
			expect(() => create().restore("kit", { ...stored, words: bad })).toThrow(
				"words",
			);
	});

	it("reads its own tiles", () => {
		expect(words.patches?.(words.options.parse({ tiles: 2 }))).toEqual({
			blocks: null,
			tiles: 2,
			augment: "none",
		});
		for (const bad of [{ words: 1 }, { temperature: 0 }, { tiles: 9 }])
			expect(words.options.safeParse(bad).success).toBe(false);
	});
});
