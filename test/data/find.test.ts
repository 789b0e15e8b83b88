import {
	mkdirSync,
	mkdtempSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findImages, globOf } from "../../src/data/find.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-find-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
beforeAll(() => {
	for (const name of [
		"img10.png",
		"img2.PNG",
		"notes.txt",
		".hidden.png",
		'a b/it\'s "one".jpg',
		"a b/c/deep.tif",
		"a*b/star.png",
		"line\nbreak.webp",
	]) {
		mkdirSync(join(work, name, ".."), { recursive: true });
		writeFileSync(join(work, name), "");
	}
	symlinkSync(join(work, "a b"), join(work, "a b/loop"));
});

const names = async (input: string) =>
	(await findImages(join(work, input))).map(({ name }) => name);

describe("what an input means", () => {
	it("a folder: all pictures below it, in the order of their names, whatever those hold; a loop of links ends", async () => {
		expect(await names(".")).toEqual([
			"a b/c/deep.tif",
			'a b/it\'s "one".jpg',
			"a*b/star.png",
			"img2.PNG",
			"img10.png",
			"line\nbreak.webp",
		]);
	});
	it("a file: itself, picture or not", async () => {
		const file = join(work, "notes.txt");
		expect(await findImages(file)).toEqual([
			{ path: file, name: "notes.txt", folder: null },
		]);
	});
	it.each([
		["*.png", ["img10.png"]],
		["img?.*", ["img2.PNG"]],
		["**/*.tif", ["a b/c/deep.tif"]],
		["**", 6],
		["a*/*", ['a b/it\'s "one".jpg', "a*b/star.png"]],
		["a b/**/*.*", ["c/deep.tif", 'it\'s "one".jpg']],
	] as const)("a pattern: %s", async (pattern, expected) => {
		const found = await names(pattern);
		if (typeof expected === "number") expect(found).toHaveLength(expected);
		else expect(found).toEqual(expected);
	});
	it("a folder whose name looks like a pattern: itself", async () => {
		expect(await names("a*b")).toEqual(["star.png"]);
	});
	it.each(["nowhere.png", "*.gif", "a b/c/*.png"])(
		"%s leads to nothing, and is named",
		async (input) => {
			await expect(names(input)).rejects.toMatchObject({
				code: "INPUT_MISSING",
				message: expect.stringContaining(input),
			});
		},
	);
});

describe("a pattern", () => {
	it.each([
		["*.png", ["a.png", ".png"], ["a.jpg", "d/a.png", "axpng"]],
		["a?c", ["abc", "aéc", "a😀c"], ["ac", "abbc", "a/c"]],
		["**/x", ["x", "a/x", "a/b/x"], ["ax", "x/a"]],
		["a/**/x", ["a/x", "a/b/c/x"], ["x", "b/a/x"]],
		["a/**", ["a/x", "a/b/c"], ["a", "b"]],
		["[1](+).png", ["[1](+).png"], ["1.png"]],
	])("%s", (pattern, matched, unmatched) => {
		const glob = globOf(pattern);
		expect(matched.filter((name) => !glob.test(name))).toEqual([]);
		expect(unmatched.filter((name) => glob.test(name))).toEqual([]);
	});
});
