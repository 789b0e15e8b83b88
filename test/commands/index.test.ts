import { describe, expect, it } from "vitest";
import { commandNames, createProgram } from "../../src/commands/index.ts";

const namesOf = async (wanted?: string) =>
	(await createProgram(wanted)).commands.map((command) => command.name());

describe("the table of commands", () => {
	it("names what its files add, in the order of the help", async () => {
		expect(await namesOf()).toEqual(commandNames);
	});

	it.each(commandNames)("%s is there when it alone is loaded", async (name) => {
		expect(await namesOf(name)).toContain(name);
	});

	it("loads all where it is asked for none, or for something else", async () => {
		expect(await namesOf("trian")).toEqual(commandNames);
	});
});
