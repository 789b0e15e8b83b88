/** keepsight compare: one run for every strategy, seed and order, then one table and its charts. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { type CompareConfig, type Named, strategyEntry } from "../config.ts";
import { usableDevice } from "../devices.ts";
import { fail } from "../errors.ts";
import { formatComparison } from "../reports/tables.ts";
import { cellsOf, ordersOf, studyDir } from "../study/cells.ts";
import { localPool } from "../study/local.ts";
import { parsePublished, summarise } from "../study/summary.ts";
import {
	type ConfigFlags,
	configOf,
	type ProgressFlags,
	wholeNumber,
	withConfigFlags,
	withProgressFlags,
} from "./flags.ts";
import { createProgress } from "./progress.ts";
import {
	backboneReady,
	cellLines,
	named,
	outcomes,
	runStudy,
	spelledOut,
	startCells,
	writeComparison,
} from "./study.ts";

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
		.usage("--config FILE [flags]")
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
	const progress = createProgress(
		flags,
		process.stderr,
		undefined,
		cellLines(cells),
	);
	const notice = (text: string) => progress.onEvent({ type: "notice", text });
	notices.forEach(notice);
	const ledger = await runStudy(cells, notice, {
		dir,
		dispatch: localPool(startCells(device), flags.jobs),
		onEvent: (event, cell) =>
			progress.onEvent(flags.jobs > 1 ? named(event, cell) : event),
	}).finally(progress.close);
	const comparison = summarise(...outcomes(cells, ledger), { published });
	await writeComparison(dir, comparison);
	console.log(
		flags.json
			? JSON.stringify(comparison, null, 2)
			: `${formatComparison(comparison).trimEnd()}\n\nTables and charts: ${dir}`,
	);
	if (comparison.rows.length === 0) process.exitCode = 2;
}

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

function textOf(file: string): string {
	try {
		return readFileSync(file, "utf8");
	} catch (error) {
		throw fail("CONFIG_FILE", { file, reason: (error as Error).message });
	}
}
