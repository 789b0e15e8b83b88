/**
 * The task loop: learn a task, remember it, evaluate all tasks seen so far. Each task ends with one new version of memory/;
 * whatever kills the run in between, --resume goes on from the last finished epoch or task to the same bytes.
 */
import { createAugmenter } from "./augment.ts";
import { memoriesOf, optionsOf, readingOf, type RunConfig } from "./config.ts";
import { fingerprint, fingerprints } from "./data/fingerprint.ts";
import { readLearnTasks, readTasks } from "./data/index.ts";
import type { Category, Image, LearnTask, Sample, Task } from "./data/task.ts";
import { readMask } from "./data/image.ts";
import { epochJobs } from "./draws.ts";
import { runtimeVersion } from "./engine/runtime.ts";
import type { Tensor, TensorDict } from "./engine/tensor.ts";
import { fail, Interrupted, KeepsightError, registered } from "./errors.ts";
import {
	Eyes,
	evaluateRow,
	joinFeatures,
	localiserOf,
	networkOf,
	type Progress,
	scoreCategory,
	stalenessOf,
	stalenessSoFar,
	writeResults,
} from "./evaluate.ts";
import { heed, paced, type RunEvent, type Stop } from "./events.ts";
import {
	type AllFeatures,
	Knowledge,
	type KnowledgeSetup,
	type MemorySetup,
	patchesRead,
	readsViews,
	type SaveOptions,
} from "./knowledge.ts";
import {
	initialHead,
	type LearnResult,
	type LearnSettings,
	learn,
} from "./learn.ts";
import type { Localiser } from "./localise.ts";
import { patchesOf } from "./maps.ts";
import { formatResults, type Results } from "./metrics/results.ts";
import type { Backbone } from "./models/backbone.ts";
import { pinned } from "./models/cache.ts";
import { loadBackbone } from "./models/index.ts";
import type { VitConfig } from "./models/vit.ts";
import { loadedPlugins, pluginsBehind } from "./plugins.ts";
import { createPretext } from "./pretext/index.ts";
import { split, unstack } from "./probe.ts";
import { Random } from "./random.ts";
import { Reuse } from "./reuse.ts";
import {
	checkReaders,
	describeMachine,
	differences,
	holdsRun,
	openRun,
	type Run,
	type RunStart,
	taskFolder,
} from "./run.ts";
import { strategies } from "./strategies/index.ts";
import type { Rehearsal, StrategyDefinition } from "./strategies/strategy.ts";
import { Tracker } from "./tracking/tracker.ts";
import {
	firstTrained,
	type Network,
	Trunk,
	trainableWeights,
} from "./trunk.ts";
import { version } from "./version.ts";
import { visualise } from "./visualise.ts";

export interface TrainJob {
	readonly config: RunConfig;
	readonly dir: string;
	readonly mode: "new" | "resume" | "fresh";
	/** resume: goes on although something differs. Default: no. */
	readonly force?: boolean;
}

export interface Watcher {
	readonly emit: (event: RunEvent) => void;
	readonly stop: Stop;
}

/** Share of a task's normals, the last in file order, that stays out of the pretext where weights train (methods: optimism). */
const HELD_OUT = 0.2;

/** One entry of the loop: what is trained on and what is then remembered. */
interface Stage {
	/** Row of the matrix it fills, 0-based. */
	readonly row: number;
	readonly train: LearnTask;
	readonly remember: readonly LearnTask[];
	/** Everything remembered before is dropped first (joint training). */
	readonly anew: boolean;
}

