/** Runs cells on the workers of a queue; the ledger stays here, with who started the sweep. */
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { fail } from "../../errors.ts";
import { readJsonObject, stableJson, writeAtomic } from "../../storage.ts";
import { type Cell, digestOf } from "../cells.ts";
import type { Dispatch } from "../ledger.ts";
import { drive, type DriveOptions, type Item } from "./drive.ts";
import {
	type CellJob,
	cellResult,
	isPlain,
	jobBase,
	markerPath,
	pathsOf,
} from "./jobs.ts";
import type { Store } from "./store.ts";

/** A shared folder may show a file some seconds after it was written elsewhere. */
const SEEN_MS = 30_000;

/** What a worker says while it runs a cell. */
export const cellProgress = z.object({
	phase: z.enum(["read", "train", "memory", "evaluate"]),
	task: z.string(),
	taskIndex: z.number(),
	taskCount: z.number(),
	done: z.number(),
	total: z.number(),
	unit: z.string(),
});

export const redisPool =
	(
		{ connection, queue }: Pick<DriveOptions, "connection" | "queue">,
		store: Store,
		seenMs = SEEN_MS,
	): Dispatch =>
	async (open, { ledger, retries, onEvent, signal }) => {
		for (const { config } of open)
			for (const [where, path] of pathsOf(config))
				if (!isPlain(path)) throw fail("PATH_NOT_SHARED", { where, path });
		const dir = (open[0] as Cell).config.out;
		const study = await identityOf(dir, store);
		const items = open.map((cell): Item => {
			let began = performance.now();
			let unseen = Number.NaN;
			const end = (state: "finished" | "failed", message?: string) => {
				onEvent(
					{
						type: "cell",
						cell: cell.key,
						state,
						...(message !== undefined && { message }),
					},
					cell,
				);
				return true;
			};
			const failed = (message: string) => {
				const seconds = (performance.now() - began) / 1000;
				ledger.end(cell, { state: "failed", seconds, message });
				return end("failed", message);
			};
			return {
				id: `${study}-${cell.key}`,
				kind: "cell",
				data: () =>
					({
						...jobBase,
						kind: "cell",
						study,
						store: store.name,
						key: cell.key,
						label: cell.label,
						config: cell.config,
						fresh: ledger.mustRestart(cell.key),
					}) satisfies CellJob,
				started() {
					began = performance.now();
					ledger.begin(cell);
					onEvent({ type: "cell", cell: cell.key, state: "started" }, cell);
				},
				progress(said) {
					const parsed = cellProgress.safeParse(said);
					if (parsed.success)
						onEvent({ type: "progress", ...parsed.data }, cell);
				},
				async completed(result) {
					const parsed = cellResult.safeParse(result);
					if (!parsed.success)
						return failed("its worker reported something else than a result");
					const { digest, seconds, worker, attempt } = parsed.data;
					await store.retrieve({ study, config: cell.config, attempt });
					if (digestOf(cell) !== digest) {
						unseen = Number.isNaN(unseen) ? performance.now() : unseen;
						if (performance.now() - unseen < seenMs) return false;
						return failed(
							`its run folder does not hold what the worker on ${worker.host} reported`,
						);
					}
					ledger.end(cell, { state: "finished", seconds, worker });
					return end("finished");
				},
				failed,
			};
		});
		await drive(items, {
			connection,
			queue,
			retries,
			notice: (text) => onEvent({ type: "notice", text }, null),
			signal,
		});
	};

/** The same for every sweep on a folder, so that one which was stopped finds its jobs again. */
async function identityOf(dir: string, store: Store): Promise<string> {
	const path = markerPath(dir);
	const known = z.object({ study: z.uuid() }).safeParse(readJsonObject(path));
	const study = known.success ? known.data.study : randomUUID();
	writeAtomic(path, stableJson({ format: 1, study }));
	await store.announce(study);
	return study;
}
