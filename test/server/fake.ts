/** The server in this process, with scorers that need no network: what they answer, and when, is the test's. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { encodePng } from "../../src/data/image.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { fail } from "../../src/errors.ts";
import type { Verdict } from "../../src/events.ts";
import type { RunConfig } from "../../src/config.ts";
import type {
	Answered,
	RunningScorer,
	ScorerJob,
	Sent,
} from "../../src/scorer.ts";
import { serve, type ServeOptions } from "../../src/server/serve.ts";

export const products = ["mvtec/cap", "line 2/ring"];

/** A folder that looks like a run of some version, to a server that never reads what is in it. */
export function fakeMemory(version = 1): string {
	const dir = mkdtempSync(join(tmpdir(), "keepsight-server-"));
	onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
	mkdirSync(join(dir, "memory"));
	writeFileSync(
		join(dir, "run.json"),
		JSON.stringify({
			format: 1,
			config: { threads: 1 },
			seed: 0,
			versions: {},
			order: products,
			tasks: products.map((id) => ({ id, state: "learnt", seconds: 1 })),
		}),
	);
	setVersion(dir, version);
	return dir;
}

export function setVersion(
	dir: string,
	version: number,
	known: readonly string[] = products,
): void {
	const manifest = (n: number) =>
		JSON.stringify({
			format: 1,
			version: n,
			files: {},
			change: `change ${n}`,
			tasks: known.map((id) => ({ id })),
		});
	mkdirSync(join(dir, "memory/@versions"), { recursive: true });
	for (let n = 1; n < version; n++)
		writeFileSync(
			join(dir, `memory/@versions/${String(n).padStart(8, "0")}.json`),
			manifest(n),
		);
	writeFileSync(join(dir, "memory/manifest.json"), manifest(version));
}

export interface FakeScorer extends RunningScorer {
	/** Ends it as a crash does. */
	crash(): void;
}

export interface Fake {
	/** One after the other. */
	readonly scorers: FakeScorer[];
	/** Groups of pictures that were asked about. */
	readonly groups: (readonly Sent[])[];
	answer(sent: Sent, version: number): Answered | Promise<Answered>;
}

export function answered(
	version: number,
	{
		score = 0.5,
		verdict = "good" as Verdict,
		task = products[0] as string | null,
	} = {},
): Answered {
	return {
		prediction: {
			path: "0",
			score,
			threshold: 2,
			verdict,
			anomalous: score >= 2,
			task,
			memoryVersion: version,
			latencyMs: 1,
			reason: null,
		},
		overlay: null,
	};
}

export const fake = (
	answer: Fake["answer"] = (_, version) => answered(version),
): Fake => ({ scorers: [], groups: [], answer });

export function startFake(fake: Fake) {
	return async ({ version }: Required<ScorerJob>): Promise<RunningScorer> => {
		const asked = new Set<(error: Error) => void>();
		let crash = () => {};
		const lost = new Promise<Error>((resolve) => {
			crash = () => {
				resolve(new Error("crashed"));
				for (const refuse of asked)
					refuse(fail("SCORER_LOST", { how: "it crashed" }));
			};
		});
		const scorer: FakeScorer = {
			pid: 0,
			lost,
			crash,
			close: () => {},
			ready: {
				version,
				together: 4,
				products: products.map((id) => ({
					id,
					task: id,
					images: 12,
					bytes: 1000,
					threshold: 2,
					thresholdSet: false,
					memories: [{ name: "patches", bytes: 900 }],
					goodScores: [0.1, 0.3, 0.5],
				})),
			},
			score: (sent) => {
				fake.groups.push(sent);
				return new Promise((resolve, reject) => {
					asked.add(reject);
					void Promise.all(
						sent.map(async (one) => fake.answer(one, version)),
					).then(resolve, reject);
				});
			},
		};
		fake.scorers.push(scorer);
		return scorer;
	};
}

export async function served(
	fake: Fake,
	changes: Partial<ServeOptions> = {},
): Promise<{
	readonly url: string;
	readonly logged: string[];
	close(): Promise<void>;
}> {
	const logged: string[] = [];
	const serving = await serve({
		memDir: changes.memDir ?? fakeMemory(),
		replica: null,
		state: null,
		config: {} as RunConfig,
		host: "127.0.0.1",
		port: 0,
		token: null,
		hosts: [],
		rate: 100_000,
		connections: 1024,
		receiveMs: 30_000,
		graceMs: 2000,
		limits: { workers: 1, queue: 64, timeoutMs: 20_000 },
		history: { days: 90, bytes: 1e9, images: false },
		runs: null,
		webDir: null,
		start: startFake(fake),
		teach: () => Promise.reject(new Error("nothing is taught here")),
		log: (text) => logged.push(text),
		...changes,
	});
	let closed: Promise<void> | null = null;
	const close = () => {
		closed ??= serving.close();
		return closed;
	};
	onTestFinished(close);
	return { url: serving.url, logged, close };
}

/** Resolved when the test says so. */
export function gate<T>() {
	let resolve: (value: T) => void = () => {};
	const promise = new Promise<T>((tell) => {
		resolve = tell;
	});
	return { promise, resolve };
}

/** A picture of one grey level in PNG. */
export const grey = (level: number, side = 8): Promise<Uint8Array> =>
	encodePng(uint8([side, side], new Uint8Array(side * side).fill(level)));

export const post = (
	url: string,
	body: Uint8Array | string | FormData,
	headers: Record<string, string> = { "content-type": "image/png" },
) =>
	fetch(url, {
		method: "POST",
		body: body as NonNullable<RequestInit["body"]>,
		headers: body instanceof FormData ? {} : headers,
	});

export const get = async <T>(url: string): Promise<T> =>
	(await (await fetch(url)).json()) as T;

/** JSON there and back. */
export const send = async <T>(
	url: string,
	body: object,
	method = "POST",
): Promise<T> =>
	(await (
		await fetch(url, {
			method,
			body: JSON.stringify(body),
			headers: { "content-type": "application/json" },
		})
	).json()) as T;
