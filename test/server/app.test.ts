/** What the server lets in, what it answers, and what it refuses, over real sockets. */
import { cpSync, mkdirSync } from "node:fs";
import { connect } from "node:net";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32, deflateSync, gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { Answered } from "../../src/scorer.ts";
import type { PredictedReply, RunsReply } from "../../src/server/api.ts";
import {
	answered,
	fake,
	fakeMemory,
	gate,
	grey,
	post,
	products,
	served,
} from "./fake.ts";

const json = async (response: Response) =>
	(await response.json()) as Record<string, never> & { code: string };

/** A PNG that says it is so large. */
function claimed(width: number, height: number): Uint8Array {
	const chunk = (type: string, data: Uint8Array) => {
		const body = Buffer.concat([Buffer.from(type), data]);
		const frame = Buffer.alloc(8);
		frame.writeUInt32BE(data.length, 0);
		frame.writeUInt32BE(crc32(body), 4);
		return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
	};
	const header = Buffer.alloc(13);
	header.writeUInt32BE(width, 0);
	header.writeUInt32BE(height, 4);
	header.set([8, 0, 0, 0, 0], 8);
	return Buffer.concat([
		Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
		chunk("IHDR", header),
		chunk("IDAT", deflateSync(Buffer.alloc(2_400_000))),
		chunk("IEND", Buffer.alloc(0)),
	]);
}

