/** As much of an MLflow server as Keepsight speaks with, on loopback; it can be slow, broken, or lose its answers. */
import {
	createServer,
	type IncomingMessage,
	type Server,
	type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

interface Metric {
	readonly key: string;
	readonly value: number;
	readonly timestamp: number;
	readonly step: number;
}
interface Pair {
	readonly key: string;
	readonly value: string;
}
/** Of all requests together; each has its own. */
interface Body {
	readonly name: string;
	readonly run_id?: string;
	readonly run_name: string;
	readonly experiment_id: string;
	readonly experiment_ids: readonly string[];
	readonly filter: string;
	readonly status: string;
	readonly tags: readonly Pair[];
	readonly params?: readonly Pair[];
	readonly metrics?: readonly Metric[];
}
export interface FakeRun {
	readonly id: string;
	readonly name: string;
	readonly experiment: string;
	readonly tags: Record<string, string>;
	readonly params: Record<string, string>;
	/** Each of (key, step, timestamp, value) once, as in MLflow's database. */
	readonly metrics: Map<string, Metric>;
	/** All it ever had. */
	readonly states: string[];
}

/** null: answer as usual. */
export type Mood = (
	path: string,
) => "500" | "silent" | "lost" | "html" | "redirect" | "login" | null;

export class FakeMlflow {
	readonly runs: FakeRun[] = [];
	readonly experiments: string[] = ["Default"];
	/** Paths below /api/2.0/mlflow/ with their Authorization. */
	readonly asked: {
		readonly path: string;
		readonly authorization: string | undefined;
	}[] = [];
	mood: Mood = () => null;
	/** Before each answer. */
	delayMs = 0;
	port = 0;
	readonly #server: Server;

	private constructor() {
		this.#server = createServer((request, response) => {
			void this.#answer(request, response);
		});
	}

	static async start(port = 0): Promise<FakeMlflow> {
		const fake = new FakeMlflow();
		await new Promise<void>((ready) =>
			fake.#server.listen(port, "127.0.0.1", ready),
		);
		fake.port = (fake.#server.address() as AddressInfo).port;
		return fake;
	}

	get url(): string {
		return `http://127.0.0.1:${this.port}`;
	}

	/** Also connections that are open. */
	async stop(): Promise<void> {
		const closed = new Promise((done) => this.#server.close(done));
		this.#server.closeAllConnections();
		await closed;
	}

	async #answer(
		request: IncomingMessage,
		response: ServerResponse,
	): Promise<void> {
		const parts: Buffer[] = [];
		for await (const part of request) parts.push(part as Buffer);
		await sleep(this.delayMs);
		const url = new URL(request.url ?? "", this.url);
		const path = url.pathname.replace("/api/2.0/mlflow/", "");
		this.asked.push({ path, authorization: request.headers.authorization });
		const say = (status: number, body: string, headers = {}) =>
			response.writeHead(status, headers).end(body);
		const mood = this.mood(path);
		if (mood === "silent") return;
		if (mood === "500") return void say(500, "no");
		if (mood === "html") return void say(200, "<html>log in</html>");
		if (mood === "redirect")
			return void say(307, "", { location: "http://127.0.0.1:1/" });
		if (mood === "login") return void say(401, "who?");
		const body =
			parts.length > 0 ? JSON.parse(Buffer.concat(parts).toString("utf8")) : {};
		const { status, answer } = this.#do(path, body, url.searchParams);
		if (mood === "lost") return void response.destroy();
		say(status, JSON.stringify(answer));
	}

	#do(
		path: string,
		body: Body,
		query: URLSearchParams,
	): { status: number; answer: object } {
		const ok = (answer: object = {}) => ({ status: 200, answer });
		const refuse = (status: number, error_code: string) => ({
			status,
			answer: { error_code, message: `no: ${error_code}` },
		});
		const run = this.runs.find(({ id }) => id === body.run_id);
		if (body.run_id !== undefined && !run)
			return refuse(404, "RESOURCE_DOES_NOT_EXIST");
		switch (path) {
			case "experiments/get-by-name": {
				const id = this.experiments.indexOf(query.get("experiment_name") ?? "");
				return id < 0
					? refuse(404, "RESOURCE_DOES_NOT_EXIST")
					: ok({ experiment: { experiment_id: String(id) } });
			}
			case "experiments/create":
				if (this.experiments.includes(body.name))
					return refuse(400, "RESOURCE_ALREADY_EXISTS");
				return ok({
					experiment_id: String(this.experiments.push(body.name) - 1),
				});
			case "runs/search": {
				const [, tag, value] =
					/^tags\.`([^`]+)` = '([^']+)'$/.exec(body.filter) ?? [];
				const found = this.runs.filter(
					(r) =>
						body.experiment_ids.includes(r.experiment) &&
						r.tags[tag as string] === value,
				);
				return ok(
					found.length > 0
						? { runs: found.map(({ id }) => ({ info: { run_id: id } })) }
						: {},
				);
			}
			case "runs/create": {
				const made: FakeRun = {
					id: `run${this.runs.length}`,
					name: body.run_name,
					experiment: body.experiment_id,
					tags: Object.fromEntries(
						body.tags.map(({ key, value }) => [key, value]),
					),
					params: {},
					metrics: new Map(),
					states: ["RUNNING"],
				};
				this.runs.push(made);
				return ok({ run: { info: { run_id: made.id } } });
			}
			case "runs/log-batch": {
				if (
					(body.metrics?.length ?? 0) > 1000 ||
					(body.params?.length ?? 0) > 100
				)
					return refuse(400, "INVALID_PARAMETER_VALUE");
				for (const m of body.metrics ?? [])
					run?.metrics.set(`${m.step} ${m.key} ${m.timestamp} ${m.value}`, m);
				for (const { key, value } of body.params ?? []) {
					const known = run?.params[key];
					if (known !== undefined && known !== value)
						return refuse(400, "INVALID_PARAMETER_VALUE");
					if (run) run.params[key] = value;
				}
				return ok();
			}
			case "runs/update":
				run?.states.push(body.status);
				return ok();
			default:
				return refuse(404, "ENDPOINT_NOT_FOUND");
		}
	}
}
