/**
 * npm run bench -- [--json FILE] [NAME...]: every speed and memory figure with its peer, measured side by side in one run.
 * Each figure: median of 5 interleaved rounds (learning ten tasks, or anew, and many products: of 3; memory: measured once). The peer is timm in PyTorch, of the detector
 * anomalib 2.7; KEEPSIGHT_PYTHON names a Python that has them, else python3 is tried, and figures without their peer say so.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
	existsSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { availableParallelism, cpus, tmpdir, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { drawDemo } from "../src/data/demo.ts";
import { findCategories } from "../src/data/index.ts";
import { runtimeVersion } from "../src/engine/runtime.ts";
import { childEnvironment } from "../src/launch.ts";
import type { StepJob } from "./network.ts";
import type { StrategyJob } from "./strategy.ts";
import { hasRedis, timeSweeps } from "./sweep.ts";

const ROUNDS = 5;
const threads = Math.min(2, availableParallelism());

interface Figure {
	readonly name: string;
	readonly unit: string;
	readonly value: number;
	/** What it is held against: the peer, or our own other figure. */
	readonly peer: number | null;
	readonly peerName: string;
	/** value / peer; of figures with rounds the median of the rounds' ratios. */
	readonly ratio: number | null;
	/** Largest ratio, or largest value, that is asked for. */
	readonly limit: number;
	readonly spread: readonly [number, number];
}

/** A process that answers lines. */
class Talker {
	readonly #child: ChildProcess;
	readonly #lines: AsyncIterator<string>;
	constructor(
		command: string,
		args: readonly string[],
		env: NodeJS.ProcessEnv = process.env,
	) {
		this.#child = spawn(command, args, {
			stdio: ["pipe", "pipe", "ignore"],
			env,
		});
		this.#child.on("error", () => undefined); // an absent peer is reported by `ready`
		if (!this.#child.stdout) throw new Error("bench: no pipe");
		this.#lines = createInterface({ input: this.#child.stdout })[
			Symbol.asyncIterator
		]();
	}
	async read(): Promise<string | null> {
		const { value, done } = await this.#lines.next();
		return done ? null : (value as string);
	}
	/** The second of two: memory that lay idle while the other side worked is cold at first. */
	async warm(line: string): Promise<number> {
		await this.ask(line);
		return this.ask(line);
	}
	async ask(line: string): Promise<number> {
		this.#child.stdin?.write(`${line}\n`);
		return Number(await this.read());
	}
	end(): void {
		this.#child.stdin?.end();
	}
}

const here = import.meta.dirname; // .cache/bench/bench
const root = (path: string) => resolve(here, "../../..", path);
const python = process.env.KEEPSIGHT_PYTHON ?? "python3";
const ours = (job: StepJob): Promise<Talker> => talkerOf("step.js", job);
async function talkerOf(script: string, job: object): Promise<Talker> {
	const talker = new Talker(
		process.execPath,
		[join(here, script), JSON.stringify(job)],
		childEnvironment(),
	);
	if ((await talker.read()) !== '"ready"')
		throw new Error(
			`bench: ${script} did not start for ${JSON.stringify(job)}`,
		);
	return talker;
}
const pytorch = (job: StepJob) => peerOf("peer.py", job);
/** null: what it imports is not installed. */
async function peerOf(script: string, job: object): Promise<Talker | null> {
	const talker = new Talker(python, [
		root(`bench/${script}`),
		JSON.stringify(job),
	]);
	for (
		let line = await talker.read();
		line !== null;
		line = await talker.read()
	)
		if (line.startsWith("ready")) return talker; // libraries may print before
	return null;
}
const median = (x: readonly number[]) =>
	[...x].sort((a, b) => a - b)[x.length >> 1] as number;
const spread = (x: readonly number[]): [number, number] => [
	Math.min(...x),
	Math.max(...x),
];

/**
 * Our step against PyTorch's (each process with the memory settings it has by default: ours come from launch.ts), and against the
 * floor, the step's matrix products at the highest rate that the runtime reached on plain ones in the same round.
 */
