import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Matrix } from "../../src/metrics/continual.ts";
import { pairedBootstrap } from "../../src/metrics/interval.ts";
import { buildResults } from "../../src/metrics/results.ts";
import { Random } from "../../src/random.ts";
import { metricRow, type ScoreRow } from "../../src/run.ts";
import type { FinishedCell } from "../../src/study/cells.ts";
import {
	type ComparisonRow,
	parsePublished,
	summarise,
} from "../../src/study/summary.ts";
import { madeUpCells, makeCell } from "./made-up.ts";

/** A cell whose numbers are written down, not computed. */
function cell(
	label: string,
	seed: number,
	order: number,
	{
		matrix = [],
		tasks = ["a", "b"],
		average = null,
		forgetting = null,
		reasons = {},
		finalScores = [],
	}: {
		readonly matrix?: Matrix;
		readonly tasks?: readonly string[];
		readonly average?: number | null;
		readonly forgetting?: number | null;
		readonly reasons?: Readonly<Record<string, string>>;
		readonly finalScores?: FinishedCell["finalScores"];
	} = {},
): FinishedCell {
	return {
		label,
		strategy: label.split(" ")[0] as string,
		setting: "",
		seed,
		order,
		key: "",
		secondsPerTask: [null, 4, 6],
		finalScores,
		results: {
			format: 1,
			tasks,
			matrices: { imageAuroc: matrix },
			summary: {
				imageAuroc: {
					average,
					averageIncremental: null,
					learning: null,
					forgetting,
					backwardTransfer: null,
					forwardTransfer: null,
				},
			},
			categories: {},
			pooled: { imageAuroc: 0.5, accuracy: null },
			routing: { accuracy: null },
			falseAlarms: { nominal: 0.01, realised: null, interval: null },
			memory: {
				bytes: 100 * seed,
				bytesPerTask: 0,
				weightsBytes: 0,
				strategyBytes: 0,
			},
			reasons,
			learning: [{ saturated: 1 }, { saturated: 0 }, { saturated: null }],
		},
	};
}

function rowOf(cells: readonly FinishedCell[], label: string): ComparisonRow {
	const found = summarise(cells, [], { draws: 20 }).rows.find(
		(row) => row.label === label,
	);
	if (!found) throw new Error(`no row ${label}`);
	return found;
}

