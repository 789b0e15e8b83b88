/** Versions, feedback and the history, with scorers that say what the test wants of each version. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type {
	FeedbackReply,
	HistoryRow,
	JobReply,
	PredictedReply,
	VersionsReply,
} from "../../src/server/api.ts";
import { fail } from "../../src/errors.ts";
import { History } from "../../src/server/history.ts";
import type { Teach } from "../../src/server/jobs.ts";
import type { Verdict } from "../../src/events.ts";
import type { Change } from "../../src/teach.ts";
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

/** A child process that makes changes at once: each is the next version. */
const teaching = (dir: string, changes: Change[] = []): Teach => {
	let version = 1;
	return async ({ change }) => {
		changes.push(change);
		version++;
		setVersion(dir, version);
		return {
			results: { memoryVersion: version, change: change.kind, tasks: [] },
			text: `Done in ${dir}.\nThe memory in ${dir} is version ${version}.`,
		};
	};
};

const ended = async (url: string, { id }: JobReply): Promise<JobReply> => {
	await expect
		.poll(() => get<JobReply>(`${url}/v1/jobs/${id}`).then((job) => job.state))
		.toMatch(/done|failed|cancelled/);
	return get(`${url}/v1/jobs/${id}`);
};

describe("a new version on the disk", () => {
	it("that is being checked when the server ends goes on being held, and is checked again", async () => {
		const memDir = fakeMemory();
		const slow = gate<void>();
		let version2 = 0;
		const scored = fake(async (_, version) => {
			if (version === 2) {
				version2++;
				await slow.promise;
				return answered(version, { verdict: "defect" });
			}
			return answered(version);
		});
		const options = {
			memDir,
			teach: teaching(memDir),
			history: { days: 1, bytes: 1e9, images: true },
		};
		const first = await served(scored, options);
		await post(`${first.url}/v1/predict`, await grey(1));
		await send(
			`${first.url}/v1/tasks/mvtec%2Fcap/threshold`,
			{ threshold: 2.5 },
			"PUT",
		);
		await expect.poll(() => version2).toBe(1);
		const closed = first.close();
		slow.resolve();
		await closed;
		const { url } = await served(scored, options);
		await expect
			.poll(
				() =>
					get<VersionsReply>(`${url}/v1/versions`).then(
						({ active, versions }) => [active, versions[0]?.state],
					),
				{ timeout: 5000 },
			)
			.toEqual([1, "waiting"]);
	});

	it("whose processes are lost is tried again", async () => {
		const memDir = fakeMemory();
		const scored = fake();
		let refused = 0;
		const { url, logged } = await served(scored, {
			memDir,
			start: async (job) => {
				if (job.version === 2 && refused++ < 2)
					throw fail("SCORER_LOST", { how: "SIGKILL" });
				return startFake(scored)(job);
			},
		});
		setVersion(memDir, 2);
		await expect
			.poll(
				() => get<VersionsReply>(`${url}/v1/versions`).then((v) => v.active),
				{ timeout: 8000 },
			)
			.toBe(2);
		expect(logged.join()).toContain(
			"version 2 cannot be used, version 1 goes on",
		);
	});

	it("takes over while pictures are scored: none fails, none goes back", async () => {
		const memDir = fakeMemory();
		const scored = fake(async (_, version) => {
			await sleep(5);
			return answered(version);
		});
		const { url } = await served(scored, { memDir });
		const picture = await grey(4);
		const versions: number[][] = [[], [], [], []];
		let stop = false;
		const clients = versions.map(async (own) => {
			while (!stop) {
				const reply = await post(`${url}/v1/predict`, picture);
				expect(reply.status).toBe(200);
				own.push(((await reply.json()) as PredictedReply).memoryVersion);
			}
		});
		for (const version of [2, 3, 4]) {
			await sleep(300);
			setVersion(memDir, version);
			await expect
				.poll(
					() => get<VersionsReply>(`${url}/v1/versions`).then((v) => v.active),
					{ timeout: 5000 },
				)
				.toBe(version);
		}
		await sleep(100);
		stop = true;
		await Promise.all(clients);
		for (const own of versions) {
			expect(own).toEqual([...own].sort());
			expect(new Set(own)).toEqual(new Set([1, 2, 3, 4]));
		}
	});

	it.each([
		["a lone server", null],
		["a replica", { writer: null }],
	])(
		"that %s could not read for a moment is read later, although nothing changes any more",
		async (_, replica) => {
			const memDir = fakeMemory();
			const { url, logged } = await served(fake(), { memDir, replica });
			const record = join(memDir, "run.json");
			const whole = readFileSync(record);
			writeFileSync(record, "{");
			setVersion(memDir, 2);
			await expect
				.poll(() => logged.join(), { timeout: 5000 })
				.toContain("while changing the version");
			writeFileSync(record, whole);
			await expect
				.poll(
					() => get<VersionsReply>(`${url}/v1/versions`).then((v) => v.active),
					{ timeout: 5000 },
				)
				.toBe(2);
		},
	);

	it.each([
		["a lone server", null],
		["a replica", { writer: null }],
	])(
		"that %s sees before run.json is taken as soon as that is there",
		async (_, replica) => {
			const memDir = fakeMemory();
			const record = join(memDir, "run.json");
			const whole = readFileSync(record);
			rmSync(record);
			const { url } = await served(fake(), { memDir, replica });
			await sleep(1200); // two looks
			writeFileSync(record, whole);
			await expect
				.poll(
					() => get<VersionsReply>(`${url}/v1/versions`).then((v) => v.active),
					{ timeout: 5000 },
				)
				.toBe(1);
		},
	);

	it("that knows no product any more leaves nobody to answer, also at a start, until one does", async () => {
		const memDir = fakeMemory();
		const { url, close } = await served(fake(), { memDir });
		const status = async (where: string) =>
			(await get<{ status: string }>(`${where}/health`)).status;
		expect(await status(url)).toBe("ok");
		setVersion(memDir, 2, []);
		await expect.poll(() => status(url), { timeout: 5000 }).toBe("empty");
		const refused = await post(`${url}/v1/predict`, await grey(1));
		expect(await refused.json()).toMatchObject({ code: "NOT_NOW" });
		await close();
		const again = await served(fake(), { memDir });
		expect(await status(again.url)).toBe("empty");
		setVersion(memDir, 3);
		await expect.poll(() => status(again.url), { timeout: 5000 }).toBe("ok");
	});

	it("that cannot be loaded leaves the one that answers", async () => {
		const memDir = fakeMemory();
		const scored = fake();
		const { url, logged } = await served(scored, { memDir });
		writeFileSync(join(memDir, "memory/manifest.json"), "{");
		await expect
			.poll(() => logged.join(), { timeout: 5000 })
			.toContain("manifest.json");
		expect((await post(`${url}/v1/predict`, await grey(1))).status).toBe(200);
	});
});

