/**
 * What all pages share: the frame, with a style sheet and a script that are texts of their own, since the page's policy admits them by
 * their hashes alone.
 */
import { createHash } from "node:crypto";
import { heatGradient } from "../pictures/colours.ts";
import { Html, html, inlineSvg } from "./html.ts";

/** As a Content-Security-Policy names an inline text. */
const hashOf = (text: string): string =>
	`'sha256-${createHash("sha256").update(text).digest("base64")}'`;

const light = `
	--ground: #fbfbfa; --card: #fff; --ink: #1c1e21; --soft: #5a6067; --line: #d9dce0; --faint: #e6e8eb;
	--accent: #0b5c94; --bad: #a33c00; --good: #00694c; --mark: #eef3f8;`;
const dark = `
	--ground: #14171b; --card: #1c2026; --ink: #e7e9ec; --soft: #a2a9b2; --line: #3a4049; --faint: #31363e;
	--accent: #7fbcf0; --bad: #ff9d66; --good: #55d3a8; --mark: #242b34;`;

const style = `
:root { color-scheme: light dark; ${light} }
@media (prefers-color-scheme: dark) { :root { ${dark} } }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif; }
main, header, footer { max-width: 1320px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 24px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; line-height: 1.3; margin: 44px 0 6px; }
h3 { font-size: 16px; margin: 26px 0 6px; overflow-wrap: anywhere; }
p { max-width: 78ch; margin: 6px 0 12px; overflow-wrap: anywhere; }
a { color: var(--accent); }
.soft { color: var(--soft); }
nav ul { list-style: none; margin: 14px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 4px 18px; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; margin: 20px 0 0; }
.figures div, .card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.figures dt { color: var(--soft); font-size: 13px; }
.figures dd { margin: 0; }
.figures .value { font-size: 24px; font-weight: 600; font-variant-numeric: tabular-nums; }
.figures .note { color: var(--soft); font-size: 13px; }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 6px 12px; text-align: right; border-bottom: 1px solid var(--faint); white-space: nowrap; }
tbody tr:last-child > *, tfoot tr:last-child > * { border-bottom: 0; }
th { font-weight: 600; vertical-align: bottom; }
thead th { white-space: normal; min-width: 6.2em; line-height: 1.25; border-bottom: 1px solid var(--line); }
th:first-child, td.text, th.text { text-align: left; }
tbody th { font-weight: 500; }
tfoot > tr > * { border-top: 1px solid var(--line); font-weight: 600; }
tbody tr:hover > * { background: var(--mark); }
th:first-child { position: sticky; left: 0; background: var(--card); min-width: 13em; overflow-wrap: anywhere; white-space: normal; }
th button { all: unset; cursor: pointer; display: inline; }
th button:focus-visible, .wide:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th button::after { content: "\\2195"; color: var(--soft); padding-left: 4px; font-weight: 400; }
th[aria-sort="ascending"] button::after { content: "\\2191"; color: var(--accent); }
th[aria-sort="descending"] button::after { content: "\\2193"; color: var(--accent); }
.wide + .wide { margin-top: 12px; }
td.note { white-space: normal; min-width: 15em; text-align: left; color: var(--soft); }
.none { color: var(--soft); cursor: help; }
.controls { display: flex; flex-wrap: wrap; gap: 10px 22px; align-items: center; margin: 12px 0; }
.controls label { display: inline-flex; flex-wrap: wrap; gap: 6px; align-items: center; max-width: 100%; }
.controls .slide { flex: 1 1 320px; }
.controls input[type="range"] { flex: 1 1 200px; min-width: 0; accent-color: var(--accent); }
.controls input[type="number"] { width: 9em; }
input, select, button.plain { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 3px 8px; max-width: 100%; }
button.plain { cursor: pointer; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr)); gap: 14px; margin: 12px 0; align-items: start; }
.charts figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 6px; overflow-x: auto; }
.charts figure.broad { grid-column: 1 / -1; }
svg.chart { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.broad svg.chart { max-width: none; }
svg.chart > rect:first-child { fill: none; }
svg.chart [fill="#222"], svg.chart [fill="#000000"] { fill: var(--ink); }
svg.chart [fill="#555"] { fill: var(--soft); }
svg.chart [stroke="#222"], svg.chart [stroke="#000000"] { stroke: var(--ink); }
svg.chart [stroke="#ddd"] { stroke: var(--faint); }
svg.chart [stroke="#888"] { stroke: var(--soft); }
svg.chart path[stroke="#fff"] { stroke: var(--card); }
.pictures { display: grid; gap: 12px; }
.pictures figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px; display: grid; grid-template-columns: 1fr 220px; gap: 8px 16px; }
.panels { display: grid; grid-template-columns: repeat(4, 1fr); gap: 6px; }
.panels span { display: block; min-width: 0; }
.panels img { display: block; width: 100%; height: auto; border-radius: 3px; }
.panels small { color: var(--soft); }
figcaption { font-size: 14px; min-width: 0; }
figcaption p { margin: 0 0 4px; overflow-wrap: anywhere; }
.role { display: inline-block; border: 1px solid currentColor; border-radius: 999px; padding: 0 9px; font-size: 13px; margin-right: 6px; }
.examples { display: flex; flex-wrap: wrap; gap: 12px; margin: 12px 0; }
.examples figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 8px; }
.examples img { display: block; width: 120px; height: 120px; image-rendering: pixelated; border-radius: 3px; }
.sign { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 0 28px; max-width: 78ch; margin: 44px 0 28px; }
.sign span { border-top: 1px solid var(--ink); padding-top: 4px; margin-top: 40px; color: var(--soft); font-size: 13px; }
.role.bad { color: var(--bad); } .role.good { color: var(--good); } .role.open { color: var(--soft); }
.warning { color: var(--bad); }
.scale { display: inline-block; vertical-align: middle; width: 150px; max-width: 40vw; height: 12px; border-radius: 3px; border: 1px solid var(--line); background: linear-gradient(to right, ${heatGradient}); }
details { margin: 12px 0; } summary { cursor: pointer; }
pre { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; font-size: 13px; line-height: 1.4; }
footer { padding-bottom: 40px; color: var(--soft); font-size: 13px; }
@media (max-width: 860px) {
	.pictures figure { grid-template-columns: 1fr; }
}
@media (max-width: 560px) {
	main, header, footer { padding-left: 12px; padding-right: 12px; }
	.figures { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); }
	.panels { grid-template-columns: repeat(2, 1fr); }
	th:first-child { min-width: 8.5em; }
	th, td { padding: 6px 9px; }
}
@media print {
	:root { color-scheme: light; ${light} }
	body { background: #fff; font-size: 11pt; }
	nav, .controls { display: none !important; }
	h2, h3 { break-after: avoid; }
	.figures div, .charts figure, .pictures figure, tr { break-inside: avoid; }
	.wide, .charts figure, pre { overflow: visible; }
	table { font-size: 9pt; } th, td { padding: 3px 6px; white-space: normal; }
	th:first-child { position: static; }
	.pictures figure { grid-template-columns: 1fr 130px; }
	pre { white-space: pre-wrap; }
}
`;

