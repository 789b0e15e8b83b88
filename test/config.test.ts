import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
	checkedConfig,
	configJsonSchema,
	loadConfig,
	memoriesOf,
	optionsOf,
	parseConfig,
	type RunConfig,
} from "../src/config.ts";
import { memories } from "../src/memory/index.ts";
import { loadBackbone } from "../src/models/index.ts";
import type { VitConfig } from "../src/models/vit.ts";
import { pretexts } from "../src/pretext/index.ts";
import { strategies } from "../src/strategies/index.ts";
import { setupOf } from "../src/train.ts";

const first = (registry: object) => Object.keys(registry)[0] as string;
const [pretext, strategy, memory] = [
	first(pretexts),
	first(strategies),
	first(memories),
];
const minimal = `name: t
data: { tasks: [mvtec/bottle, [loco/juice_bottle, mvtec/tile]] }
pretext: { name: ${pretext} }
strategy: { name: ${strategy} }
memory: [{ name: ${memory} }]
`;
const parse = (text: string, ...sets: string[]) =>
	parseConfig(text, "t.yaml", sets).config;
const problem = (text: string, ...sets: string[]): string => {
	try {
		parse(text, ...sets);
	} catch (error) {
		return `${(error as { code?: string }).code}: ${(error as Error).message}`;
	}
	return "accepted";
};

describe("a configuration", () => {
	it("fills in every default as plain JSON, keys in camelCase", () => {
		const config = parse(minimal);
		expect(config).toMatchObject({
			data: {
				root: "data",
				followLinks: false,
				tasks: ["mvtec/bottle", ["loco/juice_bottle", "mvtec/tile"]],
			},
			imageSize: [224, 224],
			trainable: { last: 3 },
			pretext: { name: pretext, head: "shared" },
			train: {
				epochs: 10,
				batchSize: 32,
				optimizer: {
					name: "adam",
					lr: 1e-4,
					betas: [0.9, 0.999],
					eps: 1e-8,
					weightDecay: 0,
					momentum: 0,
				},
				schedule: "cosine",
				warmup: 0,
				clipNorm: null,
			},
			evaluate: { untrained: false, falseAlarms: 0.01 },
			seed: 42,
			out: "results",
		});
		expect(config.threads).toBeGreaterThan(0);
		expect(JSON.parse(JSON.stringify(config))).toEqual(config);
	});

	it("takes the backbone that is shipped unless another is given; `vit` has sides", () => {
		expect(parseConfig(minimal, "t.yaml").config.backbone).toEqual({
			name: "keepsight-tiny",
			precision: "float32",
		});
		expect(
			parseConfig(`${minimal}backbone: { name: vit, depth: 2 }`, "t.yaml"),
		).toMatchObject({
			config: { backbone: { width: 192, depth: 2 } },
		});
	});

	it("maps snake_case to camelCase, also in --set, whose values are YAML", () => {
		const config = parse(
			minimal,
			"train.batch_size=8",
			"train.optimizer={ name: sgd, lr: 1e-3, weight_decay: 0.5 }",
			"data.tasks.0=mvtec/zipper",
			"image_size=[192, 256]",
		);
		expect(config.train.batchSize).toBe(8);
		expect(config.train.optimizer).toMatchObject({
			name: "sgd",
			lr: 0.001,
			weightDecay: 0.5,
		});
		expect(config.data.tasks[0]).toBe("mvtec/zipper");
		expect(config.imageSize).toEqual([192, 256]);
	});

	it("an address of a tracker has no slash at its end; without one nobody is told", () => {
		const { tracking } = parse(
			`${minimal}tracking: { mlflow: "http://t/m//" }`,
		);
		expect(tracking).toEqual({ mlflow: "http://t/m", experiment: null });
		expect(parse(minimal).tracking.mlflow).toBeNull();
	});
	it("gives an entry's own options without the keys every entry has", () => {
		expect(optionsOf({ name: "x", head: "shared", alpha: 1 })).toEqual({
			alpha: 1,
		});
	});
});

