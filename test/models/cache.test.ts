/** Names of the cache, and folders that are imported into it. */
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join, sep } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
	cacheDir,
	findCached,
	importBackbone,
	licenceOf,
	listCached,
	nameProblem,
	openCached,
	parseHubName,
	pinned,
	repoDir,
} from "../../src/models/cache.ts";
import { loadBackbone } from "../../src/models/index.ts";
import { hashFile, sha256 } from "../../src/storage.ts";
import { dinov2Files, timmFiles, tinyConfig } from "./tiny.ts";

let work: string;
let env: Record<string, string>;
beforeEach(() => {
	work = mkdtempSync(join(tmpdir(), "keepsight-cache-"));
	env = { HF_HOME: join(work, "cache") };
});
afterEach(() => {
	vi.unstubAllEnvs();
	rmSync(work, { recursive: true, force: true });
});

function folder(files: Record<string, Uint8Array>, name = "own"): string {
	const dir = join(work, name);
	mkdirSync(dir, { recursive: true });
	for (const [file, bytes] of Object.entries(files))
		writeFileSync(join(dir, file), bytes);
	return dir;
}

describe("names", () => {
	it.each([
		["hub:facebook/dinov2-small", "facebook/dinov2-small", null],
		["hub:facebook/dinov2-base@main", "facebook/dinov2-base", "main"],
		[
			"hub:timm/vit_base_patch16_224.augreg2_in21k_ft_in1k@refs/pr/1",
			"timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
			"refs/pr/1",
		],
	])("%s", (name, repo, revision) => {
		expect(nameProblem(name)).toBeNull();
		expect(parseHubName(name)).toEqual({ repo, revision });
	});

	it.each([
		"hub:",
		"hub:dinov2",
		"hub:a/b/c",
		"hub:../x",
		"hub:a/..",
		"hub:./a",
		"hub:a/.b",
		"hub:a/b.",
		"hub:a/b-",
		"hub:a/b..c",
		"hub:a/b--c",
		"hub:a/b.git",
		"hub:a\\b/c",
		"hub:a/b%2e",
		"hub:a/b\n",
		"hub:a/b?x",
		"hub:a/b#x",
		"hub:/a/b",
		"hub:a/b@",
		"hub:a/b@../x",
		"hub:a/b@x/../y",
		"hub:a/b@/x",
		"hub:a/b@x/",
		"hub:a/b@-x",
		"hub:a/b@x y",
		"hub:a/b@c@d",
		"hub:__proto__/é",
		`hub:a/${"b".repeat(97)}`,
		`hub:a/b@${"c".repeat(201)}`,
	])("%j is none, and nothing is looked up", (name) => {
		expect(nameProblem(name)).not.toBeNull();
		expect(() => findCached({ name }, env)).toThrow(/cannot name a backbone/);
	});

	it.each([
		"local:",
		"local:..",
		"local:../x",
		"local:a/b",
		"local:a..b",
		"local:.a",
		"local:a.",
		"local:a\\b",
		"local:a\0",
	])("%j is none", (name) => {
		expect(nameProblem(name)).not.toBeNull();
		expect(() => findCached({ name }, env)).toThrow(/cannot name a backbone/);
	});

	it("a pinned commit that leads out of the cache", () => {
		expect(() =>
			findCached({ name: "hub:a/b", commit: "../../x" }, env),
		).toThrow(/40 hexadecimal digits/);
	});

	it("names of folders and of the registry are not the cache's business", () => {
		for (const name of ["vit", "some/folder", "../folder"]) {
			expect(nameProblem(name)).toBeNull();
			expect(pinned({ name })).toEqual({ name });
		}
	});
});

it("lies where HF_HOME says, else in the user's cache", () => {
	const end = join("keepsight", "backbones");
	expect(cacheDir({ HF_HOME: "/h", XDG_CACHE_HOME: "/x" })).toBe(
		join("/h", "assets", end),
	);
	expect(cacheDir({ XDG_CACHE_HOME: "/x" })).toBe(join("/x", end));
	expect(cacheDir({ HF_HOME: "", XDG_CACHE_HOME: "" })).toBe(
		join(homedir(), ".cache", end),
	);
	expect(repoDir("a/b", env).startsWith(cacheDir(env) + sep)).toBe(true);
});

