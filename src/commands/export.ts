/** keepsight export: what was learnt as an ONNX graph that needs no Keepsight, and whether such a graph does what it did. */
import { type Command, Option } from "commander";
import { fail } from "../errors.ts";
import { launch } from "../launch.ts";
import { type ProgressFlags, withPlugins, withProgressFlags } from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress } from "./progress.ts";

interface ExportFlags extends ProgressFlags {
	readonly memDir?: string;
	readonly out?: string;
	readonly task?: string;
	readonly samples?: string;
	readonly verify?: string;
}

const called = "keepsight export";

export function addExport(program: Command): void {
	const command = program
		.command("export")
		.usage("--mem_dir DIR --out DIR [flags] | --verify DIR")
		.description(
			"write the detector as an ONNX graph with a manifest, golden samples and examples in Python and JavaScript; or check such a folder",
		)
		.option(
			"--mem-dir <dir>",
			"a run folder, or a copy of one (also --mem_dir)",
		)
		.option("--out <dir>", "where to write: a new folder, or an earlier export")
		.option(
			"--task <name>",
			"of this product alone; without it of all, and the graph recognises each picture by itself",
		)
		.option(
			"--samples <path>",
			"pictures that become the golden samples: a file, folder or quoted pattern; without it they are drawn",
		)
		.addOption(
			new Option(
				"--verify <dir>",
				"run the golden samples of an export through its graph and compare; exit code 1 if it says something else",
			).conflicts(["memDir", "out", "task", "samples"]),
		);
	withPlugins(command);
	withProgressFlags(command).action(exportOrVerify);
}

async function exportOrVerify(flags: ExportFlags): Promise<void> {
	const { memDir, out, task, samples, verify } = flags;
	if (verify === undefined && (memDir === undefined || out === undefined))
		throw fail("USAGE", {
			problem:
				"Give --mem_dir DIR (a run folder) and --out DIR, or --verify DIR.",
			command: called,
		});
	const job =
		verify === undefined
			? {
					kind: "export" as const,
					memDir: memDir as string,
					out: out as string,
					...(task !== undefined && { task }),
					...(samples !== undefined && { samples }),
				}
			: { kind: "verify" as const, dir: verify };
	const progress = createProgress(flags);
	const { results, text } = await interruptible(
		"Nothing was written.",
		(signal) => launch(job, { onEvent: progress.onEvent, signal }),
	).finally(progress.close);
	console.log(flags.json ? JSON.stringify(results, null, 2) : text);
	if ((results as { readonly agrees?: boolean }).agrees === false)
		process.exitCode = 1;
}