/** `reuse`: where several runs follow each other in one process. */
export async function train(
	job: TrainJob,
	{ emit, stop }: Watcher,
	reuse: Reuse | null = null,
): Promise<{ results: Results; text: string }> {
	const config = { ...job.config, backbone: pinned(job.config.backbone) }; // run.json says which commit it was
	const { definition, options } = strategyOf(config);
	if (config.trainable === "none" && definition.trains !== false)
		emit({
			type: "notice",
			text: `trainable is none: nothing trains, so strategy ${config.strategy.name} has no effect.`,
		});

	emit({
		type: "progress",
		phase: "read",
		task: "data",
		taskIndex: 0,
		taskCount: 1,
		done: 0,
		total: 1,
		unit: "data set",
	});
	if (job.mode === "resume" && holdsRun(job.dir)) checkReaders(job.dir);
	const { root, tasks: specs } = config.data;
	const reading = readingOf(config);
	const shared = <T extends LearnTask>(list: T[]): T[] =>
		reuse?.tasks(list) ?? list;
	const tasks = shared(await readLearnTasks(root, specs, reading));
	const backbone =
		reuse?.backbone(config) ??
		loadBackbone(config.backbone, config.imageSize, config.seed); // before the folder is touched: a missing file must not cost an earlier run
	const setup = setupOf(config, backbone.config);
	const trains = setup.from < backbone.config.depth;
	const regions = await regionsOf(
		tasks,
		setup.memories.map((memory) => patchesRead(backbone.config, [memory]).grid),
	);
	const images = await fingerprints(tasks);
	const run = openRun(
		job.dir,
		job.mode,
		{
			...startOf(
				config,
				tasks.map((t) => t.id),
			),
			images,
		},
		{
			force: job.force ?? false,
			notice: (text) => emit({ type: "notice", text }),
		},
	);
	let tracker: Tracker | null = null;
	let knowledge: Knowledge | null = null;
	let eyes: Eyes | null = null;
	try {
		emit({ type: "opened", dir: job.dir });
		tracker = new Tracker(run, emit);
		tracker.start();
		knowledge =
			run.memory.version > 0
				? Knowledge.load(run.memory, config.threads)
				: new Knowledge(backbone, setup, config.threads);

		const other = differences(
			{ ...knowledge.setup, ...described(knowledge.backbone) },
			{ ...setup, ...described(backbone) },
		);
		if (other.length > 0)
			throw fail("SETUP_DIFFERS", { dir: job.dir, differences: other });
		const network = networkOf(knowledge, config.threads);
		const trunk = reuse?.trunk(network) ?? new Trunk(network);
		eyes = new Eyes(trunk);
		const localiser = localiserOf(knowledge);
		const initial = trains ? initialWeights(network, config) : null;

		const testTasks = shared(await readTasks(root, specs, reading));
		const strayed = knowledge.tasks.find(({ id }, i) => id !== tasks[i]?.id);
		if (strayed) throw fail("RUN_CHANGED", { dir: job.dir, task: strayed.id });
		for (const stage of stagesOf(tasks, definition.joint?.(options))) {
			const context: StageContext = {
				config,
				run,
				tracker,
				trunk,
				eyes,
				localiser,
				regions,
				draws: reuse === null, // nobody looks at the cells of a comparison one by one
				network,
				strategy: definition.create(options),
				initial,
				emit,
				stop,
				taskIndex: stage.row,
				taskCount: tasks.length,
			};
			let seconds: number | null = null; // unknown for a task that was cut off
			if (knowledge.tasks.length <= stage.row) {
				const began = performance.now();
				const goesOn = run.checkpoint.meta.task === stage.train.id; // from an epoch of an earlier process
				const fromInitial = stage.anew || definition.startsFrom === "initial";
				knowledge = await learnStage(
					context,
					stage,
					knowledge,
					fromInitial ? initial : (knowledge.current ?? initial),
					definition.weightsPerTask === true,
				);
				if (!goesOn) seconds = Math.round(performance.now() - began) / 1000;
				await reportChanged(run, stage.remember, images, emit);
			}
			if (!stage.remember.every((t) => run.tasksLearnt.includes(t.id)))
				await evaluateStage(context, stage, knowledge, testTasks, seconds);
		}
		const results = writeResults(run, knowledge, testTasks);
		tracker.end(null);
		return { results, text: formatResults(results) };
	} catch (error) {
		tracker?.end(error);
		throw error;
	} finally {
		run.close();
		await eyes?.release();
		await knowledge?.release();
	}
}

