/**
 * Changes of what is known that come over the wire: a product's pictures are received one by one, odd ones may be looked at, then a child
 * process learns them (teach.ts). One at a time; what a job does is told to whoever watches. Pictures are gone once they are learnt.
 */
import { randomUUID } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join, sep } from "node:path";
import type { RunConfig } from "../config.ts";
import { fail, Interrupted, KeepsightError } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import { inspectImage } from "../data/image.ts";
import { decideReview, readReview } from "../review.ts";
import { holdsRun, openRun } from "../run.ts";
import {
	isAlive,
	readBytes,
	readText,
	removeTree,
	writeAtomic,
} from "../storage.ts";
import type { Change, TeachJob, TeachResult } from "../teach.ts";
import type { JobReply, jobBody } from "./api.ts";
import { busy } from "./pool.ts";
import type { z } from "zod";

/** Bytes of a job's pictures together. */
const BYTES = 4_000_000_000;
/** Jobs that take pictures at a time. */
const OPEN = 8;
/** Jobs that are remembered once they ended. */
const KEPT = 100;
/** An open job that nothing was sent to for so long is dropped. */
const IDLE_MS = 3_600_000;

/** How a child process makes a change. */
export type Teach = (
	job: TeachJob,
	options: {
		readonly onEvent: (event: RunEvent) => void;
		readonly signal: AbortSignal;
	},
) => Promise<{ readonly results: object; readonly text: string }>;

export interface JobsOptions {
	readonly memDir: string;
	/** Where pictures lie until they are learnt. */
	readonly uploads: string;
	readonly teach: Teach;
	/** What a memory is made of where there is none yet. */
	readonly config: RunConfig;
	/** Before and after a change. */
	readonly hold: () => void;
	readonly settle: () => Promise<void>;
	readonly log: (text: string) => void;
	readonly changed: (job: JobReply) => void;
}

class Job {
	readonly id = randomUUID();
	readonly kind: JobReply["kind"];
	readonly task: string;
	readonly review: boolean;
	readonly controller = new AbortController();
	/** Number of a picture -> its file. */
	readonly images = new Map<
		number,
		{ readonly file: string; readonly bytes: number }
	>();
	roi: string | null = null;
	touched = performance.now();
	state: JobReply["state"] = "open";
	progress: JobReply["progress"] = null;
	message: string | null = null;
	odd: {
		readonly image: number;
		readonly score: number;
		readonly picture: string;
	}[] = [];
	memoryVersion: number | null = null;
	/** Once its turn has come. */
	prepare: () => Promise<void> = async () => {};
	/** After its change was made. */
	done: () => unknown = () => {};
	/** Whatever became of it. */
	onEnd: () => void = () => {};

	constructor(kind: JobReply["kind"], task: string, review = false) {
		this.kind = kind;
		this.task = task;
		this.review = review;
	}

	get bytes(): number {
		return [...this.images.values()].reduce((sum, { bytes }) => sum + bytes, 0);
	}

	get ended(): boolean {
		return ["done", "failed", "cancelled"].includes(this.state);
	}

	get reply(): JobReply {
		return {
			id: this.id,
			kind: this.kind,
			task: this.task,
			state: this.state,
			images: this.images.size,
			progress: this.progress,
			message: this.message,
			odd: this.odd.map(({ image, score }) => ({ image, score })),
			memoryVersion: this.memoryVersion,
		};
	}
}

export class Jobs {
	readonly #options: JobsOptions;
	readonly #jobs = new Map<string, Job>();
	#turn: Promise<unknown> = Promise.resolve();

	constructor(options: JobsOptions) {
		this.#options = options;
	}