async function step(
	name: string,
	job: StepJob,
	limit: number,
): Promise<Figure[]> {
	const a = await ours(job);
	const b = await pytorch(job);
	const [x, y, rates]: [number[], number[], number[]] = [[], [], []];
	for (let i = 0; i < ROUNDS; i++) {
		x.push((await a.warm("step")) / job.batch);
		if (b) y.push((await b.warm("step")) / job.batch);
		rates.push(await a.ask("gemm"));
	}
	const flops = await a.ask("flops");
	const floors = rates.map((rate) => (flops / rate / job.batch) * 1000);
	a.end();
	b?.end();
	const value = median(x);
	return [
		{
			name,
			unit: "ms/image",
			value,
			peer: b ? median(y) : null,
			peerName: b
				? "PyTorch eager, timm"
				: "PyTorch or timm not installed: skipped",
			ratio: b ? median(x.map((v, i) => v / (y[i] as number))) : null,
			limit,
			spread: spread(x),
		},
		{
			name: `${name} against the GEMM floor`,
			unit: "ms/image",
			value,
			peer: median(floors),
			peerName: `${(median(rates) / 1e9).toFixed(0)} GFLOP/s`,
			ratio: median(x.map((v, i) => v / (floors[i] as number))),
			limit: job.model === "small" ? 1 / 0.85 : Number.POSITIVE_INFINITY,
			spread: spread(x),
		},
	];
}

/**
 * The frozen forward pass: ViT-S/14 in float32 and in int8, each against PyTorch's in float32, int8 also against OpenVINO's, float32 also
 * against the floor of its matrix products; and what is shipped against ViT-S/14.
 */
async function forward(): Promise<Figure[]> {
	const a = await talkerOf("forward.js", { threads });
	const figures: Figure[] = [];
	for (const batch of [16, 1]) {
		const peers = {
			pytorch: await pytorch({ model: "small", batch, threads, last: null }),
			openvino: await peerOf("ov.py", { batch, threads }),
		};
		const ms: Record<string, number[]> = {};
		const note = (name: string, value: number) => {
			(ms[name] ??= []).push(value);
		};
		const names = ["int8", "float32", "shipped int8", "shipped float32"];
		for (let i = 0; i < ROUNDS; i++) {
			for (const name of names) note(name, await a.warm(`${name} ${batch}`));
			for (const [name, peer] of Object.entries(peers))
				if (peer) note(name, (await peer.warm("forward")) / batch);
			note("floor", ((await a.ask("flops")) / (await a.ask("gemm"))) * 1000);
		}
		for (const peer of Object.values(peers)) peer?.end();
		const against = (
			name: string,
			peer: string,
			peerName: string,
			limit: number,
		): Figure => {
			const x = ms[name] as number[];
			const y = ms[peer];
			return {
				name: `forward ${name}, ${name.startsWith("shipped") ? "keepsight-tiny" : "ViT-S/14"}, batch ${batch}`,
				unit: "ms/image",
				value: median(x),
				peer: y ? median(y) : null,
				peerName: y ? peerName : `${peerName}: not installed, skipped`,
				ratio: y ? median(x.map((v, i) => v / (y[i] as number))) : null,
				limit,
				spread: spread(x),
			};
		};
		const eager = "PyTorch eager float32, timm";
		figures.push(
			against("float32", "pytorch", eager, 0.95),
			against("float32", "floor", "its matrix products alone", 1 / 0.85),
			against("int8", "pytorch", eager, 0.45),
			against("int8", "openvino", "OpenVINO int8", 1.25),
			against("int8", "float32", "our own float32", Number.POSITIVE_INFINITY),
			against(
				"shipped float32",
				"float32",
				"ViT-S/14 in float32",
				Number.POSITIVE_INFINITY,
			),
			against(
				"shipped int8",
				"shipped float32",
				"the same in float32",
				Number.POSITIVE_INFINITY,
			),
		);
	}
	a.end();
	return figures;
}

