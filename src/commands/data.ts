/** keepsight data: looks at data before anything is learnt from it, or draws some. */
import type { Command } from "commander";
import { optionsOf } from "../config.ts";
import { checkData, formatReport } from "../data/check.ts";
import { drawDemo } from "../data/demo.ts";
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
	withPlugins,
} from "./flags.ts";
import { createProgress } from "./progress.ts";

export function addData(program: Command): void {
	const data = program
		.command("data")
		.description("check, draw and look at data");
	withPlugins(
		data
			.command("check")
			.usage("DIR [--json]")
			.description(
				"look at every image and mask of a data root, data set, category or folder, and say what to mend; exit code 2 if there are errors",
			),
	)
		.argument("<dir>", "a data root, data set, category or folder of pictures")
		.option("--json", "print the report as JSON")
		.action(check);
	const number = (least: number) => wholeNumber(least, "keepsight data demo");
	data
		.command("demo")
		.usage("DIR [flags]")
		.description(
			"draw the demo product line: data sets in the layouts of MVTec AD and MVTec LOCO AD; draws nothing where it is already",
		)
		.argument("<dir>", "where mvtec/ and loco/ are drawn")
		.option(
			"--products <n>",
			"how many; five are the standard line",
			number(1),
			5,
		)
		.option("--seed <n>", "another seed draws other pictures", number(0), 0)
		.option("--size <px>", "side of the pictures", number(32), 256)
		.option(
			"--drift",
			"also drift_light/ and drift_blur/: tested under another lamp or out of focus",
		)
		.option(
			"--dirty <share>",
			"also dirty/: this share of the good training images shows defects",
			Number,
			0,
		)
		.option("--quiet", "no progress")
		.action(demo);
	withConfigFlags(
		data
			.command("sheet")
			.usage("--config FILE [flags]")
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

async function check(dir: string, flags: { json?: true }): Promise<void> {
	const report = await checkData(dir);
	console.log(
		flags.json ? JSON.stringify(report, null, 2) : formatReport(report),
	);
	if (report.findings.some(({ level }) => level === "error"))
		process.exitCode = 2;
}

interface DemoFlags {
	readonly products: number;
	readonly seed: number;
	readonly size: number;
	readonly drift?: true;
	readonly dirty: number;
	readonly quiet?: true;
}

async function demo(dir: string, flags: DemoFlags): Promise<void> {
	const { products, seed, size, drift = false, dirty } = flags;
	const progress = createProgress({ color: true, ...flags });
	const line = await drawDemo(
		dir,
		{ products, seed, size, drift, dirty },
		(done, total) => progress.count("drawing", { done, total, unit: "images" }),
	).finally(progress.close);
	console.log(
		`${dir}: ${line.products.length} ${line.products.length === 1 ? "product" : "products"}, ${line.drawn ? "drawn" : "already there"}: ${line.categories.join(", ")}`,
	);
}

interface SheetFlags extends ConfigFlags {
	readonly task?: string;
	readonly images: number;
	readonly out: string;
}

async function sheet(flags: SheetFlags): Promise<void> {
	const { config } = await configOf(flags, "keepsight data sheet");
	const tasks = await readLearnTasks(config.data.root, config.data.tasks, {
		followLinks: config.data.followLinks,
	});
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
