#!/usr/bin/env node
/** The `keepsight` program: its table of commands, and what an error becomes. Exit codes: 0 done, 1 our fault, 2 the user's, 130/143 interrupted. */
import { Command, CommanderError } from "commander";
import { addBackbone } from "./commands/backbone.ts";
import { addBenchmark } from "./commands/benchmark.ts";
import { addCompare } from "./commands/compare.ts";
import { addData } from "./commands/data.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addEvaluate } from "./commands/evaluate.ts";
import { addExport } from "./commands/export.ts";
import { StoppedBySignal } from "./commands/interrupt.ts";
import { addLearn } from "./commands/learn.ts";
import { addPredict } from "./commands/predict.ts";
import { addQualify } from "./commands/qualify.ts";
import { addReport } from "./commands/report.ts";
import { addServe } from "./commands/serve.ts";
import { addSweep } from "./commands/sweep.ts";
import { addTrain } from "./commands/train.ts";
import { addWorker } from "./commands/worker.ts";
import { fail, KeepsightError } from "./errors.ts";
import { version } from "./version.ts";

const commands = [
	addTrain,
	addEvaluate,
	addLearn,
	addPredict,
	addQualify,
	addServe,
	addReport,
	addExport,
	addBenchmark,
	addCompare,
	addSweep,
	addWorker,
	addBackbone,
	addData,
	addDoctor,
];

function createProgram(): Command {
	const program = new Command("keepsight")
		.description(
			"Visual anomaly detection that learns one product after another and does not forget the earlier ones.",
		)
		.version(version)
		.configureHelp({ showGlobalOptions: true })
		.configureOutput({ outputError: () => undefined }) // printed by `report`, in our words
		.exitOverride();
	for (const add of commands) add(program);
	return program;
}

/** `--mem_dir` and `--mem-dir` are one flag, for every flag; values stay as they are. */
function normalised(args: readonly string[]): string[] {
	const end = args.indexOf("--");
	return args.map((arg, i) =>
		end >= 0 && i >= end
			? arg
			: arg.replace(/^--[\w-]+/, (flag) => flag.replaceAll("_", "-")),
	);
}

/** The command a usage error belongs to, as far as it was understood: "keepsight data check". */
function commandPath(program: Command, args: readonly string[]): string {
	let command = program;
	let path = program.name();
	for (const arg of args) {
		const next = command.commands.find((c) => c.name() === arg);
		if (!next) break;
		command = next;
		path += ` ${arg}`;
	}
	return path;
}

/** Prints an error where it belongs and returns the exit code. */
function report(
	error: unknown,
	program: Command,
	args: readonly string[],
): number {
	if (error instanceof CommanderError) {
		if (error.exitCode === 0) return 0; // --help, --version
		if (error.code === "commander.help") return 2; // no command: the help was printed
		const text = error.message
			.replace(/^error: /, "")
			.replace(/\n?\(Did you mean (.+)\?\)/, '. Did you mean "$1"?');
		const problem = `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?]$/.test(text) ? "" : "."}`;
		return report(
			fail("USAGE", { problem, command: commandPath(program, args) }),
			program,
			args,
		);
	}
	if (error instanceof StoppedBySignal) {
		console.error(error.message);
		return error.exitCode;
	}
	if (error instanceof KeepsightError) {
		console.error(`error: ${error.message}`);
		return 2;
	}
	console.error(
		error instanceof Error ? (error.stack ?? error.message) : error,
	);
	return 1;
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
	if (error.code !== "EPIPE") throw error; // `keepsight ... | head` closed the pipe: nobody listens any more
	process.exit(0);
});
const program = createProgram();
const args = normalised(process.argv.slice(2));
try {
	await program.parseAsync(args, { from: "user" });
} catch (error) {
	process.exitCode = report(error, program, args);
}
