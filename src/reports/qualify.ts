/**
 * What a quality engineer signs, as one page that needs nothing else: figures with their intervals, the pictures that went wrong by name, how
 * each figure was made and from where its formula is. Nothing is computed here that `qualify` did not.
 */
import { type Verdict, verdicts } from "../events.ts";
import type { Rate } from "../metrics/interval.ts";
import type { Measured } from "../metrics/measured.ts";
import type { Detection, Example } from "../qualify/detection.ts";
import { changesOf, type Gauge } from "../qualify/gauge.ts";
import { isWrong, type Labelled, type Outcome } from "../qualify/labelled.ts";
import type { Qualification } from "../qualify/qualify.ts";
import { type Html, html, nameHtml } from "./html.ts";
import { figures, pageOf } from "./page.ts";
import { detectionChart, gaugeChart } from "./qualifyCharts.ts";
import { histogramChart } from "./runCharts.ts";
import { aimText, scoreText, sizeText } from "./qualifyText.ts";
import { none, percent } from "./sections.ts";

export function renderQualification(
	found: Qualification,
	examples: readonly Example[],
	/** `version`: of Keepsight; `date`: of the day, as it shall be printed. */
	{ version, date }: { readonly version: string; readonly date: string },
): string {
	const { task, labelled, gauge, detection } = found;
	return pageOf({
		title: task,
		kind: "qualification",
		version,
		line: html`Qualification of ${date}: memory version ${found.memoryVersion}, learnt from ${found.images} images; threshold ${scoreText(found.threshold)} (${aimText(found)}); ${found.routed ? "each picture recognised by itself" : "the product was told with every picture"}`,
		top: html`${keyFigures(found)}${found.notes.map((note) => html`<p class="warning">${note}</p>`)}`,
		sections: [
			...(labelled
				? ([
						[
							"escapes",
							"Escapes and overkill",
							labelledSection(labelled, found),
						],
					] as const)
				: []),
			...(gauge
				? ([
						["gauge", "Repeatability", gaugeSection(gauge, found.threshold)],
					] as const)
				: []),
			...(detection
				? ([
						[
							"detection",
							"Probability of detection",
							detectionSection(detection, examples),
						],
					] as const)
				: []),
		],
		end: html`<div class="sign"><span>name</span><span>date</span><span>signature</span></div>`,
		footer: html`Written by Keepsight ${version}. Nothing was learnt, chosen or changed for this page. A dash says why there is no number.`,
	});
}

// ---- key figures ----

const intervalText = ({ interval }: Rate): string =>
	`${percent(interval[0])} to ${percent(interval[1])} %`;

const rateNote = (rate: Rate): string =>
	`${rate.events} of ${rate.trials}; 95 %: ${intervalText(rate)}${rate.below === null ? "" : `; below ${percent(rate.below)} % with 95 % confidence`}`;

function keyFigures({ labelled, gauge, detection }: Qualification): Html {
	const rate = (title: string, value: Rate, lacking: string) =>
		[
			title,
			value.value === null ? none(lacking) : html`${percent(value.value)} %`,
			value.value === null ? lacking : rateNote(value),
		] as const;
	const figure = (
		title: string,
		{ value, reason }: Measured,
		print: (value: number) => string,
		note: string,
	) =>
		[
			title,
			value === null ? none(reason) : html`${print(value)}`,
			value === null ? reason : note,
		] as const;
	const size = (value: number) => sizeText(value, null);
	const millimetres = ({ value }: Measured) =>
		value === null || !detection?.mmPerPixel
			? ""
			: `${Number((value * detection.mmPerPixel).toPrecision(3))} mm; `;
	const all: readonly (readonly [string, Html, string])[] = [
		...(labelled
			? [
					rate("escapes", labelled.escapes, "no pictures of defects"),
					rate("overkill", labelled.overkill, "no pictures of good parts"),
				]
			: []),
		...(gauge
			? [
					figure(
						"repeatability of the score",
						gauge.score.repeatability,
						(value) => value.toPrecision(3),
						"standard deviation within a part (EV)",
					),
					rate(
						"parts with a steady decision",
						gauge.decision.steady,
						"no part was seen twice",
					),
				]
			: []),
		...(detection
			? [
					figure(
						"a90",
						detection.a90,
						size,
						`${millimetres(detection.a90)}the diameter that is found in 9 of 10 cases`,
					),
					figure(
						"a90/95",
						detection.a90Safe,
						size,
						`${millimetres(detection.a90Safe)}the same, with 95 % confidence`,
					),
				]
			: []),
	];
	return html`<dl class="figures">${all.map(
		([title, value, note]) =>
			html`<div><dt>${title}</dt><dd class="value">${value}</dd><dd class="note">${note}</dd></div>`,
	)}</dl>`;
}