/** Plain JavaScript of a browser; without it every number and picture is there, only nothing moves. */
const script = String.raw`
"use strict";
for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;

// tables: a button in every head; numbers first from the highest, what has none stays last
const collator = new Intl.Collator("en", { numeric: true });
for (const table of document.querySelectorAll("table.sortable")) {
	const heads = [...table.tHead.rows[0].cells];
	const body = table.tBodies[0];
	heads.forEach((head, column) => {
		const button = document.createElement("button");
		button.type = "button";
		button.append(...head.childNodes);
		head.append(button);
		button.addEventListener("click", () => {
			const text = head.classList.contains("text");
			const before = head.getAttribute("aria-sort");
			const down = before === null ? !text : before === "ascending";
			for (const other of heads) other.removeAttribute("aria-sort");
			head.setAttribute("aria-sort", down ? "descending" : "ascending");
			const key = (row) => row.cells[column].dataset.value ?? "";
			const order = (a, b) => {
				if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
				const way = text ? collator.compare(key(a), key(b)) : Number(key(a)) - Number(key(b));
				return down ? -way : way;
			};
			body.append(...[...body.rows].sort(order));
		});
	});
}

// the threshold: everything is counted again from the scores
const data = document.getElementById("scores");
if (data) {
	const { start, categories } = JSON.parse(data.textContent);
	const slider = document.getElementById("slider");
	const number = document.getElementById("one-in");
	const rows = [...document.querySelectorAll("#at-threshold tbody tr")];
	const total = document.querySelector("#at-threshold tfoot tr");
	const stored = [...rows, total].map((row) => [...row.cells].map((cell) => [cell.textContent, cell.dataset.value]));
	const above = (scores, t) => scores.filter((score) => score >= t).length;
	const share = (part, of) => (of === 0 ? "–" : (100 * part / of).toFixed(1) + " % (" + part + " of " + of + ")");
	const write = (cell, part, of) => {
		cell.textContent = share(part, of);
		cell.dataset.value = of === 0 ? "" : String(part / of);
	};
	const fill = (row, alarms, good, found, anomalous) => {
		write(row.cells[3], good - alarms + found, good + anomalous);
		write(row.cells[4], alarms, good);
		write(row.cells[5], found, anomalous);
	};
	const show = (t) => {
		const sum = [0, 0, 0, 0];
		for (const row of rows) {
			const { good, anomalous } = categories[Number(row.dataset.category)];
			const counts = [above(good, t), good.length, above(anomalous, t), anomalous.length];
			counts.forEach((count, i) => { sum[i] += count; });
			fill(row, ...counts);
		}
		fill(total, ...sum);
		document.getElementById("score").textContent = String(Number(t.toPrecision(4)));
	};
	const oneIn = (t) => Number((10 ** t).toPrecision(3));
	slider.addEventListener("input", () => {
		const t = Number(slider.value);
		number.value = oneIn(t);
		show(t);
	});
	number.addEventListener("input", () => {
		const n = Number(number.value);
		if (!(n > 1)) return;
		slider.value = Math.log10(n);
		show(Math.log10(n));
	});
	document.getElementById("reset").addEventListener("click", () => {
		slider.value = start;
		number.value = oneIn(start);
		document.getElementById("score").textContent = String(Number(start.toPrecision(4)));
		[...rows, total].forEach((row, i) => [...row.cells].forEach((cell, j) => {
			if (j < 3) return;
			[cell.textContent] = stored[i][j];
			if (stored[i][j][1] !== undefined) cell.dataset.value = stored[i][j][1];
		}));
	});
}

// the gallery
const byCategory = document.getElementById("by-category");
const byRole = document.getElementById("by-role");
if (byCategory && byRole) {
	const filter = () => {
		let shown = 0;
		for (const section of document.querySelectorAll("section[data-gallery]")) {
			const wanted = byCategory.value === "" || section.dataset.gallery === byCategory.value;
			let here = 0;
			for (const figure of section.querySelectorAll("figure")) {
				figure.hidden = byRole.value !== "" && figure.dataset.role !== byRole.value;
				if (!figure.hidden) here++;
			}
			section.hidden = !wanted || here === 0;
			if (!section.hidden) shown += here;
		}
		document.getElementById("shown").textContent = shown + (shown === 1 ? " picture" : " pictures");
	};
	byCategory.addEventListener("change", filter);
	byRole.addEventListener("change", filter);
	filter();
}
`;

