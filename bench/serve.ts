/**
 * A server and, in this process, the predictor that it serves: a line on standard input, a line of JSON back, in ms a picture.
 * node serve.js '{"images":200,"threads":2}'
 * "alone": one picture after the other, here. "asked": the same over HTTP, the next once the last is answered. "together": all of them, here, in
 * groups as `predict` takes them. "clients": all of them over HTTP, 8 clients at a time. "end": both end.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { findImages } from "../src/data/find.ts";
import { ahead } from "../src/predict.ts";
import { Predictor } from "../src/predictor.ts";
import { openRun } from "../src/run.ts";
import { answerLines } from "./answers.ts";
import { learnProduct } from "./learnt.ts";

const CLIENTS = 8;
const job = JSON.parse(process.argv[2] as string) as {
	readonly images: number;
	readonly threads: number;
};
const {
	dir: folder,
	memDir,
	category,
} = await learnProduct({ train: 100, test: job.images, threads: job.threads });
const found = await findImages(join(category, "test/good"));
const pictures = found.map(({ path }) => readFileSync(path));
const predictor = new Predictor(openRun(memDir, "read").memory, job.threads);

const server = spawn(
	process.execPath,
	[
		"dist/cli.js",
		"serve",
		"--mem_dir",
		memDir,
		"--port",
		"0",
		"--rate",
		"1000000",
		"--quiet",
	],
	{ stdio: ["ignore", "pipe", "inherit"] },
);
const [line] = await once(createInterface({ input: server.stdout }), "line");
const url = `${String(line).split(" at ")[1]}/v1/predict`;

const median = (x: readonly number[]) =>
	[...x].sort((a, b) => a - b)[x.length >> 1] as number;
async function timed(work: () => Promise<unknown>): Promise<number> {
	const began = performance.now();
	await work();
	return performance.now() - began;
}
async function scored(bytes: Uint8Array): Promise<void> {
	const source = { path: "one", name: "one", told: null };
	for await (const _ of predictor.score([
		await predictor.picture(source, bytes),
	])) {
		// the time is all that counts
	}
}
async function ask(bytes: Uint8Array): Promise<void> {
	const reply = await fetch(url, {
		method: "POST",
		body: bytes as NonNullable<RequestInit["body"]>,
		headers: { "content-type": "image/png" },
	});
	if (reply.status !== 200) throw new Error(await reply.text());
	await reply.json();
}
async function medianOf(
	work: (bytes: Uint8Array) => Promise<void>,
): Promise<number> {
	const times: number[] = [];
	for (const bytes of pictures.slice(0, 50))
		times.push(await timed(() => work(bytes)));
	return median(times);
}

await answerLines({
	alone: () => medianOf(scored),
	asked: () => medianOf(ask),
	together: async () => {
		const time = await timed(async () => {
			for await (const group of ahead(predictor.read([found], null)))
				for await (const _ of predictor.score(group)) {
					// the time is all that counts
				}
		});
		return time / pictures.length;
	},
	clients: async () => {
		const waiting = [...pictures];
		const client = async () => {
			for (
				let bytes = waiting.pop();
				bytes !== undefined;
				bytes = waiting.pop()
			)
				await ask(bytes);
		};
		const time = await timed(() =>
			Promise.all(Array.from({ length: CLIENTS }, client)),
		);
		return time / pictures.length;
	},
	end: async () => {
		server.kill("SIGTERM");
		await once(server, "exit");
		await predictor.release();
		rmSync(folder, { recursive: true, force: true });
		return 0;
	},
});
