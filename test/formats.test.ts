/** The tables of docs/formats.md name what is in the files of real runs, and nothing else. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseConfig, type RunConfig, runDir } from "../src/config.ts";
import {
	definitionOf,
	type MetricDefinition,
	metrics,
	pixelMetrics,
} from "../src/metrics/index.ts";
import { readSafetensorsFile } from "../src/models/safetensors.ts";
import { lockFolder } from "../src/storage.ts";
import { History } from "../src/server/history.ts";
import type { Cell } from "../src/study/cells.ts";
import { Ledger } from "../src/study/ledger.ts";
import { strategies } from "../src/strategies/index.ts";
import { train } from "../src/train.ts";
import { differences, page, plain, type Row, tableOf } from "./documented.ts";
import { drawCategory, size } from "./drawn.ts";

const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));
const expectJson = (path: string, heading: string) =>
	expect(differences(json(path), heading)).toEqual([]);

const work = mkdtempSync(join(tmpdir(), "keepsight-formats-"));
const data = join(work, "data");
afterAll(() => rmSync(work, { recursive: true, force: true }));

const configOf = (strategy: string, memory: string): RunConfig =>
	parseConfig(
		`name: ${strategy.replace("++", "pp")}
data: { root: ${data}, tasks: [mvtec/a, mvtec/b] }
image_size: ${size}
backbone: { name: vit, width: 16, depth: 2, heads: 2, patch: 8 }
trainable: { last: 1 }
pretext: { name: cutpaste }
strategy: { name: ${strategy} }
memory: ${memory}
train: { epochs: 1, batch_size: 8 }
evaluate: { staleness: true, untrained: true }
out: ${work}
threads: 1
`,
		"formats.test",
	).config;

/** All memories with what makes them keep more; the rest of the runs have the densities alone. */
const memoriesOf: Readonly<Record<string, string>> = {
	gpm: "[{ name: dne }, { name: patches, blocks: [0.5], store: int8, window: 2, foreground: true, augment: all }, { name: patches, blocks: [0.5], bytes_per_task: 4000 }, { name: words, blocks: [0.5], words: 4 }]",
	der: "[{ name: dne, form: paper }]",
};
const runs = new Map<string, string>();
beforeAll(async () => {
	await drawCategory(join(data, "mvtec/a"), 0, 8, 3);
	await drawCategory(join(data, "mvtec/b"), 1, 8, 3);
	for (const strategy of Object.keys(strategies)) {
		const config = configOf(
			strategy,
			memoriesOf[strategy] ?? "[{ name: dne }]",
		);
		const dir = runDir(config);
		await train(
			{ config, dir, mode: "new", force: false },
			{ emit: () => {}, stop: { requested: false } },
		);
		runs.set(strategy, dir);
	}
});
const run = (strategy = "gpm") => runs.get(strategy) as string;

it("run.json, metrics.json and memory/manifest.json", () => {
	for (const dir of runs.values()) {
		expectJson(join(dir, "run.json"), "### run.json");
		expectJson(join(dir, "metrics.json"), "### metrics.json");
		expectJson(join(dir, "memory/manifest.json"), "### manifest.json");
	}
});

it("metrics, by their names, titles and what guessing gives", () => {
	const told = tableOf("### Metrics").map(
		({ cells: [name, title, , chance] }) => ({
			name: plain(name as string),
			title,
			chance: chance === "-" ? null : Number(chance),
		}),
	);
	const names = [
		...Object.keys({ ...metrics, ...pixelMetrics }),
		"imageAurocPooled",
	];
	expect(told).toEqual(
		names.map((name) => {
			const { title, chance } = definitionOf(name) as MetricDefinition;
			return { name, title, chance };
		}),
	);
	expect(names.every((name) => definitionOf(name)?.better === "higher")).toBe(
		true,
	);
});

it("score files and metrics.csv", () => {
	const head = (file: string) =>
		readFileSync(join(run(), file), "utf8").split("\n")[0] as string;
	expect(head("scores/after-01/mvtec.a.csv").split(",")).toEqual(
		tableOf("### Score files").map(({ cells }) => plain(cells[0] as string)),
	);
	expect(page).toContain(`\`${head("metrics.csv")}\``);
});

