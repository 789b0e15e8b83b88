/**
 * What a quality engineer signs of one product: how many defects escape and how many good parts are stopped, of labelled pictures; how far the
 * station repeats itself, of parts that were photographed again and again; which size of defect it finds, of discs pasted into good pictures.
 * Every picture is scored as `predict` scores it, with what was learnt as it is; nothing is chosen here and nothing is changed.
 */
import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { inColumns, plainName } from "./columns.ts";
import { stat } from "node:fs/promises";
import { isDirectory } from "./data/files.ts";
import { type Found, imagesIn } from "./data/find.ts";
import {
	encodePng,
	readBytes,
	readImage,
	readMask,
	webpUri,
} from "./data/image.ts";
import { evenly, readCategory } from "./data/index.ts";
import type { Image } from "./data/task.ts";
import type { Tensor } from "./engine/tensor.ts";
import { fail, KeepsightError } from "./errors.ts";
import {
	heed,
	type Prediction,
	type RunEvent,
	type Stop,
	type Verdict,
	verdicts,
} from "./events.ts";
import {
	type DetectionCurve,
	fitDetection,
	safeSizeAt,
	sizeAt,
} from "./metrics/detection.ts";
import {
	fleissKappa,
	type Repeatability,
	repeatabilityOf,
} from "./metrics/gauge.ts";
import { type Rate, rateOf } from "./metrics/interval.ts";
import { type Measured, undefinedBecause } from "./metrics/measured.ts";
import { checkKnown, Predictor, readPicture } from "./predict.ts";
import { type Pasted, pasteDisc } from "./pretext/disc.ts";
import { crop } from "./pretext/transforms.ts";
import { Random } from "./random.ts";
import { openRun, type Run } from "./run.ts";

export interface QualifyJob {
	readonly memDir: string;
	/** The product that all pictures show. */
	readonly task: string;
	/** Each picture is recognised by itself, as a station does that is told no product. */
	readonly routed: boolean;
	/** A folder of good/ and one folder for every kind of defect, or a category with such a test/. */
	readonly labelled?: string;
	/** A folder with one folder for every part, of pictures of that part. */
	readonly gauge?: string;
	/** Good pictures that were not learnt: discs are pasted into them. */
	readonly good?: string;
	/** A picture, white where discs may lie; absent: everywhere. */
	readonly roi?: string;
	/** Of discs, in pixels; absent: twelve from 2 to a quarter of the shorter side. */
	readonly diameters?: readonly number[];
	/** Grey levels of 255 between a disc and what it covers. */
	readonly contrast: number;
	readonly mmPerPixel?: number;
}

/** What became of a picture of known truth. */
export interface Outcome {
	/** With forward slashes, from the folder that was named. */
	readonly name: string;
	/** Kind of defect; null: good. */
	readonly defect: string | null;
	readonly verdict: Verdict;
	readonly score: number | null;
	/** The product it was scored as. */
	readonly task: string | null;
	/** Whether the station takes it out: its score reaches the threshold, or no product fits; null: unusable, so there is no verdict on the part. */
	readonly stopped: boolean | null;
}

export interface KindCounts {
	readonly defect: string | null;
	readonly pictures: number;
	readonly verdicts: Readonly<Record<Verdict, number>>;
	/** Escapes of a defect, overkill of good parts; of the usable pictures. */
	readonly wrong: Rate;
}

/** Defects that pass, and good parts that are stopped. */
export interface Errors {
	readonly escapes: Rate;
	readonly overkill: Rate;
}

export interface Labelled extends Errors {
	readonly dir: string;
	/** Good parts first. */
	readonly kinds: readonly KindCounts[];
	/** Where a person looks at every part that is `unsure` and decides rightly. */
	readonly withPerson: Errors & { readonly unsure: Rate };
	/** Usable pictures that were taken for another product; 0 where the product is told. */
	readonly otherProduct: number;
	readonly pictures: readonly Outcome[];
}

