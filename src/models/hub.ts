/**
 * Downloads backbones from a model hub, and is the one door to the network. The hub's own client asks what a repository holds; the
 * bytes are fetched here, since the client neither resumes nor checks them (docs/decisions/0011-model-hub.md).
 *
 * A file grows as `.part`, goes on by HTTP range after a cut, and gets its name once its hash is the one that the hub lists. Nothing
 * is executed: of a repository only the four files named in cache.ts are ever asked for.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { fail, Interrupted, KeepsightError } from "../errors.ts";
import {
	type Guard,
	hashFile,
	lockFolder,
	PartFile,
	removeTemporaries,
	removeTree,
} from "../storage.ts";
import { version } from "../version.ts";
import { checkArchitecture } from "./backbone.ts";
import {
	type BackboneFile,
	backboneFiles,
	type CachedBackbone,
	damage,
	type Environment,
	findCached,
	type HubName,
	isCommit,
	isOffline,
	licenceOf,
	notCached,
	parseHubName,
	removeRecord,
	repoDir,
	userCache,
	writeRecord,
	writeRef,
} from "./cache.ts";

/** How a model is downloaded. */
export interface PullOptions {
	/** Bytes that have arrived, those of earlier tries included, of all that will. */
	readonly onProgress?: (done: number, total: number) => void;
	/** Is told before another process, which may be gone, is waited for. Without it nobody waits: the folder is in use. */
	readonly onWait?: (text: string) => void;
	/** Aborting rejects with `Interrupted`; what has arrived is kept. */
	readonly signal?: AbortSignal;
	/** Where HF_TOKEN and the like are looked up. */
	readonly env?: Environment;
	/** Milliseconds before the second try; twice as long before each further one. */
	readonly patienceMs?: number;
	/** A connection that brings nothing for so many milliseconds counts as cut. */
	readonly stallMs?: number;
}

export interface Pulled extends CachedBackbone {
	/** Whether it was in the cache already, whole and unharmed. */
	readonly alreadyThere: boolean;
}

const officialEndpoint = "https://huggingface.co";
/** Tries in a row that bring no new byte. */
const triesAtMost = 5;
/** What a mirror that asks for patience (Retry-After) is given at most, in milliseconds. */
const waitAtMost = 60_000;

/**
 * Brings hub:OWNER/NAME, or hub:OWNER/NAME@REVISION, into the cache; a folder that is there already is checked. Without revision: what "main"
 * is today. Errors are those of BACKBONE_ and HUB_, and CANNOT_WRITE, after which the same call goes on where it ended.
 */
export async function pullBackbone(
	name: string,
	options: PullOptions = {},
): Promise<Pulled> {
	const { env = process.env } = options;
	const wanted = parseHubName(name);
	const { repo, revision } = wanted;
	if (isOffline(env) || isCommit(revision)) {
		const kept = findCached({ name }, env);
		if (kept && damage(kept) === null) return { ...kept, alreadyThere: true };
		if (isOffline(env)) throw notCached({ name }, env);
	}
	const hub = new Hub(wanted, options, env);
	const about = await hub.about();
	const lock = lockFolder(repoDir(repo, env), { onWait: options.onWait });
	try {
		removeTemporaries(repoDir(repo, env), lock.check);
		const kept = findCached({ name: `hub:${repo}`, commit: about.commit }, env);
		const alreadyThere = kept !== null && damage(kept) === null;
		const found = alreadyThere ? kept : await hub.download(about, lock.check);
		lock.check();
		if (!isCommit(revision)) writeRef(wanted, about.commit, env);
		return { ...found, alreadyThere };
	} finally {
		lock.release();
	}
}

interface About {
	readonly commit: string;
	readonly licence: string | null;
}

interface RemoteFile {
	readonly name: BackboneFile;
	readonly bytes: number;
	/** Of a file in large-file storage its SHA-256, else git's hash of a blob. */
	readonly hash: { readonly kind: "sha256" | "git"; readonly hex: string };
}

/** A reply that did not come, or came in part: worth another try. */
class Broken extends Error {
	readonly retryAfterMs: number;
	constructor(problem: string, retryAfterMs = 0) {
		super(problem);
		this.retryAfterMs = retryAfterMs;
	}
}

const infoSchema = z.object({
	sha: z.string().refine(isCommit),
	cardData: z.unknown(),
	tags: z.array(z.string()).optional(),
});
const entrySchema = z.object({
	type: z.string(),
	path: z.string(),
	size: z.int().nonnegative(),
	oid: z.string(),
	lfs: z.object({ oid: z.string(), size: z.int().nonnegative() }).optional(),
});

