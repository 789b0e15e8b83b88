/** Scores any images from what was learnt, as they come: files, folders, patterns, names on a stream, or what appears in a watched folder. */
import { stat } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDirectory, isInside } from "./data/files.ts";
import { findImages, type Found, imagesIn, single } from "./data/find.ts";
import { writeMap } from "./data/tiff.ts";
import { fail, Interrupted, KeepsightError } from "./errors.ts";
import { heed, type Prediction, type RunEvent, type Stop } from "./events.ts";
import { checkLearnt } from "./knowledge.ts";
import { type FoundPicture, Predictor } from "./predictor.ts";
import { openRun } from "./run.ts";
import { writeAtomic } from "./storage.ts";

export interface PredictJob {
	readonly memDir: string;
	/** Files, folders and patterns; "-": names of files, one a line of the stream; or pictures that were found before. */
	readonly inputs: readonly (string | Found)[];
	/** Instead of inputs: a folder that is looked into until the job is stopped. */
	readonly watch?: string;
	/** The product that all images show; absent: each is routed. */
	readonly task?: string;
	/** Where maps are written. */
	readonly maps?: string;
}

/** The input that stands for the stream. */
const fromStream = "-";

const POLL_MS = 500;

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
	checkLearnt(run.memory, job.memDir);
	const { threads } = run.settings;
	const { task = null } = job;
	const predictor = new Predictor(run.memory, threads);
	if (task !== null) predictor.checkKnown(task);
	const source = await sourceOf(job, stream, { emit, stop });
	const maps =
		job.maps === undefined ? null : new Maps(job.maps, predictor, source);
	for await (const pictures of ahead(predictor.read(source.images, task)))
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

/** The next is begun while the last is used. */
export async function* ahead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
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
		parts.push(
			typeof input !== "string"
				? [input]
				: input === fromStream
					? fromStream
					: await findImages(input),
		);
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
	readonly #predictor: Predictor;
	readonly #names = new MapNames();

	constructor(dir: string, predictor: Predictor, { folders }: Source) {
		this.#dir = dir;
		this.#predictor = predictor;
		if (!predictor.knowledge.hasMaps) throw fail("NO_MAPS", { dir });
		for (const folder of folders)
			if (isInside(dir, folder))
				throw fail("MAPS_AMONG_INPUTS", { dir, path: folder });
	}

	async write(
		picture: FoundPicture,
		cells: Float32Array,
		{ threshold }: Prediction,
	): Promise<void> {
		const dir = this.#dir;
		if (isInside(picture.path, dir))
			throw fail("MAPS_AMONG_INPUTS", { dir, path: picture.path });
		const name = this.#names.of(picture.found);
		const folder = path.dirname(path.join(dir, name));
		if (!isInside(folder, dir))
			throw fail("CANNOT_WRITE", { path: folder, code: "EEXIST" }); // a link that leads out
		const { localiser } = this.#predictor;
		const file = writeMap(dir, name, await localiser.mapOf(picture, cells));
		writeAtomic(
			file.replace(/tiff$/, "png"),
			await this.#predictor.overlay(picture, cells, threshold),
		);
	}
}

/** Names below one folder for pictures of several: with a number where another picture has that already. */
export class MapNames {
	/** Name without its ending -> the picture that has it. */
	readonly #taken = new Map<string, string>();

	of({ name, path: file }: Found): string {
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
