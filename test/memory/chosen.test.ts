/** Every memory as a graph of several categories says what it says itself, with every option, and so does the router. */
import { describe, expect, it } from "vitest";
import { input } from "../../src/engine/graph.ts";
import { Session } from "../../src/engine/runtime.ts";
import {
	type AnyTensor,
	float32,
	type Tensor,
} from "../../src/engine/tensor.ts";
import { Chosen, positions } from "../../src/memory/chosen.ts";
import { memories } from "../../src/memory/index.ts";
import {
	Foreign,
	type Memory,
	type MemoryDefinition,
	type ScoreValues,
} from "../../src/memory/memory.ts";
import { Router } from "../../src/memory/routing.ts";
import { Random } from "../../src/random.ts";
import { entry, features, patchCount } from "./synthetic.ts";

const d = 12;
const ids = ["a", "b", "c"];

const cases: readonly (readonly [
	keyof typeof memories,
	Readonly<Record<string, unknown>>,
])[] = [
	["dne", {}],
	["dne", { form: "paper" }],
	["words", { words: 8 }],
	["words", { words: 130 }], // more than some categories have patches
	["patches", {}],
	["patches", { store: "int8", neighbours: 2 }],
	["patches", { bytesPerTask: 2 * d, neighbours: 2 }], // fewer centres than are averaged
	["patches", { surround: 0.25, neighbours: 3 }],
	["patches", { window: 1, foreground: true }],
];

/** Images of the category, of another one, and far from both. */
const images = (id: string) =>
	[
		features(id, "test", 4),
		features(id === "a" ? "b" : "a", "foreign", 3),
		features(id, "moved", 2, d, 2),
	].flatMap((some) =>
		some.ids.map((name, i) => ({
			ids: [name],
			embedding: row(some.embedding, i),
			frozen: row(some.frozen, i),
			patches: [some.patches?.[i] as Tensor],
		})),
	);

const row = ({ shape, data }: Tensor, i: number): Tensor => {
	const width = shape[1] as number;
	return float32([1, width], data.slice(i * width, (i + 1) * width));
};

const indexOf = (id: string): AnyTensor =>
	({ ...positions([ids.indexOf(id)]), shape: [] }) as AnyTensor;

async function sessionOf(memory: Memory, chosen: Chosen): Promise<Session> {
	const said = memory.graph?.(chosen, {
		embedding: input("embedding", [1, d]),
		patches: input("patches", [patchCount, d]),
	}) as ScoreValues;
	const { score, map, foreign } = said;
	return Session.create(
		{ score, ...(map && { map }), ...(foreign && { foreign }) },
		{ threads: 1 },
	);
}

for (const [name, options] of cases)
	describe(`${name} ${JSON.stringify(options)} as a graph`, () => {
		const made = async () => {
			const definition = memories[name] as unknown as MemoryDefinition;
			const memory = definition.create(definition.options.parse(options), {
				embedDim: d,
				grid: [1, patchCount],
				threads: 1,
			});
			await memory.add(entry("a", 30), new Random(1));
			await memory.add(
				{ ...entry("b", 20), roi: Uint8Array.of(1, 0, 1, 1, 0) },
				new Random(2),
			);
			await memory.add(entry("c", 1), new Random(3)); // does not know what is foreign
			return memory;
		};

		it("says what the memory says, of each of several categories and of one alone", async () => {
			const memory = await made();
			if (options.foreground)
				expect(Object.keys(memory.tensors("a"))).toEqual(
					expect.arrayContaining(["window", "foreground.direction"]),
				);
			const all = await sessionOf(
				memory,
				new Chosen(ids, input("index", [], "int64")),
			);
			for (const id of ids) {
				const alone = await sessionOf(memory, new Chosen([id], null));
				for (const image of images(id)) {
					const { scores, maps } = await memory.score(id, image);
					const wanted = {
						score: scores[0] as number,
						map: maps?.[0],
						foreign: maps?.[0] && memory.foreign?.(id, maps[0]),
					};
					const feeds = {
						embedding: image.embedding,
						patches: image.patches[0] as Tensor,
						index: indexOf(id),
					};
					for (const session of [all, alone]) {
						const found = await session.run(feeds);
						const score = found.score?.data[0] as number;
						expect(Math.abs(score - wanted.score)).toBeLessThan(
							1e-6 * Math.max(1, wanted.score),
						);
						for (const [i, value] of (wanted.map ?? []).entries())
							expect(found.map?.data[i]).toBeCloseTo(value, 6);
						if (wanted.map && session === all)
							expect(found.foreign?.data[0]).toBe(
								wanted.foreign === null
									? Foreign.notKnown
									: Foreign[wanted.foreign ? "yes" : "no"],
							);
					}
				}
				await alone.release();
			}
			await all.release();
			await memory.release?.();
		});
	});

describe("the router as a graph", () => {
	it("chooses as the router does, and knows what lies outside", async () => {
		const router = new Router(d);
		for (const [i, id] of ids.entries())
			router.add(id, features(id, "learnt", [30, 20, 1][i] as number));
		const frozen = input("frozen", [1, d]);
		const session = await Session.create(
			{
				route: router.routeGraph(frozen),
				out: router.isOutGraph(
					new Chosen(router.ids, input("index", [], "int64")),
					frozen,
				),
			},
			{ threads: 1 },
		);
		const outs = new Set<boolean | null>();
		for (const id of ids)
			for (const image of images(id)) {
				const route = router.route(image.frozen)[0]?.id as string;
				const out = router.isOut(id, image.frozen);
				const found = await session.run({
					frozen: image.frozen,
					index: indexOf(id),
				});
				expect(ids[Number(found.route?.data[0])]).toBe(route);
				expect(found.out?.data[0]).toBe(out === true ? 1 : 0);
				outs.add(out);
			}
		expect(outs).toEqual(new Set([true, false, null]));
		await session.release();
	});
});