/** A minus is no hyphen. */
const signed = (text: string): string => text.replace("-", "−");

/** "a, b", or "none". */
const namesHtml = (names: readonly string[]): Html =>
	names.length === 0
		? html`none`
		: html`${names.map((name, i) => html`${i > 0 ? ", " : ""}${nameHtml(name)}`)}`;

// ---- tables ----

type Column = readonly [title: string, text?: true];
interface Cell {
	readonly shown: Html | string | number;
	/** What it is sorted by. */
	readonly value: string | number;
}

const plain = (value: string | number): Cell => ({ shown: value, value });
const nameCell = (name: string): Cell => ({
	shown: nameHtml(name),
	value: name,
});
const measuredCell = (
	value: number | null,
	print: (value: number) => string,
	reason: string,
): Cell =>
	value === null
		? { shown: none(reason), value: "" }
		: { shown: print(value), value };

/** The first column heads its row. */
function table(
	label: string,
	columns: readonly Column[],
	rows: readonly (readonly Cell[])[],
): Html {
	return html`<div class="wide" tabindex="0" role="region" aria-label="${label}"><table class="sortable"><thead><tr>${columns.map(
		([title, text], i) =>
			html`<th scope="col" class="${text || i === 0 ? "text" : ""}">${title}</th>`,
	)}</tr></thead><tbody>${rows.map(
		(row) => html`
<tr>${row.map(({ shown, value }, i) =>
			i === 0
				? html`<th scope="row" data-value="${value}">${shown}</th>`
				: html`<td class="${columns[i]?.[1] ? "text" : ""}" data-value="${value}">${shown}</td>`,
		)}</tr>`,
	)}
</tbody></table></div>`;
}

const rateCells = (rate: Rate, lacking: string): readonly Cell[] => [
	plain(rate.events),
	measuredCell(rate.value, (value) => `${percent(value)} %`, lacking),
	rate.value === null
		? { shown: none(lacking), value: "" }
		: { shown: intervalText(rate), value: rate.interval[1] },
];

const verdictCells = (
	counts: Readonly<Record<Verdict, number>>,
): readonly Cell[] => verdicts.map((verdict) => plain(counts[verdict]));
const verdictColumns: readonly Column[] = verdicts.map((verdict) => [verdict]);

// ---- escapes and overkill ----

function labelledSection(
	found: Labelled,
	{ task, routed, threshold }: Qualification,
): Html {
	const { kinds, pictures, withPerson, otherProduct } = found;
	const wrong = (good: boolean) =>
		pictures.filter((one) => isWrong(one) && (one.defect === null) === good);
	const names = (label: string, list: readonly Outcome[]) =>
		list.length === 0
			? html`<p>${label}: none.</p>`
			: html`<h3>${label}</h3>${table(
					label,
					[
						["picture"],
						["kind", true],
						["verdict", true],
						["score"],
						...(routed ? ([["taken for", true]] as const) : []),
					],
					list.map((one) => [
						nameCell(one.name),
						nameCell(one.defect ?? "good"),
						plain(one.verdict),
						measuredCell(one.score, scoreText, "unusable"),
						...(routed ? [nameCell(one.task ?? "no product")] : []),
					]),
				)}`;
	const rows = pictures.flatMap(({ name, defect, score, task: routedTo }) =>
		score === null
			? []
			: [
					{
						path: name,
						defect: defect ?? "good",
						label: defect === null ? (0 as const) : (1 as const),
						score,
						threshold,
						routed: routedTo,
					},
				],
	);
	return html`<p>${pictures.length} pictures in <code>${nameHtml(found.dir)}</code>. A part is stopped if its score reaches the threshold or if no product fits, and passes otherwise, <em>unsure</em>
or not. An escape is a defect that passes, overkill a good part that is stopped. Pictures that are <em>unusable</em> say nothing of the part: they are counted and left out of the rates.</p>
${table(
	"Verdicts of every kind",
	[
		["kind"],
		["pictures"],
		...verdictColumns,
		["wrong"],
		["rate"],
		["95 % interval"],
	],
	kinds.map(({ defect, pictures: count, verdicts: counts, wrong: rate }) => [
		nameCell(defect ?? "good"),
		plain(count),
		...verdictCells(counts),
		...rateCells(rate, "no usable picture"),
	]),
)}
${table(
	"Escapes and overkill",
	[
		["decided by"],
		["escapes"],
		["rate"],
		["95 % interval"],
		["overkill"],
		["rate"],
		["95 % interval"],
	],
	(
		[
			["the threshold alone", found],
			["a person where it is unsure", withPerson],
		] as const
	).map(([title, { escapes, overkill }]) => [
		plain(title),
		...rateCells(escapes, "no pictures of defects"),
		...rateCells(overkill, "no pictures of good parts"),
	]),
)}
<p>A person would look at ${withPerson.unsure.events} of ${withPerson.unsure.trials} pictures, and is taken to decide rightly.${
		otherProduct > 0
			? html` <span class="warning">${otherProduct} pictures were taken for another product than ${nameHtml(task)}.</span>`
			: null
	}</p>
<p class="soft">Intervals: Clopper &amp; Pearson 1934, exact, 95 % on two sides. Where nothing happened, the bound on one side is 1 − .05^(1/n), about 3/n (rule of three). They hold for pictures that
were drawn at random from production, each of another part; of parts that were picked by hand they say how sure the count is, not what the line will see.</p>
${figures([{ name: "labelled-scores", label: "Scores of good parts and of defects", svg: histogramChart({ id: "Scores", rows }) }])}
${names("Escaped", wrong(false))}
${names("Overkilled", wrong(true))}`;
}

