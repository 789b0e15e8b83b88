/** What a memory said of test images at one moment, an image a row; and how it lies on disk: CSV, every number to its last bit. */
import { csvNumber, csvPlain, csvText, parseCsv } from "../csv.ts";
import { fail } from "../errors.ts";
import type { ScoreRow } from "../run.ts";
import { type Split, splits } from "./protocol.ts";

export interface Seen {
	/** The product that it shows. */
	readonly product: string;
	readonly split: Split;
	/** Relative to the data root. */
	readonly path: string;
	/** The folder's name under test/; null: a good part. */
	readonly defect: string | null;
	/** The product it was taken for, and its score as that. */
	readonly routed: string;
	readonly score: number;
	readonly threshold: number;
	/** Whether it was called unknown, or out of focus. */
	readonly unknown: boolean;
	readonly blurred: boolean;
	/** As the product that it shows, told; null: that is not learnt. */
	readonly told: { readonly score: number; readonly threshold: number } | null;
	/** By how many good images of its split the product's threshold was set before; 0: it is as learnt. */
	readonly recalibrated: number;
}

const columns =
	"product,split,path,defect,routed,score,threshold,unknown,blurred,told_score,told_threshold,recalibrated";

export function formatLook(rows: readonly Seen[]): string {
	const lines = rows.map((row) =>
		[
			csvText(row.product),
			row.split,
			csvText(row.path),
			csvText(row.defect ?? "good"),
			csvText(row.routed),
			csvNumber(row.score),
			csvNumber(row.threshold),
			Number(row.unknown),
			Number(row.blurred),
			row.told ? csvNumber(row.told.score) : "",
			row.told ? csvNumber(row.told.threshold) : "",
			row.recalibrated,
		].join(","),
	);
	return `${[columns, ...lines].join("\n")}\n`;
}

/** `remedy`: what to do where it is damaged. */
export function parseLook(text: string, file: string, remedy?: string): Seen[] {
	const damaged = (line: number, problem: string) =>
		fail("DAMAGED", {
			path: file,
			problem: `line ${line}: ${problem}`,
			remedy,
		});
	const [header, ...records] = parseCsv(text, damaged);
	if (header?.fields.join(",") !== columns)
		throw damaged(1, `the columns are not ${columns}`);
	return records.map(({ line, fields }) => {
		const [product, split, path, defect, routed, ...numbers] = fields;
		const known = splits.find((name) => name === split);
		if (numbers.length !== 7 || known === undefined)
			throw damaged(line, "it is no row of a look");
		const number = (i: number): number => {
			const value = Number(numbers[i]);
			if (numbers[i] === "" || Number.isNaN(value))
				throw damaged(line, `${JSON.stringify(numbers[i])} is no number`);
			return value;
		};
		return {
			product: csvPlain(product as string),
			split: known,
			path: csvPlain(path as string),
			defect: defect === "good" ? null : csvPlain(defect as string),
			routed: csvPlain(routed as string),
			score: number(0),
			threshold: number(1),
			unknown: number(2) === 1,
			blurred: number(3) === 1,
			told:
				numbers[4] === "" ? null : { score: number(4), threshold: number(5) },
			recalibrated: number(6),
		};
	});
}

/** As score files have it: as evaluation, which calls nothing unknown. */
export const scoreRow = (row: Seen): ScoreRow => ({
	path: row.path,
	defect: row.defect,
	label: row.defect === null ? 0 : 1,
	score: row.score,
	threshold: row.threshold,
	routed: row.routed,
});
