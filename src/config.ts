/**
 * The one schema of a run: YAML file + --set flags -> RunConfig. YAML keys are snake_case, code and JSON camelCase;
 * they are mapped here and nowhere else. Options of strategies, pretext tasks and memories come from their registries.
 */
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Document, LineCounter } from "yaml";
import { z } from "zod";
import { deviceKinds, devicePattern, mostThreads } from "./engine/device.ts";
import { type OptimizerOptions, optimizers } from "./engine/optim.ts";
import { fail, registered } from "./errors.ts";
import { memories } from "./memory/index.ts";
import { nameProblem } from "./models/cache.ts";
import { type Precision, precisions } from "./models/quantise.ts";
import { DEFAULT_BACKBONE } from "./models/shipped.ts";
import { pretexts } from "./pretext/index.ts";
import { isObject, stableJson, treeProblem } from "./storage.ts";
import { strategies } from "./strategies/index.ts";
import type { StrategyDefinition } from "./strategies/strategy.ts";
import { parseYaml } from "./yaml.ts";

/** An entry of a registry with its options beside the name, defaults filled in. */
export interface Named {
	readonly name: string;
	readonly [option: string]: unknown;
}

/** "mvtec/bottle", or several categories learnt as one task. "mvtec/*" means every category found. */
export type TaskEntry = string | readonly string[];

/** A run with every default filled in: plain JSON, written into run.json. */
export interface RunConfig {
	readonly name: string;
	readonly data: {
		readonly root: string;
		/** Whether links may lead out of the data root. */
		readonly followLinks: boolean;
		readonly tasks: readonly TaskEntry[];
		/** At most so many good images of a category are learnt; null: all. */
		readonly limit: number | null;
		/** Where to look, by category: a picture, white where parts are inspected. */
		readonly roi: readonly {
			readonly category: string;
			readonly mask: string;
		}[];
	};
	/** [H, W]: the whole image is resized to it. */
	readonly imageSize: readonly [number, number];
	/** The sides are given for `vit` only: a network with random weights. */
	readonly backbone: {
		readonly name: string;
		/** What hub:OWNER/NAME stood for when the run began, 40 hex. Not a key of the file: `name` may end in @REVISION. */
		readonly commit?: string | undefined;
		readonly width?: number | undefined;
		readonly depth?: number | undefined;
		readonly heads?: number | undefined;
		readonly patch?: number | undefined;
		/** In what the frozen blocks compute. */
		readonly precision: Precision;
	};
	readonly trainable: { readonly last: number } | "all" | "none";
	readonly pretext: Named & { readonly head: "shared" | "firstTask" };
	readonly strategy: Named;
	readonly memory: readonly (Named & { readonly weight: number })[];
	readonly train: {
		readonly epochs: number;
		readonly viewPool: number | null;
		readonly batchSize: number;
		readonly optimizer: OptimizerOptions;
		readonly schedule: "cosine" | "constant";
		/** Share of a task's steps over which the learning rate rises from 0. */
		readonly warmup: number;
		/** Largest norm of the whole gradient; null: off. */
		readonly clipNorm: number | null;
	};
	/** Order k > 1: a seeded permutation of data.tasks, or an explicit list. Order 1 is data.tasks as written. */
	readonly orders: Readonly<Record<string, "seeded" | readonly TaskEntry[]>>;
	readonly evaluate: {
		readonly untrained: boolean;
		readonly staleness: boolean;
		readonly falseAlarms: number;
	};
	readonly seed: number;
	/** Who else is told how the run goes; decides no number. */
	readonly tracking: {
		/** Address of an MLflow server, without a slash at its end. */
		readonly mlflow: string | null;
		/** null: the run's name. */
		readonly experiment: string | null;
	};
	readonly out: string;
	readonly threads: number;
	/** "auto", or as engine/device.ts names them. */
	readonly device: string;
}

/** One row of a comparison. */
export interface StrategyRow extends Named {
	/** In place of the configuration's. */
	readonly memory?: RunConfig["memory"];
}

