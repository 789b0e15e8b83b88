/**
 * What a quality engineer signs of one product: how many defects escape and how many good parts are stopped, of labelled pictures; how far the
 * station repeats itself, of parts that were photographed again and again; which size of defect it finds, of discs pasted into good pictures.
 * Every picture is scored as `predict` scores it, with what was learnt as it is; nothing is chosen here and nothing is changed.
 */
import { readMask } from "../data/image.ts";
import { checkLearnt } from "../knowledge.ts";
import { Predictor } from "../predictor.ts";
import { openRun } from "../run.ts";
import {
	type Detection,
	detectionOf,
	type Discs,
	type Example,
} from "./detection.ts";
import { type Gauge, gaugeOf } from "./gauge.ts";
import { type Labelled, labelledOf } from "./labelled.ts";
import {
	GOOD,
	goodIn,
	groupsOf,
	labelledIn,
	learntNotes,
	learntOf,
	refuseLearnt,
} from "./pictures.ts";
import { Scoring, type Watcher } from "./scoring.ts";

export interface QualifyJob extends Discs {
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
}

export interface Qualification {
	readonly task: string;
	readonly routed: boolean;
	readonly memoryVersion: number;
	/** Good images that it was learnt from. */
	readonly images: number;
	readonly threshold: number;
	/** Whether a person chose it; the share of false alarms below is then not what it aims at. */
	readonly ownThreshold: boolean;
	/** The share of good parts that a threshold which nobody chose aims at. */
	readonly falseAlarms: number;
	readonly labelled: Labelled | null;
	readonly gauge: Gauge | null;
	readonly detection: Detection | null;
	/** What the reader must know, a sentence each. */
	readonly notes: readonly string[];
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
	checkLearnt(run.memory, memDir);
	// everything that is wrong with files and folders is said before anything is scored
	const labelled =
		job.labelled === undefined ? null : await labelledIn(job.labelled);
	const gauge =
		job.gauge === undefined ? null : await groupsOf(job.gauge, "--gauge");
	const good = job.good === undefined ? null : await goodIn(job.good);
	const roi = job.roi === undefined ? null : await readMask(job.roi);
	const learnt = await learntOf(run, task);
	await refuseLearnt(learnt, [
		...(labelled ?? []).flatMap(({ name, found }) =>
			name === GOOD ? found : [],
		),
		...(gauge ?? []).flatMap(({ found }) => found),
		...(good ?? []),
	]);

	const { threads } = run.settings;
	const predictor = new Predictor(run.memory, threads);
	const { knowledge } = predictor;
	try {
		predictor.checkKnown(task);
		const scoring = new Scoring(predictor, { task, routed }, watcher);
		const done = {
			labelled:
				labelled &&
				labelledOf(
					job.labelled as string,
					await scoring.groups(labelled),
					task,
				),
			gauge: gauge && gaugeOf(job.gauge as string, await scoring.groups(gauge)),
			detection:
				good &&
				(await detectionOf(
					{ dir: job.good as string, good, discs: job, roi },
					scoring,
				)),
		};
		const images = knowledge.imagesOf(task);
		const own = knowledge.tasks.find(({ categories }) =>
			categories.includes(task),
		)?.id;
		const qualification: Qualification = {
			task,
			routed,
			memoryVersion: run.memory.version,
			images,
			threshold: knowledge.thresholdOf(task),
			ownThreshold: own !== undefined && knowledge.hasOwnThreshold(own),
			falseAlarms: knowledge.setup.falseAlarms,
			labelled: done.labelled,
			gauge: done.gauge,
			detection: done.detection?.detection ?? null,
			notes: learntNotes(learnt, images),
		};
		return {
			results: { qualification, examples: done.detection?.examples ?? [] },
			text: "",
		};
	} finally {
		await predictor.release();
	}
}
