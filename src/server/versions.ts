/**
 * Which version of the memory answers. A newer one is looked for on the disk, scores the pictures that are kept, and takes over. Where
 * this server made it and the verdict of a kept picture changes, it waits until a person activates it.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { KeepsightError } from "../errors.ts";
import { versionsOf } from "../known.ts";
import { holdsRun, memoryFolder, openRun } from "../run.ts";
import type { Answered, StartScorer } from "../scorer.ts";
import type { Check, VersionsReply } from "./api.ts";
import type { History, KeptImage } from "./history.ts";
import { Generation, type Pool } from "./pool.ts";

const POLL_MS = 500;
/** Kept pictures that are scored again, at most. */
const CHECKED = 1200;
/** Of them, at a time: who waits for an answer meanwhile waits for as many. */
const TOGETHER = 4;
/** To start the processes of a version. */
const TRIES = 3;

export interface VersionsOptions {
	readonly memDir: string;
	readonly history: History;
	readonly pool: Pool;
	readonly start: StartScorer;
	readonly workers: number;
	readonly log: (text: string) => void;
	readonly lost: () => void;
	/** Another version answers, or one waits. */
	readonly changed: (state: {
		readonly active: number | null;
		readonly waiting: number | null;
	}) => void;
}

export class Versions {
	readonly #options: VersionsOptions;
	#timer: NodeJS.Timeout | null = null;
	/** One change at a time. */
	#turn: Promise<unknown> = Promise.resolve();
	#seen = "";
	#waiting: number | null = null;
	/** A version that could not be loaded, and is not tried again. */
	#unusable: number | null = null;
	/** To use the newest version, so far. */
	#tries = 0;
	#listed: { readonly key: string; readonly reply: VersionsReply } | null =
		null;
	#closed = false;
	#begun = false;

	constructor(options: VersionsOptions) {
		this.#options = options;
	}

	/** Resolves when a version answers, or when there is none. Rejects where the only one cannot. */
	async begin(): Promise<void> {
		this.#seen = this.#stamp();
		await this.#take(() => this.#first());
		this.#begun = true;
		this.#timer = setInterval(() => this.#poll(), POLL_MS);
	}

	/** Whether what is there was looked at. */
	get begun(): boolean {
		return this.#begun;
	}

	get waiting(): number | null {
		return this.#waiting;
	}

	/** Until a person agrees or `settle` finds nothing to agree to, the present version goes on. */
	hold(): void {
		const { history, pool } = this.#options;
		if (history.held === null && pool.active)
			history.held = pool.active.version;
	}

	/** After a change of this server's own: resolves when the new version answers or waits. */
	settle(): Promise<void> {
		return this.#take(() => this.#follow());
	}

