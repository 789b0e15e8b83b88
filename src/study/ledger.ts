/**
 * Runs cells and keeps a ledger of them on the disk: what is finished is not run again, what was cut off goes on where it was, what
 * failed is noted and tried again next time. It is given the function that starts a child process.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { runDir } from "../config.ts";
import { fail, Interrupted, KeepsightError } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import { holdsRun, openRun } from "../run.ts";
import {
	ensureFolder,
	lockFolder,
	readJsonObject,
	stableJson,
	writeAtomic,
} from "../storage.ts";
import type { TrainJob } from "../train.ts";
import { type Cell, isFinished } from "./cells.ts";

/** Starts a process that runs these cells one after the other and tells of each by "cell" events. */
export type StartCells = (
	jobs: readonly { readonly cell: string; readonly job: TrainJob }[],
	options: {
		/** How many such processes share the machine. */
		readonly processes: number;
		readonly onEvent: (event: RunEvent) => void;
		readonly signal?: AbortSignal;
	},
) => Promise<unknown>;

const entrySchema = z.strictObject({
	label: z.string(),
	seed: z.int(),
	order: z.int(),
	/** Folder of the run, beside the ledger. */
	folder: z.string(),
	/** running: begun, and not known to have ended. */
	state: z.enum(["running", "finished", "failed"]),
	/** How long it ran, all attempts that ended together. */
	seconds: z.number().min(0),
	message: z.string().nullable(),
});
const ledgerSchema = z.strictObject({
	format: z.literal(1),
	cells: z.record(z.string(), entrySchema),
});
export type LedgerEntry = z.output<typeof entrySchema>;

export interface StudyOptions {
	/** Folder of the ledger. */
	readonly dir: string;
	readonly start: StartCells;
	/** Processes at a time; each gets an equal share of the threads. */
	readonly jobs: number;
	/** With the cell that is at it, if one is. */
	readonly onEvent: (event: RunEvent, cell: Cell | null) => void;
	readonly signal?: AbortSignal;
}

/** Threads of the run that was begun there, which it must go on with; null: none was. */
function threadsOf(dir: string): number | null {
	if (!holdsRun(dir)) return null;
	try {
		const { threads } = openRun(dir, "read").record.config;
		return typeof threads === "number" ? threads : null;
	} catch (error) {
		if (error instanceof KeepsightError) return null; // the run itself will say what is wrong
		throw error;
	}
}

/** Runs what the ledger does not know as finished. Returns its entry of every cell, by key. */
export async function runCells(
	cells: readonly Cell[],
	{ dir, start, jobs, onEvent, signal }: StudyOptions,
): Promise<Readonly<Record<string, LedgerEntry>>> {
	ensureFolder(dir);
	const lock = lockFolder(dir, {
		onWait: (text) => onEvent({ type: "notice", text }, null),
	});
	try {
		const ledger = new Ledger(dir);
		const open = cells.filter(
			(cell) =>
				ledger.entries[cell.key]?.state !== "finished" || !isFinished(cell),
		);
		const skipped = cells.length - open.length;
		if (skipped > 0)
			onEvent(
				{
					type: "notice",
					text: `${skipped} of ${cells.length} runs are finished and not run again.`,
				},
				null,
			);
		const groups = new Map<string, Cell[]>();
		for (const cell of open) {
			const key = `${cell.seed} ${cell.order}`;
			groups.set(key, [...(groups.get(key) ?? []), cell]);
		}
		const waiting = [...groups.values()];
		const processes = Math.min(jobs, waiting.length);
		const worker = async () => {
			for (let group = waiting.shift(); group; group = waiting.shift())
				await runGroup(group, ledger, { start, processes, onEvent, signal });
		};
		const workers = Array.from({ length: processes }, worker);
		const outcomes = await Promise.allSettled(workers); // a child that was asked to stop finishes its step first
		for (const outcome of outcomes)
			if (outcome.status === "rejected") throw outcome.reason;
		return ledger.entries;
	} finally {
		lock.release();
	}
}

/** One process for all cells of a group; if it dies, the cell it was at has failed and the rest starts anew. */
async function runGroup(
	group: readonly Cell[],
	ledger: Ledger,
	{
		start,
		processes,
		onEvent,
		signal,
	}: Pick<StudyOptions, "start" | "onEvent"> & {
		readonly processes: number;
		readonly signal: AbortSignal | undefined;
	},
): Promise<void> {
	const byKey = new Map(group.map((cell) => [cell.key, cell]));
	const left = new Set(byKey.keys());
	let running: { cell: Cell; began: number } | null = null;
	const end = (state: LedgerEntry["state"], message: string | null) => {
		if (!running) return;
		const { cell, began } = running;
		ledger.note(cell, state, (performance.now() - began) / 1000, message);
		if (state !== "running") left.delete(cell.key);
		running = null;
	};
	while (left.size > 0) {
		const before = left.size;
		try {
			await start(
				[...left].map((key) => {
					const { config } = byKey.get(key) as Cell;
					const dir = runDir(config);
					const fresh = ledger.mustRestart(key);
					const threads =
						(fresh ? null : threadsOf(dir)) ??
						Math.max(1, Math.floor(config.threads / processes));
					return {
						cell: key,
						job: {
							config: { ...config, threads },
							dir,
							mode: fresh ? "fresh" : "resume",
							force: false,
						},
					};
				}),
				{
					processes,
					...(signal && { signal }),
					onEvent(event) {
						if (event.type === "cell") {
							const cell = byKey.get(event.cell) as Cell;
							if (event.state === "started") {
								running = { cell, began: performance.now() };
								ledger.note(cell, "running", 0, null);
							} else end(event.state, event.message ?? null);
						}
						onEvent(event, running?.cell ?? null);
					},
				},
			);
		} catch (error) {
			if (error instanceof Interrupted || signal?.aborted) {
				end("running", null);
				throw error;
			}
			if (!running) throw error; // it could not even begin
			const { cell } = running as { cell: Cell };
			const message = (error as Error).message;
			end("failed", message);
			onEvent({ type: "cell", cell: cell.key, state: "failed", message }, cell);
		}
		if (left.size === before)
			throw new Error("a process for cells ended without having run any");
	}
}

class Ledger {
	readonly #path: string;
	readonly #entries: Record<string, LedgerEntry>;

	constructor(dir: string) {
		this.#path = join(dir, "ledger.json");
		this.#entries = existsSync(this.#path) ? read(this.#path) : {};
	}

	get entries(): Readonly<Record<string, LedgerEntry>> {
		return this.#entries;
	}

	/** A cell that failed starts anew: what it left may be why. */
	mustRestart = (key: string): boolean =>
		this.#entries[key]?.state === "failed";

	note(
		{ key, label, seed, order, config }: Cell,
		state: LedgerEntry["state"],
		seconds: number,
		message: string | null,
	): void {
		this.#entries[key] = {
			label,
			seed,
			order,
			folder: config.name,
			state,
			seconds:
				Math.round(10 * (seconds + (this.#entries[key]?.seconds ?? 0))) / 10,
			message,
		};
		writeAtomic(this.#path, stableJson({ format: 1, cells: this.#entries }));
	}
}

function read(path: string): Record<string, LedgerEntry> {
	const parsed = ledgerSchema.safeParse(readJsonObject(path));
	if (!parsed.success)
		throw fail("DAMAGED", {
			path,
			problem: `it is no ledger (${z.prettifyError(parsed.error).split("\n")[0]})`,
		});
	return parsed.data.cells;
}