describe("figures", () => {
	const cells = [
		cell("gpm", 1, 1, { average: 0.8 }),
		cell("gpm", 2, 1, { average: 0.9 }),
		cell("gpm", 1, 2, { average: 0.6 }),
		cell("gpm", 2, 2, { average: 0.8 }),
	];

	test("mean over cells, deviations over seeds and over orders apart", () => {
		const row = rowOf(cells, "gpm");
		// seeds: (.1/√2 + .2/√2) / 2; orders: means .85 and .7
		expect(row.figures.average).toEqual({
			mean: expect.closeTo(0.775, 12),
			overSeeds: expect.closeTo(0.15 / Math.SQRT2, 12),
			overOrders: expect.closeTo(0.15 / Math.SQRT2, 12),
			reason: null,
		});
		expect(row).toMatchObject({ cells: 4, seeds: [1, 2], orders: [1, 2] });
		expect(row.figures.memoryBytes.mean).toBe(150);
		expect(row.figures.secondsPerTask.mean).toBe(5);
		expect(row.saturated).toEqual({ count: 4, of: 12 });
	});

	test("one seed has no deviation over seeds, one order none over orders", () => {
		const one = rowOf(cells.slice(0, 1), "gpm").figures.average;
		expect([one.mean, one.overSeeds, one.overOrders]).toEqual([
			0.8,
			null,
			null,
		]);
		const uneven = rowOf(cells.slice(0, 3), "gpm").figures.average;
		expect(uneven.overSeeds).toBeCloseTo(0.1 / Math.SQRT2, 12); // order 1 alone has two
		expect(uneven.overOrders).toBeCloseTo(0.25 / Math.SQRT2, 12);
	});

	test("a cell without a number makes the figure null, with the reason of the longest path", () => {
		const row = rowOf(
			[
				...cells,
				cell("gpm", 3, 1, {
					reasons: { summary: "nothing was evaluated", "summary.x": "no" },
				}),
			],
			"gpm",
		);
		expect(row.figures.average).toEqual({
			mean: null,
			overSeeds: null,
			overOrders: null,
			reason: "nothing was evaluated",
		});
		expect(rowOf(cells, "gpm").figures.forgetting.reason).toBe("not evaluated");
	});

	test("learning transfer finds the isolated run's tasks by id", () => {
		const matrix = [
			[0.9, null],
			[0.5, 0.7],
		];
		const isolated = cell("isolated", 1, 1, {
			tasks: ["b", "a"],
			matrix: [
				[0.8, null],
				[0.1, 0.6],
			],
		});
		const gpm = cell("gpm", 1, 1, { matrix });
		// (.9 − .6 + .7 − .8) / 2
		expect(
			rowOf([gpm, isolated], "gpm").figures.learningTransfer.mean,
		).toBeCloseTo(0.1, 12);
		expect(
			rowOf([gpm, isolated], "isolated").figures.learningTransfer.mean,
		).toBe(0);
		const other = { ...isolated, seed: 2 };
		expect(rowOf([gpm, other], "gpm").figures.learningTransfer.reason).toBe(
			"no isolated run",
		);
		const lacking = cell("isolated", 1, 1, { tasks: ["a"], matrix: [[0.6]] });
		expect(rowOf([gpm, lacking], "gpm").figures.learningTransfer).toMatchObject(
			{ mean: null, reason: "no value for task 2 learnt alone" },
		);
	});

	test("deterministic: equal over the seeds of every order, and more than one seed", () => {
		const same = [1, 2].map((seed) =>
			cell("frozen", seed, 1, { matrix: [[0.1 + 0.2]], average: 0.1 + 0.2 }),
		);
		const row = rowOf(same, "frozen");
		expect(row.deterministic).toBe(true);
		expect(row.figures.average.overSeeds).toBe(0);
		expect(rowOf(same.slice(0, 1), "frozen").deterministic).toBe(false);
		const near = cell("frozen", 3, 1, { matrix: [[0.3]], average: 0.3 });
		expect(rowOf([...same, near], "frozen").deterministic).toBe(false);
	});
});

test("curves and matrices: after i tasks over the tasks seen, an order by itself", () => {
	const row = rowOf(
		[
			cell("gpm", 1, 1, {
				matrix: [
					[0.9, 0.3],
					[0.7, 0.5],
				],
			}),
			cell("gpm", 2, 1, {
				matrix: [
					[0.8, null],
					[0.6, 0.7],
				],
			}),
			cell("gpm", 1, 2, {
				tasks: ["b", "a"],
				matrix: [
					[1, null],
					[1, 1],
				],
			}),
		],
		"gpm",
	);
	const { average, forgetting } = row.curves;
	expect(average.map(({ mean }) => mean)).toEqual([
		expect.closeTo(0.9, 12), // .9, .8, 1
		expect.closeTo((0.6 + 0.65 + 1) / 3, 12),
	]);
	expect(average[0]?.deviation).toBeCloseTo(0.1, 12);
	expect(forgetting).toEqual([
		{ mean: null, deviation: null },
		{ mean: expect.closeTo(0.4 / 3, 12), deviation: expect.any(Number) }, // .2, .2, 0
	]);
	expect(row.matrices).toEqual([
		{
			order: 1,
			tasks: ["a", "b"],
			matrix: [
				[expect.closeTo(0.85, 12), null],
				[expect.closeTo(0.65, 12), expect.closeTo(0.6, 12)],
			],
		},
		{
			order: 2,
			tasks: ["b", "a"],
			matrix: [
				[1, null],
				[1, 1],
			],
		},
	]);
});

