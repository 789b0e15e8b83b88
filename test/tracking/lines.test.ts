/** The lines of log.jsonl: their schema is what docs/tracking.md says, and what is no line is passed over. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { lineSchema, parseLine, scalarsOf } from "../../src/tracking/lines.ts";

interface Json {
	readonly type?: string | readonly string[];
	readonly const?: string;
	readonly enum?: readonly string[];
	readonly anyOf?: readonly Json[];
	readonly description?: string;
	readonly properties?: Readonly<Record<string, Json>>;
	readonly required?: readonly string[];
}

const kindOf = ({ type, const: only, enum: some, anyOf }: Json): string => {
	if (only !== undefined) return `"${only}"`;
	if (some) return some.map((value) => `"${value}"`).join(", ");
	return (anyOf?.map(kindOf) ?? [type].flat()).join(" or ");
};

/** The page's rows, by the `type` of the line: field, kind, meaning. */
function documented(): Record<string, readonly string[][]> {
	const page = readFileSync("docs/tracking.md", "utf8");
	return Object.fromEntries(
		page
			.split(/^### /m)
			.slice(1)
			.map((section) => [
				/^`(\w+)`: (.*)/.exec(section)?.slice(1, 3).join(": ") ?? section,
				[...section.matchAll(/^\| `(\w+)` +\| (.*?) +\| (.*?) +\|$/gm)].map(
					([, ...cells]) => cells as string[],
				),
			]),
	);
}

it("docs/tracking.md has every field of every line, and no other", () => {
	const wanted = Object.fromEntries(
		lineSchema.options.map((option) => {
			const json = z.toJSONSchema(option) as Json;
			const { type, ...fields } = json.properties ?? {};
			expect(json.required).toEqual(Object.keys(json.properties ?? {})); // none is ever left out
			return [
				`${type?.const}: ${json.description}`,
				Object.entries(fields).map(([name, field]) => [
					name,
					kindOf(field),
					field.description ?? "",
				]),
			];
		}),
	);
	expect(documented()).toEqual(wanted);
});

describe("parseLine", () => {
	const end = {
		type: "end",
		time: "2026-03-01T10:00:00.000Z",
		state: "finished",
		message: null,
	};
	it("takes a line, also with fields of a later version", () => {
		expect(parseLine(JSON.stringify(end))).toEqual(end);
		expect(parseLine(JSON.stringify({ ...end, later: 1 }))).toEqual(end);
	});
	it.each([
		["", "nothing"],
		['{"type":"end","time":"2026-', "a torn line"],
		["[]", "no object"],
		["null", "nothing at all"],
		[JSON.stringify({ ...end, type: "more" }), "a kind of a later version"],
		[JSON.stringify({ ...end, state: "well" }), "another state"],
		['{"__proto__":{"type":"end"}}', "a prototype"],
	])("%s: null, being %s", (text) => {
		expect(parseLine(text)).toBeNull();
	});
});

it("scalarsOf leaves out what has no number", () => {
	expect(
		scalarsOf({
			type: "epoch",
			time: "2026-03-01T10:00:00.000Z",
			task: "mvtec/a",
			taskIndex: 1,
			epoch: 1,
			epochs: 2,
			step: 7,
			loss: 0.5,
			accuracy: null,
			seconds: 2,
			diagnostics: { freeRank: 3, odd: Number.NaN, none: null },
		}),
	).toEqual([
		["train/loss", 0.5],
		["train/task", 2],
		["train/epoch_seconds", 2],
		["diagnostics/free_rank", 3],
	]);
});