describe("several memories", () => {
	const two = minimal.replace(
		`[{ name: ${memory} }]`,
		"[{ name: dne, weight: 3 }, { name: patches, bytes_per_task: 1000 }]",
	);

	it("have their options and weights; what is set up are their shares", () => {
		const config = parse(two);
		const bank = {
			blocks: null,
			bytesPerTask: 1000,
			tiles: 1,
			neighbours: 1,
			surround: 0,
			augment: "none",
			window: null,
			foreground: false,
			store: "float16",
		};
		expect(config.memory).toEqual([
			{
				name: "dne",
				form: "routed",
				analytic: false,
				drift: "none",
				robust: true,
				weight: 3,
			},
			{
				name: "patches",
				...bank,
				weight: 1,
			},
		]);
		expect(memoriesOf(config)).toEqual([
			{
				name: "dne",
				options: {
					form: "routed",
					analytic: false,
					drift: "none",
					robust: true,
				},
				weight: 0.75,
			},
			{
				name: "patches",
				options: bank,
				weight: 0.25,
			},
		]);
		expect(memoriesOf(parse(minimal)).map(({ weight }) => weight)).toEqual([1]);
		expect(
			memoriesOf(parse(two, "memory.0.weight=1")).map(({ weight }) => weight),
		).toEqual([0.5, 0.5]);
	});

	it("a row of a comparison may have others; a row without keeps the configuration's", () => {
		const { compare } = parseConfig(
			`${minimal}compare:
  strategies:
    - { name: replay }
    - { name: replay, memory: [{ name: dne, drift: ldc }, { name: patches }] }
`,
			"t.yaml",
		);
		const [plain, own] = compare.strategies;
		expect(plain).not.toHaveProperty("memory");
		expect(own?.memory).toMatchObject([
			{ name: "dne", form: "routed", drift: "ldc", weight: 1 },
			{ name: "patches", store: "float16", weight: 1 },
		]);
	});
});

