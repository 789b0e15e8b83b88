/**
 * Draws the products of a protocol, lets memories learn them as `learn` would, one after the other, and shows them test images. The folder:
 * data/ the pictures; memories/ what is being learnt, of which the whole line's stays; looks/ what they said, a file a moment; protocol.json
 * what it is. Each look is one atomic file and each product one version of a memory, so a killed benchmark goes on where it was, to the same figures.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { RunConfig } from "../config.ts";
import { type DemoProduct, drawDemo } from "../data/demo.ts";
import { readCategory, readTestCategory } from "../data/index.ts";
import type { Category, Sample, Task, TestCategory } from "../data/task.ts";
import type { TensorDict } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import {
	Eyes,
	joinFeatures,
	localiserOf,
	networkOf,
	writeResults,
} from "../evaluate.ts";
import { heed } from "../events.ts";
import { type AllFeatures, Knowledge } from "../knowledge.ts";
import { pinned } from "../models/cache.ts";
import { loadBackbone } from "../models/index.ts";
import { pluginsBehind } from "../plugins.ts";
import { openRun, type Run } from "../run.ts";
import {
	differingKeys,
	lockFolder,
	readJsonObject,
	readText,
	removeTree,
	stableJson,
	writeAtomic,
} from "../storage.ts";
import {
	initialWeights,
	learnStage,
	setupOf,
	startOf,
	strategyOf,
	type Watcher,
} from "../train.ts";
import { Tracker } from "../tracking/tracker.ts";
import { type Network, Trunk } from "../trunk.ts";
import { type Figures, figuresOf } from "./figures.ts";
import { formatLook, parseLook, type Seen, scoreRow } from "./look.ts";
import {
	type Chapter,
	chaptersOf,
	line,
	type Protocol,
	type Target,
	targetsAfter,
} from "./protocol.ts";

export interface BenchmarkJob {
	readonly dir: string;
	readonly protocol: Protocol;
	/** The detector; its data and out are not read. */
	readonly config: RunConfig;
	/** Only the pictures. */
	readonly drawOnly: boolean;
}

export interface BenchmarkResult {
	/** null: only drawn. */
	readonly figures: Figures | null;
	/** Whether an earlier process had done a part of it. */
	readonly wentOn: boolean;
}

export async function benchmark(
	job: BenchmarkJob,
	watcher: Watcher,
): Promise<{ results: BenchmarkResult; text: string }> {
	const { dir, protocol, drawOnly } = job;
	const config = { ...job.config, backbone: pinned(job.config.backbone) };
	const { definition, options } = strategyOf(config);
	if (!drawOnly && definition.joint?.(options))
		throw fail("NEEDS_ALL_IMAGES", { strategy: config.strategy.name });
	const notice = (text: string) => watcher.emit({ type: "notice", text });
	const lock = lockFolder(dir, { onWait: notice });
	try {
		const wentOn = claim(dir, protocol, drawOnly ? null : config);
		const chapters = chaptersOf(protocol);
		const root = join(dir, names.data);
		const products = await drawn(root, protocol, watcher, chapters.length + 1);
		if (drawOnly) return { results: { figures: null, wentOn }, text: root };
		const bench = new Bench({ dir, root, protocol, config, products }, watcher);
		for (const [i, chapter] of chapters.entries())
			await bench.learn(chapter, i + 1, chapters.length + 1);
		await bench.release();
		const figures = figuresOf(protocol, products, {
			seen: (chapter, after) => {
				const file = lookFile(dir, chapter, after);
				return parseLook(readText(file), file, lookedAnew(dir, chapter));
			},
			falseAlarms: config.evaluate.falseAlarms,
			memory: openRun(memoryDir(dir, line), "read").readMetrics()?.memory,
		});
		return { results: { figures, wentOn }, text: "" };
	} finally {
		lock.release();
	}
}

const names = {
	data: "data",
	memories: "memories",
	looks: "looks",
	protocol: "protocol.json",
} as const;

const memoryDir = (dir: string, chapter: string): string =>
	join(dir, names.memories, chapter);

const lookFile = (dir: string, chapter: string, after: number): string =>
	join(
		dir,
		names.looks,
		chapter,
		`after-${String(after).padStart(3, "0")}.csv`,
	);

/** What to do about a look that is damaged or gone: a later memory would say something else. */
const lookedAnew = (dir: string, chapter: string): string =>
	`delete the folders ${join(dir, names.looks, chapter)} and, if it is there, ${memoryDir(dir, chapter)}, and run the same command again`;

