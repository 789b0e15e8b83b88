/** What a run has learnt, written to memory/ and read back. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
	float32,
	type Tensor,
	type TensorDict,
	uint8,
} from "../src/engine/tensor.ts";
import {
	type AllFeatures,
	Knowledge,
	type KnowledgeSetup,
	type MemorySetup,
} from "../src/knowledge.ts";
import { loadBackbone } from "../src/models/index.ts";
import { Random } from "../src/random.ts";
import { taskFolder } from "../src/run.ts";
import { VersionedFolder } from "../src/storage.ts";
import { unit } from "./memory/synthetic.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-knowledge-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const d = 8;
const backbone = loadBackbone(
	{ name: "vit", width: d, depth: 2, heads: 2, patch: 8 },
	[16, 24],
	1,
);
const setup: KnowledgeSetup = {
	memories: [
		{ name: "dne", options: { form: "routed" }, weight: 0.75 },
		{ name: "patches", options: { store: "int8" }, weight: 0.25 },
	],
	from: 1,
	falseAlarms: 0.02,
};

/** n images of a product that lies about its own direction. */
function featuresOf(product: number, n: number, seed = 0): AllFeatures {
	const r = new Random("knowledge.test", product, seed);
	const draw = (at: number) =>
		float32(
			[n, d],
			Float32Array.from(
				{ length: n * d },
				(_, i) => (i % d === at ? 3 : 0) + r.normal(0, 0.3),
			),
		);
	return {
		ids: Array.from({ length: n }, (_, i) => `${product}/${i}`),
		embedding: draw(product),
		frozen: draw(d - 1 - product),
		patches: {
			1: Array.from({ length: n }, () =>
				unit(
					float32(
						[6, d],
						Float32Array.from(
							{ length: 6 * d },
							(_, i) => (i % d === product ? 3 : 0) + r.normal(0, 0.3),
						),
					),
				),
			),
		},
	};
}
const weights = (fill: number): TensorDict => ({
	"norm.weight": float32([d], new Float32Array(d).fill(fill)),
	"head.bias": float32([2]),
});

/** Two tasks, the second of two categories. */
async function teach(
	knowledge: Knowledge,
	weightsPerTask: boolean,
): Promise<void> {
	const add = async (product: number) => {
		const learnt = featuresOf(product, 30);
		const id = `mvtec/${product}`;
		await knowledge.remember(
			{
				id,
				group: `task ${product}`,
				learnt,
				trained: learnt.ids.map((_, i) => i < 24),
				heldOut: product === 1 ? featuresOf(product, 5, 1) : null,
				roi: null,
			},
			new Random(1, id),
		);
		return id;
	};
	const learn = async (id: string, products: number[], w: TensorDict) => {
		const categories: string[] = [];
		for (const product of products) categories.push(await add(product));
		knowledge.current = w;
		knowledge.addTask(
			{ id, categories, learning: { pretextLoss: 1 / 3, optimism: null } },
			w,
			{ weightsPerTask },
		);
	};
	await learn("mvtec/0", [0], weights(1));
	await learn("mvtec/1+mvtec/2", [1, 2], weights(2));
	knowledge.strategyTensors = { basis: float32([1, d]) };
}

const folderAt = (name: string) => VersionedFolder.open(join(work, name));
const files = (name: string): Record<string, string> =>
	Object.fromEntries(
		readdirSync(join(work, name), { recursive: true, withFileTypes: true })
			.filter((f) => f.isFile())
			.map((f) => join(f.parentPath, f.name))
			.sort()
			.map((path) => [
				path.slice(join(work, name).length),
				readFileSync(path).toString("base64"),
			]),
	);

