/**
 * A server that keeps to src/server/api.ts and knows nothing: made-up products, drawn pictures, verdicts by file name. Replies are
 * checked against the schemas, so what the dashboard is tested with is what crosses the wire. It shows states that are rare in the
 * real one: drift, a version that waits, hostile names.
 */
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import {
	createServer,
	type IncomingMessage,
	type Server,
	type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import type { z } from "zod";
import { drawDemo } from "../../src/data/demo.ts";
import { readImage, readMask } from "../../src/data/image.ts";
import { float32 } from "../../src/engine/tensor.ts";
import { overlayOf } from "../../src/pictures/pictures.ts";
import { Random } from "../../src/random.ts";
import {
	applyBody,
	type Feed,
	feedback,
	feedbackBody,
	feedbackList,
	feedbackQuery,
	type FeedbackReply,
	historyQuery,
	historyReply,
	type HistoryRow,
	job,
	jobBody,
	type JobReply,
	jobsReply,
	predicted,
	predictQuery,
	product,
	type ProductReply,
	reviewBody,
	runsReply,
	tasksReply,
	thresholdBody,
	thresholdFromFeedback,
	type VersionsReply,
	versionsReply,
} from "../../src/server/api.ts";

/** Names that try to break out. */
export const hostile = `"><script>document.title='hit'</script><img src=x onerror="document.title='hit'">'&amp;\u202e`;

/** As the contract of the dashboard has it; stricter than the server's, which names fewer sources. */
const policy =
	"default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'";

const types: Readonly<Record<string, string>> = {
	".html": "text/html; charset=utf-8",
	".js": "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml",
};

/** A drawn picture, and the mask of its defect. */
export interface Drawn {
	readonly file: string;
	readonly mask: string | null;
}
export type Line = Readonly<
	Record<string, { readonly good: readonly Drawn[]; readonly bad: Drawn[] }>
>;

/** Three drawn products, 12 good pictures and some with defects of each. */
export async function drawLine(dir: string): Promise<Line> {
	const { categories } = await drawDemo(dir, {
		size: 128,
		products: 3,
		train: 12,
		validation: 1,
		testGood: 1,
		perDefect: 1,
	});
	return Object.fromEntries(
		categories.map((id) => {
			const at = (...parts: string[]) => join(dir, id, ...parts);
			const train = at("train", "good");
			return [
				id,
				{
					good: readdirSync(train)
						.sort()
						.map((name) => ({ file: join(train, name), mask: null })),
					bad: readdirSync(at("test"))
						.filter((defect) => defect !== "good")
						.sort()
						.map((defect) => ({
							file: at("test", defect, "000.png"),
							mask: at("ground_truth", defect, "000_mask.png"),
						})),
				},
			];
		}),
	);
}

export const products = {
	tablet: "line-1/tablet",
	flange: "line-2/flange",
	hostile,
};
const drawnAs: Readonly<Record<string, string>> = {
	[products.tablet]: "mvtec/tablet",
	[products.flange]: "mvtec/flange",
	[products.hostile]: "mvtec/fabric",
};

interface Options {
	readonly line: Line;
	/** Folder of the dashboard's files. */
	readonly web: string;
	readonly token?: string;
	/** Nothing is learnt. */
	readonly empty?: boolean;
	/** It is a replica. */
	readonly replica?: { readonly writer: string | null };
	/** Predictions in the history at the start. */
	readonly history?: number;
}

type Row = HistoryRow & { readonly drawn: Drawn };
type Reply = { readonly status: number; readonly body: unknown };
type Handler = (call: {
	readonly params: readonly string[];
	readonly query: Readonly<Record<string, string>>;
	readonly body: Buffer;
	readonly request: IncomingMessage;
	readonly response: ServerResponse;
}) => Promise<Reply | undefined> | Reply | undefined;

class Refused extends Error {
	readonly status: number;
	constructor(status: number, message: string) {
		super(message);
		this.status = status;
	}
}

export class Fake {
	url = "";
	/** Every call: "PUT /v1/jobs/…", with what was sent as JSON. */
	readonly calls: { readonly what: string; readonly sent: unknown }[] = [];
	/** The last region of interest that was put. */
	roi: Buffer | null = null;
	readonly #options: Options;
	readonly #server: Server;
	readonly #random = new Random("fake");
	readonly #rows: Row[] = []; // the oldest first
	readonly #feedback: FeedbackReply[] = [];
	readonly #tasks = new Map<string, ProductReply>();
	readonly #jobs = new Map<string, JobReply>();
	readonly #watchers = new Set<{
		readonly response: ServerResponse;
		readonly job: string | null;
	}>();
	#versions: VersionsReply = { active: null, versions: [] };

	private constructor(options: Options) {
		this.#options = options;
		if (!options.empty) this.#fill(options.history ?? 60);
		this.#server = createServer((request, response) => {
			this.#answer(request, response).catch((error: unknown) => {
				const status = error instanceof Refused ? error.status : 500;
				problem(response, status, (error as Error).message);
			});
		});
	}

	static async start(options: Options): Promise<Fake> {
		const fake = new Fake(options);
		await new Promise<void>((resolve) =>
			fake.#server.listen(0, "127.0.0.1", resolve),
		);
		const { port } = fake.#server.address() as AddressInfo;
		fake.url = `http://127.0.0.1:${port}`;
		return fake;
	}

	async close(): Promise<void> {
		const closed = new Promise((resolve) => this.#server.close(resolve));
		this.#server.closeAllConnections();
		await closed;
	}

	/** One more prediction, as if a camera had sent it. */
	predict(task: string | null, verdict: HistoryRow["verdict"]): HistoryRow {
		const row = this.#row(task, verdict, new Date());
		this.#publish("prediction", shown(row));
		return shown(row);
	}

	/** Ends all streams, as a restart does. */
	drop(): void {
		for (const { response } of this.#watchers) response.end();
	}

	// ---- what is made up ----

	#fill(history: number): void {
		const thresholds = [2, 2.31, 1.7];
		for (const [i, id] of Object.values(products).entries())
			this.#learn(id, 64 + 60 * i, thresholds[i] as number);
		const now = Date.now();
		const names = [...this.#tasks.keys()];
		for (let i = 0; i < history; i++) {
			const task = names[i % names.length] as string;
			const at = new Date(now - (history - i) * 21_000);
			if (i % 29 === 28) this.#row(null, "unknown", at);
			else if (i % 41 === 40) this.#row(null, "unusable", at);
			else
				this.#row(
					task,
					i % 11 === 6 ? "defect" : i % 17 === 9 ? "unsure" : "good",
					at,
				);
		}
		const last = (verdict: string, skip = 0) =>
			this.#rows.filter((row) => row.verdict === verdict).at(-1 - skip);
		for (const [row, label, comment] of [
			[last("defect"), "good", "Only dust, blown off."],
			[last("unsure"), "good", hostile],
			[last("defect", 1), "bad", ""],
			[last("unsure", 1), "bad", "Scratch on the rim."],
		] as const)
			if (row)
				this.#say({ prediction: row.id, label, comment, task: undefined });
		const changed = this.#rows
			.filter(({ verdict }) => verdict === "defect" || verdict === "unsure")
			.slice(0, 3)
			.map((row, i) => ({
				prediction: row.id,
				task: row.task,
				label: (["good", null, "bad"] as const)[i] ?? null,
				before: { verdict: row.verdict, score: row.score },
				after: {
					verdict: i === 2 ? ("defect" as const) : ("good" as const),
					score: i === 2 ? 3.1 : 1.2,
				},
			}));
		this.#versions = {
			active: 4,
			versions: [
				{
					version: 5,
					change: `2 pictures added to ${products.tablet}`,
					products: 3,
					state: "waiting",
					check: { from: 4, images: 1200, changed },
				},
				...[
					`learnt ${hostile}`,
					`learnt ${products.flange}`,
					`threshold of ${products.tablet}`,
					`learnt ${products.tablet}`,
				].map((change, i) => ({
					version: 4 - i,
					change,
					products: Math.max(1, 3 - i),
					state: i === 0 ? ("active" as const) : ("earlier" as const),
					check: i === 1 ? { from: 2, images: 310, changed: [] } : null,
				})),
			],
		};
	}

	#learn(id: string, images: number, threshold: number): void {
		const goodScores = Array.from({ length: images }, (_, i) =>
			Math.max(
				0,
				-Math.log10((i + 0.5) / images) + this.#random.normal(0, 0.02),
			),
		).sort((a, b) => a - b);
		this.#tasks.set(id, {
			id,
			images,
			bytes: 1_234_567 * (1 + this.#tasks.size),
			threshold,
			thresholdSet: threshold === 2.31,
			recent: { images: 0, anomalous: null },
			drift: { share: null, recalibrate: false },
			memories: [
				{ name: "patches", bytes: 1_200_000 },
				{ name: "dne", bytes: 34_567 },
			],
			goodScores,
			feedback: [],
		});
	}

	#row(task: string | null, verdict: HistoryRow["verdict"], at: Date): Row {
		const threshold = this.#tasks.get(task ?? "")?.threshold ?? 2;
		const r = this.#random;
		const score =
			verdict === "unusable"
				? null
				: verdict === "good"
					? Math.min(threshold - 0.4, r.gamma(1, 0.43))
					: verdict === "unsure"
						? threshold + r.uniform(-0.25, 0.25)
						: threshold + 0.5 + r.gamma(2, 2.2);
		const pictures = this.#options.line[drawnAs[task ?? ""] ?? "mvtec/tablet"];
		if (!pictures) throw new Error("nothing is drawn");
		const from = verdict === "good" ? pictures.good : pictures.bad;
		const id = this.#rows.length + 1;
		const row: Row = {
			id,
			at: at.toISOString(),
			name:
				id % 5 === 0
					? null
					: `cam-${1 + (id % 2)}_${String(id).padStart(5, "0")}.png`,
			score,
			threshold: score === null ? null : threshold,
			verdict,
			anomalous: score === null ? null : score >= threshold,
			task: verdict === "unknown" ? null : task,
			memoryVersion: 4,
			latencyMs: r.uniform(18, 40),
			reason: verdict === "unusable" ? "it is almost black" : null,
			image: true,
			feedback: null,
			drawn: from[r.integer(from.length)] as Drawn,
		};
		this.#rows.push(row);
		return row;
	}

	#say({
		prediction,
		label,
		comment,
		task,
	}: z.output<typeof feedbackBody>): FeedbackReply {
		const row = this.#rows[prediction - 1];
		if (!row) throw new Refused(404, "There is no such prediction.");
		this.#rows[prediction - 1] = { ...row, feedback: label };
		for (const [i, before] of this.#feedback.entries())
			if (before.prediction === prediction && before.state === "open")
				this.#feedback[i] = { ...before, state: "withdrawn" };
		const said: FeedbackReply = {
			id: this.#feedback.length + 1,
			at: new Date().toISOString(),
			prediction,
			task: task ?? row.task,
			label,
			comment,
			verdict: row.verdict,
			score: row.score,
			state: "open",
			image: prediction % 7 !== 0,
		};
		this.#feedback.push(said);
		return said;
	}

	#productOf(name: string): ProductReply {
		const found = this.#tasks.get(name);
		if (!found) throw new Refused(404, `There is no product ${name}.`);
		const rows = this.#rows.filter((row) => row.task === name);
		const share = name === products.flange ? 0.87 : 0.52;
		return {
			...found,
			recent: {
				images: rows.length,
				anomalous:
					rows.length === 0
						? null
						: rows.filter(({ anomalous }) => anomalous).length / rows.length,
			},
			drift:
				rows.length < 10 ? found.drift : { share, recalibrate: share > 0.8 },
			feedback: this.#feedback
				.filter(({ task, state }) => task === name && state !== "withdrawn")
				.map(({ label, score }) => ({ label, score })),
		};
	}

	// ---- jobs ----

	#open(kind: JobReply["kind"], task: string): JobReply {
		return this.#set({
			id: randomUUID(),
			kind,
			task,
			state: "open",
			images: 0,
			progress: null,
			message: null,
			odd: [],
			memoryVersion: null,
		});
	}

	#set(next: JobReply): JobReply {
		this.#jobs.set(next.id, next);
		this.#publish("job", next);
		return next;
	}

	#jobOf(id: string | undefined): JobReply {
		const found = this.#jobs.get(id ?? "");
		if (!found) throw new Refused(404, "There is no job of this id.");
		return found;
	}

	/** Goes through the motions, a step every 15 ms; odd pictures are 2 and 5. */
	#run(id: string, review: boolean, done: () => string): JobReply {
		const steps = 12;
		let step = 0;
		const timer = setInterval(() => {
			const now = this.#jobOf(id);
			if (now.state !== "running") return clearInterval(timer);
			if (step < steps) {
				step++;
				this.#set({
					...now,
					progress: {
						phase: step < 6 ? "read" : "memory",
						done: step,
						total: steps,
						unit: "images",
					},
				});
				return;
			}
			clearInterval(timer);
			if (review)
				this.#set({
					...now,
					state: "review",
					progress: null,
					odd: [
						{ image: 2, score: 4.2 },
						{ image: 5, score: 2.9 },
					],
				});
			else {
				const message = done();
				this.#set({
					...now,
					state: "done",
					progress: null,
					odd: [],
					message,
					memoryVersion: this.#newVersion(message),
				});
			}
		}, 15);
		return this.#set({ ...this.#jobOf(id), state: "running" });
	}

	#change(kind: JobReply["kind"], task: string, done: () => string): Reply {
		const { id } = this.#open(kind, task);
		return { status: 202, body: job.parse(this.#run(id, false, done)) };
	}

	#newVersion(change: string): number {
		const version =
			1 + Math.max(0, ...this.#versions.versions.map((v) => v.version));
		this.#versions = {
			active: version,
			versions: [
				{
					version,
					change,
					products: this.#tasks.size,
					state: "active",
					check: null,
				},
				...this.#versions.versions.map((v) => ({
					...v,
					state: "earlier" as const,
				})),
			],
		};
		this.#publish("version", { active: version, waiting: null });
		return version;
	}

	// ---- the wire ----

	#publish<K extends keyof Feed>(name: K, value: Feed[K]): void {
		const text = `event: ${name}\ndata: ${JSON.stringify(value)}\n\n`;
		for (const { response, job: only } of this.#watchers)
			if (only === null || (name === "job" && only === (value as JobReply).id))
				response.write(text);
	}

	#watch(response: ServerResponse, only: string | null): undefined {
		response.writeHead(200, { "content-type": "text/event-stream" });
		response.write(": begun\n\n");
		const watcher = { response, job: only };
		this.#watchers.add(watcher);
		response.on("close", () => this.#watchers.delete(watcher));
		if (only !== null)
			response.write(
				`event: job\ndata: ${JSON.stringify(this.#jobOf(only))}\n\n`,
			);
		return undefined;
	}

	async #answer(
		request: IncomingMessage,
		response: ServerResponse,
	): Promise<void> {
		response.setHeader("content-security-policy", policy);
		const url = new URL(request.url ?? "/", "http://fake");
		const { token, web } = this.#options;
		if (!url.pathname.startsWith("/v1/")) {
			const name = url.pathname === "/" ? "/index.html" : url.pathname;
			const type = types[extname(name)];
			if (!type) throw new Refused(404, "There is no such address.");
			response.setHeader("content-type", type);
			response.end(readFileSync(join(web, name)));
			return;
		}
		if (token && request.headers.authorization !== `Bearer ${token}`)
			throw new Refused(401, "The token is missing or wrong.");
		const chunks: Buffer[] = [];
		for await (const chunk of request) chunks.push(chunk as Buffer);
		const body = Buffer.concat(chunks);
		const isJson = request.headers["content-type"] === "application/json";
		this.calls.push({
			what: `${request.method} ${url.pathname}${url.search}`,
			sent: isJson ? (JSON.parse(body.toString()) as unknown) : null,
		});
		const path = url.pathname.split("/").slice(2).map(decodeURIComponent);
		for (const [pattern, handler] of this.#routes) {
			const params = matched(pattern, request.method ?? "", path);
			if (!params) continue;
			const reply = await handler({
				params,
				query: Object.fromEntries(url.searchParams),
				body,
				request,
				response,
			});
			if (reply)
				response
					.writeHead(reply.status, { "content-type": "application/json" })
					.end(JSON.stringify(reply.body));
			return;
		}
		throw new Refused(404, "There is no such address.");
	}

	readonly #routes: readonly (readonly [string, Handler])[] = [
		[
			"GET tasks",
			() =>
				ok(tasksReply, {
					memoryVersion: this.#versions.active,
					tasks: [...this.#tasks.keys()].map((id) => this.#productOf(id)), // the schema takes what it knows
					replica: this.#options.replica ?? null,
				}),
		],
		[
			"GET tasks *",
			({ params: [id = ""] }) => ok(product, this.#productOf(id)),
		],
		[
			"DELETE tasks *",
			({ params: [id = ""] }) => {
				this.#productOf(id);
				return this.#change("forget", id, () => {
					this.#tasks.delete(id);
					return `${id} is forgotten.`;
				});
			},
		],
		[
			"PUT tasks * threshold",
			({ params: [id = ""], body }) => {
				const asked = thresholdBody
					.or(thresholdFromFeedback)
					.parse(JSON.parse(body.toString()));
				const bad = this.#productOf(id).feedback.flatMap(({ label, score }) =>
					label === "bad" && score !== null ? [score] : [],
				);
				const wanted =
					"threshold" in asked ? asked.threshold : Math.min(...bad) - 0.3;
				return this.#change("threshold", id, () => {
					this.#tasks.set(id, {
						...this.#productOf(id),
						threshold: wanted ?? 2,
						thresholdSet: wanted !== null,
					});
					return `The threshold is ${(wanted ?? 2).toFixed(2)}.`;
				});
			},
		],
		[
			"POST tasks",
			({ body }) => {
				const { name, kind } = jobBody.parse(JSON.parse(body.toString()));
				return { status: 201, body: job.parse(this.#open(kind, name)) };
			},
		],
		[
			"GET jobs",
			() => ok(jobsReply, { jobs: [...this.#jobs.values()].reverse() }),
		],
		["GET jobs *", ({ params: [id] }) => ok(job, this.#jobOf(id))],
		[
			"DELETE jobs *",
			({ params: [id] }) =>
				ok(job, this.#set({ ...this.#jobOf(id), state: "cancelled" })),
		],
		[
			"GET jobs * events",
			({ params: [id], response }) => this.#watch(response, this.#jobOf(id).id),
		],
		[
			"PUT jobs * images *",
			({ params: [id = "", n], body }) => {
				if (body.length === 0) throw new Refused(415, "This is no picture.");
				const put = `PUT /v1/jobs/${id}/images/2`;
				const tried = this.calls.filter(({ what }) => what === put).length;
				// the third is refused once, as by a server that has too much to do
				if (n === "2" && tried === 1)
					throw new Refused(429, "Too many requests.");
				const { images, ...rest } = this.#jobOf(id);
				return ok(job, this.#set({ ...rest, images: images + 1 }));
			},
		],
		[
			"PUT jobs * roi",
			({ params: [id], body }) => {
				this.roi = body;
				return ok(job, this.#jobOf(id));
			},
		],
		[
			"POST jobs * start",
			({ params: [id = ""] }) => {
				const { task, kind, images } = this.#jobOf(id);
				const asked = this.calls.findLast(
					({ what }) => what === "POST /v1/tasks",
				);
				const { review } = jobBody.parse(asked?.sent);
				return {
					status: 202,
					body: job.parse(
						this.#run(id, review, () => {
							if (kind === "learn") this.#learn(task, images, 2);
							return `${task}: ${images} pictures.`;
						}),
					),
				};
			},
		],
		[
			"GET jobs * odd *",
			({ params: [id, n], response }) => {
				this.#jobOf(id);
				const [tablet] = Object.values(this.#options.line);
				return picture(response, tablet?.bad[Number(n) % 4] as Drawn, true);
			},
		],
		[
			"POST jobs * review",
			({ params: [id = ""], body }) => {
				const { refused } = reviewBody.parse(JSON.parse(body.toString()));
				const { task, images } = this.#jobOf(id);
				return {
					status: 202,
					body: job.parse(
						this.#run(id, false, () => {
							this.#learn(task, images - refused.length, 2);
							return `${task} is learnt from ${images - refused.length} pictures.`;
						}),
					),
				};
			},
		],
		[
			"POST predict",
			async ({ query, body, request }) => {
				const { task, map } = predictQuery.parse(query);
				const form = await new Response(new Uint8Array(body), {
					headers: { "content-type": request.headers["content-type"] ?? "" },
				}).formData();
				const [file] = [...form.values()];
				if (!(file instanceof File) || file.size === 0)
					throw new Refused(415, "This is no picture.");
				const verdict = /dark/.test(file.name)
					? "unusable"
					: /stranger/.test(file.name)
						? "unknown"
						: /crack/.test(file.name)
							? "defect"
							: "good";
				const made = this.#row(task ?? products.tablet, verdict, new Date());
				const row: Row = { ...made, name: file.name };
				this.#rows[row.id - 1] = row;
				this.#publish("prediction", shown(row));
				return ok(predicted, {
					...shown(row),
					map:
						map && row.score !== null
							? (await overlay(row.drawn)).toString("base64")
							: null,
				});
			},
		],
		[
			"GET history",
			({ query }) => {
				const { task, verdict, before, limit } = historyQuery.parse(query);
				return ok(historyReply, {
					predictions: this.#rows
						.filter(
							(row) =>
								(task === undefined || row.task === task) &&
								(verdict === undefined || row.verdict === verdict) &&
								(before === undefined || row.id < before),
						)
						.slice(-limit)
						.reverse()
						.map(shown),
				});
			},
		],
		[
			"GET history * image",
			({ params: [id], response }) =>
				picture(response, this.#rows[Number(id) - 1]?.drawn, false),
		],
		[
			"GET history * overlay",
			({ params: [id], response }) =>
				picture(response, this.#rows[Number(id) - 1]?.drawn, true),
		],
		["GET events", ({ response }) => this.#watch(response, null)],
		[
			"POST feedback",
			({ body }) => {
				const said = this.#say(feedbackBody.parse(JSON.parse(body.toString())));
				this.#publish("feedback", said);
				return ok(feedback, said);
			},
		],
		[
			"GET feedback",
			({ query }) => {
				const { task, state } = feedbackQuery.parse(query);
				return ok(feedbackList, {
					feedback: this.#feedback
						.filter(
							(said) =>
								(task === undefined || said.task === task) &&
								(state === undefined || said.state === state),
						)
						.reverse(),
				});
			},
		],
		[
			"DELETE feedback *",
			({ params: [id] }) => ok(feedback, this.#mark(Number(id), "withdrawn")),
		],
		[
			"POST feedback apply",
			({ body }) => {
				const { task, ids } = applyBody.parse(JSON.parse(body.toString()));
				return this.#change("add", task, () => {
					for (const id of ids) this.#mark(id, "applied");
					return `${ids.length} pictures added to ${task}`;
				});
			},
		],
		["GET versions", () => ok(versionsReply, this.#versions)],
		[
			"POST versions * activate",
			({ params: [id] }) => {
				const version = Number(id);
				const wanted = this.#versions.versions.find(
					(v) => v.version === version,
				);
				if (!wanted) throw new Refused(404, "There is no such version.");
				if (wanted.state === "earlier")
					return this.#change(
						"rollback",
						"",
						() => `back to version ${version}`,
					);
				this.#versions = {
					active: version,
					versions: this.#versions.versions.map((v) => ({
						...v,
						state: v.version === version ? "active" : "earlier",
					})),
				};
				this.#publish("version", { active: version, waiting: null });
				return ok(versionsReply, this.#versions);
			},
		],
		[
			"GET runs",
			() => ok(runsReply, { runs: this.#options.empty ? [] : runs }),
		],
	];

	#mark(id: number, state: FeedbackReply["state"]): FeedbackReply {
		const said = this.#feedback[id - 1];
		if (!said) throw new Refused(404, "There is no such feedback.");
		return (this.#feedback[id - 1] = { ...said, state });
	}
}

const runs: z.input<typeof runsReply>["runs"] = [
	{
		name: `demo ${hostile}`,
		strategy: "gpm",
		tasks: Object.values(products),
		matrices: {
			imageAuroc: [
				[0.991, null, null],
				[0.984, 0.962, null],
				[0.978, 0.955, 0.903],
			],
			accuracy: [
				[0.95, null, null],
				[0.95, 0.91, null],
				[0.94, 0.9, 0.84],
			],
		},
		summary: {
			imageAuroc: {
				average: 0.945,
				forgetting: 0.01,
				backwardTransfer: -0.01,
				forwardTransfer: null,
			},
			accuracy: { average: 0.893, forgetting: 0.01 },
		},
	},
	{
		name: "second",
		strategy: "finetune",
		tasks: ["only"],
		matrices: {},
		summary: {},
	},
];

const shown = ({ drawn: _drawn, ...row }: Row): HistoryRow => row;

function ok<S extends z.ZodType>(schema: S, value: z.input<S>): Reply {
	return { status: 200, body: schema.parse(value) };
}

/** Parameters of "GET jobs *", if the call is of that kind. */
function matched(
	pattern: string,
	method: string,
	path: readonly string[],
): string[] | null {
	const [wanted, ...parts] = pattern.split(" ");
	if (wanted !== method || parts.length !== path.length) return null;
	return parts.every((part, i) => part === "*" || part === path[i])
		? path.filter((_, i) => parts[i] === "*")
		: null;
}

function problem(
	response: ServerResponse,
	status: number,
	detail: string,
): void {
	response
		.writeHead(status, {
			"content-type": "application/problem+json",
			...(status === 429 && { "retry-after": "0" }),
		})
		.end(
			JSON.stringify({
				type: "about:blank",
				title: "Refused",
				status,
				detail,
				code: "FAKE",
			}),
		);
}

async function picture(
	response: ServerResponse,
	drawn: Drawn | undefined,
	over: boolean,
): Promise<undefined> {
	if (!drawn) throw new Refused(404, "There is no such picture.");
	response.setHeader("content-type", "image/png");
	response.end(over ? await overlay(drawn) : readFileSync(drawn.file));
}

const overlays = new Map<string, Buffer>();

/** The mask, blurred a little, as an anomaly map would lie. */
async function overlay({ file, mask }: Drawn): Promise<Buffer> {
	const made = overlays.get(file);
	if (made) return made;
	const image = await readImage(file);
	const [h = 0, w = 0] = image.shape;
	const map = float32([h, w]);
	if (mask) {
		const { data } = await readMask(mask);
		const r = 5;
		for (let y = 0; y < h; y++)
			for (let x = 0; x < w; x++) {
				let sum = 0;
				for (let dy = -r; dy <= r; dy++)
					for (let dx = -r; dx <= r; dx++)
						sum += (data[(y + dy) * w + x + dx] ?? 0) > 0 ? 1 : 0;
				map.data[y * w + x] = (9 * sum) / (2 * r + 1) ** 2;
			}
	}
	const png = Buffer.from(await overlayOf({ image, map, threshold: 2 }));
	overlays.set(file, png);
	return png;
}
