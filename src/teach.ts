/**
 * Changes to what was learnt, one product at a time: learn, add images, forget, go back. Each is one new version of memory/, so a kill
 * at any moment leaves the old one or the new one, and earlier versions are kept. Files of other products are not touched.
 */
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { threshold } from "./calibration.ts";
import { checkedConfig, type RunConfig } from "./config.ts";
import { readCategory } from "./data/index.ts";
import type { Flaw } from "./data/flaw.ts";
import { encodePng } from "./data/image.ts";
import type { Category, Sample } from "./data/task.ts";
import type { Tensor } from "./engine/tensor.ts";
import { fail } from "./errors.ts";
import { Eyes, joinFeatures, localiserOf, networkOf } from "./evaluate.ts";
import { heed, paced } from "./events.ts";
import {
	type AllFeatures,
	Knowledge,
	readsViews,
	taskIds,
} from "./knowledge.ts";
import { pinned } from "./models/cache.ts";
import { loadBackbone } from "./models/index.ts";
import { overlayOf } from "./pictures/pictures.ts";
import { Random } from "./random.ts";
import { formatReview, type Odd, oddOf, refusedIn } from "./review.ts";
import {
	holdsRun,
	checkTaskName,
	openRun,
	type Run,
	type TaskState,
	taskFolder,
} from "./run.ts";
import { isObject, readText, stableJson } from "./storage.ts";
import {
	initialWeights,
	learnStage,
	regionsOf,
	setupOf,
	startOf,
	strategyOf,
	type Watcher,
} from "./train.ts";
import { Tracker } from "./tracking/tracker.ts";
import { Trunk } from "./trunk.ts";

/** Good images that say enough of a product to be worth a memory (methods, 7.7). */
const FEWEST = 10;
/** Versions kept beside the present one. */
const KEPT = 20;

/** A change to what is known, as `launch` takes it with `kind: "teach"`. */
export type Change =
	| {
			readonly kind: "learn";
			readonly task: string;
			/** A category's folder, or one of good images. */
			readonly data: string;
			/** A picture, white where to look. */
			readonly roi?: string;
			/** Odd images wait for a person, or go as the person has decided. */
			readonly review: boolean;
	  }
	| {
			/** More images are learnt, or calibrate alone. */
			readonly kind: "add" | "recalibrate";
			readonly task: string;
			readonly data: string;
	  }
	| { readonly kind: "forget"; readonly task: string }
	| {
			readonly kind: "threshold";
			readonly task: string;
			/** From which images are anomalous; null: as the rate of false alarms says. */
			readonly score: number | null;
	  }
	| {
			readonly kind: "rollback";
			/** null: the version before the present one. */
			readonly to: number | null;
	  };

export interface TeachJob {
	readonly memDir: string;
	readonly change: Change;
	/** What a memory is made of where there is none yet; null: there must be one. */
	readonly config: RunConfig | null;
}

export interface TeachResult {
	readonly memoryVersion: number;
	readonly change: string;
	readonly tasks: readonly string[];
	readonly [more: string]: unknown;
}

/** Makes one change and saves it. */
export async function teach(
	job: TeachJob,
	watcher: Watcher,
): Promise<{ results: TeachResult; text: string }> {
	const { change } = job;
	const category =
		change.kind === "learn"
			? await lessonOf(
					change,
					job.config ?? configOf(openRun(job.memDir, "read")),
				)
			: null;
	// before a folder is made that nothing could be learnt in
	const blank = job.config && !holdsRun(job.memDir) ? empty(job.config) : null;
	const run = opened(job, watcher);
	try {
		checkFinished(run);
		align(run);
		const began = performance.now();
		const done =
			change.kind === "rollback"
				? rolledBack(run, change.to)
				: await taught(run, change, { category, blank }, watcher);
		align(run);
		const seconds = Math.round(performance.now() - began) / 1000;
		const { version: now } = run.memory;
		run.log({ type: "memory", version: now, change: done.change, seconds });
		return {
			results: {
				memoryVersion: now,
				change: done.change,
				tasks: run.tasksLearnt,
				...done.more,
			},
			text: `${done.text}\nThe memory in ${job.memDir} is version ${now}, with ${counted(run.tasksLearnt.length, "product")}.`,
		};
	} finally {
		run.close();
	}
}