export interface GaugePart {
	readonly name: string;
	readonly pictures: number;
	/** Of usable pictures. */
	readonly scores: readonly number[];
	readonly mean: number | null;
	/** Sample standard deviation; null: fewer than two usable pictures. */
	readonly deviation: number | null;
	readonly verdicts: Readonly<Record<Verdict, number>>;
	readonly stopped: number;
	readonly passed: number;
}

/** How far the answers of a part agree. */
export interface Agreement {
	/** Parts, of those with two answers at least, whose answer never changes. */
	readonly steady: Rate;
	readonly kappa: Measured;
}

export interface Gauge {
	readonly dir: string;
	readonly parts: readonly GaugePart[];
	readonly score: Repeatability;
	/** Stopped or passed; unusable pictures are left out. */
	readonly decision: Agreement;
	/** One of the five verdicts. */
	readonly verdict: Agreement;
}

export interface Pasting {
	/** The good picture it was pasted into. */
	readonly name: string;
	/** Pixels. */
	readonly diameter: number;
	/** Grey levels that were reached. */
	readonly contrast: number;
	readonly score: number | null;
	readonly hit: boolean;
}

export interface Detection {
	readonly dir: string;
	/** Good pictures that are stopped with nothing pasted; no disc goes into these. */
	readonly untouched: Rate;
	readonly stoppedUntouched: readonly string[];
	readonly contrast: number;
	readonly roi: boolean;
	readonly trials: readonly Pasting[];
	readonly sizes: readonly { readonly diameter: number; readonly hits: Rate }[];
	readonly curve: DetectionCurve | null;
	/** Why there is no curve. */
	readonly reason: string | null;
	/** Pixels. */
	readonly a50: Measured;
	readonly a90: Measured;
	readonly a90Safe: Measured;
	readonly mmPerPixel: number | null;
}

export interface Qualification {
	readonly task: string;
	readonly routed: boolean;
	readonly memoryVersion: number;
	/** Good images that it was learnt from. */
	readonly images: number;
	readonly threshold: number;
	/** The share of good parts that the threshold aims at. */
	readonly falseAlarms: number;
	readonly labelled: Labelled | null;
	readonly gauge: Gauge | null;
	readonly detection: Detection | null;
	/** What the reader must know, a sentence each. */
	readonly notes: readonly string[];
}

/** A pasted disc, cut out of its picture for the page. */
export interface Example {
	readonly diameter: number;
	readonly hit: boolean;
	/** data: URI */
	readonly picture: string;
}

interface Watcher {
	readonly emit: (event: RunEvent) => void;
	readonly stop: Stop;
}

export interface QualifyResult {
	readonly qualification: Qualification;
	readonly examples: readonly Example[];
}

export async function qualify(
	job: QualifyJob,
	watcher: Watcher,
): Promise<{ results: QualifyResult; text: string }> {
	const { memDir, task, routed } = job;
	const run = openRun(memDir, "read");
	if (run.memory.version === 0) throw fail("NOTHING_LEARNT", { dir: memDir });
	// everything that is wrong with the folders is said before anything is scored
	const labelled =
		job.labelled === undefined ? null : await labelledIn(job.labelled);
	const gauge =
		job.gauge === undefined ? null : await groupsOf(job.gauge, "--gauge");
	const good = job.good === undefined ? null : await goodIn(job.good);
	const learnt = await learntOf(run, task);
	await refuseLearnt(learnt, [
		...(labelled ?? []).flatMap(({ name, found }) =>
			name === GOOD ? found : [],
		),
		...(gauge ?? []).flatMap(({ found }) => found),
		...(good ?? []),
	]);

	const { threads } = run.record.config as { readonly threads: number };
	const predictor = new Predictor(run.memory, {
		threads,
		task: routed ? null : task,
	});
	const { knowledge } = predictor;
	try {
		checkKnown(knowledge, task);
		const scoring = new Scoring(predictor, task, watcher);
		const done = {
			labelled:
				labelled &&
				labelledOf(
					job.labelled as string,
					await scoring.groups(labelled),
					task,
				),
			gauge: gauge && gaugeOf(job.gauge as string, await scoring.groups(gauge)),
			detection: good && (await detectionOf(job, good, scoring)),
		};
		const images = knowledge.imagesOf(task);
		const qualification: Qualification = {
			task,
			routed,
			memoryVersion: run.memory.version,
			images,
			threshold: -Math.log10(knowledge.setup.falseAlarms),
			falseAlarms: knowledge.setup.falseAlarms,
			labelled: done.labelled,
			gauge: done.gauge,
			detection: done.detection?.detection ?? null,
			notes: learntNotes(learnt, images),
		};
		return {
			results: { qualification, examples: done.detection?.examples ?? [] },
			text: formatQualification(qualification),
		};
	} finally {
		await predictor.release();
	}
}

