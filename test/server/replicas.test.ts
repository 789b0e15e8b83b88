/** Replicas: what they refuse, which version they follow, and that no request is lost behind a balancer whatever happens to one of them. */
import { once } from "node:events";
import {
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	writeFileSync,
} from "node:fs";
import {
	createServer,
	type IncomingMessage,
	type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it, onTestFinished, vi } from "vitest";
import type { Prediction } from "../../src/events.ts";
import type {
	JobReply,
	PredictedReply,
	VersionsReply,
} from "../../src/server/api.ts";
import { Held } from "../../src/server/held.ts";
import { drawCategory, frozenRun } from "../drawn.ts";
import { keepsight } from "../program.ts";
import {
	answered,
	fake,
	fakeMemory,
	gate,
	get,
	grey,
	post,
	send,
	served,
	setVersion,
	startFake,
} from "./fake.ts";
import { type Running, serving } from "./running.ts";

const versionOf = async (url: string): Promise<number | null> =>
	(await get<{ memoryVersion: number | null }>(`${url}/health`)).memoryVersion;

/** Every file with its size and the time it was changed. */
const listing = (dir: string): string[] =>
	readdirSync(dir, { recursive: true, encoding: "utf8" })
		.map((path) => {
			const { size, mtimeMs } = statSync(join(dir, path));
			return `${path} ${size} ${mtimeMs}`;
		})
		.sort();

const replica = { writer: "http://writer:8080" };

it("a replica scores, refuses every change with the address to ask, and writes nothing into the run folder", async () => {
	const memDir = fakeMemory(2);
	const before = listing(memDir);
	const { url, close } = await served(fake(), { memDir, replica });
	const reply = await post(`${url}/v1/predict`, await grey(1));
	expect(await reply.json()).toMatchObject({ id: 1, memoryVersion: 2 });
	expect(await get(`${url}/v1/history`)).toMatchObject({
		predictions: [{ id: 1, image: true }],
	});
	const { paths } = await get<{ paths: Record<string, object> }>(
		`${url}/openapi.json`,
	);
	const changes = Object.entries(paths).flatMap(([path, methods]) =>
		Object.keys(methods)
			.filter((method) => method !== "get" && path !== "/v1/predict")
			.map((method) => [method.toUpperCase(), path] as const),
	);
	expect(changes.length).toBeGreaterThanOrEqual(12);
	for (const [method, path] of changes) {
		const refused = await fetch(url + path.replaceAll(/\{\w+\}/g, "1"), {
			method,
		});
		expect([path, refused.status]).toEqual([path, 403]);
		expect(await refused.json()).toMatchObject({
			code: "REPLICA",
			detail: expect.stringContaining("http://writer:8080"),
		});
	}
	expect((await post(`${url}/no/such`, "")).status).toBe(404);
	await close();
	expect(listing(memDir)).toEqual(before);
});

it("a replica is ready once there is a version, also one that comes later", async () => {
	const memDir = mkdtempSync(join(tmpdir(), "keepsight-replica-"));
	onTestFinished(() => rmSync(memDir, { recursive: true, force: true }));
	const { url } = await served(fake(), { memDir, replica });
	const empty = await fetch(`${url}/health`);
	expect(empty.status).toBe(503);
	expect(await empty.json()).toMatchObject({ status: "empty" });
	expect((await post(`${url}/v1/predict`, await grey(1))).status).toBe(409);
	const other = fakeMemory();
	writeFileSync(
		join(memDir, "run.json"),
		readFileSync(join(other, "run.json")),
	);
	setVersion(memDir, 1);
	await expect
		.poll(() => fetch(`${url}/health`).then(({ status }) => status), {
			timeout: 5000,
		})
		.toBe(200);
});

it("a version that waits at the writer waits at the replicas too, also when they start again", async () => {
	const memDir = fakeMemory();
	const scored = fake((_, version) =>
		answered(version, { verdict: version === 1 ? "good" : "defect" }),
	);
	const writer = await served(scored, {
		memDir,
		history: { days: 1, bytes: 1e9, images: true },
		teach: async () => {
			setVersion(memDir, 2);
			await sleep(1200); // replicas look at the disk twice before the writer knows
			return {
				results: { memoryVersion: 2, change: "", tasks: [] },
				text: "",
			};
		},
	});
	const first = await served(scored, { memDir, replica });
	await post(`${writer.url}/v1/predict`, await grey(1));
	const reply = await fetch(`${writer.url}/v1/tasks/mvtec%2Fcap/threshold`, {
		method: "PUT",
		body: '{"threshold":2.5}',
		headers: { "content-type": "application/json" },
	});
	const { id } = (await reply.json()) as JobReply;
	await expect
		.poll(
			() =>
				get<JobReply>(`${writer.url}/v1/jobs/${id}`).then(({ state }) => state),
			{ timeout: 5000 },
		)
		.toBe("done");
	const second = await served(scored, { memDir, replica });
	const all = [writer, first, second];
	for (const { url } of all) {
		expect(await versionOf(url)).toBe(1);
		const { versions } = await get<VersionsReply>(`${url}/v1/versions`);
		expect(versions[0]?.state).toBe("waiting");
	}
	await send(`${writer.url}/v1/versions/2/activate`, {});
	for (const { url } of all)
		await expect.poll(() => versionOf(url), { timeout: 5000 }).toBe(2);
	setVersion(memDir, 3); // made on the disk: what somebody wanted
	for (const { url } of all)
		await expect.poll(() => versionOf(url), { timeout: 5000 }).toBe(3);
});