/** Nothing from anywhere: pictures within the page, this style sheet, this script. */
const policy = [
	"default-src 'none'",
	"img-src data:",
	`style-src ${hashOf(style)}`,
	`script-src ${hashOf(script)}`,
	"base-uri 'none'",
	"form-action 'none'",
].join("; ");

/** The two texts the policy knows by their hashes: not a letter may change. */
const raw = (text: string): Html => new Html(text);

/** A whole page: one file that asks for no other. `version`: of Keepsight. */
export function pageOf(page: {
	readonly title: string;
	readonly version: string;
	/** Below the title. */
	readonly line: Html;
	/** Below the list of sections. */
	readonly top: Html | null;
	readonly sections: readonly (readonly [id: string, title: string, Html])[];
	readonly end: Html | null;
	readonly footer: Html;
	/** What the page is, for the window's title. */
	readonly kind: string;
}): string {
	const { title, version, line, top, sections, end, footer, kind } = page;
	return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="Keepsight ${version}">
<link rel="icon" href="data:,">
<title>${title} – Keepsight ${kind}</title>
<style>${raw(style)}</style></head>
<body><header>
<h1>${title}</h1>
<p class="soft">${line}</p>
<nav aria-label="Sections"><ul>${sections.map(([id, name]) => html`<li><a href="#${id}">${name}</a></li>`)}</ul></nav>
${top}
</header><main>${sections.map(
		([id, name, content]) => html`
<section id="${id}"><h2>${name}</h2>
${content}</section>`,
	)}${end}
</main><footer><p>${footer}</p></footer>
<script>${raw(script)}</script></body></html>
`.text;
}

export interface Chart {
	/** Unique in the page, fit for a file name. */
	readonly name: string;
	/** For those who do not see it. */
	readonly label: string;
	readonly svg: string;
}

/** A chart that is broader than a phone gets a line of its own, where it can be pushed sideways. */
export const figures = (charts: readonly Chart[]): Html =>
	html`<div class="charts">${charts.map(({ name, label, svg }) => {
		const broad = Number(/width="(\d+)/.exec(svg)?.[1]) > 480;
		return html`
<figure class="${broad ? "broad" : ""}">${inlineSvg(svg, name, label)}</figure>`;
	})}</div>`;
