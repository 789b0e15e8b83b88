import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
	compareNames,
	list,
	listImages,
	mapLimited,
} from "../../src/data/files.ts";

let dir: string;
beforeAll(async () => {
	dir = await mkdtemp(path.join(tmpdir(), "keepsight-files-"));
	await mkdir(path.join(dir, "root/in"), { recursive: true });
	for (const name of [
		"img10.png",
		"img2.PNG",
		".hidden.png",
		"Thumbs.db",
		"ä.jpg",
		'<script>"\n.png',
	])
		await writeFile(path.join(dir, "root", name), "");
	await writeFile(path.join(dir, "secret.png"), "");
});
afterAll(() => rm(dir, { recursive: true }));

it("numbers count as numbers, dotfiles and other files do not count", async () => {
	const names = (await listImages(path.join(dir, "root"))).map((e) => e.name);
	expect(names).toEqual(['<script>"\n.png', "img2.PNG", "img10.png", "ä.jpg"]);
});

it("a missing folder is an empty one", async () => {
	expect(await list(path.join(dir, "nowhere"))).toEqual([]);
});

it("a link that leads out of the root is refused, unless asked for", async () => {
	const root = path.join(dir, "root");
	await symlink("../../secret.png", path.join(root, "in", "out.png"));
	await expect(list(path.join(root, "in"), { root })).rejects.toMatchObject({
		code: "DATA_LINK_OUTSIDE",
	});
	expect(
		await list(path.join(root, "in"), { root, followLinks: true }),
	).toHaveLength(1);
	await rm(path.join(root, "in", "out.png"));
	await symlink("../img2.PNG", path.join(root, "in", "inside.png"));
	expect(await list(path.join(root, "in"), { root })).toHaveLength(1);
});

it("compareNames is a total order", () => {
	const name = fc.stringMatching(/^[a-c0-2]{0,5}$/);
	fc.assert(
		fc.property(name, name, name, (a, b, c) => {
			expect(
				Math.sign(compareNames(a, b)) + Math.sign(compareNames(b, a)),
			).toBe(0);
			if (compareNames(a, b) === 0) expect(a).toBe(b);
			if (compareNames(a, b) <= 0 && compareNames(b, c) <= 0)
				expect(compareNames(a, c)).toBeLessThanOrEqual(0);
		}),
		{ numRuns: 2000 },
	);
});

it("mapLimited keeps the order and the limit", async () => {
	let running = 0;
	let most = 0;
	const results = await mapLimited([5, 1, 3, 2, 4], 2, async (n) => {
		most = Math.max(most, ++running);
		await new Promise((done) => setTimeout(done, n));
		running--;
		return 10 * n;
	});
	expect(results).toEqual([50, 10, 30, 20, 40]);
	expect(most).toBe(2);
});
