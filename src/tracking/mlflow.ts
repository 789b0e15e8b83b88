/**
 * Tells an MLflow server what log.jsonl says, over its REST API (mlflow.org/docs/latest/api_reference/rest-api.html), from a process that
 * does not compute. The log is the queue: `mlflow.json` beside it says how far the server has been told, so what could not be sent waits on
 * the disk for the next process. Nothing here throws: a server that is away or odd costs a run nothing.
 *
 * All that is sent may be sent again after an answer that was lost: the run is found by a tag, metrics are equal to the millisecond.
 */
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { type RunConfig, snake } from "../config.ts";
import { logFile, shippedFile } from "../run.ts";
import { isObject, sha256, stableJson, writeAtomic } from "../storage.ts";
import { version } from "../version.ts";
import { type Line, type LineOf, parseLine, scalarsOf } from "./lines.ts";

/** What one request may hold (mlflow/utils/validation.py), and what a parameter's value could be 500 letters long of in servers before 2.8. */
const limits = { metrics: 1000, params: 100, name: 250, value: 500 } as const;
/** Letters of an answer, at most. */
const LARGEST_ANSWER = 1_000_000;

interface Timing {
	/** Between two looks at the log. */
	readonly everyMs: number;
	/** After the first failure; twice as long after each further one, up to `longestMs`. */
	readonly backoffMs: number;
	readonly longestMs: number;
	/** For an answer. */
	readonly timeoutMs: number;
}
const usual: Timing = {
	everyMs: 1000,
	backoffMs: 1000,
	longestMs: 60_000,
	timeoutMs: 10_000,
};

export interface ShipperOptions {
	/** Of the server, without a slash at its end. */
	readonly url: string;
	readonly experiment: string;
	/** What the run is called there. */
	readonly name: string;
	readonly params: Readonly<Record<string, string>>;
	/** The run folder. */
	readonly dir: string;
	/** Where credentials are looked up, as MLflow's own client does. */
	readonly env?: NodeJS.ProcessEnv;
	readonly timing?: Partial<Timing>;
}

/** Lines that the server has not been told, and why. */
export interface Unsent {
	readonly lines: number;
	readonly problem: string;
}

/** The shipper of a run; null where its configuration names no server. */
export function shipperOf(config: RunConfig, dir: string): Shipper | null {
	const { tracking, ...rest } = config;
	if (tracking.mlflow === null) return null;
	return new Shipper({
		url: tracking.mlflow,
		experiment: tracking.experiment ?? config.name,
		name: config.name,
		params: paramsOf(rest),
		dir,
	});
}

/** No answer, or one that another try may better. */
class Broken extends Error {}

/** An answer that stays the same however often one asks. */
class Refused extends Error {
	/** MLflow's name of the error. */
	readonly code: string;
	constructor(problem: string, code = "") {
		super(problem);
		this.code = code;
	}
}

const stateSchema = z.object({
	format: z.literal(1),
	/** What was told to whom: another address, or another run in the folder, begins anew. */
	url: z.string(),
	run: z.uuid(),
	/** The run's id there. */
	id: z.string().min(1),
	/** Bytes of log.jsonl that were told. */
	offset: z.int().nonnegative(),
});
type State = z.output<typeof stateSchema>;

/** A line of the log and where it ends. */
interface Logged {
	readonly read: () => Line | null;
	readonly end: number;
}

const statusOf = {
	finished: "FINISHED",
	interrupted: "KILLED",
	failed: "FAILED",
} as const;

export class Shipper {
	readonly #options: ShipperOptions;
	readonly #timing: Timing;
	readonly #authorization: string | null = null;
	readonly #end = new AbortController();
	#sending: Promise<void> | null = null;
	/** Bytes of the log when all of it was told. */
	#size = -1;
	/** By the clock of performance.now(). */
	#notBefore = 0;
	#backoff: number;
	#problem: string | null = null;
	/** Whether another try is of no use. */
	#refused = false;

	constructor(options: ShipperOptions) {
		this.#options = options;
		this.#timing = { ...usual, ...options.timing };
		this.#backoff = this.#timing.backoffMs;
		try {
			this.#authorization = authorizationOf(options.env ?? process.env);
		} catch (error) {
			this.#fails(error);
		}
	}

