/**
 * Scores any images from what was learnt, as they come: files, folders, patterns, names on a stream, or what appears in a watched
 * folder. Each is routed on its own, or scored as the product that is told, and gets the bits that evaluation gives it.
 */
import { stat } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDirectory, isInside } from "./data/files.ts";
import { findImages, type Found, imagesIn, single } from "./data/find.ts";
import { flawOf } from "./data/flaw.ts";
import { decodeImage, readBytes } from "./data/image.ts";
import type { Image, Sample } from "./data/task.ts";
import { writeMap } from "./data/tiff.ts";
import { fail, Interrupted, KeepsightError } from "./errors.ts";
import { Eyes, localiserOf, networkOf } from "./evaluate.ts";
import {
	heed,
	type Prediction,
	type RunEvent,
	type Stop,
	type Verdict,
} from "./events.ts";
import { type Judgement, Knowledge } from "./knowledge.ts";
import type { Localiser } from "./localise.ts";
import { isAnomalous } from "./metrics/image.ts";
import { overlayOf } from "./pictures/pictures.ts";
import { openRun } from "./run.ts";
import { type VersionedFolder, writeAtomic } from "./storage.ts";
import { Trunk } from "./trunk.ts";

export interface PredictJob {
	readonly memDir: string;
	/** Files, folders and patterns; "-": names of files, one a line of the stream. */
	readonly inputs: readonly string[];
	/** Instead of inputs: a folder that is looked into until the job is stopped. */
	readonly watch?: string;
	/** The product that all images show; absent: each is routed. */
	readonly task?: string;
	/** Where maps are written. */
	readonly maps?: string;
}

/** The input that stands for the stream. */
const fromStream = "-";

/** Pictures in memory at a time, at most, twice: those that are scored and the next. */
const AT_ONCE = 32;
const POLL_MS = 500;
/** Score and threshold are logarithms: within a factor of two of chance. */
const NEAR = Math.log10(2);

export const verdictOf = ({
	score,
	threshold,
	unknown,
}: Pick<Judgement, "score" | "threshold" | "unknown">): Verdict => {
	if (unknown) return "unknown";
	return Math.abs(score - threshold) < NEAR
		? "unsure"
		: isAnomalous(score, threshold)
			? "defect"
			: "good";
};

interface Progress {
	readonly emit: (event: RunEvent) => void;
	readonly stop: Stop;
}

/** `stream`: text with the names of files. */
export async function predictAll(
	job: PredictJob,
	{ emit, stop }: Progress,
	stream: AsyncIterable<string>,
): Promise<{ results: object; text: string }> {
	const run = openRun(job.memDir, "read");
	if (run.memory.version === 0)
		throw fail("NOTHING_LEARNT", { dir: job.memDir });
	const { threads } = run.record.config as { readonly threads: number };
	const { task = null } = job;
	const predictor = new Predictor(run.memory, { threads, task });
	const source = await sourceOf(job, stream, { emit, stop });
	const maps =
		job.maps === undefined ? null : new Maps(job.maps, predictor, source);
	for await (const pictures of ahead(predictor.read(source.images)))
		for await (const { picture, map, prediction } of predictor.score(
			pictures,
		)) {
			await heed(stop);
			if (maps && map) await maps.write(picture, map, prediction);
			emit({ type: "prediction", prediction });
		}
	await predictor.release();
	return { results: {}, text: "" };
}

/** A picture whose file was read, once for all sizes it is looked at. */
interface Picture extends Sample {
	readonly found: Found;
	/** performance.now() when its file was opened. */
	readonly openedAt: number;
	/** Why it cannot be scored; null: it can. */
	readonly flaw: string | null;
	/** At its own size. */
	whole(): Promise<Image>;
}

interface Scored {
	readonly picture: Picture;
	readonly prediction: Prediction;
	/** Score of every patch; null: unusable, or no memory tells. */
	readonly map: Float32Array | null;
}

/** Everything that was learnt, and what looks at images with it. */
class Predictor {
	readonly knowledge: Knowledge;
	readonly #eyes: Eyes;
	readonly #task: string | null;
	readonly #version: number;
	readonly #together: number;

	constructor(
		memory: VersionedFolder,
		{
			threads,
			task,
		}: { readonly threads: number; readonly task: string | null },
	) {
		this.knowledge = Knowledge.load(memory, threads);
		this.#version = memory.version;
		const known = this.knowledge.router.ids;
		if (task !== null && !known.includes(task))
			throw fail("UNKNOWN_NAME", {
				kind: "product",
				name: task,
				where: "--task",
				known,
			});
		this.#task = task;
		const trunk = new Trunk(networkOf(this.knowledge, threads));
		this.#together = Math.min(trunk.together, AT_ONCE);
		this.#eyes = new Eyes(trunk);
	}

