/** What a running job tells whoever watches: the terminal, a log file, later a server. Plain data, sent over IPC. */

export type Phase = "read" | "train" | "memory" | "evaluate";

export type RunEvent =
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
	/** After every epoch. `accuracy` of the pretext task on its training views, 0..1. `diagnostics`: what the strategy reports. */
	| {
			readonly type: "epoch";
			readonly task: string;
			readonly epoch: number;
			readonly epochs: number;
			readonly loss: number;
			readonly accuracy: number;
			readonly seconds: number;
			readonly diagnostics: Readonly<Record<string, number>>;
	  }
	/** A task is learnt and evaluated: one row of the result matrix (null: not evaluated). */
	| {
			readonly type: "row";
			readonly task: string;
			readonly taskIndex: number;
			readonly taskCount: number;
			readonly imageAuroc: readonly (number | null)[];
	  };
