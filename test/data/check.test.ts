import { mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { checkData, formatReport, type Report } from "../../src/data/check.ts";
import { encodePng } from "../../src/data/image.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { locoCategory, mask, mvtecCategory, picture, put } from "./fixtures.ts";

let root: string;
beforeEach(async () => {
	root = await mkdtemp(path.join(tmpdir(), "keepsight-check-"));
});
afterEach(() => rm(root, { recursive: true }));

const found = (report: Report) =>
	Object.fromEntries(report.findings.map((f) => [f.kind, f.paths]));

it("a sound root: counts, sizes, nothing to mend but the missing mask", async () => {
	await mvtecCategory(root, "mvtec/nut");
	await locoCategory(root, "loco/kit");
	const report = await checkData(root);
	expect(found(report)).toEqual({
		"missing mask": ["mvtec/nut/test/crack/1.png"],
	});
	expect(formatReport(report)).toBe(
		[
			"category                  folder                     images  masks  sizes",
			"loco/kit (MVTec LOCO AD)  train/good                      1         8x6",
			"                          validation/good                 1",
			"                          test/good                       1",
			"                          test/logical_anomalies          1      1",
			"                          test/structural_anomalies       1      1",
			"mvtec/nut (MVTec AD)      train/good                      3         8x6",
			"                          test/crack                      2      1",
			"                          test/good                       1",
			"",
			"warning: missing mask, 1 case in mvtec/nut",
			"    mvtec/nut/test/crack/1.png",
			"  Add the mask under ground_truth, or accept that pixel metrics are null for this category.",
			"",
			"0 kinds of errors, 1 of warnings.",
		].join("\n"),
	);
});

it("accepts a data set, a category and a flat folder", async () => {
	await mvtecCategory(root, "mvtec/nut");
	expect(
		(await checkData(path.join(root, "mvtec"))).categories.map((c) => c.id),
	).toEqual(["nut"]);
	expect(
		(await checkData(path.join(root, "mvtec/nut"))).categories.map((c) => [
			c.id,
			c.layout,
		]),
	).toEqual([[".", "MVTec AD"]]);
	const flat = await checkData(path.join(root, "mvtec/nut/train/good"));
	expect(flat.categories).toMatchObject([
		{ classes: [{ folder: ".", images: 3, masks: null }] },
	]);
	expect(flat.findings).toEqual([]);
	await expect(checkData(path.join(root, "nowhere"))).rejects.toMatchObject({
		code: "DATA_ROOT_MISSING",
	});
});

it("looks at images beside folders as well, which `learn` would take", async () => {
	await put(root, "cap/1.png", await picture(1));
	await put(root, "cap/more/2.png", await picture(2));
	const report = await checkData(path.join(root, "cap"));
	expect(report.categories.map(({ id }) => id)).toEqual([".", "more"]);
	expect(found(report)).toEqual({ "folder that is not read": ["more"] });
});

it("names pictures to learn that show nothing, large ones too", async () => {
	const large = (grey: (x: number) => number) => {
		const image = uint8([600, 700, 3]);
		for (let i = 0; i < image.data.length; i++)
			image.data[i] = grey(Math.floor(i / 3) % 700);
		return encodePng(image, 0);
	};
	await put(root, "dark.png", await large((x) => x % 9));
	await put(root, "empty.png", await large((x) => 130 + (x % 2)));
	await put(root, "part.png", await large((x) => (x < 300 ? 130 : 140)));
	expect(found(await checkData(root))).toEqual({
		"shows nothing": ["dark.png", "empty.png"],
	});
});

it("finds every fault, and nothing twice", async () => {
	await mvtecCategory(root, "mvtec/nut");
	const at = (file: string) => `mvtec/nut/${file}`;
	await put(root, at("train/good/bad.jpg"), (await picture(1)).subarray(0, 40));
	await put(root, at("train/good/again.png"), await picture(1)); // as train/good/0.png
	await put(root, at("test/good/leak.png"), await picture(2)); // as train/good/10.PNG
	await put(root, at("test/crack/both.png"), await picture(3)); // as train/good/9.png
	await put(root, at("train/good/notes.txt"), "x");
	await put(root, at("train/good/A.png"), await picture(101));
	await put(root, at("train/good/a.png"), await picture(102));
	await put(root, at("train/scratched/0.png"), await picture(103));
	await put(root, at("ground_truth/good/0_mask.png"), await mask(255));
	await put(root, at("ground_truth/crack/1_mask.png"), await mask(255, [3, 8]));
	await put(root, at("ground_truth/crack/7_mask.png"), await mask(255));
	await put(root, at("ground_truth/crack/both_mask.png"), await mask(0));
	await put(root, at("ground_truth/dent/0_mask.png"), await mask(255));
	await mkdir(path.join(root, at("test/hole")));
	await symlink("/etc/hostname", path.join(root, at("test/good/out.png")));
	await put(root, at("test/crack/1.jpg"), await picture(104)); // beside 1.png: whose mask is 1_mask.png?
	expect(found(await checkData(root))).toEqual({
		unreadable: [at("train/good/bad.jpg")],
		"not an image": [at("train/good/notes.txt")],
		"names that differ in case alone": [
			at("train/good/A.png"),
			at("train/good/a.png"),
		],
		"folder that is not read": [at("train/scratched")],
		"stem used twice": [at("test/crack/1.png")],
		"mask of another size": [
			at("ground_truth/crack/1_mask.png"),
			at("ground_truth/crack/1_mask.png"),
		],
		"empty mask": [at("ground_truth/crack/both_mask.png")],
		"mask without an image": [
			at("ground_truth/crack/7_mask.png"),
			at("ground_truth/dent"),
		],
		"link out of the folder": [at("test/good/out.png")],
		"empty folder": [at("test/hole")],
		"mask for a good image": [at("ground_truth/good/0_mask.png")],
		"duplicate within a split": [
			`${at("train/good/0.png")} = ${at("train/good/again.png")}`,
		],
		"duplicate across splits": [
			`${at("train/good/10.PNG")} = ${at("test/good/leak.png")}`,
		],
		"good and defect alike": [
			`${at("train/good/9.png")} = ${at("test/crack/both.png")}`,
		],
	});
});

it("LOCO: a value nobody named, a config nobody can read, no good images", async () => {
	await locoCategory(root, "loco/kit");
	await put(
		root,
		"loco/kit/ground_truth/logical_anomalies/000/002.png",
		await mask(9),
	);
	expect(found(await checkData(root))).toEqual({
		"unknown mask value": [
			"loco/kit/ground_truth/logical_anomalies/000/002.png",
		],
	});
	await put(root, "loco/kit/defects_config.json", "{}");
	await rm(path.join(root, "loco/kit/train"), { recursive: true });
	expect(found(await checkData(root))).toEqual({
		"bad defects_config.json": ["loco/kit/defects_config.json"],
		"no good training images": ["loco/kit/train/good"],
	});
});

it("a name cannot forge a line of the report", async () => {
	await mvtecCategory(root, "mvtec/nut");
	await put(root, "mvtec/nut/train/good/x\n0 kinds of errors.txt", "");
	expect(formatReport(await checkData(root))).toContain(
		'"mvtec/nut/train/good/x\\n0 kinds of errors.txt"',
	);
});
