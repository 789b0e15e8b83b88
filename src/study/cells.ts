/**
 * A comparison is made of cells: one run for every strategy, seed and order. A cell's key is the hash of all that decides its numbers,
 * so that a finished one is found again whatever else the comparison has grown to.
 */
import { join } from "node:path";
import {
	type CompareConfig,
	type Named,
	type RunConfig,
	runDir,
	type TaskEntry,
} from "../config.ts";
import type { Results } from "../metrics/results.ts";
import { Random } from "../random.ts";
import { openRun, type ScoreRow } from "../run.ts";
import { sha256, stableJson } from "../storage.ts";

export interface Cell {
	/** The strategy's name in the tables: its registry name, or that with what makes it differ from a namesake ("ewc lambda=100"). */
	readonly label: string;
	/** Registry name. */
	readonly strategy: string;
	readonly seed: number;
	readonly order: number;
	readonly key: string;
	/** Complete: `out` and `name` give the cell's own run folder. */
	readonly config: RunConfig;
}

/** What a finished cell left in its run folder. */
export interface FinishedCell extends Omit<Cell, "config"> {
	/** The object of metrics.json; `learning` has an entry a task: ‖Δθ‖/‖θ‖, pretext accuracies, `saturated` 0 or 1, and more. */
	readonly results: Results & {
		readonly learning: readonly Readonly<
			Record<string, number | string | null>
		>[];
	};
	/** Of each task in the order of learning: learning it, evaluation not counted. */
	readonly secondsPerTask: readonly (number | null)[];
	/** Score files of the last row. */
	readonly finalScores: readonly {
		readonly category: string;
		readonly rows: readonly ScoreRow[];
	}[];
}

/** Where the cells of a configuration and what sums them up lie. */
export const studyDir = ({ out, name }: RunConfig): string =>
	join(out, name, "compare");

/** All cells, those that share data and draws (seed, then order) together. `tasks` is data.tasks with its stars spelt out. */
export function cellsOf(
	config: RunConfig,
	{ strategies, seeds, orders }: CompareConfig,
	tasks: readonly TaskEntry[],
): Cell[] {
	return (seeds.length > 0 ? seeds : [config.seed]).flatMap((seed) =>
		orders.flatMap((order) =>
			strategies.map((strategy): Cell => {
				const cell = {
					...config,
					data: { ...config.data, tasks: orderOf(config, order, tasks) },
					strategy,
					seed,
				};
				const { out: _out, name: _name, threads: _threads, ...decisive } = cell;
				const key = sha256(Buffer.from(stableJson(decisive))).slice(0, 16);
				return {
					label: labelOf(strategy, strategies),
					strategy: strategy.name,
					seed,
					order,
					key,
					config: {
						...cell,
						out: studyDir(config),
						name: `${strategy.name}-seed${seed}-order${order}-${key.slice(0, 8)}`,
					},
				};
			}),
		),
	);
}

/** Order 1 is as configured; others are a list of the configuration, or a permutation seeded by their number. */
function orderOf(
	{ orders }: RunConfig,
	order: number,
	tasks: readonly TaskEntry[],
): readonly TaskEntry[] {
	if (order === 1) return tasks;
	const given = orders[String(order)];
	if (given !== undefined && given !== "seeded") return given;
	return new Random("order", order)
		.permutation(tasks.length)
		.map((i) => tasks[i] as TaskEntry);
}

/** The name, with those options in which it differs from another strategy of that name. */
function labelOf(strategy: Named, all: readonly Named[]): string {
	const twins = all.filter((s) => s.name === strategy.name);
	const telling = Object.keys(strategy).filter((key) =>
		twins.some((t) => JSON.stringify(t[key]) !== JSON.stringify(strategy[key])),
	);
	return [
		strategy.name,
		...telling.map((key) => `${key}=${JSON.stringify(strategy[key])}`),
	].join(" ");
}

/** Reads a finished cell; null where its folder holds no finished run. */
export function readCell({ config, ...cell }: Cell): FinishedCell | null {
	const run = openRun(runDir(config), "read");
	const results = run.readMetrics();
	if (!run.finished || !results) return null;
	const last = run.readAllScores().at(-1);
	return {
		...cell,
		results: results as unknown as FinishedCell["results"],
		secondsPerTask: run.record.tasks.map(({ seconds }) => seconds),
		finalScores: (last?.categories ?? []).map(({ id, rows }) => ({
			category: id,
			rows,
		})),
	};
}
