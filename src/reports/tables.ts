/**
 * A comparison as text: aligned for the console, CSV with every digit, Markdown with its footnotes. Fractions are printed in
 * percent with one decimal, as the other tables do; its JSON is the Comparison itself.
 */
import { strategies } from "../strategies/index.ts";
import type { StrategyDefinition } from "../strategies/strategy.ts";
import type {
	Comparison,
	ComparisonRow,
	Figure,
	FigureName,
	PublishedRow,
} from "../study/summary.ts";
import { figureNames } from "../study/summary.ts";
import type { Estimate, TaskTable } from "../study/tasks.ts";

/** Heads of the columns: short for the console, whole in Markdown; and how a number of that kind is printed. */
const columns: Readonly<
	Record<
		FigureName,
		{
			readonly short: string;
			readonly title: string;
			readonly print: (value: number) => string;
		}
	>
> = {
	average: { short: "average", title: "Average", print: percent },
	forgetting: { short: "forgetting", title: "Forgetting", print: percent },
	backwardTransfer: {
		short: "BWT",
		title: "Backward transfer",
		print: percent,
	},
	forwardTransfer: { short: "FWT", title: "Forward transfer", print: percent },
	learning: { short: "learn", title: "Learning", print: percent },
	learningTransfer: {
		short: "LT",
		title: "Learning transfer",
		print: percent,
	},
	pooledImageAuroc: { short: "pooled", title: "Pooled", print: percent },
	memoryBytes: { short: "memory", title: "Memory", print: formatBytes },
	secondsPerTask: {
		short: "s/task",
		title: "Seconds a task",
		print: (value) => value.toFixed(value < 10 ? 1 : 0),
	},
};

/** For the console: within 120 columns while labels have at most 20 letters. */
export function formatComparison(comparison: Comparison): string {
	/** Deviations for what is read most; Markdown and CSV have the others. */
	const spread: readonly FigureName[] = ["average", "forgetting"];
	const table = [
		[
			"strategy",
			...figureNames.map((name) => columns[name].short),
			`vs ${comparison.baseline}`,
		],
		...comparison.rows.map((row) => [
			row.label,
			...figureNames.map((name) =>
				spread.includes(name)
					? withDeviations(row.figures[name], name)
					: withoutDeviations(row.figures[name], name),
			),
			differenceText(row),
		]),
	];
	const sections = [
		headline(comparison),
		align(table, (column) => column > 0),
		[
			"Image AUROC in percent. a ±b/c: mean over cells, deviation over seeds / over orders.",
			"BWT, FWT: backward and forward transfer. learn: right after learning. LT: that minus learning the task alone.",
			`vs ${comparison.baseline}: paired difference of the average, 95 % over test images.`,
			...(comparison.byTask.leaveOneOut
				? [
						`Each task under what is best on the others (leave one task out): ${intervalText(comparison.byTask.leaveOneOut.mean)}.`,
					]
				: []),
			...notes(comparison),
		].join("\n"),
	];
	if (comparison.published.length > 0)
		sections.push(
			[
				"As published, not run here:",
				align(
					[
						["method", "average", "forgetting", "setting", "source"],
						...comparison.published.map((row) => [
							row.label,
							orDash(row.average, percent),
							orDash(row.forgetting, percent),
							row.setting,
							sourceText(row),
						]),
					],
					(column) => column === 1 || column === 2,
				),
			].join("\n"),
		);
	return sections.join("\n\n");
}

/** A table and its footnotes, without a title. */
export function comparisonMarkdown(comparison: Comparison): string {
	const table = [
		[
			"Strategy",
			"Cells",
			...figureNames.map((name) => columns[name].title),
			`Average against ${comparison.baseline}`,
		],
		["---", ...figureNames.map(() => "---:"), "---:", "---:"],
		...comparison.rows.map((row) => [
			row.label,
			String(row.cells),
			...figureNames.map((name) => withDeviations(row.figures[name], name)),
			differenceText(row),
		]),
	];
	const byTask = [
		["After the last task", ...comparison.byTask.tasks],
		["---", ...comparison.byTask.tasks.map(() => "---:")],
		...comparison.byTask.rows.map(({ label, values }) => [
			label,
			...values.map(intervalText),
		]),
		...chosenRow(comparison.byTask),
	];
	const footnotes = [
		"Image AUROC in percent, memory in bytes of everything kept for earlier tasks. a ±b/c: mean over all cells, b the sample deviation over the seeds of an order (averaged over orders), c the sample deviation over orders of the mean over their seeds; - where there are fewer than two.",
		"Learning: each task right after it was learnt. Learning transfer: that minus the same task learnt alone from the initial weights.",
		`Average against ${comparison.baseline}: difference over cells of the same seed and order, with the 95 % interval of a bootstrap over test images. It says nothing of other seeds or orders: the deviations do.`,
		...notes(comparison),
	];
	const sections = [
		headline(comparison),
		table.map(markdownLine).join("\n"),
		footnotes.map((note) => `- ${escapeMarkdown(note)}`).join("\n"),
		byTask.map(markdownLine).join("\n"),
		[
			"Image AUROC in percent, mean over cells, with the 95 % interval of a bootstrap over test images.",
			...chosenNote(comparison.byTask),
		]
			.map((note) => `- ${escapeMarkdown(note)}`)
			.join("\n"),
	];
	if (comparison.published.length > 0)
		sections.push(
			"As published, not run here:",
			[
				["Method", "Average", "Forgetting", "Setting", "Source", "Note"],
				["---", "---:", "---:", "---", "---", "---"],
				...comparison.published.map((row) => [
					row.label,
					orDash(row.average, percent),
					orDash(row.forgetting, percent),
					row.setting,
					`${sourceText(row)}, <${row.source.address}>`,
					row.note ?? "",
				]),
			]
				.map(markdownLine)
				.join("\n"),
		);
	return `${sections.join("\n\n")}\n`;
}

