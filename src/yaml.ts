/**
 * YAML that a person, or anyone, wrote: a value, or a plain Error with the reason. The parser walks what it reads by calling itself, and a stack
 * that is used up can end the whole process (V8 compiles a regular expression there and gives up), so the depth is bounded before it starts.
 * Equal keys are looked for here: the parser compares every key of a map with every other.
 */
import {
	CST,
	type Document,
	isScalar,
	Lexer,
	LineCounter,
	parseDocument,
	visit,
} from "yaml";
import { DEEPEST, treeProblem } from "./storage.ts";

/** Letters of a text: enough for the names of 10,000 categories. */
const LONGEST = 200_000;
/** Anchors and aliases: the parser looks through the whole text for each. */
const MOST_ALIASES = 100;

export function parseYaml(text: string): {
	readonly document: Document;
	readonly lines: LineCounter;
	readonly value: unknown;
} {
	if (text.length > LONGEST)
		throw new Error(`it has more than ${LONGEST} letters`);
	checkBounds(text);
	const lines = new LineCounter();
	const document = parseDocument(text, {
		logLevel: "silent",
		uniqueKeys: false,
		prettyErrors: false, // writes a message for each of what may be thousands
		lineCounter: lines,
	});
	const at = (offset: number, problem: string) => {
		const { line, col } = lines.linePos(offset);
		return new Error(`${problem} at line ${line}, column ${col}`);
	};
	const [first] = [...document.errors, ...document.warnings];
	if (first) throw at(first.pos[0], first.message);
	visit(document, {
		Map(_, { items }) {
			const seen = new Set<unknown>();
			for (const { key } of items) {
				if (!isScalar(key)) {
					const offset = (key as { range?: readonly number[] } | null)?.range;
					throw at(offset?.[0] ?? 0, "A key must be plain text");
				}
				const name = String(key.value);
				if (seen.has(name))
					throw at(key.range?.[0] ?? 0, "Map keys must be unique");
				seen.add(name);
			}
		},
	});
	const value: unknown = document.toJS({ maxAliasCount: MOST_ALIASES });
	const odd = treeProblem(value, true); // an alias may stand within what it names
	if (odd !== null) throw new Error(odd);
	return { document, lines, value };
}

/** By its tokens: anchors and aliases; brackets that are open, indicators (- ? :) of blocks that one line opens, and columns of indentation, of which each level takes one. */
function checkBounds(text: string): void {
	let [brackets, indicators, aliases, last] = [0, 0, 0, "\n"];
	for (const token of new Lexer().lex(text)) {
		const begins = last.endsWith("\n"); // a line
		if (begins) indicators = 0;
		const isText = last === CST.SCALAR; // also of several lines, indented or not
		last = token;
		if (isText) continue;
		if (/^[&*]/.test(token)) aliases++;
		if (aliases > MOST_ALIASES)
			throw new Error(`it has more than ${MOST_ALIASES} anchors and aliases`);
		if (token === "[" || token === "{") brackets++;
		else if (token === "]" || token === "}") brackets--;
		else if (brackets === 0 && /^[-?:]$/.test(token)) indicators++;
		if (brackets < 0) throw new Error("a bracket closes none");
		const columns =
			begins && brackets === 0 && token.startsWith(" ") ? token.length : 0;
		if (Math.max(brackets, indicators, columns) > DEEPEST)
			throw new Error(`it is nested more than ${DEEPEST} levels deep`);
	}
}
