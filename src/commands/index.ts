/** The table of commands. */
import { Command } from "commander";
import { addBackbone } from "./backbone.ts";
import { addCompare } from "./compare.ts";
import { addData } from "./data.ts";
import { addDoctor } from "./doctor.ts";
import { addEvaluate } from "./evaluate.ts";
import { addExport } from "./export.ts";
import { addLearn } from "./learn.ts";
import { addPredict } from "./predict.ts";
import { addQualify } from "./qualify.ts";
import { addReport } from "./report.ts";
import { addServe } from "./serve.ts";
import { addSweep } from "./sweep.ts";
import { addTrain } from "./train.ts";
import { addWorker } from "./worker.ts";
import { version } from "../version.ts";

const commands = [
	addTrain,
	addEvaluate,
	addLearn,
	addPredict,
	addQualify,
	addServe,
	addReport,
	addExport,
	addCompare,
	addSweep,
	addWorker,
	addBackbone,
	addData,
	addDoctor,
];

/** The program with all its commands and flags; nothing runs before it is given arguments. */
export function createProgram(): Command {
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
