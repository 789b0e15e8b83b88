/** What is wrong with a strategy of one's own is told by the hook that gave it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseConfig, runDir } from "../../src/config.ts";
import { loadPlugins } from "../../src/plugins.ts";
import { train } from "../../src/train.ts";
import { drawCategory, size } from "../drawn.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-mistakes-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const mistakes: Readonly<
	Record<string, readonly [hooks: string, said: string]>
> = {
	dropped: [
		`gradients: ({ "head.bias": _, ...others }) => others`,
		"The strategy's `gradients` gives no head.bias of shape [2]. Mend the strategy",
	],
	nothing: ["moves: () => undefined", "The strategy's `moves` gives no "],
	infinite: [
		"endTask: async () => ({ drift: 1 / 0 })",
		"The strategy's `endTask` reports that drift is Infinity, which is no finite number.",
	],
	named: [
		"endTask: async () => ({ task: 3 })",
		'The strategy\'s `endTask` reports "task", by which tables name the task itself.',
	],
};

beforeAll(async () => {
	await drawCategory(join(work, "mvtec/a"), 0, 4, 1);
	const zod = pathToFileURL(createRequire(import.meta.url).resolve("zod")).href;
	const file = join(work, "mistakes.mjs");
	const entries = Object.entries(mistakes).map(
		([name, [hooks]]) =>
			`${name}: { title: "", paper: "", options: z.strictObject({}), create: () => ({ ${hooks} }) }`,
	);
	writeFileSync(
		file,
		`import { z } from ${JSON.stringify(zod)};\nexport default { strategies: { ${entries.join(",\n")} } };`,
	);
	await loadPlugins([file]);
});

it.each(Object.keys(mistakes))("%s", async (name) => {
	const { config } = parseConfig(
		`name: ${name}
data: { root: ${work}, tasks: [mvtec/a] }
image_size: ${size}
backbone: { name: vit, width: 8, depth: 2, heads: 2, patch: 16 }
trainable: { last: 1 }
pretext: { name: cutpaste }
strategy: { name: ${name} }
memory: [{ name: dne }]
train: { epochs: 1, batch_size: 8 }
out: ${work}
threads: 1
`,
		"mistakes.test",
	);
	const job = { config, dir: runDir(config), mode: "new" } as const;
	const watcher = { emit: () => undefined, stop: { requested: false } };
	await expect(train(job, watcher)).rejects.toMatchObject({
		code: "STRATEGY_INVALID",
		message: expect.stringContaining(mistakes[name]?.[1] ?? "none"),
	});
});