describe.each([
	["weights shared by all tasks", false],
	["weights of each task's own", true],
])("%s", (title, weightsPerTask) => {
	const taught = new Knowledge(backbone, setup, 1);
	let read: Knowledge;
	beforeAll(async () => {
		await teach(taught, weightsPerTask);
		taught.save(folderAt(title), taskFolder);
		read = Knowledge.load(folderAt(title), 1);
	});

	it("comes back as it was", () => {
		expect(read.tasks).toEqual(taught.tasks);
		expect(read.setup).toEqual(setup);
		expect(read.backbone.config).toEqual(backbone.config);
		expect(read.backbone.precision).toBe("float32");
		expect(read.current).toEqual(taught.current);
		expect(read.strategyTensors).toEqual(taught.strategyTensors);
		expect(read.bytes()).toEqual(taught.bytes());
	});

	it("routes and scores to the same bits, patch by patch", async () => {
		for (const product of [0, 1, 2]) {
			const probe = featuresOf(product, 1, 99);
			const id = taught.route(probe.frozen);
			expect(id).toBe(`mvtec/${product}`);
			expect(read.route(probe.frozen)).toBe(id);
			const judged = await taught.judge(id, probe);
			expect(judged.map?.length).toBe(6);
			expect(await read.judge(id, probe)).toEqual(judged);
			expect(read.weightsOf(id)).toEqual(taught.weightsOf(id));
		}
		const first = (k: Knowledge) =>
			k.weightsOf("mvtec/0")?.["norm.weight"]?.data[0];
		expect(first(read)).toBe(weightsPerTask ? 1 : 2);
	});

	it("is written again to the same files, and anew to the same bytes", () => {
		const folder = folderAt(title);
		read.save(folder, taskFolder);
		expect(folder.version).toBe(1);
		read.save(folderAt(`${title} again`), taskFolder);
		expect(files(`${title} again`)).toEqual(files(title));
	});

	it("goes on learning from what was read as from what was taught", async () => {
		for (const [k, name] of [
			[taught, "a"],
			[Knowledge.load(folderAt(title), 1), "b"],
		] as const) {
			const learnt = featuresOf(3, 12);
			await k.remember(
				{
					id: "loco/3",
					group: "loco/3",
					learnt,
					trained: learnt.ids.map(() => true),
					heldOut: null,
					roi: null,
				},
				new Random(1),
			);
			k.addTask(
				{ id: "loco/3", categories: ["loco/3"], learning: {} },
				weights(3),
				{ weightsPerTask },
			);
			k.save(folderAt(title + name), taskFolder);
		}
		expect(files(`${title}b`)).toEqual(files(`${title}a`));
	});
});

