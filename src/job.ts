/** What the process that computes can be asked to do (child.ts), a line each. */
import { benchmark, type BenchmarkJob } from "./benchmark/benchmark.ts";
import { distill, type DistillJob } from "./distill/distill.ts";
import { type EvaluateJob, evaluateRun } from "./evaluate.ts";
import { type ExportJob, exportDetector } from "./export/export.ts";
import { type VerifyJob, verifyExport } from "./export/verify.ts";
import { predictAll, type PredictJob } from "./predict.ts";
import { qualify, type QualifyJob } from "./qualify/qualify.ts";
import { teach, type TeachJob } from "./teach.ts";
import { train, trainAll, type TrainJob, type Watcher } from "./train.ts";

/** What a process of its own can do; `kind` says which. */
export type Job =
	| (TrainJob & { readonly kind: "train" })
	| CellsJob
	| (DistillJob & { readonly kind: "distill" })
	| (EvaluateJob & { readonly kind: "evaluate" })
	| (TeachJob & { readonly kind: "teach" })
	| (PredictJob & { readonly kind: "predict" })
	| (QualifyJob & { readonly kind: "qualify" })
	| (ExportJob & { readonly kind: "export" })
	| (VerifyJob & { readonly kind: "verify" })
	| (BenchmarkJob & { readonly kind: "benchmark" });

/** Runs of a comparison; its result is empty: what became of each is told by its events and its run folder. */
export interface CellsJob {
	readonly kind: "cells";
	readonly jobs: Parameters<typeof trainAll>[0];
	/** How many such processes share the machine. */
	readonly processes: number;
}

/** What each kind of job ends with. */
export interface JobResult {
	/** The object of metrics.json. */
	readonly results: object;
	/** The tables that a command prints. */
	readonly text: string;
}

/** Does a job here. `input`: where names of pictures come from, a line each; opened for a job that reads them alone. */
export async function perform(
	job: Job,
	watcher: Watcher,
	input: () => AsyncIterable<string>,
): Promise<JobResult> {
	switch (job.kind) {
		case "train":
			return train(job, watcher);
		case "distill":
			return distill(job, watcher);
		case "evaluate":
			return evaluateRun(job, watcher);
		case "teach":
			return teach(job, watcher);
		case "predict":
			return predictAll(job, watcher, input());
		case "qualify":
			return qualify(job, watcher);
		case "export":
			return exportDetector(job, watcher);
		case "verify":
			return verifyExport(job, watcher);
		case "benchmark":
			return benchmark(job, watcher);
		case "cells":
			await trainAll(job.jobs, job.processes, watcher);
			return { results: {}, text: "" };
	}
}
