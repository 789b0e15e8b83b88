/**
 * Processes that score, and the queue before them. A process takes as many waiting pictures at a time as it scores best together, so
 * that under load it works in batches, and a lone picture waits for nobody. What waits is bounded in number and in pixels.
 *
 * All processes of a pool hold one version of the memory. Another version comes in with processes of its own: from one moment on they
 * get the pictures, and the old ones end once they have answered theirs. So no answer is lost, none mixes two versions, and none
 * comes from an older version than an answer before it did.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { fail, type KeepsightError } from "../errors.ts";
import type {
	Answered,
	LearntProduct,
	RunningScorer,
	ScorerReady,
	Sent,
	StartScorer,
} from "../scorer.ts";

export interface PoolLimits {
	readonly workers: number;
	/** Pictures that wait or are scored, at most. */
	readonly queue: number;
	readonly timeoutMs: number;
}

/** Pixels of all pictures that wait or are scored, at most: three bytes each. */
const PIXELS = 400_000_000;
/** Between the starts of processes that end at once. */
const PAUSE_MS = [250, 1000, 5000, 15_000];

interface Waiting {
	readonly sent: Sent;
	readonly answer: (answered: Answered) => void;
	readonly refuse: (error: Error) => void;
}

type Tell = (change: "free" | "lost", error?: Error) => void;

/** Processes of one version. */
export class Generation {
	readonly memDir: string;
	readonly version: number;
	readonly #start: StartScorer;
	readonly #tell: Tell;
	readonly #scorers = new Map<RunningScorer, number>(); // groups under way
	#ready: ScorerReady | null = null;
	#ended = false;

	private constructor(
		memDir: string,
		version: number,
		start: StartScorer,
		tell: Tell,
	) {
		this.memDir = memDir;
		this.version = version;
		this.#start = start;
		this.#tell = tell;
	}