async function top3(): Promise<Figure[]> {
	const base = { model: "small", batch: 16, threads } as const;
	const [a, b] = [
		await ours({ ...base, last: 3 }),
		await ours({ ...base, last: null }),
	];
	const [x, y]: [number[], number[]] = [[], []];
	for (let i = 0; i < ROUNDS; i++) {
		x.push((await a.warm("step")) / 16);
		y.push((await b.warm("step")) / 16);
	}
	a.end();
	b.end();
	return [
		{
			name: "top 3 blocks, ViT-S/14",
			unit: "ms/image",
			value: median(x),
			peer: median(y),
			peerName: "our own full step",
			ratio: median(x.map((v, i) => v / (y[i] as number))),
			limit: 0.56,
			spread: spread(x),
		},
	];
}

async function peak(batch: number, limit: number): Promise<Figure[]> {
	const a = await ours({ model: "small", batch, threads, last: null });
	for (let i = 0; i < 3; i++) await a.ask("step");
	const bytes = await a.ask("peak");
	a.end();
	return [
		{
			name: `peak memory, full ViT-S/14, batch ${batch}`,
			unit: "GB",
			value: bytes / 1e9,
			peer: null,
			peerName: "limit",
			ratio: null,
			limit,
			spread: [bytes / 1e9, bytes / 1e9],
		},
	];
}

async function growth(): Promise<Figure[]> {
	const a = await ours({ model: "tiny", batch: 4, threads, last: 3 });
	for (let i = 0; i < 60; i++) await a.ask("step");
	const early = await a.ask("resident");
	for (let i = 0; i < 200; i++) await a.ask("step");
	const late = await a.ask("resident");
	a.end();
	return [
		{
			name: "memory after 260 steps",
			unit: "MB",
			value: late / 1e6,
			peer: early / 1e6,
			peerName: "after 60 steps",
			ratio: late / early,
			limit: 1.02,
			spread: [late / 1e6, late / 1e6],
		},
	];
}

async function augmentation(last: number | null): Promise<Figure[]> {
	const a = await ours({ model: "small", batch: 16, threads, last });
	const [x, y]: [number[], number[]] = [[], []];
	for (let i = 0; i < ROUNDS; i++) {
		x.push(await a.ask("augmented"));
		const plain: number[] = [];
		for (let k = 0; k < 4; k++) plain.push(await a.ask("step"));
		y.push(plain.reduce((s, v) => s + v, 0) / 4);
	}
	a.end();
	return [
		{
			name: `augmentation on, ViT-S/14 ${last === null ? "full" : `top ${last}`}`,
			unit: "ms/step",
			value: median(x),
			peer: median(y),
			peerName: "ready tensors",
			ratio: median(x.map((v, i) => v / (y[i] as number))),
			limit: 1.05,
			spread: spread(x),
		},
	];
}

/** A configuration run anew by the program itself: the seconds each task took to learn. */
function learnt(file: string, run: string, ...more: string[]): number[] {
	const { status, stderr } = spawnSync(
		process.execPath,
		[
			root("dist/cli.js"),
			"train",
			"--config",
			file,
			"--fresh",
			"--quiet",
			...more,
		],
		{ encoding: "utf8" },
	);
	if (status !== 0) throw new Error(`bench: train failed: ${stderr}`);
	const { tasks } = JSON.parse(
		readFileSync(join(run, "Anomaly", "run.json"), "utf8"),
	) as { tasks: { seconds: number }[] };
	return tasks.map(({ seconds }) => seconds);
}

