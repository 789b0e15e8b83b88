/** What a worker lets in: schemas and paths. */
import {
	mkdirSync,
	mkdtempSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { parseConfig } from "../../../src/config.ts";
import { KeepsightError } from "../../../src/errors.ts";
import {
	type Confines,
	isPlain,
	jobBase,
	readJob,
} from "../../../src/study/queue/jobs.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-jobs-"));
const root = join(work, "shared");
mkdirSync(join(root, "data/mvtec"), { recursive: true });
mkdirSync(join(work, "outside"));
writeFileSync(join(root, "a-file"), "");
symlinkSync(join(work, "outside"), join(root, "out-link"));
symlinkSync(join(root, "data"), join(root, "in-link"));
symlinkSync(join(work, "nowhere"), join(root, "dangling"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const confines: Confines = { root, followLinks: false };
const { config } = parseConfig(
	`name: gpm-seed0
data: { tasks: [a/x] }
pretext: { name: cutpaste }
strategy: { name: gpm }
memory: [{ name: dne }]
out: results/x/compare
threads: 2
tracking: { mlflow: "http://tracker" }
`,
	"test",
);
const cell = {
	...jobBase,
	kind: "cell",
	study: "00000000-0000-4000-8000-000000000000",
	store: "folder",
	key: "0123456789abcdef",
	label: "gpm",
	config: config as unknown as Record<string, unknown>,
	fresh: false,
	failures: 0,
	images: {},
	plugins: {},
};
const shard = {
	...jobBase,
	kind: "shard",
	study: cell.study,
	memDir: "runs/Anomaly",
	memoryVersion: 3,
	memoryDigest: "0f",
	images: [{ path: "p/1.png", name: "1.png", folder: "p", bytes: 7 }],
	task: null,
	maps: null,
};

describe("a job", () => {
	it("is read as it was sent, but says no address that anyone is to be told at", () => {
		const read = readJob(JSON.parse(JSON.stringify(cell)), confines);
		expect(read).toEqual({
			...cell,
			config: { ...config, tracking: { mlflow: null, experiment: null } },
		});
		expect(readJob(shard, confines)).toEqual(shard);
	});

	it.each(["/etc", "..", "../up", "a/../../up", "C:\\x", "a\\b", "\0", "//x"])(
		"with the path %j is refused",
		(path) => {
			expect(isPlain(path)).toBe(false);
			for (const job of [
				{ ...cell, config: { ...config, out: path } },
				{
					...cell,
					config: { ...config, data: { ...config.data, root: path } },
				},
				{
					...cell,
					config: {
						...config,
						data: { ...config.data, roi: [{ category: "a/x", mask: path }] },
					},
				},
				{ ...shard, memDir: path },
				{ ...shard, maps: path },
				{ ...shard, images: [{ ...shard.images[0], path }] },
				{ ...shard, images: [{ ...shard.images[0], folder: path }] },
				{ ...shard, images: [{ ...shard.images[0], name: path }] },
			])
				expect(() => readJob(job, confines)).toThrow(KeepsightError);
		},
	);

	it.each([
		["out-link", false],
		["out-link/below", false],
		["dangling", false],
		["in-link", true],
		["data/mvtec", true],
		["not/there/yet", true],
		["a-file/below", false],
		["x".repeat(300), false],
	])("a path through %s is taken: %s", (path, taken) => {
		const read = (followLinks: boolean) => () =>
			readJob({ ...shard, memDir: path }, { ...confines, followLinks });
		if (taken) expect(read(false)).not.toThrow();
		else expect(read(false)).toThrow(/leads out of the folder/);
		if (!/file|xxx/.test(path)) expect(read(true)).not.toThrow();
	});

	it("of whatever JSON is one of ours or a clear error", () => {
		const mutated = fc.tuple(
			fc.constantFrom(...Object.keys(cell), ...Object.keys(shard)),
			fc.jsonValue(),
			fc.boolean(),
		);
		fc.assert(
			fc.property(mutated, ([key, value, which]) => {
				try {
					readJob({ ...(which ? cell : shard), [key]: value }, confines);
				} catch (error) {
					expect(error).toBeInstanceOf(KeepsightError);
				}
			}),
			{ numRuns: 300 },
		);
		fc.assert(
			fc.property(fc.jsonValue(), (value) => {
				expect(() => readJob(value, confines)).toThrow(KeepsightError);
			}),
			{ numRuns: 300 },
		);
	});
});
