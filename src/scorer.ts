/** Scores for a server, in a process of its own: one version of what was learnt, and pictures as they come. */
import { encodePng } from "./data/image.ts";
import { uint8 } from "./engine/tensor.ts";
import type { Prediction } from "./events.ts";
import { type Picture, Predictor } from "./predictor.ts";
import { openRun } from "./run.ts";

/** Which version of which memory scores. */
export interface ScorerJob {
	readonly memDir: string;
	/** Of memory/; the present one (also where it is left out) or one that is kept. */
	readonly version?: number;
}

/** A picture to be scored. */
export interface Sent {
	/** An encoded picture. */
	readonly bytes: Uint8Array;
	/** The product that it shows, a known one; null: to be recognised. */
	readonly task: string | null;
	/** Whether to draw its anomaly map. */
	readonly overlay: boolean;
}

/** What a picture got. */
export interface Answered {
	readonly prediction: Prediction;
	/** PNG; null: not asked for, or there is no map. */
	readonly overlay: Uint8Array | null;
}

/** A category that was learnt. */
export interface LearntProduct {
	readonly id: string;
	/** What `forget` and `threshold` call it: the task it was learnt in. */
	readonly task: string;
	readonly images: number;
	readonly bytes: number;
	readonly threshold: number;
	readonly thresholdSet: boolean;
	readonly memories: readonly {
		readonly name: string;
		readonly bytes: number;
	}[];
	/** Of the good images it was learnt from, each as if it had not been; rising. */
	readonly goodScores: readonly number[];
}

/** A scorer that takes pictures. */
export interface ScorerReady {
	readonly version: number;
	/** Pictures that are best asked about together. */
	readonly together: number;
	readonly products: readonly LearntProduct[];
}

export interface Scorer {
	readonly ready: ScorerReady;
	/** In their order. Groups are scored one after the other; the pictures of the next are decoded meanwhile. */
	score(pictures: readonly Sent[]): Promise<readonly Answered[]>;
}

/** A process that scores until it is closed or lost. */
export interface RunningScorer extends Scorer {
	readonly pid: number;
	/** Why it is gone; what was asked of it is rejected with the same. */
	readonly lost: Promise<Error>;
	/** Ends it at once. */
	close(): void;
}

export type StartScorer = (job: Required<ScorerJob>) => Promise<RunningScorer>;

/** The first picture takes several times as long as the others, so it is none of a client's. */
async function warmUp(predictor: Predictor): Promise<void> {
	const noise = Uint8Array.from(
		{ length: 3 * 64 * 64 },
		(_, i) => (i * 73) % 251,
	);
	const bytes = await encodePng(uint8([64, 64, 3], noise));
	const source = { path: "warm-up", name: "warm-up", told: null };
	for await (const _ of predictor.score([
		await predictor.picture(source, bytes),
	])) {
		// what it says is of no interest
	}
}

export async function openScorer(job: ScorerJob): Promise<Scorer> {
	const { memory, settings } = openRun(job.memDir, "read");
	const { version = memory.version } = job;
	const { threads } = settings;
	const predictor = new Predictor(
		memory.version === version ? memory : memory.at(version),
		threads,
	);
	await warmUp(predictor);
	let pictures = 0;
	let before: Promise<unknown> = Promise.resolve();
	return {
		ready: {
			version,
			together: predictor.together,
			products: productsOf(predictor),
		},
		async score(sent) {
			const opened = Promise.all(
				sent.map(({ bytes, task }) =>
					predictor.picture(
						{ path: String(pictures++), name: "that was sent", told: task },
						bytes,
					),
				),
			);
			const turn = Promise.all([opened, before]).then(([all]) =>
				answersOf(predictor, sent, all),
			);
			before = turn.catch(() => {});
			return turn;
		},
	};
}

async function answersOf(
	predictor: Predictor,
	sent: readonly Sent[],
	pictures: readonly Picture[],
): Promise<readonly Answered[]> {
	const answers: Answered[] = [];
	for await (const { picture, map, prediction } of predictor.score(pictures)) {
		const wanted = sent[answers.length]?.overlay === true && map;
		answers.push({
			prediction,
			overlay: wanted
				? await predictor.overlay(picture, wanted, prediction.threshold)
				: null,
		});
	}
	return answers;
}

const productsOf = ({ knowledge }: Predictor): LearntProduct[] =>
	knowledge.tasks.flatMap(({ id: task, categories }) =>
		categories.map((id) => {
			const memories = knowledge.memories.map((memory, i) => ({
				name: knowledge.setup.memories[i]?.name ?? "",
				bytes: memory.bytes(id),
			}));
			return {
				id,
				task,
				images: knowledge.imagesOf(id),
				bytes: memories.reduce(
					(sum, { bytes }) => sum + bytes,
					knowledge.router.bytes(id),
				),
				threshold: knowledge.thresholdOf(id),
				thresholdSet: knowledge.hasOwnThreshold(task),
				memories,
				goodScores: [...knowledge.goodScores(id).sort()],
			};
		}),
	);