	/** Resolves when all are ready. */
	static async open(
		memDir: string,
		version: number,
		{
			start,
			workers,
			tell,
		}: {
			readonly start: StartScorer;
			readonly workers: number;
			readonly tell: Tell;
		},
	): Promise<Generation> {
		const generation = new Generation(memDir, version, start, tell);
		try {
			await Promise.all(
				Array.from({ length: workers }, () => generation.#begin()),
			);
		} catch (error) {
			generation.close();
			throw error;
		}
		return generation;
	}

	get products(): readonly LearntProduct[] {
		return this.#ready?.products ?? [];
	}
	get together(): number {
		return this.#ready?.together ?? 1;
	}
	get workers(): number {
		return this.#scorers.size;
	}
	get idle(): boolean {
		return [...this.#scorers.values()].every((groups) => groups === 0);
	}

	/** The process with the fewest groups under way, and how many. */
	get freest(): readonly [RunningScorer, number] | null {
		const all = [...this.#scorers].sort(([, a], [, b]) => a - b);
		return all[0] ?? null;
	}

	async score(
		scorer: RunningScorer,
		pictures: readonly Sent[],
	): Promise<readonly Answered[]> {
		this.#count(scorer, 1);
		try {
			return await scorer.score(pictures);
		} finally {
			this.#count(scorer, -1);
			this.#tell("free");
		}
	}

	/** Pictures that wait for nobody else: those of a check. */
	async scoreAside(pictures: readonly Sent[]): Promise<readonly Answered[]> {
		const freest = this.freest;
		if (!freest) throw fail("SCORER_LOST", { how: "none is left" });
		return this.score(freest[0], pictures);
	}

	/** Ends all at once. */
	close(): void {
		this.#ended = true;
		for (const scorer of this.#scorers.keys()) scorer.close();
		this.#scorers.clear();
	}

	#count(scorer: RunningScorer, change: 1 | -1): void {
		const groups = this.#scorers.get(scorer);
		if (groups !== undefined) this.#scorers.set(scorer, groups + change);
	}

	async #begin(): Promise<void> {
		const { memDir, version } = this;
		const scorer = await this.#start({ memDir, version });
		if (this.#ended) {
			scorer.close();
			return;
		}
		this.#ready = scorer.ready;
		this.#scorers.set(scorer, 0);
		void scorer.lost.then((error) => {
			if (!this.#scorers.delete(scorer) || this.#ended) return;
			this.#tell("lost", error);
			void this.#replace();
		});
		this.#tell("free");
	}

	async #replace(): Promise<void> {
		for (let tries = 0; !this.#ended; tries++) {
			await sleep(PAUSE_MS[Math.min(tries, PAUSE_MS.length - 1)]);
			try {
				if (!this.#ended) await this.#begin();
				return;
			} catch (error) {
				this.#tell("lost", error as Error);
			}
		}
	}
}

export class Pool {
	readonly #limits: PoolLimits;
	readonly #waiting: Waiting[] = [];
	#active: Generation | null = null;
	/** Waiting and under way. */
	#pictures = 0;
	#pixels = 0;

	constructor(limits: PoolLimits) {
		this.#limits = limits;
	}

	get active(): Generation | null {
		return this.#active;
	}
	/** Pictures that wait or are scored. */
	get pictures(): number {
		return this.#pictures;
	}

	/** From now on these answer, or nobody; the earlier ones end when they have answered what they took. */
	activate(next: Generation | null): void {
		const before = this.#active;
		this.#active = next;
		if (next) this.pump();
		else
			for (const { refuse } of this.#waiting.splice(0))
				refuse(busy("No product is known any more"));
		if (before) void closeWhenIdle(before);
	}

	/** `pixels`: of the picture. Aborting withdraws it, or drops what comes of it. */
	async score(
		sent: Sent,
		{
			pixels,
			signal,
		}: { readonly pixels: number; readonly signal: AbortSignal },
	): Promise<Answered> {
		const { queue, timeoutMs } = this.#limits;
		if (this.#pictures >= queue || this.#pixels + pixels > PIXELS)
			throw busy("More pictures wait than this server takes");
		this.#pictures++;
		this.#pixels += pixels;
		let withdraw: (error: Error) => void = () => {};
		const answered = new Promise<Answered>((answer, refuse) => {
			const waiting = { sent, answer, refuse };
			withdraw = (error) => {
				const i = this.#waiting.indexOf(waiting);
				if (i >= 0) this.#waiting.splice(i, 1);
				refuse(error);
			};
			this.#waiting.push(waiting);
		});
		const gone = () => withdraw(signal.reason as Error);
		signal.addEventListener("abort", gone);
		const timer = setTimeout(
			() => withdraw(fail("REQUEST_TIMED_OUT", { seconds: timeoutMs / 1000 })),
			timeoutMs,
		);
		this.pump();
		try {
			return await answered;
		} finally {
			clearTimeout(timer);
			signal.removeEventListener("abort", gone); // or the picture would stay as long as the signal
			this.#pictures--;
			this.#pixels -= pixels;
		}
	}

	/** Gives waiting pictures to processes that are free, or that will be soon: they decode what comes next while they score. */
	pump(): void {
		for (;;) {
			const generation = this.#active;
			const [scorer, groups] = generation?.freest ?? [null, 0];
			if (!generation || !scorer || groups > 1) return;
			const enough = groups === 0 ? 1 : generation.together;
			if (this.#waiting.length < enough) return;
			const group = this.#waiting.splice(0, generation.together);
			const known = new Set(generation.products.map(({ id }) => id));
			const [fit, unknown] = parted(
				group,
				({ sent: { task } }) => task === null || known.has(task),
			);
			for (const { sent, refuse } of unknown)
				refuse(unknownProduct(String(sent.task), known)); // forgotten while it waited
			if (fit.length > 0) void this.#give(generation, scorer, fit);
		}
	}

	async #give(
		generation: Generation,
		scorer: RunningScorer,
		group: readonly Waiting[],
	): Promise<void> {
		// a process that hangs is as good as lost
		const timer = setTimeout(scorer.close, 2 * this.#limits.timeoutMs);
		try {
			const answers = await generation.score(
				scorer,
				group.map(({ sent }) => sent),
			);
			for (const [i, { answer }] of group.entries())
				answer(answers[i] as Answered);
		} catch (error) {
			for (const { refuse } of group) refuse(error as Error);
		} finally {
			clearTimeout(timer);
		}
	}

	close(): void {
		this.#active?.close();
		for (const { refuse } of this.#waiting.splice(0))
			refuse(busy("The server is stopping"));
	}
}

function parted<T>(list: readonly T[], test: (item: T) => boolean): [T[], T[]] {
	return [list.filter(test), list.filter((item) => !test(item))];
}

export const unknownProduct = (
	name: string,
	known: Iterable<string>,
): KeepsightError =>
	fail("UNKNOWN_NAME", {
		kind: "product",
		name,
		where: "task",
		known: [...known],
	});

export const busy = (what: string): KeepsightError =>
	fail("SERVER_BUSY", { what });

async function closeWhenIdle(generation: Generation): Promise<void> {
	while (!generation.idle) await sleep(20);
	generation.close();
}
