/** keepsight learn, forget, rollback, tasks: what was learnt, product by product. */
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { inColumns } from "../columns.ts";
import { loadConfig, type RunConfig } from "../config.ts";
import { usableDevice } from "../devices.ts";
import { fail } from "../errors.ts";
import { launch } from "../launch.ts";
import { holdsRun, openRun } from "../run.ts";
import type { Change } from "../teach.ts";
import { withBackbone } from "./backbone.ts";
import {
	type ConfigFlags,
	type DeviceFlags,
	type ProgressFlags,
	wholeNumber,
	withConfigFlags,
	withDeviceFlag,
	withPlugins,
	withProgressFlags,
} from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress, type Progress } from "./progress.ts";

interface MemoryFlags extends ProgressFlags {
	readonly memDir: string;
}
interface LearnFlags extends MemoryFlags, ConfigFlags, DeviceFlags {
	readonly task: string;
	readonly data?: string;
	readonly add?: true;
	readonly recalibrate?: string;
	readonly roi?: string;
	readonly review?: true;
}

/** What --config is for where it need not be given. */
export const newMemory =
	"what a new memory is made of (default: the flagship, configs/flagship.yaml of the package)";
/** What a new memory is made of without --config: our best detector, which trains nothing. */
export const flagship = fileURLToPath(
	new URL("../../configs/flagship.yaml", import.meta.url),
);
const memDir = ["--mem-dir <dir>", "the run folder (also --mem_dir)"] as const;

export function addLearn(program: Command): void {
	const learn = program
		.command("learn")
		.usage("--mem_dir DIR --task NAME --data DIR [flags]")
		.description(
			"learn one more product from a folder of good images; nothing of the others changes",
		)
		.requiredOption(
			"--mem-dir <dir>",
			"the run folder; made where there is none (also --mem_dir)",
		)
		.requiredOption("--task <name>", "the product's name, such as line-2/cap")
		.option(
			"--data <dir>",
			"a folder of good images, or a category in the layout of MVTec AD or LOCO",
		)
		.option("--add", "more good images of a product that is known")
		.option(
			"--roi <png>",
			"a picture, white where to look, black where not: fixtures, a date that changes",
		);
	learn.option(
		"--recalibrate <dir>",
		"instead of --data: good images after a lamp or a lens was changed (20 are enough), which set the threshold anew",
	);
	learn.option(
		"--review",
		"first list images that look unlike the others, with maps; a person decides, and the same command goes on",
	);
	withConfigFlags(learn, newMemory);
	withDeviceFlag(learn, "keepsight learn");
	withProgressFlags(learn).action(learnProduct);

	const change = (command: Command) => withProgressFlags(withPlugins(command));
	change(
		program
			.command("forget")
			.usage("--mem_dir DIR --task NAME [flags]")
			.description("drop one product; the others stay as they are")
			.requiredOption(...memDir)
			.requiredOption("--task <name>", "the product's name"),
	).action(({ task, ...flags }: MemoryFlags & { readonly task: string }) =>
		changed({ kind: "forget", task }, flags),
	);

	change(
		program
			.command("rollback")
			.usage("--mem_dir DIR [--to VERSION] [flags]")
			.description(
				"return to an earlier version of the memory; this can be undone",
			)
			.requiredOption(...memDir)
			.option(
				"--to <version>",
				"its number, as `tasks` lists it; default: the one before",
				wholeNumber(1, "keepsight rollback"),
			),
	).action(({ to, ...flags }: MemoryFlags & { readonly to?: number }) =>
		changed({ kind: "rollback", to: to ?? null }, flags),
	);

	change(
		program
			.command("threshold")
			.usage("--mem_dir DIR --task NAME --score NUMBER | --reset")
			.description("set the score from which a product's images are rejected")
			.requiredOption(...memDir)
			.requiredOption("--task <name>", "the product's name")
			.option("--score <number>", "such as 2.5; 2: one good part in 100")
			.option("--reset", "back to what the rate of false alarms says"),
	).action(setThreshold);

	withPlugins(
		program
			.command("tasks")
			.usage("--mem_dir DIR [--json]")
			.description(
				"the products that are known, and the versions that are kept",
			),
	)
		.requiredOption(...memDir)
		.option("--json", "as JSON")
		.action(listTasks);
}

