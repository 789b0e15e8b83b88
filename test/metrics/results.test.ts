import { describe, expect, test } from "vitest";
import { auroc } from "../../src/metrics/image.ts";
import {
	definitionOf,
	kindOf,
	type Layout,
	metrics,
	type ScoreRow,
} from "../../src/metrics/index.ts";
import { clopperPearson } from "../../src/metrics/interval.ts";
import { measured, undefinedBecause } from "../../src/metrics/measured.ts";
import {
	buildResults,
	type CategoryScores,
	formatMatrix,
	formatResults,
	metricsCsv,
	type ResultsInput,
} from "../../src/metrics/results.ts";

/** "good 1, bad 3": a row for each, threshold 2. */
function rows(text: string, routed = ""): ScoreRow[] {
	return text.split(", ").map((part, i) => {
		const [defect, score] = part.split(" ") as [string, string];
		return {
			path: `${i}.png`,
			defect,
			label: defect === "good" ? 0 : 1,
			score: Number(score),
			threshold: 2,
			routed,
		};
	});
}

const task = (id: string, layout: Layout = "mvtec") => ({
	id,
	categories: [{ id, layout }],
});
const at = (
	after: number,
	category: string,
	text: string,
	routed?: string,
): CategoryScores => ({
	after,
	category,
	rows: rows(text, routed),
});
const memory = {
	bytes: 10,
	bytesPerTask: 5,
	weightsBytes: 0,
	strategyBytes: 0,
};
const build = (
	input: Partial<ResultsInput> & Pick<ResultsInput, "tasks" | "scores">,
) => buildResults({ falseAlarms: 0.01, memory, ...input });

const two = build({
	tasks: [task("mvtec/bottle"), task("mvtec/pcb")],
	scores: [
		at(0, "mvtec/bottle", "good 0, good 1, bad 3, bad 4"),
		at(1, "mvtec/bottle", "good 0, good 3, bad 1, bad 4", "mvtec/bottle"),
		at(1, "mvtec/pcb", "good 0, good 1, good 1, good 1, bad 5", "mvtec/bottle"),
	],
});

describe("two tasks", () => {
	test("matrices and summary", () => {
		expect(two.matrices.imageAuroc).toEqual([
			[1, null],
			[0.75, 1],
		]);
		expect(two.matrices.accuracy).toEqual([
			[1, null],
			[0.5, 1],
		]);
		expect(two.summary.imageAuroc).toEqual({
			average: 0.875,
			averageIncremental: 0.9375,
			learning: 1,
			forgetting: 0.25,
			backwardTransfer: -0.25,
			forwardTransfer: null,
		});
		expect(two.reasons).toEqual(
			Object.fromEntries(
				Object.keys(two.summary).map((name) => [
					`summary.${name}.forwardTransfer`,
					"evaluate.untrained is off",
				]),
			),
		);
		expect(Object.keys(two.matrices)).toEqual([
			"imageAuroc",
			"imageAurocAll",
			"imageAveragePrecision",
			"imageF1Max",
			"accuracy",
		]);
		expect(two.categories["mvtec/pcb"]?.imageAuroc).toBe(1);
	});

	test("pooled figures weigh tasks equally within each label", () => {
		// bottle's good images stand for half of all good ones, pcb's four for the other half
		const scores = [0, 3, 1, 4, 0, 1, 1, 1, 5];
		const labels = [0, 0, 1, 1, 0, 0, 0, 0, 1];
		const weights = [1 / 2, 1 / 2, 1 / 2, 1 / 2, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 1];
		expect(two.pooled.imageAuroc).toBeCloseTo(
			auroc(scores, labels, weights).value as number,
			15,
		);
		// 6 good images: 3/4 of the weight right; 3 anomalous ones: 3/4 right
		expect(two.pooled.accuracy).toBeCloseTo(0.75, 15);
	});

	test("routing, false alarms, memory", () => {
		expect(two.routing.accuracy).toBeCloseTo(4 / 9, 15);
		expect(two.falseAlarms).toEqual({
			nominal: 0.01,
			realised: 1 / 6,
			interval: clopperPearson(1, 6),
		});
		expect(two.memory).toEqual(memory);
	});

	test("csv and tables", () => {
		expect(metricsCsv(two).split("\n").slice(0, 4)).toEqual([
			"metric,after,task,value",
			"imageAuroc,1,mvtec/bottle,1",
			"imageAuroc,2,mvtec/bottle,0.75",
			"imageAuroc,2,mvtec/pcb,1",
		]);
		expect(formatMatrix(two, "imageAuroc")).toBe(
			[
				"image AUROC (%)",
				"after               1      2   mean",
				"1 mvtec/bottle  100.0      -  100.0",
				"2 mvtec/pcb      75.0  100.0   87.5",
			].join("\n"),
		);
		const lines = formatResults(two).split("\n");
		expect(lines.slice(0, 2)).toEqual([
			"mvtec/bottle   AUC = 0.7500",
			"mvtec/pcb      AUC = 1.0000",
		]);
		expect(lines).toContain("accuracy (%)");
	});
});

