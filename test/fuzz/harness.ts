/**
 * Runs one parser of foreign bytes on mutated inputs: whatever comes, the outcome is a correct value or an error of errors.ts, within a second and
 * a gigabyte. A case that fails lies in .cache/fuzz/ and, once its defect is mended, in corpus/<parser>/.
 */
import { strict as assert } from "node:assert";
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { KeepsightError } from "../../src/errors.ts";
import { cases, type Mutator } from "./mutate.ts";

/** A parser that is ready to be run. */
export interface Reader {
	/** Inputs that it takes as they are. */
	readonly seeds: readonly Uint8Array[];
	/** Throws a KeepsightError, or returns; a value that is wrong is any other error (`assert`). */
	read(bytes: Uint8Array): unknown;
	close?(): void | Promise<void>;
}

export interface Parser {
	/** Also the name of its folder in corpus/. */
	readonly name: string;
	/** The files of src/ whose reading it covers. */
	readonly covers: readonly string[];
	readonly mutate: Mutator;
	/** Of npm test; the soak runs 10,000. */
	readonly cases?: number;
	/** `dir` is an empty folder that is deleted afterwards. */
	open(dir: string): Reader | Promise<Reader>;
}

export interface Outcome {
	readonly cases: number;
	/** Inputs that gave a value. */
	readonly values: number;
	/** Errors by their code. */
	readonly codes: ReadonlyMap<string, number>;
	readonly slowestMs: number;
	/** Of the whole process so far. */
	readonly peakBytes: number;
}

/** Milliseconds of a case. */
const LONGEST = 1000;
export const limitBytes = 2 ** 30;
/** Milliseconds without a sign of life after which the process is taken for hanging: nothing else ends a loop without end. */
const HANGS = 300_000;
const kept = join(".cache", "fuzz");
const corpus = join(import.meta.dirname, "corpus");

/** The most memory that this process ever had. */
export const peakBytes = (): number => process.resourceUsage().maxRSS * 1024;

/** Files that once failed, or stand for a kind of hostile input, by name. */
export const corpusOf = (name: string): readonly [string, Uint8Array][] =>
	existsSync(join(corpus, name))
		? readdirSync(join(corpus, name))
				.sort()
				.map((file) => [file, readFileSync(join(corpus, name, file))])
		: [];
export const corpora = (): readonly string[] => readdirSync(corpus).sort();

/** Ends the process where it hangs; the case is in .cache/fuzz/. */
function watch(name: string) {
	const beat = new Int32Array(new SharedArrayBuffer(4));
	const worker = new Worker(
		`const { workerData: { beat, hangs, text } } = require("node:worker_threads");
		const rest = new Int32Array(new SharedArrayBuffer(4));
		for (let last = -1; ; ) {
			const now = Atomics.load(beat, 0);
			if (now === last) {
				require("node:fs").writeSync(2, text);
				process.kill(process.pid, "SIGKILL");
			}
			last = now;
			Atomics.wait(rest, 0, 0, hangs);
		}`,
		{
			eval: true,
			workerData: {
				beat,
				hangs: HANGS,
				text: `fuzz: ${name} hangs; the case is ${join(kept, `${name}.last`)}\n`,
			},
		},
	);
	worker.unref();
	return {
		beat: () => void Atomics.add(beat, 0, 1),
		stop: () => worker.terminate(),
	};
}

/**
 * How long it computed, and what came: a value (null) or the code of a clear error. Anything else is thrown. What it computes counts, since
 * other programs share the machine; what it waits for ends after ten times as long.
 */
async function outcomeOf(
	reader: Reader,
	bytes: Uint8Array,
): Promise<{ readonly ms: number; readonly code: string | null }> {
	const began = process.cpuUsage();
	let code: string | null = null;
	let timer: NodeJS.Timeout | undefined;
	const late = new Promise<never>((_, reject) => {
		timer = setTimeout(
			() => reject(new Error("it does not come back")),
			10 * LONGEST,
		);
	});
	try {
		await Promise.race([reader.read(bytes), late]);
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		assert.doesNotMatch(error.message, /\[object /);
		code = error.code;
	} finally {
		clearTimeout(timer);
	}
	const { user, system } = process.cpuUsage(began);
	return { ms: (user + system) / 1000, code };
}

/** The same, and not above the limit: the fastest of three tries counts, since a collection of garbage may fall into one. */
async function checked(
	reader: Reader,
	bytes: Uint8Array,
	limitMs: number,
): ReturnType<typeof outcomeOf> {
	let best = await outcomeOf(reader, bytes);
	for (let tries = 1; tries < 3 && best.ms > limitMs; tries++) {
		const again = await outcomeOf(reader, bytes);
		if (again.ms < best.ms) best = again;
	}
	assert(best.ms <= limitMs, `it took ${Math.round(best.ms)} ms`);
	return best;
}

/** The seeds and the corpus as they are, then so many mutated ones. Throws with the case where one fails. */
export async function fuzz(
	{ name, mutate, open }: Parser,
	{
		cases: runs,
		seed,
		limitMs = LONGEST,
	}: {
		readonly cases: number;
		readonly seed: number;
		readonly limitMs?: number;
	},
): Promise<Outcome> {
	const dir = mkdtempSync(join(tmpdir(), "keepsight-fuzz-"));
	const watchdog = watch(name);
	mkdirSync(kept, { recursive: true });
	const last = join(kept, `${name}.last`);
	const codes = new Map<string, number>();
	let [values, slowestMs] = [0, 0];
	try {
		const reader = await open(dir);
		const tell = async (bytes: Uint8Array, what: string) => {
			watchdog.beat();
			writeFileSync(last, bytes); // left where the process hangs or dies
			try {
				const { ms, code } = await checked(reader, bytes, limitMs);
				await setImmediate(); // what native code holds is freed between turns of the event loop
				slowestMs = Math.max(slowestMs, ms);
				if (code === null) values++;
				else codes.set(code, (codes.get(code) ?? 0) + 1);
				return code;
			} catch (error) {
				const file = join(kept, `${name}.failed`); // fast-check goes on to smaller ones: the last is the smallest
				writeFileSync(file, bytes);
				throw new Error(
					`${name}: ${what} (${file}): ${(error as Error).stack ?? String(error)}`,
				);
			}
		};
		for (const [i, bytes] of reader.seeds.entries()) {
			const code = await tell(bytes, `seed ${i}`);
			assert(code === null, `${name}: seed ${i} is refused: ${code}`);
		}
		const saved = corpusOf(name);
		for (const [file, bytes] of saved) await tell(bytes, `corpus ${file}`);
		const seeds = [
			...reader.seeds,
			...saved.flatMap(([, b]) => (b.length < 65_536 ? [b] : [])),
		];
		await fc.assert(
			fc.asyncProperty(cases, async (drawn) => {
				await tell(mutate(seeds, drawn), "a case fails");
			}),
			{ numRuns: runs, seed, endOnFailure: true },
		);
		await reader.close?.();
		rmSync(last);
		return {
			cases: reader.seeds.length + saved.length + runs,
			values,
			codes,
			slowestMs,
			peakBytes: peakBytes(),
		};
	} finally {
		await watchdog.stop();
		rmSync(dir, { recursive: true, force: true });
	}
}
