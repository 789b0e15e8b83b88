/** Runs cells on the workers of a queue; the ledger stays here, with who started the sweep. */
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { runDir } from "../../config.ts";
import { fail, KeepsightError } from "../../errors.ts";
import { readJsonObject, stableJson, writeAtomic } from "../../storage.ts";
import { pluginsBehind } from "../../plugins.ts";
import { type Cell, digestOf } from "../cells.ts";
import type { Dispatch, Study } from "../ledger.ts";
import { drive, type DriveOptions, type Item } from "./drive.ts";
import {
	type CellJob,
	type CellResult,
	cellResult,
	imagesOf,
	isPlain,
	jobBase,
	markerPath,
	pathsOf,
	type Said,
} from "./jobs.ts";
import type { Store } from "./store.ts";

/** A shared folder may show late what was written elsewhere: NFS by default within 60 s (nfs(5), acdirmax). A store may be away for as long. */
const SEEN_MS = 90_000;
/** So often it is looked at until then. */
const LOOKS = 10;

type Images = Readonly<Record<string, string>>;

export const redisPool =
	(
		{ connection, queue }: Pick<DriveOptions, "connection" | "queue">,
		store: Store,
		{ seenMs = SEEN_MS, readImages = imagesOf } = {},
	): Dispatch =>
	async (open, study) => {
		for (const { config } of open)
			for (const [where, path] of pathsOf(config))
				if (!isPlain(path)) throw fail("PATH_NOT_SHARED", { where, path });
		const id = await identityOf((open[0] as Cell).config.out, store);
		const images = await imagesOfAll(open, readImages);
		const items = open.map(
			(cell) =>
				new CellItem(cell, {
					id,
					store,
					study,
					seenMs,
					images: images.get(stableJson(cell.config.data)) ?? {},
				}),
		);
		await drive(id, items, {
			connection,
			queue,
			retries: study.retries,
			notice: (text) => study.onEvent({ type: "notice", text }, null),
			signal: study.signal,
		});
	};

interface Context {
	/** Of the study. */
	readonly id: string;
	readonly store: Store;
	readonly study: Study;
	readonly seenMs: number;
	readonly images: Images;
}

class CellItem implements Item {
	readonly id: string;
	readonly kind = "cell";
	readonly #cell: Cell;
	readonly #context: Context;
	/** What its last worker said. */
	#said: Said | null = null;
	#began = performance.now();
	/** Of starts before the last, ms. */
	#spent = 0;
	/** Since when its result is not to be seen, and when to look again; null: it was not looked for. */
	#unseen: { readonly since: number; again: number } | null = null;

	constructor(cell: Cell, context: Context) {
		this.id = `${context.id}-${cell.key}`;
		this.#cell = cell;
		this.#context = context;
	}

	data(): CellJob {
		const {
			id: study,
			store,
			study: { ledger },
			images,
		} = this.#context;
		const { key, label, config } = this.#cell;
		return {
			...jobBase,
			kind: "cell",
			study,
			store: store.name,
			key,
			label,
			config,
			fresh: ledger.mustRestart(key),
			failures: 0,
			images,
			plugins: pluginsBehind(config),
		};
	}

	told(said: Said): void {
		if (said.start !== null && said.start !== this.#said?.start)
			this.#begin(said.start);
		this.#said = said;
		if (said.progress) this.#tell({ type: "progress", ...said.progress });
	}

	async completed(result: unknown): Promise<boolean> {
		const parsed = cellResult.safeParse(result);
		if (!parsed.success)
			return this.#end(
				"failed",
				"its worker reported something else than a result",
			);
		const { start, worker } = parsed.data;
		if (start !== this.#said?.start) this.#begin(start);
		this.#said = { start, worker };
		const { seenMs } = this.#context;
		const now = performance.now();
		if (this.#unseen && now < this.#unseen.again) return false; // a store would bring the whole run every time
		const problem = await this.#problemWith(parsed.data);
		if (problem === null) return this.#finish(parsed.data);
		this.#unseen ??= { since: now, again: now };
		this.#unseen.again = now + seenMs / LOOKS;
		if (now - this.#unseen.since < seenMs) return false;
		// not failed: the run may be whole, and only has to be looked at again
		return this.#end("running", `${problem}. Run the sweep again`);
	}

	failed(reason: string): void {
		this.#end("failed", reason);
	}

	/** Why a result cannot be counted (yet); null: it can. */
	async #problemWith({
		digest,
		start,
		worker,
	}: CellResult): Promise<string | null> {
		const { store, id: study } = this.#context;
		const { config } = this.#cell;
		try {
			await store.retrieve({ study, config, start });
		} catch (error) {
			if (!(error instanceof KeepsightError)) throw error;
			return error.message;
		}
		return digestOf(this.#cell) === digest
			? null
			: `its run folder does not hold what the worker on ${worker.host} reported`;
	}

	#begin(start: string): void {
		const now = performance.now();
		if (this.#said?.start != null) this.#spent += now - this.#began;
		this.#began = now;
		this.#context.study.ledger.begin(this.#cell, start);
		this.#tell({ type: "cell", cell: this.#cell.key, state: "started" });
	}

	#finish({ seconds, worker }: CellResult): true {
		const { ledger } = this.#context.study;
		const { key, config } = this.#cell;
		const others = this.#spent / 1000; // of starts that did not end so
		ledger.end(this.#cell, {
			state: "finished",
			seconds: others + seconds,
			worker,
		});
		this.#tell({ type: "opened", dir: runDir(config) }); // whole, and nobody writes there any more
		this.#tell({ type: "cell", cell: key, state: "finished" });
		return true;
	}

	#end(state: "failed" | "running", message: string): true {
		const { ledger } = this.#context.study;
		const ran = this.#said?.start == null ? 0 : performance.now() - this.#began;
		ledger.end(this.#cell, {
			state,
			seconds: (this.#spent + ran) / 1000,
			message,
			...(this.#said && { worker: this.#said.worker }),
		});
		this.#tell({
			type: "cell",
			cell: this.#cell.key,
			state: "failed",
			message,
		});
		return true;
	}

	#tell(event: Parameters<Study["onEvent"]>[0]): void {
		this.#context.study.onEvent(event, this.#cell);
	}
}

/** By the JSON of `data`, which many cells share. */
async function imagesOfAll(
	cells: readonly Cell[],
	read: typeof imagesOf,
): Promise<ReadonlyMap<string, Images>> {
	const found = new Map<string, Images>();
	for (const { config } of cells) {
		const key = stableJson(config.data);
		if (!found.has(key)) found.set(key, await read(config));
	}
	return found;
}

/** The same for every sweep on a folder, so that one which was stopped finds its jobs again. */
async function identityOf(dir: string, store: Store): Promise<string> {
	const path = markerPath(dir);
	const known = z.object({ study: z.uuid() }).safeParse(readJsonObject(path));
	const study = known.success ? known.data.study : randomUUID();
	writeAtomic(path, stableJson({ format: 1, study }));
	await store.announce(study);
	return study;
}
