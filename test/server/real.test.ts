/** The built program serving what it learnt: the bits of `predict`, and nothing lost whatever happens. */
import { execFileSync } from "node:child_process";
import {
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import type { Prediction } from "../../src/events.ts";
import type {
	HistoryRow,
	JobReply,
	PredictedReply,
	ProductReply,
	VersionsReply,
} from "../../src/server/api.ts";
import { encodePng } from "../../src/data/image.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { Random } from "../../src/random.ts";
import { drawCategory, frozenRun } from "../drawn.ts";
import { keepsight } from "../program.ts";
import { get, post, send } from "./fake.ts";
import { type Running, serving } from "./running.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-serve-"));
const data = join(work, "data");
const config = join(work, "run.yaml");
const run = join(work, "run");
afterAll(() => rmSync(work, { recursive: true, force: true }));

const folder = (category: string, part: string) => join(data, category, part);
const pictures = (dir: string) =>
	readdirSync(dir)
		.sort()
		.map((name) => join(dir, name));
const tested = ["mvtec/a", "mvtec/b"].flatMap((category) =>
	["test/good", "test/spot"].flatMap(
		(part) => () => pictures(folder(category, part)),
	),
);

beforeAll(async () => {
	await drawCategory(join(data, "mvtec/a"), 0, 14, 5);
	await drawCategory(join(data, "mvtec/b"), 1, 14, 5);
	writeFileSync(
		config,
		frozenRun({ root: data, tasks: ["mvtec/a"], out: join(work, "out") }),
	);
	for (const task of ["mvtec/a", "mvtec/b"]) {
		const { status, stderr } = keepsight(
			"learn",
			"--mem_dir",
			run,
			"--task",
			task,
			"--data",
			join(data, task),
			...(task === "mvtec/a" ? ["--config", config] : []),
		);
		if (status !== 0) throw new Error(stderr);
	}
});

const started = async (dir: string, ...args: string[]): Promise<Running> => {
	const running = await serving(dir, ...args);
	onTestFinished(() => {
		running.process.kill("SIGKILL");
	});
	return running;
};
const predict = (url: string, file: string, query = "") =>
	post(`${url}/v1/predict${query}`, readFileSync(file));
/** Until it waits for somebody, or ended. */
const settled = async (url: string, { id }: JobReply): Promise<JobReply> => {
	let job: JobReply | null = null;
	await expect
		.poll(
			async () => {
				job = await get<JobReply>(`${url}/v1/jobs/${id}`);
				return job.state;
			},
			{ timeout: 30_000 },
		)
		.toMatch(/done|failed|cancelled|review/);
	return job as unknown as JobReply;
};

it("answers with the bits of predict, alone and with others, and keeps them", async () => {
	const files = tested.flatMap((list) => list());
	const { stdout } = keepsight("predict", "--mem_dir", run, ...files, "--json");
	const expected = stdout
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line) as Prediction);
	const { url, stop } = await started(run);
	const alone = await predict(url, files[0] as string, "?map=png");
	const { map } = (await alone.json()) as PredictedReply;
	expect(
		Buffer.from(map ?? "", "base64")
			.subarray(1, 4)
			.toString(),
	).toBe("PNG");
	const replies = await Promise.all(
		files.map(
			async (file) =>
				(await (await predict(url, file)).json()) as PredictedReply,
		),
	);
	const essence = ({
		score,
		threshold,
		verdict,
		task,
		anomalous,
		memoryVersion,
	}: Prediction | PredictedReply) => ({
		score,
		threshold,
		verdict,
		task,
		anomalous,
		memoryVersion,
	});
	expect(replies.map(essence)).toEqual(expected.map(essence));
	const { predictions } = await get<{ predictions: HistoryRow[] }>(
		`${url}/v1/history?limit=500`,
	);
	expect(predictions).toHaveLength(files.length + 1);
	const overlay = await fetch(`${url}/v1/history/1/overlay`);
	expect(overlay.headers.get("content-type")).toBe("image/png");
	expect(await stop()).toBe(0);
	const again = await started(run);
	expect(
		(
			await get<{ predictions: HistoryRow[] }>(
				`${again.url}/v1/history?limit=500`,
			)
		).predictions,
	).toEqual(predictions.map((row) => ({ ...row, image: false })));
});

it("SIGTERM with 50 requests in flight loses none", async () => {
	const { url, stop, process: child } = await started(run, "--workers", "1");
	const pixels = new Random("drain");
	const noise = uint8(
		[1200, 1200, 3],
		Uint8Array.from({ length: 3 * 1200 * 1200 }, () => pixels.integer(256)),
	);
	const bytes = await encodePng(noise, 1); // takes a while to decode
	const sent = Array.from({ length: 50 }, () =>
		post(`${url}/v1/predict`, bytes),
	);
	const arrived = async () => {
		const metrics = await (await fetch(`${url}/metrics`)).text();
		const sum = (name: string) =>
			[
				...metrics.matchAll(new RegExp(`^${name}(?:{.*})? (\\d+)$`, "gm")),
			].reduce((all, [, value]) => all + Number(value), 0);
		const waiting = sum("keepsight_queue_depth");
		return [waiting + sum("keepsight_predictions_total"), waiting > 10];
	};
	await expect
		.poll(arrived, { interval: 5, timeout: 20_000 })
		.toEqual([50, true]);
	const code = stop();
	const replies = await Promise.all(sent);
	expect(replies.map(({ status }) => status)).toEqual(Array(50).fill(200));
	const answered = performance.now();
	expect(await code).toBe(0);
	expect(performance.now() - answered).toBeLessThan(10_000); // far below the grace time: no connection is waited for
	expect(child.exitCode).toBe(0);
}, 120_000);