	get all(): readonly JobReply[] {
		return [...this.#jobs.values()].map((job) => job.reply).reverse();
	}

	get(id: string): JobReply {
		return this.#job(id).reply;
	}

	/** A job that takes pictures. */
	open({ name, kind, review }: z.output<typeof jobBody>): JobReply {
		this.#checkRoom();
		return this.#add(new Job(kind, name, review)).reply;
	}

	async put(id: string, n: number, bytes: Uint8Array): Promise<JobReply> {
		const job = this.#opened(id);
		const { ending } = await inspectImage(bytes, "that was sent");
		this.#opened(id); // it may have ended meanwhile
		if (job.bytes + bytes.byteLength > BYTES)
			// one that is replaced counts twice for the moment
			throw busy("The pictures of this product take too much room");
		const file = join(
			this.#folder(job),
			`${String(n).padStart(4, "0")}${ending}`,
		);
		writeAtomic(file, bytes);
		const before = job.images.get(n);
		if (before && before.file !== file) removeTree(before.file);
		job.images.set(n, { file, bytes: bytes.byteLength });
		job.touched = performance.now();
		return job.reply;
	}

	async putRoi(id: string, bytes: Uint8Array): Promise<JobReply> {
		const job = this.#opened(id);
		const { ending } = await inspectImage(bytes, "that was sent");
		this.#opened(id);
		job.roi = join(this.#options.uploads, `${job.id}-roi${ending}`);
		writeAtomic(job.roi, bytes);
		return job.reply;
	}

	/** Learns what was sent. */
	start(id: string): JobReply {
		const job = this.#opened(id);
		if (job.kind === "learn" && job.review) this.#clearReview(job.task);
		return this.#run(job, this.#changeOf(job));
	}

	/** Goes on without the odd images of these numbers. */
	decide(id: string, refused: readonly number[]): JobReply {
		const job = this.#job(id);
		if (job.state !== "review")
			throw fail("NOT_NOW", {
				what: `Job ${id} waits for no review`,
				state: `it is ${job.state}`,
			});
		const strange = refused.find(
			(n) => !job.odd.some(({ image }) => image === n),
		);
		if (strange !== undefined)
			throw fail("REQUEST_INVALID", {
				problem: `picture ${strange} is none of the odd ones`,
			});
		const gone = new Set(refused.map((n) => job.images.get(n)?.file));
		const table = openRun(this.#options.memDir, "read").reviewTable(job.task);
		writeAtomic(
			table,
			decideReview(readText(table), table, (path) => !gone.has(path)),
		);
		job.odd = [];
		return this.#run(job, this.#changeOf(job));
	}

	/** Picture of an odd image. */
	odd(id: string, n: number): Uint8Array {
		const job = this.#job(id);
		const odd = job.odd.find(({ image }) => image === n);
		if (!odd) throw fail("NOT_FOUND", { what: "odd image of this number" });
		const run = openRun(this.#options.memDir, "read");
		return readBytes(join(run.reviewPictures(job.task), odd.picture));
	}

	/** A change without pictures, or with some that are known: by their number, each read when it is written. */
	change(
		kind: JobReply["kind"],
		task: string,
		change: Change | ReadonlyMap<number, () => Uint8Array | null>,
		{
			done = () => {},
			ended = () => {},
		}: { readonly done?: () => unknown; readonly ended?: () => void } = {},
	): JobReply {
		this.#checkRoom();
		const job = this.#add(new Job(kind, task));
		job.done = done;
		job.onEnd = ended;
		if (!(change instanceof Map)) return this.#run(job, change as Change);
		job.prepare = async () => {
			for (const [n, read] of change) {
				const bytes = read();
				if (!bytes)
					throw fail("NOT_NOW", {
						what: `Picture ${n} cannot be learnt`,
						state: "it was not kept",
					});
				const { ending } = await inspectImage(bytes, "that was kept");
				const name = `${String(n).padStart(4, "0")}${ending}`;
				const file = join(this.#folder(job), name);
				writeAtomic(file, bytes);
				job.images.set(n, { file, bytes: bytes.byteLength });
			}
		};
		return this.#run(job, this.#changeOf(job));
	}

	cancel(id: string): JobReply {
		const job = this.#job(id);
		if (job.state === "running") job.controller.abort();
		else if (!job.ended) this.#end(job, "cancelled", "Nothing was learnt.");
		return job.reply;
	}

	/** Waits for what runs, no longer than it takes to stop it. */
	async close(): Promise<void> {
		for (const job of this.#jobs.values()) job.controller.abort();
		await this.#turn;
	}

	#add(job: Job): Job {
		this.#jobs.set(job.id, job);
		const ended = [...this.#jobs.values()].filter((one) => one.ended);
		for (const { id } of ended.slice(0, Math.max(0, ended.length - KEPT)))
			this.#jobs.delete(id);
		this.#tell(job);
		return job;
	}

	#tell(job: Job): void {
		this.#options.changed(job.reply);
	}

	#drop(): void {
		for (const job of this.#jobs.values())
			if (
				(job.state === "open" || job.state === "review") &&
				performance.now() - job.touched > IDLE_MS
			)
				this.#end(job, "cancelled", "Nothing was sent for an hour.");
	}

	#checkRoom(): void {
		this.#drop();
		const open = [...this.#jobs.values()].filter((job) => !job.ended);
		if (open.length >= OPEN) throw busy("Enough changes are under way");
	}

	#job(id: string): Job {
		const job = this.#jobs.get(id);
		if (!job) throw fail("NOT_FOUND", { what: "job of this id" });
		return job;
	}

	#opened(id: string): Job {
		const job = this.#job(id);
		if (job.state !== "open")
			throw fail("NOT_NOW", {
				what: `Job ${id} takes nothing more`,
				state: `it is ${job.state}`,
			});
		return job;
	}

	#folder({ id }: Job): string {
		return join(this.#options.uploads, id);
	}

	#changeOf(job: Job): Change {
		const { task, roi, review, kind } = job;
		const data = this.#folder(job);
		if (kind === "add" || kind === "recalibrate") return { kind, task, data };
		return {
			kind: "learn",
			task,
			data,
			review,
			...(roi !== null && { roi }),
		};
	}

	/** A review that was never decided speaks of pictures that are gone. */
	#clearReview(task: string): void {
		const { memDir } = this.#options;
		if (!holdsRun(memDir)) return;
		if (!existsSync(openRun(memDir, "read").reviewTable(task))) return;
		const run = openRun(memDir, "update");
		try {
			run.removeReview(task);
		} finally {
			run.close();
		}
	}

	#run(job: Job, change: Change): JobReply {
		job.state = "running";
		job.message = null;
		this.#tell(job);
		this.#turn = this.#turn
			.then(() => this.#made(job, change))
			.catch((error: Error) =>
				this.#options.log(`job ${job.id}: ${error.stack}`),
			);
		return job.reply;
	}

	async #made(job: Job, change: Change): Promise<void> {
		const { memDir, teach, config, hold, settle, log } = this.#options;
		const { signal } = job.controller;
		try {
			if (signal.aborted) throw new Interrupted();
			await job.prepare();
			const fresh =
				!holdsRun(memDir) || openRun(memDir, "read").memory.version === 0;
			hold();
			const { results, text } = await teach(
				{ memDir, change, config: fresh ? config : null },
				{ onEvent: (event) => this.#follow(job, event), signal },
			);
			const { odd, review } = results as TeachResult;
			if (typeof review === "string" && Number(odd) > 0) {
				job.odd = this.#oddOf(job, review);
				job.state = "review";
				job.message = text.split(" Look at them")[0] ?? null;
				job.progress = null;
				job.touched = performance.now();
				this.#tell(job);
				return;
			}
			await job.done(); // before anything else can fail: the change is made
			await settle();
			job.memoryVersion = (results as TeachResult).memoryVersion;
			this.#end(job, "done", this.#said(job, text));
		} catch (error) {
			if (error instanceof Interrupted)
				this.#end(job, "cancelled", "What was learnt before is unchanged.");
			else if (error instanceof KeepsightError)
				this.#end(job, "failed", this.#said(job, error.message));
			else {
				log(`job ${job.id}: ${(error as Error).stack ?? String(error)}`);
				this.#end(
					job,
					"failed",
					"It failed for a reason that is the server's own; its log says more.",
				);
			}
		} finally {
			await settle().catch(() => {}); // nothing new: what was held goes on as it was
		}
	}