/** Says so where the pictures of a task changed while it was learnt, or nobody can tell. */
async function reportChanged(
	run: Run,
	tasks: readonly LearnTask[],
	images: Readonly<Record<string, string>>,
	emit: Watcher["emit"],
): Promise<void> {
	for (const task of tasks) {
		let text: string;
		try {
			const now = await fingerprint(task);
			if (now === images[task.id]) continue;
			text = `The images of ${task.id} changed while it was learnt (${images[task.id]} -> ${now}), so nobody can tell from which it was. Let them be as they should, then start over with --fresh.`;
		} catch (error) {
			if (!(error instanceof KeepsightError)) throw error;
			text = `Whether the images of ${task.id} changed while it was learnt is unknown. ${error.message}`;
		}
		run.log({ type: "notice", text, damage: null });
		emit({ type: "notice", text });
	}
}

/** Runs of a comparison, one after the other in one process. One that fails is reported and the rest goes on. */
export async function trainAll(
	jobs: readonly { readonly cell: string; readonly job: TrainJob }[],
	processes: number,
	{ emit, stop }: Watcher,
): Promise<void> {
	const reuse = new Reuse(processes);
	for (const { cell, job } of jobs) {
		emit({ type: "cell", cell, state: "started" });
		try {
			await startOrGoOn(job, { emit, stop }, reuse);
			emit({ type: "cell", cell, state: "finished" });
		} catch (error) {
			if (error instanceof Interrupted) throw error;
			const message = (error as Error).message ?? String(error);
			const ours = !(error instanceof KeepsightError);
			const stack = ours ? (error as Error).stack : undefined;
			emit({
				type: "cell",
				cell,
				state: "failed",
				message,
				...(error instanceof KeepsightError && { code: error.code }),
				...(stack !== undefined && { stack }),
			});
		}
	}
}

/** A run that was cut off and cannot be gone on with, since the program changed or its folder moved, starts anew. */
async function startOrGoOn(
	job: TrainJob,
	watcher: Watcher,
	reuse: Reuse,
): Promise<void> {
	try {
		await train(job, watcher, reuse);
	} catch (error) {
		const other =
			error instanceof KeepsightError && error.code === "RUN_DIFFERS";
		if (!other || job.mode !== "resume") throw error;
		watcher.emit({
			type: "notice",
			text: `Starting anew: ${error.message}`,
		});
		await train({ ...job, mode: "fresh" }, watcher, reuse);
	}
}

/** Trains on a stage's images, remembers its tasks, and saves the next version of memory/. */
export async function learnStage(
	context: StageContext,
	stage: Stage,
	before: Knowledge,
	start: TensorDict | null,
	weightsPerTask: boolean,
): Promise<Knowledge> {
	const { run, strategy } = context;
	for (const { id } of stage.remember)
		if (!run.tasksLearnt.includes(id)) run.setTask(id, "learning"); // joint training remembers earlier ones again
	if (!stage.anew)
		Object.assign(strategy.tensors ?? {}, before.strategyTensors);
	const rehearsal = strategy.rehearse?.() ?? null;
	const learnt = start
		? await trainStage(context, stage.train, start, rehearsal)
		: null;
	if (stage.anew) await before.release();
	const knowledge = stage.anew
		? new Knowledge(before.backbone, before.setup, context.config.threads)
		: before;
	knowledge.current = learnt?.weights ?? null;
	knowledge.strategyTensors = strategy.tensors ?? {};
	for (const t of stage.remember)
		await rememberTask(context, knowledge, t, {
			learnt,
			weightsPerTask,
			rehearsed: rehearsal ? unstack(rehearsal.images) : [],
		});
	run.checkLock();
	knowledge.save(run.memory, taskFolder, context.saving);
	return knowledge;
}