// ---- which pictures ----

/** The folder of good parts among those of defects. */
const GOOD = "good";

interface Group {
	readonly name: string;
	readonly found: readonly Found[];
}

/** Pictures by the folder they lie in, right below this one. */
async function groupsOf(dir: string, flag: string): Promise<readonly Group[]> {
	const layout = (problem: string) =>
		fail("QUALIFY_LAYOUT", { dir, flag, problem });
	if (!(await isDirectory(dir))) throw layout("there is no such folder");
	const groups = new Map<string, Found[]>();
	for (const found of await imagesIn(dir)) {
		const at = found.name.indexOf("/");
		if (at < 0)
			throw layout(
				`${JSON.stringify(found.name)} lies in it and in none of its subfolders`,
			);
		const name = found.name.slice(0, at);
		groups.set(name, [...(groups.get(name) ?? []), found]);
	}
	if (groups.size === 0) throw layout("its subfolders hold no picture");
	return [...groups].map(([name, found]) => ({ name, found }));
}

async function labelledIn(dir: string): Promise<readonly Group[]> {
	const test = join(dir, "test");
	return groupsOf((await isDirectory(test)) ? test : dir, "--labelled");
}

async function goodIn(dir: string): Promise<readonly Found[]> {
	const found = (await isDirectory(dir)) ? await imagesIn(dir) : [];
	if (found.length === 0)
		throw fail("QUALIFY_LAYOUT", {
			dir,
			flag: "--good",
			problem: "it is no folder with pictures",
		});
	return found;
}

interface Learnt {
	/** Files of the folder that the product was learnt from; null: it is not there any more. */
	readonly paths: readonly string[] | null;
	readonly dir: string;
}

async function learntOf({ record }: Run, task: string): Promise<Learnt> {
	const { root } = (
		record.config as { readonly data: { readonly root: string } }
	).data;
	const dir =
		record.tasks.find(({ id }) => id === task)?.data ?? resolve(root, task);
	try {
		const { normals } = await readCategory(dir, task, { followLinks: true });
		return { paths: normals.map(({ path }) => path), dir };
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		return { paths: null, dir };
	}
}

/** Pictures that were learnt score lower than any others will: none of them may count. They are recognised by their bytes. */
async function refuseLearnt(
	{ paths }: Learnt,
	pictures: readonly Found[],
): Promise<void> {
	const sizeOf = (file: string) =>
		stat(file).then(
			({ size }) => size,
			() => -1,
		);
	const bySize = new Map<number, string[]>();
	for (const file of paths ?? []) {
		const size = await sizeOf(file);
		bySize.set(size, [...(bySize.get(size) ?? []), file]);
	}
	const hashes = new Map<string, string>();
	const hashOf = async (file: string): Promise<string> => {
		const known =
			hashes.get(file) ??
			createHash("sha256")
				.update(await readBytes(file))
				.digest("hex");
		hashes.set(file, known);
		return known;
	};
	const refused: string[] = [];
	for (const { path } of pictures) {
		const size = await sizeOf(path);
		for (const file of size > 0 ? (bySize.get(size) ?? []) : [])
			if ((await hashOf(file)) === (await hashOf(path))) {
				refused.push(path);
				break;
			}
	}
	if (refused.length > 0) throw fail("PICTURES_LEARNT", { paths: refused });
}

