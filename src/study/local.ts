/** Runs cells in processes of this machine. It is given the function that starts one. */
import { runDir } from "../config.ts";
import { type ErrorCode, Interrupted, KeepsightError } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import { holdsRun, openRun } from "../run.ts";
import type { TrainJob } from "../train.ts";
import { type Cell, groupBy, sharing } from "./cells.ts";
import type { Dispatch, Ending, Study } from "./ledger.ts";

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

/** Errors of ours that may be gone the next time; all others come again with the same configuration and data. */
const passing: readonly string[] = [
	"CANNOT_READ",
	"CANNOT_WRITE",
	"CHILD_LOST",
	"LOCKED",
	"LOCK_LOST",
	"STORE_UNUSABLE",
] satisfies ErrorCode[];

/** Whether to try again what failed so; null: not an error of ours. */
export const isPassing = (code: string | null): boolean =>
	code === null || passing.includes(code);

/** `jobs` processes at a time, each with an equal share of the threads; cells that share data and draws in one, while there are enough of them. */
export const localPool =
	(start: StartCells, jobs: number): Dispatch =>
	async (open, study) => {
		const waiting = parts(open, jobs);
		const processes = Math.min(jobs, waiting.length);
		const worker = async () => {
			for (let group = waiting.shift(); group; group = waiting.shift())
				await runGroup(group, { ...study, start, processes });
		};
		const workers = Array.from({ length: processes }, worker);
		const outcomes = await Promise.allSettled(workers); // a child that was asked to stop finishes its step first
		for (const outcome of outcomes)
			if (outcome.status === "rejected") throw outcome.reason;
	};

/** Groups of cells that share, the largest halved until every process has one. */
function parts(cells: readonly Cell[], jobs: number): (readonly Cell[])[] {
	const groups: (readonly Cell[])[] = groupBy(cells, sharing);
	while (groups.length < Math.min(jobs, cells.length)) {
		const at = groups.reduce(
			(best, group, i) =>
				group.length > (groups[best] as readonly Cell[]).length ? i : best,
			0,
		);
		const group = groups[at] as readonly Cell[];
		const half = Math.ceil(group.length / 2);
		groups.splice(at, 1, group.slice(0, half), group.slice(half));
	}
	return groups;
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

/** What a process is told of a cell. `threads` holds where the run was not begun yet. */
export function jobOf(
	config: Cell["config"],
	{ fresh, threads }: { readonly fresh: boolean; readonly threads: number },
): TrainJob {
	const dir = runDir(config);
	return {
		config: {
			...config,
			threads: (fresh ? null : threadsOf(dir)) ?? threads,
		},
		dir,
		mode: fresh ? "fresh" : "resume",
		force: false,
	};
}

/** One process for all cells of a group; if it dies, the cell it was at has failed and the rest goes on in a new one. */
async function runGroup(
	group: readonly Cell[],
	{
		start,
		processes,
		ledger,
		retries,
		onEvent,
		signal,
	}: Study & { readonly start: StartCells; readonly processes: number },
): Promise<void> {
	const byKey = new Map(group.map((cell) => [cell.key, cell]));
	const left = new Set(byKey.keys());
	const failures = new Map<string, number>();
	let running: { cell: Cell; began: number } | null = null;
	const end = (ending: Omit<Ending, "seconds">, code: string | null = null) => {
		if (!running) return;
		const { cell, began } = running;
		const state = ledger.end(cell, {
			...ending,
			seconds: (performance.now() - began) / 1000,
		});
		running = null;
		if (state === "finished") left.delete(cell.key);
		if (state !== "failed") return;
		const failed = (failures.get(cell.key) ?? 0) + 1;
		failures.set(cell.key, failed);
		if (failed > retries || !isPassing(code)) left.delete(cell.key);
	};
	while (left.size > 0) {
		let ended = 0;
		try {
			await start(
				[...left].map((key) => {
					const { config } = byKey.get(key) as Cell;
					return {
						cell: key,
						job: jobOf(config, {
							fresh: ledger.mustRestart(key),
							threads: Math.max(1, Math.floor(config.threads / processes)),
						}),
					};
				}),
				{
					processes,
					...(signal && { signal }),
					onEvent(event) {
						const { cell = null } = running ?? {};
						if (event.type !== "cell") {
							onEvent(event, cell);
							return;
						}
						const told = byKey.get(event.cell) as Cell;
						if (event.state === "started") {
							running = { cell: told, began: performance.now() };
							ledger.begin(told);
						} else {
							end(
								{ state: event.state, message: event.message ?? null },
								event.code,
							);
							ended += 1;
						}
						onEvent(event, told);
					},
				},
			);
		} catch (error) {
			if (error instanceof Interrupted || signal?.aborted) {
				end({ state: "running" });
				throw error;
			}
			if (!running) throw error; // it could not even begin
			const { cell } = running as { cell: Cell };
			const { message } = error as Error;
			end({ state: "failed", message });
			ended += 1;
			onEvent({ type: "cell", cell: cell.key, state: "failed", message }, cell);
		}
		if (ended === 0)
			throw new Error("a process for cells ended without having run any");
	}
}