describe("predict", () => {
	it("takes a picture as the body or as the file of a form, and says what was found", async () => {
		const { url } = await served(
			fake((sent, version) =>
				answered(version, {
					score: 3,
					verdict: "defect",
					task: sent.task ?? "mvtec/cap",
				}),
			),
		);
		const raw = await post(`${url}/v1/predict`, await grey(9));
		expect(raw.status).toBe(200);
		expect(await raw.json()).toMatchObject({
			id: 1,
			score: 3,
			threshold: 2,
			verdict: "defect",
			anomalous: true,
			task: "mvtec/cap",
			memoryVersion: 1,
			name: null,
			map: null,
		} satisfies Partial<PredictedReply>);
		const form = new FormData();
		form.append("file", new Blob([await grey(9)]), "<script>'&.png");
		const named = await post(
			`${url}/v1/predict?task=${encodeURIComponent("line 2/ring")}`,
			form,
		);
		expect(await named.json()).toMatchObject({
			id: 2,
			name: "<script>'&.png",
			task: "line 2/ring",
		});
	});

	it("what is no picture, too large, or of an unknown product is refused before it is queued", async () => {
		const scored = fake();
		const { url } = await served(scored);
		const predict = `${url}/v1/predict`;
		const svg = '<svg xmlns="http://www.w3.org/2000/svg"/>';
		const cases: [Response, number, string][] = [
			[await post(predict, svg), 415, "IMAGE_UNREADABLE"],
			[await post(predict, "%PDF-1.4"), 415, "IMAGE_UNREADABLE"],
			[await post(predict, "GIF89a"), 415, "IMAGE_UNREADABLE"],
			[await post(predict, ""), 415, "IMAGE_UNREADABLE"],
			[
				await post(predict, await grey(1), { "content-type": "text/plain" }),
				415,
				"MEDIA_TYPE",
			],
			[await post(predict, new FormData()), 400, "REQUEST_INVALID"],
			[await post(predict, claimed(16_000, 16_000)), 413, "IMAGE_TOO_LARGE"],
			[await post(predict, Buffer.alloc(33 << 20)), 413, "BODY_TOO_LARGE"],
			[
				await post(`${predict}?task=nobody`, await grey(1)),
				404,
				"UNKNOWN_NAME",
			],
			[await post(`${predict}?map=svg`, await grey(1)), 400, "REQUEST_INVALID"],
			[await post(`${predict}?what=1`, await grey(1)), 400, "REQUEST_INVALID"],
		];
		for (const [response, status, code] of cases) {
			const body = await json(response);
			expect([response.status, body.code]).toEqual([status, code]);
			expect(response.headers.get("content-type")).toMatch(
				/^application\/problem\+json/,
			);
			expect(JSON.stringify(body)).not.toMatch(
				/node_modules|src\/|dist\/|\.ts/,
			);
		}
		expect(scored.groups).toEqual([]);
	});

	it("a bomb of 50,000 x 50,000 pixels is refused within 50 ms", async () => {
		const { url } = await served(fake());
		const bomb = claimed(50_000, 50_000);
		await post(`${url}/v1/predict`, await grey(1)); // warm
		const times: number[] = [];
		for (let i = 0; i < 5; i++) {
			const began = performance.now();
			const response = await post(`${url}/v1/predict`, bomb);
			times.push(performance.now() - began);
			expect(response.status).toBe(413);
		}
		expect(Math.min(...times)).toBeLessThan(50);
	});

	it("many large pictures at once are more pixels than are taken together", async () => {
		const waits = gate<Answered>();
		const { url } = await served(fake(() => waits.promise));
		const large = claimed(9000, 9000); // 81 million each
		let refused = 0;
		const responses = Array.from({ length: 8 }, async () => {
			const { status } = await post(`${url}/v1/predict`, large);
			if (status === 503) refused++;
			return status;
		});
		await expect.poll(() => refused, { timeout: 10_000 }).toBe(4);
		waits.resolve(answered(1));
		const statuses = (await Promise.all(responses)).sort();
		expect(statuses).toEqual([200, 200, 200, 200, 503, 503, 503, 503]);
	});

	it("under load pictures are scored together, and no more wait than the queue holds", async () => {
		const open = gate<void>();
		const scored = fake(async (_, version) => {
			await open.promise;
			return answered(version);
		});
		const { url } = await served(scored, {
			limits: { workers: 1, queue: 12, timeoutMs: 20_000 },
		});
		const picture = await grey(5);
		const sent = Array.from({ length: 40 }, () =>
			post(`${url}/v1/predict`, picture),
		);
		let refused = 0;
		for (const reply of sent)
			void reply.then(({ status }) => {
				if (status === 503) refused++;
			});
		await expect.poll(() => refused, { timeout: 10_000 }).toBe(28);
		const times: number[] = [];
		for (let i = 0; i < 40; i++) {
			const began = performance.now();
			expect((await fetch(`${url}/health`)).status).toBe(200);
			times.push(performance.now() - began);
		}
		expect(times.sort((a, b) => a - b)[20]).toBeLessThan(50);
		open.resolve();
		const replies = await Promise.all(sent);
		const busy = replies.filter(({ status }) => status === 503);
		expect(replies.filter(({ status }) => status === 200)).toHaveLength(12);
		expect(busy).toHaveLength(28);
		for (const reply of busy)
			expect(reply.headers.get("retry-after")).toBe("1");
		expect(Math.max(...scored.groups.map((group) => group.length))).toBe(4);
	});

	it("a picture that takes too long, and one whose process is lost, are told so; another process takes over", async () => {
		const scored = fake(() => new Promise(() => {}));
		const { url, logged } = await served(scored, {
			limits: { workers: 1, queue: 8, timeoutMs: 300 },
		});
		const late = await post(`${url}/v1/predict`, await grey(1));
		expect([late.status, (await json(late)).code]).toEqual([
			503,
			"REQUEST_TIMED_OUT",
		]);
		scored.scorers[0]?.crash();
		await expect.poll(() => scored.scorers.length).toBe(2);
		scored.answer = (_, version) => answered(version);
		await expect
			.poll(async () => (await post(`${url}/v1/predict`, await grey(1))).status)
			.toBe(200);
		expect(logged.join()).toContain("a scoring process was lost: crashed");
	});

	it("a crash costs the pictures that the process had, and none that waited", async () => {
		const scored = fake(() => new Promise(() => {}));
		const { url } = await served(scored);
		const picture = await grey(1);
		const sent = Array.from({ length: 20 }, () =>
			post(`${url}/v1/predict`, picture),
		);
		const queue = async () =>
			((await (await fetch(`${url}/health`)).json()) as { queue: number })
				.queue;
		await expect.poll(queue).toBe(20);
		const had = scored.groups.flat().length;
		scored.answer = (_, version) => answered(version);
		scored.scorers[0]?.crash();
		const statuses = (await Promise.all(sent)).map(({ status }) => status);
		expect(statuses.filter((status) => status === 503)).toHaveLength(had);
		expect(statuses.filter((status) => status === 200)).toHaveLength(20 - had);
		expect(had).toBeLessThan(10);
	});

	it("a client that goes away is not in the history", async () => {
		const waits = gate<Answered>();
		const { url } = await served(fake(() => waits.promise));
		const controller = new AbortController();
		const gone = fetch(`${url}/v1/predict`, {
			method: "POST",
			body: (await grey(1)) as NonNullable<RequestInit["body"]>,
			headers: { "content-type": "image/png" },
			signal: controller.signal,
		});
		await sleep(100);
		controller.abort();
		await expect(gone).rejects.toThrow();
		await sleep(100);
		waits.resolve(answered(1));
		await sleep(100);
		const { predictions } = (await (
			await fetch(`${url}/v1/history`)
		).json()) as {
			predictions: unknown[];
		};
		expect(predictions).toEqual([]);
	});
});

