/**
 * The run folder: the one module that knows its file names and its format version.
 *
 *   run.json                     what was run, on what, how far it got          log.jsonl   one event a line
 *   metrics.json  metrics.csv    the result                                     report.html
 *   scores/after-NN/<slug>.csv   one row a test image, after NN tasks           visualizations/
 *   memory/                      what was learnt: a VersionedFolder             checkpoint/ state within a task, for --resume
 *   review/                      odd images that wait for a person              serve/      what a server keeps (src/server)
 *   tensorboard/                 the numbers of log.jsonl as event files        mlflow.json how much of log.jsonl MLflow has (src/tracking)
 *
 * Durations, dates and machines are in run.json and log.jsonl only: memory/ and scores/ depend on config and seed alone.
 */
import { existsSync, readdirSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { basename, join } from "node:path";
import { z } from "zod";
import { csvNumber, csvPlain, csvText, parseCsv } from "./csv.ts";
import { readers } from "./data/index.ts";
import type { DatasetReader } from "./data/task.ts";
import { mostThreads } from "./engine/device.ts";
import { fail, KeepsightError, registered } from "./errors.ts";
import type { ScoreRow as MetricRow } from "./metrics/index.ts";
import { resultsSchema } from "./metrics/results.ts";
import {
	append,
	appendLine,
	checkPath,
	formats,
	type Guard,
	inPresentFormat,
	isBookkeeping,
	isFolder,
	isObject,
	type Lock,
	lockFolder,
	readJsonObject,
	readText,
	removeTemporaries,
	removeTree,
	sha256,
	stableJson,
	VersionedFolder,
	writeAtomic,
} from "./storage.ts";

const names = {
	run: "run.json",
	metricsJson: "metrics.json",
	metricsCsv: "metrics.csv",
	scores: "scores",
	memory: "memory",
	checkpoint: "checkpoint",
	visualizations: "visualizations",
	review: "review",
	serve: "serve",
	report: "report.html",
	log: "log.jsonl",
	tensorboard: "tensorboard",
	mlflow: "mlflow.json",
} as const;

export interface TaskState {
	readonly id: string;
	readonly state: "pending" | "learning" | "learnt" | "forgotten";
	/** Time it took to learn; null until then. */
	readonly seconds: number | null;
	/** Its folder of pictures, where it does not lie below the data root (`learn`). */
	readonly data?: string;
}

export interface Machine {
	readonly cpu: string;
	readonly cores: number;
	readonly memoryBytes: number;
	readonly platform: string;
}

/** What a run is, before it starts. */
export interface RunStart {
	/** The resolved configuration, as plain JSON. */
	readonly config: Readonly<Record<string, unknown>>;
	readonly seed: number;
	readonly versions: {
		readonly keepsight: string;
		readonly node: string;
		readonly onnxruntime: string;
	};
	readonly machine: Machine;
	/** Task ids in the order they are learnt. */
	readonly order: readonly string[];
	/** "strategy l2" -> hash of the plugin's file it came from (plugins.ts); a run of an earlier version has none. */
	readonly plugins?: Readonly<Record<string, string>>;
	/** Task id -> fingerprint of the images it is learnt from; a run of an earlier version, and one of `learn`, has none. */
	readonly images?: Readonly<Record<string, string>>;
}

/** run.json. `forced`: what differed, each time it was resumed with --force. */
export interface RunRecord extends RunStart {
	readonly format: number;
	readonly tasks: readonly TaskState[];
	readonly forced?: readonly (readonly string[])[];
}

/** As configurations have them. */
export interface RunSettings {
	readonly threads: number;
	readonly data: { readonly root: string; readonly followLinks: boolean };
}

export type OpenMode =
	/** Starts; refuses a folder that holds a run. */
	| "new"
	/** Goes on, with the same settings; starts where there is nothing. */
	| "resume"
	/** Starts; deletes the run that was there. */
	| "fresh"
	/** An existing run, to be changed: eval, learn, forget, report. */
	| "update"
	/** An existing run, without a lock: nothing can be written. */
	| "read";

export interface OpenOptions {
	readonly force?: boolean;
	/** What the user should know: that it waits for an owner's sign of life (without a listener it does not), or that a state was dropped. */
	readonly notice?: (text: string) => void;
}

/**
 * Opens a run folder. All modes but "read" hold its lock until `close`. Throws RUN_EXISTS, RUN_MISSING, RUN_FOREIGN, RUN_DIFFERS, LOCKED, DAMAGED or
 * FORMAT_VERSION.
 */
export function openRun(
	dir: string,
	mode: "update" | "read",
	start?: undefined,
	options?: Pick<OpenOptions, "notice">,
): Run;
export function openRun(
	dir: string,
	mode: "new" | "resume" | "fresh",
	start: RunStart,
	options?: OpenOptions,
): Run;
export function openRun(
	dir: string,
	mode: OpenMode,
	start?: RunStart,
	{ force = false, notice }: OpenOptions = {},
): Run {
	if (mode === "read") return new Run(dir, existingRecord(dir), null);
	if (mode === "update") existingRecord(dir); // before a lock is left in a folder that is none of ours
	if (mode === "new" && existsSync(join(dir, names.run)))
		throw fail("RUN_EXISTS", { dir });
	const lock = lockFolder(dir, { onWait: notice });
	try {
		// whoever has written here is gone, but for a server in serve/; the tracker writes mlflow.json again if that is cut off
		const sweep = () =>
			removeTemporaries(dir, lock.check, (at) => at !== serverFolder(dir));
		if (mode === "update") {
			sweep();
			return goneOnWith(dir, existingRecord(dir), lock, notice);
		}
		if (!start) throw new Error(`openRun: mode "${mode}" needs what to start`);
		if (mode === "fresh") removeRun(dir, lock.check);
		const earlier = readRecord(dir); // again: someone may have been faster than our lock
		if (earlier) {
			if (mode === "new") throw fail("RUN_EXISTS", { dir });
			sweep();
			const record = continued(dir, earlier, start, force);
			const run = goneOnWith(dir, record, lock, notice);
			if (record !== earlier) run.save({}); // forced: on record before anything is learnt with it
			run.memory.tidy();
			run.checkpoint.tidy();
			return run;
		}
		const others = readdirSync(dir).filter(
			(name) => !isBookkeeping(name) && name !== names.serve,
		);
		if (others.length > 0 && mode !== "fresh")
			throw fail("RUN_FOREIGN", { dir, names: others, fresh: false });
		sweep();
		const run = new Run(
			dir,
			{
				...start,
				format: formats.run.present,
				tasks: start.order.map((id) => ({
					id,
					state: "pending",
					seconds: null,
				})),
			},
			lock,
		);
		run.save({});
		return run;
	} catch (error) {
		lock.release();
		throw error;
	}
}

/** What was learnt by the run in this folder. */
export const memoryFolder = (dir: string): string => join(dir, names.memory);

/** What a server keeps of its own: history, what operators said. No new run deletes it. */
export const serverFolder = (dir: string): string => join(dir, names.serve);

/** One event a line (src/tracking/lines.ts). */
export const logFile = (dir: string): string => join(dir, names.log);

/** How much of the log MLflow has been told: the one file that is not written by who holds the lock, but by who started that process. */
export const shippedFile = (dir: string): string => join(dir, names.mlflow);

/** What to do about a damaged metrics.json. */
export const evaluateAnew = (dir: string): string =>
	`delete it and run "keepsight eval --mem_dir ${dir}"`;

/** Whether the folder holds a run of any format version. */
export const holdsRun = (dir: string): boolean =>
	existsSync(join(dir, names.run));

/** Refuses where the images of a run were read by a plugin's reader that is not there now: others would find other images, or none. */
export function checkReaders(dir: string): void {
	for (const entry of Object.keys(existingRecord(dir).plugins ?? {})) {
		const [kind, name = ""] = entry.split(" ");
		if (kind === "reader")
			registered(
				readers as Record<string, DatasetReader>,
				name,
				kind,
				`plugins in ${join(dir, names.run)}`,
			);
	}
}

/** An open run folder. What it writes is on the disk, whole, when the call returns. */
export class Run {
	readonly dir: string;
	/** What was learnt. */
	readonly memory: VersionedFolder;
	#checkpoint: VersionedFolder | null = null;
	#record: RunRecord;
	readonly #lock: Lock | null;

	/** Use openRun. */
	constructor(dir: string, record: RunRecord, lock: Lock | null) {
		this.dir = dir;
		this.#record = record;
		this.#lock = lock;
		this.memory = VersionedFolder.open(join(dir, names.memory), this.#guard);
	}

	/** The state within a task, so that --resume need not start it again; `clear()` once the task is learnt. Who reads a run needs none. */
	get checkpoint(): VersionedFolder {
		this.#checkpoint ??= VersionedFolder.open(
			join(this.dir, names.checkpoint),
			this.#guard,
		);
		return this.#checkpoint;
	}

	get record(): RunRecord {
		return this.#record;
	}
	/** Of the configuration, what every command reads. */
	get settings(): RunSettings {
		// of the right kind, if they are there: `recordSchema`
		const { threads, data } = this.#record.config as {
			readonly threads?: number;
			readonly data?: {
				readonly root?: string;
				readonly followLinks?: boolean;
			};
		};
		if (threads === undefined || data?.root === undefined)
			throw fail("DAMAGED", {
				path: join(this.dir, names.run),
				problem:
					"threads or data.root of its config is missing or of the wrong kind",
			});
		const { root, followLinks = false } = data;
		return { threads, data: { root, followLinks } };
	}
	/** Ids, in the order they were learnt. */
	get tasksLearnt(): readonly string[] {
		return this.#record.tasks
			.filter((t) => t.state === "learnt")
			.map((t) => t.id);
	}
	get finished(): boolean {
		return this.#record.tasks.every((t) => t.state === "learnt");
	}

	/** Changes run.json. */
	save(changes: Partial<Omit<RunRecord, "format">>): void {
		const record = { ...this.#record, ...changes };
		this.#write(names.run, stableJson(record));
		this.#record = record;
	}
	/** Notes how far a task got, and where its pictures are (default: where they were); one that is not in the list (`learn`) is appended. */
	setTask(
		id: string,
		state: TaskState["state"],
		seconds: number | null = null,
		data?: string,
	): void {
		const { tasks, order } = this.#record;
		const folder = data ?? tasks.find((task) => task.id === id)?.data;
		const task: TaskState = {
			id,
			state,
			seconds,
			...(folder !== undefined && { data: folder }),
		};
		if (tasks.some((t) => t.id === id))
			this.save({ tasks: tasks.map((t) => (t.id === id ? task : t)) });
		else this.save({ tasks: [...tasks, task], order: [...order, id] });
	}
	readonly #guard = (): void => this.checkLock();
	/** Throws if another process took this folder over. Every write asks by itself; to be called before work that would be in vain. */
	checkLock(): void {
		if (!this.#lock)
			throw new Error(
				`${this.dir} was opened for reading; open it with mode "update" to write`,
			);
		this.#lock.check();
	}

	/** Scores of one category's test images after `after` tasks (1, 2, ...). */
	writeScores(
		after: number,
		categoryId: string,
		rows: readonly ScoreRow[],
	): void {
		this.#write(
			join(names.scores, stageName(after), scoreFile(categoryId)),
			formatScores(rows),
		);
	}
	/** null if they were never written. */
	readScores(after: number, categoryId: string): ScoreRow[] | null {
		const path = join(
			this.dir,
			names.scores,
			stageName(after),
			scoreFile(categoryId),
		);
		return existsSync(path) ? parseScores(readText(path), path) : null;
	}
	/** All of them, as `readScoreFolder` gives them. */
	readAllScores(): readonly ScoreStage[] {
		return readScoreFolder(join(this.dir, names.scores));
	}
	writeMetrics(json: object, csv: string): void {
		this.#write(names.metricsJson, stableJson(json));
		this.#write(names.metricsCsv, csv);
	}
	/** null before the first task was evaluated. */
	readMetrics(): Record<string, unknown> | null {
		const path = join(this.dir, names.metricsJson);
		const remedy = evaluateAnew(this.dir);
		const stored = readJsonObject(path, remedy);
		if (!stored) return null;
		const json = inPresentFormat("metrics", path, stored);
		const parsed = resultsSchema.safeParse(json);
		if (!parsed.success)
			throw fail("DAMAGED", {
				path,
				problem: `${placeOf(parsed.error)} is of the wrong kind`,
				remedy,
			});
		return json;
	}
	/** SHA-256 over the results: the manifest of memory/, all scores and metrics.json. None of them knows of times and places. */
	digest(): string {
		const texts = [this.memory.digest(), stableJson(this.readMetrics())];
		const stages = existsSync(join(this.dir, names.scores))
			? this.readAllScores()
			: [];
		for (const { after, categories } of stages)
			for (const { file, rows } of categories)
				texts.push(`${after} ${basename(file)}\n${formatScores(rows)}`);
		return sha256(Buffer.from(texts.join("\0")));
	}
	/** Full path of what `writeVisualization` writes. */
	visualization(name: string): string {
		return join(
			this.dir,
			names.visualizations,
			checkPath(name, names.visualizations),
		);
	}
	/** `name` may have folders: "mvtec.bottle/bad/001.png". */
	writeVisualization(name: string, content: Uint8Array | string): void {
		writeAtomic(this.visualization(name), content, this.#guard);
	}
	removeVisualization(name: string): void {
		removeTree(this.visualization(name), this.#guard);
	}
	/** Where odd images of a task wait for a person. */
	reviewTable(task: string): string {
		return `${this.reviewPictures(task)}.csv`;
	}
	/** The folder of their pictures. */
	reviewPictures(task: string): string {
		return join(this.dir, names.review, taskFolder(task));
	}
	/** Writes the table last: it says that the pictures are all there. */
	writeReview(
		task: string,
		table: string,
		pictures: ReadonlyMap<string, Uint8Array>,
	): void {
		this.removeReview(task);
		for (const [name, png] of pictures)
			writeAtomic(join(this.reviewPictures(task), name), png, this.#guard);
		writeAtomic(this.reviewTable(task), table, this.#guard);
	}
	removeReview(task: string): void {
		removeTree(this.reviewTable(task), this.#guard);
		removeTree(this.reviewPictures(task), this.#guard);
	}
	/** Drops scores, metrics, pictures and the report: they tell of products that are no longer those of memory/. */
	clearResults(): void {
		for (const name of [
			names.report,
			names.metricsJson,
			names.metricsCsv,
			names.scores,
			names.visualizations,
		])
			removeTree(join(this.dir, name), this.#guard);
	}
	writeReport(html: string): string {
		return this.#write(names.report, html);
	}
	/** Appends one event, with the time, to log.jsonl. */
	log(event: object): void {
		this.checkLock();
		appendLine(
			logFile(this.dir),
			JSON.stringify({ time: new Date().toISOString(), ...event }),
		);
	}

	/** Names of TensorBoard's event files. */
	get eventFiles(): readonly string[] {
		const dir = join(this.dir, names.tensorboard);
		return existsSync(dir) ? readdirSync(dir) : [];
	}
	appendEvents(name: string, bytes: Uint8Array): void {
		this.checkLock();
		append(join(this.dir, names.tensorboard, name), bytes);
	}

	/** Gives the lock back. */
	close(): void {
		this.#lock?.release();
	}

	#write(path: string, content: Uint8Array | string): string {
		const full = join(this.dir, path);
		writeAtomic(full, content, this.#guard);
		return full;
	}
}

/** Of run.json, what is read again. */
const recordSchema = z.looseObject({
	config: z.looseObject({
		name: z.string().optional(),
		threads: z.int().positive().max(mostThreads).optional(),
		data: z
			.looseObject({
				root: z.string().optional(),
				followLinks: z.boolean().optional(),
			})
			.optional(),
		strategy: z.looseObject({ name: z.string() }).optional(),
	}),
	seed: z.number(),
	versions: z.record(z.string(), z.string()),
	machine: z
		.looseObject({
			cpu: z.string(),
			cores: z.number(),
			memoryBytes: z.number(),
			platform: z.string(),
		})
		.optional(),
	order: z.array(z.string()),
	images: z.record(z.string(), z.string()).optional(),
	tasks: z.array(
		z.looseObject({
			id: z.string().min(1),
			state: z.enum(["pending", "learning", "learnt", "forgotten"]),
			seconds: z.number().min(0).nullable().default(null),
			data: z.string().optional(),
		}),
	),
	forced: z.array(z.array(z.string())).optional(),
});

/** "tasks.0.state" of what was refused first. */
const placeOf = ({ issues: [first] }: z.ZodError): string =>
	first?.path.map(String).join(".") || "the whole";

function readRecord(dir: string): RunRecord | null {
	const path = join(dir, names.run);
	const stored = readJsonObject(path);
	if (!stored) return null;
	const json = inPresentFormat("run", path, stored);
	const parsed = recordSchema.safeParse(json);
	if (!parsed.success)
		throw fail("DAMAGED", {
			path,
			problem: `config, seed, versions, order or tasks is missing or of the wrong kind (${placeOf(parsed.error)})`,
		});
	return parsed.data as unknown as RunRecord;
}

function existingRecord(dir: string): RunRecord {
	const record = readRecord(dir);
	if (!record) throw fail("RUN_MISSING", { dir });
	return record;
}

/** The record to go on with, if nothing that changes results differs. Versions and images no longer matter to a finished run. */
function continued(
	dir: string,
	earlier: RunRecord,
	start: RunStart,
	force: boolean,
): RunRecord {
	const finished = earlier.tasks.every((t) => t.state === "learnt");
	const compared = ({
		config,
		seed,
		order,
		versions,
		images,
		plugins = {},
	}: RunStart) => ({
		...config,
		tracking: undefined, // who is told of a run changes nothing in it
		seed,
		order,
		plugins,
		...(finished
			? {}
			: {
					...(earlier.images && start.images && { images }),
					versions: {
						keepsight: versions.keepsight,
						onnxruntime: versions.onnxruntime,
					},
				}),
	});
	const found = differences(compared(earlier), compared(start));
	if (found.length === 0) return earlier;
	if (!force) throw fail("RUN_DIFFERS", { dir, differences: found });
	const done = new Map(earlier.tasks.map((t) => [t.id, t]));
	const tasks = start.order.map(
		(id): TaskState => done.get(id) ?? { id, state: "pending", seconds: null },
	);
	return {
		...earlier,
		...start,
		tasks,
		forced: [...(earlier.forced ?? []), found],
	};
}

/** An existing run, to be changed. What is saved within a task can be made again, to the same bytes: damaged, it is dropped. */
function goneOnWith(
	dir: string,
	record: RunRecord,
	lock: Lock,
	notice: OpenOptions["notice"],
): Run {
	const run = new Run(dir, record, lock);
	try {
		run.checkpoint.verify();
	} catch (error) {
		if (!(error instanceof KeepsightError) || error.code === "CANNOT_READ")
			throw error;
		const folder = join(dir, names.checkpoint);
		removeTree(folder, lock.check);
		const text = `What was saved within a task, in ${folder}, is damaged and was dropped: the task starts anew from what was learnt before it, with the same result.`;
		run.log({ type: "notice", text, damage: error.message });
		notice?.(text);
		return new Run(dir, record, lock);
	}
	return run;
}

/** "train.epochs: 10 -> 20" for every value that differs; lists are compared as a whole. */
export function differences(a: unknown, b: unknown, path = ""): string[] {
	if (isObject(a) && isObject(b)) {
		const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
		return keys.flatMap((key) =>
			differences(own(a, key), own(b, key), path ? `${path}.${key}` : key),
		);
	}
	const [was, is] = [show(a), show(b)];
	return was === is ? [] : [`${path}: ${was} -> ${is}`];
}
const own = (object: Record<string, unknown>, key: string): unknown =>
	Object.hasOwn(object, key) ? object[key] : undefined;
const show = (value: unknown): string =>
	value === undefined
		? "(not set)"
		: stableJson(value).replace(/\n\t*/g, " ").trim();

/** Deletes what Keepsight wrote, run.json last: a kill on the way leaves something that is still known as a run. */
function removeRun(dir: string, guard: Guard): void {
	const known: readonly string[] = Object.values(names);
	const present = readdirSync(dir);
	const foreign = present.filter(
		(name) => !known.includes(name) && !isBookkeeping(name),
	);
	if (foreign.length > 0 && !present.includes(names.run))
		throw fail("RUN_FOREIGN", { dir, names: foreign, fresh: true });
	for (const name of known.filter((n) => n !== names.run && n !== names.serve))
		removeTree(join(dir, name), guard);
	removeTree(join(dir, names.run), guard);
}

/** This machine, for run.json. */
export function describeMachine(): Machine {
	return {
		cpu: cpus()[0]?.model.trim() ?? "unknown",
		cores: availableParallelism(),
		memoryBytes: totalmem(),
		platform: `${process.platform}-${process.arch}`,
	};
}

// ---- names from ids ----

/** A name that people can read and type; as a file name it is encoded (`taskFolder`). */
export function checkTaskName(task: string): void {
	const plain = /^[^\p{C}]{1,120}$/u.test(task) && task.trim() === task;
	const parts = task.split("/");
	if (!plain || parts.some((part) => ["", ".", ".."].includes(part)))
		throw fail("TASK_NAME", { task });
}

/**
 * A file name for a task or category: "mvtec/bottle" -> "mvtec.bottle". Letters, digits, _ - + stay, "/" becomes ".",
 * everything else is percent-encoded, so different ids never meet. Very long ids end in a hash instead.
 */
export function taskFolder(id: string): string {
	if (id === "") throw new Error("taskFolder: empty id");
	const slug = [...Buffer.from(id)].map((byte, i) => {
		const c = String.fromCharCode(byte);
		if (/[A-Za-z0-9_+-]/.test(c)) return c;
		return c === "/" && i > 0
			? "."
			: `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
	});
	const name = slug.join("");
	return name.length <= 200
		? name
		: `${name.slice(0, 180)}~${sha256(Buffer.from(id)).slice(0, 16)}`;
}

/** The id a name stands for; a foreign or shortened name is its own id. */
export function taskOfFolder(name: string): string {
	try {
		return decodeURIComponent(name.replaceAll(".", "/"));
	} catch {
		return name;
	}
}

const scoreFile = (categoryId: string): string =>
	`${taskFolder(categoryId)}.csv`;

function stageName(after: number): string {
	if (!Number.isSafeInteger(after) || after < 1)
		throw new Error(`scores: "after" counts tasks from 1, not ${after}`);
	return `after-${String(after).padStart(2, "0")}`;
}

// ---- score files: CSV by RFC 4180, one row a test image ----

/** A row of a score file: one test image. */
export interface ScoreRow {
	/** Relative to the data root. */
	readonly path: string;
	/** null: good; written as "good". */
	readonly defect: string | null;
	readonly label: 0 | 1;
	/** Higher: more anomalous. */
	readonly score: number;
	/** null: none is known; written empty, as null `routed` is. */
	readonly threshold: number | null;
	/** The task the image was scored as; null: unknown product. */
	readonly routed: string | null;
}

/** The row as metrics read it: without nulls. */
export const metricRow = (row: ScoreRow): MetricRow => ({
	...row,
	defect: row.defect ?? "good",
	threshold: row.threshold ?? Number.NaN,
	routed: row.routed ?? "",
});

const columns = [
	"path",
	"defect",
	"label",
	"score",
	"threshold",
	"routed",
] as const;

/** Rows in the given order. */
function formatScores(rows: readonly ScoreRow[]): string {
	const lines = rows.map((r) =>
		[
			csvText(r.path),
			csvText(r.defect ?? "good"),
			r.label,
			csvNumber(r.score),
			r.threshold === null ? "" : csvNumber(r.threshold),
			csvText(r.routed ?? ""),
		].join(","),
	);
	return `${[columns.join(","), ...lines].join("\n")}\n`;
}

/**
 * Reads our score files and anyone's: label and score are required, other columns optional or ignored, in any order;
 * LF or CRLF, with or without a byte order mark. An absent path is "", an absent threshold or route null.
 */
export function parseScores(text: string, fileName: string): ScoreRow[] {
	const invalid = (line: number, problem: string) =>
		fail("SCORES_INVALID", { file: fileName, line, problem });
	const [header, ...records] = parseCsv(text.replace(/^\uFEFF/, ""), invalid);
	if (!header) throw invalid(1, "the file is empty");
	const titles = header.fields.map((f) => f.trim().toLowerCase());
	const column = (
		name: (typeof columns)[number],
		required: boolean,
	): number => {
		const index = titles.indexOf(name);
		if (index < 0 && required)
			throw invalid(
				header.line,
				`the header has no column "${name}"; it reads ${JSON.stringify(header.fields.join(",").slice(0, 100))}`,
			);
		if (index >= 0 && titles.indexOf(name, index + 1) >= 0)
			throw invalid(header.line, `the header has the column "${name}" twice`);
		return index;
	};
	const at = {
		label: column("label", true),
		score: column("score", true),
		path: column("path", false),
		defect: column("defect", false),
		threshold: column("threshold", false),
		routed: column("routed", false),
	};

	return records.map(({ line, fields }) => {
		if (fields.length !== titles.length)
			throw invalid(
				line,
				`${fields.length} fields, but the header has ${titles.length}`,
			);
		const text = (index: number) => csvPlain(fields[index] ?? "");
		const number = (index: number, name: string): number => {
			const value = parseNumber(fields[index] ?? "");
			if (value === null)
				throw invalid(
					line,
					`the ${name} ${JSON.stringify(fields[index])} is not a number`,
				);
			return value;
		};
		const label = number(at.label, "label");
		if (label !== 0 && label !== 1)
			throw invalid(line, `the label is ${label}`);
		const defect = text(at.defect);
		return {
			path: text(at.path),
			defect: defect === "" || defect === "good" ? null : defect,
			label: label === 1 ? 1 : 0, // "-0" is 0
			score: number(at.score, "score"),
			threshold:
				(fields[at.threshold] ?? "").trim() === ""
					? null
					: number(at.threshold, "threshold"),
			routed: text(at.routed) || null,
		};
	});
}

/** JavaScript's and Python's spellings; null for anything else, NaN included. */
function parseNumber(text: string): number | null {
	const t = text.trim();
	const infinite = /^([+-]?)inf(inity)?$/i.exec(t);
	if (infinite)
		return infinite[1] === "-"
			? Number.NEGATIVE_INFINITY
			: Number.POSITIVE_INFINITY;
	return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(t) ? Number(t) : null;
}

// ---- folders of score files ----

export interface ScoreStage {
	/** Tasks learnt so far; null: a flat folder, which does not say. */
	readonly after: number | null;
	readonly categories: readonly {
		readonly id: string;
		readonly file: string;
		readonly rows: readonly ScoreRow[];
	}[];
}

/** Our `scores/` or anyone's folder: `*.csv` directly (one stage), or in `after-NN/` subfolders (in the order of NN). */
export function readScoreFolder(dir: string): readonly ScoreStage[] {
	const missing = (problem: string) => fail("SCORES_MISSING", { dir, problem });
	if (!isFolder(dir))
		throw missing(
			existsSync(dir) ? "it is no folder" : "there is no such folder",
		);
	const items = readdirSync(dir, { withFileTypes: true });
	const csvIn = (folder: string) =>
		readdirSync(folder)
			.filter((n) => n.endsWith(".csv") && !isBookkeeping(n))
			.sort();
	const stage = (after: number | null, folder: string): ScoreStage => ({
		after,
		categories: csvIn(folder).map((name) => {
			const file = join(folder, name);
			return {
				id: taskOfFolder(name.slice(0, -4)),
				file,
				rows: parseScores(readText(file), file),
			};
		}),
	});
	const stages = items
		.filter((item) => item.isDirectory() && /^after-\d+$/.test(item.name))
		.map((item) => ({
			after: Number(item.name.slice(6)),
			folder: join(dir, item.name),
		}))
		.sort((a, b) => a.after - b.after);
	if (stages.length === 0) {
		if (csvIn(dir).length === 0) throw missing("it holds none");
		return [stage(null, dir)];
	}
	if (csvIn(dir).length > 0)
		throw missing(
			"it holds both .csv files and after-NN folders, so which to use is unclear",
		);
	const twice = stages.find(
		(s, i) => s.after === stages[i - 1]?.after || s.after < 1,
	);
	if (twice) throw missing(`stage ${twice.after} appears twice or is below 1`);
	return stages
		.map(({ after, folder }) => stage(after, folder))
		.filter((s) => s.categories.length > 0);
}