it("a version that a replica cannot read yet is tried again", async () => {
	const memDir = fakeMemory();
	const scored = fake();
	let refused = 0;
	const { url, logged } = await served(scored, {
		memDir,
		replica,
		start: async (job) => {
			if (job.version === 2 && refused++ < 1)
				throw new Error("the file is missing"); // on its way
			return startFake(scored)(job);
		},
	});
	setVersion(memDir, 2);
	await expect.poll(() => versionOf(url), { timeout: 5000 }).toBe(2);
	expect(logged.join()).toContain("version 1 goes on: the file is missing");
});

it("nothing that is to be tried again keeps a replica that ends from ending", async () => {
	const memDir = fakeMemory();
	const scored = fake();
	const slow = gate<void>();
	let opened = 0;
	const { close, logged } = await served(scored, {
		memDir,
		replica,
		start: async (job) => {
			if (job.version === 1) return startFake(scored)(job);
			opened++;
			if (job.version > 3) await slow.promise;
			throw new Error(`no ${job.version}`);
		},
	});
	const timers = vi.spyOn(globalThis, "setTimeout");
	const cleared = vi.spyOn(globalThis, "clearTimeout");
	onTestFinished(() => {
		timers.mockRestore();
		cleared.mockRestore();
	});
	/** Those that look at the disk again. */
	const waiting = () =>
		timers.mock.calls.flatMap(([callback, ms], i) =>
			String(callback).includes("#seen") && ms
				? [timers.mock.results[i]?.value as NodeJS.Timeout]
				: [],
		);
	setVersion(memDir, 2);
	await expect.poll(() => waiting().length, { timeout: 5000 }).toBe(1);
	expect(waiting()[0]?.hasRef()).toBe(false);
	setVersion(memDir, 3);
	await expect.poll(() => waiting().length, { timeout: 5000 }).toBe(2);
	expect(cleared).toHaveBeenCalledWith(waiting()[0]);
	setVersion(memDir, 4);
	await expect.poll(() => opened, { timeout: 5000 }).toBe(3);
	const closed = close();
	await sleep(300); // nothing is asked: what is left is the version that is being opened
	slow.resolve();
	await closed;
	expect(logged.join()).toContain("no 4");
	expect(waiting()).toHaveLength(2);
});

it("what is held is refused where it is none", () => {
	const memDir = fakeMemory();
	const held = new Held(memDir);
	expect(held.version).toBeNull();
	held.version = 3;
	expect(new Held(memDir).version).toBe(3);
	held.version = null;
	expect(held.version).toBeNull();
	expect(held.stamp).not.toBe("");
	for (const text of ['{"format":2,"version":1}', '{"format":1}', "{"]) {
		writeFileSync(held.path, text);
		expect(() => held.version).toThrow(/held\.json/);
	}
});