describe("difference to finetune", () => {
	/** Scores of one category: good ones first. */
	const scored = (
		category: string,
		good: readonly number[],
		bad: readonly number[],
	) => ({
		category,
		rows: [...good, ...bad].map(
			(score, k): ScoreRow => ({
				path: `${category}/${k}`,
				defect: k < good.length ? null : "crack",
				label: k < good.length ? 0 : 1,
				score,
				threshold: null,
				routed: null,
			}),
		),
	});

	test("by hand, rows matched by path", () => {
		const better = cell("gpm", 1, 1, {
			finalScores: [
				scored("b", [1, 2], [3, 4]), // 1
				scored("a", [1, 3], [2, 4]), // 3/4
			],
		});
		const worse = cell("finetune", 1, 1, {
			finalScores: [
				scored("a", [2, 2], [2, 2]), // 1/2
				{
					...scored("b", [3, 4], [1, 2]),
					rows: scored("b", [3, 4], [1, 2]).rows.toReversed(),
				}, // 0
			],
		});
		const cells = [better, worse, cell("gpm", 2, 1)]; // seed 2 has no partner
		const { difference } = rowOf(cells, "gpm");
		expect(difference).toMatchObject({ estimate: 0.625, pairs: 1, draws: 20 });
		expect(difference.low).toBeLessThanOrEqual(0.625);
		expect(difference.high).toBeGreaterThanOrEqual(0.625);
		expect(rowOf(cells, "finetune").difference.reason).toBe(
			"it is the baseline",
		);
		expect(rowOf([better], "gpm").difference).toMatchObject({
			estimate: null,
			low: null,
			high: null,
			pairs: 0,
			reason: "no finetune run of the same seed and order",
		});
	});

	test("a task of several categories is their mean", () => {
		const tasks = ["x/a+x/b", "x/c"];
		const method = cell("gpm", 1, 1, {
			tasks,
			finalScores: [
				scored("x/a", [0, 0], [1, 1]),
				scored("x/b", [0, 0], [1, 1]),
				scored("x/c", [0, 0], [1, 1]),
			],
		});
		const plain = cell("finetune", 1, 1, {
			tasks,
			finalScores: [
				scored("x/a", [1, 1], [0, 0]),
				scored("x/b", [0, 0], [1, 1]),
				scored("x/c", [0, 0], [1, 1]),
			],
		});
		// a: +1, b: 0, c: 0 -> (½ + 0) / 2
		expect(rowOf([method, plain], "gpm").difference).toMatchObject({
			estimate: 0.25,
			low: 0.25,
			high: 0.25,
		});
	});

	test("other images or a missing class are reasons, not numbers", () => {
		const method = cell("gpm", 1, 1, {
			tasks: ["a"],
			finalScores: [scored("a", [0, 1], [2])],
		});
		const plain = (finalScores: FinishedCell["finalScores"]) =>
			cell("finetune", 1, 1, { tasks: ["a"], finalScores });
		const reason = (finalScores: FinishedCell["finalScores"]) =>
			rowOf([method, plain(finalScores)], "gpm").difference.reason;
		expect(reason([scored("a", [0], [1])])).toBe(
			"finetune (seed 1, order 1) did not score a/2, which others did",
		);
		expect(reason([])).toBe(
			"finetune (seed 1, order 1) has no scores of a after the last task",
		);
		const good = scored("a", [0, 1], []);
		expect(
			rowOf(
				[
					cell("gpm", 1, 1, { tasks: ["a"], finalScores: [good] }),
					plain([good]),
				],
				"gpm",
			).difference.reason,
		).toBe("no anomalous images");
	});

	test("a second way: averages of metrics.json, and AUROC by counting pairs on the same draws", () => {
		const tasks = [
			["mvtec/bottle", "mvtec"],
			["loco/juice_bottle", "loco"],
		] as const;
		const both = ["gpm", "finetune"].map((label) =>
			makeCell({
				label,
				tasks,
				separation: (i, j) => (label === "gpm" ? 1.5 : 1.5 - 0.8 * (i - j)),
			}),
		);
		const { difference } = rowOf(both, "gpm");
		const [gpm, plain] = both as [FinishedCell, FinishedCell];
		const average = (of: FinishedCell) =>
			of.results.summary.imageAuroc?.average as number;
		expect(difference.estimate).toBeCloseTo(average(gpm) - average(plain), 12);

		const rows = (of: FinishedCell) =>
			of.finalScores.flatMap(({ category, rows: list }) =>
				list.map((row) => ({ ...row, category })),
			);
		type Row = ReturnType<typeof rows>[number];
		const counted = (bad: readonly Row[], good: readonly Row[]) =>
			bad
				.flatMap((b) =>
					good.map((g) =>
						b.score > g.score ? 1 : b.score === g.score ? 0.5 : 0,
					),
				)
				.reduce<number>((sum, value) => sum + value, 0) /
			(bad.length * good.length);
		const slow = (of: FinishedCell, drawn: readonly number[]) => {
			const all = rows(of);
			const chosen = drawn.map((i) => all[i] as Row);
			const kind = (category: string, defect: string | null) =>
				chosen.filter((r) => r.category === category && r.defect === defect);
			const good = kind("loco/juice_bottle", null);
			return (
				(counted(kind("mvtec/bottle", "crack"), kind("mvtec/bottle", null)) +
					(counted(kind("loco/juice_bottle", "logical_anomalies"), good) +
						counted(kind("loco/juice_bottle", "structural_anomalies"), good)) /
						2) /
				2
			);
		};
		const all = rows(gpm);
		const again = pairedBootstrap(
			all.length,
			(drawn) => slow(gpm, drawn) - slow(plain, drawn),
			new Random("comparison", "paired difference"),
			{ draws: 20, groups: all.map((r) => `${r.category} ${r.defect}`) },
		);
		expect(difference.low).toBeCloseTo(again?.low as number, 12);
		expect(difference.high).toBeCloseTo(again?.high as number, 12);
	});
});