function learntNotes({ paths, dir }: Learnt, images: number): string[] {
	if (paths === null)
		return [
			`The folder that the product was learnt from is not there any more (${dir}): whether any of these pictures was learnt could not be checked.`,
		];
	return images > paths.length
		? [
				`${images - paths.length} of the images that were learnt came from other folders (learn --add): whether any of these pictures is among them could not be checked.`,
			]
		: [];
}

// ---- scoring ----

interface ScoredGroup extends Group {
	readonly predictions: readonly Prediction[];
}

class Scoring {
	readonly predictor: Predictor;
	readonly task: string;
	readonly watcher: Watcher;

	constructor(predictor: Predictor, task: string, watcher: Watcher) {
		this.predictor = predictor;
		this.task = task;
		this.watcher = watcher;
	}

	/** In their order. */
	async files(found: readonly Found[], done = 0, total = found.length) {
		const predictions: Prediction[] = [];
		async function* all() {
			yield found;
		}
		for await (const pictures of this.predictor.read(all()))
			for await (const { prediction } of this.predictor.score(pictures)) {
				predictions.push(prediction);
				await this.told(done + predictions.length, total);
			}
		return predictions;
	}

	async groups(groups: readonly Group[]): Promise<readonly ScoredGroup[]> {
		const total = groups.reduce((sum, { found }) => sum + found.length, 0);
		const scored: ScoredGroup[] = [];
		let done = 0;
		for (const group of groups) {
			const predictions = await this.files(group.found, done, total);
			done += predictions.length;
			scored.push({ ...group, predictions });
		}
		return scored;
	}

	/** Pictures that lie in memory; `found` names them, each otherwise. */
	async images(
		images: readonly { readonly found: Found; readonly image: Image }[],
	): Promise<readonly Prediction[]> {
		const size = this.predictor.knowledge.backbone.config.imageSize;
		const pictures = await Promise.all(
			images.map(async ({ found, image }) =>
				readPicture(found, size, await encodePng(image, 0)),
			),
		);
		const predictions: Prediction[] = [];
		for await (const { prediction } of this.predictor.score(pictures))
			predictions.push(prediction);
		return predictions;
	}

	async told(done: number, total: number): Promise<void> {
		await heed(this.watcher.stop);
		this.watcher.emit({
			type: "progress",
			phase: "evaluate",
			task: this.task,
			taskIndex: 0,
			taskCount: 1,
			done,
			total,
			unit: "images",
		});
	}
}

/** Whether the station takes the part out; null: it saw none. */
const stopped = ({ verdict, anomalous }: Prediction): boolean | null =>
	verdict === "unusable" ? null : verdict === "unknown" || anomalous === true;

const countsOf = (
	list: readonly { readonly verdict: Verdict }[],
): Readonly<Record<Verdict, number>> =>
	Object.fromEntries(
		verdicts.map((verdict) => [
			verdict,
			list.filter((one) => one.verdict === verdict).length,
		]),
	) as Record<Verdict, number>;

// ---- escapes and overkill ----

export function labelledOf(
	dir: string,
	groups: readonly ScoredGroup[],
	task: string,
): Labelled {
	const pictures = groups
		.toSorted((a, b) => Number(b.name === GOOD) - Number(a.name === GOOD))
		.flatMap(({ name, found, predictions }) =>
			predictions.map(
				(prediction, i): Outcome => ({
					name: (found[i] as Found).name,
					defect: name === GOOD ? null : name,
					verdict: prediction.verdict,
					score: prediction.score,
					task: prediction.task,
					stopped: stopped(prediction),
				}),
			),
		);
	const usable = pictures.filter((one) => one.stopped !== null);
	const unsure = (one: Outcome) => one.verdict === "unsure";
	return {
		dir,
		kinds: [...new Set(pictures.map(({ defect }) => defect))].map((defect) => {
			const own = pictures.filter((one) => one.defect === defect);
			return {
				defect,
				pictures: own.length,
				verdicts: countsOf(own),
				wrong: rateOf(
					own.filter(isWrong).length,
					own.filter((one) => one.stopped !== null).length,
				),
			};
		}),
		...errorsOf(usable, isWrong),
		withPerson: {
			...errorsOf(usable, (one) => isWrong(one) && !unsure(one)),
			unsure: rateOf(usable.filter(unsure).length, usable.length),
		},
		otherProduct: usable.filter((one) => one.task !== null && one.task !== task)
			.length,
		pictures,
	};
}