describe("feedback", () => {
	it("that a part was good is learnt, tried on the kept pictures, and waits where a verdict changes", async () => {
		const memDir = fakeMemory();
		const scored = fake(({ bytes }, version) =>
			bytes.length % 2 === version % 2 // of any picture, the one or the other version says defect
				? answered(version, { score: 3, verdict: "defect" })
				: answered(version),
		);
		const changes: Change[] = [];
		const { url } = await served(scored, {
			memDir,
			teach: teaching(memDir, changes),
			history: { days: 1, bytes: 1e9, images: true },
		});
		for (let i = 0; i < 3; i++) await post(`${url}/v1/predict`, await grey(i));
		const said = await send<FeedbackReply>(`${url}/v1/feedback`, {
			prediction: 2,
			label: "good",
			comment: "scratch is allowed",
		});
		expect(said).toMatchObject({
			state: "open",
			image: true,
			task: "mvtec/cap",
		});
		const job = await send<JobReply>(`${url}/v1/feedback/apply`, {
			task: "mvtec/cap",
			ids: [said.id],
		});
		expect((await ended(url, job)).message).toBe("Done in the memory.");
		expect(changes).toMatchObject([{ kind: "add", task: "mvtec/cap" }]);
		const { active, versions } = await get<VersionsReply>(`${url}/v1/versions`);
		expect(active).toBe(1);
		expect(versions.map(({ version, state }) => [version, state])).toEqual([
			[2, "waiting"],
			[1, "active"],
		]);
		expect(versions[0]?.check).toMatchObject({ from: 1, images: 3 });
		expect(
			versions[0]?.check?.changed.map(({ prediction }) => prediction),
		).toEqual([2, 3, 1]);
		expect(versions[0]?.check?.changed[0]?.label).toBe("good");
		const reply = await post(`${url}/v1/predict`, await grey(9));
		expect(((await reply.json()) as PredictedReply).memoryVersion).toBe(1);
		await send(`${url}/v1/versions/2/activate`, {});
		expect((await get<VersionsReply>(`${url}/v1/versions`)).active).toBe(2);
		expect(
			(await get<{ feedback: FeedbackReply[] }>(`${url}/v1/feedback`))
				.feedback[0]?.state,
		).toBe("applied");
		const again = await fetch(`${url}/v1/feedback/${said.id}`, {
			method: "DELETE",
		});
		expect(again.status).toBe(409);
	});

	it("a server that starts again goes on with the version that was held", async () => {
		const memDir = fakeMemory();
		const scored = fake((_, version) =>
			answered(version, { verdict: version === 1 ? "good" : "defect" }),
		);
		const options = {
			memDir,
			teach: teaching(memDir),
			history: { days: 1, bytes: 1e9, images: true },
		};
		const first = await served(scored, options);
		await post(`${first.url}/v1/predict`, await grey(1));
		const job = await send<JobReply>(
			`${first.url}/v1/tasks/mvtec%2Fcap/threshold`,
			{ threshold: 2.5 },
			"PUT",
		);
		await ended(first.url, job);
		expect((await get<VersionsReply>(`${first.url}/v1/versions`)).active).toBe(
			1,
		);
		await first.close();
		const { url } = await served(scored, options);
		const { active, versions } = await get<VersionsReply>(`${url}/v1/versions`);
		expect([active, versions[0]?.state]).toEqual([1, "waiting"]);
		await send(`${url}/v1/versions/2/activate`, {});
		expect((await get<VersionsReply>(`${url}/v1/versions`)).active).toBe(2);
	});

	it("an earlier version comes back as a new one", async () => {
		const memDir = fakeMemory(3);
		const changes: Change[] = [];
		let version = 3;
		const { url } = await served(fake(), {
			memDir,
			teach: async ({ change }) => {
				changes.push(change);
				setVersion(memDir, ++version);
				return {
					results: { memoryVersion: version, change: "", tasks: [] },
					text: "",
				};
			},
		});
		const job = await send<JobReply>(`${url}/v1/versions/2/activate`, {});
		await ended(url, job);
		expect(changes).toEqual([{ kind: "rollback", to: 2 }]);
		expect((await get<VersionsReply>(`${url}/v1/versions`)).active).toBe(4);
		const unknown = await fetch(`${url}/v1/versions/99/activate`, {
			method: "POST",
		});
		expect(unknown.status).toBe(404);
	});

	it("is learnt once: no second time, not taken back while it is, not said otherwise afterwards", async () => {
		const memDir = fakeMemory();
		const taught = gate<void>();
		const { url } = await served(fake(), {
			memDir,
			teach: async () => {
				await taught.promise;
				setVersion(memDir, 2);
				return {
					results: { memoryVersion: 2, change: "", tasks: [] },
					text: "",
				};
			},
		});
		await post(`${url}/v1/predict`, await grey(1));
		const { id } = await send<FeedbackReply>(`${url}/v1/feedback`, {
			prediction: 1,
			label: "good",
		});
		const apply = () =>
			post(
				`${url}/v1/feedback/apply`,
				JSON.stringify({ task: "mvtec/cap", ids: [id] }),
				{ "content-type": "application/json" },
			);
		const say = () =>
			post(
				`${url}/v1/feedback`,
				JSON.stringify({ prediction: 1, label: "bad" }),
				{ "content-type": "application/json" },
			);
		const job = (await (await apply()).json()) as JobReply;
		expect((await apply()).status).toBe(409);
		expect((await say()).status).toBe(409);
		expect(
			(await fetch(`${url}/v1/feedback/${id}`, { method: "DELETE" })).status,
		).toBe(409);
		taught.resolve();
		await ended(url, job);
		expect((await say()).status).toBe(409);
		expect((await apply()).status).toBe(409);
	});

	it("what cannot be learnt says why; what was said by mistake is withdrawn", async () => {
		const memDir = fakeMemory();
		let verdict: Verdict = "good";
		const { url } = await served(
			fake((_, version) => answered(version, { verdict })),
			{ memDir },
		);
		await post(`${url}/v1/predict`, await grey(1));
		await post(`${url}/v1/predict`, await grey(2));
		verdict = "unusable";
		await post(`${url}/v1/predict`, await grey(3));
		const bad = await send<FeedbackReply>(`${url}/v1/feedback`, {
			prediction: 1,
			label: "bad",
		});
		const good = await send<FeedbackReply>(`${url}/v1/feedback`, {
			prediction: 2,
			label: "good",
			task: "line 2/ring",
		});
		const applied = (task: string, id: number) =>
			send<{ detail: string }>(`${url}/v1/feedback/apply`, { task, ids: [id] });
		expect((await applied("mvtec/cap", bad.id)).detail).toContain(
			"it was called bad",
		);
		expect((await applied("mvtec/cap", good.id)).detail).toContain(
			"it is of line 2/ring",
		);
		const dark = await send<FeedbackReply>(`${url}/v1/feedback`, {
			prediction: 3,
			label: "good",
			task: "mvtec/cap",
		});
		expect((await applied("mvtec/cap", dark.id)).detail).toContain(
			"its picture is unusable",
		);
		await fetch(`${url}/v1/feedback/${good.id}`, { method: "DELETE" });
		expect((await applied("line 2/ring", good.id)).detail).toContain(
			"it is withdrawn",
		);
		expect(
			(
				await send<{ code: string }>(`${url}/v1/feedback`, {
					prediction: 77,
					label: "bad",
				})
			).code,
		).toBe("NOT_FOUND");
		const { predictions } = await get<{ predictions: HistoryRow[] }>(
			`${url}/v1/history`,
		);
		expect(predictions.map(({ feedback }) => feedback)).toEqual([
			"good",
			null,
			"bad",
		]);
		const product = await get<{ feedback: object[] }>(
			`${url}/v1/tasks/mvtec%2Fcap`,
		);
		expect(product.feedback).toEqual([
			{ label: "good", score: 0.5 },
			{ label: "bad", score: 0.5 },
		]);
	});

	it("sets the threshold below what was called bad, if that is asked for", async () => {
		const memDir = fakeMemory();
		const changes: Change[] = [];
		let score = 1.5;
		const { url } = await served(
			fake((_, version) => answered(version, { score })),
			{
				memDir,
				teach: teaching(memDir, changes),
			},
		);
		const path = `${url}/v1/tasks/mvtec%2Fcap/threshold`;
		expect(
			(await send<{ code: string }>(path, { fromFeedback: true }, "PUT")).code,
		).toBe("NOT_NOW");
		await post(`${url}/v1/predict`, await grey(1));
		await send(`${url}/v1/feedback`, { prediction: 1, label: "bad" });
		score = 1.2; // as a later version has it
		await ended(url, await send<JobReply>(path, { fromFeedback: true }, "PUT"));
		expect(changes).toMatchObject([
			{ kind: "threshold", score: 1.2 - Math.log10(2) },
		]);
		expect(
			(
				await fetch(path, {
					method: "PUT",
					body: '{"threshold": -1}',
					headers: { "content-type": "application/json" },
				})
			).status,
		).toBe(400);
	});
});