/** Fills a row of the matrix and marks the stage's tasks as learnt. */
async function evaluateStage(
	context: StageContext,
	{ row, train: task, remember }: Stage,
	knowledge: Knowledge,
	testTasks: readonly Task[],
	seconds: number | null,
): Promise<void> {
	const { config, run, tracker, eyes, localiser, draws } = context;
	const { emit, stop, taskIndex, taskCount } = context;
	const progress = { emit, stop, taskIndex, taskCount };
	const seen = testTasks.slice(0, row + 1);
	const { pixel, seen: found } = await evaluateRow(
		run,
		knowledge,
		{ eyes, localiser },
		seen,
		row + 1,
		progress,
	);
	if (config.evaluate.untrained)
		await evaluateUntrained(
			run,
			knowledge,
			eyes,
			testTasks.slice(row + 1),
			row + 1,
			{ threads: config.threads, regions: context.regions },
			progress,
		);
	const results = writeResults(run, knowledge, seen, {
		pixel,
		...(config.evaluate.staleness && {
			staleness: {
				...stalenessSoFar(run),
				[task.id]: await stalenessOf(knowledge, eyes, seen, progress),
			},
		}),
	});
	tracker.row(task.id, taskIndex, results);
	if (draws && row === taskCount - 1)
		await visualise(run, seen, found, localiser, progress);
	run.checkLock();
	run.checkpoint.clear();
	const fresh = remember.filter(({ id }) => !run.tasksLearnt.includes(id));
	for (const { id } of fresh)
		run.setTask(id, "learnt", seconds === null ? null : seconds / fresh.length);
	emit({
		type: "row",
		task: task.id,
		taskIndex,
		taskCount,
		imageAuroc: results.matrices.imageAuroc?.[row] ?? [],
	});
}

/** What run.json says of a run before it begins. */
export const startOf = (
	config: RunConfig,
	order: readonly string[],
): RunStart => ({
	config: { ...config },
	seed: config.seed,
	versions: {
		keepsight: version,
		node: process.versions.node,
		onnxruntime: runtimeVersion,
	},
	machine: describeMachine(),
	order,
	plugins: pluginsBehind(config),
});

/** The strategy of a configuration. */
export function strategyOf({ strategy }: Pick<RunConfig, "strategy">) {
	const definition = registered<StrategyDefinition>(
		strategies,
		strategy.name,
		"strategy",
		"strategy.name",
	);
	return { definition, options: definition.options.parse(optionsOf(strategy)) };
}

/** What is learnt with; refuses patches of blocks that train. */
export function setupOf(config: RunConfig, vit: VitConfig): KnowledgeSetup {
	const trains = strategyOf(config).definition.trains !== false;
	const from = firstTrained(vit, trains ? config.trainable : "none");
	const setups = memoriesOf(config);
	checkBlocks(vit, setups, from);
	return { memories: setups, from, falseAlarms: config.evaluate.falseAlarms };
}

/** Before the first task: the pretrained weights of what trains, and a fresh head. */
export const initialWeights = (
	network: Network,
	config: RunConfig,
): TensorDict => ({
	...trainableWeights(network),
	...initialHead(
		createPretext(pretextOf(config)).classes.length,
		network.backbone.config.width,
		new Random(config.seed, "head"),
	),
});

/** What of a backbone a memory depends on beside its weights. */
const described = ({ config, precision = "float32" }: Backbone) => ({
	network: config,
	precision,
});

/** Patches must come from blocks that no training touches, or every bank would go stale. */
function checkBlocks(
	vit: VitConfig,
	setups: readonly MemorySetup[],
	from: number,
): void {
	const trained = patchesRead(vit, setups).blocks.find(
		(block) => block >= from,
	);
	if (trained !== undefined)
		throw fail("BLOCKS_TRAINED", {
			block: trained + 1,
			depth: vit.depth,
			first: from + 1,
		});
}

/** One stage a task; joint training is one stage on the union ("last"), or one for every prefix ("every"). */
function stagesOf(
	tasks: readonly LearnTask[],
	joint: "every" | "last" | undefined,
): Stage[] {
	return tasks.flatMap((task, row): Stage[] => {
		if (joint === undefined)
			return [{ row, train: task, remember: [task], anew: false }];
		if (joint === "last" && row < tasks.length - 1) return [];
		const seen = tasks.slice(0, row + 1);
		return [
			{
				row,
				train: {
					id: seen.map((t) => t.id).join("+"),
					categories: seen.flatMap((t) => t.categories),
				},
				remember: seen,
				anew: true,
			},
		];
	});
}