/** Ten drawn products in a row, through the program itself; seconds to learn the tenth against the second. */
async function taskGrowth(strategy: string): Promise<Figure[]> {
	const dir = mkdtempSync(join(tmpdir(), "keepsight-bench-"));
	try {
		const data = join(dir, "data");
		await drawDemo(data, {
			seed: 3,
			products: 10,
			size: 64,
			train: 48,
			testGood: 2,
			perDefect: 1,
			validation: 2,
		});
		const tasks = (await findCategories(data)).slice(0, 10);
		const file = join(dir, "run.yaml");
		writeFileSync(
			file,
			JSON.stringify({
				name: "growth",
				data: { root: data, tasks },
				image_size: 64,
				backbone: { name: "vit", width: 96, depth: 6, heads: 3, patch: 8 },
				trainable: { last: 3 },
				pretext: { name: "cutpaste" },
				strategy: { name: strategy },
				memory: [{ name: "dne" }],
				train: { epochs: 2 },
				out: dir,
				threads,
			}),
		);
		const second: number[] = [];
		const tenth: number[] = [];
		for (let round = 0; round < 3; round++) {
			const seconds = learnt(file, join(dir, "growth"));
			second.push(seconds[1] as number);
			tenth.push(seconds[9] as number);
		}
		return [
			{
				name: `learning task 10, ${strategy}`,
				unit: "s",
				value: median(tenth),
				peer: median(second),
				peerName: "task 2",
				ratio: median(tenth.map((v, i) => v / (second[i] as number))),
				limit: 1.1,
				spread: spread(tenth),
			},
		];
	} finally {
		rmSync(dir, { recursive: true, force: true });
	}
}

/** A strategy's step in the second task against finetuning's; the end of its first task against that task's epoch. */
async function strategyStep(
	strategy: StrategyJob["strategy"],
	limit: number,
): Promise<Figure[]> {
	const job = { images: 168, batch: 16, threads };
	const a = await talkerOf("strategy.js", { ...job, strategy });
	const b = await talkerOf("strategy.js", {
		...job,
		images: 16,
		strategy: { name: "finetune" },
	});
	const [x, y]: [number[], number[]] = [[], []];
	for (let i = 0; i < ROUNDS; i++) {
		x.push(await a.warm("step"));
		y.push(await b.warm("step"));
	}
	const [end, epoch] = [await a.ask("end"), await a.ask("epoch")];
	a.end();
	b.end();
	return [
		{
			name: `step of ${Object.values(strategy).join(" ")}, ViT-S/14 top 3`,
			unit: "ms/step",
			value: median(x),
			peer: median(y),
			peerName: "finetune",
			ratio: median(x.map((v, i) => v / (y[i] as number))),
			limit,
			spread: spread(x),
		},
		{
			name: `end of a task of ${job.images} images, ${Object.values(strategy).join(" ")}`,
			unit: "s",
			value: end / 1000,
			peer: epoch / 1000,
			peerName: "one epoch",
			ratio: end / epoch,
			limit: 1,
			spread: [end / 1000, end / 1000],
		},
	];
}

/** Scoring an image against the network alone; learning a product's bank and density. */
async function detection(): Promise<Figure[]> {
	const a = await talkerOf("detect.js", { images: 200, threads });
	const [x, y, z]: [number[], number[], number[]] = [[], [], []];
	for (let i = 0; i < ROUNDS; i++) {
		x.push(await a.warm("score"));
		y.push(await a.warm("bare"));
		z.push((await a.ask("learn")) / 1000);
	}
	await a.ask("end");
	a.end();
	return [
		{
			name: "scoring an image, file to map, ViT-S/14",
			unit: "ms/image",
			value: median(x),
			peer: median(y),
			peerName: "the network alone, batch 16",
			ratio: median(x.map((v, i) => v / (y[i] as number))),
			limit: 1.25,
			spread: spread(x),
		},
		{
			name: "bank and density of 200 images, cross-fit too",
			unit: "s",
			value: median(z),
			peer: null,
			peerName: "limit",
			ratio: null,
			limit: 12,
			spread: spread(z),
		},
	];
}

