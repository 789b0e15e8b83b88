/** Configurations and tables that people write: YAML, CSV, lists of published figures, what belongs to a data set. */
import { strict as assert } from "node:assert";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
	loadConfig,
	parseConfig,
	type RunConfig,
} from "../../../src/config.ts";
import { formatLook, parseLook } from "../../../src/benchmark/look.ts";
import { csvText, parseCsv } from "../../../src/csv.ts";
import { drawDemo } from "../../../src/data/demo.ts";
import { readDefectTypes } from "../../../src/data/defects.ts";
import { fail } from "../../../src/errors.ts";
import { refusedIn, readReview } from "../../../src/review.ts";
import { parseScores, readScoreFolder } from "../../../src/run.ts";
import { parsePublished } from "../../../src/study/summary.ts";
import type { Parser } from "../harness.ts";
import { csv, json, yaml } from "../mutate.ts";
import { codeOf, finite, text, utf8 } from "../values.ts";

const configs = [
	"demo",
	"flagship",
	"protocols/mvtec-5x3",
	"strategies/gpm",
].map((name) => readFileSync(join("configs", `${name}.yaml`)));
const grid = utf8(`name: grid
data: { tasks: [a/x, [b/y, b/z]], roi: [{ category: a/x, mask: m.png }] }
image_size: [64, 32]
backbone: { name: vit, width: 64, depth: 3, heads: 2, patch: 8 }
trainable: &t { last: 1 }
pretext: { name: cutpaste }
strategy: { name: ewc }
memory: [{ name: dne }, { name: patches, blocks: [0.5] }]
orders: { 2: seeded, 3: [b/y+b/z, a/x] }
compare: { strategies: [{ name: gpm }, { name: si }] }
sweep: { grid: { train.epochs: [1, 2], strategy.name: [gpm, ewc], order: [1, 2] } }
`);

function isConfig(config: RunConfig): void {
	assert(config.data.tasks.length > 0);
	assert(Number.isSafeInteger(config.seed) && config.threads >= 1);
	assert(config.memory.length > 0 && config.train.epochs >= 1);
	finite(config);
	JSON.stringify(config); // goes to a child process and into run.json
}

