/**
 * Makes training views on worker threads while the main thread is inside a training step (session.run blocks it).
 * A view depends on the seed, its key and its images alone: the number of workers and the batch it is part of change nothing.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { Image } from "./data/task.ts";
import { type Shape, sizeOf, uint8 } from "./engine/tensor.ts";
import { type ErrorCode, fail, KeepsightError } from "./errors.ts";
import type { LoadedPlugin } from "./plugins.ts";
import { createPretext, type PretextChoice } from "./pretext/index.ts";
import type { PretextTask } from "./pretext/pretext.ts";
import { Random } from "./random.ts";

export interface AugmentJob {
	/** Index of the image, and of the other normal image NSA takes its patches from. */
	readonly image: number;
	readonly other: number;
	/** Say what these views are for, such as ["augment", task, epoch, index]; with the seed it fixes every draw. */
	readonly key: readonly (string | number)[];
}

export interface Augmenter {
	/** K names, class 0 normal. */
	readonly classes: readonly string[];
	/** The images given, now in memory shared with the workers: use these and drop the originals. (onnxruntime takes them as a copy only.) */
	readonly images: readonly Image[];
	/** Threads really used; 0: views are made when asked for, in this thread. */
	readonly workers: number;
	/** [n, K, H, W, 3], in the order of the jobs. */
	views(jobs: readonly AugmentJob[]): Promise<Uint8Array>;
	/** Waits for the views under way, then ends the threads; without it they keep the process alive. */
	close(): Promise<void>;
}

export interface AugmenterOptions {
	readonly pretext: PretextChoice;
	/** What the workers load, as the task may come from one. Default: none. */
	readonly plugins?: readonly LoadedPlugin[];
	/** All of one size, at least one. */
	readonly images: readonly Image[];
	/** Run from the .ts sources, where no worker file can be started, 0 is used. */
	readonly workers: number;
	readonly seed: number;
	/** The compiled augment.worker.js; default: beside this file. */
	readonly workerFile?: URL;
}

/** What a worker starts with. */
export interface WorkerSetup {
	readonly pretext: PretextChoice;
	readonly plugins: readonly LoadedPlugin[];
	readonly shape: Shape; // [H, W, 3]
	readonly memory: SharedArrayBuffer; // uint8 [images, H, W, 3]
	readonly seed: number;
}
/** A share of a batch. The worker writes its views into `output` from byte `offset` on. */
export interface WorkerRequest {
	readonly id: number;
	readonly jobs: readonly AugmentJob[];
	readonly output: SharedArrayBuffer;
	readonly offset: number;
}
export interface WorkerReply {
	readonly id: number;
	readonly error?: {
		readonly message: string;
		readonly code?: string;
		readonly stack?: string;
	};
}

/** Writes the views of `jobs`, [n, K, H, W, 3], to `output`. The workers and the in-process augmenter both call this. */
export function makeJobs(
	pretext: PretextTask,
	images: readonly Image[],
	seed: number,
	jobs: readonly AugmentJob[],
	output: Uint8Array,
): void {
	let offset = 0;
	for (const job of jobs) {
		const [image, other] = [images[job.image], images[job.other]];
		if (!image || !other)
			throw new RangeError(
				`augment: no image ${image ? job.other : job.image} among ${images.length}`,
			);
		for (const view of pretext.augment(
			image,
			new Random(seed, ...job.key),
			other,
		)) {
			output.set(view.data, offset);
			offset += view.data.length;
		}
	}
}

/** The images as views of one piece of shared memory. */
export function viewImages(memory: SharedArrayBuffer, shape: Shape): Image[] {
	const size = sizeOf(shape);
	return Array.from({ length: memory.byteLength / size }, (_, i) =>
		uint8(shape, new Uint8Array(memory, i * size, size)),
	);
}

export function createAugmenter({
	pretext: choice,
	plugins = [],
	images,
	workers: wanted,
	seed,
	workerFile,
}: AugmenterOptions): Augmenter {
	const pretext = createPretext(choice);
	const shape = images[0]?.shape ?? [0, 0, 3];
	const odd = images.find((image) => image.shape.join() !== shape.join());
	if (odd)
		throw fail("SHAPE_MISMATCH", {
			op: "augment",
			shapes: [shape, odd.shape],
			hint: "All images of a task are resized to one size.",
		});
	const size = sizeOf(shape);
	const memory = new SharedArrayBuffer(images.length * size);
	const shared = new Uint8Array(memory);
	for (const [i, image] of images.entries()) shared.set(image.data, i * size);

	const file = workerFile ?? new URL("./augment.worker.js", import.meta.url);
	const count = existsSync(fileURLToPath(file))
		? wanted
		: sourcesOnly(file, wanted);
	const base = {
		classes: pretext.classes,
		images: viewImages(memory, shape),
		workers: count,
	};
	if (count === 0) {
		let closed = false;
		return {
			...base,
			async views(jobs) {
				if (closed) throw new Error("The augmenter is closed.");
				const output = new Uint8Array(
					jobs.length * pretext.classes.length * size,
				);
				makeJobs(pretext, base.images, seed, jobs, output);
				return output;
			},
			async close() {
				closed = true;
			},
		};
	}
	const threads = Array.from({ length: count }, () =>
		startThread(file, {
			pretext: choice,
			plugins,
			shape,
			memory,
			seed,
		}),
	);
	return { ...base, ...spread(threads, pretext.classes.length * size) };
}

