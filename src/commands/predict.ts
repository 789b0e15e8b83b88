/** keepsight predict: scores any images with what was learnt, and prints each as soon as it is scored. */
import { type Command, Option } from "commander";
import { plainName } from "../columns.ts";
import { csvNumber, csvText } from "../csv.ts";
import { findImages } from "../data/find.ts";
import { usableDevice } from "../devices.ts";
import { fail, KeepsightError } from "../errors.ts";
import { type Prediction, type Verdict, verdicts } from "../events.ts";
import { launch } from "../launch.ts";
import { checkWritable, writeAtomic } from "../storage.ts";
import {
	type DeviceFlags,
	type ProgressFlags,
	type QueueFlags,
	redisUrl,
	usualQueue,
	wholeNumber,
	withDeviceFlag,
	withPlugins,
	withProgressFlags,
	withQueueFlags,
} from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress } from "./progress.ts";

interface PredictFlags extends ProgressFlags, DeviceFlags, QueueFlags {
	readonly memDir?: string;
	readonly task?: string;
	readonly csv?: string;
	readonly maps?: string;
	readonly watch?: string;
	readonly shard?: number;
}

const called = "keepsight predict";
/** Pictures: a minute's work or less, beside which the start of a process counts little. */
const SHARD = 500;

export function addPredict(program: Command): void {
	const command = program
		.command("predict")
		.usage("--mem_dir DIR PATH... [flags]")
		.description(
			"score pictures with what was learnt: good, defect, unsure, unknown or unusable, a line each; with --json one object a line",
		)
		.argument(
			"[path...]",
			'files, folders, quoted patterns such as "parts/**/*.png", or - for names on stdin, one a line',
		)
		.option(
			"--mem-dir <dir>",
			"a run folder, or a copy of one (also --mem_dir)",
		)
		.option(
			"--task <name>",
			"the product that the pictures show; without it each is recognised by itself",
		)
		.addOption(
			new Option(
				"--csv <file>",
				"also write all results into this file when everything is scored",
			).conflicts("watch"),
		)
		.option(
			"--maps <dir>",
			"write every anomaly map as 32-bit TIFF, and over its picture as PNG, under the picture's name",
		)
		.option(
			"--watch <dir>",
			"score what is in this folder and whatever appears in it, until interrupted",
		);
	withQueueFlags(command, called).option(
		"--shard <n>",
		`with --redis: pictures that a worker takes at a time (default: ${SHARD})`,
		wholeNumber(1, called),
	);
	withPlugins(command);
	withDeviceFlag(command, called);
	withProgressFlags(command).action(predict);
}

async function predict(
	inputs: readonly string[],
	flags: PredictFlags,
): Promise<void> {
	const { memDir, task, csv, maps, watch, json } = flags;
	if (memDir === undefined)
		throw fail("USAGE", {
			problem: "Give --mem_dir DIR (a run folder).",
			command: called,
		});
	const redis = redisUrl(flags, called, { "--shard": flags.shard });
	if (inputs.length > 0 === (watch !== undefined))
		throw fail("USAGE", {
			problem: "Give pictures to score, or a folder with --watch DIR.",
			command: called,
		});
	if (redis !== null && (watch !== undefined || inputs.includes("-")))
		throw fail("USAGE", {
			problem:
				"--redis takes files, folders and patterns; --watch and names on stdin are scored here alone.",
			command: called,
		});
	if (redis !== null && flags.device !== "cpu")
		throw fail("USAGE", {
			problem: "With --redis the workers compute: give them --device.",
			command: called,
		});
	if (csv !== undefined) checkWritable(csv);
	const progress = createProgress(flags);
	const notice = (text: string) => progress.onEvent({ type: "notice", text });
	const counts = new Map<Verdict, number>();
	const kept: Prediction[] = [];
	const take = (prediction: Prediction) => {
		const { verdict } = prediction;
		if (counts.size === 0 && !json) console.log(heading);
		counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
		if (csv !== undefined) kept.push(prediction);
		console.log(json ? JSON.stringify(prediction) : lineOf(prediction));
	};
	/** Here, in a process of its own. */
	const scoreHere = async (signal: AbortSignal): Promise<void> => {
		await launch(
			{
				kind: "predict",
				memDir,
				inputs,
				...(watch !== undefined && { watch }),
				...(task !== undefined && { task }),
				...(maps !== undefined && { maps }),
			},
			{
				onEvent: (event) =>
					event.type === "prediction"
						? take(event.prediction)
						: progress.onEvent(event),
				signal,
				device: await usableDevice(flags.device, notice),
			},
		);
	};
	/** On the workers of a queue. */
	const scoreOver = async (url: string, signal: AbortSignal) => {
		const { connect } = await import("../study/queue/redis.ts"); // .1 s that other commands need not wait
		const { scoreShards } = await import("../study/queue/shards.ts");
		const images = (await Promise.all(inputs.map(findImages))).flat();
		const connection = await connect(url, notice);
		await scoreShards({
			connection,
			queue: flags.queue ?? usualQueue,
			retries: 2,
			notice,
			signal,
			memDir,
			images,
			task: task ?? null,
			maps: maps ?? null,
			size: flags.shard ?? SHARD,
			onPrediction: take,
			onScored: (done) =>
				progress.count("scoring", {
					done,
					total: images.length,
					unit: "images",
				}),
		}).finally(() => connection.redis.disconnect());
	};
	try {
		await interruptible(
			`What is printed was scored${csv === undefined ? "" : `; ${csv} was not written`}.`,
			(signal) =>
				redis === null ? scoreHere(signal) : scoreOver(redis, signal),
		);
		if (csv !== undefined) writeAtomic(csv, csvOf(kept));
	} catch (error) {
		const rest =
			error instanceof KeepsightError && error.code === "SHARD_FAILED";
		if (rest && csv !== undefined) writeAtomic(csv, csvOf(kept)); // all others are scored
		throw error;
	} finally {
		progress.close();
		if (!flags.quiet && counts.size > 0) console.error(summaryOf(counts));
	}
}

const cells = (
	verdict: string,
	score: string,
	threshold: string,
	product: string,
	path: string,
): string =>
	`${verdict.padEnd(9)}${score.padStart(8)}${threshold.padStart(11)}   ${product.padEnd(20)} ${path}`;

const heading = cells("verdict", "score", "threshold", "product", "path");

const lineOf = (found: Prediction): string =>
	cells(
		found.verdict,
		found.score?.toFixed(2).replace("-0.00", "0.00") ?? "-",
		found.threshold?.toFixed(2) ?? "-",
		found.task ?? "-",
		`${plainName(found.path)}${found.reason === null ? "" : `  (${plainName(found.reason)})`}`,
	);

const summaryOf = (counts: ReadonlyMap<Verdict, number>): string =>
	verdicts
		.flatMap((verdict) => {
			const n = counts.get(verdict);
			return n === undefined ? [] : [`${n} ${verdict}`];
		})
		.join(", ");

function csvOf(predictions: readonly Prediction[]): string {
	const number = (value: number | null) =>
		value === null ? "" : csvNumber(value);
	const lines = predictions.map((found) =>
		[
			csvText(found.path),
			found.verdict,
			number(found.score),
			number(found.threshold),
			csvText(found.task ?? ""),
			found.memoryVersion,
			csvText(found.reason ?? ""),
		].join(","),
	);
	const columns = "path,verdict,score,threshold,task,memoryVersion,reason";
	return `${[columns, ...lines].join("\n")}\n`;
}
