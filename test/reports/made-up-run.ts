/** A run folder without a run: names that try to break out, scores drawn from a seed, pictures of drawn parts with made-up maps. */
import { float32, uint8 } from "../../src/engine/tensor.ts";
import { measured, undefinedBecause } from "../../src/metrics/measured.ts";
import { buildResults, metricsCsv } from "../../src/metrics/results.ts";
import { Random } from "../../src/random.ts";
import { writeCurves } from "../../src/pictures/curves.ts";
import { type Shown, writePictures } from "../../src/pictures/pictures.ts";
import { project } from "../../src/pictures/projection.ts";
import { chooseShown } from "../../src/pictures/shown.ts";
import {
	describeMachine,
	metricRow,
	openRun,
	type Run,
	type RunStart,
	type ScoreRow,
} from "../../src/run.ts";

export const hostile = `mvtec/<img src=x onerror="document.title='hit'">'&amp;\u202e`;
export const hostileDefect = `"><script>document.title='hit'</script><b id='x`;

/** In the order of learning; the second is a group. */
export const tasks = [
	{ id: "mvtec/bottle", categories: [["mvtec/bottle", "mvtec"]] },
	{
		id: `${hostile}+mvtec/a_rather_long_category_name`,
		categories: [
			[hostile, "mvtec"],
			["mvtec/a_rather_long_category_name", "mvtec"],
		],
	},
	{ id: "loco/kit", categories: [["loco/kit", "loco"]] },
] as const;
const ids: readonly string[] = tasks.flatMap(({ categories }) =>
	categories.map(([id]) => id),
);

export const start: RunStart = {
	config: {
		name: `demo </title><script>document.title='hit'</script>`,
		strategy: { name: "gpm" },
		memory: [{ name: "dne" }, { name: "patches" }],
		backbone: { name: "/models/dinov2-small" },
	},
	seed: 42,
	versions: {
		keepsight: "0.1.0",
		node: process.version,
		onnxruntime: "1.30.0",
	},
	machine: describeMachine(),
	order: tasks.map(({ id }) => id),
};

/** 24 good and 36 anomalous images; how well they part depends on the category and falls with every further task. */
export function rowsOf(id: string, after: number): ScoreRow[] {
	const defects = {
		[hostile]: [hostileDefect, "hole"],
		"loco/kit": ["logical_anomalies"],
	}[id] ?? ["crack", "stain"];
	const apart = 3.2 - ids.indexOf(id) * 0.7 - after * 0.2;
	return Array.from({ length: 60 }, (_, k): ScoreRow => {
		const defect = k < 24 ? null : (defects[k % defects.length] as string);
		const random = new Random("made up", id, after, k);
		const score =
			-Math.log10(random.uniform(1e-6, 1)) +
			(defect === null ? 0 : Math.max(0, apart + 1.2 * random.normal()));
		const stranger = k % 29 === 28;
		return {
			path: `${id}/test/${defect ?? "good"}/${String(k).padStart(3, "0")}.png`,
			defect,
			label: defect === null ? 0 : 1,
			score,
			threshold: 2,
			routed: stranger ? "mvtec/bottle" : id,
		};
	});
}

/** Metrics and scores of all tasks. */
export function madeUpRun(dir: string): Run {
	const run = openRun(dir, "new", start);
	const scores = tasks.flatMap((_, after) =>
		tasks.slice(0, after + 1).flatMap(({ categories }) =>
			categories.map(([category]) => ({
				after,
				category,
				rows: rowsOf(category, after),
			})),
		),
	);
	for (const { after, category, rows } of scores)
		run.writeScores(after + 1, category, rows);
	for (const [k, { id }] of tasks.entries())
		run.setTask(id, "learnt", 70.4 * (k + 1));
	const results = buildResults({
		tasks: tasks.map(({ id, categories }) => ({
			id,
			categories: categories.map(([category, layout]) => ({
				id: category,
				layout,
			})),
		})),
		scores: scores.map(({ after, category, rows }) => ({
			after,
			category,
			rows: rows.map(metricRow),
			pixel: {
				pixelAuroc:
					category === "loco/kit"
						? undefinedBecause(`no mask for "000.png"`)
						: measured(0.97 - 0.02 * after),
			},
		})),
		falseAlarms: 0.01,
		memory: {
			bytes: 9.6e6,
			bytesPerTask: 3.2e6,
			weightsBytes: 0,
			strategyBytes: 0,
		},
	});
	run.writeMetrics(results, metricsCsv(results));
	return run;
}

/** Pictures of all categories but the last, PRO curves, a projection. */
export async function addPictures(run: Run): Promise<void> {
	for (const id of ids.slice(0, -1)) {
		const rows = rowsOf(id, tasks.length - 1);
		await writePictures(run, [
			{
				id,
				shown: chooseShown(rows, 2).map(({ index, role }) => ({
					row: rows[index] as ScoreRow,
					role,
					...part(rows[index] as ScoreRow, index),
				})),
			},
		]);
	}
	const pro = (sharpness: number) =>
		Array.from(
			{ length: 101 },
			(_, k) => [k / 100, 1 - (1 - k / 100) ** sharpness] as const,
		);
	const random = new Random("embeddings");
	const each = 40;
	const rows = Float64Array.from(
		{ length: tasks.length * each * 8 },
		(_, i) => (Math.floor(i / 8 / each) === i % 8 ? 4 : 0) + random.normal(),
	); // [120, 8]
	const { points, explained } = project(rows, tasks.length * each, 8);
	writeCurves(run, {
		pro: { "mvtec/bottle": pro(30), [hostile]: pro(8) },
		projection: {
			points: Array.from({ length: tasks.length * each }, (_, i) => ({
				task: tasks[Math.floor(i / each)]?.id as string,
				label: i % 4 === 0 ? 1 : 0,
				x: points[2 * i] as number,
				y: points[2 * i + 1] as number,
			})),
			explained,
		},
	});
}

/** A disc on a bench; a dent where there is a defect, and a map that reaches the score there. */
export function part(
	row: ScoreRow,
	seed: number,
	[h, w]: readonly [number, number] = [240, 288],
): Pick<Shown, "image" | "map" | "mask"> {
	const random = new Random("part", row.path, seed);
	const image = uint8([h, w, 3]);
	const map = float32([h, w]);
	const mask = uint8([h, w]);
	const [cy, cx] = [h / 2, w / 2];
	const turn = random.uniform(0, 2 * Math.PI);
	const [dy, dx] = [
		cy + 0.2 * h * Math.sin(turn),
		cx + 0.2 * h * Math.cos(turn),
	];
	const radius = h * random.uniform(0.04, 0.1);
	for (let y = 0; y < h; y++)
		for (let x = 0; x < w; x++) {
			const i = y * w + x;
			const far = Math.hypot(y - cy, x - cx);
			const near = Math.hypot(y - dy, x - dx);
			const dented = row.label === 1 && near < radius;
			const grey =
				(far < 0.38 * h ? 200 - 60 * (far / h) : 60) +
				8 * Math.sin(x / 7) * Math.cos(y / 9) +
				(dented ? -70 : 0) +
				6 * random.uniform(-1, 1);
			image.data.set([grey, grey * 0.97, grey * 0.9], 3 * i);
			mask.data[i] = dented ? 1 : 0;
			map.data[i] =
				row.score * Math.exp(-((near / (1.6 * radius)) ** 2)) +
				0.2 * (1 + Math.sin(x / 40) * Math.sin(y / 50));
		}
	return { image, map, mask: row.label === 1 ? mask : null };
}