export const settings: readonly Parser[] = [
	{
		name: "config",
		covers: ["config.ts", "yaml.ts"],
		mutate: yaml,
		open: (dir) => ({
			seeds: [...configs, grid],
			async read(bytes) {
				const file = join(dir, "a.yaml");
				writeFileSync(file, bytes);
				const loaded = await loadConfig(file);
				isConfig(loaded.config);
				const runs = Object.values(loaded.sweep.grid).reduce(
					(n, { length }) => n * length,
					1,
				);
				if (runs > 100 && runs <= 10_000) return; // each is checked as this one was
				for (const { config } of loaded.points()) isConfig(config);
			},
		}),
	},
	{
		name: "config-flags",
		covers: ["config.ts"],
		mutate: yaml,
		open: () => ({
			seeds: ["train.epochs=3", "data.tasks=[a/x]", "orders.2=seeded"].map(
				utf8,
			),
			read(bytes) {
				const flag = text(bytes);
				const file = text(grid);
				isConfig(parseConfig(file, "a.yaml", [flag]).config);
				const { points } = parseConfig(
					file,
					"a.yaml",
					[],
					["train.batch_size=[1]"],
				);
				assert.equal(points().length, 8);
			},
		}),
	},
	{
		name: "csv",
		covers: ["csv.ts"],
		mutate: csv,
		open: () => ({
			seeds: ['a,b\r\n"c ""d""",\n', 'x\n\n\'=1,"\n"\n'].map(utf8),
			read(bytes) {
				const wrong = (line: number, problem: string) =>
					fail("SCORES_INVALID", { file: "a.csv", line, problem });
				const records = parseCsv(text(bytes), wrong);
				const again = records
					.map(({ fields }) => fields.map(quoted).join(","))
					.join("\n");
				assert.deepEqual(
					parseCsv(again, wrong).map(({ fields }) => fields),
					records.map(({ fields }) => fields),
				);
			},
		}),
	},
	{
		name: "scores",
		covers: ["run.ts", "csv.ts"],
		mutate: csv,
		open(dir) {
			const folder = join(dir, "after-01");
			mkdirSync(folder);
			return {
				seeds: [
					"path,defect,label,score,threshold,routed\na.png,good,0,0.5,2,mvtec/a\nb.png,crack,1,3e2,,\n",
					'\uFEFFScore;x,LABEL,score\r\n"a,b",1,-inf\r\nc,0,.5\r\n',
				].map(utf8),
				read(bytes) {
					const rows = parseScores(text(bytes), "a.csv");
					for (const row of rows) {
						assert(Object.is(row.label, 0) || Object.is(row.label, 1));
						assert(!Number.isNaN(row.score) && !Number.isNaN(row.threshold));
						assert(row.defect !== "" && row.routed !== "");
					}
					writeFileSync(join(folder, "mvtec.a.csv"), bytes);
					assert.deepEqual(readScoreFolder(dir)[0]?.categories[0]?.rows, rows);
				},
			};
		},
	},
	{
		name: "look",
		covers: ["benchmark/look.ts"],
		mutate: csv,
		open() {
			return {
				seeds: [
					formatLook([
						{
							product: "mvtec/a",
							split: "test",
							path: "mvtec/a/test/good/000.png",
							defect: null,
							routed: "mvtec/b",
							score: 0.25,
							threshold: 2,
							unknown: false,
							blurred: true,
							told: { score: 1e-3, threshold: 2 },
							recalibrated: 10,
						},
						{
							product: "loco/b",
							split: "test",
							path: "a, b.png",
							defect: "crack",
							routed: "mvtec/b",
							score: 30,
							threshold: 2,
							unknown: true,
							blurred: false,
							told: null,
							recalibrated: 0,
						},
					]),
				].map(utf8),
				read(bytes) {
					const rows = parseLook(text(bytes), "a.csv");
					for (const { score, threshold, told } of rows)
						for (const n of [score, threshold, ...(told ? [told.score] : [])])
							assert(!Number.isNaN(n));
				},
			};
		},
	},
	{
		name: "review",
		covers: ["review.ts"],
		mutate: csv,
		open: () => ({
			seeds: [
				'keep,score,picture,path\nyes,3.25,0.png,a.png\nno,2.00,1.png,"b,c.png"\n',
			].map(utf8),
			read(bytes) {
				for (const row of readReview(text(bytes), "a.csv"))
					assert(Number.isFinite(row.score), `the score is ${row.score}`);
				const samples = ["a.png", "b,c.png"].map((path) => ({
					path,
					id: path,
					defect: null,
					kind: "good" as const,
					read: () => Promise.reject(new Error("not read")),
					size: () => Promise.reject(new Error("not read")),
				}));
				for (const path of refusedIn(text(bytes), "a.csv", samples))
					assert(samples.some((one) => one.path === path));
			},
		}),
	},
	{
		name: "published",
		covers: ["study/summary.ts", "commands/compare.ts"],
		mutate: json,
		open: () => ({
			seeds: [readFileSync(join("configs", "published.json"))],
			read(bytes) {
				for (const row of parsePublished(text(bytes), "published.json")) {
					assert(
						row.average === null || (row.average >= 0 && row.average <= 1),
					);
					finite(row);
				}
			},
		}),
	},
	{
		name: "defects-config",
		covers: ["data/defects.ts"],
		mutate: json,
		open: (dir) => ({
			seeds: [
				JSON.stringify([
					{
						defect_name: "missing",
						pixel_value: 255,
						saturation_threshold: 20,
						relative_saturation: false,
					},
					{
						defect_name: "broken",
						pixel_value: 254,
						saturation_threshold: 1,
						relative_saturation: true,
					},
				]),
			].map(utf8),
			async read(bytes) {
				writeFileSync(join(dir, "defects_config.json"), bytes);
				for (const [value, { saturation, name }] of (await readDefectTypes(
					dir,
				)) ?? []) {
					assert(Number.isInteger(value) && value >= 1 && value <= 255);
					assert(saturation.threshold > 0 && name !== "");
					assert(Number.isFinite(saturation.threshold));
					assert(!saturation.relative || saturation.threshold <= 1);
				}
			},
		}),
	},
	{
		name: "demo-stamp",
		covers: ["data/demo.ts"],
		mutate: json,
		open(root) {
			const dir = join(root, "line");
			const beside = join(root, "mvtec", "own");
			for (const one of [beside, join(dir, "mvtec", "own")])
				mkdirSync(one, { recursive: true });
			for (const taken of [
				"mvtec/bottle",
				"mvtec/flange",
				"mvtec/fabric",
				"loco/kit",
			])
				mkdirSync(join(dir, taken), { recursive: true });
			return {
				seeds: [
					JSON.stringify({
						format: 1,
						complete: true,
						categories: ["mvtec/other", "loco/other"],
					}),
				].map(utf8),
				async read(bytes) {
					writeFileSync(join(dir, "keepsight-demo.json"), bytes);
					try {
						await drawDemo(dir, { products: 2 });
						assert.fail("it was drawn over folders that it has not drawn");
					} catch (error) {
						if (codeOf(error) !== "DEMO_FOLDER_TAKEN") throw error;
					}
					assert(existsSync(beside) && existsSync(join(dir, "mvtec", "own")));
				},
			};
		},
	},
];

/** Quotes where a field needs them, without the apostrophe of csvText. */
const quoted = (field: string): string =>
	csvText(`.${field}`).replace(/^("?)\./, "$1");
