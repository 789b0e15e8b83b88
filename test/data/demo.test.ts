import { createHash } from "node:crypto";
import {
	mkdtemp,
	readdir,
	readFile,
	rm,
	stat,
	writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkData } from "../../src/data/check.ts";
import { families } from "../../src/data/demo/index.ts";
import { Scene } from "../../src/data/demo/scene.ts";
import { drawDemo } from "../../src/data/demo.ts";
import { readImage } from "../../src/data/image.ts";
import { readTasks } from "../../src/data/index.ts";
import { Random } from "../../src/random.ts";

const small = { size: 64, train: 3, validation: 2, testGood: 2, perDefect: 1 };
let dir: string;
beforeEach(async () => {
	dir = await mkdtemp(path.join(tmpdir(), "keepsight-demo-"));
});
afterEach(() => rm(dir, { recursive: true }));

async function digest(root: string): Promise<string> {
	const hash = createHash("sha256");
	for (const file of (
		await readdir(root, { recursive: true, withFileTypes: true })
	)
		.filter((e) => e.isFile())
		.map((e) => path.join(e.parentPath, e.name))
		.sort()) {
		hash.update(path.relative(root, file)).update(await readFile(file));
	}
	return hash.digest("hex");
}

it("five categories in both layouts, every defect with a mask, no fault that data check finds", async () => {
	const demo = await drawDemo(dir, small);
	expect(demo).toMatchObject({
		drawn: true,
		categories: [
			"mvtec/fabric",
			"mvtec/flange",
			"mvtec/tablet",
			"loco/kit",
			"loco/bottle",
		],
	});
	const { findings, categories } = await checkData(dir);
	expect(findings).toEqual([]);
	expect(categories).toHaveLength(5);
	const [kit] = await readTasks(dir, ["loco/kit"]);
	expect(kit?.categories[0]?.heldOut).toHaveLength(2);
	const kinds = kit?.categories[0]?.test.map((s) => s.kind) ?? [];
	expect([
		kinds.filter((k) => k === "logical").length,
		kinds.filter((k) => k === "structural").length,
	]).toEqual([5, 4]);
});

it("the same seed gives the same bytes, another seed others", async () => {
	const one = { ...small, products: 1, train: 2 };
	await drawDemo(path.join(dir, "a"), one);
	await drawDemo(path.join(dir, "b"), one);
	await drawDemo(path.join(dir, "c"), { ...one, seed: 1 });
	expect(await digest(path.join(dir, "a"))).toBe(
		await digest(path.join(dir, "b")),
	);
	expect(await digest(path.join(dir, "c"))).not.toBe(
		await digest(path.join(dir, "a")),
	);
});

describe("drawn once", () => {
	const one = { ...small, products: 1 };

	it("what is there already is left; other options draw anew and leave nothing of the old", async () => {
		await drawDemo(dir, { ...one, products: 2 });
		expect((await drawDemo(dir, { ...one, products: 2 })).drawn).toBe(false);
		expect((await drawDemo(dir, one)).drawn).toBe(true);
		expect((await readdir(path.join(dir, "mvtec"))).sort()).toEqual(["fabric"]);
	});

	it("an interrupted drawing is finished to the same bytes", async () => {
		await drawDemo(path.join(dir, "whole"), one);
		const broken = path.join(dir, "broken");
		await expect(
			drawDemo(broken, one, (done) => {
				if (done === 3) throw new Error("stopped");
			}),
		).rejects.toThrow("stopped");
		const drawn = path.join(broken, "mvtec/fabric/train/good/000.png");
		const before = await stat(drawn);
		await drawDemo(broken, one);
		expect((await stat(drawn)).ino).toBe(before.ino); // it went on instead of beginning again
		expect(await digest(broken)).toBe(await digest(path.join(dir, "whole")));
	});

	it("somebody else's folder is not touched", async () => {
		await drawDemo(dir, one);
		await rm(path.join(dir, "keepsight-demo.json"));
		await writeFile(path.join(dir, "mvtec/fabric/mine.txt"), "mine");
		await expect(drawDemo(dir, one)).rejects.toMatchObject({
			code: "DEMO_FOLDER_TAKEN",
		});
		expect(
			await readFile(path.join(dir, "mvtec/fabric/mine.txt"), "utf8"),
		).toBe("mine");
	});

	it("nor are pictures that somebody put among those that were drawn", async () => {
		await drawDemo(dir, { ...one, products: 2 });
		const mine = path.join(dir, "mvtec/flange/train/good/mine.png");
		await writeFile(mine, "mine");
		await expect(drawDemo(dir, one)).rejects.toThrow(
			`${mine} exists and was not drawn`,
		);
		expect(await readFile(mine, "utf8")).toBe("mine");
		expect((await drawDemo(dir, { ...one, products: 2 })).drawn).toBe(false); // nor is anything else
	});

	it("a stamp cannot name a folder to delete outside", async () => {
		await writeFile(path.join(dir, "keep.txt"), "mine");
		await writeFile(
			path.join(dir, "keepsight-demo.json"),
			JSON.stringify({
				complete: true,
				categories: ["../x", "keep.txt", "a/../.."],
			}),
		);
		await drawDemo(dir, one);
		expect(await readFile(path.join(dir, "keep.txt"), "utf8")).toBe("mine");
	});
});

