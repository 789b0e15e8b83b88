/**
 * The same configuration, seed and machine give the same bytes in memory/ and scores/: twice, with one thread and two, and under either
 * Node. What is promised, and what is not, is in docs/durability.md.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { parseConfig, runDir } from "../src/config.ts";
import { predictAll } from "../src/predict.ts";
import { train } from "../src/train.ts";
import { drawCategory, size } from "./drawn.ts";
import { cli } from "./program.ts";
import { expectSameBytes } from "./runs.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-determinism-"));
const data = join(work, "data");
const watcher = { emit: () => {}, stop: { requested: false } };
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** Trains two blocks and keeps a basis of them; all three memories, of which one needs a k-means. */
const yaml = `name: run
data: { root: ${data}, tasks: [mvtec/a, mvtec/b] }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 8 }
trainable: { last: 2 }
pretext: { name: cutpaste }
strategy: { name: gpm, images: 6 }
memory: [{ name: patches, blocks: [0.34] }, { name: words, blocks: [0.34] }, { name: dne }]
train: { epochs: 2, batch_size: 8, optimizer: { name: adam, lr: 1.0e-3 } }
out: ${work}
threads: 1
`;
const jobOf = (name: string, ...sets: string[]) => {
	const { config } = parseConfig(yaml, "determinism.test", [
		`name=${name}`,
		...sets,
	]);
	return { config, dir: runDir(config), mode: "new", force: false } as const;
};
const trained = async (name: string, ...sets: string[]): Promise<string> => {
	const job = jobOf(name, ...sets);
	await train(job, watcher);
	return job.dir;
};
const parts = ["memory", "scores"];

let once: string;
beforeAll(async () => {
	await drawCategory(join(data, "mvtec/a"), 0, 12, 2);
	await drawCategory(join(data, "mvtec/b"), 1, 12, 2);
	once = await trained("once");
});

describe("the same bytes of memory/ and scores/", () => {
	it("with one thread, again; another seed gives others", async () => {
		expectSameBytes(once, await trained("again"), parts);
		const other = await trained("other", "seed=1");
		expect(() => expectSameBytes(once, other, parts)).toThrow();
	});

	it("with two threads as with one", async () => {
		expectSameBytes(once, await trained("two", "threads=2"), parts);
	});

	const node24 = join(import.meta.dirname, "node24/node_modules/node/bin/node");
	const missing = existsSync(node24)
		? process.versions.node.startsWith("20.")
			? null
			: `this is Node ${process.versions.node}, not 20`
		: "test/node24 is not installed: npm test does";
	it.skipIf(missing !== null)(
		`under Node 20 and Node 24${missing === null ? "" : ` (skipped: ${missing})`}`,
		() => {
			const config = join(work, "run.yaml");
			writeFileSync(config, yaml);
			const { status, stderr } = spawnSync(
				node24,
				[cli, "train", "--config", config, "--set", "name=node24"],
				{ encoding: "utf8" },
			);
			expect(status, stderr).toBe(0);
			expectSameBytes(once, jobOf("node24").dir, parts);
		},
	);
});

it("learning, evaluating and predicting ask no network", async () => {
	const connect = vi.spyOn(Socket.prototype, "connect");
	const dir = await trained("offline");
	await predictAll(
		{ memDir: dir, inputs: [join(data, "mvtec/a/test")] },
		watcher,
		(async function* () {})(),
	);
	expect(connect).not.toHaveBeenCalled();
});