/** RFC 4180 (CRLF), numbers with all their digits, empty where there is none. Published rows come last, their source named. */
export function comparisonCsv({ rows, failed, published }: Comparison): string {
	const head = [
		"label",
		"strategy",
		"source",
		"setting",
		"cells",
		"failedCells",
		"seeds",
		"orders",
		"deterministic",
		...figureNames.flatMap((name) => [
			name,
			`${name}OverSeeds`,
			`${name}OverOrders`,
		]),
		"saturated",
		"saturatedOf",
		"difference",
		"differenceLow",
		"differenceHigh",
		"differencePairs",
		"differenceDraws",
	];
	const own = rows.map((row) => [
		row.label,
		row.strategy,
		"run here",
		"",
		row.cells,
		failed.filter(({ label }) => label === row.label).length,
		row.seeds.join(" "),
		row.orders.join(" "),
		row.deterministic,
		...figureNames.flatMap((name) => {
			const { mean, overSeeds, overOrders } = row.figures[name];
			return [mean, overSeeds, overOrders];
		}),
		row.saturated.count,
		row.saturated.of,
		row.difference.estimate,
		row.difference.low,
		row.difference.high,
		row.difference.pairs,
		row.difference.draws,
	]);
	const others = published.map((row) => {
		const known: Readonly<Record<string, string | number | null>> = {
			label: row.label,
			source: `as published: ${sourceText(row)}, ${row.source.address}`,
			setting: row.setting,
			average: row.average,
			forgetting: row.forgetting,
		};
		return head.map((name) => known[name] ?? null);
	});
	return [head, ...own, ...others]
		.map((line) => `${line.map(csvField).join(",")}\r\n`)
		.join("");
}

/** The first line of every table: what the reader must not overlook. */
function headline({ exceptions }: Comparison): string {
	const below = exceptions.belowFrozen;
	if (below === null)
		return "Whether training pays is not said here: it takes rows with training and one of the frozen backbone.";
	return below.length > 0
		? `Training lowers the average below the frozen backbone for: ${below.join(", ")}.`
		: "Training lowers no average below the frozen backbone's.";
}

/** What is out of the ordinary, a line each. */
function notes(comparison: Comparison): string[] {
	const { rows, exceptions, failed, baseline } = comparison;
	const list = (text: string, labels: readonly string[]) =>
		labels.length > 0 ? [`${text}: ${labels.join(", ")}.`] : [];
	const saturated = rows.filter((row) => row.saturated.count > 0);
	const known = new Set(rows.map((row) => row.label));
	return [
		...list(
			`Forgetting not below that of ${baseline}`,
			exceptions.forgetsLikeFinetune,
		),
		...list(
			`Joint training below ${baseline} on average`,
			exceptions.jointBelowFinetune,
		),
		...list(
			"Equal bit for bit over seeds",
			rows.filter((row) => row.deterministic).map((row) => row.label),
		),
		...list(
			"Pretext saturated, so that strategies look alike (tasks of all cells)",
			saturated.map(
				({ label, saturated: { count, of } }) => `${label} ${count} of ${of}`,
			),
		),
		...list(
			"Needs the images of all earlier tasks, which are not in its memory",
			rows.filter(needsEarlierImages).map((row) => row.label),
		),
		"Seconds a task: of learning alone; the first run of a seed and order also decodes and embeds what the others find.",
		...missingFigures(comparison),
		...failed.map(
			({ label, seed, order, message }) =>
				`Failed: ${label}, seed ${seed}, order ${order}${known.has(label) ? "" : " (no other cell of it, so no row)"}: ${message}`,
		),
	];
}