/** One repository of a hub. */
class Hub {
	readonly #wanted: HubName;
	readonly #name: string;
	readonly #env: Environment;
	readonly #options: PullOptions;
	readonly #endpoint: string;
	readonly #token: string | null;

	constructor(wanted: HubName, options: PullOptions, env: Environment) {
		this.#wanted = wanted;
		this.#name = `hub:${wanted.repo}${wanted.revision === null ? "" : `@${wanted.revision}`}`;
		this.#env = env;
		this.#options = options;
		this.#endpoint = endpointOf(env);
		this.#token = tokenFor(this.#endpoint, env);
	}

	get #page(): string {
		return `${this.#endpoint}/${this.#wanted.repo}`;
	}

	/** Which commit the revision is now, and the licence. */
	async about(): Promise<About> {
		const { modelInfo } = await import("@huggingface/hub"); // 50 ms that other commands need not wait
		const reply = await this.#understood(
			modelInfo({
				name: this.#wanted.repo,
				revision: this.#wanted.revision ?? "main",
				hubUrl: this.#endpoint,
				fetch: this.#askWhole,
				additionalFields: ["sha", "cardData", "tags"],
			}),
		);
		const { data } = infoSchema.safeParse(reply);
		if (!data)
			throw this.#odd(this.#page, "its description of the model has no commit");
		const { revision } = this.#wanted;
		if (isCommit(revision) && data.sha !== revision)
			throw this.#odd(
				this.#page,
				`asked for ${revision}, it tells of ${data.sha}`,
			);
		const tag = data.tags?.find((t) => t.startsWith("license:"));
		return {
			commit: data.sha,
			licence:
				licenceOf(data.cardData) ?? (tag ? tag.slice("license:".length) : null),
		};
	}

	/**
	 * Fetches, checks and records all files of a commit. `check` throws if the folder's lock was lost; bytes that a late owner appends to a
	 * part are found by its hash.
	 */
	async download(about: About, check: Guard): Promise<CachedBackbone> {
		const { repo } = this.#wanted;
		const dir = join(repoDir(repo, this.#env), about.commit);
		const files = await this.#files(about.commit);
		removeRecord(dir);
		const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
		let before = 0;
		for (const file of files) {
			check();
			await this.#fetch(dir, about.commit, file, {
				check,
				onBytes: (bytes) => this.#options.onProgress?.(before + bytes, total),
			});
			before += file.bytes;
			if (file.name === "config.json") checkArchitecture(join(dir, file.name)); // before the weights are waited for
		}
		check();
		return writeRecord(dir, {
			name: `hub:${repo}`,
			commit: about.commit,
			source: this.#page,
			licence: about.licence,
		});
	}

	/** What of a backbone's files the commit holds, in the order of backboneFiles. */
	async #files(commit: string): Promise<RemoteFile[]> {
		const { listFiles } = await import("@huggingface/hub");
		const entries = listFiles({
			repo: this.#wanted.repo,
			revision: commit,
			hubUrl: this.#endpoint,
			fetch: this.#askWhole,
		});
		const found = new Map<string, unknown>();
		const collect = async () => {
			for await (const entry of entries) {
				if (typeof entry.path !== "string")
					throw new TypeError("a file without a name");
				found.set(entry.path, entry);
			}
		};
		await this.#understood(collect());
		const otherWeights = [...found.keys()].filter((path) =>
			/\.(bin|pth?|ckpt|pkl|h5|msgpack)$|^model-.*\.safetensors$/.test(path),
		);
		if (!found.has("model.safetensors"))
			throw fail("HUB_NO_SAFETENSORS", {
				name: this.#name,
				found: otherWeights,
			});
		if (!found.has("config.json"))
			throw fail("BACKBONE_INCOMPLETE", {
				dir: this.#name,
				file: "config.json",
			});
		return backboneFiles
			.filter((name) => found.has(name))
			.map((name) => {
				const { data } = entrySchema.safeParse(found.get(name));
				if (
					!data ||
					data.type !== "file" ||
					!(data.lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(
						(data.lfs ?? data).oid,
					)
				)
					throw this.#odd(
						this.#page,
						`its list of files has no hash of ${name}`,
					);
				const { oid, size } = data.lfs ?? data;
				return {
					name,
					bytes: size,
					hash: { kind: data.lfs ? "sha256" : "git", hex: oid },
				};
			});
	}

	/** One file, to its own name. What is there already and right stays. */
	async #fetch(
		dir: string,
		commit: string,
		file: RemoteFile,
		{ check, onBytes }: { readonly check: Guard; onBytes(bytes: number): void },
	): Promise<void> {
		const path = join(dir, file.name);
		const url = `${this.#page}/resolve/${commit}/${file.name}`;
		if (existsSync(path)) {
			if (
				statSync(path).size === file.bytes &&
				hashOf(path, file) === file.hash.hex
			)
				return onBytes(file.bytes);
			removeTree(path);
		}
		const part = new PartFile(path);
		try {
			if (part.bytes > file.bytes) part.restart();
			await this.#persist(
				url,
				() => this.#transfer(url, file, part, onBytes),
				() => part.bytes,
			);
			const found = hashOf(part.part, file);
			check();
			if (found !== file.hash.hex) {
				part.restart();
				throw fail("HUB_CHECKSUM", {
					url,
					wanted: `the ${file.hash.kind === "git" ? "git hash" : "SHA-256"} ${file.hash.hex}`,
					found,
				});
			}
			part.finish();
		} finally {
			part.close();
		}
	}

	/** Appends what is missing of a file, from its end so far to the whole. */
	async #transfer(
		url: string,
		file: RemoteFile,
		part: PartFile,
		onBytes: (bytes: number) => void,
	): Promise<void> {
		onBytes(part.bytes);
		if (part.bytes === file.bytes) return;
		const from = part.bytes;
		const watch = this.#watch();
		try {
			const reply = await this.#ask(url, watch.signal, {
				"accept-encoding": "identity", // ranges count bytes as they are stored
				...(from > 0 && { range: `bytes=${from}-` }),
			});
			const start = reply.headers.get("content-range") ?? "";
			const goesOn = reply.status === 206 && start.startsWith(`bytes ${from}-`);
			if (from > 0 && !goesOn) {
				part.restart();
				if (reply.status !== 200)
					throw new Broken(`it sent "${start}" when asked for bytes ${from}-`);
			}
			const reader = reply.body?.getReader();
			for (;;) {
				const { done, value } = await arriving(reader?.read());
				if (done) break;
				watch.touch();
				if (part.bytes + value.byteLength > file.bytes) {
					part.restart();
					throw fail("HUB_CHECKSUM", {
						url,
						wanted: `a size of ${file.bytes} bytes`,
						found: "more",
					});
				}
				part.append(value);
				onBytes(part.bytes);
			}
			if (part.bytes < file.bytes)
				throw new Broken(
					`the transfer ended after ${part.bytes} of ${file.bytes} bytes`,
				);
		} finally {
			watch.stop();
		}
	}

	/** `fetch` for the hub's client: a reply is there as a whole and is JSON, or it is an error of ours. */
	readonly #askWhole = async (
		input: string | URL | Request,
		init?: RequestInit,
	): Promise<Response> => {
		const url = input instanceof Request ? input.url : String(input);
		return this.#persist(url, async () => {
			const watch = this.#watch();
			try {
				const reply = await this.#ask(
					url,
					watch.signal,
					Object.fromEntries(new Headers(init?.headers)),
				);
				const text = await arriving(reply.text());
				try {
					JSON.parse(text);
				} catch {
					throw this.#odd(url, "its answer is not JSON");
				}
				return new Response(text, {
					status: reply.status,
					headers: reply.headers,
				});
			} finally {
				watch.stop();
			}
		});
	};

	/** A successful reply, or 416; `Broken` where another try may help; the error to tell where none will. The token goes to the endpoint alone. */
	async #ask(
		url: string,
		signal: AbortSignal,
		headers: Record<string, string>,
	): Promise<Response> {
		const own =
			URL.canParse(url) &&
			new URL(url).origin === new URL(this.#endpoint).origin;
		const reply = await arriving(
			fetch(url, {
				signal,
				headers: {
					...headers,
					"user-agent": `keepsight/${version}`,
					...(this.#token !== null &&
						own && { authorization: `Bearer ${this.#token}` }),
				},
			}),
		);
		if (reply.ok || reply.status === 416) return reply;
		await reply.body?.cancel();
		const { status } = reply;
		if (status >= 500 || status === 429 || status === 408)
			throw new Broken(
				`it answered ${status}`,
				Math.min(
					waitAtMost,
					1000 * (Number(reply.headers.get("retry-after")) || 0),
				),
			);
		throw this.#refusal(url, status, reply.headers.get("x-error-code"));
	}

	/** The hub tells by x-error-code what a status alone does not: it answers 401 for an unknown model, too. */
	#refusal(url: string, status: number, code: string | null): Error {
		const { repo, revision } = this.#wanted;
		const token = this.#token !== null;
		const gated = code === "GatedRepo";
		const missing =
			status === 404 || code === "RepoNotFound" || (status === 401 && !token);
		if (missing && !gated)
			return fail("HUB_NOT_FOUND", {
				name: this.#name,
				endpoint: this.#endpoint,
				what:
					code === "RevisionNotFound"
						? `revision ${revision ?? "main"}`
						: code === "EntryNotFound"
							? url.slice(url.lastIndexOf("/") + 1)
							: `model ${repo}`,
				token,
			});
		return status === 401 || status === 403
			? fail("HUB_DENIED", {
					name: this.#name,
					page: this.#page,
					status,
					gated,
					token,
				})
			: this.#odd(url, `it answered ${status}`);
	}

	/** JSON of another structure than a hub's makes its client stumble. */
	async #understood<T>(answer: Promise<T>): Promise<T> {
		try {
			return await answer;
		} catch (error) {
			throw error instanceof TypeError
				? this.#odd(this.#page, "its answer has another structure")
				: error;
		}
	}

	#odd(url: string, problem: string): KeepsightError {
		return fail("HUB_REPLY", { url, problem });
	}

	/** Tries again after what may pass; the count starts anew whenever `progress` has grown. */
	async #persist<T>(
		url: string,
		action: () => Promise<T>,
		progress: () => number = () => 0,
	): Promise<T> {
		const { signal, patienceMs = 500 } = this.#options;
		let reached = progress();
		for (let tries = 1; ; tries++) {
			try {
				if (signal?.aborted) throw new Interrupted();
				return await action();
			} catch (error) {
				if (!(error instanceof Broken)) throw error;
				if (signal?.aborted) throw new Interrupted();
				if (progress() > reached) tries = 1;
				reached = Math.max(reached, progress());
				if (tries >= triesAtMost)
					throw fail("HUB_UNREACHABLE", {
						url,
						problem: `${error.message} (${tries} tries)`,
						kept: reached,
					});
				await sleep(
					Math.max(error.retryAfterMs, patienceMs * 2 ** (tries - 1)),
					undefined,
					{ ...(signal && { signal }) },
				).catch(() => undefined); // aborted: seen above
			}
		}
	}

	/** A signal that aborts with the caller's, or when nothing has arrived for too long. */
	#watch() {
		const { signal, stallMs = 30_000 } = this.#options;
		const controller = new AbortController();
		const timer = setTimeout(
			() => controller.abort(new Error(`nothing came for ${stallMs / 1000} s`)),
			stallMs,
		);
		return {
			signal: signal
				? AbortSignal.any([signal, controller.signal])
				: controller.signal,
			touch: () => void timer.refresh(),
			/** Also ends a connection that is still open: nobody reads on. */
			stop: () => {
				clearTimeout(timer);
				controller.abort();
			},
		};
	}
}