async function taught(
	run: Run,
	change: Exclude<Change, { kind: "rollback" }>,
	{
		category,
		blank,
	}: { readonly category: Category | null; readonly blank: Knowledge | null },
	watcher: Watcher,
): Promise<Made> {
	const knowledge =
		run.memory.version > 0
			? Knowledge.load(run.memory, run.settings.threads, readBy(change))
			: (blank ?? empty(configOf(run)));
	const lesson = { run, knowledge, watcher };
	try {
		if (change.kind === "forget") return forgotten(lesson, change.task);
		if (change.kind === "threshold") return limited(lesson, change);
		const config = configOf(run); // of what looks at pictures alone: it may name what a plugin adds
		if (change.kind === "learn")
			return await learnt({ ...lesson, config }, change, category as Category);
		return await added({ ...lesson, config }, change);
	} finally {
		await knowledge.release();
	}
}

/** Held against the schema, since the file may come from anywhere. A memory that was taught from its beginning names no tasks in it. */
function configOf({ record, dir }: Run): RunConfig {
	const { data } = record.config;
	const where = `${dir}/run.json`;
	if (!isObject(data) || !Array.isArray(data.tasks) || data.tasks.length > 0)
		return checkedConfig(record.config, where);
	const some = { ...data, tasks: ["*"] };
	const config = checkedConfig({ ...record.config, data: some }, where);
	return { ...config, data: { ...config.data, tasks: [] } };
}

/** A run of `train` counts its tasks: none may come between. What a killed `learn` left says where its images are. */
function checkFinished({ record, dir }: Run): void {
	const unfinished = record.tasks.filter(
		({ state, data }) =>
			state === "pending" || (state === "learning" && data === undefined),
	);
	if (unfinished.length > 0)
		throw fail("RUN_UNFINISHED", {
			dir,
			tasks: unfinished.map(({ id }) => id),
		});
}

/** Products whose memory the change needs; the others' files stay what they are. */
const readBy = (change: Change): readonly string[] =>
	change.kind === "add" || change.kind === "recalibrate" ? [change.task] : [];

function empty(config: RunConfig): Knowledge {
	const backbone = loadBackbone(config.backbone, config.imageSize, config.seed);
	const setup = setupOf(config, backbone.config);
	return new Knowledge(backbone, setup, config.threads);
}

/** The run folder, made where there is none. */
function opened(
	{ memDir, config, change }: TeachJob,
	{ emit }: Pick<Watcher, "emit">,
): Run {
	const notice = (text: string) => emit({ type: "notice", text });
	const known = () => openRun(memDir, "update", undefined, { notice });
	if (config === null) return known();
	if (change.kind !== "learn") throw fail("RUN_MISSING", { dir: memDir });
	const chosen: RunConfig = {
		...config,
		backbone: pinned(config.backbone),
		data: { ...config.data, tasks: [], roi: [] },
	};
	if (holdsRun(memDir)) {
		// of a review, or of a run that learnt nothing
		const run = known();
		if (run.memory.version === 0) run.save({ config: { ...chosen } });
		return run;
	}
	return openRun(memDir, "new", startOf(chosen, []), { notice });
}

/** run.json says what memory/ holds: a kill may have come between the two. What was forgotten is remembered there, to be found after a rollback. */
function align(run: Run): void {
	const ids = taskIds(run.memory);
	const { tasks } = run.record;
	const fresh: TaskState[] = [
		...ids.map((id) => ({
			...(tasks.find((task) => task.id === id) ?? { id, seconds: null }),
			state: "learnt" as const,
		})),
		...tasks
			.filter(({ id }) => !ids.includes(id))
			.map((task) => ({ ...task, state: "forgotten" as const })),
	];
	if (stableJson(fresh) !== stableJson(tasks))
		run.save({ order: ids, tasks: fresh });
}

const counted = (n: number, what: string) =>
	n === 1 ? `1 ${what}` : `${n} ${what}s`;

