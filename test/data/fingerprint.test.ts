import {
	cpSync,
	mkdtempSync,
	rmSync,
	utimesSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { fingerprint } from "../../src/data/fingerprint.ts";
import { readLearnTasks } from "../../src/data/index.ts";
import { drawCategory } from "../drawn.ts";

let work: string;
beforeEach(async () => {
	work = mkdtempSync(join(tmpdir(), "keepsight-fingerprint-"));
	await drawCategory(join(work, "data/mvtec/a"), 0, 4, 1);
});
afterEach(() => rmSync(work, { recursive: true, force: true }));

const of = async (root = "data", roi = {}) => {
	const [task] = await readLearnTasks(join(work, root), ["mvtec/a"], { roi });
	return fingerprint(task as NonNullable<typeof task>);
};
const image = (name: string) => join(work, "data/mvtec/a/train/good", name);

it("is that of a copy, whatever its folder and dates", async () => {
	const before = await of();
	expect(before).toMatch(/^4 images, [0-9a-f]{16}$/);
	cpSync(join(work, "data"), join(work, "copy"), { recursive: true });
	expect(await of("copy")).toBe(before);
	utimesSync(image("1.png"), 1, 1);
	expect(await of()).toBe(before);
});

it("is another one for a missing, a new, a renamed, a longer image, and for one of the same size", async () => {
	const seen = new Set([await of()]);
	writeFileSync(image("1.bmp"), Buffer.alloc(100_000));
	seen.add(await of());
	const bytes = Buffer.alloc(100_000);
	bytes[50_000] = 1;
	writeFileSync(image("1.bmp"), bytes);
	seen.add(await of());
	cpSync(image("1.bmp"), image("2.bmp"));
	rmSync(image("1.bmp"));
	seen.add(await of());
	writeFileSync(image("2.bmp"), Buffer.alloc(100_001));
	seen.add(await of());
	rmSync(image("2.bmp"));
	rmSync(image("0.png"));
	seen.add(await of());
	expect(seen.size).toBe(6);
});

it("counts the region of interest, and no test image", async () => {
	const roi = join(work, "roi.png");
	writeFileSync(roi, "white");
	const [before, within] = [await of(), await of("data", { "mvtec/a": roi })];
	expect(within).not.toBe(before);
	writeFileSync(roi, "black");
	expect(await of("data", { "mvtec/a": roi })).not.toBe(within);
	rmSync(join(work, "data/mvtec/a/test"), { recursive: true });
	expect(await of()).toBe(before);
});

it("is none where an image cannot be read: once it can, it would be another one", async () => {
	const [task] = await readLearnTasks(join(work, "data"), ["mvtec/a"]);
	rmSync(image("1.png"));
	await expect(
		fingerprint(task as NonNullable<typeof task>),
	).rejects.toMatchObject({
		code: "CANNOT_READ",
		message: expect.stringContaining(image("1.png")),
	});
});
