/** keepsight train: learns the configured tasks in order, evaluates after each, writes the run folder. */
import { type Command, Option } from "commander";
import { runDir } from "../config.ts";
import { usableDevice } from "../devices.ts";
import type { RunEvent } from "../events.ts";
import { launch } from "../launch.ts";
import { withBackbone } from "./backbone.ts";
import {
	type ConfigFlags,
	configOf,
	type ProgressFlags,
	withConfigFlags,
	withProgressFlags,
} from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress } from "./progress.ts";
import { writeReport } from "./report.ts";
import { createTracking } from "./tracking.ts";

interface TrainFlags extends ConfigFlags, ProgressFlags {
	readonly out?: string;
	readonly resume?: true;
	readonly fresh?: true;
	readonly force?: true;
}

export function addTrain(program: Command): void {
	const command = program
		.command("train")
		.usage("--config FILE [flags]")
		.description(
			"learn the configured tasks in order, evaluate after each, write the run folder <out>/<name>/Anomaly",
		);
	withConfigFlags(command)
		.option(
			"--out <dir>",
			"where run folders go, instead of the configuration's `out`",
		)
		.addOption(
			new Option(
				"--resume",
				"go on where a stopped run ended; start where there is none",
			).conflicts("fresh"),
		)
		.option("--fresh", "delete the run that is there and start anew")
		.option(
			"--force",
			"with --resume: go on although settings or versions changed; what differs is recorded",
		);
	withProgressFlags(command).action(train);
}

async function train(flags: TrainFlags): Promise<void> {
	const { config: loaded } = await configOf(flags, "keepsight train");
	const wanted =
		flags.out === undefined ? loaded : { ...loaded, out: flags.out };
	const dir = runDir(wanted);
	const progress = createProgress(flags);
	const notice = (text: string) => progress.onEvent({ type: "notice", text });
	const device = await usableDevice(wanted.device, notice);
	const config = { ...wanted, device };
	const mode = flags.resume ? "resume" : flags.fresh ? "fresh" : "new";
	const hint = "The state is saved; the same command with --resume goes on.";
	const tracking = createTracking(notice);
	const { results, text } = await interruptible(hint, async (signal) => {
		const ready = await withBackbone(config, mode === "resume" ? dir : null, {
			progress,
			signal,
		});
		const onEvent = (event: RunEvent) => {
			progress.onEvent(event);
			tracking.onEvent(event, ready);
		};
		try {
			return await launch(
				{
					kind: "train",
					config: ready,
					dir,
					mode,
					force: flags.force === true,
				},
				{ onEvent, signal, device },
			);
		} finally {
			await tracking.close();
		}
	}).finally(progress.close);
	console.log(
		flags.json
			? JSON.stringify(results, null, 2)
			: `${text.trimEnd()}\n\nRun folder: ${dir}`,
	);
	const { report } = await writeReport(dir, progress.onEvent); // after the table: its failure must not cost that
	if (!flags.json) console.log(`Report: ${report}`);
}
