/** The built program under load for a while (10 minutes with `npm run soak`): every answer comes, and its processes do not grow. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, it, onTestFinished } from "vitest";
import { encodePng } from "../../src/data/image.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { Random } from "../../src/random.ts";
import { drawCategory } from "../drawn.ts";
import { keepsight } from "../program.ts";
import { post } from "./fake.ts";
import { serving } from "./running.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-soak-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const soak = process.env.KEEPSIGHT_SOAK !== undefined;
const seconds = soak ? 600 : 5;
/** Times what was resident early. In seconds a heap that nobody has collected yet weighs more than a leak. */
const GROWTH = soak ? 1.05 : 1.25;
const CLIENTS = 8;
/** Pictures until all that is kept for speed is there: the last pictures, buffers of every size of a batch. */
const WARM_UP = soak ? 240 : 100;

/** MB of the server and of those that score. */
const residentOf = (pid: number): number =>
	[
		pid,
		...execFileSync("ps", ["-o", "pid=", "--ppid", String(pid)])
			.toString()
			.trim()
			.split(/\s+/),
	]
		.map((one) => {
			const [, pages = "0"] = readFileSync(`/proc/${one}/statm`, "utf8").split(
				" ",
			);
			return (Number(pages) * 4096) / 1e6;
		})
		.reduce((a, b) => a + b, 0);

const median = (x: readonly number[]) =>
	[...x].sort((a, b) => a - b)[x.length >> 1] as number;

it.skipIf(process.platform !== "linux")(
	`${seconds} s of pictures from ${CLIENTS} clients`,
	async () => {
		await drawCategory(join(work, "cap"), 0, 12, 1);
		const dir = join(work, "run");
		const { status, stderr } = keepsight(
			"learn",
			"--mem_dir",
			dir,
			"--task",
			"cap",
			"--data",
			join(work, "cap"),
		);
		if (status !== 0) throw new Error(stderr);
		const {
			url,
			process: server,
			stop,
		} = await serving(
			dir,
			"--rate",
			"1000000",
			"--history-mb",
			"5",
			"--keep-images",
		);
		onTestFinished(() => {
			server.kill("SIGKILL");
		});
		const random = new Random("soak");
		const pictures: Uint8Array[] = [];
		for (const side of [64, 224, 640])
			pictures.push(
				await encodePng(
					uint8(
						[side, side, 3],
						Uint8Array.from({ length: 3 * side * side }, () =>
							random.integer(256),
						),
					),
				),
			);
		const statuses = new Map<number, number>();
		const ask = async (i: number) => {
			const picture = pictures[i % pictures.length] as Uint8Array;
			const reply = await post(`${url}/v1/predict`, picture);
			await reply.arrayBuffer();
			statuses.set(reply.status, (statuses.get(reply.status) ?? 0) + 1);
		};
		const clients = (goesOn: (asked: number) => boolean) => {
			let asked = 0;
			return Promise.all(
				Array.from({ length: CLIENTS }, async () => {
					while (goesOn(asked)) await ask(asked++);
				}),
			);
		};
		await clients((asked) => asked < WARM_UP);
		const began = performance.now();
		const passed = () => (performance.now() - began) / 1000 / seconds;
		const early: number[] = [];
		const late: number[] = [];
		const watch = async () => {
			while (passed() < 1) {
				await sleep(seconds * 10);
				const now = residentOf(server.pid as number);
				if (passed() < 0.25) early.push(now);
				if (passed() > 0.75) late.push(now);
			}
		};
		await Promise.all([watch(), clients(() => passed() < 1)]);
		expect([...statuses.keys()]).toEqual([200]);
		expect(median(late) / median(early)).toBeLessThan(GROWTH);
		expect(await stop()).toBe(0);
		console.log(
			`${statuses.get(200)} pictures in ${seconds} s; ${median(early).toFixed(0)} MB early, ${median(late).toFixed(0)} MB late`,
		);
	},
	(seconds + 120) * 1000,
);