	/** As many pictures at a time as are best seen together. */
	async *read(
		images: AsyncIterable<readonly Found[]>,
	): AsyncGenerator<readonly Picture[]> {
		const size = this.knowledge.backbone.config.imageSize;
		for await (const all of images)
			for (let i = 0; i < all.length; i += this.#together)
				yield Promise.all(
					all
						.slice(i, i + this.#together)
						.map((found) => readPicture(found, size)),
				);
	}

	/** In their order. */
	async *score(pictures: readonly Picture[]): AsyncGenerator<Scored> {
		const usable = pictures.filter(({ flaw }) => flaw === null);
		const seen = this.#eyes.each(usable);
		for (const picture of pictures) {
			if (picture.flaw !== null) {
				const prediction = this.#unusable(picture, picture.flaw);
				yield { picture, map: null, prediction };
				continue;
			}
			await seen.next();
			yield this.#judge(picture);
		}
		this.#eyes.forget(usable);
	}

	async #judge(picture: Picture): Promise<Scored> {
		const { knowledge } = this;
		const eyes = this.#eyes;
		const routed = this.#task ?? knowledge.route(await eyes.frozen(picture));
		const judgement = await knowledge.judge(
			routed,
			await eyes.features(picture, knowledge.weightsOf(routed)),
		);
		if (judgement.blurred)
			return {
				picture,
				map: null,
				prediction: this.#unusable(picture, "blurred"),
			};
		const { score, threshold, map } = judgement;
		const unknown = judgement.unknown && this.#task === null; // who tells the product knows it
		return {
			picture,
			map,
			prediction: {
				path: picture.path,
				score,
				threshold,
				verdict: verdictOf({ score, threshold, unknown }),
				anomalous: isAnomalous(score, threshold),
				task: unknown ? null : routed,
				...this.#circumstances(picture),
				reason: null,
			},
		};
	}

	#unusable(picture: Picture, reason: string): Prediction {
		return {
			path: picture.path,
			score: null,
			threshold: null,
			verdict: "unusable",
			anomalous: null,
			task: null,
			...this.#circumstances(picture),
			reason,
		};
	}

	#circumstances({ openedAt }: Picture) {
		return {
			memoryVersion: this.#version,
			latencyMs: Math.round(10 * (performance.now() - openedAt)) / 10,
		};
	}

	async release(): Promise<void> {
		await this.#eyes.release();
		await this.knowledge.release();
	}
}

/** `size`: at which it is looked at first. What no decoder reads is no error here, since other pictures wait. */
async function readPicture(
	found: Found,
	size: readonly [number, number],
): Promise<Picture> {
	const openedAt = performance.now();
	let bytes: Uint8Array = new Uint8Array();
	const decoded = new Map<string, Promise<Image>>();
	const at = (wanted?: readonly [number, number]): Promise<Image> => {
		const key = String(wanted);
		const image = decoded.get(key) ?? decodeImage(bytes, found.path, wanted);
		decoded.set(key, image);
		return image;
	};
	let flaw: string | null;
	try {
		bytes = await readBytes(found.path);
		flaw = flawOf(await at(size));
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		flaw = error.message;
	}
	return {
		id: found.path,
		path: found.path,
		defect: null,
		kind: null,
		read: at,
		async size() {
			const [h, w] = (await at()).shape as [number, number, number];
			return [h, w];
		},
		found,
		openedAt,
		flaw,
		whole: () => at(),
	};
}

/** The next is begun while the last is used. */
async function* ahead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
	const begin = () => {
		const next = source.next();
		next.catch(() => {}); // told when it is awaited
		return next;
	};
	let next = begin();
	for (;;) {
		const { done, value } = await next;
		if (done) return;
		next = begin();
		yield value;
	}
}

// ---- where images come from ----

interface Source {
	/** Those that are there together. */
	readonly images: AsyncIterable<readonly Found[]>;
	/** Looked through: no map may be written there. */
	readonly folders: readonly string[];
}

/** What is named must be there before anything is scored; what a stream names need not. */
async function sourceOf(
	{ inputs, watch }: PredictJob,
	stream: AsyncIterable<string>,
	{ emit, stop }: Progress,
): Promise<Source> {
	if (watch !== undefined) {
		if (!(await isDirectory(watch)))
			throw fail("INPUT_MISSING", {
				input: watch,
				problem: "there is no such folder to watch",
			});
		emit({ type: "notice", text: `watching ${watch} until interrupted` });
		return { images: watched(watch, { emit, stop }), folders: [watch] };
	}
	const parts: (readonly Found[] | typeof fromStream)[] = [];
	for (const input of inputs)
		parts.push(input === fromStream ? fromStream : await findImages(input));
	async function* images() {
		for (const part of parts)
			if (part === fromStream) yield* named(stream, stop);
			else yield part;
	}
	const folders = parts.flatMap((part) =>
		part === fromStream ? [] : part.map(({ folder }) => folder),
	);
	return {
		images: images(),
		folders: [...new Set(folders.filter((folder) => folder !== null))],
	};
}

