/** docs/strategies.md has every strategy with its title and every option; configs/strategies/ has a run that loads for each. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { loadConfig } from "../../src/config.ts";
import { strategies } from "../../src/strategies/index.ts";
import type { StrategyDefinition } from "../../src/strategies/strategy.ts";

const page = readFileSync("docs/strategies.md", "utf8");
const sections = new Map(
	page
		.split(/^## /m)
		.slice(1)
		.map((text) => [text.split("\n")[0] as string, text]),
);
const all = Object.entries(strategies as Record<string, StrategyDefinition>);
const snake = (key: string) =>
	key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

describe("docs/strategies.md", () => {
	it("has a section for every strategy, in the registry's order", () => {
		const titles = [...sections.keys()].filter((t) => t.startsWith("`"));
		expect(titles).toEqual(all.map(([name, d]) => `\`${name}\`: ${d.title}`));
	});
	it.each(all)("explains every option of %s with its default", (name, d) => {
		const section = sections.get(`\`${name}\`: ${d.title}`) ?? "";
		const { shape } = d.options as unknown as z.ZodObject;
		const defaults = d.options.parse({}) as Record<string, unknown>;
		for (const key of Object.keys(shape)) {
			expect(section, key).toContain(`\`${snake(key)}\``);
			const value = defaults[key];
			const told =
				typeof value === "number" ? String(value).replace(/^0\./, ".") : null;
			if (told !== null && !/as `(replay|der)`/.test(section))
				expect(section, key).toMatch(
					new RegExp(`\`${snake(key)}\` \\(${told.replaceAll(".", "\\.")}[;)]`),
				);
		}
	});
});

describe("configs/strategies", () => {
	const files = readdirSync("configs/strategies");
	it("has a file for every strategy with options of its own", () => {
		const configured = all
			.filter(([, d]) => d.paper !== "reference")
			.map(([name]) => `${name}.yaml`);
		expect(files.toSorted()).toEqual(configured.toSorted());
	});
	it.each(files)("%s is a run of that strategy", async (file) => {
		const { config } = await loadConfig(`configs/strategies/${file}`);
		expect(`${config.strategy.name}.yaml`).toBe(file);
	});
});
