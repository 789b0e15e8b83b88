import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { errorCodes, fail, KeepsightError, nearest } from "../src/errors.ts";

it("docs/errors.md explains every code, and no other", () => {
	const documented = [
		...readFileSync("docs/errors.md", "utf8").matchAll(/^\| `(\w+)` +\|/gm),
	].map(([, code]) => code as string);
	expect(documented.toSorted()).toEqual([...errorCodes].toSorted());
});

it("an error carries its code and says what, where and what to do", () => {
	const error = fail("UNKNOWN_NAME", {
		kind: "strategy",
		name: "gmp",
		where: "strategy.name in a.yaml",
		known: ["finetune", "gpm"],
	});
	expect(error).toBeInstanceOf(KeepsightError);
	expect(error.code).toBe("UNKNOWN_NAME");
	expect(error.message).toBe(
		'Unknown strategy "gmp" at strategy.name in a.yaml. Did you mean "gpm"? Use one of: finetune, gpm. One of your own comes with --plugin FILE.',
	);
	expect(
		fail("UNKNOWN_NAME", {
			kind: "product",
			name: "a",
			where: "task",
			known: [],
		}).message,
	).toBe('Unknown product "a" at task. None is known yet.');
});

describe("nearest", () => {
	it.each([
		["epoch", "epochs"],
		["Seed", "seed"],
		["learning_rates", undefined],
		["", undefined],
	])("%s -> %s", (name, expected) => {
		expect(nearest(name, ["epochs", "seed", "out"])).toBe(expected);
	});
});