test("a task of both layouts: the difference is that of the averages", () => {
	const tasks = [
		["mvtec/bottle", "mvtec"],
		["loco/juice_bottle", "loco"],
	] as const;
	const cells = ["gpm", "finetune"].map((label): FinishedCell => {
		const cell = makeCell({
			label,
			tasks,
			separation: () => (label === "gpm" ? 1 : 0.4),
		});
		const finalScores = cell.finalScores.map(({ category, rows }) => ({
			category,
			rows: rows.filter((_, k) => k % 8 !== 7), // of one kind fewer than of the other
		}));
		const results = buildResults({
			tasks: [
				{
					id: tasks.map(([id]) => id).join("+"),
					categories: tasks.map(([id, layout]) => ({ id, layout })),
				},
			],
			scores: finalScores.map(({ category, rows }) => ({
				after: 0,
				category,
				rows: rows.map(metricRow),
			})),
			falseAlarms: 0.01,
			memory: cell.results.memory,
		});
		return { ...cell, results: { ...results, learning: [] }, finalScores };
	});
	const [gpm, plain] = cells.map(
		({ results }) => results.summary.imageAuroc?.average as number,
	) as [number, number];
	expect(rowOf(cells, "gpm").difference.estimate).toBeCloseTo(gpm - plain, 12);
});

test("a product with a + in its name is not mistaken for a task of two", () => {
	const tasks = [
		["mvtec/a+b", "mvtec"],
		["mvtec/a", "mvtec"],
	] as const;
	const cells = ["gpm", "finetune"].map((label) =>
		makeCell({
			label,
			tasks,
			separation: (_, j) => (label === "gpm" ? 1.5 - j : 0.4),
		}),
	);
	const values = summarise(cells, []).byTask.rows[0]?.values ?? [];
	const [gpm] = cells as [FinishedCell, FinishedCell];
	expect(values.map(({ value }) => value)).toEqual(
		tasks.map(([id]) => gpm.results.categories[id]?.imageAuroc),
	);
});

