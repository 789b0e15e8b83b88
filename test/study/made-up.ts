/** Finished cells without a run: scores drawn from a seed, the results computed from them as training does it. */
import type { Layout } from "../../src/metrics/index.ts";
import { buildResults } from "../../src/metrics/results.ts";
import { Random } from "../../src/random.ts";
import { metricRow, type ScoreRow } from "../../src/run.ts";
import type { FinishedCell } from "../../src/study/cells.ts";

export interface Plan {
	readonly label: string;
	readonly strategy?: string;
	readonly setting?: string;
	readonly seed?: number;
	readonly order?: number;
	/** In the order of learning: id and layout. */
	readonly tasks: readonly (readonly [id: string, layout: Layout])[];
	/** How far anomalies of task j lie above good ones after task i, in deviations; null: not evaluated. */
	readonly separation: (i: number, j: number) => number | null;
	readonly bytes?: number;
	readonly imagesPerTask?: number;
	/** Scores ignore the seed. */
	readonly deterministic?: boolean;
	readonly saturated?: boolean;
}

export function makeCell({
	label,
	strategy = label.split(" ")[0] as string,
	setting = "",
	seed = 1,
	order = 1,
	tasks,
	separation,
	bytes = 1e6,
	imagesPerTask = 20,
	deterministic = false,
	saturated = false,
}: Plan): FinishedCell {
	const rowsOf = (i: number, j: number, above: number): ScoreRow[] => {
		const [id, layout] = tasks[j] as (typeof tasks)[number];
		const kinds =
			layout === "loco"
				? ["logical_anomalies", "structural_anomalies"]
				: ["crack"];
		return Array.from({ length: imagesPerTask }, (_, k): ScoreRow => {
			const good = k % 2 === 0;
			const defect = good ? null : (kinds[(k >> 1) % kinds.length] as string);
			// one draw an image, shared by all labels, as the same picture is hard for every method
			const picture = new Random("picture", id, k).normal();
			const run = new Random(label, deterministic ? 0 : seed, order, i, id, k);
			return {
				path: `${id}/test/${defect ?? "good"}/${String(k).padStart(3, "0")}.png`,
				defect,
				label: good ? 0 : 1,
				score: picture + 0.5 * run.normal() + (good ? 0 : above),
				threshold: 2,
				routed: id,
			};
		});
	};
	const scores = tasks.flatMap((_, i) =>
		tasks.flatMap(([id], j) => {
			const above = separation(i, j);
			return above === null
				? []
				: [{ after: i, j, category: id, rows: rowsOf(i, j, above) }];
		}),
	);
	const results = buildResults({
		tasks: tasks.map(([id, layout]) => ({
			id,
			categories: [{ id, layout }],
		})),
		scores: scores.map(({ after, category, rows }) => ({
			after,
			category,
			rows: rows.map(metricRow),
		})),
		falseAlarms: 0.01,
		memory: { bytes, bytesPerTask: 0, weightsBytes: 0, strategyBytes: 0 },
	});
	return {
		label,
		strategy,
		setting,
		seed,
		order,
		key: `${label} ${seed} ${order}`,
		results: {
			...results,
			learning: tasks.map(([task], j) => ({
				task,
				saturated: saturated && j === 0 ? 1 : 0,
			})),
		},
		secondsPerTask: tasks.map((_, j) => (j === 0 ? null : 10 + j)),
		finalScores: scores
			.filter(({ after }) => after === tasks.length - 1)
			.map(({ category, rows }) => ({ category, rows })),
	};
}

const five = [
	["mvtec/bottle", "mvtec"],
	["mvtec/screw", "mvtec"],
	["loco/juice_bottle", "loco"],
	["folder/pcb", "folder"],
	["folder/magnetic_tile", "folder"],
] as const;

/** Eleven strategies, five tasks, three seeds, two orders, with what real comparisons look like: near points, gaps, equal rows. */
export function madeUpCells(imagesPerTask = 40): FinishedCell[] {
	/** Label, separation when just learnt, loss of it a task later, bytes. */
	const plans = [
		["frozen", 1.6, 0, 2.0e6],
		["finetune", 1.9, 0.45, 2.0e6],
		["isolated", 2.2, 0, 9.1e8],
		["joint", 2.3, 0, 2.1e6],
		["replay", 2.0, 0.12, 4.3e7],
		["der", 2.05, 0.1, 4.5e7],
		["ewc lambda=100", 1.7, 0.2, 1.9e8],
		["si", 1.75, 0.25, 1.8e8],
		["lwf", 1.8, 0.3, 1.0e8],
		["gpm", 1.95, 0.02, 3.1e7],
		["gpm top=0.97", 1.93, 0.05, 2.4e7],
	] as const;
	return plans.flatMap(([label, learnt, loss, bytes]) =>
		[1, 2].flatMap((order) =>
			[1, 2, 3].map((seed) =>
				makeCell({
					label,
					seed,
					order,
					tasks: order === 1 ? five : five.toReversed(),
					bytes: bytes + 1000 * seed,
					imagesPerTask,
					deterministic: label === "frozen",
					saturated: label === "lwf" && seed === 1,
					separation: (i, j) =>
						j > i || (label === "joint" && i < five.length - 1)
							? null
							: learnt - loss * (i - j),
				}),
			),
		),
	);
}