interface StageContext extends Watcher {
	readonly config: RunConfig;
	readonly run: Run;
	readonly tracker: Tracker;
	readonly trunk: Trunk;
	readonly eyes: Eyes;
	readonly localiser: Localiser;
	/** Masks of what is looked at, by category; all where there is none. */
	readonly regions: ReadonlyMap<string, Tensor<"uint8">>;
	/** Whether pictures are made at the end. */
	readonly draws: boolean;
	/** What the next version of memory/ says of itself, and how many stay. */
	readonly saving?: SaveOptions;
	readonly network: Network;
	readonly strategy: ReturnType<StrategyDefinition["create"]>;
	/** Weights the run started with; null: nothing trains. */
	readonly initial: TensorDict | null;
	readonly taskIndex: number;
	readonly taskCount: number;
}

/** The normals that may move weights, and the contiguous rest that measures how much better the network likes those. */
function divide({ normals }: Category): {
	training: readonly Sample[];
	heldOut: readonly Sample[];
} {
	const kept = normals.length - Math.floor(normals.length * HELD_OUT);
	return { training: normals.slice(0, kept), heldOut: normals.slice(kept) };
}

async function trainStage(
	{
		config,
		run,
		tracker,
		trunk,
		network,
		strategy,
		initial,
		emit,
		stop,
		taskIndex,
		taskCount,
	}: StageContext,
	task: LearnTask,
	start: TensorDict,
	rehearsal: Rehearsal | null,
): Promise<LearnResult> {
	const parts = task.categories.map(divide);
	const decode = (samples: readonly Sample[]) =>
		readImages(samples, config, {
			emit,
			stop,
			taskIndex,
			taskCount,
			task: task.id,
		});
	const pretext = pretextOf(config);
	const heldOutImages = await decode(parts.flatMap((p) => p.heldOut));
	const training = createAugmenter({
		pretext,
		plugins: loadedPlugins(),
		images: [
			...(await decode(parts.flatMap((p) => p.training))),
			...(rehearsal ? unstack(rehearsal.images) : []),
		],
		workers: Math.max(1, Math.min(2, config.threads)),
		seed: config.seed,
	});
	const heldOut =
		heldOutImages.length > 0
			? createAugmenter({
					pretext,
					images: heldOutImages,
					workers: 0,
					seed: config.seed,
				})
			: null;
	try {
		return await learn({
			network,
			trunk,
			settings: {
				...settingsOf(config),
				...(start === initial && { head: "shared" }), // no task has trained the head of these weights
			},
			strategy,
			task,
			taskIndex,
			taskCount,
			training,
			rehearsal,
			heldOut,
			start,
			checkpoint: run.checkpoint,
			emit: tracked(tracker, emit),
			stop,
		});
	} finally {
		await training.close();
		await heldOut?.close();
	}
}

const pretextOf = ({ pretext }: RunConfig) => ({
	name: pretext.name,
	options: optionsOf(pretext),
});

function settingsOf({ train: t, pretext, seed }: RunConfig): LearnSettings {
	return {
		epochs: t.epochs,
		viewPool: t.viewPool,
		batchSize: t.batchSize,
		optimizer: t.optimizer,
		schedule: t.schedule,
		warmup: t.warmup,
		clipNorm: t.clipNorm,
		head: pretext.head,
		seed,
	};
}

/** Epochs are recorded before anyone hears of them. */
const tracked =
	(tracker: Tracker, emit: Watcher["emit"]): Watcher["emit"] =>
	(event) => {
		if (event.type === "epoch") tracker.epoch(event);
		emit(event);
	};

