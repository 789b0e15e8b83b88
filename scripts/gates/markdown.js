/** A Markdown page as the gates and the tests of the documentation see it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import GithubSlugger from "github-slugger";
import MarkdownIt from "markdown-it";
import { root } from "../project.js";

const parser = new MarkdownIt({ html: true });

/** Every Markdown file of the repository, new ones too: paths with /. */
export const pages = (folder = "") =>
	readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
		const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
		if (entry.isDirectory())
			return made.includes(entry.name) || entry.name.startsWith(".")
				? []
				: pages(path);
		return entry.name.endsWith(".md") ? [path] : [];
	});
/** Folders that hold nothing of the repository's own; there need not be a git to ask. */
const made = ["node_modules", "dist", "results", "demo-data", "coverage"];

/**
 * anchors: what #... may name, by GitHub's rules. links: { target, line }, of pictures and HTML too.
 * blocks: fenced code { language, text, line, notes }, notes being the HTML comments just above it, in order.
 * codes: inline code, and lines of code that is indented instead of fenced, { text, line }.
 */
export function readMarkdown(text) {
	const page = { anchors: new Set(), links: [], blocks: [], codes: [] };
	const slugger = new GithubSlugger();
	let notes = [];
	let line = 1; // cells of a table have no line of their own
	const tokens = parser.parse(text, {});
	tokens.forEach((token, i) => {
		if (token.map) line = token.map[0] + 1;
		if (token.type === "html_block") {
			readHtml(token.content, line, page);
			const comments = [
				...token.content.matchAll(/<!--\s*([\s\S]*?)\s*-->/g),
			].map(([, comment]) => comment);
			notes =
				token.content.replace(/<!--[\s\S]*?-->/g, "").trim() === ""
					? [...notes, ...comments]
					: [];
			return;
		}
		if (token.type === "fence")
			page.blocks.push({
				language: token.info.trim().split(/\s+/)[0] ?? "",
				text: token.content,
				line,
				notes,
			});
		notes = [];
		if (token.type === "code_block")
			token.content.split("\n").forEach((text, n) => {
				if (text !== "") page.codes.push({ text, line: line + n });
			});
		if (token.type !== "inline") return;
		for (const child of token.children) {
			if (child.type === "link_open")
				page.links.push({ target: child.attrGet("href"), line });
			if (child.type === "image")
				page.links.push({ target: child.attrGet("src"), line });
			if (child.type === "html_inline") readHtml(child.content, line, page);
			if (child.type === "code_inline")
				page.codes.push({ text: child.content, line });
		}
		if (tokens[i - 1]?.type === "heading_open")
			page.anchors.add(
				slugger.slug(
					token.children
						.filter(({ type }) => type === "text" || type === "code_inline")
						.map(({ content }) => content)
						.join(""),
				),
			);
	});
	return page;
}

function readHtml(html, line, page) {
	for (const [, name] of html.matchAll(/\s(?:id|name)="([^"]+)"/g))
		page.anchors.add(name);
	for (const [, target] of html.matchAll(/\s(?:href|src)="([^"]+)"/g))
		page.links.push({ target, line });
}

export const readPage = (path) =>
	readMarkdown(readFileSync(join(root, path), "utf8"));
