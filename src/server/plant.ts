/** All that a server holds, in one place for its routes. */
import { hostname } from "node:os";
import { join } from "node:path";
import type { RunConfig } from "../config.ts";
import { fail } from "../errors.ts";
import { serverFolder } from "../run.ts";
import type { Answered, LearntProduct, StartScorer } from "../scorer.ts";
import type { Feed, HistoryRow, PredictedReply } from "./api.ts";
import { Hub } from "./feed.ts";
import { History, type HistoryLimits, type NewPrediction } from "./history.ts";
import { Jobs, removeOrphans, type Teach } from "./jobs.ts";
import { Meters } from "./meters.ts";
import { busy, Pool, type PoolLimits, unknownProduct } from "./pool.ts";
import { inspectImage } from "../data/image.ts";
import { Versions } from "./versions.ts";

/** Bytes of the last pictures, for maps and feedback, beside those that the history keeps. */
const RECENT_BYTES = 64_000_000;
const PRUNE_MS = 60_000;

export interface PlantOptions {
	readonly memDir: string;
	/** What a memory is made of where there is none yet. */
	readonly config: RunConfig;
	/** Scores and follows the versions on the disk; changes nothing in `memDir`. `writer`: whom to ask for changes; null: not said. */
	readonly replica: { readonly writer: string | null } | null;
	/** Where history and uploads lie; null: in `memDir`, those of a replica in memory. */
	readonly state: string | null;
	readonly limits: PoolLimits;
	readonly history: HistoryLimits;
	/** A folder of run folders to show beside this one. */
	readonly runs: string | null;
	readonly start: StartScorer;
	readonly teach: Teach;
	readonly log: (text: string) => void;
}

export class Plant {
	readonly options: PlantOptions;
	readonly history: History;
	readonly pool: Pool;
	readonly versions: Versions;
	readonly jobs: Jobs;
	readonly meters: Meters;
	readonly hub = new Hub<Feed>();
	readonly #recent = new Recent(RECENT_BYTES);
	readonly #pruning: NodeJS.Timeout;
	draining = false;

	constructor(options: PlantOptions) {
		this.options = options;
		const { memDir, replica, state, limits, log } = options;
		const own = state ?? serverFolder(memDir);
		this.history = new History(
			state === null && replica ? null : own,
			options.history,
		);
		this.pool = new Pool(limits);
		this.meters = new Meters(() => ({
			pictures: this.pool.pictures,
			workers: this.pool.active?.workers ?? 0,
			version: this.pool.active?.version ?? null,
			viewers: this.hub.viewers,
			products: this.products,
		}));
		let active: number | null = null;
		this.versions = new Versions({
			memDir,
			replica: replica !== null,
			history: this.history,
			pool: this.pool,
			start: options.start,
			workers: limits.workers,
			log,
			lost: () => this.meters.scorerLost(),
			changed: (state) => {
				if (state.active !== active) this.meters.restart();
				active = state.active;
				this.hub.publish("version", state);
			},
		});
		const uploads = join(own, "uploads", `${hostname()}-${process.pid}`);
		if (!replica) removeOrphans(uploads);
		this.jobs = new Jobs({
			memDir,
			uploads,
			teach: options.teach,
			config: options.config,
			hold: () => this.versions.hold(),
			settle: () => this.versions.settle(),
			log,
			changed: (job) => this.hub.publish("job", job),
		});
		this.#pruning = setInterval(() => this.#prune(), PRUNE_MS);
		this.#pruning.unref();
	}

	/** Those of the version that answers. */
	get products(): readonly LearntProduct[] {
		return this.pool.active?.products ?? [];
	}

	/** The product of this name, or the error that names the known ones. */
	product(name: string): LearntProduct {
		const found = this.products.find(({ id }) => id === name);
		if (!found)
			throw unknownProduct(
				name,
				this.products.map(({ id }) => id),
			);
		return found;
	}

