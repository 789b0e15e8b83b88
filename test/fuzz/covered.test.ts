/** That no parser is forgotten, and that the harness sees what it is there to see. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { fail } from "../../src/errors.ts";
import { corpora, fuzz, type Reader } from "./harness.ts";
import { bytes, csv, json, safetensors, yaml } from "./mutate.ts";
import { parsers } from "./parsers.ts";
import { utf8 } from "./values.ts";

/** What takes bytes from a disk or a network, or makes values of them. */
const reads =
	/\b(JSON\.parse|parseYaml|parseDocument|readFile|readFileSync|createReadStream|readJsonObject|readText|readBytes|readSafetensors|readSafetensorsFile|safeParse|parseCsv|parseScores|readReview|readBmp|readFloats|sharp|fetch|DataView)\(|new Database\(/;

/** Files that read, but need no parser of their own here. */
const reasons: Readonly<Record<string, string>> = {
	"benchmark/benchmark.ts":
		"reads what it has written itself, by look.ts (parser: look) and storage.ts, and a list of drawn images by its schema",
	"plugins.ts": "imports code that the user names, and hashes it",
	"commands/doctor.ts": "reads the package.json of this very program",
	"version.ts": "reads the package.json of this very program",
	"data/fingerprint.ts": "hashes bytes and looks at none of them",
	"qualify/pictures.ts": "hashes bytes and looks at none of them",
	"export/export.ts": "copies files and compares their hashes",
	"export/verify.ts":
		"reads pictures and maps by data/image.ts, and files that the manifest's hashes name",
	"golden/compare.ts":
		"reads reference values for `npm run golden`, a tool of developers: a damaged file is an error of the tool",
	"predictor.ts": "hands bytes on to data/image.ts",
	"reports/charts.ts": "rasterises SVG that it has written itself",
	"reports/page.ts":
		"JSON.parse stands in the page's script and reads what the page holds",
	"server/jobs.ts": "reads review tables by review.ts (parser: review)",
	"server/serve.ts": "sends files of the dashboard as they are",
	"study/queue/s3.ts":
		"stores bytes as they are below checked names; what S3 says is read by its own client",
	"teach.ts": "reads review tables by review.ts (parser: review)",
};

const sources = readdirSync("src", { recursive: true, encoding: "utf8" })
	.filter((path) => path.endsWith(".ts"))
	.map((path) => path.replaceAll("\\", "/"));

describe("every file of src/ that reads", () => {
	const covered = new Set(parsers.flatMap(({ covers }) => covers));
	const found = sources.filter((path) =>
		reads.test(
			readFileSync(join("src", path), "utf8").replace(
				/\/\*[\s\S]*?\*\/|\/\/.*$/gm,
				"",
			),
		),
	);

	it("is there to be found", () => {
		expect(found.length).toBeGreaterThan(40); // the pattern still fits the code
	});
	it.each(found)("%s has a parser or a reason", (path) => {
		expect(covered.has(path) || path in reasons).toBe(true);
	});
	it("and no other file has one", () => {
		expect([...covered].filter((path) => !sources.includes(path))).toEqual([]);
		expect(
			Object.keys(reasons).filter((path) => !found.includes(path)),
		).toEqual([]);
		expect(Object.keys(reasons).filter((path) => covered.has(path))).toEqual(
			[],
		);
	});
	it("and every folder of corpus/ belongs to a parser", () => {
		const names = parsers.map(({ name }) => name);
		expect(new Set(names).size).toBe(names.length);
		expect(corpora().filter((name) => !names.includes(name))).toEqual([]);
	});
});

describe("the harness", () => {
	const run = (read: Reader["read"], seeds = [utf8('{"a": 1}')]) =>
		fuzz(
			{
				name: "canary",
				covers: [],
				mutate: json,
				open: () => ({ seeds, read }),
			},
			{ cases: 50, seed: 1, limitMs: 100 },
		);
	const refuse = () => fail("DAMAGED", { path: "a", problem: "it is" });
	const valid = (input: Uint8Array) =>
		Buffer.from(input).toString() === '{"a": 1}';

	it("counts values and clear errors", async () => {
		const { values, codes, cases } = await run((input) => {
			if (!valid(input)) throw refuse();
		});
		expect(cases).toBe(51);
		expect(values + (codes.get("DAMAGED") ?? 0)).toBe(51);
		expect(values).toBeLessThan(10); // a change may change nothing
	});
	it("refuses any other error, and keeps the case", async () => {
		await expect(
			run((input) => {
				if (!valid(input)) throw new TypeError("a is not a function");
			}),
		).rejects.toThrow();
		expect(existsSync(".cache/fuzz/canary.failed")).toBe(true);
	});
	it("refuses a valid input that is refused", async () => {
		await expect(
			run(() => {
				throw refuse();
			}),
		).rejects.toThrow("canary: seed 0 is refused: DAMAGED");
	});
	it("refuses what computes for too long", async () => {
		await expect(
			run(() => {
				const { user } = process.cpuUsage();
				while (process.cpuUsage().user - user < 110_000);
			}),
		).rejects.toThrow(/it took \d+ ms/);
	});
});

describe("mutations", () => {
	const header = Buffer.from(
		'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
	);
	const size = Buffer.alloc(8);
	size.writeBigUInt64LE(BigInt(header.length));
	it.each([
		["bytes", bytes, "0123456789"],
		["yaml", yaml, "a: 1\nb: [2, 3]\n"],
		["csv", csv, "a,b\n1,2\n"],
		["json", json, '{"a": [1, "b", null], "c": {"d": 0.5}}'],
		[
			"safetensors",
			safetensors,
			Buffer.concat([size, header, Buffer.alloc(4)]).toString("latin1"),
		],
	] as const)(
		"of %s are the same each time, and of many kinds",
		(_, mutate, seed) => {
			const seeds = [Buffer.from(seed, "latin1")];
			const all = Array.from({ length: 400 }, (_, i) => {
				const drawn = {
					seed: 0,
					changes: [{ what: i, at: i * 7919, by: i * 104_729 }],
				};
				const once = Buffer.from(mutate(seeds, drawn));
				expect(once.equals(mutate(seeds, drawn))).toBe(true);
				return once.toString("latin1");
			});
			expect(new Set(all).size).toBeGreaterThan(80);
			expect(seeds[0]?.toString("latin1")).toBe(seed);
		},
	);
});
