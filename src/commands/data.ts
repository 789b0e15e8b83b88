/** keepsight data: looks at data before anything is learnt from it, or draws some. */
import type { Command } from "commander";
import { optionsOf } from "../config.ts";
import { encodePng } from "../data/image.ts";
import { readLearnTasks } from "../data/index.ts";
import { fail } from "../errors.ts";
import { createPretext } from "../pretext/index.ts";
import { contactSheet } from "../pretext/sheet.ts";
import { writeAtomic } from "../storage.ts";
import {
	type ConfigFlags,
	configOf,
	wholeNumber,
	withConfigFlags,
} from "./flags.ts";

export function addData(program: Command): void {
	const data = program
		.command("data")
		.description("check, draw and look at data");
	withConfigFlags(
		data
			.command("sheet")
			.description(
				"write a contact sheet of what the pretext task shows the network, for one task of a configuration",
			),
	)
		.option("--task <name>", "which task; default: the first")
		.option(
			"--images <n>",
			"how many of its images",
			wholeNumber(1, "keepsight data sheet"),
			8,
		)
		.option("--out <png>", "the picture to write", "pretext.png")
		.action(sheet);
}

interface SheetFlags extends ConfigFlags {
	readonly task?: string;
	readonly images: number;
	readonly out: string;
}

async function sheet(flags: SheetFlags): Promise<void> {
	const { config } = await configOf(flags, "keepsight data sheet");
	const tasks = await readLearnTasks(config.data.root, config.data.tasks);
	const task =
		flags.task === undefined
			? tasks[0]
			: tasks.find(({ id }) => id === flags.task);
	if (!task)
		throw fail("UNKNOWN_NAME", {
			kind: "task",
			name: flags.task ?? "",
			where: "--task",
			known: tasks.map(({ id }) => id),
		});
	const samples = task.categories
		.flatMap(({ normals }) => normals)
		.slice(0, flags.images);
	const images = await Promise.all(
		samples.map((sample) => sample.read(config.imageSize)),
	);
	const pretext = createPretext({
		name: config.pretext.name,
		options: optionsOf(config.pretext),
	});
	writeAtomic(
		flags.out,
		await encodePng(
			contactSheet(images, pretext, config.seed, Math.min(8, images.length)),
		),
	);
	console.log(
		`${flags.out}: ${images.length} images of ${task.id}; below each row the views ${pretext.classes.join(", ")}.`,
	);
}