/** What `compare` runs the configuration with. */
export interface CompareConfig {
	readonly strategies: readonly StrategyRow[];
	/** Empty: the configuration's own seed. */
	readonly seeds: readonly number[];
	readonly orders: readonly number[];
}

/** What `sweep` runs: the configuration once for every combination of the grid's values. */
export interface SweepConfig {
	/** A key of the file, or `order` -> the values it takes, as the file has them. */
	readonly grid: Readonly<Record<string, readonly unknown[]>>;
	/** How often a run that failed is tried again. */
	readonly retries: number;
}

/** One combination of a grid. */
export interface GridPoint {
	/** What it sets, as the file has it. */
	readonly values: Readonly<Record<string, unknown>>;
	/** Number of the task order. */
	readonly order: number;
	readonly config: RunConfig;
}

/** What a configuration file says, with its defaults: one run, and the studies around it. */
export interface LoadedConfig {
	readonly config: RunConfig;
	readonly compare: CompareConfig;
	readonly sweep: SweepConfig;
	/** All combinations of `sweep.grid`, the last key changing first. */
	points(): readonly GridPoint[];
}

/** `name: vit` without sides. */
const RANDOM_VIT = { name: "vit", width: 192, depth: 6, heads: 3, patch: 16 };

/** Options of one entry alone, as its `create` takes them. */
export function optionsOf(entry: Named): Record<string, unknown> {
	const { name: _name, head: _head, ...options } = entry;
	return options;
}

/** The memories as they are set up, their weights adding up to 1. */
export function memoriesOf({ memory }: Pick<RunConfig, "memory">) {
	const total = memory.reduce((sum, entry) => sum + entry.weight, 0);
	return memory.map((entry) => {
		const { weight, ...named } = entry;
		return {
			name: entry.name,
			options: optionsOf(named),
			weight: weight / total,
		};
	});
}

/** A strategy with its default options, as a configuration would hold it. */
export const strategyEntry = (name: string, where: string): Named => ({
	...(registered<StrategyDefinition>(
		strategies,
		name,
		"strategy",
		where,
	).options.parse({}) as object),
	name,
});

/** How the pictures of a configuration are read: what readers take beside its data root and tasks. */
export const readingOf = ({
	data: { followLinks, limit, roi },
}: Pick<RunConfig, "data">) => ({
	followLinks,
	limit,
	roi: Object.fromEntries(roi.map(({ category, mask }) => [category, mask])),
});

/** The run folder of a configuration: what --mem_dir names afterwards. */
export const runDir = (config: Pick<RunConfig, "out" | "name">): string =>
	join(config.out, config.name, "Anomaly");

const count = () => z.int().positive();
const tasks = z
	.array(
		z.union([z.string().min(1), z.array(z.string().min(1)).min(1)], {
			error:
				'expected a category such as "mvtec/bottle", or a list of categories',
		}),
	)
	.min(1);

/** `{ name, ...options }` over all entries of a registry. `own` holds keys every entry takes. */
function entryOf(
	registry: Readonly<
		Record<string, { readonly title: string; readonly options: unknown }>
	>,
	own: z.ZodRawShape = {},
) {
	const members = Object.entries(registry).map(([name, { title, options }]) => {
		if (!(options instanceof z.ZodObject))
			throw new TypeError(`the options of "${name}" must be a z.strictObject`);
		return options
			.safeExtend({ name: z.literal(name), ...own })
			.describe(title);
	});
	const [first, ...rest] = members;
	if (!first) throw new TypeError("a registry is empty");
	return z.discriminatedUnion("name", [
		first,
		...rest,
	]) as unknown as z.ZodType<Named>;
}

