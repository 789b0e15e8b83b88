/** keepsight compare: one run for every strategy, seed and order, then one table and its charts. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import {
	type CompareConfig,
	type Named,
	type RunConfig,
	strategyEntry,
	type TaskEntry,
} from "../config.ts";
import { readLearnTasks } from "../data/index.ts";
import { fail, KeepsightError } from "../errors.ts";
import { usableDevice } from "../devices.ts";
import { launch } from "../launch.ts";
import {
	comparisonCsv,
	comparisonMarkdown,
	formatComparison,
} from "../reports/tables.ts";
import { stableJson, writeAtomic } from "../storage.ts";
import {
	type Cell,
	cellsOf,
	ordersOf,
	readCell,
	studyDir,
} from "../study/cells.ts";
import { type LedgerEntry, runCells } from "../study/ledger.ts";
import {
	type Comparison,
	type FailedCell,
	parsePublished,
	summarise,
} from "../study/summary.ts";
import { pullHint, withBackbone } from "./backbone.ts";
import {
	type ConfigFlags,
	configOf,
	type ProgressFlags,
	wholeNumber,
	withConfigFlags,
	withProgressFlags,
} from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress } from "./progress.ts";
import { createTracking } from "./tracking.ts";

const name = "keepsight compare";

interface CompareFlags extends ConfigFlags, ProgressFlags {
	readonly out?: string;
	readonly strategies?: readonly string[];
	readonly seeds?: readonly number[];
	readonly orders?: readonly number[];
	readonly jobs: number;
	readonly published?: string;
}

export function addCompare(program: Command): void {
	const command = program
		.command("compare")
		.description(
			"one run for every strategy, seed and order under <out>/<name>/compare/, one table, charts",
		);
	withConfigFlags(command)
		.option(
			"--out <dir>",
			"where run folders go, instead of the configuration's `out`",
		)
		.option(
			"--strategies <names>",
			"such as finetune,gpm; with the options of the configuration where it names them, else the defaults",
			(text) => text.split(",").map((s) => s.trim()),
		)
		.option("--seeds <numbers>", "such as 0,1,2", numbers(0))
		.option("--orders <numbers>", "such as 1,2", numbers(1))
		.option(
			"--jobs <n>",
			"processes at a time; they share the threads",
			wholeNumber(1, name),
			1,
		)
		.option(
			"--published <file>",
			"JSON of published figures to show beside ours, such as configs/published.json",
		);
	withProgressFlags(command).action(compare);
}

const numbers =
	(least: number) =>
	(text: string): readonly number[] =>
		text.split(",").map(wholeNumber(least, name));

async function compare(flags: CompareFlags): Promise<void> {
	const loaded = await configOf(flags, name);
	const notices: string[] = [];
	const device = await usableDevice(loaded.config.device, (text) =>
		notices.push(text),
	);
	const published =
		flags.published === undefined
			? []
			: parsePublished(textOf(flags.published), flags.published);
	const asked = wanted(flags, loaded.compare, loaded.config.strategy);
	const config = await backboneReady(
		{
			...loaded.config,
			...(flags.out !== undefined && { out: flags.out }),
			device,
		},
		flags,
	);
	const orders = await ordersOf(config, asked.orders, spelledOut(config));
	const cells = cellsOf(config, asked, orders);
	const dir = studyDir(config);
	const numbered = new Map(cells.map((cell, i) => [cell.key, { cell, i }]));
	const progress = createProgress(
		flags,
		process.stderr,
		undefined,
		({ cell: key, state, message, stack }) => {
			const { cell, i } = numbered.get(key) as { cell: Cell; i: number };
			const what = `run ${i + 1}/${cells.length}  ${nameOf(cell)}  ${state}`;
			return [message === undefined ? what : `${what}: ${message}`, stack]
				.filter((line) => line !== undefined)
				.join("\n");
		},
	);
	for (const text of notices) progress.onEvent({ type: "notice", text });
	const tracking = createTracking((text) =>
		progress.onEvent({ type: "notice", text }),
	);
	const hint =
		"What is finished is kept; the same command goes on where this one stopped.";
	const ledger = await interruptible(hint, async (signal) => {
		let done: readonly RunConfig[] = []; // also by earlier processes
		try {
			const entries = await runCells(cells, {
				dir,
				start: (jobs, { processes, ...options }) =>
					launch({ kind: "cells", jobs, processes }, { ...options, device }),
				jobs: flags.jobs,
				onEvent: (event, cell) => {
					if (cell) tracking.onEvent(event, cell.config);
					// several at a time are told apart by their names
					progress.onEvent(
						"task" in event && cell && flags.jobs > 1
							? { ...event, task: `${nameOf(cell)}  ${event.task}` }
							: event,
					);
				},
				signal,
			});
			done = cells.map((cell) => cell.config);
			return entries;
		} finally {
			await tracking.close(done);
		}
	}).finally(progress.close);
	const comparison = summarise(...outcomes(cells, ledger), { published });
	await write(dir, comparison);
	console.log(
		flags.json
			? JSON.stringify(comparison, null, 2)
			: `${formatComparison(comparison).trimEnd()}\n\nTables and charts: ${dir}`,
	);
	if (comparison.rows.length === 0) process.exitCode = 2;
}

/** Before the cells are made: their keys hold the commit of a hub's backbone. */
async function backboneReady(
	config: RunConfig,
	flags: CompareFlags,
): Promise<RunConfig> {
	const progress = createProgress(flags);
	return interruptible(pullHint, (signal) =>
		withBackbone(config, null, { progress, signal }),
	).finally(progress.close);
}