	/** Scores a picture and remembers it. */
	async predict(
		bytes: Uint8Array,
		{
			name,
			task,
			overlay,
			signal,
		}: {
			readonly name: string | null;
			readonly task: string | null;
			readonly overlay: boolean;
			readonly signal: AbortSignal;
		},
	): Promise<{
		prediction: Omit<PredictedReply, "map">;
		overlay: Uint8Array | null;
	}> {
		const began = performance.now();
		const answered = await this.score(bytes, { task, overlay, signal });
		const { path: _, anomalous, ...found } = answered.prediction;
		const latencyMs = Math.round(10 * (performance.now() - began)) / 10;
		const scored = { ...found, name, latencyMs };
		this.meters.predicted(scored);
		const at = Date.now();
		const id = this.#remembered(scored, bytes, at);
		const prediction = {
			...scored,
			at: new Date(at).toISOString(),
			anomalous,
		};
		if (id !== null)
			this.hub.publish("prediction", {
				...prediction,
				id,
				image: true,
				feedback: null,
			});
		return { prediction: { ...prediction, id }, overlay: answered.overlay };
	}

	/** A full disk keeps nobody from an answer. */
	#remembered(
		scored: NewPrediction,
		bytes: Uint8Array,
		at: number,
	): number | null {
		try {
			const id = this.history.add(scored, bytes, at);
			this.#recent.set(id, bytes);
			return id;
		} catch (error) {
			this.meters.refused("HISTORY");
			this.options.log(
				`a prediction is not in the history: ${(error as Error).message}`,
			);
			return null;
		}
	}

	/** Without remembering it. */
	async score(
		bytes: Uint8Array,
		{
			task,
			overlay,
			signal,
		}: {
			readonly task: string | null;
			readonly overlay: boolean;
			readonly signal: AbortSignal;
		},
	): Promise<Answered> {
		const {
			size: [h, w],
		} = await inspectImage(bytes, "that was sent");
		if (!this.pool.active)
			throw this.versions.begun
				? fail("NOT_NOW", {
						what: "No picture can be scored",
						state: "no product is learnt yet",
					})
				: busy("The server is starting");
		if (task !== null) this.product(task);
		return this.pool.score({ bytes, task, overlay }, { pixels: h * w, signal });
	}

	/** null: not kept. */
	imageOf(id: number): Uint8Array | null {
		return this.#recent.get(id) ?? this.history.image(id);
	}

	/** `image`: also where it is only among the last. */
	seen(row: HistoryRow): HistoryRow {
		return {
			...row,
			image: row.image || this.#recent.get(row.id) !== undefined,
		};
	}

	async close(): Promise<void> {
		clearInterval(this.#pruning);
		await this.jobs.close();
		await this.versions.close();
		this.pool.close();
		this.hub.close();
		this.history.close();
	}

	#prune(): void {
		try {
			this.history.prune(Date.now());
		} catch (error) {
			this.options.log(
				`the history could not be pruned: ${(error as Error).message}`,
			);
		}
	}
}

/** The task of a product that it does not share with others: what is done to a task is done to all of its products. */
export function soleTask(plant: Plant, name: string): string {
	const { task } = plant.product(name);
	const others = plant.products.filter(
		(one) => one.task === task && one.id !== name,
	);
	if (others.length > 0)
		throw fail("NOT_NOW", {
			what: `${name} cannot be changed alone`,
			state: `it was learnt in one task with ${others.map(({ id }) => id).join(", ")}`,
		});
	return task;
}

/** The last pictures by their number, up to a number of bytes. */
class Recent {
	readonly #most: number;
	readonly #pictures = new Map<number, Uint8Array>();
	#bytes = 0;

	constructor(most: number) {
		this.#most = most;
	}

	get(id: number): Uint8Array | undefined {
		return this.#pictures.get(id);
	}

	set(id: number, bytes: Uint8Array): void {
		this.#pictures.set(id, bytes);
		this.#bytes += bytes.byteLength;
		for (const [oldest, { byteLength }] of this.#pictures) {
			if (this.#bytes <= this.#most) return;
			this.#pictures.delete(oldest);
			this.#bytes -= byteLength;
		}
	}
}
