/**
 * docs/api.md: what src/index.ts exports, with declarations and doc comments. Order and headings are those of src/index.ts (its `//` comments),
 * declarations those that the compiler wrote to dist/. The compiler itself has no interface for programs in this version; Vite's parser
 * reads what it wrote.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseSync } from "vite";
import { root } from "../project.js";
import { code, generated, page } from "./markdown.js";

const intro = `# Library

What \`import ... from "keepsight"\` gives. Everything else may change from one version to the next. Comments below are those of the code: shapes in brackets (letters: [terms](terms.md)), units, what is thrown.

- It is ESM with types, for Node 20.19 or newer. Nothing is read from the network unless a function says so.
- What a user can mend is thrown as a \`KeepsightError\` with a stable \`code\` ([errors](errors.md)); anything else is a mistake of the program.
- Programs that use it: \`examples/\`, and [add your own strategy](add-your-own-strategy.md).`;

const undocumented = [];

export function apiPage() {
	const groups = groupsOf(join(root, "src", "index.ts"));
	const sections = groups.map(({ title, names }) => [
		`## ${title.charAt(0).toUpperCase()}${title.slice(1)}`,
		names.map(section),
	]);
	if (undocumented.length > 0)
		throw new Error(
			`exported by src/index.ts without a doc comment: ${undocumented.join(", ")}`,
		);
	return page(generated("src/index.ts and the doc comments"), intro, sections);
}

/** [{ title, names: [{ name, local, from, above }] }]: a \`//\` comment begins a group. `above`: the doc comment of an export from a package. */
function groupsOf(file) {
	const { program, comments, text } = parsed(file);
	const groups = [];
	for (const node of program.body) {
		const above = comments.filter(
			(c) => c.end <= node.start && c.start >= endBefore(program, node),
		);
		const title = above.findLast(({ type }) => type === "Line");
		const doc = above.findLast(({ type }) => type === "Block");
		if (title) groups.push({ title: title.value.trim(), names: [] });
		groups.at(-1).names.push(
			...node.specifiers.map(({ local, exported }) => ({
				name: exported.name,
				local: local.name,
				from: node.source.value,
				above: doc && docOf(doc.value),
			})),
		);
	}
	if (!text.includes("export {")) throw new Error(`${file} exports nothing`);
	return groups;
}

const endBefore = ({ body }, node) => body[body.indexOf(node) - 1]?.end ?? 0;

function section({ name, local, from, above }) {
	if (!from.startsWith(".")) {
		if (!above) undocumented.push(name);
		return [`### ${name}`, `From the package ${code(from)}.`, above];
	}
	const dts = join(root, "dist", from.replace(/\.ts$/, ".d.ts"));
	const found = declarations(dts, local);
	const doc = found.map((one) => one.doc).find(Boolean);
	if (!doc) {
		undocumented.push(`${name} (${from})`);
		return [];
	}
	const source = `src/${found[0].file
		.slice(join(root, "dist").length + 1)
		.replaceAll("\\", "/")
		.replace(/\.d\.ts$/, ".ts")}`;
	return [
		`### ${name}`,
		doc,
		`<!-- not run: a declaration -->\n\`\`\`typescript\n${found.map((one) => one.text).join("\n")}\n\`\`\``,
		local === name ? code(source) : `${code(source)}, there ${code(local)}`,
	];
}

/** All declarations of a name (a function may have several), through re-exports. */
function declarations(file, name) {
	const { program, comments, text } = parsed(file);
	const own = program.body.flatMap((node) => {
		const declared = node.declaration ?? node;
		const names =
			declared.declarations?.map(({ id }) => id.name) ??
			(declared.id ? [declared.id.name] : []);
		if (!names.includes(name) || declared.type === "ImportDeclaration")
			return [];
		const before = comments.findLast(
			(c) => c.end <= node.start && text.slice(c.end, node.start).trim() === "",
		);
		return [
			{
				file,
				doc: before?.type === "Block" ? docOf(before.value) : null,
				text: text
					.slice(node.start, node.end)
					.replace(/^export declare |^export /, "")
					.replaceAll(/import\("[^"]+"\)\./g, ""),
			},
		];
	});
	if (own.length > 0) return own;
	for (const node of program.body) {
		const target =
			node.source &&
			join(dirname(file), node.source.value.replace(/\.ts$/, ".d.ts"));
		if (!target || !node.source.value.startsWith(".")) continue;
		const specifier = node.specifiers?.find(
			(one) => (one.exported ?? one.local)?.name === name,
		);
		if (node.type === "ExportAllDeclaration") {
			const found = declarations(target, name);
			if (found.length > 0) return found;
		} else if (specifier)
			return declarations(target, (specifier.imported ?? specifier.local).name);
	}
	return [];
}

/** A doc comment as Markdown: without stars, with its line breaks only where a paragraph or a list item ends. */
function docOf(value) {
	const lines = value
		.replace(/^\*/, "")
		.split("\n")
		.map((line) => line.replace(/^\s*\*? ?/, "").trimEnd());
	return lines
		.join("\n")
		.trim()
		.replaceAll(/(`[^`]*`)|([<*])/g, (_, kept, sign) => kept ?? `\\${sign}`)
		.replaceAll(/\bdocs\/([\w-]+)\.md/g, "[$1]($1.md)")
		.replaceAll(/\{@link (\w+)\}/g, "`$1`");
}

const files = new Map();
function parsed(file) {
	const known = files.get(file);
	if (known) return known;
	const text = readFileSync(file, "utf8");
	const { program, comments, errors } = parseSync(file, text);
	if (errors.length > 0) throw new Error(`${file}: ${errors[0].message}`);
	files.set(file, { program, comments, text });
	return files.get(file);
}