/** Asks the next server of the list; where the connection fails or it has no time (503), the one after it: what deploy/nginx.conf does. */
async function balancer(targets: string[]): Promise<string> {
	let turn = 0;
	const answer = async (
		request: IncomingMessage,
		response: ServerResponse,
	): Promise<void> => {
		const chunks: Buffer[] = [];
		for await (const chunk of request) chunks.push(chunk as Buffer);
		const first = turn++;
		for (let tries = 0; tries < targets.length; tries++) {
			const target = targets[(first + tries) % targets.length] as string;
			try {
				const reply = await post(
					target + (request.url as string),
					Buffer.concat(chunks),
				);
				const text = await reply.text();
				if (reply.status === 503) continue;
				response.writeHead(reply.status).end(text);
				return;
			} catch {
				// killed, or not there yet
			}
		}
		response.writeHead(502).end();
	};
	const server = createServer((request, response) => {
		void answer(request, response);
	});
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	onTestFinished(() => {
		server.closeAllConnections();
		server.close();
	});
	return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

it("behind a balancer: a product is learnt, a replica killed and one ended, and every answer is a whole version's", async () => {
	const work = mkdtempSync(join(tmpdir(), "keepsight-replicas-"));
	onTestFinished(() => rmSync(work, { recursive: true, force: true }));
	const data = join(work, "data");
	const run = join(work, "run");
	await drawCategory(join(data, "mvtec/a"), 0, 14, 3);
	await drawCategory(join(data, "mvtec/b"), 1, 14, 3);
	const config = join(work, "run.yaml");
	writeFileSync(
		config,
		frozenRun({ root: data, tasks: ["mvtec/a"], out: join(work, "out") }),
	);
	const learnt = keepsight(
		"learn",
		"--mem_dir",
		run,
		"--task",
		"mvtec/a",
		"--data",
		join(data, "mvtec/a"),
		"--config",
		config,
	);
	expect(learnt.status, learnt.stderr).toBe(0);
	const files = ["mvtec/a", "mvtec/b"].flatMap((category) =>
		["test/good", "test/spot"].flatMap((part) =>
			readdirSync(join(data, category, part))
				.sort()
				.map((name) => join(data, category, part, name)),
		),
	);
	const bodies = files.map((file) => readFileSync(file));
	/** What the version that is the newest now says of every file. */
	const expected = () =>
		keepsight("predict", "--mem_dir", run, ...files, "--json")
			.stdout.trim()
			.split("\n")
			.map((line) => JSON.parse(line) as Prediction);
	const said = new Map([[1, expected()]]);

	const started = async (...args: string[]): Promise<Running> => {
		const running = await serving(run, "--workers", "1", ...args);
		onTestFinished(() => {
			running.process.kill("SIGKILL");
		});
		return running;
	};
	const writer = await started("--state", join(work, "state"));
	const replicas = await Promise.all([
		started("--replica", writer.url),
		started("--replica", writer.url),
	]);
	const targets = replicas.map(({ url }) => url);
	const url = await balancer(targets);
	const answers: {
		readonly i: number;
		readonly at: number;
		readonly reply: PredictedReply;
	}[] = [];
	const failed: number[] = [];
	let stop = false;
	const client = async (offset: number) => {
		for (let k = offset; !stop; k++) {
			const i = k % files.length;
			const reply = await post(`${url}/v1/predict`, bodies[i] as Buffer);
			const at = performance.now();
			if (reply.status === 200)
				answers.push({ i, at, reply: (await reply.json()) as PredictedReply });
			else failed.push(reply.status);
			await sleep(50); // the cores are for the servers that start
		}
	};
	const clients = [client(0), client(5)];
	const more = async (count: number) => {
		const from = answers.length;
		await expect
			.poll(() => answers.length, { timeout: 60_000 })
			.toBeGreaterThan(from + count);
	};

	await more(12);
	const job = await send<JobReply>(`${writer.url}/v1/tasks`, {
		name: "mvtec/b",
	});
	for (const [n, name] of readdirSync(
		join(data, "mvtec/b/train/good"),
	).entries())
		await fetch(`${writer.url}/v1/jobs/${job.id}/images/${n}`, {
			method: "PUT",
			body: readFileSync(join(data, "mvtec/b/train/good", name)),
			headers: { "content-type": "image/png" },
		});
	await send(`${writer.url}/v1/jobs/${job.id}/start`, {});
	for (const one of [writer.url, ...targets])
		await expect.poll(() => versionOf(one), { timeout: 60_000 }).toBe(2);
	await more(12);

	expect(await writer.stop()).toBe(0); // nobody needs it to score
	expect(readdirSync(join(work, "state"))).toContain("history.sqlite");
	expect(readdirSync(join(run, "serve"))).toEqual(["held.json"]);
	const before = listing(run);
	await replicas[0]?.stop("SIGKILL");
	await more(12);
	targets[0] = (await started("--replica", writer.url)).url;
	expect(await versionOf(targets[0])).toBe(2);
	expect(await replicas[1]?.stop("SIGTERM")).toBe(0);
	await more(12);
	stop = true;
	await Promise.all(clients);
	expect(listing(run)).toEqual(before);

	said.set(2, expected());
	expect(failed).toEqual([]);
	for (const { i, reply } of answers) {
		const { score, task, verdict } = reply;
		const same = said.get(reply.memoryVersion)?.[i];
		expect({ score, task, verdict }).toEqual({
			score: same?.score,
			task: same?.task,
			verdict: same?.verdict,
		});
	}
	const at = (version: number) =>
		answers
			.filter(({ reply }) => reply.memoryVersion === version)
			.map((answer) => answer.at);
	const behind = Math.max(...at(1)) - Math.min(...at(2));
	expect(behind).toBeLessThan(10_000); // two replicas change at different moments
}, 180_000);
