/**
 * The ledger of a study, on the disk beside its runs: what is finished is not run again, what was cut off goes on where it was, what
 * failed is noted and tried again next time. Who runs the cells, and where, is given (`Dispatch`).
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { fail, firstIssue } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import {
	ensureFolder,
	type Guard,
	lockFolder,
	readJsonObject,
	removeTemporaries,
	stableJson,
	writeAtomic,
} from "../storage.ts";
import { type Cell, digestOf } from "./cells.ts";

/** Who ran a cell on another machine. */
export const workerSchema = z.strictObject({
	host: z.string().max(255),
	pid: z.int(),
	keepsight: z.string(),
	onnxruntime: z.string(),
	node: z.string().max(100),
	cpu: z.string().max(200),
});
export type WorkerName = z.output<typeof workerSchema>;

const entrySchema = z.strictObject({
	label: z.string(),
	seed: z.int(),
	order: z.int(),
	/** Folder of the run, beside the ledger. */
	folder: z.string(),
	/** running: begun, and not known to have ended. */
	state: z.enum(["running", "finished", "failed"]),
	/** How long it ran, all attempts together. */
	seconds: z.number().min(0),
	/** How often it was begun. */
	attempts: z.int().min(0).default(0),
	/** The last time it was begun by a worker of a queue, by the worker's own name for it. */
	start: z.string().nullable().default(null),
	/** Why it failed, or what is odd about it. */
	message: z.string().nullable(),
	/** Of its results (`digestOf`), the last that were counted; null: none were, or by a version that kept none. */
	digest: z.string().nullable().default(null),
	/** null: this machine. */
	worker: workerSchema.nullable().default(null),
});
const format = 1;
const ledgerSchema = z.strictObject({
	format: z.literal(format),
	cells: z.record(z.string(), entrySchema),
});
export type LedgerEntry = z.output<typeof entrySchema>;

/** What cells are run with. */
export interface Study {
	readonly ledger: Ledger;
	/** How often a cell that failed is tried again. */
	readonly retries: number;
	/** With the cell that is at it, if one is. */
	readonly onEvent: (event: RunEvent, cell: Cell | null) => void;
	readonly signal: AbortSignal | undefined;
}

/** Runs cells and tells the ledger what becomes of each; rejects with `Interrupted` where it was asked to stop. */
export type Dispatch = (open: readonly Cell[], study: Study) => Promise<void>;

export interface StudyOptions
	extends Pick<Study, "onEvent">,
		Partial<Pick<Study, "retries">> {
	/** Folder of the ledger. */
	readonly dir: string;
	readonly dispatch: Dispatch;
	readonly signal?: AbortSignal;
}

/** Runs what the ledger does not know as finished. Returns its entry of every cell, by key. One at a time on a folder. */
export async function runCells(
	cells: readonly Cell[],
	{ dir, dispatch, onEvent, signal, retries = 0 }: StudyOptions,
): Promise<Readonly<Record<string, LedgerEntry>>> {
	ensureFolder(dir);
	const lock = lockFolder(dir, {
		onWait: (text) => onEvent({ type: "notice", text }, null),
	});
	try {
		removeTemporaries(dir, lock.check, () => false); // the runs below have locks of their own
		const ledger = new Ledger(dir, lock.check);
		const notice = (text: string) => onEvent({ type: "notice", text }, null);
		const open = cells.filter((cell) => !ledger.holds(cell, notice));
		const skipped = cells.length - open.length;
		if (skipped > 0)
			notice(
				`${skipped} of ${cells.length} runs are finished and not run again.`,
			);
		if (open.length > 0)
			await dispatch(open, { ledger, retries, onEvent, signal });
		return ledger.entries;
	} finally {
		lock.release();
	}
}

/** How a cell ended. */
export interface Ending {
	/** running: it was cut off. */
	readonly state: LedgerEntry["state"];
	readonly seconds: number;
	readonly message?: string | null;
	readonly worker?: WorkerName;
}

export class Ledger {
	readonly #path: string;
	readonly #check: Guard;
	readonly #entries: Record<string, LedgerEntry>;

	/** `check` throws where the folder is no longer ours. */
	constructor(dir: string, check: Guard) {
		this.#path = join(dir, "ledger.json");
		this.#check = check;
		this.#entries = existsSync(this.#path) ? read(this.#path) : {};
	}

	get entries(): Readonly<Record<string, LedgerEntry>> {
		return this.#entries;
	}

	/** Whether the cell is finished, and its folder holds what the ledger says; where it does not, the cell is to be run anew. */
	holds(cell: Cell, notice: (text: string) => void): boolean {
		const entry = this.#entries[cell.key];
		if (entry?.state !== "finished") return false;
		const digest = digestOf(cell);
		if (digest === null) return false;
		if (entry.digest === null || entry.digest === digest) return true;
		const message = "its folder held other results than those recorded";
		notice(`${cell.config.name} is run again: ${message}.`);
		this.#note(cell, { ...entry, state: "failed", message });
		return false;
	}

	/** A cell that failed starts anew: what it left may be why. */
	mustRestart = (key: string): boolean =>
		this.#entries[key]?.state === "failed";

	/** `start`: its worker's name for it; told of again it is no other attempt. */
	begin(cell: Cell, start: string | null = null): void {
		const entry = this.#entryOf(cell);
		const known = start !== null && start === entry.start;
		this.#note(cell, {
			...entry,
			state: "running",
			attempts: entry.attempts + (known ? 0 : 1),
			start,
			message: null,
		});
	}

	/** Returns how it ended indeed: a cell whose folder does not hold a finished run is not finished. */
	end(
		cell: Cell,
		{ state, seconds, message = null, worker }: Ending,
	): LedgerEntry["state"] {
		const digest = state === "finished" ? digestOf(cell) : null;
		const lacks = state === "finished" && digest === null;
		const entry = this.#entryOf(cell);
		const noted = lacks ? "failed" : state;
		const differs =
			digest !== null && entry.digest !== null && digest !== entry.digest;
		this.#note(cell, {
			...entry,
			state: noted,
			seconds: Math.round(10 * (seconds + entry.seconds)) / 10,
			message: lacks
				? "its run folder holds no finished run"
				: differs
					? `its results are others than those counted before (${entry.digest?.slice(0, 8)})`
					: message,
			digest: digest ?? entry.digest,
			worker: worker ?? null,
		});
		return noted;
	}

	#entryOf({ key, label, seed, order, config }: Cell): LedgerEntry {
		return {
			state: "running",
			seconds: 0,
			attempts: 0,
			start: null,
			message: null,
			digest: null,
			worker: null,
			...this.#entries[key],
			label,
			seed,
			order,
			folder: config.name,
		};
	}

	#note({ key }: Cell, entry: LedgerEntry): void {
		this.#entries[key] = entry;
		const json = stableJson({ format, cells: this.#entries });
		writeAtomic(this.#path, json, this.#check);
	}
}

function read(path: string): Record<string, LedgerEntry> {
	const remedy =
		"delete it: runs that are finished are looked up in their folders";
	const json = readJsonObject(path, remedy);
	if (json?.format !== format)
		throw fail("FORMAT_VERSION", { path, found: json?.format, known: format });
	const parsed = ledgerSchema.safeParse(json);
	if (!parsed.success)
		throw fail("DAMAGED", {
			path,
			problem: `it is no ledger (${firstIssue(parsed.error)})`,
			remedy,
		});
	return parsed.data.cells;
}
