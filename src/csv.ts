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
