/** The runs of a sweep as CSV for notebooks: a line a run, and a line a value of its matrices. RFC 4180 (CRLF), numbers with all their digits. */
import { csvNumber, csvText } from "../csv.ts";
import type { Cell, FinishedCell } from "../study/cells.ts";
import type { LedgerEntry } from "../study/ledger.ts";

type Value = string | number | null;

/** All runs, failed ones too: what the grid set, how it went, and every figure of metrics.json's summary as `<metric>.<figure>`. */
export function runsCsv(
	cells: readonly Cell[],
	ledger: Readonly<Record<string, LedgerEntry>>,
	finished: readonly FinishedCell[],
): string {
	const results = new Map(finished.map((cell) => [cell.key, cell.results]));
	const keys = [...new Set(cells.flatMap(({ values }) => Object.keys(values)))];
	const figures = [
		...new Set(
			[...results.values()].flatMap(({ summary }) =>
				Object.entries(summary).flatMap(([metric, of]) =>
					Object.keys(of).map((figure) => `${metric}.${figure}`),
				),
			),
		),
	];
	const head = [
		"key",
		"label",
		"strategy",
		...keys.map((key) => `grid.${key}`),
		"seed",
		"order",
		"folder",
		"state",
		"attempts",
		"seconds",
		"worker",
		"message",
		"pooled.imageAuroc",
		"pooled.accuracy",
		"memory.bytes",
		...figures,
	];
	const lines = cells.map((cell): readonly Value[] => {
		const entry = ledger[cell.key];
		const found = results.get(cell.key);
		return [
			cell.key,
			cell.label,
			cell.strategy,
			...keys.map((key) => plain(cell.values[key])),
			cell.seed,
			cell.order,
			cell.config.name,
			entry?.state ?? "failed",
			entry?.attempts ?? 0,
			entry?.seconds ?? null,
			entry?.worker?.host ?? "",
			entry?.message ?? null,
			found?.pooled.imageAuroc ?? null,
			found?.pooled.accuracy ?? null,
			found?.memory.bytes ?? null,
			...figures.map((name) => {
				const [metric = "", figure = ""] = name.split(".");
				const of: Readonly<Record<string, number | null>> = {
					...found?.summary[metric],
				};
				return of[figure] ?? null;
			}),
		];
	});
	return csv([head, ...lines]);
}

/** Every value of every matrix: after how many tasks, on which task. Empty where it was not evaluated or is undefined. */
export function matricesCsv(finished: readonly FinishedCell[]): string {
	const lines = finished.flatMap(({ key, label, seed, order, results }) =>
		Object.entries(results.matrices).flatMap(([metric, rows]) =>
			rows.flatMap((row, i) =>
				row.map((value, j): readonly Value[] => [
					key,
					label,
					seed,
					order,
					metric,
					i + 1,
					results.tasks[j] ?? "",
					value,
				]),
			),
		),
	);
	const head = [
		"key",
		"label",
		"seed",
		"order",
		"metric",
		"after",
		"task",
		"value",
	];
	return csv([head, ...lines]);
}

/** Text as it is, anything else as JSON. */
const plain = (value: unknown): string =>
	typeof value === "string" ? value : (JSON.stringify(value) ?? "");

const csv = (lines: readonly (readonly Value[])[]): string =>
	lines.map((line) => `${line.map(field).join(",")}\r\n`).join("");

const field = (value: Value): string =>
	typeof value === "number" ? csvNumber(value) : csvText(value ?? "");