/** Adding a product of 200 images to a memory, against the network and the choice of patches alone; the twentieth against the second. */
async function learning(): Promise<Figure[]> {
	const a = await talkerOf("learn.js", { images: 200, threads });
	const [least, second, twentieth]: [number[], number[], number[]] = [
		[],
		[],
		[],
	];
	for (let i = 0; i < 3; i++) {
		least.push(((await a.ask("forward")) + (await a.ask("coreset"))) / 1000);
		second.push((await a.ask("second")) / 1000);
		twentieth.push((await a.ask("twentieth")) / 1000);
	}
	await a.ask("end");
	a.end();
	const against = (
		name: string,
		values: readonly number[],
		peer: readonly number[],
		peerName: string,
		limit: number,
	): Figure => ({
		name,
		unit: "s",
		value: median(values),
		peer: median(peer),
		peerName,
		ratio: median(values.map((v, i) => v / (peer[i] as number))),
		limit,
		spread: spread(values),
	});
	return [
		against(
			"learn: one more product of 200 images",
			second,
			least,
			"forward and coreset alone",
			1.3,
		),
		against(
			"learn: the twentieth product",
			twentieth,
			second,
			"the second",
			1.1,
		),
	];
}

/** Over HTTP against the same pictures in one process. */
async function serving(): Promise<Figure[]> {
	const a = await talkerOf("serve.js", { images: 200, threads });
	const names = ["alone", "asked", "together", "clients"] as const;
	const rounds: Record<(typeof names)[number], number[]> = {
		alone: [],
		asked: [],
		together: [],
		clients: [],
	};
	for (const name of names) await a.ask(name); // warm
	for (let i = 0; i < ROUNDS; i++)
		for (const name of names) rounds[name].push(await a.ask(name));
	await a.ask("end");
	a.end();
	return (
		[
			["one picture over HTTP", "asked", "alone", 1.2],
			["pictures of 8 clients over HTTP", "clients", "together", 1 / 0.9],
		] as const
	).map(([name, own, other, limit]) => ({
		name,
		unit: "ms/image",
		value: median(rounds[own]),
		peer: median(rounds[other]),
		peerName: own === "asked" ? "in one process" : "`predict` on all of them",
		ratio: median(rounds[own].map((v, i) => v / (rounds[other][i] as number))),
		limit,
		spread: spread(rounds[own]),
	}));
}

/** Workers of one thread each at one queue: two against one, and what the queue adds to a run. */
async function sweeping(): Promise<Figure[]> {
	if (!hasRedis()) {
		console.log("sweeping: there is no redis-server: skipped");
		return [];
	}
	const rounds = await timeSweeps(4, 3, 6);
	const [one, two] = [
		rounds.map(({ one }) => one.wall),
		rounds.map(({ two }) => two.wall),
	];
	const gaps = rounds.flatMap(({ one, two }) => [...one.gaps, ...two.gaps]);
	return [
		{
			name: "a sweep, two workers of one thread each",
			unit: "s",
			value: median(two),
			peer: median(one),
			peerName: "one worker of one thread",
			ratio: median(two.map((v, i) => v / (one[i] as number))),
			limit: 1 / 1.7,
			spread: spread(two),
		},
		{
			name: "the queue between two runs",
			unit: "s",
			value: median(gaps),
			peer: null,
			peerName: "limit",
			ratio: null,
			limit: 0.6, // 1 % of 60 s
			spread: spread(gaps),
		},
	];
}

/**
 * 100 drawn products, 20 of them near-twins: which one is on a picture, and whether any is. Shares of images are those that go wrong, so that less is
 * better. Routing against the network; scoring among all products against scoring where the others' banks were not even read.
 */
async function routing(): Promise<Figure[]> {
	const a = await talkerOf("routing.js", { products: 100, threads });
	const wrong = async (
		name: string,
		line: string,
		limit: number,
	): Promise<Figure> => {
		const value = 100 * (await a.ask(line));
		return {
			name,
			unit: "%",
			value,
			peer: null,
			peerName: "limit",
			ratio: null,
			limit,
			spread: [value, value],
		};
	};
	const against = async (
		name: string,
		line: string,
		peer: string,
		peerName: string,
		limit: number,
	): Promise<Figure> => {
		const [x, y]: [number[], number[]] = [[], []];
		for (let i = 0; i < ROUNDS; i++) {
			x.push(await a.warm(line));
			y.push(await a.warm(peer));
		}
		return {
			name,
			unit: "ms/image",
			value: median(x),
			peer: median(y),
			peerName,
			ratio: median(x.map((v, i) => v / (y[i] as number))),
			limit,
			spread: spread(x),
		};
	};
	const figures = [
		await wrong("100 products: good images routed wrong", "good", 0.5),
		await wrong("defective images routed wrong", "defect", 0.5),
		await wrong("the same without near-twins, good", "good apart", 0.5),
		await wrong("the same without near-twins, defective", "defect apart", 0.5),
		await wrong("images of unknown products not found", "unknown", 5),
		await wrong(
			"the same of near-twins of known products",
			"twin",
			Number.POSITIVE_INFINITY,
		),
		await wrong("known products' defects called unknown", "called", 1),
		await against(
			"routing among 100 products",
			"route",
			"forward",
			"the network",
			0.01,
		),
		await against(
			"scoring among 100 products",
			"among",
			"alone",
			"only one was read",
			1.1,
		),
	];
	await a.ask("end");
	a.end();
	return figures;
}