/** A defect that passes, or a good part that is stopped. */
export const isWrong = ({ defect, stopped }: Outcome): boolean =>
	stopped !== null && stopped === (defect === null);

function errorsOf(
	usable: readonly Outcome[],
	wrong: (one: Outcome) => boolean,
): Errors {
	const rate = (good: boolean) => {
		const own = usable.filter(({ defect }) => (defect === null) === good);
		return rateOf(own.filter(wrong).length, own.length);
	};
	return { escapes: rate(false), overkill: rate(true) };
}

// ---- repeatability ----

export function gaugeOf(dir: string, groups: readonly ScoredGroup[]): Gauge {
	const parts = groups.map(({ name, predictions }): GaugePart => {
		const scores = predictions.flatMap(({ score }) => score ?? []);
		const { repeatability } = repeatabilityOf([scores]);
		const decisions = predictions.map(stopped);
		return {
			name,
			pictures: predictions.length,
			scores,
			mean:
				scores.length > 0
					? scores.reduce((a, b) => a + b, 0) / scores.length
					: null,
			deviation: repeatability.value,
			verdicts: countsOf(predictions),
			stopped: decisions.filter((one) => one === true).length,
			passed: decisions.filter((one) => one === false).length,
		};
	});
	return {
		dir,
		parts,
		score: repeatabilityOf(parts.map(({ scores }) => scores)),
		decision: agreementOf(
			parts.map(({ stopped, passed }) => [stopped, passed]),
		),
		verdict: agreementOf(
			parts.map((part) => verdicts.map((verdict) => part.verdicts[verdict])),
		),
	};
}

function agreementOf(counts: readonly (readonly number[])[]): Agreement {
	const answers = (row: readonly number[]) => row.reduce((a, b) => a + b, 0);
	const seen = counts.filter((row) => answers(row) > 1);
	return {
		steady: rateOf(
			seen.filter((row) => row.includes(answers(row))).length,
			seen.length,
		),
		kappa: fleissKappa(counts),
	};
}

/** What changes from picture to picture of the part. */
export const changesOf = (part: GaugePart): "decision" | "verdict" | null =>
	part.stopped > 0 && part.passed > 0
		? "decision"
		: verdicts.filter((verdict) => part.verdicts[verdict] > 0).length > 1
			? "verdict"
			: null;

// ---- probability of detection ----

/** Good pictures that discs are pasted into, at most, and discs of one size, at least. */
const MOST_PICTURES = 30;
const LEAST_DISCS = 20;
/** Sizes where none are told. */
const SIZES = 12;
const EXAMPLES = 8;
/** Of pictures with a disc, in memory at a time. */
const PIXELS = 32_000_000;

