/**
 * A model hub on loopback: what the real client and our transfers ask of one, and what may go wrong on the way. Models are laid out as
 * the hub does: a description of each revision, a tree with hashes, small files answered in place, large ones by a redirect to a
 * store at another origin.
 */
import { createHash } from "node:crypto";
import {
	createServer,
	type IncomingMessage,
	type Server,
	type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";

export interface Model {
	/** 40 hex. */
	commit: string;
	files: Record<string, Uint8Array>;
	/** Revisions beside main and the commit itself. */
	revisions?: Record<string, string>;
	cardData?: unknown;
	tags?: string[];
	/** Files are given only to this token. */
	token?: string;
	/** Even its description is: a private model. */
	private?: true;
}

export interface Asked {
	/** "hub" or "store". */
	readonly at: string;
	readonly path: string;
	readonly range: string | undefined;
	readonly authorization: string | undefined;
}

/** Answers instead of the server; returns false to let it go on. */
type Fault = (
	asked: Asked,
	request: IncomingMessage,
	response: ServerResponse,
) => boolean;

export const hex = (bytes: Uint8Array | string, algorithm = "sha256") =>
	createHash(algorithm).update(bytes).digest("hex");
const gitHash = (bytes: Uint8Array) =>
	createHash("sha1")
		.update(`blob ${bytes.length}\0`)
		.update(bytes)
		.digest("hex");
const isLarge = (name: string) => /\.(safetensors|bin)$/.test(name);

export class FakeHub {
	readonly models = new Map<string, Model>();
	readonly log: Asked[] = [];
	/** Entries a page of the tree. */
	pageSize = 50;
	/** Asked before every answer, in this order; all of them until one takes it. */
	faults: Fault[] = [];
	#hub: Server;
	#store: Server;

	private constructor() {
		const serve =
			(
				at: string,
				answer: (path: string, q: IncomingMessage, r: ServerResponse) => void,
			) =>
			(request: IncomingMessage, response: ServerResponse) => {
				const path = decodeURIComponent(request.url ?? "");
				const { range, authorization } = request.headers;
				const asked = { at, path, range, authorization };
				this.log.push(asked);
				if (this.faults.some((fault) => fault(asked, request, response)))
					return;
				answer(request.url ?? "", request, response);
			};
		this.#hub = createServer(serve("hub", (...args) => this.#answer(...args)));
		this.#store = createServer(
			serve("store", (path, request, response) => {
				for (const { files } of this.models.values())
					for (const bytes of Object.values(files))
						if (path === `/${hex(bytes)}`)
							return send(request, response, bytes);
				response.writeHead(404).end();
			}),
		);
	}

	static async start(): Promise<FakeHub> {
		const hub = new FakeHub();
		for (const server of [hub.#hub, hub.#store])
			await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
		return hub;
	}

	get url(): string {
		return `http://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
	}
	/** What was asked for by paths that match. */
	asked(pattern: RegExp): Asked[] {
		return this.log.filter(({ path }) => pattern.test(path));
	}
	async stop(): Promise<void> {
		for (const server of [this.#hub, this.#store]) {
			server.closeAllConnections();
			await new Promise((done) => server.close(done)); // closed already: done at once
		}
	}

	#answer(path: string, request: IncomingMessage, response: ServerResponse) {
		const refuse = (status: number, code: string) =>
			response
				.writeHead(status, {
					"x-error-code": code,
					"content-type": "application/json",
				})
				.end(JSON.stringify({ error: code }));
		const [, api, repo = "", what, revision = "", rest = ""] =
			/^(\/api\/models)?\/([^/]+\/[^/]+)\/(revision|tree|resolve)\/([^?/]+)\/?([^?]*)/.exec(
				path,
			) ?? [];
		const model = this.models.get(repo);
		const bearer = request.headers.authorization?.replace("Bearer ", "");
		if (!model || (model.private && bearer !== model.token))
			return refuse(bearer ? 404 : 401, "RepoNotFound");
		const { commit, revisions = {}, files } = model;
		const commits = [commit, ...Object.values(revisions)].map((c) => [c, c]);
		const known: Record<string, string> = {
			main: commit,
			...Object.fromEntries(commits),
			...revisions,
		};
		const at = known[decodeURIComponent(revision)];
		if (at === undefined) return refuse(404, "RevisionNotFound");
		const json = (value: unknown, headers: Record<string, string> = {}) =>
			response
				.writeHead(200, { "content-type": "application/json", ...headers })
				.end(JSON.stringify(value));
		if (api && what === "revision")
			return json({
				_id: "0",
				id: repo,
				sha: at,
				private: false,
				gated: model.token ? "manual" : false,
				downloads: 1,
				likes: 1,
				lastModified: "2026-01-01T00:00:00.000Z",
				cardData: model.cardData,
				tags: model.tags ?? [],
			});
		if (api) {
			const page = Number(/cursor=(\d+)/.exec(path)?.[1] ?? 0);
			const entries = Object.entries(files).map(([name, bytes]) => ({
				type: "file",
				path: name,
				size: bytes.length,
				oid: gitHash(bytes),
				...(isLarge(name) && {
					lfs: { oid: hex(bytes), size: bytes.length, pointerSize: 134 },
				}),
			}));
			const end = (page + 1) * this.pageSize;
			return json(
				entries.slice(page * this.pageSize, end),
				end < entries.length
					? {
							link: `<${this.url}${path.replace(/&cursor=.*/, "")}&cursor=${page + 1}>; rel="next"`,
						}
					: {},
			);
		}
		if (model.token && bearer !== model.token)
			return refuse(bearer ? 403 : 401, "GatedRepo");
		const bytes = files[rest];
		if (!bytes) return refuse(404, "EntryNotFound");
		if (!isLarge(rest)) return send(request, response, bytes);
		const { port } = this.#store.address() as AddressInfo;
		return response
			.writeHead(302, {
				location: `http://127.0.0.1:${port}/${hex(bytes)}`,
				"x-linked-size": String(bytes.length),
				"x-linked-etag": `"${hex(bytes)}"`,
				"x-repo-commit": at,
			})
			.end();
	}
}

/** The bytes, or the range asked for. */
export function send(
	request: IncomingMessage,
	response: ServerResponse,
	bytes: Uint8Array,
): void {
	const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1]);
	if (Number.isNaN(from))
		response.writeHead(200, { "content-length": bytes.length }).end(bytes);
	else if (from >= bytes.length) response.writeHead(416).end();
	else
		response
			.writeHead(206, {
				"content-length": bytes.length - from,
				"content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
			})
			.end(bytes.subarray(from));
}