async function setThreshold({
	task,
	score,
	reset,
	...flags
}: MemoryFlags & {
	readonly task: string;
	readonly score?: string;
	readonly reset?: true;
}): Promise<void> {
	if ((score === undefined) !== (reset === true))
		throw fail("USAGE", {
			problem: "Give one of --score and --reset.",
			command: "keepsight threshold",
		});
	const wanted = score === undefined ? null : Number(score || "nothing");
	if (Number.isNaN(wanted))
		throw fail("USAGE", {
			problem: `${JSON.stringify(score)} is no number, and --score takes one such as 2.5.`,
			command: "keepsight threshold",
		});
	await changed({ kind: "threshold", task, score: wanted }, flags);
}

async function learnProduct(flags: LearnFlags): Promise<void> {
	const { task, roi } = flags;
	const data = flags.data ?? flags.recalibrate;
	if (data === undefined || (flags.data && flags.recalibrate))
		throw fail("USAGE", {
			problem:
				"Give one of --data and --recalibrate: a folder to learn, or one to set the threshold of a known product by.",
			command: "keepsight learn",
		});
	if ((flags.add || flags.recalibrate) && (roi !== undefined || flags.review))
		throw fail("USAGE", {
			problem:
				"--roi and --review belong to learning a product anew; a known one keeps its region.",
			command: "keepsight learn",
		});
	const known =
		holdsRun(flags.memDir) && openRun(flags.memDir, "read").memory.version > 0;
	if (known && (flags.config !== undefined || flags.set.length > 0))
		throw fail("USAGE", {
			problem: `${flags.memDir} has its configuration already; --config and --set are for a new one.`,
			command: "keepsight learn",
		});
	const more = flags.recalibrate ? "recalibrate" : flags.add ? "add" : null;
	const change: Change = more
		? { kind: more, task, data }
		: {
				kind: "learn",
				task,
				data,
				...(roi !== undefined && { roi }),
				review: flags.review === true,
			};
	const config = known
		? null
		: (await loadConfig(flags.config ?? flagship, flags.set)).config;
	await changed(change, flags, config);
}

/** Makes the change in a child process and prints what came of it. */
async function changed(
	change: Change,
	flags: MemoryFlags & Partial<DeviceFlags>,
	config: RunConfig | null = null,
): Promise<void> {
	const progress = createProgress(flags);
	const device = await usableDevice(flags.device ?? "cpu", (text) =>
		progress.onEvent({ type: "notice", text }),
	);
	const { results, text } = await interruptible(
		"What was learnt before is unchanged.",
		(signal) => launched({ change, flags, config, progress, signal, device }),
	).finally(progress.close);
	console.log(flags.json ? JSON.stringify(results, null, 2) : text);
}

async function launched({
	change,
	flags,
	config,
	progress,
	signal,
	device,
}: {
	readonly change: Change;
	readonly flags: MemoryFlags;
	readonly config: RunConfig | null;
	readonly progress: Progress;
	readonly signal: AbortSignal;
	readonly device: string;
}) {
	return launch(
		{
			kind: "teach",
			memDir: flags.memDir,
			change,
			config:
				config && (await withBackbone(config, null, { progress, signal })),
		},
		{ onEvent: progress.onEvent, signal, device },
	);
}

async function listTasks(flags: {
	readonly memDir: string;
	readonly json?: true;
}): Promise<void> {
	const { known } = await import("../known.ts"); // it reads the whole memory, which other commands need not load
	const { version, products, earlier } = known(flags.memDir);
	if (flags.json) {
		console.log(JSON.stringify({ version, products, earlier }, null, 2));
		return;
	}
	const rows = [
		["product", "images", "MB", "learnt in"],
		...products.map(({ id, images, bytes, seconds }) => [
			id,
			String(images),
			(bytes / 1e6).toFixed(2),
			seconds === null ? "-" : `${seconds.toFixed(1)} s`,
		]),
	];
	console.log(inColumns(rows, [1, 2, 3]).join("\n"));
	console.log(`\nversion ${version.version}: ${version.change}`);
	for (const kept of earlier)
		console.log(
			`version ${kept.version}: ${kept.change} (kept; products: ${kept.products})`,
		);
}
