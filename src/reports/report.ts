/**
 * report.html: one run on one page that needs nothing else, neither network nor the run folder. Every number comes from metrics.json
 * and the score files, every picture from visualizations/; nothing is computed here that `eval` did not write.
 *
 * The page admits its own style sheet and script by their hashes and pictures within it, nothing more. It is whole without the script,
 * which sorts, filters and moves the threshold. The same run folder gives the same bytes.
 */
import { categoriesOf } from "../data/task.ts";
import { fail } from "../errors.ts";
import { definitionOf } from "../metrics/index.ts";
import type { Results } from "../metrics/results.ts";
import { evaluateAnew, type Run, type RunRecord } from "../run.ts";
import { isObject } from "../storage.ts";
import { type Curves, readCurves } from "../pictures/curves.ts";
import { type Gallery, gallerySection, readGallery } from "./gallery.ts";
import { type Html, html } from "./html.ts";
import { type Chart, figures, pageOf } from "./page.ts";
import {
	type CategoryRows,
	histogramChart,
	proChart,
	projectionChart,
	rocChart,
	taskMatrixChart,
	tasksChart,
} from "./runCharts.ts";
import {
	aboutRun,
	keyFigures,
	metricsTable,
	runLine,
	runName,
	thresholdSection,
} from "./sections.ts";

interface ReportData {
	readonly record: RunRecord;
	readonly results: Results;
	/** Scores after the last task, in the order of learning. */
	readonly categories: readonly CategoryRows[];
	readonly curves: Curves;
	readonly gallery: Gallery;
}

/** Everything a report needs of a run folder, and nothing else. */
export async function readReportData(run: Run): Promise<ReportData> {
	const results = readResults(run);
	const stage = run.readAllScores().at(-1);
	const place = (id: string) => {
		const at = results.tasks.findIndex((task) =>
			categoriesOf(task).includes(id),
		);
		return at < 0 ? results.tasks.length : at;
	};
	const categories = (stage?.categories ?? [])
		.map(({ id, rows }) => ({ id, rows }))
		.toSorted((a, b) => place(a.id) - place(b.id));
	return {
		record: run.record,
		results,
		categories,
		curves: drawable(readCurves(run)),
		gallery: await readGallery(run, categories),
	};
}

/** Without what has no point to draw. */
const drawable = ({ pro, projection }: Curves): Curves => ({
	...(pro && Object.keys(pro).length > 0 && { pro }),
	...(projection && projection.points.length > 0 && { projection }),
});

function readResults(run: Run): Results {
	const { dir } = run;
	if (run.tasksLearnt.length === 0) throw fail("NOTHING_LEARNT", { dir });
	const json = run.readMetrics();
	if (!json) throw fail("NOT_EVALUATED", { dir });
	const parts =
		"matrices summary categories pooled routing falseAlarms reasons".split(" ");
	const lacking = parts.filter((key) => !isObject(json[key]));
	if (lacking.length > 0 || !Array.isArray(json.tasks))
		throw fail("DAMAGED", {
			path: `metrics.json in ${dir}`,
			problem: `${lacking.join(", ") || "tasks"} is missing or of the wrong kind`,
			remedy: evaluateAnew(dir),
		});
	return json as unknown as Results;
}

export interface Report {
	readonly html: string;
	/** As files of their own, dark on white. */
	readonly charts: readonly Chart[];
}

export function renderReport(data: ReportData): Report {
	const { record, results, categories, curves, gallery } = data;
	const { sequence, scores, curves: curveCharts, plane } = chartsOf(data);
	const sections: readonly (readonly [string, string, Html])[] = [
		["categories", "Categories", metricsTable(results, categories)],
		["threshold", "Threshold", thresholdSection(results, categories)],
		[
			"sequence",
			"Over the sequence",
			html`<p>What is known of each task after every further one. No image came with its product's name; each was routed on its own.</p>${figures(sequence)}`,
		],
		["scores-charts", "Scores", figures(scores)],
		[
			"curves",
			"Curves",
			html`${figures(curveCharts)}${
				curves.pro
					? null
					: html`<p class="soft">PRO curves need anomaly maps and masks; this evaluation has none.</p>`
			}`,
		],
		...(plane.length > 0
			? ([
					[
						"embeddings",
						"Embeddings",
						html`<p>The class tokens of all tasks on the two directions in which they vary most. Products that lie apart are told apart easily; defects may well
differ in directions that are not shown.</p>${figures(plane)}`,
					],
				] as const)
			: []),
		["pictures", "Pictures", gallerySection(gallery)],
		["run", "The run", aboutRun(record, results)],
	];
	const learnt = record.tasks.filter((t) => t.state === "learnt").length;
	const { keepsight } = record.versions;
	return {
		html: pageOf({
			title: runName(record),
			kind: "report",
			version: keepsight,
			line: html`${runLine(record)}; ${learnt} of ${record.tasks.length} tasks learnt, ${categories.length} categories tested`,
			top: keyFigures(results),
			sections,
			end: null,
			footer: html`Written by Keepsight ${keepsight} from a run folder. Percentages throughout; a dash says why there is no number.`,
		}),
		charts: [...sequence, ...scores, ...curveCharts, ...plane],
	};
}

/** Matrices and curves of metrics that the run has. */
const sequenceMetrics = ["imageAuroc", "accuracy", "pixelAuroc", "aupro30"];

function chartsOf({ results, categories, curves }: ReportData) {
	const { tasks, matrices } = results;
	const shown = sequenceMetrics.flatMap((metric) => {
		const matrix = matrices[metric];
		const title = definitionOf(metric)?.title ?? metric;
		return matrix?.flat().some((value) => value !== null)
			? [{ metric, title: capital(title), matrix }]
			: [];
	});
	const sequence: Chart[] = [
		...shown.map(({ metric, title, matrix }) => ({
			name: `matrix-${metric}`,
			label: `${title} on every task after learning every task`,
			svg: taskMatrixChart(title, tasks, matrix),
		})),
		...shown.slice(0, 1).map(({ metric, title, matrix }) => ({
			name: `tasks-${metric}`,
			label: `${title} of each task over the sequence`,
			svg: tasksChart(title, tasks, matrix),
		})),
	];
	const scores: Chart[] = categories.map((category, k) => ({
		name: `scores-${k + 1}`,
		label: `Scores of good and of anomalous images of ${category.id}`,
		svg: histogramChart(category),
	}));
	const curveCharts: Chart[] = [
		{
			name: "roc",
			label: "Image ROC of every category",
			svg: rocChart(categories),
		},
		...(curves.pro
			? [
					{
						name: "pro",
						label: "PRO curve of every category",
						svg: proChart(
							curves.pro,
							categories.map(({ id }) => id),
						),
					},
				]
			: []),
	];
	const plane: Chart[] = curves.projection
		? [
				{
					name: "embeddings",
					label:
						"Embeddings of all tasks on their first two principal components",
					svg: projectionChart(curves.projection),
				},
			]
		: [];
	return { sequence, scores, curves: curveCharts, plane };
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
