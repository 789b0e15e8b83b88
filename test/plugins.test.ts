import {
	appendFileSync,
	mkdirSync,
	mkdtempSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createRequire } from "node:module";
import { afterAll, describe, expect, it } from "vitest";
import { parseConfig } from "../src/config.ts";
import {
	findCategories,
	readLearnTasks,
	readTasks,
} from "../src/data/index.ts";
import { loadedPlugins, loadPlugins, pluginsBehind } from "../src/plugins.ts";
import { pretexts } from "../src/pretext/index.ts";
import { checkReaders, openRun, type RunStart } from "../src/run.ts";
import { keyOf } from "../src/study/cells.ts";
import { jobBase, readJob } from "../src/study/queue/jobs.ts";
import { drawCategory } from "./drawn.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-plugins-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const zod = pathToFileURL(createRequire(import.meta.url).resolve("zod")).href;
let files = 0;
/** A plugin's file; `z` is there. */
function plugin(body: string): string {
	const file = join(work, `plugin${files++}.mjs`);
	writeFileSync(file, `import { z } from ${JSON.stringify(zod)};\n${body}`);
	return file;
}
const definition = `{
	title: "Own", paper: "", options: z.strictObject({ strength: z.number().default(2) }),
	create: () => ({ classes: ["normal", "own"], augment: (image) => [image, image] }),
}`;
const configOf = (strategy: string, more = "") =>
	parseConfig(
		`name: run
data: { tasks: [a/x] }
pretext: { name: cutpaste }
strategy: { name: ${strategy} }
memory: [{ name: dne }]
${more}`,
		"run.yaml",
	);

const own = plugin(
	`export default { strategies: { ownStrategy: ${definition} }, pretexts: { own: ${definition} } };`,
);
const builtIn = keyOf(configOf("gpm").config);