/** The names in a text, one a line. */
async function* named(
	stream: AsyncIterable<string>,
	stop: Stop,
): AsyncGenerator<readonly Found[]> {
	const texts = stream[Symbol.asyncIterator]();
	let rest = "";
	for (;;) {
		const { done, value = "" } = await unlessStopped(texts.next(), stop);
		const lines = `${rest}${value}${done ? "\n" : ""}`.split(/\r?\n/);
		rest = lines.pop() ?? "";
		const names = lines.filter((line) => line !== "");
		if (names.length > 0) yield names.map(single);
		if (done) return;
	}
}

async function unlessStopped<T>(awaited: Promise<T>, stop: Stop): Promise<T> {
	const waiting = new AbortController();
	const stopped = async (): Promise<never> => {
		while (!stop.requested)
			await sleep(POLL_MS / 5, undefined, { signal: waiting.signal });
		throw new Interrupted();
	};
	const giveUp = stopped();
	giveUp.catch(() => {}); // the sleep that is broken off
	try {
		return await Promise.race([awaited, giveUp]);
	} finally {
		waiting.abort();
	}
}

/**
 * What lies in a folder and what appears there, once its size and time of change stayed the same from one look to the next: then the
 * camera has finished writing. A picture that changes later is given again. Looks instead of the system's notices, which network
 * disks do not send; a disk that is away for a while is no end either.
 */
async function* watched(
	folder: string,
	{ emit, stop }: Progress,
): AsyncGenerator<readonly Found[]> {
	let trouble = "";
	/** null: the folder cannot be read now. */
	const look = async (): Promise<readonly Found[] | null> => {
		try {
			const found = await imagesIn(folder);
			trouble = "";
			return found;
		} catch (error) {
			if (!(error instanceof KeepsightError)) throw error;
			if (error.message !== trouble)
				emit({ type: "notice", text: error.message });
			trouble = error.message;
			return null;
		}
	};
	/** Path -> its state at the last look, and whether it was given. */
	let known = new Map<string, { state: string; given: boolean }>();
	for (;;) {
		const now: typeof known = new Map();
		const ready: Found[] = [];
		const there = await look();
		for (const found of there ?? []) {
			const stats = await stat(found.path).catch(() => null);
			if (!stats) continue; // gone again
			const state = `${stats.size} ${stats.mtimeMs}`;
			const before = known.get(found.path);
			const same = before?.state === state;
			if (same && !before.given) ready.push(found);
			now.set(found.path, { state, given: same });
		}
		if (there) known = now; // what was given stays known through a disk's absence
		if (ready.length > 0) yield ready;
		if (stop.requested) throw new Interrupted();
		await sleep(POLL_MS);
	}
}

// ---- maps ----

/** Anomaly maps under the names of their pictures, in a folder that holds none of them. */
class Maps {
	readonly #dir: string;
	readonly #localiser: Localiser;
	/** Name without its ending -> the picture that has it. */
	readonly #taken = new Map<string, string>();

	constructor(dir: string, predictor: Predictor, { folders }: Source) {
		this.#dir = dir;
		this.#localiser = localiserOf(predictor.knowledge);
		if (!predictor.knowledge.hasMaps) throw fail("NO_MAPS", { dir });
		for (const folder of folders)
			if (isInside(dir, folder))
				throw fail("MAPS_AMONG_INPUTS", { dir, path: folder });
	}

	async write(
		picture: Picture,
		cells: Float32Array,
		{ threshold }: Prediction,
	): Promise<void> {
		const dir = this.#dir;
		if (isInside(picture.path, dir))
			throw fail("MAPS_AMONG_INPUTS", { dir, path: picture.path });
		const name = this.#nameOf(picture.found);
		const folder = path.dirname(path.join(dir, name));
		if (!isInside(folder, dir))
			throw fail("CANNOT_WRITE", { path: folder, code: "EEXIST" }); // a link that leads out
		const localiser = this.#localiser;
		const file = writeMap(dir, name, await localiser.mapOf(picture, cells));
		const map = await localiser.pictureOf(picture, cells);
		const image = await picture.whole();
		writeAtomic(
			file.replace(/tiff$/, "png"),
			await overlayOf({ image, map, threshold }),
		);
	}

	/** The picture's name below the folder, with a number where another picture has that already. */
	#nameOf({ name, path: file }: Found): string {
		const ending = path.extname(name);
		const stem = name.slice(0, name.length - ending.length);
		for (let n = 1; ; n++) {
			const own = n === 1 ? stem : `${stem}-${n}`;
			const key = own.toLowerCase(); // where the disk takes a and A for one
			const owner = this.#taken.get(key) ?? file;
			if (owner !== file) continue;
			this.#taken.set(key, file);
			return `${own}${ending || ".png"}`;
		}
	}
}