describe("LOCO", () => {
	const text =
		"good 1, good 2, logical_anomalies 0, structural_anomalies 3, structural_anomalies 1.5";
	test("image AUROC is the mean of both kinds, else of all", () => {
		const {
			imageAuroc,
			imageAurocAll,
			imageAurocLogical,
			imageAurocStructural,
		} = metrics;
		expect(imageAurocLogical.compute(rows(text), "loco").value).toBe(0);
		expect(imageAurocStructural.compute(rows(text), "loco").value).toBe(0.75);
		expect(imageAuroc.compute(rows(text), "loco").value).toBe(0.375);
		expect(imageAurocAll.compute(rows(text)).value).toBe(0.5);
		expect(imageAuroc.compute(rows(text), "mvtec").value).toBe(0.5);
		expect(
			imageAuroc.compute(rows("good 1, structural_anomalies 3"), "loco").value,
		).toBe(1);
		expect(
			imageAurocLogical.compute(rows("good 1, structural_anomalies 3"), "loco")
				.reason,
		).toBe("no logical anomalies");
		expect(kindOf("scratch")).toBe(null);
	});

	test("its own metrics are summed up over LOCO tasks alone", () => {
		const mixed = build({
			tasks: [task("mvtec/a"), task("loco/b", "loco")],
			scores: [
				at(0, "mvtec/a", "good 1, bad 2"),
				at(1, "mvtec/a", "good 1, bad 2"),
				at(1, "loco/b", text),
			],
		});
		expect(mixed.matrices.imageAurocLogical).toEqual([
			[null, null],
			[null, 0],
		]);
		expect(mixed.summary.imageAurocLogical).toMatchObject({
			average: 0,
			learning: 0,
			forgetting: null,
		});
		expect(mixed.reasons["matrices.imageAurocLogical"]).toBe(
			"not defined for: mvtec/a",
		);
		expect(mixed.categories["mvtec/a"]).not.toHaveProperty("imageAurocLogical");
	});
});

describe("a task of several categories", () => {
	const group = build({
		tasks: [
			{
				id: "mvtec/a+mvtec/b",
				categories: [
					{ id: "mvtec/a", layout: "mvtec" },
					{ id: "mvtec/b", layout: "mvtec" },
				],
			},
		],
		scores: [
			at(0, "mvtec/a", "good 0, bad 1", "mvtec/a+mvtec/b"),
			at(0, "mvtec/b", "good 2, bad 3, bad 1", "mvtec/b"),
		],
	});
	test("is the mean over them; pooled is one list", () => {
		expect(group.matrices.imageAuroc).toEqual([[0.75]]);
		expect(group.matrices.imageAurocPooled).toEqual([[4 / 6]]);
		expect(definitionOf("imageAurocPooled")?.title).toContain("pooled");
	});
	test("of both layouts: the category of LOCO has its own metrics, the task has not", () => {
		const text =
			"good 1, good 2, logical_anomalies 0, structural_anomalies 1.5";
		const both = build({
			tasks: [
				{
					id: "mvtec/a+loco/b",
					categories: [
						{ id: "mvtec/a", layout: "mvtec" },
						{ id: "loco/b", layout: "loco" },
					],
				},
			],
			scores: [at(0, "mvtec/a", "good 0, bad 1"), at(0, "loco/b", text)],
		});
		expect(both.matrices).not.toHaveProperty("imageAurocLogical");
		expect(both.categories["loco/b"]).toMatchObject({
			imageAurocLogical: 0,
			imageAurocStructural: 0.5,
		});
		expect(both.categories["mvtec/a"]).not.toHaveProperty("imageAurocLogical");
	});
	test("an image may be routed to its category or to its task", () => {
		expect(group.routing.accuracy).toBe(1);
	});
});