describe("who may ask", () => {
	it("another host name, another site's page and a page without a name are refused", async () => {
		const { url } = await served(fake(), { hosts: ["plant.example"] });
		const status = async (
			headers: Record<string, string>,
			path = "/v1/tasks",
		) => {
			const { hostname, port } = new URL(url);
			return new Promise<number>((resolve, reject) => {
				const lines = Object.entries({
					host: `${hostname}:${port}`,
					...headers,
					connection: "close",
				})
					.map(([name, value]) => `${name}: ${value}`)
					.join("\r\n");
				const socket = connect(Number(port), hostname, () =>
					socket.write(`GET ${path} HTTP/1.1\r\n${lines}\r\n\r\n`),
				);
				let text = "";
				socket.on("data", (data) => {
					text += data;
				});
				socket.on("close", () => resolve(Number(text.split(" ")[1])));
				socket.on("error", reject);
			});
		};
		const { host } = new URL(url);
		expect(await status({})).toBe(200);
		expect(await status({ host: "localhost" })).toBe(200);
		expect(await status({ host: "PLANT.example:81" })).toBe(200);
		expect(await status({ host: "evil.example" })).toBe(403);
		expect(await status({ host: "127.0.0.1.evil.example" })).toBe(403);
		expect(await status({ host: "" })).toBe(403);
		expect(await status({ origin: `http://${host}` })).toBe(200);
		expect(await status({ origin: "http://evil.example" })).toBe(403);
		expect(await status({ origin: "null" })).toBe(403);
		expect(await status({ origin: "https://plant.example" })).toBe(200);
		expect(await status({ origin: "http://127.0.0.1:1" })).toBe(403);
		expect(await status({ origin: `http://${host}.evil.example` })).toBe(403);
	});

	it("a token is wanted for all but health, and only the whole one will do", async () => {
		const token = "a-token-of-some-length";
		const { url } = await served(fake(), { token });
		const asked = async (path: string, authorization?: string) =>
			(
				await fetch(url + path, {
					headers: authorization === undefined ? {} : { authorization },
				})
			).status;
		expect(await asked("/health")).toBe(200);
		for (const path of [
			"/v1/tasks",
			"/metrics",
			"/openapi.json",
			"/v1/events",
			"/nowhere",
		]) {
			expect(await asked(path), path).toBe(401);
			expect(await asked(path, `Bearer ${token.slice(1)}`), path).toBe(401);
			expect(await asked(path, token), path).toBe(401);
		}
		expect(await asked("/v1/tasks", `Bearer ${token}`)).toBe(200);
	});

	it("other machines are not served without a token", async () => {
		await expect(served(fake(), { host: "0.0.0.0" })).rejects.toMatchObject({
			code: "TOKEN_NEEDED",
		});
		await expect(
			served(fake(), { host: "0.0.0.0", token: "short" }),
		).rejects.toMatchObject({ code: "TOKEN_NEEDED" });
	});

	it("an address that asks too often waits; health is always answered", async () => {
		const { url } = await served(fake(), { rate: 5 });
		const statuses = await Promise.all(
			Array.from(
				{ length: 20 },
				async () => (await fetch(`${url}/v1/tasks`)).status,
			),
		);
		expect(statuses.filter((status) => status === 200)).toHaveLength(5);
		expect(statuses.filter((status) => status === 429)).toHaveLength(15);
		expect((await fetch(`${url}/health`)).status).toBe(200);
	});

	it("a port that is taken is told", async () => {
		const { url } = await served(fake());
		await expect(
			served(fake(), { port: Number(new URL(url).port) }),
		).rejects.toMatchObject({ code: "ADDRESS_UNUSABLE" });
	});
});

