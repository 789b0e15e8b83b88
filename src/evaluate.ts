/**
 * Scores test images from what was learnt, and turns score files into results. The only module that reads test images
 * (with localise.ts and visualise.ts, which it calls). No task identity is used: each image is routed by itself, embedded with the
 * weights of where it was routed, scored there.
 */
import { join } from "node:path";
import { isInside } from "./data/files.ts";
import { detailOf, type Flaw, flawOf } from "./data/flaw.ts";
import type { Image, Sample, Task, TestCategory } from "./data/task.ts";
import { otherViews } from "./data/turn.ts";
import { float32, type Tensor, type TensorDict } from "./engine/tensor.ts";
import { readTasks, readTestCategory } from "./data/index.ts";
import { trivialNames, trivialNumbers } from "./data/trivial.ts";
import { fail } from "./errors.ts";
import { heed, type RunEvent, type Stop } from "./events.ts";
import {
	type AllFeatures,
	checkLearnt,
	Knowledge,
	viewsKey,
} from "./knowledge.ts";
import {
	buildResults,
	type CategoryScores,
	formatResults,
	metricsCsv,
	type Results,
} from "./metrics/results.ts";
import {
	checkReaders,
	metricRow,
	openRun,
	type Run,
	type ScoreRow,
} from "./run.ts";
import type { Measured } from "./metrics/measured.ts";
import { imageAurocOf, Localiser, type ScoredCategory } from "./localise.ts";
import { type Seen, visualise, writeMaps } from "./visualise.ts";
import { Embedder, type Network, type Sight, Trunk } from "./trunk.ts";

/** Bytes of states kept for images that are scored again after the next task. */
const STATE_BUDGET = 1_500_000_000;

/** Looks at images, each once while the budget lasts: the frozen part never changes within a run. */
export class Eyes {
	readonly #trunk: Trunk;
	readonly #embedder: Embedder;
	/** Where nothing trains, the frozen class token is all that is ever asked for. */
	readonly #trains: boolean;
	readonly #seen = new Map<
		string,
		Pick<Look, "frozen" | "detail"> & {
			readonly rest: Pick<Look, "state" | "patches"> | null;
		}
	>();
	/** What shows nothing, by path; null: nobody asks. */
	readonly flaws: Map<string, Flaw> | null;
	#bytes = 0;
	/** Also without budget: an image is routed and then embedded. By path. */
	#latest: ReadonlyMap<string, Look> = new Map();

	/** `flaws`: whether to look for images that show nothing. */
	constructor(trunk: Trunk, { flaws = false } = {}) {
		this.#trunk = trunk;
		this.flaws = flaws ? new Map() : null;
		this.#embedder = new Embedder(trunk.network, { head: false });
		this.#trains = trunk.network.from < trunk.network.backbone.config.depth;
	}

	/**
	 * The samples in their order, each once it was looked at: some at a time, which is faster than one by one, while the pictures of the
	 * next are decoded.
	 */
	async *each(samples: readonly Sample[]): AsyncGenerator<Sample> {
		const groups = inGroups(samples, this.#trunk.together);
		const decode = (group: readonly Sample[] | undefined) => {
			const fresh = (group ?? []).filter((sample) => !this.#knows(sample));
			const pictures = Promise.all(fresh.map((s) => this.#read(s)));
			pictures.catch(() => {}); // told when it is awaited
			return { fresh, pictures };
		};
		let next = decode(groups[0]);
		for (const [i, group] of groups.entries()) {
			const { fresh, pictures } = next;
			const read = await pictures;
			next = decode(groups[i + 1]);
			if (fresh.length > 0) await this.#look(fresh, read);
			yield* group;
		}
	}

	/** At all sizes it is looked at, by the tiles that it is then cut into; 1 is always among them. */
	async #read(sample: Sample): Promise<Pictures> {
		const [h, w] = this.#trunk.network.backbone.config.imageSize;
		const pictures: Record<number, Image> = {};
		for (const t of new Set([1, ...this.#tiles]))
			pictures[t] = await sample.read([h * t, w * t]);
		return pictures;
	}

	get #tiles(): readonly number[] {
		return this.#trunk.network.patchTiles ?? [1];
	}

	/** Whether nothing that is asked of it needs another look. */
	#knows(sample: Sample): boolean {
		const known = this.#seen.get(sample.path);
		return known !== undefined && (known.rest !== null || !this.#keeps);
	}

	/** Whether more than the frozen class token is ever asked for. */
	get #keeps(): boolean {
		return this.#trains || this.#keepsPatches;
	}

	get #keepsPatches(): boolean {
		return this.#trunk.network.patchBlocks.length > 0;
	}

	async #look(
		samples: readonly Sample[],
		pictures: readonly Pictures[],
	): Promise<void> {
		const seen = await this.#trunk.seeAll(pictures.map((p) => p[1] as Image));
		const patches = seen.map((): Record<number, Tensor> => ({}));
		for (const t of this.#keepsPatches ? this.#tiles : []) {
			const found =
				t === 1
					? seen.map((sight) => sight.patches as Tensor)
					: await this.#trunk.seeTiles(
							pictures.map((p) => p[t] as Image),
							t,
						);
			for (const [i, own] of found.entries())
				(patches[i] as Record<number, Tensor>)[t] = own;
		}
		this.#latest = new Map(
			samples.map(({ path }, i) => [
				path,
				{
					...(seen[i] as Sight),
					patches: patches[i] ?? {},
					detail: detailOf(pictures[i]?.[1] as Image),
				},
			]),
		);
		if (this.flaws)
			for (const [i, { path }] of samples.entries()) {
				const flaw = flawOf(pictures[i]?.[1] as Image);
				if (flaw) this.flaws.set(path, flaw);
			}
		for (const [path, look] of this.#latest) {
			const { state, frozen, patches, detail } = look;
			const bytes = bytesOf({ state, patches });
			const keep = this.#keeps && this.#bytes + bytes <= STATE_BUDGET;
			if (keep) this.#bytes += bytes;
			const rest = keep ? { state, patches } : null;
			this.#seen.set(path, { frozen, detail, rest });
		}
	}