const rate = () => z.number().min(0).lt(1);
const optimizer = z
	.strictObject({
		name: z
			.enum(Object.keys(optimizers) as [keyof typeof optimizers])
			.default("adam")
			.describe(
				"adam: decay as an L2 term in the gradient; adamw: beside it; muon: matrices by Muon, the rest by adamw",
			),
		lr: z
			.number()
			.positive()
			.default(1e-4)
			.describe("learning rate at its highest"),
		betas: z
			.tuple([rate(), rate()])
			.default([0.9, 0.999])
			.describe(
				"adam and adamw, and what muon leaves to adamw; the first is the momentum of muon's matrices too",
			),
		eps: z.number().positive().default(1e-8).describe("adam and adamw"),
		weightDecay: z
			.number()
			.min(0)
			.default(0)
			.describe(
				"adamw and muon take lr * weight_decay of every weight off it a step, adam and sgd add weight_decay * weight to its gradient; 0: none",
			),
		momentum: rate().default(0).describe("sgd"),
	})
	.refine((o) => o.momentum === 0 || o.name === "sgd", {
		path: ["momentum"],
		error: "only sgd has momentum; remove it, or use betas",
	});

const backbone = z
	.strictObject({
		name: z
			.string()
			.min(1)
			.refine((name) => nameProblem(name) === null, {
				error: ({ input }) =>
					`${nameProblem(String(input))}; write hub:OWNER/NAME, hub:OWNER/NAME@REVISION or local:NAME`,
			})
			.describe(
				"keepsight-tiny, which is shipped; a model of the hub, hub:OWNER/NAME[@REVISION]; a folder with model.safetensors and config.json, or one that was imported, local:NAME; or vit: random weights of the sides below",
			),
		width: count().optional().describe("vit: embedding width D"),
		depth: count().optional().describe("vit: number of blocks"),
		heads: count().optional().describe("vit: attention heads; divides width"),
		patch: count().optional().describe("vit: side of a patch in pixels"),
		precision: z
			.enum(precisions)
			.default("float32")
			.describe(
				"in what the frozen blocks compute; int8: more than twice as fast, features almost the same",
			),
	})
	.refine(
		({ name, precision: _precision, ...sides }) =>
			name === RANDOM_VIT.name || Object.keys(sides).length === 0,
		{
			error:
				"width, depth, heads and patch belong to `name: vit`; any other backbone brings its own",
		},
	)
	.transform((b) => (b.name === RANDOM_VIT.name ? { ...RANDOM_VIT, ...b } : b))
	.refine((b) => b.width === undefined || b.width % (b.heads ?? 1) === 0, {
		path: ["heads"],
		error: "width must be a multiple of heads",
	});

const memoryList = () =>
	z
		.array(
			entryOf(memories, {
				weight: z
					.number()
					.positive()
					.default(1)
					.describe(
						"share of the false alarms, relative to the other memories'",
					),
			}) as z.ZodType<RunConfig["memory"][number]>,
		)
		.min(1)
		.refine(
			(list) =>
				new Set(list.map((entry) => stableJson({ ...entry, weight: 1 })))
					.size === list.length,
			{
				error:
					"a memory is named twice with the same options; that would count it twice",
			},
		);