/** A process that scores with so many products, in processor time: others at work on the machine hardly change it. */
async function scale(): Promise<Figure[]> {
	const figures: Figure[] = [];
	for (const products of [1, 10, 100, 300]) {
		const a = await talkerOf("scale.js", { products, threads: 1 });
		const figure = (name: string, unit: string, values: number[]) =>
			figures.push({
				name: `${products} products: ${name}`,
				unit,
				value: median(values),
				peer: null,
				peerName: "",
				ratio: null,
				limit: Number.POSITIVE_INFINITY,
				spread: spread(values),
			});
		const times = async (line: string, then: string) => {
			const found: number[] = [];
			for (let i = 0; i < 3; i++) {
				await a.ask(line);
				found.push(await a.ask(then));
			}
			return found;
		};
		figure("until it is ready", "ms", await times("load", "loaded"));
		figure("memory, each asked for once", "MB", [
			(await a.ask("resident")) / 1e6,
		]);
		figure("a picture", "ms", await times("turns", "spent"));
		figure("routing a picture", "ms", [await a.warm("route")]);
		await a.ask("end");
		a.end();
	}
	return figures;
}

/**
 * The detector at 224 px against anomalib's AnomalyDINO with the same weights and files: at its defaults, which the limits are for (252 px,
 * 32 images at a time), and at our size, where its time and memory depend on how many images it takes at once. All memory is that of the
 * process, with one learning and one testing behind it.
 */
async function anomalib(): Promise<Figure[]> {
	const job = {
		images: 200,
		threads,
		weights: root("../shared/models/dinov2-small"),
		data: root("../shared/data/mvtec/bottle"),
	};
	if (!existsSync(job.weights) || !existsSync(job.data)) {
		console.log("anomalib: no weights and pictures in ../shared: skipped");
		return [];
	}
	const a = await talkerOf("detect.js", job);
	const peers: { name: string; talker: Talker | null; limited: boolean }[] = [];
	for (const [size, batch, how] of [
		[252, 32, "at its defaults"],
		[224, 16, "224 px, 16 at a time"],
		[224, 1, "224 px, one by one"],
	] as const) {
		const talker = await peerOf("anomalib.py", { ...job, size, batch });
		const name = talker
			? `anomalib, ${how}`
			: "anomalib not installed: skipped";
		peers.push({ name, talker, limited: size === 252 });
		if (!talker) break;
	}
	const sides = [a, ...peers.map(({ talker }) => talker)];
	const each = async (ask: (side: Talker) => Promise<number>) => {
		const answers: number[] = [];
		for (const side of sides) answers.push(side ? await ask(side) : Number.NaN);
		return answers;
	};
	const rounds: Record<"score" | "fit" | "peak", number[][]> = {
		score: [],
		fit: [],
		peak: [],
	};
	await each((side) => side.ask("score"));
	const bytes = await each((side) => side.ask("peak")); // before anything is learnt a second time
	rounds.peak.push(bytes.map((n) => n / 1e9));
	for (let i = 0; i < ROUNDS; i++) {
		rounds.score.push(await each((side) => side.warm("score")));
		if (i < 3) rounds.fit.push(await each((side) => side.ask("fit")));
	}
	await a.ask("end");
	for (const side of sides) side?.end();
	return (
		[
			["testing an image", "ms/image", rounds.score, 0.25],
			["learning 200 images", "ms/image", rounds.fit, null],
			["peak memory of both", "GB", rounds.peak, 0.2],
		] as const
	).flatMap(([name, unit, values, limit]) =>
		peers.map(({ name: peerName, talker, limited }, i): Figure => {
			const x = values.map(([ours]) => ours as number);
			const y = values.map((round) => round[i + 1] as number);
			return {
				name,
				unit,
				value: median(x),
				peer: talker ? median(y) : null,
				peerName,
				ratio: talker ? median(x.map((v, k) => v / (y[k] as number))) : null,
				limit: (limited ? limit : null) ?? Number.POSITIVE_INFINITY,
				spread: spread(x),
			};
		}),
	);
}