/** What the network promised; where it breaks that, `Broken` with the reason in the system's words. */
async function arriving<T>(promise: Promise<T> | undefined): Promise<T> {
	try {
		if (promise === undefined) throw new Error("the reply is empty");
		return await promise;
	} catch (error) {
		const { message, cause } = error as Error;
		const why = cause instanceof Error ? cause : null;
		const code = why && "code" in why ? ` (${String(why.code)})` : "";
		throw new Broken(why ? `${why.message || message}${code}` : message);
	}
}

const hashOf = (path: string, { bytes, hash }: RemoteFile): string =>
	hash.kind === "sha256"
		? hashFile(path)
		: hashFile(path, "sha1", `blob ${bytes}\0`);

function endpointOf({ HF_ENDPOINT }: Environment): string {
	const endpoint = (HF_ENDPOINT || officialEndpoint).replace(/\/+$/, "");
	const wrong = (problem: string) =>
		fail("HUB_SETTING", { variable: "HF_ENDPOINT", problem });
	if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint))
		throw wrong("it must be an address that begins with https:// or http://");
	const { username, password } = new URL(endpoint);
	if (username || password)
		throw wrong("it must not hold a password; give a token by HF_TOKEN");
	return endpoint;
}

/**
 * HF_TOKEN, or what `hf auth login` stored, as the hub's Python library finds it. The stored one goes to the official hub alone: who sets
 * another HF_ENDPOINT says with HF_TOKEN that it may have a token.
 */
function tokenFor(endpoint: string, env: Environment): string | null {
	const home = env.HF_HOME || join(userCache(env), "huggingface");
	const path = env.HF_TOKEN_PATH || join(home, "token");
	const stored =
		endpoint === officialEndpoint && existsSync(path)
			? readFileSync(path, "utf8")
			: "";
	const token = env.HF_TOKEN?.trim() || stored.trim();
	if (!/^[\x21-\x7e]*$/.test(token))
		throw fail("HUB_SETTING", {
			variable: env.HF_TOKEN?.trim() ? "HF_TOKEN" : path,
			problem: "a token is one word of plain letters, digits and signs",
		});
	return token || null;
}