it("a scoring process that is killed costs its requests an error and nothing else", async () => {
	const { url, process: child, logged } = await started(run, "--workers", "1");
	const file = pictures(folder("mvtec/b", "test/good"))[0] as string;
	const before = await predict(url, file);
	const { score } = (await before.json()) as PredictedReply;
	const scorer = execFileSync("ps", ["-o", "pid=", "--ppid", String(child.pid)])
		.toString()
		.trim()
		.split(/\s+/)
		.map(Number);
	expect(scorer).toHaveLength(1);
	const sent = Array.from({ length: 20 }, () => predict(url, file));
	await sleep(30);
	process.kill(scorer[0] as number, "SIGKILL");
	const statuses = (await Promise.all(sent)).map(({ status }) => status);
	for (const status of statuses) expect([200, 503]).toContain(status);
	await expect
		.poll(async () => (await predict(url, file)).status, { timeout: 10_000 })
		.toBe(200);
	const after = (await (await predict(url, file)).json()) as PredictedReply;
	expect(after.score).toBe(score);
	expect(logged()).toContain("a scoring process was lost");
}, 120_000);

it("products are learnt on the disk while pictures are scored: no answer fails", async () => {
	const dir = join(work, "copied");
	execFileSync("cp", ["-r", run, dir]);
	const { url } = await started(dir);
	const files = tested.flatMap((list) => list());
	let stop = false;
	const seen: number[] = [];
	const client = async (offset: number) => {
		for (let i = offset; !stop; i++) {
			const reply = await predict(url, files[i % files.length] as string);
			expect(reply.status).toBe(200);
			seen.push(((await reply.json()) as PredictedReply).memoryVersion);
		}
	};
	const clients = [client(0), client(7), client(13)];
	const { execFile } = await import("node:child_process");
	const { cli } = await import("../program.ts");
	for (const [i, command] of [
		["learn", "--task", "mvtec/c", "--data", folder("mvtec/b", "train/good")],
		["forget", "--task", "mvtec/c"],
		["rollback"],
	].entries()) {
		const [name = "", ...rest] = command;
		await new Promise<void>((resolve, reject) =>
			execFile(
				process.execPath,
				[cli, name, "--mem_dir", dir, ...rest],
				(error) => (error ? reject(error) : resolve()),
			),
		);
		await expect
			.poll(
				async () => (await get<VersionsReply>(`${url}/v1/versions`)).active,
				{ timeout: 20_000 },
			)
			.toBe(3 + i);
	}
	stop = true;
	await Promise.all(clients);
	expect([...new Set(seen)].sort()).toEqual([2, 3, 4, 5]);
}, 120_000);