async function readImages(
	samples: readonly Sample[],
	config: RunConfig,
	{
		emit,
		stop,
		task,
		...at
	}: Watcher & { task: string; taskIndex: number; taskCount: number },
): Promise<Image[]> {
	const images: Image[] = [];
	const ahead = 8;
	for (let i = 0; i < samples.length; i += ahead) {
		await heed(stop);
		images.push(
			...(await Promise.all(
				samples.slice(i, i + ahead).map((s) => s.read(config.imageSize)),
			)),
		);
		emit({
			type: "progress",
			phase: "read",
			task,
			...at,
			done: images.length,
			total: samples.length,
			unit: "images",
		});
	}
	return images;
}

/** Adds the categories of a task to memory and router. `rehearsed`: images of earlier tasks, which show how their features moved. */
async function rememberTask(
	context: StageContext,
	knowledge: Knowledge,
	task: LearnTask,
	{
		learnt,
		weightsPerTask,
		rehearsed,
	}: {
		readonly learnt: LearnResult | null;
		readonly weightsPerTask: boolean;
		readonly rehearsed: readonly Image[];
	},
): Promise<void> {
	const { config, eyes, emit, stop, taskIndex, taskCount } = context;
	const weights = learnt?.weights ?? null;
	const newest = knowledge.tasks.at(-1)?.categories[0];
	const before =
		newest !== undefined &&
		knowledge.memories.some((memory) => memory.drift) &&
		!weightsPerTask
			? knowledge.weightsOf(newest)
			: null;
	const moved = before !== null && before !== weights;
	const { views } = knowledge.patches;
	const seen: {
		category: Category;
		normals: AllFeatures[];
		heldOut: AllFeatures[];
		/** The normals as the weights before this task saw them. */
		earlier: AllFeatures[];
	}[] = [];
	for (const category of task.categories) {
		const samples = [...category.normals, ...category.heldOut];
		const all: AllFeatures[] = [];
		const earlier: AllFeatures[] = [];
		for await (const sample of eyes.each(samples)) {
			await heed(stop);
			const normal = all.length < category.normals.length;
			const features = await eyes.features(sample, weights);
			const turned = await eyes.turned(sample, normal ? views : []);
			all.push({ ...features, turned });
			if (moved && normal) earlier.push(await eyes.features(sample, before));
			emit({
				type: "progress",
				phase: "memory",
				task: category.id,
				taskIndex,
				taskCount,
				done: all.length,
				total: samples.length,
				unit: "images",
			});
		}
		eyes.forget(samples);
		const n = category.normals.length;
		seen.push({
			category,
			normals: all.slice(0, n),
			heldOut: all.slice(n),
			earlier,
		});
	}
	if (moved) {
		const earlier = seen.flatMap((category) => category.earlier);
		const now = seen.flatMap(({ normals }) => normals);
		for (const [i, image] of rehearsed.entries()) {
			await heed(stop);
			const id = `rehearsed image ${i}`;
			earlier.push(await eyes.featuresOf(id, image, before));
			now.push(await eyes.featuresOf(id, image, weights));
		}
		for (const [i, memory] of knowledge.memories.entries())
			memory.drift?.(
				knowledge.featuresFor(i, joinFeatures(earlier)),
				knowledge.featuresFor(i, joinFeatures(now)),
			);
	}
	const optimism: number[] = [];
	for (const { category, normals, heldOut } of seen) {
		const trained = divide(category).training.length;
		const trials = await knowledge.remember(
			{
				id: category.id,
				group: task.id,
				learnt: joinFeatures(normals),
				...(knowledge.setup.memories.some(readsViews) && {
					views: await augmentedFeatures(context, category, weights),
				}),
				trained: category.normals.map(
					(_, n) => weights !== null && n < trained,
				),
				heldOut: heldOut.length > 0 ? joinFeatures(heldOut) : null,
				roi: context.regions.get(category.id) ?? null,
				pace: paced(context, { task: category.id, taskIndex, taskCount }),
			},
			new Random(config.seed, "memory", category.id),
		);
		for (const { option, taken, change } of trials)
			emit({
				type: "notice",
				text: `${category.id}: ${option} ${taken ? "taken" : "not taken"}, good parts' scores change by ${percent(change - 1)} (.95 quantile)`,
			});
		for (const memory of knowledge.memories) {
			const { optimism: measured } = memory.crossFitted(category.id);
			if (measured !== null) optimism.push(measured);
		}
	}
	knowledge.addTask(
		{
			id: task.id,
			categories: task.categories.map((c) => c.id),
			learning: {
				...learnt?.learning,
				optimism:
					optimism.length > 0
						? optimism.reduce((a, b) => a + b, 0) / optimism.length
						: null,
			},
		},
		weights,
		{ weightsPerTask },
	);
}