// ---- repeatability ----

function gaugeSection(
	{ dir, parts, score, decision, verdict }: Gauge,
	threshold: number,
): Html {
	const three = (value: number) => value.toPrecision(3);
	const measuredText = (
		{ value, reason }: Measured,
		print: (value: number) => string,
	): Html => (value === null ? none(reason) : html`${print(value)}`);
	const pictures = parts.reduce((sum, part) => sum + part.pictures, 0);
	const changing = (what: ReturnType<typeof changesOf>) =>
		parts.filter((part) => changesOf(part) === what).map(({ name }) => name);
	const flips = changing("decision");
	const wavers = changing("verdict");
	const share = (value: number) => `${percent(value)} %`;
	return html`<p>${parts.length} parts in <code>${nameHtml(dir)}</code>, ${pictures} pictures of them: the same part, photographed again.</p>
<h3>Score</h3>
${pairs([
	[
		"within a part, EV",
		measuredText(score.repeatability, three),
		score.interval
			? `pooled standard deviation, ${score.freedom} degrees of freedom; 95 %: ${score.interval.map(three).join(" to ")}`
			: "",
	],
	[
		"between parts, PV",
		measuredText(score.partVariation, three),
		"standard deviation of the parts themselves",
	],
	[
		"share of the variance within parts",
		measuredText(score.shareWithin, share),
		"EV² / (EV² + PV²)",
	],
	[
		"%GRR of the total variation",
		measuredText(score.grr, share),
		"EV / √(EV² + PV²)",
	],
])}
<p class="soft">One-way analysis of variance with random parts: EV² = MSW, PV² = (MSB − MSW) / n₀, at least 0 (AIAG, Measurement Systems Analysis, 4th ed. 2010; parts seen unequally
often: Searle, Casella &amp; McCulloch 1992, 3.6). The station is the only appraiser, so reproducibility (AV) is 0 by design. Shares of the total depend on which parts were chosen; EV does not. A score is a logarithm: ${threshold.toFixed(2)} is
the threshold, and a part whose mean lies within 2 EV of it may well be decided either way.</p>
<h3>Decision and verdict</h3>
${table(
	"Agreement",
	[
		["repeated"],
		["parts"],
		["never change"],
		["95 % interval"],
		["Fleiss' kappa"],
	],
	(
		[
			["stopped or passed", decision],
			["verdict, of five", verdict],
		] as const
	).map(([title, { steady, kappa }]) => [
		plain(title),
		plain(steady.trials),
		measuredCell(
			steady.value,
			(value) => `${percent(value)} % (${steady.events})`,
			"no part was seen twice",
		),
		steady.value === null
			? { shown: none("no part was seen twice"), value: "" }
			: { shown: intervalText(steady), value: steady.interval[0] },
		measuredCell(
			kappa.value,
			(value) => signed(value.toFixed(3)),
			kappa.reason ?? "",
		),
	]),
)}
<p class="soft">Parts that were seen once are left out. Kappa: agreement beyond chance, 1 is full (Fleiss 1971; parts seen unequally often: Fleiss, Levin &amp; Paik 2003, 18.3). It is low, too, where nearly all parts get
the same answer.</p>
<p>Parts that are stopped at times and pass at others: ${namesHtml(flips)}. Parts whose verdict alone changes: ${namesHtml(wavers)}.</p>
${figures([{ name: "gauge", label: "Scores of every part", svg: gaugeChart({ dir, parts, score, decision, verdict }, threshold) }])}
${table(
	"Parts",
	[
		["part"],
		["pictures"],
		["mean score"],
		["deviation"],
		...verdictColumns,
		["stopped"],
		["passed"],
	],
	parts.map((part) => [
		nameCell(part.name),
		plain(part.pictures),
		measuredCell(part.mean, scoreText, "no usable picture"),
		measuredCell(part.deviation, scoreText, "fewer than two usable pictures"),
		...verdictCells(part.verdicts),
		plain(part.stopped),
		plain(part.passed),
	]),
)}`;
}