describe("the history", () => {
	const row = {
		name: null,
		task: "mvtec/cap",
		verdict: "good" as const,
		score: 1,
		threshold: 2,
		memoryVersion: 1,
		latencyMs: 5,
		reason: null,
	};

	it("survives a kill, is bounded by age and by size, and keeps what operators said", () => {
		const dir = fakeMemory();
		const limits = { days: 1, bytes: 500_000, images: true };
		const history = new History(dir, limits);
		const image = new Uint8Array(10_000);
		for (let i = 0; i < 100; i++)
			history.add(row, image, i < 10 ? 0 : Date.now());
		const first = history.list({ limit: 500 });
		expect(first).toHaveLength(100);
		history.addFeedback(
			first[60] as HistoryRow,
			{ label: "bad", comment: "", task: "mvtec/cap", image },
			Date.now(),
		);
		const other = new History(dir, limits); // as a server that starts after a kill
		expect(other.list({ limit: 500 })).toHaveLength(100);
		other.prune(Date.now());
		const left = other.list({ limit: 500 });
		expect(left.length).toBeGreaterThan(10);
		expect(left.length).toBeLessThan(50);
		expect(left[0]?.id).toBe(100);
		expect(other.bytes).toBeLessThanOrEqual(500_000);
		expect(other.feedback()).toHaveLength(1);
		expect(other.image(first[60]?.id as number)).toHaveLength(10_000);
		other.close();
		history.close();
	});

	it("of something else, or damaged, is refused by its name", () => {
		const dir = fakeMemory();
		writeFileSync(
			join(dir, "history.sqlite"),
			"no database at all, but long enough".repeat(100),
		);
		expect(
			() => new History(dir, { days: 1, bytes: 1e6, images: false }),
		).toThrow(/history\.sqlite/);
	});

	it("filters by product and verdict, page by page", async () => {
		let n = 0;
		const { url } = await served(
			fake((_, version) => {
				n++;
				return answered(
					version,
					n % 2 ? {} : { score: 3, verdict: "defect", task: "line 2/ring" },
				);
			}),
		);
		for (let i = 0; i < 6; i++) await post(`${url}/v1/predict`, await grey(i));
		const ids = async (query: string) =>
			(
				await get<{ predictions: HistoryRow[] }>(`${url}/v1/history?${query}`)
			).predictions.map(({ id }) => id);
		expect(await ids("limit=2")).toEqual([6, 5]);
		expect(await ids("limit=2&before=5")).toEqual([4, 3]);
		expect(await ids("verdict=defect")).toEqual([6, 4, 2]);
		expect(await ids("task=line%202/ring&before=6")).toEqual([4, 2]);
		expect(await ids("task='%20or%201=1")).toEqual([]);
		expect((await fetch(`${url}/v1/history?limit=501`)).status).toBe(400);
		const image = await fetch(`${url}/v1/history/3/image`);
		expect(image.headers.get("content-type")).toBe("image/png");
		expect(new Uint8Array(await image.arrayBuffer())).toEqual(await grey(2));
	});
});

it("parts that score higher than those that were learnt, time after time, call for recalibration", async () => {
	const { url } = await served(
		fake((_, version) => answered(version, { score: 1.2 })),
	);
	const picture = await grey(1);
	const drift = () =>
		get<{ drift: object; recent: object }>(`${url}/v1/tasks/mvtec%2Fcap`);
	for (let i = 0; i < 49; i++) await post(`${url}/v1/predict`, picture);
	expect((await drift()).drift).toEqual({ share: null, recalibrate: false });
	await post(`${url}/v1/predict`, picture);
	expect(await drift()).toMatchObject({
		drift: { share: 1, recalibrate: true },
		recent: { images: 50, anomalous: 0 },
	});
	const metrics = await (await fetch(`${url}/metrics`)).text();
	expect(metrics).toContain('keepsight_drift{task="mvtec/cap"} 1');
	expect(metrics).toContain('keepsight_anomaly_rate{task="mvtec/cap"} 0');
	expect(metrics).toContain(
		'keepsight_predict_seconds_count{verdict="good"} 50',
	);
});
