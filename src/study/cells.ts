/**
 * A comparison is made of cells: one run for every strategy, seed and order. A cell's key is the hash of its resolved configuration and
 * the program's version, so that a finished one is found again whatever else the comparison has grown to. Not in it: where the run
 * lies, who is told of it, threads (they change last digits), and the content of images and of a backbone's folder.
 */
import { join } from "node:path";
import {
	type CompareConfig,
	type Named,
	type RunConfig,
	runDir,
	type StrategyRow,
	snake,
	type TaskEntry,
} from "../config.ts";
import { fail, KeepsightError } from "../errors.ts";
import type { Results } from "../metrics/results.ts";
import { Random } from "../random.ts";
import { holdsRun, openRun, type ScoreRow } from "../run.ts";
import { sha256, stableJson } from "../storage.ts";
import { version } from "../version.ts";

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

/**
 * The orders asked for, by number, in plain categories: 1 is data.tasks, others are a list of the configuration or a seeded
 * permutation, each other than those before it. `spell` turns entries with stars into categories.
 */
export async function ordersOf(
	{ data, orders }: RunConfig,
	wanted: readonly number[],
	spell: (entries: readonly TaskEntry[]) => Promise<readonly TaskEntry[]>,
): Promise<ReadonlyMap<number, readonly TaskEntry[]>> {
	const first = await spell(data.tasks);
	const found = new Map([[1, first]]);
	const given = (order: number) => {
		const list = orders[String(order)];
		return list === "seeded" ? undefined : list;
	};
	const taken = new Set([JSON.stringify(first)]);
	for (let order = 2; order <= Math.max(...wanted); order++) {
		const list = given(order);
		if (list === undefined) {
			found.set(order, permuted(first, order, taken));
		} else if (wanted.includes(order)) {
			const spelled = await spell(list);
			if (sortedJson(spelled) !== sortedJson(first))
				throw fail("CONFIG_VALUE", {
					where: `orders.${order}`,
					problem: "it does not hold the tasks of data.tasks",
				});
			found.set(order, spelled);
		}
	}
	return found;
}

const sortedJson = (entries: readonly TaskEntry[]): string =>
	JSON.stringify(entries.map((e) => JSON.stringify(e)).sort());

function permuted(
	tasks: readonly TaskEntry[],
	order: number,
	taken: Set<string>,
): readonly TaskEntry[] {
	let all = 1;
	for (let n = 2; n <= tasks.length; n++) all *= n;
	if (taken.size >= all)
		throw fail("CONFIG_VALUE", {
			where: `order ${order}`,
			problem: `${tasks.length} tasks have no more than ${all} orders`,
		});
	for (let draw = 0; ; draw++) {
		const list = new Random("order", order, draw)
			.permutation(tasks.length)
			.map((i) => tasks[i] as TaskEntry);
		const key = JSON.stringify(list);
		if (taken.has(key)) continue;
		taken.add(key);
		return list;
	}
}

const distinct = <T>(list: readonly T[]): T[] => [
	...new Map(list.map((item) => [JSON.stringify(item), item])).values(),
];

/** All cells, those that share data and draws (seed, then order) together; what is named twice is one. */
export function cellsOf(
	config: RunConfig,
	asked: CompareConfig,
	orders: ReadonlyMap<number, readonly TaskEntry[]>,
): Cell[] {
	const strategies = distinct(asked.strategies);
	const seeds = asked.seeds.length > 0 ? asked.seeds : [config.seed];
	const cells = distinct(seeds).flatMap((seed) =>
		distinct(asked.orders).flatMap((order) =>
			strategies.map((entry): Cell => {
				const { memory = config.memory, ...strategy } = entry;
				const cell: RunConfig = {
					...config,
					data: {
						...config.data,
						tasks: orders.get(order) as readonly TaskEntry[],
					},
					orders: {},
					strategy,
					memory,
					seed,
				};
				const {
					out: _out,
					name: _name,
					threads: _threads,
					tracking,
					...decisive
				} = cell;
				const key = sha256(
					Buffer.from(stableJson({ ...decisive, version })),
				).slice(0, 16);
				return {
					label: labelOf(entry, strategies, config.memory),
					strategy: strategy.name,
					seed,
					order,
					key,
					config: {
						...cell,
						tracking: {
							...tracking,
							experiment: tracking.experiment ?? config.name,
						},
						out: studyDir(config),
						name: `${strategy.name}-seed${seed}-order${order}-${key.slice(0, 8)}`,
					},
				};
			}),
		),
	);
	return [...new Map(cells.map((cell) => [cell.key, cell])).values()];
}

/** The name, with those options in which it differs from another strategy of that name, and its memory where it is not the configuration's. */
function labelOf(
	{ memory = [], ...strategy }: StrategyRow,
	all: readonly StrategyRow[],
	usual: readonly Named[],
): string {
	const twins = all.filter(({ name }) => name === strategy.name);
	const telling = Object.entries(strategy).filter(([key, value]) =>
		twins.some((t) => JSON.stringify(t[key]) !== JSON.stringify(value)),
	);
	const own = memory.flatMap((entry): [string, unknown][] => {
		const { name, ...options } = entry;
		const base = usual.find((u) => u.name === name);
		const different = Object.entries(options).filter(
			([key, value]) => JSON.stringify(value) !== JSON.stringify(base?.[key]),
		);
		const clear = usual.length + memory.length > 2; // which memory's option it is
		const told = different.map(([key, value]): [string, unknown] => [
			clear ? `${name}.${key}` : key,
			value,
		]);
		return base ? told : [["memory", name], ...told];
	});
	const missing = usual.flatMap(({ name }): [string, unknown][] =>
		memory.length > 0 && !memory.some((m) => m.name === name)
			? [["without", name]]
			: [],
	);
	return [
		strategy.name,
		...[...telling, ...own, ...missing].map(
			([key, value]) => `${snake(key)}=${JSON.stringify(value)}`,
		),
	].join(" ");
}

/** Whether its folder holds a finished run. */
export function isFinished({ config }: Cell): boolean {
	const dir = runDir(config);
	if (!holdsRun(dir)) return false;
	try {
		return openRun(dir, "read").finished;
	} catch (error) {
		if (error instanceof KeepsightError) return false; // damaged: to be run again
		throw error;
	}
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
