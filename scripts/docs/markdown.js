/** Pieces of Markdown that several pages are made of. */

/** What stands above every page that is written by a program. */
export const generated = (from) =>
	`<!-- Written by \`npm run docs\` from ${from}; a test keeps them equal. -->`;

/** A table; cells are Markdown. Nothing where there are no rows. */
export function table(heading, rows) {
	if (rows.length === 0) return "";
	const line = (cells) => `| ${cells.map(cell).join(" | ")} |`;
	return [
		line(heading),
		line(heading.map(() => "---")),
		...rows.map(line),
	].join("\n");
}

const cell = (text) =>
	String(text)
		.replaceAll("|", "\\|")
		.replaceAll(/\s*\n\s*/g, " ");

/** Text of the program as Markdown: what has a meaning there has none here, but for `code`; pages that are named are linked. */
export const prose = (text) =>
	text
		.replaceAll(
			/(`[^`]*`)|([<*[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))/g,
			(_, code, sign) => code ?? `\\${sign}`,
		)
		.replaceAll(/\bdocs\/([\w-]+)\.md/g, "[$1]($1.md)");

/** A description as a sentence. */
export const sentence = (text) =>
	`${prose(text.charAt(0).toUpperCase() + text.slice(1)).replace(/\.$/, "")}.`;

export const code = (text) => `\`${text}\``;

/** A link to a heading of the same page, by GitHub's rules. */
export const toHeading = (heading) =>
	`[${heading}](#${heading
		.toLowerCase()
		.replaceAll(/[^\w\- ]/g, "")
		.replaceAll(" ", "-")})`;

/** Parts with an empty line between them. */
export const page = (...parts) =>
	`${parts.flat(Infinity).filter(Boolean).join("\n\n")}\n`;
