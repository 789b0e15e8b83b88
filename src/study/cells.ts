/**
 * A comparison is made of cells: one run for every strategy, seed and order; a sweep of one for every combination of its grid. A cell's key is the hash of its resolved configuration and
 * the program's version (and plugins, where it is made of some), so that a finished one is found again whatever else the comparison has grown to. Not in it: where the run
 * lies, who is told of it, threads (they change last digits), and the content of images and of a backbone's folder.
 */
import { join } from "node:path";
import {
	type CompareConfig,
	type GridPoint,
	type Named,
	type RunConfig,
	runDir,
	type StrategyRow,
	snake,
	type TaskEntry,
} from "../config.ts";
import { fail, KeepsightError } from "../errors.ts";
import type { Results } from "../metrics/results.ts";
import { pluginsBehind } from "../plugins.ts";
import { Random } from "../random.ts";
import { holdsRun, openRun, type ScoreRow } from "../run.ts";
import { isObject, sha256, stableJson } from "../storage.ts";
import { version } from "../version.ts";

export interface Cell {
	/** The strategy's name in the tables: its registry name, or that with what makes it differ from a namesake ("ewc lambda=100"). */
	readonly label: string;
	/** Registry name. */
	readonly strategy: string;
	/** What else the row differs in ("image_size=112"), the last part of its label; empty in a comparison. */
	readonly setting: string;
	readonly seed: number;
	readonly order: number;
	readonly key: string;
	/** What the grid sets, by its keys; nothing in a comparison. */
	readonly values: GridPoint["values"];
	/** Complete: `out` and `name` give the cell's own run folder. */
	readonly config: RunConfig;
}

/** What a finished cell left in its run folder. */
export interface FinishedCell extends Omit<Cell, "config" | "values"> {
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
				return cellOf(
					{ ...config, strategy, memory, seed },
					{
						method: labelOf(entry, strategies, config.memory),
						setting: "",
						values: {},
						order,
						tasks: orders.get(order) as readonly TaskEntry[],
						dir: studyDir(config),
					},
				);
			}),
		),
	);
	return unique(cells);
}

/** The cells of a sweep, those that share data and draws together. `tasksOf`: the plain categories of a point's order. */
export async function gridCells(
	dir: string,
	points: readonly GridPoint[],
	tasksOf: (point: GridPoint) => Promise<readonly TaskEntry[]>,
): Promise<Cell[]> {
	const strategies = distinct(points.map(({ config }) => config.strategy));
	const tell = settingsOf(points);
	const cells: Cell[] = [];
	for (const point of points)
		cells.push(
			cellOf(point.config, {
				method: labelOf(point.config.strategy, strategies, []),
				setting: tell(point),
				values: point.values,
				order: point.order,
				tasks: await tasksOf(point),
				dir,
			}),
		);
	return groupBy(unique(cells), sharing).flat();
}

/** Cells with the same: what one process computes of pictures serves them all. */
export const sharing = ({ config }: Cell): string => {
	const { data, imageSize, backbone, trainable, seed } = config;
	return stableJson({ data, imageSize, backbone, trainable, seed });
};

/** In the order in which keys first appear. */
export function groupBy<T, K>(items: readonly T[], key: (item: T) => K): T[][] {
	const groups = new Map<K, T[]>();
	for (const item of items) {
		const group = groups.get(key(item));
		if (group) group.push(item);
		else groups.set(key(item), [item]);
	}
	return [...groups.values()];
}

const unique = (cells: readonly Cell[]): Cell[] => [
	...new Map(cells.map((cell) => [cell.key, cell])).values(),
];

function cellOf(
	config: RunConfig,
	{
		method,
		setting,
		values,
		order,
		tasks,
		dir,
	}: Pick<Cell, "setting" | "values"> & {
		readonly method: string;
		readonly order: number;
		readonly tasks: readonly TaskEntry[];
		readonly dir: string;
	},
): Cell {
	const cell = { ...config, data: { ...config.data, tasks }, orders: {} };
	const { strategy, seed } = cell;
	const key = keyOf(cell);
	return {
		label: labelled(method, setting),
		strategy: strategy.name,
		setting,
		seed,
		order,
		key,
		values,
		config: {
			...cell,
			tracking: {
				...config.tracking,
				experiment: config.tracking.experiment ?? config.name,
			},
			out: dir,
			name: `${strategy.name}-seed${seed}-order${order}-${key.slice(0, 8)}`,
		},
	};
}

/** The first 16 hex digits of the hash of what decides a run's numbers. */
export function keyOf(config: RunConfig): string {
	const {
		out: _out,
		name: _name,
		threads: _threads,
		tracking: _tracking,
		...decisive
	} = config;
	const plugins = pluginsBehind(config);
	const decided = {
		...decisive,
		version,
		...(Object.keys(plugins).length > 0 && { plugins }),
	};
	return sha256(Buffer.from(stableJson(decided))).slice(0, 16);
}

/** The label of a row: its method, and in what else it differs. */
export const labelled = (method: string, setting: string): string =>
	setting === "" ? method : `${method} ${setting}`;

/** Tells of a point what it has other than some: all keys of the grid but strategy, seed and order. */
function settingsOf(
	points: readonly GridPoint[],
): (point: GridPoint) => string {
	const keys = Object.keys(points[0]?.values ?? {}).filter(
		(key) => !/^(strategy(\..*)?|seed|order)$/.test(key),
	);
	const telling = keys.flatMap((key) => {
		const all = distinct(points.map(({ values }) => values[key]));
		if (all.length < 2) return [];
		const short = all.map((value) => shortly(value, all));
		const clear = new Set(short).size === all.length;
		const texts = new Map(
			all.map((value, i) => [
				JSON.stringify(value),
				clear ? short[i] : JSON.stringify(value),
			]),
		);
		return [{ key, texts }];
	});
	return ({ values }) =>
		telling
			.map(
				({ key, texts }) => `${key}=${texts.get(JSON.stringify(values[key]))}`,
			)
			.join(" ");
}

/** A registry's entry by its name and options, a list of them by their names, anything else as JSON. */
function shortly(value: unknown, all: readonly unknown[]): string {
	if (isNamed(value))
		return all.every(isNamed) ? labelOf(value, all, []) : value.name;
	if (Array.isArray(value) && value.every(isNamed))
		return value.map(({ name }) => name).join("+");
	return typeof value === "string" ? value : JSON.stringify(value);
}

const isNamed = (value: unknown): value is Named =>
	isObject(value) && typeof value.name === "string";

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

/** Of a finished cell: equal where its memory, scores and metrics are, wherever and whenever they were computed. null: its folder holds none. */
export function digestOf({ config }: Pick<Cell, "config">): string | null {
	const dir = runDir(config);
	if (!holdsRun(dir)) return null;
	try {
		const run = openRun(dir, "read");
		return run.finished ? run.digest() : null;
	} catch (error) {
		if (error instanceof KeepsightError) return null; // damaged: to be run again
		throw error;
	}
}

/** Reads a finished cell; null where its folder holds no finished run. */
export function readCell({
	config,
	values: _values,
	...cell
}: Cell): FinishedCell | null {
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