interface Lesson {
	readonly run: Run;
	readonly knowledge: Knowledge;
	readonly watcher: Watcher;
}
/** One that looks at pictures. */
interface SeeingLesson extends Lesson {
	readonly config: RunConfig;
}

interface Made {
	/** In few words: "learn mvtec/bottle". */
	readonly change: string;
	/** For people. */
	readonly text: string;
	/** For programs. */
	readonly more: Readonly<Record<string, unknown>>;
}

async function learnt(
	{ run, config, knowledge, watcher }: SeeingLesson,
	{ task, data, roi, review }: Extract<Change, { kind: "learn" }>,
	all: Category,
): Promise<Made> {
	if (knowledge.tasks.some(({ id }) => id === task))
		throw fail("TASK_KNOWN", { task, dir: run.dir });
	const { definition, options } = strategyOf(config);
	if (definition.joint?.(options))
		throw fail("NEEDS_ALL_IMAGES", { strategy: config.strategy.name });
	const network = networkOf(knowledge, config.threads);
	const trains = network.from < network.backbone.config.depth;
	const initial = trains ? initialWeights(network, config) : null;
	const trunk = new Trunk(network);
	const eyes = new Eyes(trunk, { flaws: true });
	const regions = await regionsOf(
		[{ id: task, categories: [roi === undefined ? all : { ...all, roi }] }],
		knowledge.memories.map((_, i) => knowledge.gridFor(i)),
	);
	const reviewed = review
		? await decided({ run, config, knowledge, watcher }, all, {
				eyes,
				mask: regions.get(task) ?? null,
			})
		: { category: all, waiting: null };
	if (reviewed.waiting) {
		await eyes.release();
		return reviewed.waiting;
	}
	const { category } = reviewed;
	const images = category.normals.length;
	const change = `learn ${task}`;
	run.checkpoint.clear(); // of other images, perhaps
	run.setTask(task, "learning", null, resolve(data));
	const began = performance.now();
	try {
		await learnStage(
			{
				config,
				run,
				tracker: new Tracker(run, watcher.emit),
				trunk,
				eyes,
				localiser: localiserOf(knowledge),
				regions,
				draws: false,
				network,
				strategy: definition.create(options),
				initial,
				...watcher,
				taskIndex: knowledge.tasks.length,
				taskCount: knowledge.tasks.length + 1,
				saving: { change, history: KEPT },
			},
			{
				row: knowledge.tasks.length,
				train: { id: task, categories: [category] },
				remember: [{ id: task, categories: [category] }],
				anew: false,
			},
			knowledge,
			definition.startsFrom === "initial"
				? initial
				: (knowledge.current ?? initial),
			definition.weightsPerTask === true,
		);
	} finally {
		await eyes.release();
	}
	run.checkpoint.clear();
	const seconds = Math.round(performance.now() - began) / 1000;
	run.setTask(task, "learnt", seconds, resolve(data));
	run.removeReview(task);
	const odd = oddOf(knowledge, task, [
		...category.normals,
		...category.heldOut,
	]);
	const blank = blankOf(eyes, category);
	const refused =
		all.normals.length + all.heldOut.length - images - category.heldOut.length;
	return {
		change,
		text: [
			`Learnt ${task} from ${images} good images in ${seconds.toFixed(1)} s${refused > 0 ? `, without ${refused} that the review refused` : ""}; ${size(knowledge, task)}.`,
			certainty(knowledge, task),
			...(odd.length > 0 && !review ? [listed(odd)] : []),
			...plainIn(blank),
		].join("\n"),
		more: {
			task,
			images,
			seconds,
			odd: odd.map(plainOdd),
			blank,
		},
	};
}

interface Blank {
	readonly path: string;
	readonly flaw: Flaw;
}

/** The images that show nothing. */
const blankOf = (
	{ flaws }: Eyes,
	{ normals, heldOut }: Category,
): readonly Blank[] =>
	[...normals, ...heldOut].flatMap(({ path }) => {
		const flaw = flaws?.get(path);
		return flaw ? [{ path, flaw }] : [];
	});

