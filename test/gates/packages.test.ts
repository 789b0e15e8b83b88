/** The gates of `npm run check` on packages: each is given something bad. That they pass on this repository, check itself says. */
import { describe, expect, it } from "vitest";
import { licenceProblems } from "../../scripts/gates/licences.js";
import { advisories, lockProblems } from "../../scripts/gates/lock.js";
import { needed, packageProblems } from "../../scripts/gates/size.js";

const integrity = `sha512-${"a".repeat(86)}==`;

describe("licences", () => {
	const problems = (
		license: string | undefined,
		more: object = {},
		inside: string | undefined = license,
	) =>
		licenceProblems(
			{ packages: { "": {}, "node_modules/a": { license, ...more } } },
			() => (inside === undefined ? {} : { license: inside }),
			{
				"a*": {
					licences: ["MPL-2.0"],
					development: true,
					reason: "a test",
				},
			},
		);
	it.each(["MIT", "(MIT OR GPL-3.0)", "Apache-2.0 AND ISC"])(
		"%s passes",
		(licence) => {
			expect(problems(licence, { dev: true })).toEqual([]);
		},
	);
	it.each([
		["GPL-3.0-only", {}, '"GPL-3.0-only" is not on the list'],
		["MIT AND GPL-3.0-only", {}, "is not on the list"],
		["(MIT OR ISC) AND 0BSD", {}, "too involved"],
		[undefined, {}, "names no licence"],
		["UNLICENSED", {}, '"UNLICENSED" is not on the list'],
	])("%s fails", (licence, more, said) => {
		expect(problems(licence, { dev: true, ...more }).join("\n")).toContain(
			said,
		);
	});
	it("an exception for development ends where it is shipped", () => {
		expect(problems("MPL-2.0", { dev: true })).toEqual([]);
		expect(problems("MPL-2.0").join()).toContain("shipped needs it");
	});
	it("a lock file and a package that say different things fail", () => {
		expect(problems("MIT", { dev: true }, "ISC").join()).toContain(
			'"ISC" in its package.json, "MIT" in package-lock.json',
		);
	});
	it("an exception that nothing uses fails", () => {
		expect(
			licenceProblems({ packages: { "": {} } }, () => null, {
				b: { licences: [], reason: "a test" },
			}),
		).toHaveLength(1);
	});
});

describe("lock file", () => {
	const good = {
		manifest: { dependencies: { a: "1.2.3" }, allowScripts: {} },
		own: { dependencies: { a: "1.2.3" } },
		a: { version: "1.2.3", integrity, engines: { node: ">=18" } },
	};
	const problems = (
		change: Partial<Record<keyof typeof good, object>> = {},
		newer = {},
	) => {
		const { manifest, own, a } = { ...good, ...change };
		return lockProblems(
			{ packages: { "": own, "node_modules/a": a } },
			manifest,
			newer,
		).join("\n");
	};
	it("passes", () => {
		expect(problems()).toBe("");
	});
	it.each([
		[
			"a range",
			{ manifest: { dependencies: { a: "^1.2.3" }, allowScripts: {} } },
			'a is "^1.2.3". Pin one version',
		],
		[
			"a lock file of yesterday",
			{ own: { dependencies: { a: "1.2.2" } } },
			"a is not what package.json asks for",
		],
		[
			"a package from git",
			{ a: { ...good.a, resolved: "git+ssh://example.org/a.git#1" } },
			"comes from git+ssh://",
		],
		["a linked folder", { a: { ...good.a, link: true } }, "from a folder"],
		[
			"a package without its hash",
			{ a: { ...good.a, integrity: undefined } },
			"no SHA-512",
		],
		[
			"a package with a weak hash",
			{ a: { ...good.a, integrity: "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=" } },
			"no SHA-512",
		],
		[
			"a script at installation",
			{ a: { ...good.a, hasInstallScript: true } },
			"runs a script when it is installed",
		],
		[
			"a script that is allowed",
			{
				a: { ...good.a, hasInstallScript: true },
				manifest: { ...good.manifest, allowScripts: { a: true } },
			},
			"runs a script when it is installed",
		],
		[
			"a script that is no more",
			{ manifest: { ...good.manifest, allowScripts: { a: false } } },
			"has no install script any more",
		],
		[
			"a newer Node",
			{ a: { ...good.a, engines: { node: "^20.20.0 || >=22" } } },
			"asks for Node ^20.20.0 || >=22",
		],
	])("%s fails", (_, change, said) => {
		expect(problems(change)).toContain(said);
	});
	it("an exception that is not needed fails", () => {
		expect(problems({}, { a: "a test" })).toContain("not needed any more");
	});
});

describe("audit", () => {
	const report = {
		vulnerabilities: {
			a: {
				nodes: ["node_modules/a"],
				via: [
					{
						title: "reads beyond its end",
						url: "https://example.org/advisories/GHSA-1",
						severity: "high",
						range: "<2",
					},
				],
			},
			b: { nodes: ["node_modules/b"], via: ["a"] },
		},
	};
	it("tells what is shipped from what is not", () => {
		const [found, ...more] = advisories(report, {}) ?? [];
		expect(more).toEqual([]);
		expect(found).toMatchObject({ shipped: true });
		expect(found?.text).toContain("a <2: high, reads beyond its end");
		expect(
			advisories(report, { "node_modules/a": { dev: true } }),
		).toMatchObject([{ shipped: false }]);
		expect(advisories(report, {}, { "GHSA-1": "a test" })).toEqual([]);
	});
	it.each([null, {}, { statusCode: 405, message: "no" }])(
		"knows nothing from %j",
		(answer) => {
			expect(advisories(answer, {})).toBeNull();
		},
	);
});

describe("package", () => {
	const problems = (paths: string[], size = 10) =>
		packageProblems(
			{ files: paths.map((path) => ({ path })), size, unpackedSize: size },
			{ packed: 10, unpacked: 10, files: 11 },
		).join("\n");
	it("passes", () => {
		expect(problems(needed)).toBe("");
	});
	it.each([
		"src/cli.ts",
		"test/cli.test.ts",
		"dist/cli.ts",
		"dist/.built",
		"results/demo/Anomaly/run.json",
		"docs/notes.txt",
		".cache/vitest.json",
	])("%s fails", (path) => {
		expect(problems([...needed, path])).toBe(
			`${path} does not belong into the package. Leave it out (files in package.json), or give it a pattern in scripts/gates/size.js.`,
		);
	});
	it("a missing file fails", () => {
		expect(problems(needed.slice(1))).toContain(
			"dist/cli.js is missing from the package",
		);
	});
	it("what is too large fails", () => {
		expect(problems(needed, 11)).toContain(
			"11 bytes packed, its ceiling is 10",
		);
		expect(problems(needed, 11)).toContain("11 bytes unpacked");
		expect(problems([...needed, "docs/a.md", "docs/b.md"])).toContain(
			"12 files, its ceiling is 11",
		);
	});
});
