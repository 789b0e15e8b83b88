import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { auroc, isAnomalous } from "../../src/metrics/image.ts";
import { readCurves, writeCurves } from "../../src/pictures/curves.ts";
import { html, inlineSvg, scriptJson } from "../../src/reports/html.ts";
import {
	histogram,
	histogramChart,
	proChart,
	projectionChart,
	rocChart,
	rocPoints,
	taskMatrixChart,
	tasksChart,
} from "../../src/reports/runCharts.ts";
import type { Run, ScoreRow } from "../../src/run.ts";
import { hostile, madeUpRun, rowsOf, tasks } from "./made-up-run.ts";

const names = tasks.map(({ id }) => id);
const rows = rowsOf("mvtec/bottle", 0);
const matrix = [
	[0.991, null, null],
	[0.98, 0.7, null],
	[0.97, 0.65, 0.5],
];
const charts: Readonly<Record<string, () => string>> = {
	histogramChart: () => histogramChart({ id: hostile, rows }),
	rocChart: () =>
		rocChart([
			{ id: "mvtec/bottle", rows },
			{ id: hostile, rows: rowsOf(hostile, 2) },
		]),
	proChart: () =>
		proChart({
			[hostile]: [
				[0, 0],
				[0.1, 0.6],
				[0.5, 1],
			],
		}),
	taskMatrixChart: () => taskMatrixChart("Image AUROC", names, matrix),
	tasksChart: () => tasksChart("Image AUROC", names, matrix),
	projectionChart: () =>
		projectionChart({
			points: names.flatMap((task, k) => [
				{ task, label: 0 as const, x: k, y: 1 },
				{ task, label: 1 as const, x: -k, y: 2 * k },
			]),
			explained: [0.61, 0.2],
		}),
};