describe("hostile requests", () => {
	it("names that look like paths are names", async () => {
		const { url } = await served(fake());
		const names = [
			"..%2f..%2fetc%2fpasswd",
			"%2e%2e%2f%2e%2e%2fetc%2fpasswd",
			"..%252f..%252fetc%252fpasswd",
			"..%5c..%5cwindows",
			"c%3a%5cwindows",
			"%5c%5chost%5cshare",
			"%00",
			"%2fetc%2fpasswd",
			"__proto__",
			"constructor",
			"mvtec%2fCAP",
		];
		const paths = names.flatMap((name) => [
			`/v1/tasks/${name}`,
			`/v1/jobs/${name}`,
			`/v1/jobs/${name}/odd/1`,
			`/v1/history/${name}/image`,
			`/v1/history/${name}/overlay`,
			`/assets/${name}`,
			`/${name}`,
		]);
		for (const path of paths) {
			const { status, body } = await raw(
				url,
				`GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`,
			);
			expect([400, 404], path).toContain(status);
			expect(body, path).not.toMatch(/root:|keepsight-server-/);
		}
		expect(
			(
				await fetch(
					`${url}/v1/tasks/${encodeURIComponent(products[1] as string)}`,
				)
			).status,
		).toBe(200);
	});

	it("a job that could not be learnt is refused before its pictures are sent", async () => {
		const { url } = await served(fake());
		const opened = async (body: object) => {
			const response = await post(`${url}/v1/tasks`, JSON.stringify(body), {
				"content-type": "application/json",
			});
			const { detail } = (await response.json()) as { detail?: string };
			return `${response.status} ${detail}`;
		};
		expect(await opened({ name: products[0] })).toMatch(
			/^409 .*learnt already/,
		);
		expect(await opened({ name: "../cap" })).toMatch(/^400 .*product's name/);
		expect(
			await opened({ name: products[0], kind: "add", review: true }),
		).toMatch(/^400 .*review belongs/);
		expect(await opened({ name: products[0], kind: "add" })).toMatch(/^201/);
		expect(await opened({ name: "new", review: true })).toMatch(/^201/);
	});

	it("bodies that poison, nest or lie are refused", async () => {
		const { url } = await served(fake());
		const headers = { "content-type": "application/json" };
		const bodies = [
			'{"__proto__": {"x": 1}}',
			'{"constructor": {"prototype": {"x": 1}}}',
			"[".repeat(100_000),
			'{"name": "a", "kind": "learn", "extra": 1}',
			'{"name": 5}',
			"",
			"null",
			"{",
		];
		for (const body of bodies) {
			const response = await post(`${url}/v1/tasks`, body, headers);
			expect(response.status, body.slice(0, 40)).toBe(400);
		}
		const lies = [
			"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\ncontent-length: -5\r\n\r\n",
			"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=" +
				"x".repeat(20_000) +
				"\r\ncontent-length: 5\r\n\r\nhello",
			"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
			"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
			"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\nconnection: close\r\ncontent-length: 12\r\n\r\n--x\r\nhello\r\n",
			"GARBAGE\r\n\r\n",
			`GET /${"x".repeat(40_000)} HTTP/1.1\r\nhost: localhost\r\n\r\n`,
		];
		for (const lie of lies) {
			const { status } = await raw(url, lie);
			expect(status, lie.slice(0, 60)).toBeGreaterThanOrEqual(400);
			expect(status, lie.slice(0, 60)).toBeLessThan(500);
		}
	});

	it("a form of many parts, and one that never ends, are refused", async () => {
		const { url } = await served(fake());
		const many = new FormData();
		for (let i = 0; i < 100; i++) many.append(`field${i}`, "x");
		expect(
			(await post(`${url}/v1/predict`, many)).status,
		).toBeGreaterThanOrEqual(400);
		const two = new FormData();
		two.append("a", new Blob([await grey(1)]), "a.png");
		two.append("b", new Blob([await grey(1)]), "b.png");
		const refused = await post(`${url}/v1/predict`, two); // one answer to two pictures would be the wrong one to one of them
		expect(refused.status).toBeGreaterThanOrEqual(400);
		expect(refused.status).toBeLessThan(500);
	});

	it("clients that send slowly or not at all are let go; others are served meanwhile", async () => {
		const { url } = await served(fake(), { receiveMs: 600 });
		const starts = [
			"GET /v1/tas", // headers that never end
			"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\nabc", // nor a body
		];
		const sockets = Array.from({ length: 50 }, (_, i) =>
			raw(url, starts[i % 2] as string),
		);
		expect((await post(`${url}/v1/predict`, await grey(1))).status).toBe(200);
		for (const { status } of await Promise.all(sockets))
			expect(status).toBe(408);
	});

	it("a body of one-byte chunks is a body; one that says it is compressed is taken as it is", async () => {
		const { url } = await served(fake());
		const picture = await grey(5);
		const head =
			"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: image/png\r\n";
		const chunks = [...picture].map(
			(byte) => `1\r\n${String.fromCharCode(byte)}\r\n`,
		);
		const sent = await raw(
			url,
			`${head}transfer-encoding: chunked\r\n\r\n${chunks.join("")}0\r\n\r\n`,
		);
		expect(sent.status).toBe(200);
		const bomb = gzipSync(Buffer.alloc(20_000_000));
		const response = await post(`${url}/v1/predict`, bomb, {
			"content-type": "image/png",
			"content-encoding": "gzip",
		});
		expect(response.status).toBe(415);
	});

	it("more connections than it takes are closed, and those it has are served", async () => {
		const { url } = await served(fake(), { connections: 10 });
		const { hostname, port } = new URL(url);
		const held = await Promise.all(
			Array.from({ length: 30 }, () => open(hostname, Number(port))),
		);
		const left = () => held.filter(({ closed }) => !closed());
		await expect.poll(() => left().length, { timeout: 10_000 }).toBe(10);
		expect(
			await left()[0]?.ask("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"),
		).toContain("200 OK");
		for (const { end } of held) end();
		await expect
			.poll(
				async () => {
					const signal = AbortSignal.timeout(1000); // fetch waits on for a connection that is closed at once
					const reply = await fetch(`${url}/health`, { signal }).catch(
						() => null,
					);
					return reply?.status;
				},
				{ timeout: 10_000 },
			)
			.toBe(200);
	});
});

interface Held {
	closed(): boolean;
	ask(text: string): Promise<string>;
	end(): void;
}

/** A connection that sends nothing until it is told. */
function open(hostname: string, port: number): Promise<Held> {
	return new Promise((resolve) => {
		let closed = false;
		const socket = connect(port, hostname);
		const held: Held = {
			closed: () => closed,
			ask: (text) =>
				new Promise((answer) => {
					socket.once("data", (data) => answer(String(data)));
					socket.write(text);
				}),
			end: () => socket.destroy(),
		};
		const settle = () => resolve(held);
		socket.on("connect", settle);
		socket.on("error", () => {
			closed = true;
			settle();
		});
		socket.on("close", () => {
			closed = true;
			settle();
		});
		socket.resume();
	});
}

/** Sends bytes as they are; the answer once the server closes or has answered. */
function raw(
	url: string,
	text: string,
): Promise<{ readonly status: number; readonly body: string }> {
	const { hostname, port } = new URL(url);
	return new Promise((resolve) => {
		const socket = connect(Number(port), hostname, () =>
			socket.write(text, "latin1"),
		);
		let body = "";
		const done = () =>
			resolve({ status: Number(body.split(" ")[1] ?? 0), body });
		socket.on("data", (data) => {
			body += data;
			if (/^content-length: 0\r$/m.test(body)) socket.destroy();
		});
		socket.on("error", done);
		socket.on("close", done);
	});
}

describe("events", () => {
	it("tell of what is scored, from where a viewer left off", async () => {
		const { url } = await served(fake());
		const picture = await grey(3);
		for (let i = 0; i < 3; i++) await post(`${url}/v1/predict`, picture);
		const text = await watched(`${url}/v1/events`, /"id":3/, "2");
		expect(text).not.toContain('"id":1,');
		expect(text).toContain("event: prediction");
	});

	it("a viewer that does not keep up is let go", async () => {
		const { url } = await served(
			fake((_, version) => answered(version, { task: "x".repeat(50_000) })),
		);
		const { hostname, port } = new URL(url);
		const socket = connect(Number(port), hostname, () =>
			socket.write("GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n"),
		);
		socket.on("error", () => {});
		socket.pause();
		const viewers = async () =>
			/keepsight_viewers (\d+)/.exec(
				await (await fetch(`${url}/metrics`)).text(),
			)?.[1];
		await expect.poll(viewers).toBe("1");
		const picture = await grey(1);
		for (let i = 0; i < 200; i++) await post(`${url}/v1/predict`, picture);
		await expect.poll(viewers).toBe("0");
		socket.destroy();
	});

	it("a server that ends lets all viewers go", async () => {
		const { url, close } = await served(fake());
		const { hostname, port } = new URL(url);
		const ended = Array.from(
			{ length: 20 },
			() =>
				new Promise<void>((resolve) => {
					const socket = connect(Number(port), hostname, () =>
						socket.write("GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n"),
					);
					socket.resume();
					socket.on("close", () => resolve());
				}),
		);
		await expect
			.poll(
				async () =>
					(await (await fetch(`${url}/metrics`)).text()).match(
						/keepsight_viewers (\d+)/,
					)?.[1],
			)
			.toBe("20");
		await close();
		await Promise.all(ended);
	});
});

async function watched(
	url: string,
	until: RegExp,
	lastEventId: string,
): Promise<string> {
	const controller = new AbortController();
	const response = await fetch(url, {
		headers: { "last-event-id": lastEventId },
		signal: controller.signal,
	});
	let text = "";
	for await (const part of response.body as unknown as AsyncIterable<Uint8Array>) {
		text += Buffer.from(part).toString();
		if (until.test(text)) break;
	}
	controller.abort();
	return text;
}

describe("a memory", () => {
	it("that is not there yet: the server waits for a first product", async () => {
		const dir = fakeMemory();
		const { rmSync } = await import("node:fs");
		rmSync(`${dir}/run.json`);
		const { url } = await served(fake(), { memDir: dir });
		expect(await (await fetch(`${url}/health`)).json()).toMatchObject({
			status: "empty",
			memoryVersion: null,
		});
		const refused = await post(`${url}/v1/predict`, await grey(1));
		expect([refused.status, (await json(refused)).code]).toEqual([
			409,
			"NOT_NOW",
		]);
	});
});

it("a run is called as the folder that learn made, or as train's name", async () => {
	const memDir = fakeMemory();
	const runs = join(memDir, "runs");
	mkdirSync(join(runs, "first"), { recursive: true });
	cpSync(fakeMemory(), join(runs, "first", "Anomaly"), { recursive: true });
	const { url } = await served(fake(), { memDir, runs });
	const found = (await (await fetch(`${url}/v1/runs`)).json()) as RunsReply;
	expect(found.runs.map(({ name }) => name)).toEqual([
		basename(memDir),
		"first",
	]);
});

it("every route is in openapi.json, and what it answers fits", async () => {
	const { url } = await served(fake());
	const api = (await (await fetch(`${url}/openapi.json`)).json()) as {
		paths: Record<string, Record<string, unknown>>;
	};
	expect(Object.keys(api.paths).sort()).toEqual(
		[
			"/health",
			"/metrics",
			"/v1/predict",
			"/v1/history",
			"/v1/history/{id}/image",
			"/v1/history/{id}/overlay",
			"/v1/events",
			"/v1/feedback",
			"/v1/feedback/{id}",
			"/v1/feedback/apply",
			"/v1/tasks",
			"/v1/tasks/{name}",
			"/v1/tasks/{name}/threshold",
			"/v1/jobs",
			"/v1/jobs/{id}",
			"/v1/jobs/{id}/images/{n}",
			"/v1/jobs/{id}/roi",
			"/v1/jobs/{id}/start",
			"/v1/jobs/{id}/review",
			"/v1/jobs/{id}/odd/{n}",
			"/v1/jobs/{id}/events",
			"/v1/versions",
			"/v1/versions/{id}/activate",
			"/v1/runs",
		].sort(),
	);
});