	/** Looks at the log and sends what is new, unless it did so just now or waits for a server to come back. Returns at once. */
	poke(): void {
		if (this.#sending || this.#refused || performance.now() < this.#notBefore)
			return;
		this.#sending = this.#attempt(false).finally(() => {
			this.#sending = null;
		});
	}

	/** For when the run's process has ended: tries for so long to send the rest. null: all is sent. */
	async close(patienceMs: number): Promise<Unsent | null> {
		const late = () => this.#end.abort(new Error("no answer came in time"));
		const timer = setTimeout(late, patienceMs);
		const { signal } = this.#end;
		try {
			await this.#sending;
			while (!this.#refused) {
				const before = this.#problem;
				await this.#attempt(true);
				if (this.#problem === null || this.#refused) break;
				if (signal.aborted)
					this.#problem = before ?? this.#problem; // says more than that time is up
				else
					await sleep(this.#notBefore - performance.now(), undefined, {
						signal,
					}).catch(() => undefined);
				if (signal.aborted) break;
			}
		} finally {
			clearTimeout(timer);
		}
		return this.#problem === null
			? null
			: { lines: await this.#waiting(), problem: this.#problem };
	}

	async #attempt(ended: boolean): Promise<void> {
		try {
			await this.#send(ended);
			this.#problem = null;
			this.#backoff = this.#timing.backoffMs;
			this.#notBefore = performance.now() + this.#timing.everyMs;
		} catch (error) {
			this.#fails(error);
		}
	}

	#fails(error: unknown): void {
		this.#refused = error instanceof Refused;
		this.#problem = String((error as Error)?.message ?? error);
		this.#notBefore = performance.now() + this.#backoff;
		this.#backoff = Math.min(2 * this.#backoff, this.#timing.longestMs);
	}

	/** `ended`: no process writes the log any more. */
	async #send(ended: boolean): Promise<void> {
		const { size, all, start } = await this.#log();
		if (!start || (size === this.#size && !ended)) return;
		let state = (await this.#stored(start, all)) ?? (await this.#open(start));
		const told = (offset: number) => {
			state = { ...state, offset };
			writeAtomic(shippedFile(this.#options.dir), stableJson(state));
		};
		let metrics: object[] = [];
		let end = state.offset;
		const flush = async () => {
			if (end === state.offset) return;
			for (const part of inParts(metrics, limits.metrics))
				await this.#ask("runs/log-batch", { run_id: state.id, metrics: part });
			metrics = [];
			told(end);
		};
		for (const { read, end: after } of all) {
			if (after <= state.offset) continue;
			const line = read();
			const change = line && changeOf(line);
			if (change) {
				await flush();
				await this.#ask("runs/update", { run_id: state.id, ...change });
			} else if (line) metrics.push(...metricsOf(line));
			end = after;
			if (change || metrics.length >= limits.metrics) await flush();
		}
		await flush();
		this.#size = size;
		if (ended && isCutOff(all))
			await this.#ask("runs/update", {
				run_id: state.id,
				status: statusOf.failed, // killed
				end_time: Date.now(),
			});
	}

	/** Its whole lines, and the one that names the run. */
	async #log(): Promise<{
		readonly size: number;
		readonly all: readonly Logged[];
		readonly start: LineOf<"start"> | null;
	}> {
		const bytes = await readFile(logFile(this.#options.dir)).catch(
			(error: NodeJS.ErrnoException) => {
				if (error.code === "ENOENT") return Buffer.alloc(0);
				throw error;
			},
		);
		const all: Logged[] = [];
		for (
			let from = 0, to = bytes.indexOf(10);
			to >= 0;
			from = to + 1, to = bytes.indexOf(10, from)
		)
			all.push({
				read: () => parseLine(bytes.toString("utf8", from, to)),
				end: to + 1,
			});
		for (const { read } of all) {
			const line = read();
			if (line?.type === "start")
				return { size: bytes.length, all, start: line };
		}
		return { size: bytes.length, all, start: null };
	}

	/** What mlflow.json says, where it speaks of this run and this server; a damaged one is none. */
	async #stored(
		{ run }: LineOf<"start">,
		all: readonly Logged[],
	): Promise<State | null> {
		const { url, dir } = this.#options;
		const text = await readFile(shippedFile(dir), "utf8").catch(() => "");
		const { data } = stateSchema.safeParse(jsonOf(text));
		const fits =
			data?.run === run &&
			data.url === url &&
			data.offset <= (all.at(-1)?.end ?? 0);
		return fits ? data : null;
	}

	/** Finds the run there, or creates it. */
	async #open(start: LineOf<"start">): Promise<State> {
		const { url, name, params } = this.#options;
		const experiment = await this.#experiment();
		const found = await this.#ask("runs/search", {
			experiment_ids: [experiment],
			filter: `tags.\`keepsight.run\` = '${start.run}'`,
			max_results: 1,
		});
		const known = understood(foundSchema, found).runs?.[0]?.info.run_id;
		const id = known ?? (await this.#create(experiment, name, start));
		for (const part of inParts(Object.entries(params), limits.params))
			await this.#ask("runs/log-batch", {
				run_id: id,
				params: part.map(([key, value]) => ({ key, value })),
			}).catch((error) => {
				if (!known || !(error instanceof Refused)) throw error; // a parameter never changes there
			});
		return { format: 1, url, run: start.run, id, offset: 0 };
	}

	async #create(
		experiment: string,
		name: string,
		{ run, seed, order, config, versions, time }: LineOf<"start">,
	): Promise<string> {
		const tags = {
			"keepsight.run": run,
			"keepsight.config": config,
			"keepsight.seed": String(seed),
			"keepsight.order": cut(JSON.stringify(order)),
			...Object.fromEntries(
				Object.entries(versions).map(([what, which]) => [
					`version.${what}`,
					which,
				]),
			),
			"mlflow.source.name": "keepsight",
		};
		const created = await this.#ask("runs/create", {
			experiment_id: experiment,
			run_name: name,
			start_time: Date.parse(time),
			tags: Object.entries(tags).map(([key, value]) => ({ key, value })),
		});
		return understood(createdSchema, created).run.info.run_id;
	}

	/** Its id; made where there is none. */
	async #experiment(): Promise<string> {
		const { experiment: name } = this.#options;
		const find = async () => {
			const query = new URLSearchParams({ experiment_name: name });
			const found = await this.#ask(`experiments/get-by-name?${query}`);
			return understood(experimentSchema, found).experiment.experiment_id;
		};
		try {
			return await find();
		} catch (error) {
			if (!isCalled(error, "RESOURCE_DOES_NOT_EXIST")) throw error;
		}
		try {
			const made = await this.#ask("experiments/create", { name });
			return understood(z.object({ experiment_id: z.string() }), made)
				.experiment_id;
		} catch (error) {
			if (!isCalled(error, "RESOURCE_ALREADY_EXISTS")) throw error;
			return find(); // made by another run meanwhile
		}
	}

	/** One request: a POST where there is something to send. Redirects are not followed: what is sent is for the address of the configuration alone. */
	async #ask(path: string, body?: object): Promise<unknown> {
		const { url } = this.#options;
		let reply: Response;
		let text: string;
		try {
			reply = await fetch(`${url}/api/2.0/mlflow/${path}`, {
				method: body ? "POST" : "GET",
				redirect: "manual",
				signal: AbortSignal.any([
					this.#end.signal,
					AbortSignal.timeout(this.#timing.timeoutMs),
				]),
				headers: {
					"content-type": "application/json",
					"user-agent": `keepsight/${version}`,
					...(this.#authorization !== null && {
						authorization: this.#authorization,
					}),
				},
				...(body && { body: JSON.stringify(body) }),
			});
			text = await textOf(reply);
		} catch (error) {
			throw new Broken(reasonOf(error));
		}
		const { status } = reply;
		if (status >= 500 || status === 408 || status === 429)
			throw new Broken(`it answered ${status}`);
		if (status >= 300 && status < 400)
			throw new Refused(
				`it answered ${status}, a redirect, which is not followed; give the address that it leads to`,
			);
		const answer = jsonOf(text);
		if (reply.ok && answer) return answer;
		if (reply.ok) throw new Refused("it does not answer as MLflow does");
		const { error_code: code, message } = answer ?? {};
		const words = [status, code, message]
			.filter((part) => typeof part === "string" || typeof part === "number")
			.join(" ")
			.replace(/[\p{Cc}\s]+/gu, " ");
		throw new Refused(
			`it answered ${words.slice(0, 300)}${status === 401 || status === 403 ? "; see MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and MLFLOW_TRACKING_TOKEN" : ""}`,
			String(code),
		);
	}

	/** Lines that were not told. */
	async #waiting(): Promise<number> {
		try {
			const { all, start } = await this.#log();
			const stored = start && (await this.#stored(start, all));
			const from = stored?.offset ?? 0;
			return all.filter(({ end }) => end > from).length;
		} catch {
			return 0; // the log itself cannot be read
		}
	}
}

