import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readDefectTypes } from "../../src/data/defects.ts";
import {
	findCategories,
	findReader,
	readCategory,
	readers,
	readLearnTasks,
	readTasks,
} from "../../src/data/index.ts";
import { locoCategory, mvtecCategory, picture, put } from "./fixtures.ts";

let root: string;
beforeEach(async () => {
	root = await mkdtemp(path.join(tmpdir(), "keepsight-data-"));
	await mvtecCategory(root, "mvtec/nut");
	await mvtecCategory(root, "mvtec/bolt", 40);
	await locoCategory(root, "loco/kit");
	await put(root, "mine/parts/a.png", await picture(90));
	await put(root, "mvtec/preview.png", await picture(91)); // a stray picture beside the categories
});
afterEach(() => rm(root, { recursive: true }));

describe("reading", () => {
	it("finds every category, whatever its layout", async () => {
		expect(await findCategories(root)).toEqual([
			"loco/kit",
			"mine/parts",
			"mvtec/bolt",
			"mvtec/nut",
		]);
		const layouts = await Promise.all(
			["loco/kit", "mine/parts", "mvtec/nut"].map(
				async (id) => (await findReader(path.join(root, id)))?.layout,
			),
		);
		expect(layouts).toEqual(["loco", "folder", "mvtec"]);
	});

	it("MVTec: numbered order, defects, masks where there are some", async () => {
		const [task] = await readTasks(root, ["mvtec/nut"]);
		const category = task?.categories[0];
		expect(category?.normals.map((s) => s.id)).toEqual([
			"mvtec/nut/train/good/0.png",
			"mvtec/nut/train/good/9.png",
			"mvtec/nut/train/good/10.PNG",
		]);
		expect(
			category?.test.map((s) => [
				s.id,
				s.defect,
				s.kind,
				s.readMasks !== undefined,
			]),
		).toEqual([
			["mvtec/nut/test/crack/0.png", "crack", "structural", true],
			["mvtec/nut/test/crack/1.png", "crack", "structural", false],
			["mvtec/nut/test/good/0.png", null, "good", false],
		]);
		const masks = await category?.test[0]?.readMasks?.();
		expect(
			masks?.map((m) => [
				m.value,
				m.mask.shape,
				m.mask.data.reduce((n, v) => n + v, 0),
			]),
		).toEqual([[255, [6, 8], 1]]);
		expect((await category?.normals[0]?.read([6, 8]))?.data[0]).toBe(1);
	});

	it("LOCO: validation is held out, one mask a defect, its value names it", async () => {
		const [task] = await readTasks(root, ["loco/kit"]);
		const category = task?.categories[0];
		expect(category?.heldOut.map((s) => s.id)).toEqual([
			"loco/kit/validation/good/0.png",
		]);
		expect(category?.test.map((s) => s.kind)).toEqual([
			"good",
			"logical",
			"structural",
		]);
		expect(
			(await category?.test[1]?.readMasks?.())?.map((m) => m.value),
		).toEqual([255, 254]);
		const types = await readDefectTypes(path.join(root, "loco/kit"));
		expect(types?.get(255)).toEqual({
			name: "missing",
			value: 255,
			saturation: { threshold: 20, relative: false },
		});
	});

	it("a flat folder has normals and nothing to test", async () => {
		const [task] = await readTasks(root, ["mine/parts"]);
		expect(task?.categories[0]).toMatchObject({
			layout: "folder",
			heldOut: [],
			test: [],
		});
		expect(
			(await readCategory(path.join(root, "mine/parts"), "parts")).normals.map(
				(s) => s.id,
			),
		).toEqual(["parts/a.png"]);
	});

	it.each(Object.entries(readers))(
		"%s: normals are the same with and without test images",
		async (_name, reader) => {
			const id = { mvtec: "mvtec/nut", loco: "loco/kit", folder: "mine/parts" }[
				reader.layout
			];
			const ids = async () =>
				(await reader.readNormals(path.join(root, id), id)).normals.map(
					(s) => s.id,
				);
			const before = await ids();
			expect(before.length).toBeGreaterThan(0);
			await rm(path.join(root, id, "test"), { recursive: true, force: true });
			await rm(path.join(root, id, "ground_truth"), {
				recursive: true,
				force: true,
			});
			expect(await ids()).toEqual(before);
			expect(await reader.readTest(path.join(root, id), id)).toEqual([]);
		},
	);
});

describe("learning never looks at test images", () => {
	it("a test folder that is empty, garbage or gone changes nothing", async () => {
		const learn = async () =>
			JSON.stringify(await readLearnTasks(root, ["mvtec/*", "loco/kit"]));
		const before = await learn();
		await writeFile(path.join(root, "mvtec/nut/test/good/0.png"), "garbage");
		await mkdir(path.join(root, "mvtec/nut/test/empty"));
		await symlink("/etc", path.join(root, "mvtec/nut/test/outside"));
		expect(await learn()).toBe(before);
		await rm(path.join(root, "mvtec/nut/test"), { recursive: true });
		expect(await learn()).toBe(before);
		expect(
			(await readTasks(root, ["mvtec/nut"]))[0]?.categories[0]?.test,
		).toEqual([]);
	});
});

