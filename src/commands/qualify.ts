/** keepsight qualify: what a quality engineer signs of one product, as text, JSON and one page. */
import type { Command } from "commander";
import { usableDevice } from "../devices.ts";
import { fail } from "../errors.ts";
import { launch } from "../launch.ts";
import type { QualifyJob, QualifyResult } from "../qualify/qualify.ts";
import { formatQualification } from "../reports/qualifyText.ts";
import { writeAtomic } from "../storage.ts";
import { version } from "../version.ts";
import {
	type DeviceFlags,
	type ProgressFlags,
	withDeviceFlag,
	withPlugins,
	withProgressFlags,
} from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress } from "./progress.ts";

interface QualifyFlags extends ProgressFlags, DeviceFlags {
	readonly memDir?: string;
	readonly task?: string;
	readonly routed?: true;
	readonly labelled?: string;
	readonly gauge?: string;
	readonly good?: string;
	readonly roi?: string;
	readonly diameters?: readonly number[];
	readonly contrast?: number;
	readonly mmPerPixel?: number;
	readonly out?: string;
}

const called = "keepsight qualify";
/** Of 255 grey levels. */
const CONTRAST = 40;

export function addQualify(program: Command): void {
	const command = program
		.command("qualify")
		.usage(
			"--mem_dir DIR --task NAME --labelled DIR | --gauge DIR | --good DIR [flags]",
		)
		.description(
			"figures of one product for quality assurance, with their intervals: escapes and overkill, repeatability, the size of defect that is found",
		)
		.option(
			"--mem-dir <dir>",
			"a run folder, or a copy of one (also --mem_dir)",
		)
		.option("--task <name>", "the product that all pictures show")
		.option(
			"--routed",
			"score as a station that is told no product: each picture is recognised by itself",
		)
		.option(
			"--labelled <dir>",
			"escapes and overkill of these pictures: good/ and one folder for every kind of defect, or test/ with these",
		)
		.option(
			"--gauge <dir>",
			"repeatability: one folder for every part, with all pictures of that part",
		)
		.option(
			"--good <dir>",
			"probability of detection: discs are pasted into these good pictures, which were not learnt",
		)
		.option(
			"--roi <png>",
			"with --good: discs lie where this picture is white; without it anywhere",
		)
		.option(
			"--diameters <px,...>",
			"with --good: of the discs; default: twelve from 2 to a quarter of the shorter side",
			diametersOf,
		)
		.option(
			"--contrast <levels>",
			`with --good: grey levels of 255 between a disc and what it covers; default: ${CONTRAST}`,
			numberOf(1, 255),
		)
		.option(
			"--mm-per-pixel <x>",
			"with --good: sizes also in millimetres",
			numberOf(1e-300, Number.MAX_VALUE),
		)
		.option("--out <html>", "also write all of it as one page");
	withPlugins(command);
	withDeviceFlag(command, called);
	withProgressFlags(command).action(run);
}

/** A number from `least` to `most`. */
const numberOf =
	(least: number, most: number) =>
	(text: string): number => {
		const n = Number(text);
		if (text.trim() === "" || !(n >= least && n <= most))
			throw fail("USAGE", {
				problem: `"${text}" is not a number ${most === Number.MAX_VALUE ? "above 0" : `from ${least} to ${most}`}.`,
				command: called,
			});
		return n;
	};

/** Ascending, each once. */
const diametersOf = (text: string): readonly number[] =>
	[...new Set(text.split(",").map(numberOf(1, 10_000)))].sort((a, b) => a - b);

async function run(flags: QualifyFlags): Promise<void> {
	const { out, json } = flags;
	const job = jobOf(flags);
	const progress = createProgress(flags);
	const device = await usableDevice(flags.device, (text) =>
		progress.onEvent({ type: "notice", text }),
	);
	const { results } = await interruptible(
		"Nothing was changed, and nothing is written.",
		(signal) =>
			launch(
				{ kind: "qualify", ...job },
				{ onEvent: progress.onEvent, signal, device },
			),
	).finally(progress.close);
	const { qualification, examples } = results as QualifyResult;
	if (out !== undefined) {
		const { renderQualification } = await import("../reports/qualify.ts"); // .4 s that the text need not wait
		const date = new Date().toISOString().slice(0, 10);
		writeAtomic(
			out,
			renderQualification(qualification, examples, { version, date }),
		);
	}
	console.log(
		json
			? JSON.stringify(qualification, null, 2)
			: formatQualification(qualification),
	);
}

function jobOf(flags: QualifyFlags): QualifyJob {
	const usage = (problem: string) =>
		fail("USAGE", { problem, command: called });
	const { memDir, task, labelled, gauge, good } = flags;
	const { roi, diameters, contrast, mmPerPixel } = flags;
	if (memDir === undefined || task === undefined)
		throw usage("Give --mem_dir DIR (a run folder) and --task NAME.");
	if (labelled === undefined && gauge === undefined && good === undefined)
		throw usage("Give at least one of --labelled, --gauge and --good.");
	if (
		good === undefined &&
		[roi, diameters, contrast, mmPerPixel].some((value) => value !== undefined)
	)
		throw usage(
			"--roi, --diameters, --contrast and --mm_per_pixel belong to --good DIR.",
		);
	return {
		memDir,
		task,
		routed: flags.routed === true,
		...(labelled !== undefined && { labelled }),
		...(gauge !== undefined && { gauge }),
		...(good !== undefined && { good }),
		...(roi !== undefined && { roi }),
		...(diameters !== undefined && { diameters }),
		contrast: contrast ?? CONTRAST,
		...(mmPerPixel !== undefined && { mmPerPixel }),
	};
}
