/** Values of a CSV file (RFC 4180) as every file of ours writes them. */

/** Spreadsheets run a text that starts like a formula (OWASP: CSV injection): it gets an apostrophe in front, which `csvPlain` removes. */
const formula = /^'*[=+\-@\t\r\n＝＋－＠]/;
const disguised = /^'+[=+\-@\t\r\n＝＋－＠]/;

export function csvText(value: string): string {
	const safe = formula.test(value) ? `'${value}` : value;
	return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** The text that `csvText` was given, of a field without its quotes. */
export const csvPlain = (field: string): string =>
	disguised.test(field) ? field.slice(1) : field;

/** JavaScript's shortest form, which reads back to the same bits ("Infinity" and "-0" included). */
export function csvNumber(value: number): string {
	if (Number.isNaN(value)) throw new Error("csvNumber: NaN is no number");
	return Object.is(value, -0) ? "-0" : String(value);
}

export interface CsvRecord {
	/** Where it starts, counted from 1. */
	readonly line: number;
	readonly fields: readonly string[];
}

/** RFC 4180; empty lines are skipped. */
export function parseCsv(
	text: string,
	invalid: (line: number, problem: string) => Error,
): CsvRecord[] {
	const records: CsvRecord[] = [];
	let line = 1;
	let i = 0;
	while (i < text.length) {
		const start = line;
		const fields: string[] = [];
		for (;;) {
			if (text[i] === '"') {
				let value = "";
				for (i++; ; i++) {
					const c = text[i];
					if (c === undefined)
						throw invalid(start, "a quoted field is never closed");
					if (c === '"' && text[++i] !== '"') break;
					if (c === "\n") line++;
					value += c;
				}
				fields.push(value);
				if (text[i] !== undefined && !",\r\n".includes(text[i] as string))
					throw invalid(line, "text follows a closing quote");
			} else {
				const end = i;
				while (i < text.length && !',"\r\n'.includes(text[i] as string)) i++;
				if (text[i] === '"')
					throw invalid(line, "a quote stands inside an unquoted field");
				fields.push(text.slice(end, i));
			}
			if (text[i] !== ",") break;
			i++;
		}
		if (text[i] === "\r") i++;
		if (text[i] === "\n") i++;
		line++;
		if (fields.length > 1 || fields[0] !== "")
			records.push({ line: start, fields });
	}
	return records;
}
