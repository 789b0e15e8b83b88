import { expect, it } from "vitest";
import { csvNumber, csvPlain, csvText } from "../src/csv.ts";

it.each([
	["a.png", "a.png"],
	["=1+1", "'=1+1"],
	["-a", "'-a"],
	["'=1", "''=1"],
	["it's", "it's"],
	['a,"b"\n', '"a,""b""\n"'],
])("%j is written %j, and read back", (text, field) => {
	expect(csvText(text)).toBe(field);
	const inside = /^"[\s\S]*"$/.test(field)
		? field.slice(1, -1).replaceAll('""', '"')
		: field;
	expect(csvPlain(inside)).toBe(text);
});

it("numbers keep their bits; what is none is refused", () => {
	for (const value of [0.1, -0, 1e-300, Number.POSITIVE_INFINITY])
		expect(Number(csvNumber(value))).toBe(value);
	expect(() => csvNumber(Number.NaN)).toThrow("NaN");
});
