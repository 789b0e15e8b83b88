/** The pages of docs/ that are taken from the program say what the program says. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

describe("docs/", () => {
	it("what `npm run docs` writes is up to date", () => {
		const { status, stdout, stderr } = spawnSync(
			process.execPath,
			["scripts/docs.js", "--check"],
			{ encoding: "utf8" },
		);
		expect(stdout, stderr).toBe("");
		expect(status).toBe(0);
	}, 60_000);

	it("configuration.md has every environment variable that is read", () => {
		const page = readFileSync("docs/configuration.md", "utf8");
		const read = readdirSync("src", { recursive: true, encoding: "utf8" })
			.filter((path) => path.endsWith(".ts"))
			.flatMap((path) => [
				...readFileSync(`src/${path}`, "utf8").matchAll(
					/\benv\.([A-Z][A-Z0-9_]+)/g,
				),
			])
			.map(([, name]) => name as string);
		expect(read).toContain("KEEPSIGHT_TOKEN");
		expect(
			[...new Set(read)].filter((name) => !page.includes(`\`${name}\``)),
		).toEqual([]);
	});

	it("README.md leads to every page, decisions/README.md to every decision", () => {
		for (const folder of ["docs", "docs/decisions"]) {
			const index = readFileSync(`${folder}/README.md`, "utf8");
			const missing = readdirSync(folder).filter(
				(name) =>
					name.endsWith(".md") &&
					name !== "README.md" &&
					!index.includes(`](${name})`),
			);
			expect(missing, folder).toEqual([]);
		}
	});

	it("source files that pages name are there", () => {
		const pages = readdirSync("docs", { recursive: true, encoding: "utf8" })
			.filter((name) => name.endsWith(".md"))
			.map((name) => `docs/${name}`);
		const missing = ["README.md", ...pages].flatMap((page) =>
			[
				...readFileSync(page, "utf8").matchAll(
					/`((?:src|test|bench|scripts|configs|deploy|examples)\/[\w+./-]+\.(?:tsx?|m?js|py|yaml|json))`/g,
				),
			]
				.filter(([, path]) => !existsSync(path as string))
				.map(([, path]) => `${page}: ${path}`),
		);
		expect(missing).toEqual([]);
		expect(pages.length).toBeGreaterThan(40);
	});
});