/** The good images that show a defect, as the drawing into `root` lists them. */
function dirtyIn(file: string, root: string): readonly string[] {
	const found = dirtyList.safeParse(jsonIn(file));
	if (!found.success)
		throw fail("DAMAGED", {
			path: file,
			problem: "it is no list of images",
			remedy: `delete ${root} and run the same command again: all of it is drawn anew`,
		});
	return found.data.map(({ path }) => path);
}
const dirtyList = z.array(z.looseObject({ path: z.string() }));

/** undefined: no JSON. */
function jsonIn(file: string): unknown {
	try {
		return JSON.parse(readText(file));
	} catch (error) {
		if (error instanceof SyntaxError) return undefined;
		throw error;
	}
}

/** Writes down what the folder holds, or checks that it is that; whether something was there. `config` null: pictures alone, which any detector may be shown. */
function claim(
	dir: string,
	protocol: Protocol,
	config: RunConfig | null,
): boolean {
	const file = join(dir, names.protocol);
	const stored = readJsonObject(file);
	const wanted = {
		format: 1,
		protocol,
		detector: config ? detectorOf(config) : (stored?.detector ?? null),
	};
	const free = !stored || stored.detector === null;
	const other = differingKeys(stored ?? wanted, wanted).filter(
		(key) => key !== "detector" || !free,
	);
	if (other.length > 0)
		throw fail("BENCHMARK_DIFFERS", { dir, differences: other });
	if (free) writeAtomic(file, stableJson(wanted));
	return stored !== null;
}

/** What decides the figures beside the protocol: the configuration, and the plugins behind its names where there are any. */
function detectorOf(config: RunConfig): object {
	const { out: _, data: __, ...detector } = config;
	const plugins = pluginsBehind(config);
	return { ...detector, ...(Object.keys(plugins).length > 0 && { plugins }) };
}

async function drawn(
	root: string,
	protocol: Protocol,
	{ emit, stop }: Watcher,
	steps: number,
): Promise<readonly DemoProduct[]> {
	const { seed, products, varied, size, train, testGood, perDefect } = protocol;
	const demo = await drawDemo(
		root,
		{
			seed,
			products,
			varied,
			size,
			train,
			validation: 0,
			testGood,
			perDefect,
			drift: true,
			recalibrate: protocol.recalibrated.at(-1) ?? 0,
			dirty: protocol.dirty.at(-1) ?? 0,
		},
		async (done, total) => {
			emit({
				type: "progress",
				phase: "draw",
				task: "pictures",
				taskIndex: 0,
				taskCount: steps,
				done,
				total,
				unit: "images",
			});
			await heed(stop);
		},
	);
	return demo.products;
}

interface Setting extends Omit<BenchmarkJob, "drawOnly"> {
	/** Of the pictures. */
	readonly root: string;
	readonly products: readonly DemoProduct[];
}

/** The network and what has looked with it, for all chapters. */
class Bench {
	readonly #setting: Setting;
	readonly #watcher: Watcher;
	readonly #empty: () => Knowledge;
	readonly #network: Network;
	readonly #trunk: Trunk;
	readonly #eyes: Eyes;
	readonly #initial: TensorDict | null;
	readonly #categories = new Map<string, Promise<TestCategory>>();

	constructor(setting: Setting, watcher: Watcher) {
		const { root, products } = setting;
		const tasks = products.map(({ id }) => id);
		const data = { ...setting.config.data, root, tasks, roi: [], limit: null };
		const config = { ...setting.config, name: line, data };
		this.#setting = { ...setting, config };
		this.#watcher = watcher;
		const backbone = loadBackbone(
			config.backbone,
			config.imageSize,
			config.seed,
		);
		const setup = setupOf(config, backbone.config);
		this.#empty = () => new Knowledge(backbone, setup, config.threads);
		this.#network = networkOf(this.#empty(), config.threads);
		this.#trunk = new Trunk(this.#network);
		this.#eyes = new Eyes(this.#trunk);
		const trains = setup.from < backbone.config.depth;
		this.#initial = trains ? initialWeights(this.#network, config) : null;
	}

