/** Records a run as it goes, in the process that computes: log.jsonl and TensorBoard's event files. Nothing here asks a network. */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { Interrupted, KeepsightError } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import type { Results } from "../metrics/results.ts";
import { logFile, type Run } from "../run.ts";
import { readText, sha256, stableJson } from "../storage.ts";
import { type Line, type LineOf, parseLine, scalarsOf } from "./lines.ts";
import { EventFile } from "./tensorboard.ts";

/** A line without its time. */
type Entry<T extends Line["type"]> = Omit<LineOf<T>, "time">;
type Stepped = Pick<LineOf<"epoch" | "row">, "type" | "task" | "step">;

export class Tracker {
	readonly #run: Run;
	readonly #emit: (event: RunEvent) => void;
	/** null: they cannot be written. */
	#events: EventFile | null;
	/** Of this process and those before. */
	readonly #stepped: Stepped[] = [];
	/** null: no process has named the run. */
	readonly #id: string | null;
	readonly #begun: boolean;

	/** Of a run that is open for writing. */
	constructor(run: Run, emit: (event: RunEvent) => void) {
		this.#run = run;
		this.#emit = emit;
		this.#events = new EventFile(run);
		const path = logFile(run.dir);
		this.#begun = existsSync(path);
		const lines = this.#begun ? readText(path).split("\n").map(parseLine) : [];
		for (const line of lines)
			if (line?.type === "epoch" || line?.type === "row") this.#note(line);
		const first = lines.find((line) => line?.type === "start");
		this.#id = first ? (first as LineOf<"start">).run : null;
	}

	start(): void {
		const { config, seed, order, versions } = this.#run.record;
		const { tracking: _tracking, ...decisive } = config;
		const line: Entry<"start"> = {
			type: "start",
			run: this.#id ?? randomUUID(),
			resumed: this.#begun,
			name: String(config.name),
			order: [...order],
			seed,
			config: sha256(Buffer.from(stableJson(decisive))).slice(0, 16),
			versions: { ...versions },
		};
		this.#write(line);
	}

	epoch({ steps, ...event }: Extract<RunEvent, { type: "epoch" }>): void {
		const line: Entry<"epoch"> = {
			...event,
			diagnostics: { ...event.diagnostics },
			step: this.#before(event.task) + steps,
		};
		this.#write(line);
	}

	/** `task`: of the stage, as its epochs name it; `results` of all tasks so far. */
	row(task: string, taskIndex: number, results: Results): void {
		const { matrices, summary, tasks, routing, falseAlarms } = results;
		const line: Entry<"row"> = {
			type: "row",
			task,
			taskIndex,
			step:
				1 +
				this.#last((logged) => logged.type === "epoch" || logged.task !== task),
			metrics: Object.fromEntries(
				Object.entries(matrices).map(([name, matrix]) => [
					name,
					{
						average: summary[name]?.average ?? null,
						forgetting: summary[name]?.forgetting ?? null,
						tasks: Object.fromEntries(
							tasks.map((id, j) => [id, matrix.at(-1)?.[j] ?? null]),
						),
					},
				]),
			),
			routing: routing.accuracy,
			falseAlarms: falseAlarms.realised,
		};
		this.#write(line);
	}

	/** The last line of this process; `error`: what ended it, null where it finished. */
	end(error: unknown): void {
		const interrupted = error instanceof Interrupted;
		const line: Entry<"end"> = {
			type: "end",
			state:
				error === null ? "finished" : interrupted ? "interrupted" : "failed",
			message:
				error === null || interrupted
					? null
					: String((error as Error)?.message ?? error),
		};
		try {
			this.#write(line);
		} catch (why) {
			if (error === null) throw why; // else the first error is the one to tell
		}
	}

	#write(entry: Entry<"start"> | Entry<"epoch"> | Entry<"row"> | Entry<"end">) {
		const ms = Date.now();
		const line = { ...entry, time: new Date(ms).toISOString() } as Line;
		this.#run.log(line);
		if (line.type !== "epoch" && line.type !== "row") return;
		this.#note(line);
		try {
			this.#events?.write(scalarsOf(line), { step: line.step, ms });
		} catch (error) {
			if (error instanceof KeepsightError && error.code === "LOCK_LOST")
				throw error;
			this.#events = null; // they decide nothing: the run goes on
			const text = `This process writes no more files for TensorBoard; log.jsonl has the numbers. ${(error as Error).message}`;
			this.#run.log({ type: "notice", text, damage: null });
			this.#emit({ type: "notice", text });
		}
	}

	#note({ type, task, step }: Stepped): void {
		this.#stepped.push({ type, task, step });
	}

	/** Steps of the tasks before this one. */
	#before = (task: string): number =>
		this.#last((logged) => logged.task !== task);

	#last = (of: (logged: Stepped) => boolean): number =>
		this.#stepped.reduce(
			(last, logged) => (of(logged) ? Math.max(last, logged.step) : last),
			0,
		);
}