const nameOf = ({ label, seed, order }: Cell): string =>
	`${label}  seed ${seed}  order ${order}`;

/** Flags before the configuration's `compare` before its own strategy, seed and order. */
function wanted(
	flags: CompareFlags,
	given: CompareConfig,
	own: Named,
): CompareConfig {
	const listed = given.strategies.length > 0 ? given.strategies : [own];
	const strategies = flags.strategies?.flatMap((strategy) => {
		const named = given.strategies.filter((s) => s.name === strategy);
		if (named.length > 0) return named;
		return [
			own.name === strategy ? own : strategyEntry(strategy, "--strategies"),
		];
	});
	return {
		strategies: strategies ?? listed,
		seeds: flags.seeds ?? given.seeds,
		orders: flags.orders ?? given.orders,
	};
}

/** Entries with every category by its name. */
const spelledOut =
	({ data: { root, followLinks } }: RunConfig) =>
	async (entries: readonly TaskEntry[]): Promise<TaskEntry[]> =>
		(await readLearnTasks(root, entries, { followLinks })).map(
			({ categories }) => {
				const ids = categories.map(({ id }) => id);
				return ids.length === 1 ? (ids[0] as string) : ids;
			},
		);

/** Finished cells, and those that failed with why. */
function outcomes(
	cells: readonly Cell[],
	ledger: Readonly<Record<string, LedgerEntry>>,
) {
	const failed: FailedCell[] = [];
	const finished = cells.flatMap((cell) => {
		const entry = ledger[cell.key];
		let message = entry?.message ?? "its run folder holds no finished run";
		try {
			const read = entry?.state === "finished" ? readCell(cell) : null;
			if (read) return [read];
		} catch (error) {
			if (!(error instanceof KeepsightError)) throw error;
			message = error.message; // one damaged folder must not cost the table
		}
		const { label, seed, order } = cell;
		failed.push({ label, seed, order, message });
		return [];
	});
	return [finished, failed] as const;
}

async function write(dir: string, comparison: Comparison): Promise<void> {
	writeAtomic(join(dir, "comparison.json"), stableJson(comparison));
	writeAtomic(join(dir, "comparison.csv"), comparisonCsv(comparison));
	writeAtomic(join(dir, "comparison.md"), comparisonMarkdown(comparison));
	if (comparison.rows.length === 0) return;
	const charts = await import("../reports/charts.ts"); // .4 s that other commands need not wait
	for (const [file, draw] of [
		["matrices", charts.matrixChart],
		["sequence", charts.sequenceChart],
		["memory", charts.memoryChart],
	] as const) {
		const svg = draw(comparison);
		writeAtomic(join(dir, `${file}.svg`), svg);
		writeAtomic(join(dir, `${file}.png`), await charts.toPng(svg));
	}
}

function textOf(file: string): string {
	try {
		return readFileSync(file, "utf8");
	} catch (error) {
		throw fail("CONFIG_FILE", { file, reason: (error as Error).message });
	}
}