async function detectionOf(
	job: QualifyJob,
	good: readonly Found[],
	scoring: Scoring,
): Promise<{ detection: Detection; examples: readonly Example[] }> {
	const roi = job.roi === undefined ? null : await readMask(job.roi);
	const untouched = await scoring.files(good);
	const judged = good.flatMap((found, i) => {
		const decision = stopped(untouched[i] as Prediction);
		return decision === null ? [] : [{ found, decision }];
	});
	const passing = judged.filter(({ decision }) => !decision);
	const hosts = evenly(passing.length, MOST_PICTURES).map(
		(i) => (passing[i] as (typeof passing)[number]).found,
	);
	const rounds = hosts.length > 0 ? Math.ceil(LEAST_DISCS / hosts.length) : 0;
	const trials: Pasting[] = [];
	const examples: Example[] = [];
	let diameters = job.diameters ?? [];
	for (const [h, found] of hosts.entries()) {
		const image = await readImage(found.path);
		if (diameters.length === 0) diameters = diametersFor(image); // of the first picture, for all
		const shown = evenly(diameters.length, EXAMPLES).map((i) => diameters[i]);
		const planned = Array.from({ length: rounds }, (_, round) =>
			diameters.map((diameter) => ({ round, diameter })),
		).flat();
		const atOnce = Math.max(
			1,
			Math.floor(
				PIXELS / ((image.shape[0] as number) * (image.shape[1] as number)),
			),
		);
		for (let at = 0; at < planned.length; at += atOnce) {
			const pasted = planned
				.slice(at, at + atOnce)
				.map((plan) => ({
					...plan,
					...withDisc(image, found, plan, job.contrast, roi),
				}));
			const predictions = await scoring.images(pasted);
			for (const [
				i,
				{ round, diameter, contrast, image, centre },
			] of pasted.entries()) {
				const prediction = predictions[i] as Prediction;
				const hit = stopped(prediction) === true;
				const { score } = prediction;
				trials.push({ name: found.name, diameter, contrast, score, hit });
				if (h === 0 && round === 0 && shown.includes(diameter))
					examples.push({
						diameter,
						hit,
						picture: await cutOut(image, centre, diameter),
					});
			}
			await scoring.told(trials.length, hosts.length * planned.length);
		}
	}
	const fitted = fitDetection(
		trials.map(({ diameter, hit }) => ({ size: diameter, hit })),
	);
	const { curve } = fitted;
	const reason =
		curve === null && hosts.length === 0
			? "every usable picture is stopped with nothing pasted"
			: fitted.reason;
	const points = trials.map(({ diameter, hit }) => ({ size: diameter, hit }));
	const estimate = (of: (curve: DetectionCurve) => Measured) =>
		curve ? of(curve) : undefinedBecause(reason as string);
	return {
		detection: {
			dir: job.good as string,
			untouched: rateOf(judged.length - passing.length, judged.length),
			stoppedUntouched: judged.flatMap(({ found, decision }) =>
				decision ? [found.name] : [],
			),
			contrast: job.contrast,
			roi: roi !== null,
			trials,
			sizes: diameters.map((diameter) => {
				const own = trials.filter((trial) => trial.diameter === diameter);
				return {
					diameter,
					hits: rateOf(own.filter(({ hit }) => hit).length, own.length),
				};
			}),
			curve,
			reason,
			a50: estimate((c) => sizeAt(c, 0.5, points)),
			a90: estimate((c) => sizeAt(c, 0.9, points)),
			a90Safe: estimate((c) => safeSizeAt(c, 0.9, points)),
			mmPerPixel: job.mmPerPixel ?? null,
		},
		examples,
	};
}

/** The picture with a disc that its name, its size and the round alone decide: another memory is shown the same ones. */
function withDisc(
	image: Image,
	found: Found,
	{ round, diameter }: { readonly round: number; readonly diameter: number },
	contrast: number,
	roi: Tensor<"uint8"> | null,
): Pasted & { readonly found: Found } {
	const random = new Random("qualify", found.name, round, diameter);
	const pasted = pasteDisc(image, random, { diameter, contrast, roi });
	if (!pasted) throw fail("NO_PLACE_FOR_DISC", { path: found.path, diameter });
	const path = `${found.path}, disc ${round + 1} of ${diameter} px`; // no other picture is called so
	return { ...pasted, found: { ...found, path } };
}

/** The disc with what is around it. */
async function cutOut(
	image: Image,
	[y, x]: readonly [number, number],
	diameter: number,
): Promise<string> {
	const [height, width] = image.shape as [number, number, number];
	const side = Math.min(height, width, Math.max(48, Math.ceil(3 * diameter)));
	const start = (centre: number, most: number) =>
		Math.min(most - side, Math.max(0, Math.round(centre - side / 2)));
	return webpUri(crop(image, start(y, height), start(x, width), side, side));
}