	#oddOf(job: Job, table: string): Job["odd"] {
		const numbers = new Map([...job.images].map(([n, { file }]) => [file, n]));
		return readReview(readText(table), table).flatMap(
			({ path, score, picture }) => {
				const image = numbers.get(path);
				return image === undefined ? [] : [{ image, score, picture }];
			},
		);
	}

	#follow(job: Job, event: RunEvent): void {
		if (event.type !== "progress") return;
		const { phase, done, total, unit } = event;
		job.progress = { phase, done, total, unit };
		this.#tell(job);
	}

	/** Without the paths of this machine. */
	#said(job: Job, text: string): string {
		const [first = ""] = text.split("\nThe memory in ");
		return first
			.replaceAll(`${this.#folder(job)}${sep}`, "")
			.replaceAll(this.#folder(job), "the folder of pictures")
			.replaceAll(this.#options.memDir, "the memory")
			.replace(/^the /, "The ");
	}

	#end(
		job: Job,
		state: "done" | "failed" | "cancelled",
		message: string,
	): void {
		job.state = state;
		job.message = message;
		job.progress = null;
		job.odd = [];
		this.#tell(job);
		job.onEnd();
		try {
			removeTree(this.#folder(job));
			if (job.roi !== null) removeTree(job.roi);
		} catch (error) {
			this.#options.log(`pictures are left: ${(error as Error).message}`);
		}
	}
}

/** Pictures of servers that were killed: nobody knows their jobs any more. `own`: of this one. */
export function removeOrphans(own: string): void {
	const all = dirname(own);
	const host = `${hostname()}-`;
	for (const name of existsSync(all) ? readdirSync(all) : [])
		if (name.startsWith(host) && !isAlive(Number(name.slice(host.length))))
			removeTree(join(all, name));
	removeTree(own); // of one that had this number before
}
