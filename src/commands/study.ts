/** What `compare` and `sweep` share: categories by their names, runs by theirs, and the tables and charts that sum them up. */
import { join } from "node:path";
import type { RunConfig, TaskEntry } from "../config.ts";
import { readLearnTasks } from "../data/index.ts";
import { KeepsightError } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import { launch } from "../launch.ts";
import { comparisonCsv, comparisonMarkdown } from "../reports/tables.ts";
import { stableJson, writeAtomic } from "../storage.ts";
import { type Cell, type FinishedCell, readCell } from "../study/cells.ts";
import type { LedgerEntry } from "../study/ledger.ts";
import type { StartCells } from "../study/local.ts";
import type { Comparison, FailedCell } from "../study/summary.ts";
import { pullHint, withBackbone } from "./backbone.ts";
import type { ProgressFlags } from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress } from "./progress.ts";

/** Said where a study is stopped. */
export const studyHint =
	"What is finished is kept; the same command goes on where this one stopped.";

/** Before cells are made: their keys hold the commit of a hub's backbone. */
export async function backboneReady(
	config: RunConfig,
	flags: ProgressFlags,
): Promise<RunConfig> {
	const progress = createProgress(flags);
	return interruptible(pullHint, (signal) =>
		withBackbone(config, null, { progress, signal }),
	).finally(progress.close);
}

/** Entries with every category by its name. */
export const spelledOut =
	({ data: { root, followLinks } }: RunConfig) =>
	async (entries: readonly TaskEntry[]): Promise<TaskEntry[]> =>
		(await readLearnTasks(root, entries, { followLinks })).map(
			({ categories }) => {
				const ids = categories.map(({ id }) => id);
				return ids.length === 1 ? (ids[0] as string) : ids;
			},
		);

/** Starts processes of this machine on a device. */
export const startCells =
	(device: string): StartCells =>
	(jobs, { processes, ...options }) =>
		launch({ kind: "cells", jobs, processes }, { ...options, device });

export const nameOf = ({ label, seed, order }: Cell): string =>
	`${label}  seed ${seed}  order ${order}`;

/** Several runs at a time are told apart by their names. */
export const named = (event: RunEvent, cell: Cell | null): RunEvent =>
	"task" in event && cell
		? { ...event, task: `${nameOf(cell)}  ${event.task}` }
		: event;

/** "run 3/12  gpm  seed 0  order 1  finished", and why it failed. */
export function cellLines(
	cells: readonly Cell[],
): (event: Extract<RunEvent, { type: "cell" }>) => string {
	const numbered = new Map(cells.map((cell, i) => [cell.key, { cell, i }]));
	return ({ cell: key, state, message, stack }) => {
		const { cell, i } = numbered.get(key) as { cell: Cell; i: number };
		const what = `run ${i + 1}/${cells.length}  ${nameOf(cell)}  ${state}`;
		return [message === undefined ? what : `${what}: ${message}`, stack]
			.filter((line) => line !== undefined)
			.join("\n");
	};
}

/** Finished cells, and those that failed with why. */
export function outcomes(
	cells: readonly Cell[],
	ledger: Readonly<Record<string, LedgerEntry>>,
): readonly [readonly FinishedCell[], readonly FailedCell[]] {
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
	return [finished, failed];
}

/** Tables and charts into a folder. */
export async function writeComparison(
	dir: string,
	comparison: Comparison,
): Promise<void> {
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