/**
 * Learning a product of 200 drawn images through the program itself (CutPaste on the last three blocks, density, bank), with a pool of
 * two views an image and with new views in every epoch, against the same protocol in PyTorch. Once each, in turn.
 */
async function product(): Promise<Figure[]> {
	const dir = mkdtempSync(join(tmpdir(), "keepsight-bench-"));
	const [epochs, batch, last] = [10, 32, 3];
	try {
		const data = join(dir, "data");
		await drawDemo(data, {
			seed: 3,
			products: 1,
			size: 224,
			train: 200,
			testGood: 1,
			perDefect: 1,
			validation: 2,
		});
		const [task] = await findCategories(data);
		const file = join(dir, "run.yaml");
		writeFileSync(
			file,
			JSON.stringify({
				name: "product",
				data: { root: data, tasks: [task] },
				image_size: 224,
				backbone: { name: "vit", width: 384, depth: 12, heads: 6, patch: 14 },
				trainable: { last },
				pretext: { name: "cutpaste" },
				strategy: { name: "finetune" },
				memory: [{ name: "patches" }, { name: "dne" }],
				train: { epochs, batch_size: batch },
				out: dir,
				threads,
			}),
		);
		const seconds = (set: string) =>
			learnt(file, join(dir, "product"), "--set", set)[0] as number;
		const folder = join(data, task as string, "train", "good");
		const peer = await peerOf("product.py", {
			folder,
			epochs,
			batch,
			last,
			threads,
		});
		const pooled = seconds("train.view_pool=2");
		const theirs = peer ? await peer.ask("learn") : null;
		const plain = seconds("train.view_pool=null");
		peer?.end();
		return [
			["with 2 views of each", pooled, 0.5] as const,
			["new views in every epoch", plain, Number.POSITIVE_INFINITY] as const,
		].map(([how, value, limit]) => ({
			name: `learning 200 images, ${how}`,
			unit: "s",
			value,
			peer: theirs,
			peerName: peer
				? "PyTorch eager, timm"
				: "PyTorch or timm not installed: skipped",
			ratio: theirs === null ? null : value / theirs,
			limit,
			spread: [value, value],
		}));
	} finally {
		rmSync(dir, { recursive: true, force: true });
	}
}

/** All metrics of LOCO's maps against anomalib's AUPRO alone. MVTec's own script is on no registry. */
async function pixel(): Promise<Figure[]> {
	const data = root("../shared/data/loco/juice_bottle");
	if (!existsSync(data)) {
		console.log("pixel: no pictures in ../shared: skipped");
		return [];
	}
	const out = mkdtempSync(join(tmpdir(), "keepsight-bench-"));
	try {
		const a = await talkerOf("pixel.js", { data, out });
		const b = await peerOf("aupro.py", { out, threads });
		const [x, y]: [number[], number[]] = [[], []];
		for (let i = 0; i < 3; i++) {
			x.push((await a.ask("measure")) / 1000);
			if (b) y.push((await b.ask("measure")) / 1000);
		}
		if (b)
			console.log(
				`AUPRO .3: ${await a.ask("aupro")}, anomalib ${await b.ask("aupro")}`,
			);
		a.end();
		b?.end();
		return [
			{
				name: "all metrics of juice_bottle's maps",
				unit: "s",
				value: median(x),
				peer: b ? median(y) : null,
				peerName: b
					? "anomalib, AUPRO .3 alone"
					: "anomalib not installed: skipped",
				ratio: b ? median(x.map((v, i) => v / (y[i] as number))) : null,
				limit: 0.25,
				spread: spread(x),
			},
		];
	} finally {
		rmSync(out, { recursive: true, force: true });
	}
}

