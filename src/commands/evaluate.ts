/** keepsight eval: scores every learnt task from the stored memory alone, or computes the metrics of anyone's score files. */
import { type Command, Option } from "commander";
import { readTasks } from "../data/index.ts";
import { usableDevice } from "../devices.ts";
import { fail } from "../errors.ts";
import { launch } from "../launch.ts";
import { type PixelResult, pixelResult, storedMap } from "../localise.ts";
import {
	buildResults,
	formatResults,
	type ResultsInput,
} from "../metrics/results.ts";
import { metricRow, readScoreFolder, type ScoreStage } from "../run.ts";
import {
	type DeviceFlags,
	type ProgressFlags,
	withDeviceFlag,
	withPlugins,
	withProgressFlags,
} from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress } from "./progress.ts";
import { writeReport } from "./report.ts";

interface EvaluateFlags extends ProgressFlags, DeviceFlags {
	readonly memDir?: string;
	readonly scores?: string;
	readonly dataRoot?: string;
	readonly oracleTask?: true;
	readonly trivial?: true;
	readonly maps?: string;
}

export function addEvaluate(program: Command): void {
	const command = program
		.command("eval")
		.usage("--mem_dir DIR [flags] | --scores DIR [--maps DIR --data_root DIR]")
		.description(
			"score every learnt task from the stored memory alone, print and rewrite the metrics",
		)
		.addOption(
			new Option(
				"--mem-dir <dir>",
				"a run folder, or a copy of one (also --mem_dir)",
			).conflicts("scores"),
		)
		.option(
			"--data-root <dir>",
			"where the data is now, if not where the run found it",
		)
		.option(
			"--oracle-task",
			"also with the task of every image known: an upper bound, in a column of its own",
		)
		.option(
			"--trivial",
			"also what size, file bytes, mean and contrast of the image alone reach",
		)
		.addOption(
			new Option(
				"--scores <dir>",
				"only compute the metrics of the score files in this folder (*.csv, or after-NN/*.csv)",
			).conflicts(["memDir", "oracleTask", "trivial"]),
		)
		.option(
			"--maps <dir>",
			"write every anomaly map as 32-bit TIFF, <dir>/<dataset>/<category>/test/<type>/<stem>.tiff, and over its picture as PNG; with --scores: read such maps, masks from --data_root",
		);
	withPlugins(command);
	withDeviceFlag(command, "keepsight eval");
	withProgressFlags(command).action(evaluate);
}

async function evaluate(flags: EvaluateFlags): Promise<void> {
	if (flags.scores !== undefined) {
		const { maps, dataRoot } = flags;
		if ((maps === undefined) !== (dataRoot === undefined))
			throw fail("USAGE", {
				problem:
					"With --scores, --maps DIR and --data_root DIR belong together: maps are measured against the masks there.",
				command: "keepsight eval",
			});
		const stages = readScoreFolder(flags.scores);
		const { results, text } = resultsOfScores(
			flags.scores,
			stages,
			maps !== undefined && dataRoot !== undefined
				? await pixelOf(stages, maps, dataRoot)
				: new Map(),
		);
		console.log(flags.json ? JSON.stringify(results, null, 2) : text);
		return;
	}
	if (flags.memDir === undefined)
		throw fail("USAGE", {
			problem: "Give --mem_dir DIR (a run folder) or --scores DIR.",
			command: "keepsight eval",
		});
	const job = {
		kind: "evaluate" as const,
		memDir: flags.memDir,
		...(flags.dataRoot !== undefined && { dataRoot: flags.dataRoot }),
		oracleTask: flags.oracleTask === true,
		trivial: flags.trivial === true,
		...(flags.maps !== undefined && { maps: flags.maps }),
	};
	const progress = createProgress(flags);
	const device = await usableDevice(flags.device, (text) =>
		progress.onEvent({ type: "notice", text }),
	);
	const { results, text } = await interruptible(
		"What was learnt is unchanged; run eval again to complete the scores.",
		(signal) => launch(job, { onEvent: progress.onEvent, signal, device }),
	).finally(progress.close);
	console.log(flags.json ? JSON.stringify(results, null, 2) : text.trimEnd());
	await writeReport(job.memDir, progress.onEvent);
}

/** Metrics of the maps of all categories of the last stage. */
async function pixelOf(
	stages: readonly ScoreStage[],
	maps: string,
	dataRoot: string,
): Promise<ReadonlyMap<string, PixelResult["values"]>> {
	const ids = stages.at(-1)?.categories.map(({ id }) => id) ?? [];
	const found = new Map<string, PixelResult["values"]>();
	for (const { categories } of await readTasks(dataRoot, ids))
		for (const category of categories) {
			const { values } = await pixelResult(
				category,
				(sample) => storedMap(maps, sample),
				{ requested: false },
			);
			found.set(category.id, values);
		}
	return found;
}

/** What memory costs, and at which rate thresholds aim, cannot be known from scores. */
export function resultsOfScores(
	dir: string,
	stages: readonly ScoreStage[],
	pixel: ReadonlyMap<string, PixelResult["values"]> = new Map(),
): {
	results: object;
	text: string;
} {
	const tasks = tasksOf(dir, stages);
	const scores = stages.flatMap(({ after, categories }) =>
		categories.map(({ id, rows }) => ({
			after: (after ?? tasks.length) - 1,
			category: id,
			rows: rows.map(metricRow),
			...pixelAt(stages.at(-1)?.after === after ? pixel.get(id) : undefined),
		})),
	);
	const results = buildResults({
		tasks,
		scores,
		falseAlarms: 0,
		memory: { bytes: 0, bytesPerTask: 0, weightsBytes: 0, strategyBytes: 0 },
	});
	return {
		results: {
			...results,
			falseAlarms: { ...results.falseAlarms, nominal: null },
			memory: null,
		},
		text: formatResults(results),
	};
}

/**
 * Of a stage one task after the one before, its new categories are the task that was learnt. Where more tasks were learnt in between (joint
 * training has scores after the last alone) and in a flat folder, which says nothing about an order, each new category is a task.
 */
function tasksOf(
	dir: string,
	stages: readonly ScoreStage[],
): ResultsInput["tasks"] {
	const seen = new Set<string>();
	let before = 0;
	return stages.flatMap(({ after, categories }) => {
		const fresh = categories
			.filter(({ id }) => !seen.has(id))
			.map(({ id, rows }) => ({ id, layout: layoutOf(rows) }));
		for (const { id } of fresh) seen.add(id);
		const learnt = after === null ? fresh.length : after - before;
		before = after ?? 0;
		if (learnt === fresh.length)
			return fresh.map((category) => ({
				id: category.id,
				categories: [category],
			}));
		if (learnt > 1 || fresh.length === 0)
			throw fail("SCORES_MISSING", {
				dir,
				problem: `stage ${after} adds ${fresh.length} categories for ${learnt} more tasks, so which is which task is unclear. Keep in every stage what was learnt by then, or put the files of one stage straight into a folder`,
			});
		return [{ id: fresh.map(({ id }) => id).join("+"), categories: fresh }];
	});
}

const pixelAt = (values: PixelResult["values"] | undefined) =>
	values && { pixel: values };

/** LOCO's folders of defects carry its two kinds; every other layout is read alike. */
const layoutOf = (
	rows: ScoreStage["categories"][number]["rows"],
): "loco" | "mvtec" =>
	rows.some(
		({ defect }) =>
			defect === "logical_anomalies" || defect === "structural_anomalies",
	)
		? "loco"
		: "mvtec";