describe("import", () => {
	it("copies what a backbone needs under a name that configurations use", () => {
		const from = folder(timmFiles(1));
		const found = importBackbone(from, undefined, env);
		expect(found).toMatchObject({
			name: "local:own",
			commit: null,
			source: from,
			licence: "apache-2.0",
			patch: 8,
		});
		expect(readdirSync(found.dir).toSorted()).toEqual([
			"README.md",
			"backbone.json",
			"config.json",
			"model.safetensors",
		]);
		expect(listCached(env)).toEqual([found]);
		rmSync(from, { recursive: true });
		for (const [key, value] of Object.entries(env)) vi.stubEnv(key, value);
		expect(loadBackbone({ name: "local:own" }, [32, 32], 1).config).toEqual(
			tinyConfig,
		);
		expect(() => loadBackbone({ name: "local:owm" }, [32, 32], 1)).toThrow(
			/There is no backbone local:owm in .*backbone import DIR/,
		);
		expect(() => loadBackbone({ name: "hub:a/b" }, [32, 32], 1)).toThrow(
			/hub:a\/b is not in .*Run "keepsight backbone pull hub:a\/b"/,
		);
	});

	it("the same again changes nothing, other files under that name are refused, a damaged copy is mended", () => {
		const found = importBackbone(folder(timmFiles(1)), "mine", env);
		expect(importBackbone(folder(timmFiles(1)), "mine", env)).toEqual(found);
		expect(() =>
			importBackbone(folder(dinov2Files(1), "second"), "mine", env),
		).toThrow(/another backbone local:mine in .*--name/);
		writeFileSync(join(found.dir, "model.safetensors"), "x");
		expect(() => openCached({ name: "local:mine" }, env)).toThrow(
			/damaged: model\.safetensors has 1 bytes.*backbone import .* --name mine/,
		);
		importBackbone(folder(timmFiles(1)), "mine", env);
		expect(openCached({ name: "local:mine" }, env)).toBe(found.dir);
	});

	it("what is no backbone is not copied", () => {
		const { "config.json": _, ...rest } = timmFiles(1);
		const bad = {
			...timmFiles(1),
			"model.safetensors": timmFiles(1)["model.safetensors"]?.subarray(
				0,
				5000,
			) as Uint8Array,
		};
		for (const [files, text] of [
			[rest, /has no config\.json/],
			[bad, /not a valid safetensors file/],
			[
				{
					...timmFiles(1),
					"config.json": Buffer.from('{"model_type":"bert"}'),
				},
				/model_type is "bert"/,
			],
		] as const) {
			rmSync(join(work, "own"), { recursive: true, force: true });
			expect(() => importBackbone(folder(files), "bad", env)).toThrow(text);
		}
		expect(() => importBackbone(join(work, "nowhere"), "x", env)).toThrow(
			/no such file or folder/,
		);
		expect(() => importBackbone(folder(timmFiles(1)), "../x", env)).toThrow(
			/cannot name a backbone/,
		);
		expect(existsSync(join(work, "cache"))).toBe(false);
	});
});

it.each([
	[{ license: "apache-2.0" }, "apache-2.0"],
	[{ license: ["mit", "cc-by-4.0"] }, "mit, cc-by-4.0"],
	[
		{ license: "other", license_name: "dinov3-license" },
		"other (dinov3-license)",
	],
	[{ license: 5 }, null],
	[{}, null],
	[null, null],
	["text", null],
])("the licence of %j", (card, licence) => {
	expect(licenceOf(card)).toBe(licence);
});

it.each([
	["---\nlicense: mit\n---\n# x", "mit"],
	["\uFEFF---\r\nlicense: mit\r\ntags: [a]\r\n---\r\n", "mit"],
	[
		`---\nextra_gated_prompt: >-\n  ${"A text of some length. ".repeat(10)}\nlicense: mit\n---\n`,
		"mit",
	],
	["---\nlicense: [\n---\n", null],
	["# x", null],
	["", null],
])("the licence of the model card %j", (text, licence) => {
	const from = folder({ ...timmFiles(1), "README.md": Buffer.from(text) });
	const found = importBackbone(from, "card", env);
	expect(found.licence).toBe(licence);
});

it("a file is hashed as its bytes are, in pieces", () => {
	const bytes = Buffer.alloc((1 << 20) + 5, 7);
	const path = join(folder({ big: bytes }), "big");
	expect(hashFile(path)).toBe(sha256(bytes));
	expect(hashFile(path)).toBe(sha256(readFileSync(path)));
	expect(() => hashFile(join(work, "nowhere"))).toThrow(/no such file/);
});
