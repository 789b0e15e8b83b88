/** keepsight sweep: the configuration once for every combination of its grid, here or on the workers of a queue, and one table. */
import { join } from "node:path";
import { type Command, Option } from "commander";
import type { GridPoint, RunConfig, TaskEntry } from "../config.ts";
import { usableDevice } from "../devices.ts";
import { fail } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import { matricesCsv, runsCsv } from "../reports/runs.ts";
import { formatComparison } from "../reports/tables.ts";
import { stableJson, writeAtomic } from "../storage.ts";
import { type Cell, gridCells, ordersOf, studyDir } from "../study/cells.ts";
import type { Dispatch } from "../study/ledger.ts";
import { localPool } from "../study/local.ts";
import { summarise } from "../study/summary.ts";
import {
	type ConfigFlags,
	collected,
	configOf,
	type ProgressFlags,
	type QueueFlags,
	redisUrl,
	usualQueue,
	wholeNumber,
	withConfigFlags,
	withProgressFlags,
	withQueueFlags,
} from "./flags.ts";
import { createLiveTable, type LiveTable } from "./live.ts";
import { createProgress } from "./progress.ts";
import {
	backboneReady,
	cellLines,
	named,
	nameOf,
	outcomes,
	runStudy,
	spelledOut,
	startCells,
	writeComparison,
} from "./study.ts";

const called = "keepsight sweep";

interface SweepFlags extends ConfigFlags, ProgressFlags, QueueFlags {
	readonly out?: string;
	readonly grid: readonly string[];
	readonly jobs?: number;
	readonly retries?: number;
	readonly store?: string;
}

export function addSweep(program: Command): void {
	const command = program
		.command("sweep")
		.usage("--config FILE [flags]")
		.description(
			"one run for every combination of a grid of configuration keys, on this machine or on the workers of a queue; goes on where it was stopped",
		);
	withConfigFlags(command)
		.addOption(
			new Option(
				"--grid <key=values>",
				"the values a key takes, as a YAML list, such as train.epochs=[5,10] or order=[1,2], beside `sweep.grid` of the configuration; may be repeated",
			)
				.default([], "none")
				.argParser(collected),
		)
		.option(
			"--out <dir>",
			"where run folders go, instead of the configuration's `out`",
		)
		.option(
			"--jobs <n>",
			"processes at a time on this machine; they share the threads (default: 1)",
			wholeNumber(1, called),
		)
		.option(
			"--retries <n>",
			"how often a run that failed is tried again, instead of `sweep.retries`",
			wholeNumber(0, called),
		);
	withQueueFlags(command, called).option(
		"--store <url>",
		"with --redis: where run folders go, s3://BUCKET/PREFIX[?endpoint=URL], instead of the shared folder",
	);
	withProgressFlags(command).action(sweep);
}

async function sweep(flags: SweepFlags): Promise<void> {
	const loaded = await configOf(flags, called);
	if (Object.keys(loaded.sweep.grid).length === 0)
		throw fail("USAGE", {
			problem:
				"There is no grid: give --grid key=[a,b], or `sweep.grid` in the configuration.",
			command: called,
		});
	const redis = redisUrl(flags, called, { "--store": flags.store });
	if (redis !== null && flags.jobs !== undefined)
		throw fail("USAGE", {
			problem: "With --redis the runs are the workers': give them --jobs.",
			command: called,
		});
	const jobs = flags.jobs ?? 1;
	const study = {
		...loaded.config,
		...(flags.out !== undefined && { out: flags.out }),
	};
	const dir = studyDir(study);
	const notices: string[] = [];
	const cells = await cellsOf(dir, loaded.points(), flags, notices);
	const progress = createProgress(
		flags,
		process.stderr,
		undefined,
		cellLines(cells),
	);
	/** On a terminal, while runs go on. */
	let table: LiveTable | null = null;
	const show = (event: RunEvent, cell: Cell | null) => {
		if (table) table.onEvent(event, cell);
		else
			progress.onEvent(
				redis === null && jobs === 1 ? event : named(event, cell),
			);
	};
	const notice = (text: string) => show({ type: "notice", text }, null);
	notices.forEach(notice);
	const { dispatch, close } =
		redis === null
			? {
					dispatch: localPool(
						startCells((cells[0] as Cell).config.device),
						jobs,
					),
					close: () => {},
				}
			: await overRedis(redis, flags, notice);
	const ledger = await runStudy(cells, notice, {
		dir,
		dispatch: async (open, context) => {
			if (process.stderr.isTTY && !flags.quiet)
				table = createLiveTable(open, nameOf, process.stderr, {
					color: flags.color && !process.env.NO_COLOR,
					verbose: flags.verbose === true,
				});
			try {
				await dispatch(open, context);
			} finally {
				table?.close();
				table = null;
			}
		},
		retries: flags.retries ?? loaded.sweep.retries,
		onEvent: show,
	}).finally(() => {
		progress.close();
		close();
	});

	const [finished, failed] = outcomes(cells, ledger);
	const comparison = summarise(finished, failed);
	const tables = join(study.out, study.name, "sweep");
	await writeComparison(tables, comparison);
	writeAtomic(join(tables, "runs.csv"), runsCsv(cells, ledger, finished));
	writeAtomic(join(tables, "matrices.csv"), matricesCsv(finished));
	console.log(
		flags.json
			? JSON.stringify(comparison, null, 2)
			: `${formatComparison(comparison).trimEnd()}\n\nTables and charts: ${tables}`,
	);
	if (failed.length > 0) process.exitCode = 2;
}

/** Every combination with its backbone, device and categories as they are found here. */
async function cellsOf(
	dir: string,
	points: readonly GridPoint[],
	flags: SweepFlags,
	notices: string[],
): Promise<Cell[]> {
	const once = new Map<string, Promise<unknown>>();
	/** Asked for once, whatever many points need it. */
	const shared = <T>(key: unknown, make: () => Promise<T>): Promise<T> => {
		const name = stableJson(key);
		const known = once.get(name) ?? make();
		once.set(name, known);
		return known as Promise<T>;
	};
	const ready: GridPoint[] = [];
	for (const point of points) {
		const { device, backbone } = point.config;
		const config: RunConfig = {
			...point.config,
			device: await shared({ device }, () =>
				usableDevice(device, (text) => notices.push(text)),
			),
			backbone: (
				await shared({ backbone }, () => backboneReady(point.config, flags))
			).backbone,
		};
		ready.push({ ...point, config });
	}
	return gridCells(dir, ready, async ({ config, order }) => {
		const { data, orders } = config;
		const all = await shared({ data, orders, order }, () =>
			ordersOf(config, [order], spelledOut(config)),
		);
		return all.get(order) as readonly TaskEntry[];
	});
}

async function overRedis(
	url: string,
	flags: SweepFlags,
	notice: (text: string) => void,
): Promise<{ readonly dispatch: Dispatch; close(): void }> {
	const { redisPool } = await import("../study/queue/cells.ts"); // .1 s that other commands need not wait
	const { connect } = await import("../study/queue/redis.ts");
	const { openStore } = await import("../study/queue/store.ts");
	const store = await openStore(flags.store);
	const connection = await connect(url, notice);
	return {
		dispatch: redisPool(
			{ connection, queue: flags.queue ?? usualQueue },
			store,
		),
		close: () => connection.redis.disconnect(),
	};
}
