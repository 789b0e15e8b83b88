/** Tables for a terminal. */

/** Rows of equally many cells, one under the other; columns in `right` end in line, the others begin in line. */
export function inColumns(
	rows: readonly (readonly string[])[],
	right: readonly number[],
): string[] {
	const widths = (rows[0] ?? []).map((_, i) =>
		Math.max(...rows.map((row) => (row[i] as string).length)),
	);
	return rows.map((row) =>
		row
			.map((cell, i) =>
				right.includes(i)
					? cell.padStart(widths[i] as number)
					: cell.padEnd(widths[i] as number),
			)
			.join("  ")
			.trimEnd(),
	);
}

/** A name must neither break its line nor move a terminal's cursor. */
export const plainName = (text: string): string =>
	/\p{Cc}/u.test(text)
		? JSON.stringify(text).replace(
				/\p{Cc}/gu,
				(c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
			)
		: text;