describe("a plugin", () => {
	it("is what a name comes from that nobody knew before", async () => {
		expect(() => configOf("ownStrategy")).toThrow(
			/^Unknown strategy "ownStrategy" at strategy.name in run.yaml line 4. Use one of: .*gpm. One of your own comes with --plugin FILE.$/,
		);
		await Promise.all([loadPlugins([own, own]), loadPlugins([own])]);
		const { config, compare } = configOf(
			"ownStrategy",
			"compare: { strategies: [{ name: ownStrategy, strength: 3 }] }",
		);
		expect(config.strategy).toEqual({ name: "ownStrategy", strength: 2 });
		expect(compare.strategies).toEqual([{ name: "ownStrategy", strength: 3 }]);
		expect(() => configOf("ownStrategi")).toThrow(
			/Did you mean "ownStrategy"\? Use one of: .*gpm, ownStrategy\./,
		);
		expect(loadedPlugins()).toEqual([
			{
				file: own,
				sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
				adds: ["strategy ownStrategy", "pretext own"],
			},
		]);
	});

	it("is part of what a run is where it is made of it, and of no other", () => {
		const { config } = configOf("ownStrategy");
		const [{ sha256 } = { sha256: "" }] = loadedPlugins();
		const plugins = { "strategy ownStrategy": sha256 };
		expect(pluginsBehind(config)).toEqual(plugins);
		expect(pluginsBehind(configOf("gpm").config)).toEqual({});
		expect(keyOf(configOf("gpm").config)).toBe(builtIn);

		const dir = join(work, "run");
		const start: RunStart = {
			config: {},
			seed: 1,
			versions: { keepsight: "1", node: "1", onnxruntime: "1" },
			machine: { cpu: "", cores: 1, memoryBytes: 1, platform: "" },
			order: ["a/x"],
		};
		openRun(dir, "new", { ...start, plugins }).close();
		openRun(dir, "resume", { ...start, plugins }).close();
		expect(() => openRun(dir, "resume", start)).toThrow(
			`plugins.strategy ownStrategy: "${sha256}" -> (not set)`,
		);
		const forced = openRun(
			dir,
			"resume",
			{ ...start, plugins: {} },
			{ force: true },
		);
		expect(forced.record).toMatchObject({
			plugins: {},
			forced: [[expect.stringContaining("ownStrategy")]],
		});
		forced.close();
	});

	const read = (plugins: object) => {
		const job = {
			...jobBase,
			kind: "cell",
			study: "00000000-0000-4000-8000-000000000000",
			store: "folder",
			key: "0123456789abcdef",
			label: "own",
			config: configOf("ownStrategy").config,
			fresh: false,
			failures: 0,
			images: {},
			plugins,
		};
		return readJob(JSON.parse(JSON.stringify(job)), {
			root: work,
			followLinks: false,
		});
	};

	it("must be the one that a job of a queue was made with", () => {
		const { config } = configOf("ownStrategy");
		expect(read(pluginsBehind(config))).toMatchObject({
			config: { strategy: config.strategy },
		});
		expect(() => read({ "strategy ownStrategy": "0" })).toThrow(
			"it needs the strategy ownStrategy of a plugin, and this worker has another file for it. Start the worker with --plugin",
		);
		expect(() => read({ "memory rare": "0" })).toThrow(
			"it needs the memory rare of a plugin, and this worker has none of that name.",
		);
	});

	it("may read a layout of its own, before the built-in readers are asked", async () => {
		const root = join(work, "data");
		await drawCategory(join(root, "own/a"), 0, 3, 1);
		mkdirSync(join(root, "own/a/marked"));
		expect(await findCategories(root)).toEqual(["own/a"]);
		const file = plugin(`import { existsSync } from "node:fs";
const sample = (id) => ({ id, path: id, defect: null, kind: "good", read: async () => null, size: async () => [1, 1] });
export default { readers: { marked: {
	title: "Marked", layout: "mvtec", matches: async (dir) => existsSync(dir + "/marked"),
	readNormals: async (dir, id) => ({ id, normals: [sample(id + "/n")], heldOut: [] }),
	readTest: async (dir, id) => [sample(id + "/t")],
} } };`);
		await loadPlugins([file]);
		const [learnt] = await readLearnTasks(root, ["own/a"]);
		expect(learnt?.categories[0]?.normals.map(({ id }) => id)).toEqual([
			"own/a/n",
		]);
		const [tested] = await readTasks(root, ["own/*"]);
		expect(tested?.categories[0]).toMatchObject({
			layout: "mvtec",
			test: [{ id: "own/a/t" }],
		});
		expect(Object.keys(pluginsBehind(configOf("gpm").config))).toEqual([
			"reader marked",
		]);
		const { config } = configOf("ownStrategy");
		expect(read(pluginsBehind(config))).toMatchObject({ kind: "cell" });
		const { "reader marked": _, ...others } = pluginsBehind(config);
		expect(() => read(others)).toThrow(
			"this worker has the reader marked of a plugin, which the sweep has not and which may find other images. Start the worker without that plugin.",
		);
	});

	it("that read a run's images is asked for where it is missing", () => {
		const dir = join(work, "read");
		openRun(dir, "new", {
			config: {},
			seed: 1,
			versions: { keepsight: "1", node: "1", onnxruntime: "1" },
			machine: { cpu: "", cores: 1, memoryBytes: 1, platform: "" },
			order: ["a/x"],
			plugins: { "reader marked": "", "reader table": "", "strategy gone": "" },
		}).close();
		expect(() => checkReaders(dir)).toThrow(
			`Unknown reader "table" at plugins in ${join(dir, "run.json")}. Use one of: loco, mvtec, folder, marked. One of your own comes with --plugin FILE.`,
		);
	});

	it("that changed since it was loaded is refused", async () => {
		const [{ sha256 } = { sha256: "" }] = loadedPlugins();
		await expect(
			loadPlugins([{ file: own, sha256: `${sha256.slice(1)}0` }]),
		).rejects.toThrow(`The plugin ${own} is no longer what it was`);
		appendFileSync(own, "// more");
		await expect(loadPlugins([own])).rejects.toThrow(
			`The plugin ${own} is no longer what it was`,
		);
	});

	it.each([
		["export const strategies = {};", "it has no default export"],
		["export default {};", "it adds nothing"],
		[
			"export default { strategy: {} };",
			'its default export has the key "strategy", and knows strategies, pretexts, memories, readers',
		],
		["export default { memories: [] };", "memories is no object of entries"],
		[
			`export default { strategies: { "../x": ${definition} } };`,
			'a strategy cannot be called "../x"',
		],
		["export default { pretexts: { x: 1 } };", 'pretext "x" is no definition'],
		["export default { pretexts: { x: {} } };", 'pretext "x" has no title'],
		[
			'export default { memories: { x: { title: "X" } } };',
			'memory "x" has no function create',
		],
		[
			'export default { memories: { x: { title: "X", paper: "", create() {}, options: {} } } };',
			'memory "x" must have options that are a z.strictObject',
		],
		[
			`export default { strategies: { x: { ...${definition}, paper: undefined } } };`,
			'strategy "x" has no paper',
		],
		[
			'export default { readers: { x: { title: "X", matches() {}, readNormals() {}, readTest() {}, layout: "own" } } };',
			'reader "x" must have one of the layouts mvtec, loco, folder',
		],
		[
			`export default { strategies: { gpm: ${definition} } };`,
			'adds the strategy "gpm", and Keepsight has one of that name',
		],
		[
			`export default { pretexts: { fresh: ${definition}, own: ${definition} } };`,
			`adds the pretext "own", and ${own} has added one of that name already`,
		],
		["throw new Error('no luck');", "line 2: no luck."],
		["import 'keepsight-nowhere';", "npm install keepsight"],
	])("is refused: %s", async (body, problem) => {
		const before = loadedPlugins().length;
		await expect(loadPlugins([plugin(body)])).rejects.toThrow(problem);
		expect(loadedPlugins()).toHaveLength(before);
		expect(Object.keys(pretexts)).not.toContain("fresh"); // nothing of it was added
	});

	it("that is not there is named", async () => {
		await expect(loadPlugins(["nowhere.mjs"])).rejects.toThrow(
			"nowhere.mjs: there is no such file. Give --plugin an ES module",
		);
	});
});
