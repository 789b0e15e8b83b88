/**
 * Which version of the memory answers. A newer one is looked for on the disk, scores the pictures that are kept, and takes over. Where
 * this server made it and the verdict of a kept picture changes, it waits until a person activates it. A replica decides nothing: it
 * follows what is on the disk, and what is held there.
 */
import { join } from "node:path";
import { KeepsightError } from "../errors.ts";
import { taskIds } from "../knowledge.ts";
import { versionsOf } from "../known.ts";
import { holdsRun, memoryFolder, openRun } from "../run.ts";
import type { Answered, StartScorer } from "../scorer.ts";
import type { Check, VersionsReply } from "./api.ts";
import { Held, stampOf } from "./held.ts";
import type { History, KeptImage } from "./history.ts";
import { Generation, type Pool } from "./pool.ts";

const POLL_MS = 500;
/** Kept pictures that are scored again, at most. */
const CHECKED = 1200;
/** Of them, at a time: who waits for an answer meanwhile waits for as many. */
const TOGETHER = 4;
/** To start the processes of a version. */
const TRIES = 3;
/** Until the disk is looked at again, ever more seldom: what cannot be read may be on its way through a network share. */
const AGAIN_MS = [1000, 5000, 15_000, 60_000];

export interface VersionsOptions {
	readonly memDir: string;
	/** Whether another server decides. */
	readonly replica: boolean;
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
	readonly #held: Held;
	#timer: NodeJS.Timeout | null = null;
	#again: NodeJS.Timeout | null = null;
	/** One change at a time. */
	#turn: Promise<unknown> = Promise.resolve();
	#seen = "";
	#waiting: number | null = null;
	/** A version that could not be loaded, and is not tried again. */
	#unusable: number | null = null;
	/** To use the newest version, so far. */
	#tries = 0;
	/** Looks at the disk that failed, one after the other. */
	#misread = 0;
	#listed: { readonly key: string; readonly reply: VersionsReply } | null =
		null;
	#closed = false;
	#begun = false;

	constructor(options: VersionsOptions) {
		this.#options = options;
		this.#held = new Held(options.memDir);
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
		const { active } = this.#options.pool;
		if (this.#held.version === null && active)
			this.#held.version = active.version;
	}

	/** After a change of this server's own: resolves when the new version answers or waits. */
	settle(): Promise<void> {
		return this.#take(() => this.#follow());
	}

	/** The newest version answers from now on. */
	activate(): Promise<void> {
		return this.#take(async () => {
			const newest = this.#newest();
			this.#held.version = null;
			this.#waiting = null;
			if (newest !== null && this.#knowsNothing()) this.#retire();
			else if (newest !== null && newest !== this.#options.pool.active?.version)
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
		if (this.#again) clearTimeout(this.#again);
		await this.#turn;
	}

	async #first(): Promise<void> {
		const { history, replica } = this.#options;
		const newest = this.#newest();
		const kept = newest === null ? null : this.#keptFor(newest);
		if (!replica) this.#held.version = kept;
		if (newest === null) {
			this.#seen = ""; // parts of it may be there
			return;
		}
		if (kept === null && this.#knowsNothing()) return;
		this.#activate(await this.#open(kept ?? newest));
		if (kept === null) return;
		if (replica || history.check(newest)) this.#waiting = newest;
		else this.#seen = ""; // the check was broken off: it is made again
	}

	/** The version that is held and that there still is; null: the newest answers. */
	#keptFor(newest: number): number | null {
		const held = this.#held.version;
		return held !== null &&
			held !== newest &&
			openRun(this.#options.memDir, "read").memory.earlier.some(
				({ version }) => version === held,
			)
			? held
			: null;
	}

	/** What cannot be read tells nothing: it is looked at again. */
	async #follow(): Promise<void> {
		if (this.#closed) return;
		try {
			const newest = this.#newest(); // before what is held, see held.ts
			if (newest === null) this.#seen = "";
			else if (this.#options.replica) await this.#mirror(newest);
			else await this.#judge(newest);
			this.#misread = 0;
		} catch (error) {
			this.#later(++this.#misread);
			throw error;
		}
	}

	/** Of a replica: what the writer decided. */
	async #mirror(newest: number): Promise<void> {
		const { pool } = this.#options;
		const kept = this.#keptFor(newest);
		this.#waiting = kept === null ? null : newest;
		const wanted = kept ?? newest;
		if (kept === null && this.#knowsNothing()) {
			this.#retire();
			return;
		}
		if (wanted === pool.active?.version) {
			this.#tell();
			return;
		}
		try {
			this.#activate(await this.#open(wanted));
			this.#tries = 0;
		} catch (error) {
			this.#failed(wanted, error as Error);
		}
	}

	async #judge(newest: number): Promise<void> {
		const { pool, history, log } = this.#options;
		const active = pool.active;
		if (newest === this.#unusable) return;
		if (newest === active?.version) {
			this.#held.version = null;
			return;
		}
		if (newest === this.#waiting) return;
		if (this.#knowsNothing()) {
			this.#held.version = null;
			this.#waiting = null;
			this.#retire();
			return;
		}
		let next: Generation | null = null;
		try {
			next = await this.#open(newest);
			const check = active ? await this.#checked(active, next) : null;
			if (this.#closed) {
				next.close();
				return;
			}
			if (check) history.setCheck(newest, check);
			if (this.#held.version !== null && check && check.changed.length > 0) {
				next.close();
				this.#waiting = newest;
				log(
					`version ${newest} waits: ${check.changed.length} of ${check.images} kept pictures would be judged otherwise`,
				);
				this.#tell();
			} else {
				this.#held.version = null;
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
		const { pool, log, replica } = this.#options;
		this.#tries++;
		const active = pool.active;
		log(
			`version ${version} cannot be used, ${active ? `version ${active.version} goes on` : "nothing answers"}: ${error.message}`,
		);
		if (replica) {
			this.#later(this.#tries);
			return;
		}
		const lost =
			error instanceof KeepsightError && error.code === "SCORER_LOST";
		if (lost && this.#tries < TRIES) this.#seen = "";
		else {
			this.#unusable = version;
			this.#tries = 0;
		}
	}

	/** The disk is looked at again although nothing changed there; `tries`: that failed so far. */
	#later(tries: number): void {
		if (this.#again) clearTimeout(this.#again);
		if (this.#closed) return;
		this.#again = setTimeout(
			() => {
				this.#seen = "";
			},
			AGAIN_MS[Math.min(tries, AGAIN_MS.length) - 1],
		).unref();
	}

	/** Whether all products of the newest version have been forgotten: there is nothing to score with. */
	#knowsNothing(): boolean {
		return taskIds(openRun(this.#options.memDir, "read").memory).length === 0;
	}

	#retire(): void {
		const { pool, log } = this.#options;
		if (!pool.active) return;
		pool.activate(null);
		log("no product is known any more");
		this.#tell();
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

	/** Changes whenever the manifest is replaced, or what is held. */
	#stamp(): string {
		const { memDir, replica } = this.#options;
		const manifest = stampOf(join(memoryFolder(memDir), "manifest.json"));
		return replica ? `${manifest} ${this.#held.stamp}` : manifest;
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