const plainIn = (blank: readonly Blank[]): readonly string[] =>
	blank.length === 0
		? []
		: [
				`${blank.length === 1 ? "1 image shows" : `${blank.length} images show`} nothing, and \`predict\` calls such a picture unusable. Unless the part is so plain, learn without:`,
				...shown(blank.map(({ path, flaw }) => `  ${flaw}  ${path}`)),
			];

/** Images shown in a text. */
const SHOWN = 10;

const listed = (odd: readonly Odd[]): string =>
	[
		`${odd.length === 1 ? "1 image looks" : `${odd.length} images look`} unlike the others. If a part in them is not good, \`forget\` the product and learn it with --review:`,
		...scoresOf(odd),
	].join("\n");

const scoresOf = (odd: readonly Odd[]): readonly string[] =>
	shown(
		odd.map(({ sample, score }) => `  ${score.toFixed(1)}  ${sample.path}`),
	);

const plainOdd = ({ sample, score }: Odd) => ({ path: sample.path, score });

const shown = (lines: readonly string[]): readonly string[] =>
	lines.length > SHOWN
		? [...lines.slice(0, SHOWN), `  and ${lines.length - SHOWN} more (--json)`]
		: lines;

/** The images without those that a person refused; or, where nobody has looked yet, what waits to be looked at. */
async function decided(
	{ run, config, knowledge, watcher }: SeeingLesson,
	category: Category,
	{
		eyes,
		mask,
	}: { readonly eyes: Eyes; readonly mask: Tensor<"uint8"> | null },
): Promise<
	| { readonly category: Category; readonly waiting: null }
	| { readonly waiting: Made }
> {
	const { id } = category;
	const samples = [...category.normals, ...category.heldOut];
	const table = run.reviewTable(id);
	if (existsSync(table)) {
		const refused = refusedIn(readText(table), table, samples);
		const left = (list: readonly Sample[]) =>
			list.filter(({ path }) => !refused.has(path));
		const kept = {
			...category,
			normals: left(category.normals),
			heldOut: left(category.heldOut),
		};
		checkCount(kept, dirname(category.normals[0]?.path ?? id));
		return { category: kept, waiting: null };
	}
	const parts = await seenOf({ eyes, knowledge, watcher }, category);
	const taught = async (which: readonly AllFeatures[]) => {
		const trial = new Knowledge(
			knowledge.backbone,
			knowledge.setup,
			config.threads,
		);
		await trial.remember(
			{
				id,
				group: id,
				learnt: joinFeatures(which),
				trained: which.map(() => false),
				heldOut: null,
				roi: mask,
				pace: paced(watcher, { task: id, taskIndex: 0, taskCount: 1 }),
			},
			new Random(config.seed, "memory", id),
		);
		return trial;
	};
	const whole = await taught(parts);
	const odd = oddOf(whole, id, samples);
	await whole.release();
	if (odd.length === 0) return { category, waiting: null };
	const others = parts.filter(
		(_, i) => !odd.some(({ sample }) => sample === samples[i]),
	);
	const trial = await taught(others.length > 0 ? others : parts); // they would not be odd to a memory that holds them
	const localiser = localiserOf(trial);
	const pictures = new Map<string, Uint8Array>();
	for (const [n, { sample }] of odd.entries()) {
		await heed(watcher.stop);
		const seen = parts[samples.indexOf(sample)] as AllFeatures;
		const { map, threshold } = await trial.judge(id, seen);
		const name = `${String(n + 1).padStart(3, "0")}.png`;
		const image = await sample.read(await sample.size());
		pictures.set(
			name,
			map
				? await overlayOf({
						image,
						map: await localiser.pictureOf(sample, map),
						threshold,
					})
				: await encodePng(image),
		);
	}
	await trial.release();
	run.writeReview(id, formatReview(odd, [...pictures.keys()]), pictures);
	return {
		waiting: {
			change: `review ${id}`,
			text: `${odd.length} of ${samples.length} images look unlike the others. Look at them in ${run.reviewPictures(id)}, write yes or no into \`keep\` of ${table}, and run the same command again. Nothing is learnt yet.`,
			more: { task: id, review: table, odd: odd.length },
		},
	};
}