describe("forward transfer", () => {
	const tasks = [task("a"), task("b")];
	const full = [
		at(0, "a", "good 0, bad 1"),
		at(0, "b", "good 0, good 1, bad 0.5"),
		at(1, "a", "good 0, bad 1"),
		at(1, "b", "good 0, bad 1"),
	];
	test("is against chance, or against the untrained network where it was evaluated", () => {
		expect(
			build({ tasks, scores: full }).summary.imageAuroc?.forwardTransfer,
		).toBe(0);
		expect(
			build({ tasks, scores: full }).reasons[
				"summary.accuracy.forwardTransfer"
			],
		).toContain("no chance level");
		const untrained = build({
			tasks,
			scores: [
				at(-1, "a", "good 0, bad 1"),
				at(-1, "b", "good 1, bad 0"),
				...full,
			],
		});
		expect(untrained.summary.imageAuroc?.forwardTransfer).toBe(0.5);
		expect(untrained.summary.accuracy?.forwardTransfer).not.toBe(null);
		expect(untrained.matrices.imageAuroc).toHaveLength(2);
	});
	test("of joint training, with its last row alone, no switch is blamed", () => {
		const reasonOf = (scores: typeof full) =>
			build({ tasks, scores }).reasons["summary.imageAuroc.forwardTransfer"];
		expect(reasonOf(full.filter(({ after }) => after === 1))).toBe(
			"no value for task 2 after learning task 1",
		);
		expect(
			reasonOf(
				full.filter(({ after, category }) => after === 1 || category === "a"),
			),
		).toBe("evaluate.untrained is off");
	});
	test("learning transfer appears with the isolated runs", () => {
		const results = build({
			tasks,
			scores: full,
			isolated: { imageAuroc: [0.75, 0.75] },
		});
		expect(results.summary.imageAuroc?.learningTransfer).toBe(0.25);
		expect(results.summary.accuracy).not.toHaveProperty("learningTransfer");
	});
});

describe("what is missing is null with its reason", () => {
	test("pixel metrics come in as numbers or reasons", () => {
		const pixel = {
			pixelAuroc: measured(0.9),
			aupro30: undefinedBecause("no ground truth"),
		};
		const results = build({
			tasks: [task("a")],
			scores: [{ ...at(0, "a", "good 0, bad 1"), pixel }],
		});
		expect(results.matrices.pixelAuroc).toEqual([[0.9]]);
		expect(results.matrices.aupro30).toEqual([[null]]);
		expect(results.reasons["matrices.aupro30.0.0"]).toBe("no ground truth");
		expect(results.summary.aupro30?.average).toBe(null);
	});

	test("good images alone", () => {
		const { matrices, pooled, routing, reasons, categories } = build({
			tasks: [task("a")],
			scores: [at(0, "a", "good 0, good 1")],
		});
		expect([matrices.imageAuroc, pooled.imageAuroc, routing.accuracy]).toEqual([
			[[null]],
			null,
			null,
		]);
		expect(categories.a?.imageAuroc).toBe(null);
		expect(reasons["matrices.imageAuroc.0.0"]).toBe("no anomalous images");
		expect(reasons["pooled.imageAuroc"]).toBe("no anomalous images");
		expect(reasons["routing.accuracy"]).toBe("no image was routed");
	});

	test("a task without scores in the last row; nothing at all; no threshold", () => {
		const partial = build({
			tasks: [task("a"), task("b")],
			scores: [at(1, "a", "good 0, bad 1")],
		});
		expect(partial.pooled.accuracy).toBe(null);
		expect(partial.reasons["pooled.accuracy"]).toBe(
			"no scores of b after the last task",
		);
		expect(partial.reasons["matrices.imageAuroc.0.0"]).toBe("not evaluated");
		const none = build({ tasks: [task("a")], scores: [] });
		expect(none.matrices.imageAuroc).toEqual([]);
		expect(none.reasons["falseAlarms.interval"]).toBe("nothing was evaluated");
		expect(formatResults(none)).toContain("accuracy (%)");
		const bare = rows("good 0, bad 1").map((row) => ({
			...row,
			threshold: Number.NaN,
		}));
		expect(
			build({
				tasks: [task("a")],
				scores: [{ after: 0, category: "a", rows: bare }],
			}).reasons["falseAlarms.realised"],
		).toBe("no threshold is stored");
	});

	test("every null has a reason, and JSON keeps everything", () => {
		const results = build({
			tasks: [task("a"), task("b", "loco")],
			scores: [
				at(0, "a", "good 0, bad 1"),
				at(1, "a", "good 0"),
				at(1, "b", "good 0, logical_anomalies 1"),
			],
		});
		const explained = (path: string) =>
			Object.keys(results.reasons).some(
				(key) => path === key || path.startsWith(`${key}.`),
			);
		const walk = (value: unknown, path: string): void => {
			if (value === null) {
				const cell = /^matrices\.\w+\.(\d+)\.(\d+)$/.exec(path);
				expect(
					explained(path) || Number(cell?.[2]) > Number(cell?.[1]),
					path,
				).toBe(true); // a task still to come needs none
			} else if (typeof value === "object")
				for (const [key, child] of Object.entries(value))
					walk(child, path ? `${path}.${key}` : key);
		};
		walk(results, "");
		expect(JSON.parse(JSON.stringify(results))).toEqual(results);
	});
});
