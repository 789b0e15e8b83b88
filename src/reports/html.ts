/** HTML from templates that escape whatever they are given, and charts made fit to stand in a page. */

/** Markup; everything else that a template is given is text. */
export class Html {
	readonly text: string;
	constructor(text: string) {
		this.text = text;
	}
}

type Part = Html | string | number | null | readonly Part[];

/** html`<b>${name}</b>`: values are escaped, `Html` is not, lists are joined, null is nothing. Attributes must stand in double quotes. */
export const html = (
	texts: TemplateStringsArray,
	...parts: readonly Part[]
): Html =>
	new Html(texts.map((text, i) => text + markup(parts[i] ?? null)).join(""));

function markup(part: Part): string {
	if (part === null) return "";
	if (part instanceof Html) return part.text;
	if (typeof part === "object") return part.map(markup).join("");
	return escapeHtml(String(part));
}

const entities: Readonly<Record<string, string>> = {
	"&": "&amp;",
	"<": "&lt;",
	">": "&gt;",
	'"': "&quot;",
	"'": "&#39;",
};
export const escapeHtml = (text: string): string =>
	text.replaceAll(/[&<>"']/g, (c) => entities[c] as string);

/** A name from outside; letters of another direction do not disturb the text around it. */
export const nameHtml = (name: string): Html => html`<bdi>${name}</bdi>`;

/** JSON as the content of a script element: nothing in it can end the element. Infinities are written as numbers beyond all. */
export const scriptJson = (value: unknown): Html =>
	new Html(
		JSON.stringify(value, (_, v: unknown) =>
			v === Number.POSITIVE_INFINITY
				? 1e308
				: v === Number.NEGATIVE_INFINITY
					? -1e308
					: v,
		)
			.replaceAll("<", "\\u003c")
			.replaceAll("\u2028", "\\u2028")
			.replaceAll("\u2029", "\\u2029"),
	);

/**
 * A chart of ECharts within a page of a strict policy: without style elements, styles become attributes; ids get a prefix, as
 * all charts share the page's. Colours stay those on white: the page's style sheet turns ink and grounds for a dark one.
 */
export function inlineSvg(svg: string, prefix: string, label: string): Html {
	const inner = svg
		.replaceAll(/<style\b[\s\S]*?<\/style>/g, "")
		.replaceAll(/ (?:class|ecmeta_\w+|pointer-events)="[^"]*"/g, "")
		.replaceAll(/ style="([^"]*)"/g, (_, style: string) => attributes(style))
		.replaceAll(/ id="(id\d+)"/g, ` id="${prefix}-$1"`)
		.replaceAll(/url\(#(id\d+)\)/g, `url(#${prefix}-$1)`);
	return new Html(
		inner.replace(
			/^<svg /,
			() => `<svg class="chart" role="img" aria-label="${escapeHtml(label)}" `,
		),
	);
}

/** "font-size:12px;font-weight:bold;" -> ' font-size="12px" font-weight="bold"' */
const attributes = (style: string): string =>
	style
		.split(";")
		.flatMap((rule) => {
			const [name, value] = rule.split(/:(.*)/s);
			return name && value ? [` ${name.trim()}="${value.trim()}"`] : [];
		})
		.join("");