describe("errors name file, key and what is near", () => {
	it.each([
		[
			"an unknown key",
			`${minimal}train: { epoch: 3 }`,
			[],
			'CONFIG_KEY: Unknown key "epoch" at train in t.yaml line 6. Did you mean "epochs"?',
		],
		[
			"an unknown key at the top",
			`${minimal}sead: 3`,
			[],
			'Did you mean "seed"?',
		],
		[
			"an unknown option",
			minimal.replace(
				`{ name: ${strategy} }`,
				`{ name: ${strategy}, lambdaa: 1 }`,
			),
			[],
			'CONFIG_KEY: Unknown key "lambdaa" at strategy in t.yaml line 4',
		],
		["camelCase", `${minimal}imageSize: 3`, [], 'Did you mean "image_size"?'],
		["__proto__", `${minimal}__proto__: { seed: 1 }`, [], "CONFIG_KEY"],
		[
			"an unknown strategy",
			minimal.replace(strategy, `${strategy}x`),
			[],
			`UNKNOWN_NAME: Unknown strategy "${strategy}x" at strategy.name in t.yaml line 4. Did you mean "${strategy}"?`,
		],
		[
			"an unknown memory",
			minimal.replace(`[{ name: ${memory}`, "[{ name: nothing_like_it"),
			[],
			'Unknown memory "nothing_like_it" at memory.0.name',
		],
		[
			"no name",
			minimal.replace(`strategy: { name: ${strategy} }`, "strategy: {}"),
			[],
			'CONFIG_MISSING: Missing key "strategy.name" in t.yaml',
		],
		[
			"a missing key",
			minimal.replace("name: t\n", ""),
			[],
			'CONFIG_MISSING: Missing key "name" in t.yaml',
		],
		[
			"a wrong type",
			`${minimal}train: { epochs: many }`,
			[],
			"CONFIG_VALUE: Wrong value at train.epochs in t.yaml line 6: expected number, received string.",
		],
		[
			"more threads than run.json may name",
			`${minimal}threads: 4097`,
			[],
			"CONFIG_VALUE: Wrong value at threads in t.yaml",
		],
		[
			"a wrong value in --set",
			minimal,
			["train.epochs=0"],
			"Wrong value at train.epochs (--set train.epochs)",
		],
		[
			"a wrong union",
			`${minimal}image_size: big`,
			[],
			"Wrong value at image_size in t.yaml line 6: expected pixels as one number",
		],
		[
			"sides for a loaded backbone",
			`${minimal}backbone: { name: hub:a/b, depth: 3 }`,
			[],
			"CONFIG_VALUE: Wrong value at backbone in t.yaml line 6: width, depth",
		],
		[
			"an unknown precision",
			`${minimal}backbone: { name: vit, precision: int4 }`,
			[],
			'CONFIG_VALUE: Wrong value at backbone.precision in t.yaml line 6: expected one of "float32"|"int8"',
		],
		[
			"int8 where everything trains",
			`${minimal}trainable: all\nbackbone: { name: vit, precision: int8 }`,
			[],
			"CONFIG_VALUE: Wrong value at backbone.precision in t.yaml line 7: int8 is for blocks that do not train",
		],
		[
			"momentum for adam",
			`${minimal}train: { optimizer: { momentum: 0.9 } }`,
			[],
			"Wrong value at train.optimizer.momentum",
		],
		[
			"a duplicate key",
			`${minimal}seed: 1\nseed: 2`,
			[],
			"CONFIG_SYNTAX: t.yaml is not valid YAML",
		],
		["an unknown tag", `${minimal}seed: !secret 1`, [], "CONFIG_SYNTAX"],
		[
			"an alias bomb",
			`${minimal}a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]`,
			[],
			"CONFIG_SYNTAX",
		],
		[
			"a folder name that leaves the folder",
			minimal.replace("name: t", "name: ../t"),
			[],
			"Wrong value at name in t.yaml line 1",
		],
		...[
			["ftp://tracker", "begins with https:// or http://"],
			["http://", "begins with https:// or http://"],
			["http://tracker/?token=x", "an address without ? and #"],
			["http://anna:secret@tracker", "it must not hold a password"],
		].map(([address, problem]): [string, string, string[], string] => [
			`${address} as a tracker`,
			`${minimal}tracking: { mlflow: "${address}" }`,
			[],
			problem as string,
		]),
		["--set without a value", minimal, ["seed"], "SET_SYNTAX"],
		["--set on a prototype", minimal, ["__proto__.seed=1"], "CONFIG_VALUE"],
		...(
			[
				[
					"lambda below 0",
					"{ name: ewc, lambda: -1 }",
					"CONFIG_VALUE: Wrong value at strategy.lambda",
				],
				[
					"a temperature of 0",
					"{ name: lwf, temperature: 0 }",
					"CONFIG_VALUE: Wrong value at strategy.temperature",
				],
				[
					"a threshold above 1",
					"{ name: gpm, epsilon: 1.1 }",
					"CONFIG_VALUE: Wrong value at strategy.epsilon",
				],
				[
					"a buffer that is no number of images",
					"{ name: replay, buffer: 2.5 }",
					"CONFIG_VALUE: Wrong value at strategy.buffer",
				],
				[
					"an unknown option, the nearest named",
					"{ name: ewc, lamda: 3 }",
					'Did you mean "lambda"?',
				],
			] as const
		).map(
			([title, value, expected]) =>
				[title, minimal, [`strategy=${value}`], expected] as const,
		),
		[
			"an unknown strategy of a comparison",
			`${minimal}compare: { strategies: [{ name: finetune }, { name: replya }] }`,
			[],
			'Unknown strategy "replya" at compare.strategies.1.name in t.yaml line 6. Did you mean "replay"?',
		],
		...(
			[
				[
					"a memory named twice",
					"memory",
					"[{ name: patches, tiles: 2 }, { name: dne }, { tiles: 2, name: patches, weight: 2 }]",
					"CONFIG_VALUE: Wrong value at memory (--set memory): a memory is named twice with the same options; that would count it twice.",
				],
				["no memory", "memory", "[]", "CONFIG_VALUE: Wrong value at memory"],
				[
					"a memory without weight",
					"memory",
					"[{ name: dne, weight: 0 }]",
					"CONFIG_VALUE: Wrong value at memory.0.weight",
				],
				[
					"blocks outside the network",
					"memory",
					"[{ name: patches, blocks: [0.5, 1.5] }]",
					"CONFIG_VALUE: Wrong value at memory.0.blocks.1",
				],
				[
					"an option of another memory",
					"memory",
					"[{ name: patches, drift: ldc }]",
					'CONFIG_KEY: Unknown key "drift" at memory.0',
				],
				[
					"a comparison's memory named twice",
					"compare.strategies",
					"[{ name: finetune, memory: [{ name: dne }, { name: dne }] }]",
					"CONFIG_VALUE: Wrong value at compare.strategies.0.memory",
				],
				[
					"an unknown memory of a comparison",
					"compare.strategies",
					"[{ name: finetune, memory: [{ name: patchs }] }]",
					'UNKNOWN_NAME: Unknown memory "patchs" at compare.strategies.0.memory.0.name (--set compare.strategies). Did you mean "patches"?',
				],
			] as const
		).map(
			([title, key, value, expected]) =>
				[title, minimal, [`${key}=${value}`], expected] as const,
		),
		["order 1", `${minimal}orders: { 1: seeded }`, [], "CONFIG_VALUE"],
		[
			"a list at the top",
			"- a",
			[],
			"CONFIG_VALUE: Wrong value at the top level in t.yaml",
		],
	] as const)("%s", (_title, text, sets, expected) => {
		expect(problem(text, ...sets)).toContain(expected);
	});

	it("a file that is not there", async () => {
		await expect(loadConfig("nowhere.yaml")).rejects.toThrow(
			"Cannot read the configuration nowhere.yaml: no such file.",
		);
	});
});