describe("a made-up comparison", () => {
	const comparison = summarise(
		madeUpCells(10),
		[{ label: "si", seed: 4, order: 1, message: "killed" }],
		{ draws: 4 },
	);
	const row = (label: string) =>
		comparison.rows.find((r) => r.label === label) as ComparisonRow;

	test("joint training with a final row alone: null with reasons, never NaN", () => {
		const { figures, curves, difference } = row("joint");
		expect(figures.average.mean).toEqual(expect.any(Number));
		expect(difference.estimate).toEqual(expect.any(Number));
		for (const name of [
			"forgetting",
			"backwardTransfer",
			"learning",
			"learningTransfer",
		] as const)
			expect(figures[name]).toEqual({
				mean: null,
				overSeeds: null,
				overOrders: null,
				reason: "no value for task 1 after learning task 1",
			});
		expect(figures.forwardTransfer.reason).toBe(
			"no value for task 2 after learning task 1",
		);
		expect(curves.average.map(({ mean }) => mean !== null)).toEqual([
			false,
			false,
			false,
			false,
			true,
		]);
	});

	test("nothing in it is lost in JSON: no NaN, no undefined", () => {
		expect(JSON.parse(JSON.stringify(comparison))).toEqual(comparison);
		expect(JSON.stringify(comparison)).not.toMatch(/NaN|Infinity/);
		const walk = (value: unknown): number[] =>
			typeof value === "number"
				? [value]
				: typeof value === "object" && value !== null
					? Object.values(value).flatMap(walk)
					: [];
		expect(walk(comparison).every(Number.isFinite)).toBe(true);
	});

	test("rows in order of appearance, failed cells kept, the same again", () => {
		expect(comparison.rows.map((r) => r.label).slice(0, 3)).toEqual([
			"frozen",
			"finetune",
			"isolated",
		]);
		expect(comparison.failed).toHaveLength(1);
		expect(row("frozen").deterministic).toBe(true);
		expect(row("gpm").deterministic).toBe(false);
		expect(summarise(madeUpCells(10), comparison.failed, { draws: 4 })).toEqual(
			comparison,
		);
	});
});

test("exceptions name the rows that are not as the textbook has it", () => {
	const cells = [
		cell("frozen", 1, 1, { average: 0.8, forgetting: 0 }),
		cell("finetune", 1, 1, { average: 0.7, forgetting: 0.1 }),
		cell("joint", 1, 1, { average: 0.65 }),
		cell("ewc lambda=1", 1, 1, { average: 0.8, forgetting: 0.1 }),
		cell("gpm", 1, 1, { average: 0.9, forgetting: 0.05 }),
	];
	expect(summarise(cells, []).exceptions).toEqual({
		belowFrozen: ["finetune", "joint"],
		forgetsLikeFinetune: ["ewc lambda=1"],
		jointBelowFinetune: ["joint"],
	});
	expect(summarise(cells.slice(2), []).exceptions).toEqual({
		belowFrozen: null,
		forgetsLikeFinetune: [],
		jointBelowFinetune: [],
	});
	expect(summarise([], []).rows).toEqual([]);
});

describe("published rows", () => {
	const row = {
		label: "X",
		source: { paper: "p", table: "1", address: "https://arxiv.org/abs/1" },
		setting: "s",
		average: 0.9,
		forgetting: null,
	};

	test("are read, and mistakes named with their place", () => {
		expect(parsePublished(JSON.stringify([row]), "p.json")).toEqual([row]);
		const error = (text: string) => {
			try {
				parsePublished(text, "p.json");
			} catch (e) {
				return (e as Error).message;
			}
			return "";
		};
		expect(error("[")).toMatch(/^Wrong value at p\.json: not valid JSON/);
		expect(error(JSON.stringify([{ ...row, average: 93 }]))).toMatch(
			/^Wrong value at p\.json\[0\]\.average: /,
		);
		expect(error(JSON.stringify([{ ...row, forgeting: 0 }]))).toMatch(
			/p\.json\[0\].*forgeting/,
		);
		expect(error(JSON.stringify([row, { label: "Y" }]))).toMatch(
			/p\.json\[1\]\.source/,
		);
	});

	test("those of the repository", () => {
		const file = "configs/published.json";
		const rows = parsePublished(readFileSync(file, "utf8"), file);
		expect(rows.length).toBeGreaterThan(0);
		expect(summarise([], [], { published: rows }).published).toEqual(rows);
	});
});