/** The images of a product that may be learnt. */
async function lessonOf(
	{ task, data }: { readonly task: string; readonly data: string },
	config: RunConfig,
): Promise<Category> {
	checkTaskName(task);
	const category = await imagesOf(data, task, config);
	checkCount(category, resolve(data));
	return category;
}

const imagesOf = (
	data: string,
	id: string,
	{ data: { followLinks, limit } }: RunConfig,
): Promise<Category> => readCategory(resolve(data), id, { followLinks, limit });

function checkCount({ normals }: Category, dir: string): void {
	if (normals.length < FEWEST)
		throw fail("TOO_FEW_IMAGES", {
			dir,
			images: normals.length,
			fewest: FEWEST,
		});
}

async function added(
	{ run, config, knowledge, watcher }: SeeingLesson,
	{ kind, task, data }: Extract<Change, { kind: "add" | "recalibrate" }>,
): Promise<Made> {
	const categories = categoriesOf(knowledge, task);
	if (categories.length > 1)
		throw fail("TASK_OF_SEVERAL", { task, categories });
	if (knowledge.setup.memories.some(readsViews))
		throw fail("ADD_NEEDS_VIEWS", { task });
	const [id] = categories as [string];
	const category = await imagesOf(data, id, config);
	if (kind === "recalibrate") checkCount(category, resolve(data));
	const trunk = new Trunk(networkOf(knowledge, config.threads));
	const eyes = new Eyes(trunk, { flaws: true });
	const odd: Odd[] = [];
	try {
		const parts = await seenOf({ eyes, knowledge, watcher }, category);
		const seen = joinFeatures(parts);
		if (kind === "recalibrate") await knowledge.recalibrate(id, seen);
		else {
			const samples = [...category.normals, ...category.heldOut];
			for (const [i, sample] of samples.entries()) {
				const judged = await knowledge.judge(id, parts[i] as AllFeatures);
				const { score } = judged;
				if (score >= judged.threshold) odd.push({ sample, score });
			}
			await knowledge.merge(
				id,
				seen,
				new Random(config.seed, "merge", id),
				paced(watcher, { task: id, taskIndex: 0, taskCount: 1 }),
			);
		}
	} finally {
		await eyes.release();
	}
	const change = `${kind === "add" ? "add to" : "recalibrate"} ${task}`;
	run.checkLock();
	knowledge.save(run.memory, taskFolder, { change, history: KEPT });
	const images = category.normals.length + category.heldOut.length;
	const blank = blankOf(eyes, category);
	return {
		change,
		text: [
			kind === "add"
				? `Added ${counted(images, "good image")} to ${task}; ${size(knowledge, task)}.\n${certainty(knowledge, task)}`
				: `Recalibrated ${task} on ${images} good images. What it was learnt from stays; images that are added later calibrate with all the others again.`,
			...(odd.length > 0
				? [
						`As ${task} was before, ${odd.length} of them would have been rejected. If a part in them is not good, or is another product, \`keepsight rollback\` takes all of them out again:`,
						...scoresOf(odd.sort((a, b) => b.score - a.score)),
					]
				: []),
			...plainIn(blank),
		].join("\n"),
		more: {
			task,
			images,
			...(kind === "add" && { odd: odd.map(plainOdd) }),
			blank,
		},
	};
}

/** What is seen in each of a category's good images, under its weights where it has any. */
async function seenOf(
	{
		eyes,
		knowledge,
		watcher: { emit, stop },
	}: { readonly eyes: Eyes } & Pick<Lesson, "knowledge" | "watcher">,
	{ id, normals, heldOut }: Category,
): Promise<readonly AllFeatures[]> {
	const samples = [...normals, ...heldOut];
	const parts: AllFeatures[] = [];
	for await (const sample of eyes.each(samples)) {
		await heed(stop);
		const seen = await eyes.features(sample, knowledge.weightsOf(id));
		const turned = await eyes.turned(sample, knowledge.patches.views);
		parts.push({ ...seen, turned });
		emit({
			type: "progress",
			phase: "memory",
			task: id,
			taskIndex: 0,
			taskCount: 1,
			done: parts.length,
			total: samples.length,
			unit: "images",
		});
	}
	return parts;
}