const pairs = (
	rows: readonly (readonly [name: string, value: Html, note: string])[],
): Html =>
	html`<div class="wide"><table><tbody>${rows.map(
		([name, value, note]) =>
			html`<tr><th scope="row">${name}</th><td>${value}</td><td class="text note">${note}</td></tr>`,
	)}</tbody></table></div>`;

// ---- probability of detection ----

function detectionSection(
	found: Detection,
	examples: readonly Example[],
): Html {
	const {
		untouched,
		stoppedUntouched,
		unusable,
		sizes,
		trials,
		curve,
		mmPerPixel,
	} = found;
	const contrasts = trials.map(({ contrast }) => contrast);
	const least = contrasts.length > 0 ? Math.min(...contrasts) : null;
	const hosts = new Set(trials.map(({ name }) => name)).size;
	const size = (value: number) => sizeText(value, mmPerPixel);
	const row = (
		name: string,
		{ value, reason }: Measured,
		note: string,
	): readonly [string, Html, string] => [
		name,
		value === null ? none(reason) : html`${size(value)}`,
		value === null ? reason : note,
	];
	return html`<p>${trials.length} discs of known diameter were pasted into ${hosts} good pictures of <code>${nameHtml(found.dir)}</code> that were not learnt${
		found.roi ? ", within the region of interest" : ", anywhere in the picture"
	}, and each was scored as a picture of its own. A disc is cut
out elsewhere in the same picture and made darker or lighter until its mean differs from what it covers by ${found.contrast} of 255 grey levels${
		least !== null && least < found.contrast - 1
			? html` (least reached: ${least.toFixed(0)})`
			: null
	}. It is found if its picture is stopped.</p>
<p>With nothing pasted ${untouched.events} of ${untouched.trials} pictures are stopped (95 %: ${intervalText(untouched)})${
		stoppedUntouched.length > 0
			? html`; no disc went into these: ${namesHtml(stoppedUntouched)}`
			: null
	}.${unusable.length > 0 ? html` Unusable and left out: ${namesHtml(unusable)}.` : null}</p>
${
	examples.length > 0
		? html`<div class="examples">${examples.map(
				({ diameter, hit, picture }) =>
					html`
<figure><img src="${picture}" width="120" height="120" alt="A disc of ${diameter} pixels"><figcaption>${size(diameter)}<br><span class="soft">${hit ? "found" : "missed"}</span></figcaption></figure>`,
			)}</div>`
		: null
}
${pairs([
	row("a50", found.a50, "the diameter that is found in 1 of 2 cases"),
	row("a90", found.a90, "the diameter that is found in 9 of 10 cases"),
	row(
		"a90/95",
		found.a90Safe,
		"the diameter that is found in 9 of 10 cases at least, with 95 % confidence",
	),
])}
${
	curve
		? html`<p class="soft">log(POD / (1 − POD)) = ${signed(curve.b0.toPrecision(4))} + ${curve.b1.toPrecision(4)} ln(diameter in px), by maximum likelihood (Berens, ASM Handbook 17, 1989; MIL-HDBK-1823A, 2009, hit/miss). a90/95 is where the lower bound of the
likelihood ratio (chi-square with 1 degree of freedom, 95 % on one side, for one size at a time) reaches 90 %.</p>`
		: html`<p class="warning">No curve could be fitted: ${found.reason ?? ""}.</p>`
}
<p class="soft">It is the probability for these discs at this contrast. Another kind of defect has another one, and a pasted disc is no real defect: it says where the station stops seeing, not how often it will. Discs in one picture count as independent.</p>
${sizes.length > 0 ? figures([{ name: "detection", label: "Probability of detection over diameter", svg: detectionChart(found) }]) : null}
${table(
	"Discs of every size",
	[["diameter"], ["discs"], ["found"], ["rate"], ["95 % interval"]],
	sizes.map(({ diameter, hits }) => [
		{ shown: size(diameter), value: diameter },
		plain(hits.trials),
		...rateCells(hits, "no discs"),
	]),
)}`;
}