const infoSchema = z.object({ info: z.object({ run_id: z.string().min(1) }) });
const foundSchema = z.object({ runs: z.array(infoSchema).optional() });
const createdSchema = z.object({ run: infoSchema });
const experimentSchema = z.object({
	experiment: z.object({ experiment_id: z.string() }),
});

function understood<T>(schema: z.ZodType<T>, answer: unknown): T {
	const { data } = schema.safeParse(answer);
	if (data === undefined)
		throw new Refused("it does not answer as MLflow does");
	return data;
}

const isCalled = (error: unknown, code: string): boolean =>
	error instanceof Refused && error.code === code;

/** Whether the process that wrote it last was killed. */
function isCutOff(all: readonly Logged[]): boolean {
	for (const { read } of all.toReversed()) {
		const line = read();
		if (line && changeOf(line)) return line.type === "start";
	}
	return false;
}

/** What a line changes in the state of a run. */
function changeOf(line: Line): object | null {
	if (line.type === "start") return { status: "RUNNING" };
	return line.type === "end"
		? { status: statusOf[line.state], end_time: Date.parse(line.time) }
		: null;
}

function metricsOf(line: Line): object[] {
	if (line.type !== "epoch" && line.type !== "row") return [];
	const { step, time } = line;
	const timestamp = Date.parse(time);
	return scalarsOf(line).map(([tag, value]) => ({
		key: metricName(tag),
		value,
		timestamp,
		step,
	}));
}