/** Sources run as they are (tests) have no worker file; a compiled program without one is broken. */
function sourcesOnly(file: URL, wanted: number): number {
	if (wanted > 0 && !import.meta.url.endsWith(".ts"))
		throw new Error(
			`${fileURLToPath(file)} is missing: the build is incomplete.`,
		);
	return 0;
}

interface Thread {
	run(
		jobs: readonly AugmentJob[],
		output: SharedArrayBuffer,
		offset: number,
	): Promise<void>;
	end(): Promise<unknown>;
}

function startThread(file: URL, setup: WorkerSetup): Thread {
	const worker = new Worker(file, { workerData: setup });
	const waiting = new Map<
		number,
		{ resolve: () => void; reject: (error: Error) => void }
	>();
	let ids = 0;
	let dead: Error | undefined;
	const die = (error: Error) => {
		dead ??= error;
		for (const { reject } of waiting.values()) reject(error);
		waiting.clear();
	};
	worker.on("message", ({ id, error }: WorkerReply) => {
		const request = waiting.get(id);
		waiting.delete(id);
		if (error) request?.reject(restore(error));
		else request?.resolve();
	});
	worker.on("error", die);
	worker.on("exit", (code) =>
		die(new Error(`An augmentation thread ended with code ${code}.`)),
	);
	return {
		run: (jobs, output, offset) =>
			new Promise<void>((resolve, reject) => {
				if (dead) return reject(dead);
				const id = ids++;
				waiting.set(id, { resolve, reject });
				worker.postMessage({
					id,
					jobs,
					output,
					offset,
				} satisfies WorkerRequest);
			}),
		end: () => worker.terminate(),
	};
}

function restore({
	message,
	code,
	stack,
}: NonNullable<WorkerReply["error"]>): Error {
	const error =
		code === undefined
			? new Error(message)
			: new KeepsightError(code as ErrorCode, message);
	if (stack !== undefined) error.stack = stack;
	return error;
}

/**
 * Deals a batch out at once, an even share to each thread: while session.run blocks this thread nobody could hand out
 * more. onnxruntime refuses shared memory, so the finished batch is copied out (2 ms for 10 MB) and the memory reused.
 */
function spread(
	threads: readonly Thread[],
	bytesPerJob: number,
): Pick<Augmenter, "views" | "close"> {
	const free: SharedArrayBuffer[] = [];
	const underWay = new Set<Promise<unknown>>();
	let closed = false;
	async function views(jobs: readonly AugmentJob[]): Promise<Uint8Array> {
		if (closed) throw new Error("The augmenter is closed.");
		const bytes = jobs.length * bytesPerJob;
		const fitting = free.findIndex((memory) => memory.byteLength === bytes);
		const memory =
			free.splice(fitting, fitting < 0 ? 0 : 1)[0] ??
			new SharedArrayBuffer(bytes);
		const shares = threads.map(async (thread, t) => {
			const [from, to] = [t, t + 1].map((part) =>
				Math.floor((part * jobs.length) / threads.length),
			) as [number, number];
			if (to > from)
				await thread.run(jobs.slice(from, to), memory, from * bytesPerJob);
		});
		const all = Promise.allSettled(shares); // nobody writes to the memory any more when it goes back
		underWay.add(all);
		await all;
		underWay.delete(all);
		await Promise.all(shares);
		const output = Uint8Array.from(new Uint8Array(memory));
		if (free.length < 4) free.push(memory);
		return output;
	}
	return {
		views,
		async close() {
			closed = true;
			await Promise.all(underWay);
			await Promise.all(threads.map((thread) => thread.end()));
		},
	};
}

/**
 * Yields the results of `source` in order, with up to `depth` further promises already under way:
 * `for await (const batch of prefetch(batchPromises(), 2)) step(batch)`. Give a generator, so that each is started only when due.
 */
export async function* prefetch<T>(
	source: Iterable<Promise<T>>,
	depth: number,
): AsyncGenerator<T, void, undefined> {
	const iterator = source[Symbol.iterator]();
	const started: Promise<T>[] = [];
	let done = false;
	const fill = (length: number) => {
		while (!done && started.length < length) {
			const next = iterator.next();
			if (next.done) done = true;
			else {
				next.value.catch(() => {}); // awaited below in its turn; until then a failure is not "unhandled"
				started.push(next.value);
			}
		}
	};
	try {
		for (;;) {
			fill(depth + 1);
			const next = started.shift();
			if (!next) return;
			const value = await next;
			fill(depth); // before the caller's step blocks this thread
			yield value;
		}
	} finally {
		if (!done) iterator.return?.();
		await Promise.allSettled(started);
	}
}