	/** Learns what is missing of a chapter and takes the looks that are missing. `step` of `steps`, for whoever watches. */
	async learn(chapter: Chapter, step: number, steps: number): Promise<void> {
		const { dir, config } = this.#setting;
		const home = memoryDir(dir, chapter.name);
		const looked = chapter.products.every((_, i) =>
			this.#looked(chapter, i + 1),
		);
		if (!looked) {
			const ids = chapter.products.map((n) => this.#product(n).id);
			const run = openRun(home, "resume", startOf(config, ids));
			try {
				await this.#continue(run, chapter, {
					task: chapter.name,
					taskIndex: step,
					taskCount: steps,
				});
			} finally {
				run.close();
			}
		}
		if (chapter.name !== line) removeTree(home); // only its looks are asked for now
	}

	async #continue(run: Run, chapter: Chapter, at: Step): Promise<void> {
		const { dir, config, protocol } = this.#setting;
		const total = chapter.products.length;
		let knowledge =
			run.memory.version > 0
				? Knowledge.load(run.memory, config.threads)
				: this.#empty();
		for (const [i, n] of chapter.products.entries()) {
			const after = i + 1;
			const product = this.#product(n);
			const began = performance.now();
			if (knowledge.tasks.length < after)
				knowledge = await this.#remember(run, knowledge, chapter, product);
			if (!run.tasksLearnt.includes(product.id)) {
				const seconds = Math.round(performance.now() - began) / 1000;
				run.setTask(product.id, "learnt", seconds);
			}
			this.#watcher.emit({
				type: "progress",
				phase: "memory",
				...at,
				done: after,
				total,
				unit: "products",
			});
			if (this.#looked(chapter, after)) continue;
			const file = lookFile(dir, chapter.name, after);
			if (knowledge.tasks.length > after)
				throw fail("DAMAGED", {
					path: file,
					problem: `it is gone, and the memory has learnt ${knowledge.tasks.length} products since`,
					remedy: lookedAnew(dir, chapter.name),
				});
			const targets = targetsAfter(protocol, chapter, after);
			const seen = await this.#look(run, knowledge, targets, at);
			if (chapter.name === line) await this.#keep(run, knowledge, seen, after);
			run.checkLock();
			writeAtomic(file, formatLook(seen));
		}
		await knowledge.release();
	}

	/** Whether nothing is to be looked at after so many products, or it has been. */
	#looked(chapter: Chapter, after: number): boolean {
		const { dir, protocol } = this.#setting;
		return (
			targetsAfter(protocol, chapter, after).length === 0 ||
			existsSync(lookFile(dir, chapter.name, after))
		);
	}

	/** The line's scores, as a run has them. */
	async #keep(
		run: Run,
		knowledge: Knowledge,
		seen: readonly Seen[],
		after: number,
	): Promise<void> {
		const { products } = this.#setting;
		for (const { id } of knowledge.tasks) {
			const own = seen.filter(
				({ product, split }) => product === id && split === "test",
			);
			if (own.length > 0) run.writeScores(after, id, own.map(scoreRow));
		}
		if (after < products.length) return;
		const tasks: Task[] = [];
		for (const { id } of products)
			tasks.push({ id, categories: [await this.#category(id)] });
		writeResults(run, knowledge, tasks);
	}

	async release(): Promise<void> {
		await this.#eyes.release();
	}

	#product(n: number): DemoProduct {
		return this.#setting.products[n] as DemoProduct;
	}

	/** One product more, as `learn` does it. */
	async #remember(
		run: Run,
		knowledge: Knowledge,
		chapter: Chapter,
		{ id }: DemoProduct,
	): Promise<Knowledge> {
		const { config } = this.#setting;
		const { definition, options } = strategyOf(config);
		const { emit, stop } = this.#watcher;
		const category = await this.#lesson(id, chapter);
		const task = { id, categories: [category] };
		const silent: Watcher["emit"] = (event) => {
			if (event.type === "epoch") emit(event);
		};
		await heed(stop);
		const learnt = await learnStage(
			{
				config,
				run,
				tracker: new Tracker(run, silent),
				trunk: this.#trunk,
				eyes: this.#eyes,
				localiser: localiserOf(knowledge),
				regions: new Map(),
				draws: false,
				network: this.#network,
				strategy: definition.create(options),
				initial: this.#initial,
				emit: silent,
				stop,
				taskIndex: knowledge.tasks.length,
				taskCount: chapter.products.length,
			},
			{
				row: knowledge.tasks.length,
				train: task,
				remember: [task],
				anew: false,
			},
			knowledge,
			definition.startsFrom === "initial"
				? this.#initial
				: (knowledge.current ?? this.#initial),
			definition.weightsPerTask === true,
		);
		run.checkpoint.clear();
		return learnt;
	}

	/** The first good images of a product; some of them replaced by the same parts with a defect. */
	async #lesson(id: string, { images, dirty }: Chapter): Promise<Category> {
		const { root } = this.#setting;
		const all = await readCategory(join(root, id), id, { root });
		const normals = all.normals.slice(0, images);
		if (dirty === 0) return { id, normals, heldOut: [] };
		const home = join(root, folderOf("dirty", id));
		const replaced = dirtyIn(join(home, "dirty.json"), root)
			.slice(0, Math.round(dirty * images))
			.map((path) => `${id}/${path}`);
		const { normals: others } = await readCategory(home, id, { root });
		return {
			id,
			normals: normals.map((normal, i) => {
				const other = others[i] as Sample;
				return replaced.includes(other.id) ? other : normal;
			}),
			heldOut: [],
		};
	}

	/** Test images; of a product by its id, or of one of its splits by that folder. */
	#category(id: string): Promise<TestCategory> {
		const { root } = this.#setting;
		const known =
			this.#categories.get(id) ??
			readTestCategory(join(root, id), id, { root });
		this.#categories.set(id, known);
		return known;
	}

	async #look(
		run: Run,
		knowledge: Knowledge,
		targets: readonly Target[],
		at: Step,
	): Promise<Seen[]> {
		const seen: Seen[] = [];
		const moments = new Map<string, Target[]>();
		for (const target of targets) {
			const key = `${target.split} ${target.recalibrated}`;
			moments.set(key, [...(moments.get(key) ?? []), target]);
		}
		for (const together of moments.values()) {
			const anew = together[0]?.recalibrated
				? await this.#recalibrated(run, together)
				: null;
			for (const target of together) {
				seen.push(...(await this.#lookAt(anew ?? knowledge, target)));
				this.#watcher.emit({
					type: "progress",
					phase: "evaluate",
					...at,
					done: targets.indexOf(target) + 1,
					total: targets.length,
					unit: "products",
				});
			}
			await anew?.release();
		}
		return seen;
	}

	/** What the run has learnt, with the thresholds of these products set anew by the good images of their split; it is kept nowhere. */
	async #recalibrated(
		run: Run,
		targets: readonly Target[],
	): Promise<Knowledge> {
		const { root, config } = this.#setting;
		const knowledge = Knowledge.load(run.memory, config.threads);
		for (const { product, split, recalibrated } of targets) {
			const { id } = this.#product(product);
			const folder = join(root, folderOf(split, id), "recalibrate");
			const { normals } = await readCategory(folder, id, { root });
			const parts: AllFeatures[] = [];
			for await (const sample of this.#eyes.each(
				normals.slice(0, recalibrated),
			)) {
				await heed(this.#watcher.stop);
				parts.push(await this.#eyes.features(sample, knowledge.weightsOf(id)));
			}
			await knowledge.recalibrate(id, joinFeatures(parts));
		}
		return knowledge;
	}

	/** Each test image is routed by itself, and scored as the product it shows too. */
	async #lookAt(
		knowledge: Knowledge,
		{ product, split, recalibrated }: Target,
	): Promise<Seen[]> {
		const eyes = this.#eyes;
		const { id } = this.#product(product);
		const isLearnt = knowledge.tasks.some((task) => task.id === id);
		const { test } = await this.#category(
			split === "test" ? id : folderOf(split, id),
		);
		const seen: Seen[] = [];
		for await (const sample of eyes.each(test)) {
			await heed(this.#watcher.stop);
			const judge = async (category: string) =>
				knowledge.judge(
					category,
					await eyes.features(sample, knowledge.weightsOf(category)),
				);
			const routed = knowledge.route(await eyes.frozen(sample));
			const as = await judge(routed);
			const told = routed === id ? as : isLearnt && (await judge(id));
			seen.push({
				product: id,
				split,
				path: sample.id,
				defect: sample.defect,
				routed,
				score: as.score,
				threshold: as.threshold,
				unknown: as.unknown,
				blurred: as.blurred,
				told: told ? { score: told.score, threshold: told.threshold } : null,
				recalibrated,
			});
		}
		return seen;
	}
}

/** Where a benchmark is, for whoever watches. */
interface Step {
	readonly task: string;
	readonly taskIndex: number;
	readonly taskCount: number;
}

/** "loco/kit_008" in the folder of a variant: "dirty/kit_008". */
const folderOf = (variant: string, id: string): string =>
	`${variant}/${id.slice(id.indexOf("/") + 1)}`;