it("more products: own names, and one near twin in ten, each time of another family", async () => {
	const demo = await drawDemo(dir, {
		size: 32,
		products: 20,
		train: 1,
		validation: 1,
		testGood: 1,
		perDefect: 0,
	});
	expect(new Set(demo.products.map((p) => p.id)).size).toBe(20);
	expect(demo.products.filter((p) => p.twinOf)).toEqual([
		{
			id: "loco/kit_009",
			family: "kit",
			twinOf: "loco/kit_008",
		},
		{ id: "mvtec/tablet_019", family: "tablet", twinOf: "mvtec/tablet_017" },
	]);
});

it("drift leaves what is learnt alone; dirt is listed", async () => {
	await drawDemo(dir, {
		...small,
		products: 1,
		train: 4,
		drift: true,
		dirty: 0.5,
	});
	const file = (folder: string, rest: string) =>
		path.join(dir, folder, "fabric", rest);
	const same = async (folder: string, rest: string) =>
		(await readFile(file("mvtec", rest))).equals(
			await readFile(file(folder, rest)),
		);
	expect(await same("drift_light", "train/good/000.png")).toBe(true);
	expect(await same("drift_light", "test/good/000.png")).toBe(false);
	expect(await same("drift_light", "ground_truth/hole/000_mask.png")).toBe(
		true,
	);
	const grey = async (folder: string) => {
		const { data } = await readImage(file(folder, "test/good/000.png"));
		return data.reduce((n, v) => n + v, 0) / data.length;
	};
	expect(await grey("drift_light")).toBeLessThan(0.97 * (await grey("mvtec")));
	const dirty = JSON.parse(
		await readFile(file("dirty", "dirty.json"), "utf8"),
	) as { path: string }[];
	expect(dirty).toHaveLength(2);
	for (let i = 0; i < 4; i++) {
		const name = `train/good/00${i}.png`;
		expect(await same("dirty", name)).toBe(!dirty.some((d) => d.path === name));
	}
});

it("options that cannot be drawn are named", async () => {
	await expect(drawDemo(dir, { train: 0 })).rejects.toMatchObject({
		code: "DEMO_BAD_OPTION",
		message: expect.stringContaining("train = 0"),
	});
	await expect(drawDemo(dir, { dirty: 2 })).rejects.toMatchObject({
		code: "DEMO_BAD_OPTION",
	});
});

describe.each(families.map((f) => [f.name, f] as const))(
	"%s",
	(_name, family) => {
		const paint = (
			parameters: Random | null,
			twin: boolean,
			defect: string | null,
			attempt = 0,
		) => {
			const scene = new Scene(128);
			family
				.create(parameters, twin)
				.draw(
					scene,
					new Random("shot", 3),
					defect,
					new Random("flaw", attempt),
				);
			return scene;
		};
		const changed = (a: Scene, b: Scene) => {
			let n = 0;
			for (let i = 0; i < a.r.length; i++) {
				const colour = Math.max(
					...([a.r, a.g, a.b] as const).map((plane, k) =>
						Math.abs(
							(plane[i] as number) -
								(([b.r, b.g, b.b][k] as Float32Array)[i] as number),
						),
					),
				);
				if (
					colour > 0.02 ||
					Math.abs((a.height[i] as number) - (b.height[i] as number)) > 0.3
				)
					n++;
			}
			return n / a.r.length;
		};

		it("a defect changes the part where it is and nowhere else", () => {
			const good = paint(null, false, null);
			expect(changed(good, paint(null, false, null))).toBe(0);
			for (const { name } of family.defects) {
				const shares = [0, 1, 2, 3, 4].map((attempt) =>
					changed(good, paint(null, false, name, attempt)),
				);
				expect(Math.max(...shares), name).toBeGreaterThan(0);
				expect(Math.max(...shares), name).toBeLessThan(0.2);
			}
		});

		it("a twin differs, a little; another product differs much", () => {
			const parameters = () => new Random("p", 1);
			const twin = changed(
				paint(parameters(), false, null),
				paint(parameters(), true, null),
			);
			expect(twin).toBeGreaterThan(0);
			expect(twin).toBeLessThan(0.2);
			expect(
				changed(paint(parameters(), false, null), paint(null, false, null)),
			).toBeGreaterThan(twin);
		});
	},
);
