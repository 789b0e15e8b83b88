/** keepsight backbone distill: a small student of a large teacher, from ordinary pictures. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { usableDevice } from "../devices.ts";
import type { DistillSettings } from "../distill/distill.ts";
import { optimizers } from "../engine/optim.ts";
import { fail } from "../errors.ts";
import { launch } from "../launch.ts";
import { type Precision, precisions } from "../models/quantise.ts";
import {
	collected,
	type DeviceFlags,
	type ProgressFlags,
	wholeNumber,
	withDeviceFlag,
	withProgressFlags,
} from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress } from "./progress.ts";

interface DistillFlags extends ProgressFlags, DeviceFlags {
	readonly teacher?: string;
	readonly precision: Precision;
	readonly images: readonly string[];
	readonly blocks: readonly number[];
	readonly out?: string;
	readonly pool?: string;
	readonly from: string;
	readonly width: number;
	readonly depth: number;
	readonly heads: number;
	readonly patch: number;
	readonly imageSize: number;
	readonly crops: number;
	readonly steps: number;
	readonly batchSize: number;
	readonly optimizer: keyof typeof optimizers;
	readonly lr: number;
	readonly weightDecay: number;
	readonly classWeight: number;
	readonly seed: number;
	readonly threads: number;
	readonly resume?: true;
	readonly fresh?: true;
}

const command = "keepsight backbone distill";

export function addDistill(backbone: Command): void {
	const whole = (least: number) => wholeNumber(least, command);
	const distill = backbone
		.command("distill")
		.usage("--teacher NAME --images DIR... --out DIR [flags]")
		.description(
			"teach a small backbone to say of ordinary pictures what a large one says; writes a backbone's folder",
		)
		.option(
			"--teacher <name>",
			"the large backbone: a folder, hub:OWNER/NAME or local:NAME",
		)
		.addOption(
			new Option("--precision <name>", "in what the teacher computes")
				.choices(precisions)
				.default("int8"),
		)
		.option(
			"--images <dirs...>",
			"folders of pictures; those below count too",
			collected,
			[] as readonly string[],
		)
		.option(
			"--blocks <fractions>",
			"the teacher's blocks whose patches are learnt, as fractions of its depth",
			fractions,
			[0.58],
		)
		.option("--out <dir>", "the student's folder")
		.option(
			"--pool <dir>",
			"where crops and what the teacher says of them are kept; several students may share one (default: pool/ in the student's folder)",
		)
		.option(
			"--from <start>",
			"its first weights: teacher: a part of the teacher's; random; or the folder of a student to go on from",
			"teacher",
		)
		.option("--width <n>", "of the student's tokens", whole(1), 192)
		.option(
			"--depth <n>",
			"blocks; patches are read before the last",
			whole(2),
			8,
		)
		.option("--heads <n>", "of the attention", whole(1), 6)
		.option("--patch <px>", "side of a patch", whole(1), 14)
		.option("--image-size <px>", "side of the student's input", whole(1), 224)
		.option(
			"--crops <n>",
			"crops to learn from; each takes 250 kB of disk with DINOv2-small at 224 px",
			whole(1),
			20_000,
		)
		.option("--steps <n>", "steps", whole(1), 5_000)
		.option("--batch-size <n>", "crops a step", whole(1), 16)
		.addOption(
			new Option("--optimizer <name>", "of the student's weights")
				.choices(Object.keys(optimizers))
				.default("muon"),
		)
		.option("--lr <rate>", "largest learning rate", positive, 4e-4)
		.option(
			"--weight-decay <rate>",
			"of the student's weights, beside the gradient",
			notNegative,
			0.02,
		)
		.option(
			"--class-weight <w>",
			"of the class token's loss beside the patches'",
			notNegative,
			0.2,
		)
		.option("--seed <n>", "of weights, crops and their order", whole(0), 0)
		.addOption(
			new Option("--threads <n>", "processor cores to compute with")
				.default(availableParallelism(), "all cores")
				.argParser(whole(1)),
		)
		.addOption(
			new Option("--resume", "go on where a stopped run ended").conflicts(
				"fresh",
			),
		)
		.option("--fresh", "delete the student that is there and start anew");
	withDeviceFlag(distill, command);
	withProgressFlags(distill).action(run);
}

async function run(flags: DistillFlags): Promise<void> {
	const { teacher, images, out } = flags;
	if (teacher === undefined || images.length === 0 || out === undefined)
		throw fail("USAGE", {
			problem: "Give --teacher DIR, --images DIR... and --out DIR.",
			command,
		});
	const { width, depth, heads, patch, imageSize } = flags;
	const settings: DistillSettings = {
		teacher,
		precision: flags.precision,
		images,
		blocks: flags.blocks,
		student: { name: "vit", width, depth, heads, patch },
		from: flags.from,
		imageSize: [imageSize, imageSize],
		crops: flags.crops,
		steps: flags.steps,
		batchSize: flags.batchSize,
		optimizer: flags.optimizer,
		lr: flags.lr,
		weightDecay: flags.weightDecay,
		classWeight: flags.classWeight,
		seed: flags.seed,
	};
	const progress = createProgress(flags);
	const device = await usableDevice(flags.device, (text) =>
		progress.onEvent({ type: "notice", text }),
	);
	const { results, text } = await interruptible(
		"What was saved last is kept; the same command with --resume goes on.",
		(signal) =>
			launch(
				{
					kind: "distill",
					settings,
					out,
					pool: flags.pool ?? join(out, "pool"),
					mode: flags.resume ? "resume" : flags.fresh ? "fresh" : "new",
					threads: flags.threads,
				},
				{ onEvent: progress.onEvent, signal, device },
			),
	).finally(progress.close);
	console.log(flags.json ? JSON.stringify(results, null, 2) : text);
}

function fractions(text: string): number[] {
	const found = text.split(",").map(Number);
	if (found.some((x) => !(x > 0 && x <= 1)))
		throw fail("USAGE", {
			problem: `"${text}" is not a list of fractions such as 0.5,0.75.`,
			command,
		});
	return found;
}

const numeric =
	(what: string, holds: (x: number) => boolean) =>
	(text: string): number => {
		const x = Number(text);
		if (text.trim() === "" || !Number.isFinite(x) || !holds(x))
			throw fail("USAGE", { problem: `"${text}" is not ${what}.`, command });
		return x;
	};
const positive = numeric("a number above 0", (x) => x > 0);
const notNegative = numeric("a number of at least 0", (x) => x >= 0);
