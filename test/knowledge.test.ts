/** What a run has learnt, written to memory/ and read back. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { float32, type TensorDict } from "../src/engine/tensor.ts";
import { Knowledge, type KnowledgeSetup } from "../src/knowledge.ts";
import type { Features } from "../src/memory/memory.ts";
import { loadBackbone } from "../src/models/index.ts";
import { Random } from "../src/random.ts";
import { taskFolder } from "../src/run.ts";
import { VersionedFolder } from "../src/storage.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-knowledge-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const d = 8;
const backbone = loadBackbone(
	{ name: "vit", width: d, depth: 2, heads: 2, patch: 8 },
	[16, 24],
	1,
);
const setup: KnowledgeSetup = {
	memory: { name: "dne", options: { form: "routed" } },
	from: 1,
	falseAlarms: 0.02,
};

/** n images of a product that lies about its own direction. */
function featuresOf(product: number, n: number, seed = 0): Features {
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
	};
}
const weights = (fill: number): TensorDict => ({
	"norm.weight": float32([d], new Float32Array(d).fill(fill)),
	"head.bias": float32([2]),
});

/** Two tasks, the second of two categories. */
function teach(knowledge: Knowledge, weightsPerTask: boolean): void {
	const add = (product: number) => {
		const learnt = featuresOf(product, 30);
		const id = `mvtec/${product}`;
		knowledge.memory.add(
			{
				id,
				group: `task ${product}`,
				learnt,
				trained: learnt.ids.map((_, i) => i < 24),
				heldOut: product === 1 ? featuresOf(product, 5, 1) : null,
			},
			new Random(1, id),
		);
		knowledge.router.add(id, learnt);
		return id;
	};
	const learn = (id: string, products: number[], w: TensorDict) => {
		const categories = products.map(add);
		knowledge.current = w;
		knowledge.addTask(
			{ id, categories, learning: { pretextLoss: 1 / 3, optimism: null } },
			w,
			{ weightsPerTask },
		);
	};
	learn("mvtec/0", [0], weights(1));
	learn("mvtec/1+mvtec/2", [1, 2], weights(2));
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
	const taught = new Knowledge(backbone, setup);
	let read: Knowledge;
	beforeAll(() => {
		teach(taught, weightsPerTask);
		taught.save(folderAt(title), taskFolder);
		read = Knowledge.load(folderAt(title));
	});

	it("comes back as it was", () => {
		expect(read.tasks).toEqual(taught.tasks);
		expect(read.setup).toEqual(setup);
		expect(read.backbone.config).toEqual(backbone.config);
		expect(read.current).toEqual(taught.current);
		expect(read.strategyTensors).toEqual(taught.strategyTensors);
		expect(read.bytes()).toEqual(taught.bytes());
	});

	it("routes and scores to the same bits", () => {
		for (const product of [0, 1, 2]) {
			const probe = featuresOf(product, 1, 99);
			const id = taught.route(probe.frozen);
			expect(id).toBe(`mvtec/${product}`);
			expect(read.route(probe.frozen)).toBe(id);
			expect(read.judge(id, probe)).toEqual(taught.judge(id, probe));
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

	it("goes on learning from what was read as from what was taught", () => {
		for (const [k, name] of [
			[taught, "a"],
			[Knowledge.load(folderAt(title)), "b"],
		] as const) {
			const learnt = featuresOf(3, 12);
			k.memory.add(
				{
					id: "loco/3",
					group: "loco/3",
					learnt,
					trained: learnt.ids.map(() => true),
					heldOut: null,
				},
				new Random(1),
			);
			k.router.add("loco/3", learnt);
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

it("bytes: weights that tasks share count once", () => {
	const [shared, own] = [false, true].map((weightsPerTask) => {
		const k = new Knowledge(backbone, setup);
		teach(k, weightsPerTask);
		return k.bytes();
	});
	expect(shared?.weightsBytes).toBe(4 * (d + 2));
	expect(own?.weightsBytes).toBe(2 * 4 * (d + 2));
	expect(shared?.strategyBytes).toBe(4 * d);
	expect(shared?.bytes).toBe(
		2 * (shared?.bytesPerTask ?? 0) + 4 * (d + 2) + 4 * d,
	);
});

it("an empty folder and a foreign manifest are errors", () => {
	expect(() => Knowledge.load(folderAt("nothing"))).toThrow(
		/does not describe a memory/,
	);
	const folder = folderAt("foreign");
	folder.commit({ meta: { hello: 1 } });
	expect(() => Knowledge.load(folder)).toThrow(/does not describe a memory/);
});