/** What is wrong with an address of a tracker; null: nothing. Never repeats it: it may hold a password. */
function trackerProblem(address: string): string | null {
	if (!/^https?:\/\//.test(address) || !URL.canParse(address))
		return "expected an address that begins with https:// or http://";
	const { username, password, search, hash } = new URL(address);
	if (username || password)
		return "it must not hold a password, which would be written to run.json; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN";
	return search || hash ? "an address without ? and # is needed" : null;
}

/** With all that the registries hold now. */
function schemaOf() {
	const memory = memoryList();
	const fields = z.strictObject({
		name: z
			.string()
			.regex(/^[A-Za-z0-9][A-Za-z0-9._+-]*$/, {
				error: "use letters, digits and . _ + - only: it names a folder",
			})
			.describe("the run folder is <out>/<name>/Anomaly"),
		data: z.strictObject({
			root: z
				.string()
				.min(1)
				.default("data")
				.describe("relative to the current directory"),
			followLinks: z
				.boolean()
				.default(false)
				.describe(
					"read links that lead out of the data root; only for data you trust",
				),
			tasks: tasks.describe(
				'categories in the order they are learnt; a list of categories is one task; "mvtec/*" is every category found',
			),
			limit: count()
				.nullable()
				.default(null)
				.describe(
					"at most so many good images of a category are learnt, spread evenly over its files; null: all",
				),
			roi: z
				.array(
					z.strictObject({
						category: z.string().min(1).describe('such as "mvtec/bottle"'),
						mask: z.string().min(1).describe("a picture, white where to look"),
					}),
				)
				.default([])
				.refine(
					(list) =>
						new Set(list.map(({ category }) => category)).size === list.length,
					{ error: "a category is named twice" },
				)
				.describe(
					"regions of interest: patches are looked at where the mask is white; the class token still sees the whole image",
				),
		}),
		imageSize: z
			.union([count(), z.tuple([count(), count()])], {
				error: "expected pixels as one number, or as [height, width]",
			})
			.transform((size): [number, number] =>
				typeof size === "number" ? [size, size] : size,
			)
			.prefault(224)
			.describe("pixels; the whole image is resized to it, without a crop"),
		backbone: backbone
			.prefault({ name: DEFAULT_BACKBONE })
			.describe("the pretrained network (docs/backbones.md)"),
		trainable: z
			.union(
				[
					z.strictObject({ last: count().describe("k") }),
					z.enum(["all", "none"]),
				],
				{
					error: "expected { last: k }, all or none",
				},
			)
			.default({ last: 3 })
			.describe(
				"the last k blocks with a copy of the final norm and the pretext head; all; or none: nothing trains, the strategy is ignored",
			),
		pretext: entryOf(pretexts, {
			head: z
				.enum(["shared", "firstTask"])
				.default("shared")
				.describe("firstTask: the head trains on the first task only"),
		}).describe(
			"what the network is trained on: telling normal views from views with a drawn-in anomaly",
		) as z.ZodType<RunConfig["pretext"]>,
		strategy: entryOf(strategies).describe(
			"what keeps earlier tasks while the next one trains",
		),
		memory: memory.describe("what is kept of each task"),
		train: z
			.strictObject({
				epochs: count()
					.default(10)
					.describe("passes over a task's normal images; the last one counts"),
				viewPool: count()
					.nullable()
					.default(null)
					.describe(
						"so many views of an image and no more, of which epochs take turns: what the frozen blocks say of each is computed once and kept in memory; null: every epoch draws new views",
					),
				batchSize: count()
					.default(32)
					.describe(
						"views a step: a step reads batch_size / K images, K classes of the pretext task",
					),
				optimizer: optimizer.prefault({}),
				schedule: z
					.enum(["cosine", "constant"])
					.default("cosine")
					.describe("restarted for every task"),
				warmup: rate()
					.default(0)
					.describe(
						"share of a task's steps over which the learning rate rises from 0",
					),
				clipNorm: z
					.number()
					.positive()
					.nullable()
					.default(null)
					.describe("largest norm of the whole gradient; null: off"),
			})
			.prefault({}),
		orders: z
			.record(
				z.string().regex(/^([2-9]|[1-9]\d+)$/, {
					error: "orders are numbered from 2; order 1 is data.tasks",
				}),
				z.union([z.literal("seeded"), tasks], {
					error: "expected `seeded` or a list of tasks",
				}),
			)
			.default({})
			.describe("further task orders for comparisons; order 1 is data.tasks"),
		evaluate: z
			.strictObject({
				untrained: z
					.boolean()
					.default(false)
					.describe("also score tasks not yet learnt (forward transfer)"),
				staleness: z
					.boolean()
					.default(false)
					.describe(
						"also measure how far the stored densities of earlier tasks lie from their normals as the network sees them now",
					),
				falseAlarms: z
					.number()
					.gt(0)
					.lt(1)
					.default(0.01)
					.describe("share of good parts the threshold may reject"),
			})
			.prefault({}),
		compare: z
			.strictObject({
				strategies: z
					.array(
						entryOf(strategies, {
							memory: memory
								.optional()
								.describe("in place of the configuration's"),
						}) as z.ZodType<StrategyRow>,
					)
					.default([])
					.describe("strategies with their options, one row of the table each"),
				seeds: z
					.array(z.int().min(0))
					.default([])
					.describe("default: the seed of this configuration"),
				orders: z
					.array(count())
					.min(1)
					.default([1])
					.describe("numbers of orders: 1 is data.tasks, others see `orders`"),
			})
			.prefault({})
			.describe("what `keepsight compare` runs; `train` does not read it"),
		sweep: z
			.strictObject({
				grid: z
					.record(z.string().min(1), z.array(z.unknown()).min(1), {
						error: "expected keys with a list of values each",
					})
					.default({})
					.describe(
						"keys of this file, such as strategy, seed or train.optimizer.lr, or `order`, each with the values it takes; every combination is a run",
					),
				retries: z
					.int()
					.min(0)
					.default(1)
					.describe("how often a run that failed is tried again"),
			})
			.prefault({})
			.describe("what `keepsight sweep` runs; `train` does not read it"),
		seed: z
			.int()
			.min(0)
			.default(42)
			.describe(
				"of first weights, order of images, views and every other draw; the same seed gives the same bytes",
			),
		tracking: z
			.strictObject({
				mlflow: z
					.string()
					.refine((url) => trackerProblem(url) === null, {
						error: ({ input }) => String(trackerProblem(String(input))),
					})
					.transform((url) => url.replace(/\/+$/, ""))
					.nullable()
					.prefault(null)
					.describe(
						"address of an MLflow server that is told how the run goes, such as http://127.0.0.1:5000; null: none",
					),
				experiment: z
					.string()
					.min(1)
					.max(250)
					.nullable()
					.default(null)
					.describe("MLflow's experiment; null: the run's name"),
			})
			.prefault({})
			.describe("changes nothing in a run"),
		out: z
			.string()
			.min(1)
			.default("results")
			.describe("relative to the current directory"),
		threads: z
			.int()
			.min(1)
			.max(mostThreads)
			.default(availableParallelism)
			.describe("default: all cores"),
		device: z
			.string()
			.refine((name) => name === "auto" || devicePattern.test(name), {
				error: `not a device: auto, ${Object.keys(deviceKinds).join(", ")}, or one of several such as cuda:1`,
			})
			.default("cpu")
			.describe(
				"where to compute: cpu, cuda, webgpu, dml, coreml, one of several such as cuda:1, or auto: the first that works here",
			),
	});
	return fields.refine(
		({ backbone, trainable }) =>
			backbone.precision === "float32" || trainable !== "all",
		{
			path: ["backbone", "precision"],
			error:
				"int8 is for blocks that do not train, and with `trainable: all` there are none; use float32",
		},
	);
}

/** The schema of the names that are registered, made once for them: a plugin may add some. */
function schema(): ReturnType<typeof schemaOf> {
	const names = JSON.stringify(
		[strategies, pretexts, memories].map((registry) => Object.keys(registry)),
	);
	if (made?.names !== names) made = { names, schema: schemaOf() };
	return made.schema;
}
let made: {
	readonly names: string;
	readonly schema: ReturnType<typeof schemaOf>;
} | null = null;

/**
 * The configuration of a file with its --set and --grid values applied. Throws CONFIG_FILE, CONFIG_SYNTAX, CONFIG_KEY, CONFIG_VALUE,
 * CONFIG_MISSING, UNKNOWN_NAME or SET_SYNTAX.
 */
export async function loadConfig(
	file: string,
	sets: readonly string[] = [],
	grids: readonly string[] = [],
): Promise<LoadedConfig> {
	const text = await readFile(file, "utf8").catch(
		(error: NodeJS.ErrnoException) => {
			throw fail("CONFIG_FILE", {
				file,
				reason: error.code === "ENOENT" ? "no such file" : error.message,
			});
		},
	);
	return parseConfig(text, file, sets, grids);
}

/** Like loadConfig, for text at hand; `file` is the name used in messages. */
export function parseConfig(
	text: string,
	file: string,
	sets: readonly string[] = [],
	grids: readonly string[] = [],
): LoadedConfig {
	const { document, lines, value } = readYaml(text, file);
	const given = [
		...sets.map((text) => assignedBy("--set", text)),
		...grids.map((text) => assignedBy("--grid", text, ["sweep", "grid"])),
	];
	const resolve = (assigned: readonly Assigned[]) => {
		let tree: unknown = value ?? {};
		for (const { path, value, origin } of assigned)
			tree = assign(tree, path, value, origin);
		const locate = (path: readonly PropertyKey[]): string => {
			const names = path.map((p) => snake(String(p)));
			const dotted = names.join(".");
			const set = assigned.findLast(({ path }) => {
				const key = path.join(".");
				return dotted === key || dotted.startsWith(`${key}.`);
			});
			if (set) return `${dotted || "the top level"} (${set.origin})`;
			const line = lineOf(document, names, lines);
			return `${dotted || "the top level"} in ${file}${line ? ` line ${line}` : ""}`;
		};
		return validate(camelKeys(tree, [], locate), file, locate);
	};
	const { compare, sweep, ...config } = resolve(given);
	return {
		config,
		compare,
		sweep,
		points: () =>
			combinations(sweep.grid, file).map((values) => {
				const { order, ...keys } = values;
				const { config } = withoutStudies(
					resolve([
						...given,
						...Object.entries(keys).map(([key, value]) => ({
							path: key.split("."),
							value,
							origin: "sweep.grid",
						})),
					]),
				);
				return { values, order: orderOf(order, file), config };
			}),
	};
}

/** A value in place of the file's. */
interface Assigned {
	/** A key of the grid is one name, whatever dots it has. */
	readonly path: readonly string[];
	readonly value: unknown;
	/** What errors call it. */
	readonly origin: string;
}

/** "train.epochs=3", the value as YAML. `below`: the key is one name there, whatever dots it has. */
function assignedBy(
	flag: string,
	text: string,
	below?: readonly string[],
): Assigned {
	const [, key, yaml] = /^([^=\s]+)=(.*)$/s.exec(text) ?? [];
	if (key === undefined || yaml === undefined || key.length > 200)
		throw fail("SET_SYNTAX", { flag, text });
	const origin = `${flag} ${key}`;
	const grid = "sweep.grid.";
	const path = below
		? [...below, key]
		: key.startsWith(grid)
			? ["sweep", "grid", key.slice(grid.length)]
			: key.split(".");
	return { path, value: readYaml(yaml, origin).value, origin };
}

const withoutStudies = ({
	compare: _compare,
	sweep: _sweep,
	...config
}: ReturnType<typeof validate>): { readonly config: RunConfig } => ({ config });

/** These are no part of what a run is, so runs cannot differ in them. */
const notVaried = [
	"name",
	"out",
	"threads",
	"device",
	"compare",
	"sweep",
	"orders",
	"tracking",
];

/** Of one sweep. */
const RUNS_AT_MOST = 10_000;

function combinations(
	grid: SweepConfig["grid"],
	file: string,
): readonly Readonly<Record<string, unknown>>[] {
	for (const key of Object.keys(grid))
		if (notVaried.includes(key.split(".")[0] as string))
			throw fail("CONFIG_VALUE", {
				where: `sweep.grid in ${file}`,
				problem: `runs cannot differ in "${key}"${key === "orders" ? "; use order, with their numbers" : ""}`,
			});
	for (const key of Object.keys(grid)) {
		const within = Object.keys(grid).find((other) =>
			key.startsWith(`${other}.`),
		);
		if (within !== undefined)
			throw fail("CONFIG_VALUE", {
				where: `sweep.grid in ${file}`,
				problem: `"${key}" is a part of "${within}": give one of them`,
			});
	}
	const runs = Object.values(grid).reduce((n, { length }) => n * length, 1);
	if (runs > RUNS_AT_MOST)
		throw fail("CONFIG_VALUE", {
			where: `sweep.grid in ${file}`,
			problem: `its values make ${runs} runs, and a sweep has at most ${RUNS_AT_MOST}`,
		});
	return Object.entries(grid).reduce<readonly Record<string, unknown>[]>(
		(points, [key, values]) =>
			points.flatMap((point) =>
				values.map((value) => ({ ...point, [key]: value })),
			),
		[{}],
	);
}

function orderOf(order: unknown, file: string): number {
	const parsed = count().default(1).safeParse(order);
	if (!parsed.success)
		throw fail("CONFIG_VALUE", {
			where: `sweep.grid.order in ${file}`,
			problem: `${JSON.stringify(order)} is no number of an order: 1 is data.tasks, others see \`orders\``,
		});
	return parsed.data;
}

/**
 * A run's whole configuration that came as JSON from another machine: held against the schema as a file is. `where` is what errors call
 * it. Studies are no part of it.
 */
export function checkedConfig(json: unknown, where: string): RunConfig {
	const odd = treeProblem(json);
	if (odd !== null) throw fail("CONFIG_VALUE", { where, problem: odd });
	const { backbone, ...rest } = isObject(json) ? json : {};
	const { commit, ...named } = isObject(backbone) ? backbone : {};
	const { config } = withoutStudies(
		validate(
			{ ...rest, backbone: named },
			where,
			(path) => `${path.map(String).join(".") || "the top level"} in ${where}`,
		),
	);
	if (commit === undefined) return config;
	if (typeof commit !== "string" || !/^[0-9a-f]{40}$/.test(commit))
		throw fail("CONFIG_VALUE", {
			where: `backbone.commit in ${where}`,
			problem: "expected 40 hexadecimal digits",
		});
	return { ...config, backbone: { ...config.backbone, commit } };
}

/** The JSON Schema of the YAML file, for editors. */
export function configJsonSchema(): object {
	const json = z.toJSONSchema(schema(), {
		io: "input",
		unrepresentable: "any",
	}) as Record<string, unknown>;
	const renamed = snakeProperties({ ...json, title: "Keepsight run" }) as {
		properties: { threads: { default?: number } };
	};
	delete renamed.properties.threads.default; // this machine's cores
	return renamed;
}

function readYaml(text: string, where: string): ReturnType<typeof parseYaml> {
	try {
		return parseYaml(text);
	} catch (error) {
		throw fail("CONFIG_SYNTAX", { where, reason: (error as Error).message });
	}
}

/** A copy of `tree` in which the value at `path` is `value`; missing parents are made. */
function assign(
	tree: unknown,
	path: readonly string[],
	value: unknown,
	origin: string,
): unknown {
	const [head, ...rest] = path;
	if (head === undefined) return value;
	if (head === "" || head === "__proto__")
		throw fail("CONFIG_VALUE", {
			where: origin,
			problem: `"${head}" cannot be part of a key`,
		});
	if (Array.isArray(tree)) {
		const index = Number(head);
		if (!Number.isInteger(index) || index < 0 || index >= tree.length)
			throw fail("CONFIG_VALUE", {
				where: origin,
				problem: `"${head}" must be a position in a list of ${tree.length}, counted from 0`,
			});
		return tree.map((item, i) =>
			i === index ? assign(item, rest, value, origin) : item,
		);
	}
	const object =
		typeof tree === "object" && tree !== null
			? (tree as Record<string, unknown>)
			: {};
	return {
		...object,
		[head]: assign(
			Object.hasOwn(object, head) ? object[head] : undefined,
			rest,
			value,
			origin,
		),
	};
}

const camel = (key: string) =>
	key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
/** A key as the file has it. */
export const snake = (key: string) =>
	key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Every key from snake_case to camelCase. A key that already is camelCase is not one of ours. */
function camelKeys(
	tree: unknown,
	path: readonly string[],
	locate: (path: readonly PropertyKey[]) => string,
): unknown {
	if (Array.isArray(tree))
		return tree.map((item, i) => camelKeys(item, [...path, String(i)], locate));
	if (typeof tree !== "object" || tree === null) return tree;
	if (path.join(".") === "sweep.grid") return tree; // keys and values as the file would have them
	return Object.fromEntries(
		Object.entries(tree).map(([key, value]) => {
			if (/[A-Z]/.test(key) || key === "__proto__")
				throw fail("CONFIG_KEY", {
					key,
					where: locate(path),
					known: [snake(key)],
				});
			return [camel(key), camelKeys(value, [...path, key], locate)];
		}),
	);
}

/** JSON Schema from camelCase to the snake_case of the file. */
function snakeProperties(node: unknown): unknown {
	if (Array.isArray(node)) return node.map(snakeProperties);
	if (typeof node !== "object" || node === null) return node;
	return Object.fromEntries(
		Object.entries(node).map(([key, value]) => {
			if (key === "properties")
				return [
					key,
					Object.fromEntries(
						Object.entries(value as object).map(([name, child]) => [
							snake(name),
							snakeProperties(child),
						]),
					),
				];
			if (key === "required") return [key, (value as string[]).map(snake)];
			if (
				key === "default" &&
				typeof value === "object" &&
				value !== null &&
				!Array.isArray(value)
			)
				return [
					key,
					Object.fromEntries(
						Object.entries(value).map(([name, v]) => [snake(name), v]),
					),
				];
			return [key, snakeProperties(value)];
		}),
	);
}

/** The line, counted from 1, of the value at `path` or of the nearest parent that is in the file. */
function lineOf(
	document: Document,
	path: readonly string[],
	lines: LineCounter,
): number | null {
	for (let depth = path.length; depth > 0; depth--) {
		const node = document.getIn(path.slice(0, depth), true) as
			| { range?: readonly number[] }
			| undefined;
		if (node?.range) return lines.linePos(node.range[0] as number).line;
	}
	return null;
}

function validate(
	tree: unknown,
	file: string,
	locate: (path: readonly PropertyKey[]) => string,
): RunConfig & {
	readonly compare: CompareConfig;
	readonly sweep: SweepConfig;
} {
	const knownAt = new Map<string, string[]>(); // keys of the objects and names of the registries that refused something
	const parsed = schema().safeParse(tree, {
		reportInput: true,
		error: (issue) => {
			const at = (issue.path ?? []).join(".");
			if (issue.inst instanceof z.ZodObject)
				knownAt.set(at, Object.keys(issue.inst.shape).map(snake));
			if (issue.inst instanceof z.ZodDiscriminatedUnion)
				knownAt.set(
					at,
					[
						...(issue.inst._zod.propValues[issue.inst._zod.def.discriminator] ??
							[]),
					].map(String),
				);
			return undefined;
		},
	});
	if (parsed.success) return parsed.data;
	const [first] = parsed.error.issues;
	if (!first) throw parsed.error;
	const known = knownAt.get(first.path.join(".")) ?? [];
	if (first.code === "unrecognized_keys")
		throw fail("CONFIG_KEY", {
			key: snake(first.keys[0] ?? ""),
			where: locate(first.path),
			known,
		});
	if (first.code === "invalid_union" && first.path.at(-1) === "name") {
		const { name } = first.input as { name?: unknown };
		if (name !== undefined)
			throw fail("UNKNOWN_NAME", {
				kind: kindOf(first.path),
				name: typeof name === "string" ? name : JSON.stringify(name),
				where: locate(first.path),
				known,
			});
		throw fail("CONFIG_MISSING", {
			key: first.path.map(String).map(snake).join("."),
			where: file,
			hint: `Use one of: ${known.join(", ")}.`,
		});
	}
	if (first.input === undefined && first.code !== "custom")
		throw fail("CONFIG_MISSING", {
			key: first.path.map(String).map(snake).join("."),
			where: file,
			hint: "",
		});
	const problem = first.message
		.replace(/^Invalid (input|option): /, "")
		.replace(/\.$/, "");
	throw fail("CONFIG_VALUE", { where: locate(first.path), problem });
}

/** strategy.name -> "strategy", compare.strategies.0.name -> "strategy", compare.strategies.0.memory.0.name -> "memory" */
const kindOf = (path: readonly PropertyKey[]): string =>
	path.includes("memory")
		? "memory"
		: path.includes("strategies")
			? "strategy"
			: String(path[0]);