function forgotten({ run, knowledge }: Lesson, task: string): Made {
	categoriesOf(knowledge, task);
	knowledge.forget(task);
	const change = `forget ${task}`;
	run.checkLock();
	run.clearResults(); // first: they can be made again, and must not outlive the products they tell of
	knowledge.save(run.memory, taskFolder, { change, history: KEPT });
	return {
		change,
		text: `Forgot ${task}. \`keepsight rollback\` brings it back.`,
		more: { task },
	};
}

function limited(
	{ run, knowledge }: Lesson,
	{ task, score }: Extract<Change, { kind: "threshold" }>,
): Made {
	const [id] = categoriesOf(knowledge, task) as [string];
	if (score !== null && !(score >= 0 && Number.isFinite(score)))
		throw fail("THRESHOLD_UNUSABLE", { score });
	knowledge.setThreshold(task, score);
	const now = knowledge.thresholdOf(id).toFixed(2);
	const change = `threshold of ${task}: ${score === null ? "as calibrated" : now}`;
	run.checkLock();
	run.clearResults();
	knowledge.save(run.memory, taskFolder, { change, history: KEPT });
	return {
		change,
		text: `Images of ${task} are rejected from a score of ${now}${score === null ? ", as the rate of false alarms says" : ""}.`,
		more: { task, threshold: knowledge.thresholdOf(id) },
	};
}

function rolledBack(run: Run, to: number | null): Made {
	const target = to ?? run.memory.earlier[0]?.version;
	if (target === undefined)
		throw fail("VERSION_UNKNOWN", {
			dir: run.memory.dir,
			version: null,
			known: [],
		});
	if (target === run.memory.version)
		throw fail("VERSION_PRESENT", { dir: run.memory.dir, version: target });
	const earlier = run.memory.at(target);
	Knowledge.load(earlier, run.settings.threads); // whole, or it is refused; the present one need not be
	const [now, then] = [taskIds(run.memory), taskIds(earlier)];
	const change = `rollback to version ${target}`;
	run.checkLock();
	run.clearResults();
	run.memory.restore(target, {
		meta: { ...earlier.meta, change },
		history: KEPT,
	});
	const list = (what: string, ids: readonly string[]) =>
		ids.length > 0 ? `; ${what}: ${ids.join(", ")}` : "";
	const gone = now.filter((id) => !then.includes(id));
	const back = then.filter((id) => !now.includes(id));
	return {
		change,
		text: `Back to version ${target}${list("no longer there", gone)}${list("there again", back)}.`,
		more: { from: target },
	};
}

const names = ({ tasks }: Knowledge) => tasks.map(({ id }) => id);

/** Those of a task that is known, or the error that names the known ones. */
function categoriesOf(knowledge: Knowledge, task: string): readonly string[] {
	const found = knowledge.tasks.find(({ id }) => id === task);
	if (!found)
		throw fail("CATEGORY_NOT_LEARNT", { id: task, known: names(knowledge) });
	return found.categories;
}

const size = (knowledge: Knowledge, task: string): string =>
	`it takes ${(knowledge.bytesOf(task) / 1e6).toFixed(1)} MB`;

/** What the threshold rests on. */
function certainty(knowledge: Knowledge, task: string): string {
	const [id] = categoriesOf(knowledge, task) as [string];
	const images = knowledge.imagesOf(id);
	const rate = knowledge.setup.falseAlarms;
	const wanted = Math.ceil(1 / rate) - 1;
	const scores = knowledge.goodScores(id);
	const reached = scores.filter((score) => score >= threshold(rate)).length;
	const aim = `Its threshold aims at 1 good part in ${Math.round(1 / rate)}`;
	if (images < wanted)
		return `${aim}. ${images} good images show 1 in ${images + 1}; the rest is extrapolated, and about ${wanted} would show it. \`keepsight learn --add\` takes more.`;
	return scores.length === 0
		? `${aim}.`
		: `${aim}: of these ${images} good images ${reached} ${reached === 1 ? "reaches" : "reach"} it, each scored as if it had not been learnt.`;
}
