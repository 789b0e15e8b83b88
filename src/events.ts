/** What a running job tells whoever watches: the terminal, a log file, later a server. Plain data, sent over IPC. */
import { Interrupted } from "./errors.ts";

/** How a watcher asks a job to end early. */
export interface Stop {
	readonly requested: boolean;
}

/** Lets messages in, which a running session keeps out, and ends the job if it was asked to stop. */
export async function heed(stop: Stop): Promise<void> {
	await new Promise(setImmediate);
	if (stop.requested) throw new Interrupted();
}

/** Tells of long work on a memory while it goes on, and ends it where that is wanted. */
export const paced =
	(
		{ emit, stop }: { emit: (event: RunEvent) => void; stop: Stop },
		at: {
			readonly task: string;
			readonly taskIndex: number;
			readonly taskCount: number;
		},
	) =>
	async (done: number, total: number, unit: string): Promise<void> => {
		await heed(stop);
		emit({ type: "progress", phase: "memory", ...at, done, total, unit });
	};

export const phases = ["draw", "read", "train", "memory", "evaluate"] as const;
export type Phase = (typeof phases)[number];

/** `unsure`: near the threshold. `unknown`: no product fits. `unusable`: the picture cannot be scored. */
export const verdicts = [
	"good",
	"defect",
	"unsure",
	"unknown",
	"unusable",
] as const;
/** What is said of an image: good, defect, unsure (near the threshold), unknown (no product fits), unusable (no picture to judge). */
export type Verdict = (typeof verdicts)[number];

/** What was found in one image. */
export interface Prediction {
	readonly path: string;
	/** −log10 of the chance that a good part scores so high; null: unusable, and so are the next but the verdict. */
	readonly score: number | null;
	readonly threshold: number | null;
	readonly verdict: Verdict;
	/** Whether the score reaches the threshold, near it or not. */
	readonly anomalous: boolean | null;
	/** The product it was scored as; null: none fits. */
	readonly task: string | null;
	/** Of the memory that it was scored with. */
	readonly memoryVersion: number;
	/** From the opening of its file, with what it waited for images that were seen together with it. */
	readonly latencyMs: number;
	/** Why it is unusable. */
	readonly reason: string | null;
}

/** What a job reports while it runs. */
export type RunEvent =
	/** The run folder is open for writing, and nobody else writes to it. */
	| { readonly type: "opened"; readonly dir: string }
	/** Something the user should know; never an error. */
	| { readonly type: "notice"; readonly text: string }
	/** Work of one phase on one task; `done` of `total` units ("images", "steps"). `detail` is short, such as "loss 0.412". */
	| {
			readonly type: "progress";
			readonly phase: Phase;
			readonly task: string;
			readonly taskIndex: number;
			readonly taskCount: number;
			readonly done: number;
			readonly total: number;
			readonly unit: string;
			readonly detail?: string;
	  }
	/** One image was scored. */
	| { readonly type: "prediction"; readonly prediction: Prediction }
	/** After every epoch. `accuracy` of the pretext task on its training views, 0..1. `diagnostics`: what the strategy reports. */
	| {
			readonly type: "epoch";
			readonly task: string;
			readonly taskIndex: number;
			readonly epoch: number;
			readonly epochs: number;
			/** Training steps of the task up to here. */
			readonly steps: number;
			readonly loss: number;
			readonly accuracy: number;
			readonly seconds: number;
			readonly diagnostics: Readonly<Record<string, number>>;
	  }
	/** One run of a comparison, by its key. */
	| {
			readonly type: "cell";
			readonly cell: string;
			readonly state: "started" | "finished" | "failed";
			readonly message?: string;
			/** Of an error of ours (errors.ts). */
			readonly code?: string;
			/** Where the failure is ours. */
			readonly stack?: string;
	  }
	/** A task is learnt and evaluated: one row of the result matrix (null: not evaluated). */
	| {
			readonly type: "row";
			readonly task: string;
			readonly taskIndex: number;
			readonly taskCount: number;
			readonly imageAuroc: readonly (number | null)[];
	  };