/**
 * MLflow takes letters, digits and _ - . : / and spaces, and no path that has a shorter form. A name that has to change ends in a hash,
 * so that two never meet.
 */
export function metricName(tag: string): string {
	const name = tag
		.replace(/[^\w\-. :/]/g, "_")
		.split("/")
		.map((part) => (["", ".", ".."].includes(part) ? "_" : part))
		.join("/");
	return name === tag && name.length <= limits.name
		? name
		: `${name.slice(0, limits.name - 9)}.${sha256(Buffer.from(tag)).slice(0, 8)}`;
}

/** Every key of a configuration by its dotted name, as `--set` takes it; lists as JSON. */
export function paramsOf(
	config: object,
	prefix = "",
): Readonly<Record<string, string>> {
	return Object.fromEntries(
		Object.entries(config).flatMap(([key, value]) => {
			const name = prefix + snake(key);
			if (isObject(value) && Object.keys(value).length > 0)
				return Object.entries(paramsOf(value, `${name}.`));
			if (value === undefined) return [];
			return [
				[name, cut(typeof value === "string" ? value : JSON.stringify(value))],
			];
		}),
	);
}

const cut = (text: string): string =>
	text.length <= limits.value ? text : `${text.slice(0, limits.value - 1)}…`;

const inParts = <T>(list: readonly T[], size: number): readonly T[][] =>
	Array.from({ length: Math.ceil(list.length / size) }, (_, i) =>
		list.slice(i * size, (i + 1) * size),
	);

/** As MLflow's own client: name and password before a token. */
function authorizationOf(env: NodeJS.ProcessEnv): string | null {
	const {
		MLFLOW_TRACKING_USERNAME: user,
		MLFLOW_TRACKING_PASSWORD: password,
		MLFLOW_TRACKING_TOKEN: token,
	} = env;
	if (user && password)
		return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
	if (!token) return null;
	if (!/^[\x21-\x7e]+$/.test(token))
		throw new Refused(
			"MLFLOW_TRACKING_TOKEN cannot be used: a token is one word of plain letters, digits and signs",
		);
	return `Bearer ${token}`;
}

async function textOf(reply: Response): Promise<string> {
	const decoder = new TextDecoder();
	let text = "";
	for await (const bytes of reply.body ?? []) {
		text += decoder.decode(bytes, { stream: true });
		if (text.length > LARGEST_ANSWER)
			throw new Error(`it answers with more than ${LARGEST_ANSWER} letters`);
	}
	return text;
}

function jsonOf(text: string): Record<string, unknown> | null {
	try {
		const value: unknown = JSON.parse(text);
		return isObject(value) ? value : null;
	} catch {
		return null;
	}
}

/** The system's words: fetch says why in `cause` alone. */
function reasonOf(error: unknown): string {
	const { message, cause } = error as Error;
	const why = cause instanceof Error ? cause : null;
	const code = why && "code" in why ? String(why.code) : "";
	return (why?.message || code || message) ?? String(error);
}