describe("task specs", () => {
	it("stars and groups", async () => {
		expect(
			(await readLearnTasks(root, ["mvtec/*", "loco/k*t"])).map((t) => t.id),
		).toEqual(["mvtec/bolt", "mvtec/nut", "loco/kit"]);
		const [group] = await readLearnTasks(root, [["mvtec/nut", "loco/kit"]]);
		expect(group?.id).toBe("mvtec/nut+loco/kit");
		expect(group?.categories.map((c) => c.id)).toEqual([
			"mvtec/nut",
			"loco/kit",
		]);
	});

	const bad: [string, string | string[], string, RegExp][] = [
		[
			"unknown name",
			"mvtec/nutt",
			"DATA_UNKNOWN_CATEGORY",
			/Did you mean "mvtec\/nut"\? Found: loco\/kit/,
		],
		["nothing matches", "visa/*", "DATA_UNKNOWN_CATEGORY", /Found: /],
		["twice", ["mvtec/nut", "mvtec/nut"], "DATA_CATEGORY_TWICE", /mvtec\/nut/],
		["upwards", "../mvtec/nut", "DATA_BAD_CATEGORY", /forward slashes/],
		["absolute", "/etc", "DATA_BAD_CATEGORY", /forward slashes/],
		["backslash", "mvtec\\nut", "DATA_BAD_CATEGORY", /forward slashes/],
	];
	it.each(bad)("refused: %s", async (_name, spec, code, message) => {
		await expect(readLearnTasks(root, [spec])).rejects.toMatchObject({
			code,
			message: expect.stringMatching(message),
		});
	});

	it("twice, through a star", async () => {
		await expect(
			readLearnTasks(root, ["mvtec/nut", "mvtec/*"]),
		).rejects.toMatchObject({
			code: "DATA_CATEGORY_TWICE",
			message: expect.stringContaining('"mvtec/*"'),
		});
	});

	it("no root, no good images, an empty class", async () => {
		await expect(
			readTasks(path.join(root, "nowhere"), ["a/b"]),
		).rejects.toMatchObject({ code: "DATA_ROOT_MISSING" });
		await rm(path.join(root, "mvtec/nut/train/good"), { recursive: true });
		await expect(readLearnTasks(root, ["mvtec/nut"])).rejects.toMatchObject({
			code: "DATA_NO_GOOD_IMAGES",
		});
		await mkdir(path.join(root, "mvtec/bolt/test/dent"));
		await expect(readTasks(root, ["mvtec/bolt"])).rejects.toMatchObject({
			code: "DATA_EMPTY_CLASS",
			message: expect.stringContaining("dent"),
		});
	});
});

it("names with odd characters are names", async () => {
	const odd = '  <b>"a,b";\n%2e%2e & co.PNG';
	await put(root, `mvtec/nut/train/good/${odd}`, await picture(77));
	const [task] = await readLearnTasks(root, ["mvtec/nut"]);
	const sample = task?.categories[0]?.normals.find((s) => s.id.endsWith(odd));
	expect((await sample?.read([6, 8]))?.data[0]).toBe(77);
});

it("links out of the root are refused, unless asked for", async () => {
	const outside = await mkdtemp(path.join(tmpdir(), "keepsight-outside-"));
	await put(outside, "x.png", await picture(5));
	await symlink(
		path.join(outside, "x.png"),
		path.join(root, "mvtec/nut/train/good/x.png"),
	);
	await expect(readLearnTasks(root, ["mvtec/nut"])).rejects.toMatchObject({
		code: "DATA_LINK_OUTSIDE",
	});
	expect(
		(await readLearnTasks(root, ["mvtec/nut"], { followLinks: true }))[0]
			?.categories[0]?.normals,
	).toHaveLength(4);
	await rm(outside, { recursive: true });
});

describe("defects_config.json", () => {
	it.each([
		["no JSON", "[", /JSON/],
		[
			"unknown key",
			'[{"defect_name":"a","pixel_value":1,"saturation_threshold":1,"relative_saturation":true,"extra":1}]',
			/extra/,
		],
		[
			"value 0",
			'[{"defect_name":"a","pixel_value":0,"saturation_threshold":1,"relative_saturation":true}]',
			/pixel_value/,
		],
		[
			"one value twice",
			JSON.stringify(
				[1, 1].map((v) => ({
					defect_name: "a",
					pixel_value: v,
					saturation_threshold: 1,
					relative_saturation: true,
				})),
			),
			/share one/,
		],
	])("refused: %s", async (_name, text, message) => {
		await put(root, "loco/kit/defects_config.json", text);
		await expect(
			readDefectTypes(path.join(root, "loco/kit")),
		).rejects.toMatchObject({
			code: "DATA_BAD_DEFECTS_CONFIG",
			message: expect.stringMatching(message),
		});
	});

	it("none is null", async () => {
		expect(await readDefectTypes(path.join(root, "mvtec/nut"))).toBeNull();
	});
});

// the folder lies beside the repository on development machines only
const shared = path.resolve("../shared/data");
it.skipIf(!existsSync(shared))(
	"the evaluation data beside the repository is read as its README counts it",
	async () => {
		const tasks = await readTasks(shared, ["mvtec/*", "loco/*"]);
		const counts = Object.fromEntries(
			tasks.map(({ id, categories: [c] }) => {
				const defects = c?.test.filter((s) => s.kind !== "good") ?? [];
				return [
					id,
					[
						c?.normals.length,
						c?.heldOut.length,
						(c?.test.length ?? 0) - defects.length,
						defects.length,
						new Set(defects.map((s) => s.defect)).size,
						defects.filter((s) => s.readMasks).length,
					],
				];
			}),
		);
		expect(counts).toEqual({
			"mvtec/bottle": [209, 0, 20, 63, 3, 0],
			"mvtec/screw": [320, 0, 41, 71, 3, 71],
			"mvtec/magnetic_tile": [300, 0, 100, 192, 5, 192],
			"mvtec/pcb": [240, 0, 60, 120, 6, 120],
			"loco/juice_bottle": [300, 54, 35, 142, 1, 142],
		});
	},
);