describe.each(Object.entries(charts))("%s", (_, chart) => {
	test("the same bytes again; names stay text; nothing is NaN", () => {
		const svg = chart();
		expect(chart() === svg).toBe(true);
		expect(svg).not.toMatch(/NaN|undefined|Infinity/);
		expect(svg).not.toContain("<img");
	});
	test("as it is", () => {
		expect(chart().replaceAll("><", ">\n<")).toMatchSnapshot();
	});
	test("within a page: no style, no foreign id, and a name", () => {
		const { text } = inlineSvg(chart(), "a", 'what "it" shows');
		expect(text).not.toMatch(/<style|\sstyle=|\sclass="(?!chart")|ecmeta/);
		expect(text).toMatch(
			/^<svg class="chart" role="img" aria-label="what &quot;it&quot; shows" /,
		);
		const ids = [...text.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
		const uses = [...text.matchAll(/url\(#([^)]*)\)/g)].map(([, id]) => id);
		for (const id of ids) expect(id).toMatch(/^a-/);
		for (const id of uses) expect(ids).toContain(id);
		expect(text).toContain('font-size="');
	});
});

test("nothing to show is an empty chart, no error", () => {
	for (const svg of [
		histogramChart({ id: "a", rows: [] }),
		rocChart([]),
		rocChart([{ id: "a", rows: rows.slice(0, 3) }]),
		proChart({}),
		taskMatrixChart("Accuracy", [], []),
		tasksChart("Accuracy", ["a"], [[null]]),
		projectionChart({ points: [], explained: [0, 0] }),
	])
		expect(svg).not.toMatch(/NaN|undefined|Infinity/);
});

describe("rocPoints", () => {
	/** Trapezia under the curve: another way to the Mann-Whitney statistic. */
	const area = (list: readonly ScoreRow[]) =>
		rocPoints(list)
			.slice(1)
			.reduce((sum, [x, y], i) => {
				const [x0, y0] = rocPoints(list)[i] as readonly [number, number];
				return sum + ((x - x0) * (y + y0)) / 2;
			}, 0);
	test.each([
		["distinct scores", rows],
		["ties", rows.map((row) => ({ ...row, score: Math.round(row.score) }))],
		[
			"infinite ones",
			rows.map((row, i) =>
				i % 7 === 0 ? { ...row, score: Number.POSITIVE_INFINITY } : row,
			),
		],
	])("the area under it is the AUROC: %s", (_, list) => {
		const { value } = auroc(
			list.map((row) => row.score),
			list.map((row) => row.label),
		);
		expect(area(list)).toBeCloseTo(value as number, 12);
	});
	test("from corner to corner; none with one class", () => {
		expect(rocPoints(rows)[0]).toEqual([0, 0]);
		expect(rocPoints(rows).at(-1)).toEqual([1, 1]);
		expect(rocPoints(rows.filter((row) => row.label === 1))).toEqual([]);
	});
});

describe("histogram", () => {
	test("every image is in it; what lies right of the threshold is what alarms", () => {
		const edge = [
			...rows,
			{ ...(rows[0] as ScoreRow), score: 2 },
			{ ...(rows[0] as ScoreRow), score: 1e9 },
			{ ...(rows[0] as ScoreRow), score: -1e-9 },
		];
		const { edges, counts, threshold } = histogram(edge);
		expect(threshold).toBe(2);
		const first = edges.indexOf(2);
		expect(first).toBeGreaterThan(0);
		for (const label of [0, 1] as const) {
			const of = edge.filter((row) => row.label === label);
			const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
			expect(sum(counts[label])).toBe(of.length);
			expect(sum(counts[label].slice(first))).toBe(
				of.filter((row) => isAnomalous(row.score, 2)).length,
			);
			expect(counts[label]).toHaveLength(edges.length - 1);
		}
	});
	test("thresholds that differ are none", () => {
		const mixed = rows.map((row, i) => ({ ...row, threshold: i % 2 }));
		expect(histogram(mixed).threshold).toBeNull();
	});
});

test("a PRO curve ends at its limit, interpolated", () => {
	const svg = proChart({
		a: [
			[0, 0],
			[0.2, 0.5],
			[0.4, 1],
		],
	});
	const [, path = ""] =
		/<path d="(M[^"]*)"[^>]*stroke="#0072B2" stroke-width="2"/.exec(svg) ?? [];
	// from the lower left to three quarters of the height, 330 px, at the right end
	expect(path).toBe(`M58 374L286 209L400 ${374 - 0.75 * 330}`);
});

describe("curves.json", () => {
	let base: string;
	let run: Run;
	beforeAll(() => {
		base = mkdtempSync(join(tmpdir(), "keepsight-curves-"));
		run = madeUpRun(join(base, "Anomaly"));
	});
	afterAll(() => {
		run.close();
		rmSync(base, { recursive: true, force: true });
	});
	test("is empty without the file; what is given is replaced, the rest kept", () => {
		expect(readCurves(run)).toEqual({});
		const projection = {
			points: [{ task: "a", label: 0 as const, x: 1, y: 2 }],
			explained: [0.5, 0.2] as const,
		};
		writeCurves(run, { projection });
		const pro = { [hostile]: [[0, 0] as const, [0.3, 1] as const] };
		writeCurves(run, { pro });
		writeCurves(run, { projection });
		expect(readCurves(run)).toEqual({ pro, projection });
	});
	test("a foreign file is refused", () => {
		run.writeVisualization("curves.json", '{ "format": 2 }');
		expect(() => readCurves(run)).toThrow("has format version 2");
		run.writeVisualization(
			"curves.json",
			'{ "format": 1, "pro": { "a": [[1]] } }',
		);
		expect(() => readCurves(run)).toThrow("a curve is not a list of points");
	});
});

test("templates escape what they are given and nothing else", () => {
	const name = `<b>"'&`;
	expect(
		html`<i title="${name}">${[html`<u>${name}</u>`, 3, null]}</i>`.text,
	).toBe(
		'<i title="&lt;b&gt;&quot;&#39;&amp;"><u>&lt;b&gt;&quot;&#39;&amp;</u>3</i>',
	);
	const { text } = scriptJson({
		a: "</script><!--",
		b: [Number.POSITIVE_INFINITY],
	});
	expect(text).not.toContain("<");
	expect(JSON.parse(text)).toEqual({ a: "</script><!--", b: [1e308] });
});
