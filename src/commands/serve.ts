/** keepsight serve: scores over HTTP, learns over HTTP, shows a dashboard. */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { loadConfig } from "../config.ts";
import { usableDevice } from "../devices.ts";
import { fail } from "../errors.ts";
import { launch, startScorer } from "../launch.ts";
import { holdsRun, openRun } from "../run.ts";
import { serve } from "../server/serve.ts";
import { withBackbone } from "./backbone.ts";
import { flagship, newMemory } from "./learn.ts";
import { createProgress } from "./progress.ts";
import {
	collected,
	type DeviceFlags,
	wholeNumber,
	withDeviceFlag,
	withPlugins,
} from "./flags.ts";

const called = "keepsight serve";

interface ServeFlags extends DeviceFlags {
	readonly memDir: string;
	readonly config?: string;
	readonly host: string;
	readonly port: number;
	readonly workers?: number;
	readonly queue: number;
	readonly timeout: number;
	readonly rate: number;
	readonly keepImages?: true;
	readonly historyDays: number;
	readonly historyMb?: number;
	readonly replica?: true | string;
	readonly state?: string;
	readonly allowHost: readonly string[];
	readonly runs?: string;
	readonly quiet?: true;
}

export function addServe(program: Command): void {
	const number = (least: number) => wholeNumber(least, called);
	const command = program
		.command("serve")
		.usage("--mem_dir DIR [flags]")
		.description(
			"score pictures over HTTP, learn and correct products, show a dashboard; ends on SIGTERM or Ctrl-C without losing a request",
		)
		.requiredOption(
			"--mem-dir <dir>",
			"the run folder; made where there is none, once a product is learnt (also --mem_dir)",
		)
		.option("--config <file>", newMemory)
		.option(
			"--host <name>",
			"where to listen; other than this machine needs KEEPSIGHT_TOKEN",
			"127.0.0.1",
		)
		.option("--port <n>", "0: any that is free", number(0), 8080)
		.option(
			"--workers <n>",
			"processes that score (default: cores by the run's threads)",
			number(1),
		)
		.option("--queue <n>", "pictures that wait, at most", number(1), 64)
		.option("--timeout <seconds>", "for one picture", number(1), 30)
		.option("--rate <n>", "requests a second of one address", number(1), 200)
		.option(
			"--keep-images",
			"keep the pictures in the history: new versions are tried on them",
		)
		.option("--history-days <n>", "how long it is kept", number(1), 90)
		.option(
			"--history-mb <n>",
			"how large it may become (default: 2000; in memory: 64)",
			number(1),
		)
		.option(
			"--replica [url]",
			"only score, with the version that the run folder's other server lets answer; nothing is written there, changes are refused with the address of that server",
		)
		.option(
			"--state <dir>",
			"where history and uploads lie, on a disk of this machine (default: the run folder; of a replica: in memory)",
		)
		.option(
			"--allow-host <name>",
			"another name of this server, as a proxy calls it; may be repeated",
			collected,
			[] as readonly string[],
		)
		.option(
			"--runs <dir>",
			"a folder of run folders, whose results the dashboard shows too",
		)
		.option("--quiet", "errors only");
	withPlugins(command);
	withDeviceFlag(command, called).action(start);
}

async function start(flags: ServeFlags): Promise<void> {
	const { host, port, quiet } = flags;
	const replica =
		flags.replica === undefined
			? null
			: { writer: flags.replica === true ? null : flags.replica };
	const inMemory = replica !== null && flags.state === undefined;
	const memDir = resolve(flags.memDir); // tables of a review name pictures by their whole path
	const log = (text: string) => {
		if (!quiet)
			console.error(
				`${new Date().toISOString()} ${text.replaceAll("\n", " ")}`,
			);
	};
	const known = holdsRun(memDir) && openRun(memDir, "read");
	if (known && known.memory.version > 0 && flags.config !== undefined)
		throw fail("USAGE", {
			problem: `${memDir} has its configuration already; --config is for a new one.`,
			command: called,
		});
	const { config } = await loadConfig(flags.config ?? flagship, []);
	const { threads } = known ? known.settings : config;
	const device = await usableDevice(flags.device, log);
	const progress = createProgress({ color: false, ...(quiet && { quiet }) });
	const signal = new AbortController().signal; // a signal ends the program: nothing is served yet
	const pinned =
		known || replica
			? config
			: await withBackbone(config, null, { progress, signal });
	progress.close();
	const served = await serve({
		memDir,
		config: pinned,
		replica,
		state: flags.state === undefined ? null : resolve(flags.state),
		host,
		port,
		token: process.env.KEEPSIGHT_TOKEN || null,
		hosts: flags.allowHost,
		rate: flags.rate,
		connections: 1024,
		receiveMs: 30_000,
		graceMs: 30_000,
		limits: {
			workers:
				flags.workers ??
				Math.max(1, Math.floor(availableParallelism() / threads)),
			queue: flags.queue,
			timeoutMs: 1000 * flags.timeout,
		},
		history: {
			days: flags.historyDays,
			bytes: 1e6 * (flags.historyMb ?? (inMemory ? 64 : 2000)),
			images: flags.keepImages === true,
		},
		runs: flags.runs ?? null,
		webDir: fileURLToPath(new URL("../web/", import.meta.url)),
		start: (job) => startScorer(job, device),
		teach: (job, options) =>
			launch({ kind: "teach", ...job }, { ...options, device, polite: true }),
		log,
	});
	console.log(`Keepsight serves ${memDir} at ${served.url}`);
	const name = await new Promise<string>((resolve) => {
		for (const one of ["SIGINT", "SIGTERM"])
			process.once(one, () => resolve(one));
	});
	log(`${name}: answering what is under way`);
	process.on("SIGINT", () => process.exit(130)); // a second time: at once
	await served.close();
}