const small = { model: "small", batch: 16, threads, last: null } as const;
const figures: Readonly<Record<string, () => Promise<Figure[]>>> = {
	"step-s": () => step("full step, ViT-S/14, batch 16", small, 1.05),
	"step-ti": () =>
		step("full step, ViT-Ti/16, batch 16", { ...small, model: "tiny" }, 0.95),
	top3,
	forward,
	detection,
	product,
	learning,
	serving,
	sweeping,
	routing,
	scale,
	anomalib,
	pixel,
	"memory-16": () => peak(16, 2.5),
	"memory-8": () => peak(8, 1.6),
	"memory-growth": growth,
	"augment-full": () => augmentation(null),
	"augment-top3": () => augmentation(3),
	...Object.fromEntries(
		["frozen", "finetune", "ewc", "si", "lwf", "gpm"].map((name) => [
			`tasks-${name}`,
			() => taskGrowth(name),
		]),
	),
	...Object.fromEntries(
		(
			[
				[{ name: "ewc" }, 1.15],
				[{ name: "si" }, 1.15],
				[{ name: "gpm" }, 1.25],
				[{ name: "lwf" }, 1.6],
				[{ name: "lwf", of: "layers" }, 1.6],
				[{ name: "replay" }, 1.05],
				[{ name: "der" }, Number.POSITIVE_INFINITY],
				[{ name: "der++" }, Number.POSITIVE_INFINITY],
			] as const
		).map(([strategy, limit]) => [
			`step-${Object.values(strategy).join("-")}`,
			() => strategyStep(strategy, limit),
		]),
	),
};

const args = process.argv.slice(2);
const at = args.indexOf("--json");
const file = at >= 0 ? args.splice(at, 2)[1] : undefined;
const unknown = args.find((name) => !Object.hasOwn(figures, name));
if (unknown) {
	console.error(
		`error: there is no figure "${unknown}". Use: ${Object.keys(figures).join(", ")}`,
	);
	process.exit(2);
}
const machine = {
	cpu: cpus()[0]?.model,
	threads,
	memoryBytes: totalmem(),
	node: process.version,
	onnxruntime: runtimeVersion,
	date: new Date().toISOString(),
};
console.log(
	`${machine.cpu}, ${threads} threads, Node ${machine.node}, onnxruntime ${machine.onnxruntime}; median of ${ROUNDS} interleaved rounds`,
);
const all: Figure[] = [];
for (const name of args.length > 0 ? args : Object.keys(figures)) {
	for (const f of await (figures[name] as () => Promise<Figure[]>)()) {
		all.push(f);
		const held = f.ratio ?? (f.peerName === "limit" ? f.value : null);
		const verdict =
			held === null || !Number.isFinite(f.limit)
				? "-"
				: held <= f.limit
					? "met"
					: "MISSED";
		console.log(
			`${f.name.padEnd(44)} ${f.value.toFixed(2).padStart(9)} ${f.unit.padEnd(9)} ${f.peer === null ? "" : `${f.peer.toFixed(2)} (${f.peerName})`.padEnd(36)} ${f.ratio === null ? (f.peer === null ? f.peerName : "") : `ratio ${f.ratio.toFixed(3)}`}  limit ${Number.isFinite(f.limit) ? f.limit.toFixed(3) : "-"}  ${verdict}`,
		);
	}
	if (file)
		writeFileSync(
			file,
			`${JSON.stringify({ machine, figures: all }, null, 2)}\n`,
		); // after every figure: a long run that is stopped keeps what it has
}