describe("several memories", () => {
	const shares = [0.75, 0.25] as const;
	const alone = (i: number): KnowledgeSetup => ({
		...setup,
		memories: [{ ...(setup.memories[i] as MemorySetup), weight: 1 }],
	});
	const taughtWith = async (chosen: KnowledgeSetup) => {
		const k = new Knowledge(backbone, chosen, 1);
		await teach(k, false);
		return k;
	};

	it("an image's score is the largest of −log10 (p / share); the threshold stays", async () => {
		const both = await taughtWith(setup);
		const [density, bank] = [
			await taughtWith(alone(0)),
			await taughtWith(alone(1)),
		];
		const wins = [0, 0];
		for (const product of [0, 1, 2])
			for (let seed = 0; seed < 20; seed++) {
				const id = `mvtec/${product}`;
				const probe = featuresOf(product, 1, 100 + seed);
				const single = [
					(await density.judge(id, probe)).score,
					(await bank.judge(id, probe)).score,
				].map((score, i) => score + Math.log10(shares[i] as number));
				const { score, threshold } = await both.judge(id, probe);
				expect(score).toBe(Math.max(...single));
				expect(threshold).toBe(-Math.log10(setup.falseAlarms));
				const winner = single.indexOf(score);
				wins[winner] = (wins[winner] ?? 0) + 1;
			}
		expect(Math.min(...wins)).toBeGreaterThan(0);
	});

	it("the map is that of the memory that has one, shifted with its scores: its maximum comes near the score far out", async () => {
		const both = await taughtWith(setup);
		const bank = await taughtWith(alone(1));
		const probe = featuresOf(2, 1, 7);
		const asOther = await both.judge("mvtec/0", probe);
		const ofBank = await bank.judge("mvtec/0", probe);
		expect(ofBank.score).toBeGreaterThan(3);
		expect(
			Math.abs(Math.max(...(ofBank.map as Float32Array)) - ofBank.score),
		).toBeLessThan(0.003);
		for (const [i, value] of (asOther.map as Float32Array).entries())
			expect(value).toBeCloseTo(
				(ofBank.map?.[i] as number) + Math.log10(shares[1]),
				4,
			);
		expect(
			(await (await taughtWith(alone(0))).judge("mvtec/0", probe)).map,
		).toBe(null);
	});

	it("of several tilings each reads its own; the map is the larger of theirs, as fine as the finest", async () => {
		const tiled = (tiles: number): MemorySetup => ({
			name: "patches",
			options: { tiles },
			weight: 0.5,
		});
		const finer = (all: AllFeatures): AllFeatures => ({
			...all,
			patches: {
				...all.patches,
				2: (all.patches[1] as readonly Tensor[]).map((image, i) =>
					unit(
						float32(
							[24, d],
							Float32Array.from({ length: 24 * d }, (_, at) => {
								const [cell, k] = [Math.floor(at / d), at % d];
								const [r, c] = [Math.floor(cell / 6), cell % 6];
								const from = 3 * Math.floor(r / 2) + Math.floor(c / 2);
								return (
									(image.data[from * d + k] as number) + 0.1 * Math.sin(i + at)
								);
							}),
						),
					),
				),
			},
		});
		const taughtFine = async (memories: readonly MemorySetup[]) => {
			const k = new Knowledge(backbone, { ...setup, memories }, 1);
			await k.remember(
				{
					id: "a",
					group: "a",
					learnt: finer(featuresOf(0, 30)),
					trained: new Array<boolean>(30).fill(false),
					heldOut: null,
					roi: uint8([16, 24], new Uint8Array(384).fill(255)),
				},
				new Random(1),
			);
			return k;
		};
		const both = await taughtFine([tiled(2), tiled(1)]);
		expect(both.patches).toMatchObject({ tiles: [1, 2], grid: [4, 6] });
		const probe = finer(featuresOf(0, 1, 5));
		const maps = [];
		for (const tiles of [1, 2]) {
			const alone = await taughtFine([{ ...tiled(tiles), weight: 1 }]);
			maps.push((await alone.judge("a", probe)).map as Float32Array);
		}
		const [coarse, fine] = maps as [Float32Array, Float32Array];
		expect([coarse.length, fine.length]).toEqual([6, 24]);
		const { map } = await both.judge("a", probe);
		const won = [0, 0];
		for (const [i, value] of (map as Float32Array).entries()) {
			const [r, c] = [Math.floor(i / 6), i % 6];
			const over = coarse[3 * Math.floor(r / 2) + Math.floor(c / 2)] as number;
			const own = fine[i] as number;
			const winner = Number(own > over);
			won[winner] = (won[winner] ?? 0) + 1;
			expect(value).toBeCloseTo(Math.max(own, over) + Math.log10(0.5), 4);
		}
		expect(Math.min(...won)).toBeGreaterThan(0);
	});

	it("an image is unknown where both its patches and its class token are foreign", async () => {
		const both = await taughtWith(setup);
		const own = featuresOf(0, 1, 8);
		const other = featuresOf(2, 1, 8);
		const unknown = async (probe: AllFeatures) =>
			(await both.judge("mvtec/0", probe)).unknown;
		expect(await unknown(own)).toBe(false);
		expect(await unknown(other)).toBe(true);
		expect(await unknown({ ...other, frozen: own.frozen })).toBe(false);
		expect(await unknown({ ...own, frozen: other.frozen })).toBe(false);
		const density = await taughtWith(alone(0));
		expect((await density.judge("mvtec/0", other)).unknown).toBe(false);
	});

	it("refuses memories that read different blocks, by both", () => {
		const memories = [[0.5], [1]].map((blocks) => ({
			name: "patches",
			options: { blocks },
			weight: 0.5,
		}));
		expect(
			() => new Knowledge(backbone, { ...setup, memories }, 1).patches,
		).toThrow("blocks (1 and 2)");
	});

	it("names the blocks that are read, as fractions of the depth", () => {
		const blocks = (...chosen: readonly number[]) =>
			new Knowledge(
				{ ...backbone, config: { ...backbone.config, depth: 12 } },
				{
					...setup,
					memories: [
						{ name: "dne", options: {}, weight: 0.5 },
						{
							name: "patches",
							options: chosen.length > 0 ? { blocks: chosen } : {},
							weight: 0.5,
						},
					],
				},
				1,
			).patches.blocks;
		expect(blocks()).toEqual([5, 8]);
		expect(blocks(0.01, 1)).toEqual([0, 11]);
		expect(new Knowledge(backbone, alone(0), 1).patches.blocks).toEqual([]);
	});

	it("their files and bytes are counted apart", async () => {
		const [both, ...single] = [
			await taughtWith(setup),
			await taughtWith(alone(0)),
			await taughtWith(alone(1)),
		].map((k) => {
			const { bytes, weightsBytes, strategyBytes } = k.bytes();
			return bytes - weightsBytes - strategyBytes;
		});
		const router = new Knowledge(backbone, setup, 1).router;
		for (const product of [0, 1, 2])
			router.add(`mvtec/${product}`, featuresOf(product, 30));
		const routing = router.ids.reduce((sum, id) => sum + router.bytes(id), 0);
		expect((both as number) - routing).toBe(
			single.reduce((sum, bytes) => sum + bytes - routing, 0),
		);
	});

	it("a manifest without a file for one of them is damaged", async () => {
		const k = await taughtWith(setup);
		const folder = folderAt("one too few");
		k.save(folder, taskFolder);
		const meta = folder.meta as {
			tasks: { categories: { memories: string[] }[] }[];
		};
		const fewer = {
			...meta,
			tasks: meta.tasks.map((task) => ({
				...task,
				categories: task.categories.map((category) => ({
					...category,
					memories: category.memories.slice(0, 1),
				})),
			})),
		};
		folder.commit({ meta: fewer });
		expect(() => Knowledge.load(folderAt("one too few"), 1)).toThrow(
			"names 1 files of memories for mvtec/0, and there are 2",
		);
	});
});