describe("a grid", () => {
	const points = (grid: string, ...sets: string[]) =>
		parseConfig(`${minimal}sweep: { grid: ${grid} }`, "t.yaml", sets).points();

	it("is every combination, the last key changing first, each a whole configuration", () => {
		const found = points(
			"{ train.batch_size: [8, 16], image_size: [64, [64, 128]], order: [1, 3] }",
		);
		expect(found).toHaveLength(8);
		expect(found[1]?.values).toEqual({
			"train.batch_size": 8,
			image_size: 64,
			order: 3,
		});
		expect(found[1]).toMatchObject({
			order: 3,
			config: { imageSize: [64, 64], train: { batchSize: 8, epochs: 10 } },
		});
		expect(found[7]?.config.imageSize).toEqual([64, 128]);
	});
	it("is one point without keys; --set comes below the grid, and may fill it", () => {
		expect(points("{}")).toMatchObject([{ order: 1, values: {} }]);
		const [point] = points(
			"{}",
			"train.epochs=3",
			"sweep.grid.train.epochs=[4]",
			"sweep.grid.seed=[7]",
		);
		expect(point?.config).toMatchObject({ train: { epochs: 4 }, seed: 7 });
	});
	it("has values of flags, which say so where they are wrong", () => {
		const points = (...grids: string[]) =>
			parseConfig(minimal, "t.yaml", [], grids).points();
		expect(points("train.epochs=[4, 5]", "seed=[1]")).toHaveLength(2);
		expect(() => points("seed")).toThrow(/Cannot read --grid seed/);
		expect(() => points("seed=[1")).toThrow(/--grid seed/);
		expect(() => points("seed=3")).toThrow(/--grid seed/);
	});
	it.each([
		["{ train.epochs: [0] }", /train\.epochs \(sweep\.grid\)/],
		["{ train.epoch: [1] }", /"epoch".*train.*"epochs"/s],
		["{ name: [a, b] }", /runs cannot differ in "name"/],
		["{ threads: [1, 2] }", /runs cannot differ in "threads"/],
		["{ orders: [1, 2] }", /use order, with their numbers/],
		["{ order: [0] }", /sweep\.grid\.order.*0 is no number of an order/],
		["{ seed: 3 }", /sweep\.grid/],
		["{ seed: [] }", /sweep\.grid/],
		["{ strategy: [{ name: nothing }] }", /nothing/],
		[
			"{ strategy.lambda: [1, 2], strategy: [{ name: ewc }] }",
			/"strategy\.lambda" is a part of "strategy"/,
		],
		["{ __proto__.x: [1] }", /__proto__/],
	])("%s is refused", (grid, message) => {
		expect(() => points(grid)).toThrow(message);
	});
});

describe("a configuration from another machine", () => {
	it("is what it was, after it went over as JSON", () => {
		const config = parse(
			minimal,
			"train.optimizer={ name: sgd, momentum: 0.9 }",
			"data.roi=[{ category: a/x, mask: m.png }]",
			"trainable=all",
		);
		const sent = JSON.parse(JSON.stringify(config)) as unknown;
		expect(checkedConfig(sent, "the job")).toEqual(config);
		const backbone = {
			name: "hub:facebook/dinov2-small",
			precision: "float32",
			commit: "0123456789abcdef0123456789abcdef01234567",
		} as const;
		expect(checkedConfig({ ...config, backbone }, "the job")).toEqual({
			...config,
			backbone,
		});
	});
	it.each([
		[null, /the job/],
		[[], /the job/],
		[{ nothing: 1 }, /the job/],
		[{ ...parse(minimal), evil: 1 }, /"evil".*the job/],
		[
			{ ...parse(minimal), train: { epochs: "many" } },
			/train\.epochs in the job/,
		],
		[
			{
				...parse(minimal),
				backbone: { name: "hub:a/b", commit: "../../etc" },
			},
			/backbone\.commit/,
		],
	])("is refused where it is none: %#", (json, message) => {
		expect(() => checkedConfig(json, "the job")).toThrow(message);
	});
});

describe("configs/", () => {
	const files = readdirSync("configs", {
		recursive: true,
		encoding: "utf8",
	}).filter((file) => file.endsWith(".yaml"));
	const networks = new Map<string, VitConfig>(); // loaded once a backbone and size
	function networkOf({ backbone, imageSize, seed }: RunConfig): VitConfig {
		const small = backbone.heads && { width: backbone.heads }; // blocks count here, not their weights
		const choice = { ...backbone, ...small, precision: "float32" as const };
		const key = JSON.stringify([choice, imageSize]);
		const network =
			networks.get(key) ?? loadBackbone(choice, imageSize, seed).config;
		networks.set(key, network);
		return network;
	}
	it.each(files)("%s is valid, complete and can be set up", async (file) => {
		const { config } = await loadConfig(join("configs", file));
		expect(config.data.tasks.length).toBeGreaterThan(0);
		expect(setupOf(config, networkOf(config)).from).toBeGreaterThan(0);
	});
});

it("keepsight.schema.json is what the schema gives (npm run build writes it)", () => {
	expect(JSON.parse(readFileSync("keepsight.schema.json", "utf8"))).toEqual(
		configJsonSchema(),
	);
});