/** In equal steps of the logarithm, whole pixels, each once. */
function diametersFor({ shape }: Image): readonly number[] {
	const most = Math.max(
		2,
		Math.min(shape[0] as number, shape[1] as number) / 4,
	);
	return [
		...new Set(
			Array.from({ length: SIZES }, (_, i) =>
				Math.round(2 * (most / 2) ** (i / (SIZES - 1))),
			),
		),
	];
}

// ---- as text ----

/** Names in a list, at most. */
const NAMED = 20;

/** For a terminal: all figures, and the first of the names. */
export function formatQualification(found: Qualification): string {
	const { labelled, gauge, detection } = found;
	return [
		[
			`${plainName(found.task)}, memory version ${found.memoryVersion}, learnt from ${found.images} images, threshold ${found.threshold.toFixed(2)} (one good part in ${Number((1 / found.falseAlarms).toPrecision(3))})${found.routed ? ", each picture recognised by itself" : ""}`,
			...found.notes.map((note) => `Note: ${plainName(note)}`),
		],
		...(labelled ? [labelledText(labelled)] : []),
		...(gauge ? [gaugeText(gauge)] : []),
		...(detection ? [detectionText(detection)] : []),
	]
		.map((lines) => lines.join("\n"))
		.join("\n\n");
}

export const percentText = (share: number): string =>
	`${(100 * share).toFixed(1)} %`;

/** "2 of 36, 5.6 % (95 %: 0.7 to 18.7 %)" */
export function rateText({
	events,
	trials,
	value,
	interval,
	below,
}: Rate): string {
	if (value === null) return "no pictures";
	const [low, high] = interval.map((end) => (100 * end).toFixed(1));
	return `${events} of ${trials}, ${percentText(value)} (95 %: ${low} to ${high} %${below === null ? "" : `; with 95 % confidence below ${percentText(below)}`})`;
}

/** A number, or why there is none. */
export const measuredText = (
	{ value, reason }: Measured,
	print: (value: number) => string,
): string => (value === null ? `- (${reason})` : print(value));

/** "12.2 px = 0.61 mm" */
export const sizeText = (px: number, mmPerPixel: number | null): string =>
	`${px.toPrecision(3)} px${mmPerPixel === null ? "" : ` = ${(px * mmPerPixel).toPrecision(3)} mm`}`;

const named = (names: readonly string[]): string[] => [
	...names.slice(0, NAMED).map((name) => `  ${plainName(name)}`),
	...(names.length > NAMED
		? [`  and ${names.length - NAMED} more (--json)`]
		: []),
];

export const scoreText = (score: number | null): string =>
	score === null ? "-" : score.toFixed(2);

function labelledText(found: Labelled): string[] {
	const { kinds, withPerson, pictures } = found;
	const list = (title: string, good: boolean) => {
		const wrong = pictures.filter(
			(one) => isWrong(one) && (one.defect === null) === good,
		);
		return wrong.length === 0
			? []
			: [
					`${title}:`,
					...named(
						wrong.map(
							({ name, verdict, score, task }) =>
								`${name}  ${verdict} ${scoreText(score)}${found.otherProduct > 0 ? ` as ${task ?? "no product"}` : ""}`,
						),
					),
				];
	};
	return [
		`ESCAPES AND OVERKILL of ${pictures.length} pictures in ${plainName(found.dir)}`,
		...inColumns(
			[
				["", "pictures", ...verdicts, "wrong", "rate", "95 % interval"],
				...kinds.map(({ defect, pictures, verdicts: counts, wrong }) => [
					plainName(defect ?? "good"),
					String(pictures),
					...verdicts.map((verdict) => String(counts[verdict])),
					String(wrong.events),
					wrong.value === null ? "-" : percentText(wrong.value),
					wrong.value === null
						? "-"
						: wrong.interval.map((end) => (100 * end).toFixed(1)).join(" to "),
				]),
			],
			[1, 2, 3, 4, 5, 6, 7, 8, 9],
		),
		`escapes   ${rateText(found.escapes)}`,
		`overkill  ${rateText(found.overkill)}`,
		`if a person decides the unsure ones, ${rateText(withPerson.unsure)}:`,
		`  escapes   ${rateText(withPerson.escapes)}`,
		`  overkill  ${rateText(withPerson.overkill)}`,
		...(found.otherProduct > 0
			? [`taken for another product: ${found.otherProduct}`]
			: []),
		...list("escaped", false),
		...list("overkilled", true),
	];
}