const needsEarlierImages = ({ strategy }: ComparisonRow): boolean =>
	(strategies as Record<string, StrategyDefinition>)[strategy]?.joint !==
	undefined;

/** "No forgetting, learning (no value for ...): joint.", a line for each reason and set of labels. */
function missingFigures({ rows, baseline }: Comparison): string[] {
	const missing = rows.flatMap(({ label, figures, difference }) => [
		...figureNames.map((name) => ({
			label,
			what: columns[name].title.toLowerCase(),
			reason: figures[name].reason,
		})),
		{
			label,
			what: `difference to ${baseline}`,
			reason: label === baseline ? null : difference.reason,
		},
	]);
	const lines = new Map<string, string[]>();
	for (const what of new Set(missing.map((entry) => entry.what)))
		for (const reason of new Set(missing.map((entry) => entry.reason))) {
			const labels = missing
				.filter((entry) => entry.what === what && entry.reason === reason)
				.map((entry) => entry.label);
			if (reason === null || labels.length === 0) continue;
			const rest = `(${reason}): ${labels.length === rows.length ? "all rows" : labels.join(", ")}.`;
			lines.set(rest, [...(lines.get(rest) ?? []), what]);
		}
	return [...lines].map(([rest, whats]) => `No ${whats.join(", ")} ${rest}`);
}

function withDeviations(figure: Figure, name: FigureName): string {
	const { print } = columns[name];
	if (figure.mean === null) return "-";
	const mean = print(figure.mean);
	if (figure.overSeeds === null && figure.overOrders === null) return mean;
	return `${mean} ±${orDash(figure.overSeeds, print)}/${orDash(figure.overOrders, print)}`;
}

const withoutDeviations = (figure: Figure, name: FigureName) =>
	orDash(figure.mean, columns[name].print);

function differenceText({ difference }: ComparisonRow): string {
	const { estimate, low, high } = difference;
	if (estimate === null) return "-";
	return low === null || high === null
		? signed(estimate)
		: `${signed(estimate)} [${signed(low)}, ${signed(high)}]`;
}

const intervalText = ({ value, low, high }: Estimate): string => {
	if (value === null) return "-";
	return low === null || high === null
		? percent(value)
		: `${percent(value)} [${percent(low)}, ${percent(high)}]`;
};

const chosenRow = ({ leaveOneOut }: TaskTable): string[][] =>
	leaveOneOut
		? [["best on the other tasks", ...leaveOneOut.values.map(percent)]]
		: [];

const chosenNote = ({ tasks, leaveOneOut }: TaskTable): string[] =>
	leaveOneOut
		? [
				`Best on the other tasks: each task under the row that is best on the mean of the others, which is what a choice is worth that was not made on the task it is reported on. Mean ${intervalText(leaveOneOut.mean)}. ${tasks.map((task, j) => `${task}: ${leaveOneOut.chosen[j]}`).join("; ")}.`,
			]
		: [];

const sourceText = ({ source }: PublishedRow) =>
	`${source.paper}, ${source.table}`;

function percent(value: number): string {
	const text = (100 * value).toFixed(1);
	return text === "-0.0" ? "0.0" : text;
}

const signed = (value: number) =>
	`${Number(percent(value)) > 0 ? "+" : ""}${percent(value)}`;

function formatBytes(value: number): string {
	if (value < 1e3) return `${value.toFixed(0)} B`;
	if (value < 1e6) return `${(value / 1e3).toFixed(1)} kB`;
	return value < 1e9
		? `${(value / 1e6).toFixed(1)} MB`
		: `${(value / 1e9).toFixed(2)} GB`;
}

const orDash = (value: number | null, print: (value: number) => string) =>
	value === null ? "-" : print(value);

/** The columns named are numbers, to the right; the others are text. */
function align(
	table: readonly (readonly string[])[],
	isNumber: (column: number) => boolean,
): string {
	const widths = (table[0] ?? []).map((_, column) =>
		Math.max(...table.map((row) => (row[column] ?? "").length)),
	);
	return table
		.map((row) =>
			row
				.map((text, column) => {
					const width = widths[column] as number;
					return isNumber(column) ? text.padStart(width) : text.padEnd(width);
				})
				.join("  ")
				.trimEnd(),
		)
		.join("\n");
}

const markdownLine = (cells: readonly string[]) =>
	`| ${cells.map(escapeMarkdown).join(" | ")} |`;

const escapeMarkdown = (text: string) =>
	text.replaceAll("|", "\\|").replaceAll(/\r?\n/g, " ");

function csvField(value: string | number | boolean | null): string {
	const text = value === null ? "" : String(value);
	return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