interface Wanted {
	readonly name: RegExp;
	readonly text: string;
	readonly dtype: string;
	readonly rank: number;
	readonly optional: boolean;
}
/** `first`: position of the tensor's name among the cells of a row. */
const wantedOf = (rows: readonly Row[], pick = (cell: string) => cell) =>
	rows.flatMap(({ cells, optional }): Wanted[] => {
		const [name = "", dtype = "", shape = ""] = cells;
		const text = pick(name);
		if (text === "") return [];
		const pattern = plain(text)
			.replaceAll(".", "\\.")
			.replaceAll(/\*|<\w+>/g, ".+");
		return [
			{
				name: new RegExp(`^${pattern}$`),
				text,
				dtype,
				rank: /^\[.*\]$/.test(shape)
					? (shape.split(" or ")[0]?.split(",").length ?? 0)
					: -1,
				optional,
			},
		];
	});

function compareTensors(
	files: readonly string[],
	wanted: readonly Wanted[],
): void {
	const seen = new Set<Wanted>();
	expect(files.length).toBeGreaterThan(0);
	for (const file of files)
		for (const [name, t] of Object.entries(readSafetensorsFile(file).tensors)) {
			const row = wanted.find(
				(one) =>
					one.name.test(name) &&
					one.dtype === t.dtype &&
					(one.rank < 0 || one.rank === t.shape.length),
			);
			expect(row, `${name} ${t.dtype} [${t.shape}] of ${file}`).toBeDefined();
			seen.add(row as Wanted);
		}
	expect(
		wanted
			.filter((one) => !one.optional && !seen.has(one))
			.map(({ text }) => text),
	).toEqual([]);
}

describe("tensors of memory/", () => {
	const filesOf = (pattern: RegExp, dirs: Iterable<string> = runs.values()) =>
		[...dirs].flatMap((dir) => {
			const memory = join(dir, "memory");
			return Object.keys(json(join(memory, "manifest.json")).files)
				.filter((path) => pattern.test(path))
				.map((path) => join(memory, path));
		});

	it("backbone and weights", () => {
		compareTensors(
			filesOf(/^(backbone|weights)\./),
			wantedOf(
				tableOf("### backbone.\\*.safetensors, weights.\\*.safetensors"),
			),
		);
	});
	it.each(["routing", "dne", "patches", "words"])("%s", (kind) => {
		compareTensors(
			filesOf(new RegExp(`\\.${kind}\\.[0-9a-f]{16}\\.`)),
			wantedOf(tableOf(`### \\<category>.${kind}.\\*.safetensors`)),
		);
	});
	it("strategies: each has its rows, and those without keep nothing", () => {
		const rows = tableOf("### strategy.\\*.safetensors");
		for (const [strategy, dir] of runs) {
			const files = filesOf(/^strategy\./, [dir]);
			const named = strategy.replace("++", "");
			const own = wantedOf(rows, (cell) => {
				const [of, name] = cell.split(" ");
				return of === `\`${named}\`` ? (name ?? "") : "";
			});
			expect(files.length, strategy).toBe(own.length > 0 ? 1 : 0);
			if (own.length > 0) compareTensors(files, own);
		}
	});
});

it("ledger.json, locks, backbone.json", () => {
	const dir = join(work, "study");
	mkdirSync(dir);
	const lock = lockFolder(dir);
	expectJson(join(dir, ".lock"), "## Locks");
	const ledger = new Ledger(dir, lock.check);
	ledger.begin({
		key: "k",
		label: "finetune",
		seed: 0,
		order: 1,
		config: configOf("finetune", "[{ name: dne }]"),
		values: {},
	} as unknown as Cell);
	lock.release();
	expectJson(join(dir, "ledger.json"), "### ledger.json");
	expectJson("models/keepsight-tiny/backbone.json", "## Backbones");
});

it("the history of a server", () => {
	new History(join(work, "serve"), {
		days: 1,
		bytes: 1e6,
		images: false,
	}).close();
	const db = new Database(join(work, "serve/history.sqlite"));
	const found = ["predictions", "feedback", "checks"].flatMap((name) =>
		(db.pragma(`table_info(${name})`) as { name: string; type: string }[]).map(
			(column) => `${name}.${column.name} ${column.type.toLowerCase()}`,
		),
	);
	db.close();
	expect(found).toEqual(
		tableOf("## serve/").map(({ cells }) => plain(`${cells[0]} ${cells[1]}`)),
	);
});