const percent = (share: number): string =>
	`${share < 0 ? "" : "+"}${(100 * share).toFixed(1)} %`;

/** What is looked at, of those categories where it is not all: something in each of the grids. */
export async function regionsOf(
	tasks: readonly LearnTask[],
	grids: readonly (readonly [number, number])[],
): Promise<ReadonlyMap<string, Tensor<"uint8">>> {
	const regions = new Map<string, Tensor<"uint8">>();
	for (const { id, roi } of tasks.flatMap((task) => task.categories)) {
		if (roi === undefined) continue;
		const mask = await readMask(roi);
		if (!grids.every((grid) => patchesOf(mask, grid).includes(1)))
			throw fail("ROI_EMPTY", { id, path: roi });
		regions.set(id, mask);
	}
	return regions;
}

/** Normal views of every image, with the draws of a last epoch over all of them (training leaves some out). */
async function augmentedFeatures(
	{ config, eyes, network, emit, stop, taskIndex, taskCount }: StageContext,
	category: Category,
	weights: TensorDict | null,
): Promise<AllFeatures> {
	const images = await readImages(category.normals, config, {
		emit,
		stop,
		taskIndex,
		taskCount,
		task: category.id,
	});
	const augmenter = createAugmenter({
		pretext: pretextOf(config),
		images,
		workers: 0,
		seed: config.seed,
	});
	const parts: AllFeatures[] = new Array(images.length);
	for (const [job] of epochJobs(
		config.seed,
		category.id,
		config.train.epochs - 1,
		images.length,
		1,
	)) {
		if (!job) continue;
		await heed(stop);
		const [normal] = split(await augmenter.views([job]), network);
		if (normal)
			parts[job.image] = await eyes.featuresOf(
				(category.normals[job.image] as Sample).id,
				normal,
				weights,
			);
	}
	await augmenter.close();
	return joinFeatures(parts);
}

/** Tasks not learnt yet: a density of their normals at the current weights, the task told, dropped afterwards (forward transfer). */
async function evaluateUntrained(
	run: Run,
	knowledge: Knowledge,
	eyes: Eyes,
	tasks: readonly Task[],
	after: number,
	{
		threads,
		regions,
	}: { readonly threads: number } & Pick<StageContext, "regions">,
	progress: Progress,
): Promise<void> {
	for (const task of tasks) {
		const temporary = new Knowledge(
			knowledge.backbone,
			knowledge.setup,
			threads,
		);
		for (const category of task.categories) {
			const parts: AllFeatures[] = [];
			for await (const sample of eyes.each(category.normals)) {
				await heed(progress.stop);
				parts.push(await eyes.features(sample, knowledge.current));
			}
			await temporary.remember(
				{
					id: category.id,
					group: task.id,
					learnt: joinFeatures(parts),
					trained: parts.map(() => false),
					heldOut: null,
					roi: regions.get(category.id) ?? null,
				},
				new Random(run.record.seed, "memory", category.id),
			);
		}
		temporary.addTask(
			{
				id: task.id,
				categories: task.categories.map((c) => c.id),
				learning: {},
			},
			knowledge.current,
			{ weightsPerTask: false },
		);
		for (const category of task.categories)
			run.writeScores(
				after,
				category.id,
				(await scoreCategory(temporary, eyes, category, progress, category.id))
					.rows,
			);
		await temporary.release();
	}
}
