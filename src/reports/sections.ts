/** The report's parts that are text and tables: key figures, metrics, the threshold, the run. Shares are shown in percent. */
import { definitionOf, metrics, pixelMetrics } from "../metrics/index.ts";
import { isAnomalous } from "../metrics/image.ts";
import type { Results } from "../metrics/results.ts";
import type { RunRecord, ScoreRow } from "../run.ts";
import { type Html, html, nameHtml, scriptJson } from "./html.ts";
import { type CategoryRows, commonThreshold } from "./runCharts.ts";

/** "96.3" */
export const percent = (share: number): string => (100 * share).toFixed(1);
/** "1.2 MB" */
function bytesText(bytes: number): string {
	const power = Math.min(3, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
	const value = bytes / 1000 ** power;
	const digits = power > 0 && value < 10 ? 1 : 0;
	return `${value.toFixed(digits)} ${["B", "kB", "MB", "GB"][power]}`;
}
function durationText(seconds: number): string {
	if (seconds < 60) return `${seconds.toFixed(1)} s`;
	const minutes = Math.round(seconds / 60);
	return minutes < 60
		? `${minutes} min`
		: `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Why a figure is null; a shorter path speaks for all below it. */
function reasonOf(results: Results, ...paths: readonly string[]): string {
	for (const path of paths)
		if (Object.hasOwn(results.reasons, path))
			return results.reasons[path] as string;
	return "not measured";
}

/** A dash that says why. */
export const none = (reason: string): Html =>
	html`<span class="none" title="${reason}">–</span>`;

// ---- key figures ----

export function keyFigures(results: Results): Html {
	const { summary, pooled, routing, falseAlarms, memory } = results;
	const image = summary.imageAuroc;
	const share = (value: number | null | undefined, path: string) =>
		typeof value === "number"
			? html`${percent(value)} %`
			: none(reasonOf(results, path));
	const figures: readonly (readonly [string, Html, string])[] = [
		[
			"average image AUROC",
			share(image?.average, "summary.imageAuroc.average"),
			"over the tasks, at the end",
		],
		[
			"forgetting",
			typeof image?.forgetting === "number"
				? html`${percent(image.forgetting)}`
				: none(reasonOf(results, "summary.imageAuroc.forgetting")),
			"points of image AUROC lost since each task's best",
		],
		[
			"pooled image AUROC",
			share(pooled.imageAuroc, "pooled.imageAuroc"),
			"one ranking of all products' images",
		],
		[
			"accuracy",
			share(pooled.accuracy, "pooled.accuracy"),
			"at the stored threshold",
		],
		[
			"false alarms",
			share(falseAlarms.realised, "falseAlarms.realised"),
			falseAlarmsNote(falseAlarms),
		],
		[
			"routing",
			share(routing.accuracy, "routing.accuracy"),
			"of images taken for the right product",
		],
		...(memory
			? ([
					[
						"memory a task",
						html`${bytesText(memory.bytesPerTask)}`,
						`${bytesText(memory.bytes)} in all`,
					],
				] as const)
			: []),
	];
	return html`<dl class="figures">${figures.map(
		([title, value, note]) =>
			html`<div><dt>${title}</dt><dd class="value">${value}</dd><dd class="note">${note}</dd></div>`,
	)}</dl>`;
}

function falseAlarmsNote({
	nominal,
	realised,
	interval,
}: Results["falseAlarms"]): string {
	const stated = `of good images; stated: ${percent(nominal)} %`;
	if (realised === null || interval === null) return stated;
	const [low, high] = interval;
	const outside =
		nominal < low
			? "; more than stated"
			: nominal > high
				? "; fewer than stated"
				: "";
	return `${stated}, 95 % interval ${percent(low)} to ${percent(high)} %${outside}`;
}

// ---- metrics ----

const known = [...Object.keys(metrics), ...Object.keys(pixelMetrics)];
/** metrics.json has them by the alphabet, the registry by their weight; someone else's come last. */
const placeOf = (metric: string) =>
	known.includes(metric) ? known.indexOf(metric) : known.length;

/** Categories by metrics, sortable. */
export function metricsTable(
	results: Results,
	categories: readonly CategoryRows[],
): Html {
	const shown = Object.keys(results.matrices)
		.filter((metric) =>
			Object.values(results.categories).some((values) =>
				Object.hasOwn(values, metric),
			),
		)
		.toSorted((a, b) => placeOf(a) - placeOf(b));
	const count = (rows: readonly ScoreRow[], label: number) =>
		rows.filter((row) => row.label === label).length;
	const number = (value: number) =>
		html`<td data-value="${value}">${value}</td>`;
	const cell = (id: string, metric: string) => {
		const value = results.categories[id]?.[metric];
		if (typeof value === "number")
			return html`<td data-value="${value}">${percent(value)}</td>`;
		const reason =
			value === undefined
				? "not defined for this layout"
				: reasonOf(
						results,
						`categories.${id}.${metric}`,
						`categories.${id}`,
						`matrices.${metric}`,
					);
		return html`<td data-value="">${none(reason)}</td>`;
	};
	const average = (metric: string) => {
		const value = results.summary[metric]?.average;
		return typeof value === "number"
			? html`<td>${percent(value)}</td>`
			: html`<td>${none(reasonOf(results, `summary.${metric}.average`, `matrices.${metric}`))}</td>`;
	};
	return html`<div class="wide" tabindex="0" role="region" aria-label="Metrics of every category">
<table class="sortable" id="metrics"><thead><tr>
<th scope="col" class="text">category</th><th scope="col">good images</th><th scope="col">anomalous</th>${shown.map(
		(metric) =>
			html`<th scope="col">${definitionOf(metric)?.title ?? metric}</th>`,
	)}
</tr></thead><tbody>${categories.map(
		({ id, rows }) =>
			html`
<tr><th scope="row" data-value="${id}">${nameHtml(id)}</th>${number(count(rows, 0))}${number(count(rows, 1))}${shown.map((metric) => cell(id, metric))}</tr>`,
	)}
</tbody><tfoot><tr><th scope="row">average over tasks</th><td></td><td></td>${shown.map(average)}</tr></tfoot></table></div>`;
}

// ---- threshold ----

interface Counts {
	readonly good: number;
	readonly alarms: number;
	readonly anomalous: number;
	/** null: a threshold is missing. */
	readonly found: number;
}

/** What alarms at the stored thresholds; null where one is missing. */
function countsOf(rows: readonly ScoreRow[]): Counts | null {
	if (rows.some(({ threshold }) => threshold === null)) return null;
	const of = (label: number) => rows.filter((row) => row.label === label);
	const above = (list: readonly ScoreRow[]) =>
		list.filter(({ score, threshold }) =>
			isAnomalous(score, threshold as number),
		).length;
	return {
		good: of(0).length,
		alarms: above(of(0)),
		anomalous: of(1).length,
		found: above(of(1)),
	};
}

/** Accuracy, false alarms and recall of every category; the script counts again when the threshold moves. */
export function thresholdSection(
	results: Results,
	categories: readonly CategoryRows[],
): Html {
	const all = categories.flatMap(({ rows }) => rows);
	const common = commonThreshold(all);
	const start = common ?? -Math.log10(results.falseAlarms.nominal);
	const highest = Math.max(
		0,
		...all.flatMap(({ label, score }) =>
			label === 0 && Number.isFinite(score) ? [score] : [],
		),
	);
	const end = Math.min(12, Math.max(6, Math.ceil(highest)));
	const oneIn = Number((10 ** start).toPrecision(3));
	const scores = (rows: readonly ScoreRow[], label: number) =>
		rows.flatMap((row) => (row.label === label ? [row.score] : []));
	return html`
<p>Thresholds were set before any test image was seen. All they saw are the cross-fitted scores of good images (each scored as if it
had not been learnt), and they aim at ${oneInText(results.falseAlarms.nominal)}. A score is −log10 of the chance that a good part scores so high: 2 means one good part in 100, 3 one in 1000, on every product.</p>
<p>The table is counted on the test images${common === null ? ", at each image's stored threshold" : ""}. <span data-script hidden>Move the threshold to see what another one would have done to
them. One that is chosen by looking at these numbers says nothing certain about the next parts.</span></p>
<div class="controls" data-script hidden>
<label class="slide">threshold <input type="range" id="slider" min="0" max="${end}" step="any" value="${start}"></label>
<label>one good part in <input type="number" id="one-in" min="1" step="any" value="${oneIn}"></label>
<span>score <output id="score">${Number(start.toPrecision(4))}</output></span>
<button type="button" class="plain" id="reset">stored threshold</button>
</div>
<div class="wide" tabindex="0" role="region" aria-label="What the threshold does">
<table class="sortable" id="at-threshold"><thead><tr><th scope="col" class="text">category</th><th scope="col">good images</th><th scope="col">anomalous</th><th scope="col">accuracy</th><th scope="col">false alarms</th><th scope="col">recall</th></tr></thead><tbody>${categories.map(
		({ id, rows }, k) =>
			html`
<tr data-category="${k}"><th scope="row" data-value="${id}">${nameHtml(id)}</th>${countCells(rows)}</tr>`,
	)}
</tbody><tfoot><tr><th scope="row">all images</th>${countCells(all)}</tr></tfoot></table></div>
<script type="application/json" id="scores">${scriptJson({
		start,
		categories: categories.map(({ rows }) => ({
			good: scores(rows, 0),
			anomalous: scores(rows, 1),
		})),
	})}</script>`;
}

function countCells(rows: readonly ScoreRow[]): Html {
	const good = rows.filter(({ label }) => label === 0).length;
	const counts = countsOf(rows);
	const cell = (part: number, of: number) =>
		of === 0
			? html`<td data-value="">–</td>`
			: html`<td data-value="${part / of}">${percent(part / of)} % (${part} of ${of})</td>`;
	const numbers = html`<td data-value="${good}">${good}</td><td data-value="${rows.length - good}">${rows.length - good}</td>`;
	if (!counts)
		return html`${numbers}${[0, 1, 2].map(() => html`<td data-value="">${none("no threshold is stored")}</td>`)}`;
	const { alarms, anomalous, found } = counts;
	return html`${numbers}${cell(good - alarms + found, rows.length)}${cell(alarms, good)}${cell(found, anomalous)}`;
}

function oneInText(rate: number): string {
	const n = 1 / rate;
	return `one good part in ${Number(n.toPrecision(3))}`;
}

// ---- the run ----

/** A value of the configuration by its keys; null if it is no text or number. */
function setting(
	config: Readonly<Record<string, unknown>>,
	...keys: readonly (string | number)[]
): string | null {
	let value: unknown = config;
	for (const key of keys)
		value =
			typeof value === "object" && value !== null
				? (value as Record<string | number, unknown>)[key]
				: undefined;
	return typeof value === "string" || typeof value === "number"
		? String(value)
		: null;
}

export const runName = ({ config }: RunRecord): string =>
	setting(config, "name") ?? "run";

/** "gpm, memory dne + patches, backbone dinov2-small, seed 42" */
export function runLine({ config, seed }: RunRecord): string {
	const memory = (Array.isArray(config.memory) ? config.memory : []).map(
		(_, k) => setting(config, "memory", k, "name") ?? "?",
	);
	const backbone = setting(config, "backbone", "name");
	return [
		`strategy ${setting(config, "strategy", "name") ?? "?"}`,
		`memory ${memory.join(" + ")}`,
		backbone === null
			? null
			: `backbone ${backbone.split(/[/\\]/).filter(Boolean).at(-1) ?? backbone}`,
		`seed ${seed}`,
	]
		.filter((part) => part !== null)
		.join(", ");
}

/** Tasks and how long they took, versions, machine, memory, the whole configuration. */
export function aboutRun(record: RunRecord, results: Results): Html {
	const { tasks, versions, machine } = record;
	const seconds = tasks.flatMap((task) => task.seconds ?? []);
	const total = seconds.reduce((a, b) => a + b, 0);
	const { memory } = results;
	return html`
<div class="wide" tabindex="0" role="region" aria-label="Tasks"><table><thead><tr><th scope="col" class="text">task, in the order of learning</th><th scope="col">state</th><th scope="col">time to learn</th></tr></thead><tbody>${tasks.map(
		({ id, state, seconds: time }) =>
			html`
<tr><th scope="row">${nameHtml(id)}</th><td>${state}</td><td>${time === null ? "–" : durationText(time)}</td></tr>`,
	)}
</tbody><tfoot><tr><th scope="row">all</th><td></td><td>${seconds.length > 0 ? durationText(total) : "–"}</td></tr></tfoot></table></div>
<p>Keepsight ${versions.keepsight}, Node.js ${versions.node}, onnxruntime ${versions.onnxruntime}${
		machine
			? `; ${machine.cpu}, ${machine.cores} cores, ${bytesText(machine.memoryBytes)} of memory, ${machine.platform}`
			: ""
	}.${
		memory
			? ` Kept for what was learnt: ${bytesText(memory.bytes)}, of it ${bytesText(memory.weightsBytes)} of weights and ${bytesText(memory.strategyBytes)} of the strategy.`
			: ""
	}</p>
<details><summary>Configuration</summary><pre tabindex="0">${JSON.stringify(record.config, null, 2)}</pre></details>`;
}
