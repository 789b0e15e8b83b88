/** Calls of the server: the token goes along, a problem document becomes an error. */
import { shut, token } from "./session.ts";
import { text } from "./text.ts";

type Method = "GET" | "POST" | "PUT" | "DELETE";

/** What the server said was wrong (RFC 9457). */
export class Problem extends Error {
	readonly title: string;
	/** HTTP's; 0: there was no answer. */
	readonly status: number;
	/** Seconds after which to try again, if it said so. */
	readonly retryAfter: number | null;
	constructor(
		status: number,
		title: string,
		detail: string,
		retryAfter: number | null = null,
	) {
		super(detail);
		this.status = status;
		this.title = title;
		this.retryAfter = retryAfter;
	}
}

export const problemOf = (error: unknown): Problem =>
	error instanceof Problem
		? error
		: new Problem(0, text.problem.ours, String(error));

interface Sent {
	readonly body?: BodyInit;
	readonly headers?: Readonly<Record<string, string>>;
	readonly signal?: AbortSignal;
}

/** Tries of one call, where the server asks to wait. */
const tries = 20;

/**
 * The answer, of whatever kind; throws a Problem, or what fetch throws where the signal ended it. A busy server is asked again when it
 * says so, if being asked twice does no harm.
 */
export async function request(
	method: Method,
	path: string,
	sent: Sent = {},
): Promise<Response> {
	for (let left = tries; ; left--) {
		try {
			return await once(method, path, sent);
		} catch (error) {
			const wait = error instanceof Problem ? error.retryAfter : null;
			if (wait === null || left <= 1 || method === "POST") throw error;
			await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
			sent.signal?.throwIfAborted();
		}
	}
}

async function once(
	method: Method,
	path: string,
	{ body, headers = {}, signal }: Sent,
): Promise<Response> {
	const used = token();
	const response = await fetch(path, {
		method,
		headers: used ? { ...headers, authorization: `Bearer ${used}` } : headers,
		cache: "no-store",
		...(body !== undefined && { body }),
		...(signal && { signal }),
	}).catch((error: unknown) => {
		if (signal?.aborted) throw error;
		throw new Problem(0, text.problem.unreachable, String(error));
	});
	if (response.ok) return response;
	if (response.status === 401) shut(used);
	throw await readProblem(response);
}

async function readProblem(response: Response): Promise<Problem> {
	const said = (await response.json().catch(() => ({}))) as {
		readonly title?: unknown;
		readonly detail?: unknown;
	};
	const wait = Number(response.headers.get("retry-after") ?? Number.NaN);
	return new Problem(
		response.status,
		typeof said.title === "string" ? said.title : text.problem.ours,
		typeof said.detail === "string"
			? said.detail
			: text.problem.status(response.status),
		Number.isFinite(wait) ? wait : null,
	);
}

/** The type is the caller's claim; src/server/api.ts is what the server keeps to. */
async function json<T>(response: Promise<Response>): Promise<T> {
	const body: unknown = await (await response).json();
	return body as T;
}

export const get = <T>(path: string, signal?: AbortSignal): Promise<T> =>
	json<T>(request("GET", path, signal ? { signal } : {}));

export const send = <T>(
	method: Method,
	path: string,
	body?: unknown,
): Promise<T> =>
	json<T>(
		request(
			method,
			path,
			body === undefined
				? {}
				: {
						body: JSON.stringify(body),
						headers: { "content-type": "application/json" },
					},
		),
	);

export const getPicture = async (
	path: string,
	signal: AbortSignal,
): Promise<Blob> => (await request("GET", path, { signal })).blob();

/** `{ a: 1, b: undefined }` -> "?a=1" */
export function query(
	values: Readonly<Record<string, string | number | undefined>>,
): string {
	const given = Object.entries(values).filter(
		([, value]) => value !== undefined && value !== "",
	);
	return given.length === 0
		? ""
		: `?${new URLSearchParams(given.map(([key, value]) => [key, String(value)]))}`;
}

export const taskPath = (name: string): string =>
	`/v1/tasks/${encodeURIComponent(name)}`;
