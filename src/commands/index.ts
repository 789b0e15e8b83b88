/** The table of commands. Each is loaded when it is asked for: what one imports costs every start of the others. */
import { Command } from "commander";
import { version } from "../version.ts";

/** The commands a file adds, in the order of the help, and what adds them. */
const files: readonly (readonly [
	names: readonly string[],
	load: () => Promise<(program: Command) => void>,
])[] = [
	[["train"], async () => (await import("./train.ts")).addTrain],
	[["eval"], async () => (await import("./evaluate.ts")).addEvaluate],
	[
		["learn", "forget", "rollback", "threshold", "tasks"],
		async () => (await import("./learn.ts")).addLearn,
	],
	[["predict"], async () => (await import("./predict.ts")).addPredict],
	[["qualify"], async () => (await import("./qualify.ts")).addQualify],
	[["serve"], async () => (await import("./serve.ts")).addServe],
	[["report"], async () => (await import("./report.ts")).addReport],
	[["export"], async () => (await import("./export.ts")).addExport],
	[["compare"], async () => (await import("./compare.ts")).addCompare],
	[["benchmark"], async () => (await import("./benchmark.ts")).addBenchmark],
	[["sweep"], async () => (await import("./sweep.ts")).addSweep],
	[["worker"], async () => (await import("./worker.ts")).addWorker],
	[["backbone"], async () => (await import("./backbone.ts")).addBackbone],
	[["data"], async () => (await import("./data.ts")).addData],
	[["doctor"], async () => (await import("./doctor.ts")).addDoctor],
];

export const commandNames: readonly string[] = files.flatMap(
	([names]) => names,
);

/** The program with the file of the command `wanted`, or with all of them where it is none of their names. Parses nothing yet. */
export async function createProgram(wanted?: string): Promise<Command> {
	const program = new Command("keepsight")
		.description(
			"Visual anomaly detection that learns one product after another and does not forget the earlier ones.",
		)
		.version(version)
		.configureHelp({ showGlobalOptions: true })
		.configureOutput({ outputError: () => undefined }) // printed by main.ts, in our words
		.exitOverride();
	const one = files.find(([names]) => names.some((name) => name === wanted));
	for (const [, load] of one ? [one] : files) (await load())(program);
	return program;
}