function gaugeText({ dir, parts, score, decision, verdict }: Gauge): string[] {
	const three = (value: number) => value.toPrecision(3);
	const changing = parts.filter((part) => changesOf(part) !== null);
	return [
		`REPEATABILITY of ${parts.length} parts, ${parts.reduce((sum, { pictures }) => sum + pictures, 0)} pictures in ${plainName(dir)}`,
		...inColumns(
			[
				["part", "pictures", "mean score", "deviation", "stopped", "passed"],
				...parts.map((part) => [
					plainName(part.name),
					String(part.pictures),
					scoreText(part.mean),
					scoreText(part.deviation),
					String(part.stopped),
					String(part.passed),
				]),
			],
			[1, 2, 3, 4, 5],
		),
		`score     within a part (EV) ${measuredText(score.repeatability, three)}${score.interval ? ` (95 %: ${score.interval.map(three).join(" to ")})` : ""}, between parts (PV) ${measuredText(score.partVariation, three)}`,
		`          share of the variance within parts ${measuredText(score.shareWithin, percentText)}, %GRR of the total variation ${measuredText(score.grr, percentText)}`,
		`decision  parts that never change ${rateText(decision.steady)}, Fleiss' kappa ${measuredText(decision.kappa, (value) => value.toFixed(3))}`,
		`verdict   parts that never change ${rateText(verdict.steady)}, Fleiss' kappa ${measuredText(verdict.kappa, (value) => value.toFixed(3))}`,
		...(changing.length > 0
			? [
					"parts that change:",
					...named(
						changing.map(
							(part) =>
								`${part.name}  ${verdicts
									.filter((one) => part.verdicts[one] > 0)
									.map((one) => `${part.verdicts[one]} ${one}`)
									.join(
										", ",
									)}${changesOf(part) === "decision" ? `; ${part.stopped} stopped, ${part.passed} passed` : ""}`,
						),
					),
				]
			: []),
	];
}

function detectionText(found: Detection): string[] {
	const { sizes, mmPerPixel, curve, trials } = found;
	const size = (value: number) => sizeText(value, mmPerPixel);
	return [
		`PROBABILITY OF DETECTION of ${trials.length} discs of ${found.contrast} grey levels pasted into pictures of ${plainName(found.dir)}`,
		`stopped with nothing pasted  ${rateText(found.untouched)}${found.untouched.events > 0 ? "; no disc went into these" : ""}`,
		...(sizes.length > 0
			? inColumns(
					[
						["diameter", "discs", "found", "rate", "95 % interval"],
						...sizes.map(({ diameter, hits }) => [
							sizeText(diameter, mmPerPixel),
							String(hits.trials),
							String(hits.events),
							hits.value === null ? "-" : percentText(hits.value),
							hits.interval.map((end) => (100 * end).toFixed(1)).join(" to "),
						]),
					],
					[0, 1, 2, 3, 4],
				)
			: []),
		...(curve
			? [
					`log odds  ${curve.b0.toPrecision(4)} + ${curve.b1.toPrecision(4)} ln(diameter in px)`,
				]
			: []),
		`a50     ${measuredText(found.a50, size)}`,
		`a90     ${measuredText(found.a90, size)}`,
		`a90/95  ${measuredText(found.a90Safe, size)}`,
	];
}