it("bytes: weights that tasks share count once", async () => {
	const bytes = async (weightsPerTask: boolean) => {
		const k = new Knowledge(backbone, setup, 1);
		await teach(k, weightsPerTask);
		return k.bytes();
	};
	const [shared, own] = [await bytes(false), await bytes(true)];
	expect(shared.weightsBytes).toBe(4 * (d + 2));
	expect(own.weightsBytes).toBe(2 * 4 * (d + 2));
	expect(shared.strategyBytes).toBe(4 * d);
	expect(shared.bytes).toBe(2 * shared.bytesPerTask + 4 * (d + 2) + 4 * d);
});

it("the largest patches and the most heads that a configuration can have are read again", async () => {
	const k = new Knowledge(backbone, setup, 1);
	await teach(k, false);
	const folder = folderAt("large patches");
	k.save(folder, taskFolder);
	const vit = { ...(folder.meta.vit as object) };
	const many = { patch: 2048, imageSize: [2048, 2048], width: 2048 };
	folder.commit({
		meta: { ...folder.meta, vit: { ...vit, ...many, heads: 2048 } },
	});
	expect(() => Knowledge.load(folderAt("large patches"), 1)).toThrow(
		/the network of the manifest needs/, // it is the sizes of the tensors that do not fit
	);
});

it("an empty folder and a foreign manifest are errors", () => {
	expect(() => Knowledge.load(folderAt("nothing"), 1)).toThrow(
		/does not describe a memory/,
	);
	const folder = folderAt("foreign");
	folder.commit({ meta: { hello: 1 } });
	expect(() => Knowledge.load(folder, 1)).toThrow(/does not describe a memory/);
});