it("from an empty folder: a product is sent, reviewed, learnt, corrected and served", async () => {
	const dir = join(work, "fresh");
	const { url } = await started(
		relative(process.cwd(), dir), // as somebody types it
		"--config",
		config,
	);
	expect(await get(`${url}/health`)).toMatchObject({ status: "empty" });
	const job = await send<JobReply>(`${url}/v1/tasks`, {
		name: "line 2/cap",
		review: true,
	});
	const put = (n: number, file: string, to = job) =>
		fetch(`${url}/v1/jobs/${to.id}/images/${n}`, {
			method: "PUT",
			body: readFileSync(file),
			headers: { "content-type": "image/png" },
		});
	const good = pictures(folder("mvtec/a", "train/good"));
	const few = await send<JobReply>(`${url}/v1/tasks`, {
		name: "few",
		kind: "learn",
	});
	await put(0, good[0] as string, few);
	await send(`${url}/v1/jobs/${few.id}/start`, {});
	const failed = await settled(url, few);
	expect(failed.state).toBe("failed");
	expect(failed.message).toMatch(
		/^The folder of pictures holds 1 good image, /,
	);
	for (const [n, file] of good.entries())
		expect((await put(n, file)).status).toBe(200);
	await put(99, pictures(folder("mvtec/b", "test/spot"))[0] as string); // another product, with a defect
	expect(
		(
			await fetch(`${url}/v1/jobs/${job.id}/images/5`, {
				method: "PUT",
				body: "no picture",
				headers: { "content-type": "image/png" },
			})
		).status,
	).toBe(415);
	await send(`${url}/v1/jobs/${job.id}/start`, {});
	const review = await settled(url, job);
	expect(review.state).toBe("review");
	expect(review.odd[0]?.image).toBe(99);
	expect(
		(await fetch(`${url}/v1/jobs/${job.id}/odd/99`)).headers.get(
			"content-type",
		),
	).toBe("image/png");
	expect(
		await send(`${url}/v1/jobs/${job.id}/review`, { refused: [99, 98] }),
	).toMatchObject({ detail: expect.stringContaining("98 is none of the odd") });
	await send(`${url}/v1/jobs/${job.id}/review`, { refused: [99] });
	const learnt = await settled(url, job);
	expect(learnt).toMatchObject({ state: "done", memoryVersion: 1 });
	expect(learnt.message).toContain("without 1 that the review refused");
	expect(learnt.message).not.toContain(work);
	const before = (await (
		await predict(url, good[3] as string)
	).json()) as PredictedReply;
	expect(before).toMatchObject({ task: "line 2/cap", memoryVersion: 1 });
	// operators say that a mark is allowed from now on
	const marked = pictures(folder("mvtec/a", "test/spot"));
	const rejected: PredictedReply[] = [];
	for (const file of marked)
		rejected.push((await (await predict(url, file)).json()) as PredictedReply);
	expect(rejected.every(({ anomalous }) => anomalous)).toBe(true);
	const ids: number[] = [];
	for (const { id } of rejected)
		ids.push(
			(
				await send<{ id: number }>(`${url}/v1/feedback`, {
					prediction: id,
					label: "good",
					task: "line 2/cap", // one may be taken for no product at all
				})
			).id,
		);
	const applied = await settled(
		url,
		await send<JobReply>(`${url}/v1/feedback/apply`, {
			task: "line 2/cap",
			ids,
		}),
	);
	expect(applied).toMatchObject({ state: "done", memoryVersion: 2 });
	const { active, versions } = await get<VersionsReply>(`${url}/v1/versions`);
	expect(active).toBe(1); // verdicts of kept pictures change: a person decides
	expect(versions[0]).toMatchObject({
		state: "waiting",
		check: { images: marked.length },
	});
	expect(versions[0]?.check?.changed[0]?.label).toBe("good");
	await send(`${url}/v1/versions/2/activate`, {});
	const again = await predict(url, marked[0] as string);
	const after = (await again.json()) as PredictedReply;
	expect(after.memoryVersion).toBe(2);
	expect(after.score).toBeLessThan(rejected[0]?.score as number);
	const product = await get<ProductReply>(
		`${url}/v1/tasks/${encodeURIComponent("line 2/cap")}`,
	);
	expect(product.images).toBe(14 + marked.length);
	expect(product.goodScores.length).toBeGreaterThan(0);
	expect(readdirSync(join(dir, "serve"))).not.toContain(job.id);
	expect(keepsight("tasks", "--mem_dir", dir, "--json").stdout).toContain(
		"line 2/cap",
	);
}, 120_000);

it("a threshold that a person sets holds for predict too, and goes with a reset", () => {
	const dir = join(work, "limited");
	execFileSync("cp", ["-r", run, dir]);
	const file = pictures(folder("mvtec/a", "test/good"))[0] as string;
	const thresholdNow = () =>
		(
			JSON.parse(
				keepsight("predict", "--mem_dir", dir, file, "--json").stdout,
			) as Prediction
		).threshold;
	expect(
		keepsight(
			"threshold",
			"--mem_dir",
			dir,
			"--task",
			"mvtec/a",
			"--score",
			"3.25",
		).status,
	).toBe(0);
	expect(thresholdNow()).toBe(3.25);
	expect(
		keepsight("threshold", "--mem_dir", dir, "--task", "mvtec/a", "--reset")
			.status,
	).toBe(0);
	expect(thresholdNow()).toBe(2);
	for (const args of [
		["--score", "-1"],
		["--score", ""],
		["--score", "x"],
		[],
		["--score", "1", "--reset"],
	])
		expect(
			keepsight("threshold", "--mem_dir", dir, "--task", "mvtec/a", ...args)
				.status,
		).toBe(2);
}, 120_000);

it("wrong starts say what to do", () => {
	const { KEEPSIGHT_TOKEN: _, ...env } = process.env;
	const tried = (...args: string[]) => {
		const before = process.env.KEEPSIGHT_TOKEN;
		delete process.env.KEEPSIGHT_TOKEN;
		try {
			return keepsight("serve", "--mem_dir", run, ...args);
		} finally {
			if (before !== undefined) process.env.KEEPSIGHT_TOKEN = before;
		}
	};
	expect(env).toBeDefined();
	expect(tried("--host", "0.0.0.0")).toMatchObject({
		status: 2,
		stderr: expect.stringContaining("KEEPSIGHT_TOKEN"),
	});
	expect(tried("--config", config)).toMatchObject({
		status: 2,
		stderr: expect.stringContaining("has its configuration already"),
	});
	expect(tried("--port", "-1").status).toBe(2);
}, 120_000);