	/** The newest version answers from now on. */
	activate(): Promise<void> {
		return this.#take(async () => {
			const { history } = this.#options;
			const newest = this.#newest();
			history.held = null;
			this.#waiting = null;
			if (newest !== null && newest !== this.#options.pool.active?.version)
				this.#activate(await this.#open(newest));
		});
	}

	/** The newest first. */
	list(): VersionsReply {
		const active = this.#options.pool.active?.version ?? null;
		const key = `${this.#stamp()} ${active} ${this.#waiting}`;
		if (this.#listed?.key !== key)
			this.#listed = { key, reply: this.#read(active) }; // manifests need not be read for everyone who asks
		return this.#listed.reply;
	}

	#read(active: number | null): VersionsReply {
		const { memDir, history } = this.#options;
		if (this.#newest() === null) return { active, versions: [] };
		const { version, earlier } = versionsOf(openRun(memDir, "read"));
		return {
			active,
			versions: [version, ...earlier].map((one) => ({
				...one,
				state:
					one.version === active
						? "active"
						: one.version === this.#waiting
							? "waiting"
							: "earlier",
				check: history.check(one.version),
			})),
		};
	}

	/** Resolves when nothing is under way any more. */
	async close(): Promise<void> {
		this.#closed = true;
		if (this.#timer) clearInterval(this.#timer);
		await this.#turn;
	}

	async #first(): Promise<void> {
		const { history, memDir } = this.#options;
		const newest = this.#newest();
		if (newest === null) return;
		const { held } = history;
		const kept =
			held !== null &&
			held !== newest &&
			openRun(memDir, "read").memory.earlier.some((v) => v.version === held);
		if (!kept) history.held = null;
		this.#activate(await this.#open(kept ? held : newest));
		if (!kept) return;
		if (history.check(newest)) this.#waiting = newest;
		else this.#seen = ""; // the check was broken off: it is made again
	}

	async #follow(): Promise<void> {
		const { pool, history, log } = this.#options;
		const newest = this.#newest();
		const active = pool.active;
		if (this.#closed || newest === null || newest === this.#unusable) return;
		if (newest === active?.version) {
			history.held = null;
			return;
		}
		if (newest === this.#waiting) return;
		let next: Generation | null = null;
		try {
			next = await this.#open(newest);
			const check = active ? await this.#checked(active, next) : null;
			if (this.#closed) {
				next.close();
				return;
			}
			if (check) history.setCheck(newest, check);
			if (history.held !== null && check && check.changed.length > 0) {
				next.close();
				this.#waiting = newest;
				log(
					`version ${newest} waits: ${check.changed.length} of ${check.images} kept pictures would be judged otherwise`,
				);
				this.#tell();
			} else {
				history.held = null;
				this.#waiting = null;
				this.#activate(next);
			}
			this.#tries = 0;
		} catch (error) {
			next?.close();
			this.#failed(newest, error as Error);
		}
	}

	/** Some tries more, as a process may be lost to something else; then the version is left alone. */
	#failed(version: number, error: Error): void {
		const { pool, log } = this.#options;
		this.#tries++;
		const active = pool.active;
		log(
			`version ${version} cannot be used, ${active ? `version ${active.version} goes on` : "nothing answers"}: ${error.message}`,
		);
		const lost =
			error instanceof KeepsightError && error.code === "SCORER_LOST";
		if (lost && this.#tries < TRIES) this.#seen = "";
		else {
			this.#unusable = version;
			this.#tries = 0;
		}
	}

	#activate(next: Generation): void {
		const { pool, log } = this.#options;
		if (this.#closed) {
			next.close();
			return;
		}
		pool.activate(next);
		log(`version ${next.version} answers`);
		this.#tell();
	}

	#tell(): void {
		const { pool, changed } = this.#options;
		changed({
			active: pool.active?.version ?? null,
			waiting: this.#waiting,
		});
	}

	#open(version: number): Promise<Generation> {
		const { memDir, start, workers, pool, log, lost } = this.#options;
		return Generation.open(memDir, version, {
			start,
			workers,
			tell: (change, error) => {
				if (change === "free") pool.pump();
				else {
					lost();
					log(`a scoring process was lost: ${error?.message ?? "unknown"}`);
				}
			},
		});
	}

	/** Both versions score the kept pictures, each by itself. */
	async #checked(before: Generation, after: Generation): Promise<Check> {
		const { history } = this.#options;
		const ids = history.keptImages(CHECKED);
		const changed: Check["changed"] = [];
		let images = 0;
		for (let i = 0; i < ids.length && !this.#closed; i += TOGETHER) {
			const group = ids
				.slice(i, i + TOGETHER)
				.flatMap((id) => history.keptImage(id) ?? []);
			const sent = group.map(({ bytes }) => ({
				bytes,
				task: null,
				overlay: false,
			}));
			const [old, fresh] = await Promise.all([
				before.scoreAside(sent),
				after.scoreAside(sent),
			]);
			images += group.length;
			for (const [k, image] of group.entries())
				changed.push(...differing(image, old[k], fresh[k]));
		}
		return { from: before.version, images, changed };
	}

	/** null: nothing is learnt yet. */
	#newest(): number | null {
		const { memDir } = this.#options;
		if (!holdsRun(memDir)) return null;
		return openRun(memDir, "read").memory.version || null;
	}

	#poll(): void {
		let stamp: string;
		try {
			stamp = this.#stamp();
		} catch {
			return; // a disk that is away for a while
		}
		if (stamp === this.#seen) return;
		this.#seen = stamp;
		void this.#take(() => this.#follow());
	}

	/** Changes whenever the manifest is replaced. */
	#stamp(): string {
		const stat = statSync(
			join(memoryFolder(this.#options.memDir), "manifest.json"),
			{ throwIfNoEntry: false },
		);
		return stat ? `${stat.ino} ${stat.mtimeMs} ${stat.size}` : "";
	}

	#take<T>(work: () => Promise<T>): Promise<T> {
		const turn = this.#turn.then(work);
		this.#turn = turn.catch((error: Error) => {
			this.#options.log(`while changing the version: ${error.message}`);
		});
		return turn;
	}
}

function differing(
	{ prediction, task, label }: KeptImage,
	old: Answered | undefined,
	fresh: Answered | undefined,
): Check["changed"] {
	if (!old || !fresh) return [];
	const [before, after] = [old.prediction, fresh.prediction];
	if (before.verdict === after.verdict && before.task === after.task) return [];
	return [
		{
			prediction,
			task,
			label,
			before: { verdict: before.verdict, score: before.score },
			after: { verdict: after.verdict, score: after.score },
		},
	];
}
