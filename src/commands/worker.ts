/** keepsight worker: runs what sweeps and bulk scoring put into a queue. */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import type { Command } from "commander";
import { plainName } from "../columns.ts";
import { isDirectory } from "../data/files.ts";
import { usableDevice } from "../devices.ts";
import { fail } from "../errors.ts";
import { launch } from "../launch.ts";
import {
	type DeviceFlags,
	type QueueFlags,
	redisUrl,
	usualQueue,
	wholeNumber,
	withDeviceFlag,
	withPlugins,
	withQueueFlags,
} from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress } from "./progress.ts";
import { startCells } from "./study.ts";

const called = "keepsight worker";

interface WorkerFlags extends DeviceFlags, QueueFlags {
	readonly root?: string;
	readonly jobs: number;
	readonly lease: number;
	readonly store?: string;
	readonly anyVersion?: true;
	readonly followLinks?: true;
	readonly quiet?: true;
	readonly color: boolean;
}

export function addWorker(program: Command): void {
	const command = program
		.command("worker")
		.usage("--redis [URL] [flags]")
		.description(
			"run what sweeps and bulk scoring put into a queue; SIGTERM or Ctrl-C hands back what is under way and ends it",
		);
	withQueueFlags(command, called)
		.option(
			"--root <dir>",
			"the shared folder: all paths of jobs are below it (default: the current one)",
		)
		.option(
			"--jobs <n>",
			"jobs at a time, a process each",
			wholeNumber(1, called),
			1,
		)
		.option(
			"--store <url>",
			"where finished run folders go: as given to the sweep",
		)
		.option(
			"--lease <seconds>",
			"a worker that is silent for so long loses its job to another",
			wholeNumber(2, called),
			30,
		)
		.option(
			"--any-version",
			"also run jobs of other versions of Keepsight or onnxruntime",
		)
		.option(
			"--follow-links",
			"read links that lead out of the shared folder; only where you trust whoever fills the queue",
		)
		.option("--quiet", "errors only")
		.option("--no-color", "no colours (also: environment variable NO_COLOR)");
	withPlugins(command);
	withDeviceFlag(command, called).action(start);
}

async function start(flags: WorkerFlags): Promise<void> {
	const { connect } = await import("../study/queue/redis.ts"); // .1 s that other commands need not wait
	const { imagesOf } = await import("../study/queue/jobs.ts");
	const { openStore } = await import("../study/queue/store.ts");
	const { work } = await import("../study/queue/worker.ts");
	const url = redisUrl({ redis: true, ...flags }, called) as string;
	const queue = flags.queue ?? usualQueue;
	const root = resolve(flags.root ?? ".");
	if (!(await isDirectory(root)))
		throw fail("INPUT_MISSING", {
			input: root,
			problem: "there is no such folder for --root",
		});
	process.chdir(root);
	const progress = createProgress({ color: flags.color });
	const live = process.stderr.isTTY === true && flags.quiet !== true;
	/** With the time: a worker runs for days. */
	const log = (text: string) => {
		if (flags.quiet) return;
		progress.close();
		const line = plainName(text.replaceAll("\n", " "));
		console.error(`${new Date().toISOString()} ${line}`);
	};
	const device = await usableDevice(flags.device, log);
	const store = await openStore(flags.store);
	const connection = await connect(url, log);
	log(`at the queue "${queue}" of ${connection.name}, in ${root}`);
	try {
		await interruptible("What was under way was handed back.", (signal) =>
			work({
				connection,
				queue,
				confines: {
					root,
					followLinks: flags.followLinks === true,
				},
				threads: Math.max(4, 2 * availableParallelism()),
				jobs: flags.jobs,
				store,
				anyVersion: flags.anyVersion === true,
				leaseMs: 1000 * flags.lease,
				start: startCells(device),
				readImages: imagesOf,
				predict: (job, options) =>
					launch({ kind: "predict", ...job }, { ...options, device }),
				onEvent: (event) => {
					if (event.type === "notice") log(event.text);
					else if (live && event.type === "progress") progress.onEvent(event);
				},
				log,
				signal,
			}),
		);
	} finally {
		progress.close();
		connection.redis.disconnect();
	}
}
