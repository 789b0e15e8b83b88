/** The tables of the benchmark: aligned for the console, Markdown for the documentation, CSV with every digit. */
import type { Cell, Figures, Table } from "../benchmark/figures.ts";
import { inColumns } from "../columns.ts";
import { csvNumber, csvText } from "../csv.ts";

export const formatBenchmark = ({ tables }: Figures): string =>
	tables
		.map(({ title, columns, rows }) =>
			[
				title,
				...inColumns(
					[
						["", ...columns],
						...rows.map(({ label, cells }) => [label, ...cells.map(cellText)]),
					],
					columns.map((_, i) => i + 1),
				).map((text) => `  ${text}`),
			].join("\n"),
		)
		.join("\n\n");

export const benchmarkMarkdown = ({ tables }: Figures): string =>
	tables
		.map((table) => `### ${table.title}\n\n${tableMarkdown(table)}\n`)
		.join("\n");

export const tableMarkdown = ({ columns, rows }: Table): string =>
	[
		["", ...columns],
		["---", ...columns.map(() => "---:")],
		...rows.map(({ label, cells }) => [label, ...cells.map(cellText)]),
	]
		.map((cells) => `| ${cells.join(" | ")} |`)
		.join("\n");

/** A line a cell. */
export function benchmarkCsv({ tables }: Figures): string {
	const number = (value: number | null | undefined) =>
		value === null || value === undefined ? "" : csvNumber(value);
	const lines = tables.flatMap(({ name, columns, rows }) =>
		rows.flatMap(({ label, cells }) =>
			cells.map(({ value, interval, of }, i) =>
				[
					name,
					csvText(label),
					csvText(columns[i] as string),
					number(value),
					number(interval?.[0]),
					number(interval?.[1]),
					number(of),
				].join(","),
			),
		),
	);
	return `table,row,column,value,low,high,of\n${lines.join("\n")}\n`;
}

/** "94.7 % [93.1, 96.0]" */
function cellText({ value, interval, unit }: Cell): string {
	if (value === null) return "-";
	if (unit === "count") return String(value);
	if (unit === "bytes") return `${(value / 1e6).toFixed(2)} MB`;
	const print = (share: number) => {
		const text = (100 * share).toFixed(1).replace("-0.0", "0.0");
		const signed = unit === "difference" && !/^-|^0\.0$/.test(text);
		return signed ? `+${text}` : text;
	};
	const range = interval ? ` [${interval.map(print).join(", ")}]` : "";
	return `${print(value)}${unit === "difference" ? "" : " %"}${range}`;
}