	async #sight(sample: Sample): Promise<Look> {
		const { path } = sample;
		const known = this.#seen.get(path);
		if (known?.rest) {
			const { rest, frozen, detail } = known;
			return { ...rest, frozen, detail };
		}
		if (!this.#latest.has(path))
			await this.#look([sample], [await this.#read(sample)]);
		return this.#latest.get(path) as Look;
	}

	/** The frozen class token alone. */
	async frozen(sample: Sample): Promise<Tensor> {
		return (
			this.#seen.get(sample.path)?.frozen ?? (await this.#sight(sample)).frozen
		);
	}

	/** What is seen in one image under the given weights; null: the pretrained ones. */
	async features(
		sample: Sample,
		weights: TensorDict | null,
	): Promise<AllFeatures> {
		const known = this.#seen.get(sample.path);
		if (known && !weights && !this.#keepsPatches) {
			const { frozen, detail } = known;
			return {
				ids: [sample.id],
				embedding: frozen,
				frozen,
				patches: {},
				detail: [detail],
			};
		}
		const look = await this.#sight(sample);
		const seen = await this.#through(sample.id, look, weights);
		return { ...seen, detail: [look.detail] };
	}

	async #through(
		id: string,
		{ state, frozen, patches }: Omit<Look, "detail">,
		weights: TensorDict | null,
	): Promise<AllFeatures> {
		return {
			ids: [id],
			embedding: weights
				? (await this.#embedder.embed(state, weights)).embedding
				: frozen,
			frozen,
			patches: mapValues(patches, (own) => [own]),
		};
	}

	/** Class tokens of an image that is no file, such as a view. */
	async featuresOf(
		id: string,
		image: Image,
		weights: TensorDict | null,
	): Promise<AllFeatures> {
		const sight = await this.#trunk.see(image);
		return this.#through(id, { ...sight, patches: {} }, weights);
	}

	/** Patches of the other views of an image that is learnt, by `viewsKey`. */
	async turned(
		sample: Sample,
		views: Knowledge["patches"]["views"],
	): Promise<Record<string, readonly Tensor[]>> {
		const turned: Record<string, readonly Tensor[]> = {};
		const pictures = views.length > 0 ? await this.#read(sample) : {};
		for (const { tiles, augment } of views) {
			const others = otherViews(pictures[tiles] as Image, augment);
			turned[viewsKey({ tiles, augment })] = [
				stack(await this.#trunk.seeTiles(others, tiles)),
			];
		}
		return turned;
	}

	/** Frees its session; the trunk is its owner's. */
	release(): Promise<void> {
		return this.#embedder.release();
	}

	/** Forgets images that will not be looked at again. */
	forget(samples: readonly Sample[]): void {
		this.#latest = new Map();
		for (const { path } of samples) {
			const kept = this.#seen.get(path)?.rest;
			if (kept) this.#bytes -= bytesOf(kept);
			this.#seen.delete(path);
		}
	}
}

/** A picture at the sizes it is looked at, by the number of tiles down and across. */
type Pictures = Readonly<Record<number, Image>>;

/** A sight, with the patches of all tilings. */
interface Look extends Omit<Sight, "patches"> {
	readonly patches: Readonly<Record<number, Tensor>>;
	readonly detail: number;
}

const bytesOf = ({ state, patches }: Pick<Look, "state" | "patches">) =>
	Object.values(patches).reduce(
		(sum, { data }) => sum + data.byteLength,
		state.data.byteLength,
	);

const mapValues = <A, B>(
	values: Readonly<Record<string, A>>,
	of: (value: A) => B,
): Record<string, B> =>
	Object.fromEntries(
		Object.entries(values).map(([key, value]) => [key, of(value)]),
	);

function inGroups<T>(list: readonly T[], size: number): readonly T[][] {
	return Array.from({ length: Math.ceil(list.length / size) }, (_, i) =>
		list.slice(i * size, (i + 1) * size),
	);
}

/** Rows under each other. */
function stack(parts: readonly Tensor[]): Tensor {
	const d = parts[0]?.shape[1] ?? 0;
	const rows = parts.reduce((sum, { shape }) => sum + (shape[0] as number), 0);
	const all = float32([rows, d]);
	let at = 0;
	for (const { data } of parts) {
		all.data.set(data, at);
		at += data.length;
	}
	return all;
}

/** What was seen of many images as one. */
export function joinFeatures(parts: readonly AllFeatures[]): AllFeatures {
	const detail = parts.flatMap((p) => p.detail ?? []);
	return {
		ids: parts.flatMap((p) => p.ids),
		embedding: stack(parts.map((p) => p.embedding)),
		frozen: stack(parts.map((p) => p.frozen)),
		patches: joined(parts.map((p) => p.patches)),
		turned: joined(parts.map((p) => p.turned ?? {})),
		...(detail.length === parts.length && { detail }),
	};
}

type Lists = Readonly<Record<string, readonly Tensor[]>>;

const joined = (parts: readonly Lists[]): Lists =>
	Object.fromEntries(
		Object.keys(parts[0] ?? {}).map((key) => [
			key,
			parts.flatMap((part) => part[key] ?? []),
		]),
	);

export interface Progress {
	readonly emit: (event: RunEvent) => void;
	readonly stop: Stop;
	readonly taskIndex: number;
	readonly taskCount: number;
}

/** Scores every test image of one category. `as`: the task is told (an oracle), instead of routing each image. */
export async function scoreCategory(
	knowledge: Knowledge,
	eyes: Eyes,
	category: TestCategory,
	progress: Progress,
	as: string | null = null,
): Promise<ScoredCategory> {
	const rows: ScoreRow[] = [];
	const maps: (Float32Array | null)[] = [];
	const embeddings: Float32Array[] = [];
	for await (const sample of eyes.each(category.test)) {
		await heed(progress.stop);
		const routed = as ?? knowledge.route(await eyes.frozen(sample));
		const features = await eyes.features(sample, knowledge.weightsOf(routed));
		const judged = await knowledge.judge(routed, features);
		rows.push({
			path: sample.id,
			defect: sample.defect,
			label: sample.defect === null ? 0 : 1,
			score: judged.score,
			threshold: judged.threshold,
			routed,
		});
		maps.push(judged.map);
		embeddings.push(features.embedding.data);
		const { taskIndex, taskCount } = progress;
		progress.emit({
			type: "progress",
			phase: "evaluate",
			task: category.id,
			taskIndex,
			taskCount,
			done: rows.length,
			total: category.test.length,
			unit: "images",
		});
	}
	return { rows, maps, embeddings };
}

/** Metrics of one category's maps after `after` tasks, as metrics.json holds them. */
export interface PixelEntry {
	readonly after: number;
	readonly category: string;
	readonly values: Readonly<Record<string, Measured>>;
}

/** What is looked at with, over all rows of a run. */
export interface Instruments {
	readonly eyes: Eyes;
	readonly localiser: Localiser;
}

/**
 * One row of the result matrix: all categories learnt so far. Scores are written; metrics of maps are returned, where there are maps, and
 * what was found.
 */
export async function evaluateRow(
	run: Run,
	knowledge: Knowledge,
	{ eyes, localiser }: Instruments,
	tasks: readonly Task[],
	after: number,
	progress: Progress,
): Promise<{ pixel: PixelEntry[]; seen: Seen[] }> {
	const entries: PixelEntry[] = [];
	const seen: Seen[] = [];
	for (const category of tasks.flatMap((task) => task.categories)) {
		const scored = await scoreCategory(knowledge, eyes, category, progress);
		run.writeScores(after, category.id, scored.rows);
		const pixel = await localiser.measure(category, scored, progress.stop);
		if (pixel)
			entries.push({ after, category: category.id, values: pixel.values });
		seen.push({ category, scored });
	}
	return { pixel: entries, seen };
}

/**
 * How stale the stored densities of all but the last task are: the memory's measure on their normals as the network sees them now.
 * Empty where the memory has no such measure.
 */
export async function stalenessOf(
	knowledge: Knowledge,
	eyes: Eyes,
	tasks: readonly Task[],
	{ stop }: Pick<Progress, "stop">,
): Promise<Readonly<Record<string, number>>> {
	const stale: Record<string, number> = {};
	const i = knowledge.memories.findIndex((m) => m.staleness);
	if (i < 0) return stale;
	for (const category of tasks.slice(0, -1).flatMap((t) => t.categories)) {
		const weights = knowledge.weightsOf(category.id);
		const parts: AllFeatures[] = [];
		for await (const sample of eyes.each(category.normals)) {
			await heed(stop);
			parts.push(await eyes.features(sample, weights));
		}
		const now = knowledge.featuresFor(i, joinFeatures(parts));
		stale[category.id] = knowledge.memories[i]?.staleness?.(
			category.id,
			now,
		) as number;
	}
	return stale;
}

/** Task learnt last -> category -> staleness, as metrics.json holds it; null: it was not measured. */
export const stalenessSoFar = (
	run: Run,
): Readonly<Record<string, unknown>> | null =>
	(run.readMetrics()?.staleness as Record<string, unknown> | undefined) ?? null;

/** As metrics.json holds them. */
const pixelSoFar = (run: Run): readonly PixelEntry[] =>
	(run.readMetrics()?.pixel as readonly PixelEntry[] | undefined) ?? [];

/** metrics.json from the score files of a run: what `train` and `eval` write. */
export function writeResults(
	run: Run,
	knowledge: Knowledge,
	tasks: readonly Task[],
	{
		pixel: fresh = [],
		...extras
	}: {
		readonly pixel?: readonly PixelEntry[];
		readonly [name: string]: unknown;
	} = {},
): Results {
	const key = ({ after, category }: PixelEntry) => `${after} ${category}`;
	const pixel = new Map(
		[...pixelSoFar(run), ...fresh].map((entry) => [key(entry), entry]),
	);
	const scores = run.readAllScores().flatMap(({ after, categories }) =>
		categories.map(
			({ id, rows }): CategoryScores => ({
				after: (after ?? 1) - 1,
				category: id,
				rows: rows.map(metricRow),
				...pixelOf(pixel.get(`${after ?? 1} ${id}`)),
			}),
		),
	);
	const results = buildResults({
		tasks: tasks.map(({ id, categories }) => ({
			id,
			categories: categories.map((c) => ({ id: c.id, layout: c.layout })),
		})),
		scores,
		falseAlarms: knowledge.setup.falseAlarms,
		memory: knowledge.bytes(),
	});
	const learning = knowledge.tasks.map(({ id, learning: numbers }) => ({
		task: id,
		...numbers,
	}));
	const staleness = stalenessSoFar(run);
	run.writeMetrics(
		{
			...results,
			learning,
			...(staleness && { staleness }),
			...(pixel.size > 0 && { pixel: [...pixel.values()] }),
			...extras,
		},
		metricsCsv(results),
	);
	return results;
}

const pixelOf = (entry: PixelEntry | undefined) =>
	entry && { pixel: entry.values };

/** Image AUROC of each category when the task is told: the named extra column. */
export async function oracleAuroc(
	knowledge: Knowledge,
	eyes: Eyes,
	tasks: readonly Task[],
	progress: Progress,
): Promise<Record<string, number | null>> {
	const column: Record<string, number | null> = {};
	for (const category of tasks.flatMap((t) => t.categories)) {
		const { rows } = await scoreCategory(
			knowledge,
			eyes,
			category,
			progress,
			category.id,
		);
		column[category.id] = imageAurocOf(
			category,
			rows.map(({ score }) => score),
		).value;
	}
	return column;
}

export const networkOf = (knowledge: Knowledge, threads: number): Network => ({
	backbone: knowledge.backbone,
	from: knowledge.setup.from,
	patchBlocks: knowledge.patches.blocks,
	patchTiles: knowledge.patches.tiles,
	threads,
});

/** Before anything is scored: whether there are maps, and whether they would replace no picture. */
function checkMaps(
	dir: string,
	tasks: readonly Task[],
	knowledge: Knowledge,
): void {
	if (!knowledge.hasMaps) throw fail("NO_MAPS", { dir });
	for (const category of tasks.flatMap((task) => task.categories)) {
		const maps = join(dir, category.id);
		if (isInside(maps, category.dir) || isInside(category.dir, maps))
			throw fail("MAPS_AMONG_PICTURES", { dir });
	}
}

export const localiserOf = ({ patches }: Knowledge): Localiser =>
	new Localiser(patches.grid);

export interface EvaluateJob {
	readonly memDir: string;
	readonly dataRoot?: string;
	readonly oracleTask: boolean;
	readonly trivial: boolean;
	/** Where maps are written. */
	readonly maps?: string;
}

/** Scores every learnt task from the stored memory alone and rewrites the last row of the results. */
export async function evaluateRun(
	job: EvaluateJob,
	{ emit, stop }: Pick<Progress, "emit" | "stop">,
): Promise<{ results: Results; text: string }> {
	const run = openRun(job.memDir, "update", undefined, {
		notice: (text) => emit({ type: "notice", text }),
	});
	try {
		checkLearnt(run.memory, job.memDir);
		const { threads } = run.settings;
		checkReaders(job.memDir);
		const knowledge = Knowledge.load(run.memory, threads);
		const tasks = await testTasksOf(run, knowledge, job);
		if (job.maps !== undefined) checkMaps(job.maps, tasks, knowledge);
		const eyes = new Eyes(new Trunk(networkOf(knowledge, threads)));
		const instruments = { eyes, localiser: localiserOf(knowledge) };
		const progress: Progress = {
			emit,
			stop,
			taskIndex: tasks.length - 1,
			taskCount: tasks.length,
		};
		const { pixel, seen } = await evaluateRow(
			run,
			knowledge,
			instruments,
			tasks,
			tasks.length,
			progress,
		);
		const oracle = job.oracleTask
			? await oracleAuroc(knowledge, eyes, tasks, progress)
			: null;
		const results = writeResults(run, knowledge, tasks, {
			pixel,
			...(oracle && { oracleTask: { imageAuroc: oracle } }),
		});
		await visualise(run, tasks, seen, instruments.localiser, progress);
		if (job.maps !== undefined)
			await writeMaps(job.maps, seen, instruments.localiser, progress);
		const lines = [formatResults(results).trimEnd()];
		if (oracle)
			lines.push(
				"",
				"Task told (oracle), image AUROC:",
				...Object.entries(oracle).map(
					([id, value]) => `${id}   ${value === null ? "-" : value.toFixed(4)}`,
				),
			);
		if (job.trivial) lines.push("", await trivialTable(tasks));
		await eyes.release();
		await knowledge.release();
		return { results, text: lines.join("\n") };
	} finally {
		run.close();
	}
}

/** Where the run found them, or below the root that was given. */
async function testTasksOf(
	run: Run,
	knowledge: Knowledge,
	{ dataRoot }: Pick<EvaluateJob, "dataRoot">,
): Promise<readonly Task[]> {
	const { root, followLinks } = run.settings.data;
	const tasks: Task[] = [];
	for (const { id, categories } of knowledge.tasks) {
		const own = run.record.tasks.find((task) => task.id === id)?.data;
		if (own === undefined || dataRoot !== undefined)
			tasks.push(
				...(await readTasks(dataRoot ?? root, [categories], { followLinks })),
			);
		else
			tasks.push({
				id,
				categories: [await readTestCategory(own, id, { followLinks })],
			});
	}
	return tasks;
}

/** AUROC of what needs no look at the picture; the direction is chosen after the fact, so .5 is the least. A detector below this line has learnt nothing. */
async function trivialTable(tasks: readonly Task[]): Promise<string> {
	const lines = [
		`Trivial baselines, image AUROC (direction chosen after the fact)`,
		["".padEnd(24), ...trivialNames.map((n) => n.padStart(10))].join(""),
	];
	for (const category of tasks.flatMap((t) => t.categories)) {
		const numbers = await trivialNumbers(category.test);
		const cells = trivialNames.map((name) => {
			const { value } = imageAurocOf(
				category,
				numbers.map((n) => n[name]),
			);
			return (
				value === null ? "-" : Math.max(value, 1 - value).toFixed(4)
			).padStart(10);
		});
		lines.push([category.id.padEnd(24), ...cells].join(""));
	}
	return lines.join("\n");
}
