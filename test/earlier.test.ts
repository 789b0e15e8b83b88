/**
 * Run folders of earlier versions of the program open, score, and go on being taught. They lie in test/earlier/, as those versions wrote
 * them on the pictures of `drawCategory`; docs/durability.md says what has changed since.
 */
import {
	cpSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluateRun } from "../src/evaluate.ts";
import type { Prediction } from "../src/events.ts";
import { known } from "../src/known.ts";
import { predictAll } from "../src/predict.ts";
import { openRun, type ScoreRow } from "../src/run.ts";
import { Ledger } from "../src/study/ledger.ts";
import { teach } from "../src/teach.ts";
import { drawCategory } from "./drawn.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-earlier-"));
const data = join(work, "data");
beforeAll(async () => {
	await drawCategory(join(data, "mvtec/a"), 0, 12, 2);
	await drawCategory(join(data, "mvtec/b"), 1, 12, 2);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const folders = [
	"single-memory",
	"wide-covariances",
	"no-precision",
	"versions",
];
const watcher = { emit: () => {}, stop: { requested: false } };
const copyOf = (name: string) => {
	const dir = join(mkdtempSync(join(work, "copy-")), "Anomaly");
	cpSync(join(import.meta.dirname, "earlier", name), dir, { recursive: true });
	return dir;
};
/** Of the last stage that knows every product of the run. */
const scoresOf = (dir: string): readonly ScoreRow[] =>
	openRun(dir, "read")
		.readAllScores()
		.at(-1)
		?.categories.flatMap(({ rows }) => rows) ?? [];

/**
 * Far out, the tail of good parts is drawn otherwise today, and covariances are rounded: scores among those of good parts are the same to
 * four digits, and no two pictures that were scored as the same product change places.
 */
function expectAlike(scores: readonly ScoreRow[], before: readonly ScoreRow[]) {
	expect(scores.length).toBeGreaterThan(0);
	const places = (rows: readonly ScoreRow[]) =>
		["mvtec/a", "mvtec/b"].map((product) =>
			rows
				.filter(({ routed }) => routed === product)
				.toSorted((a, b) => a.score - b.score)
				.map(({ path, label }) => [path, label]),
		);
	expect(places(scores)).toEqual(places(before));
	for (const [i, { score, path }] of before.entries())
		if (score < 1) expect(scores[i]?.score, path).toBeCloseTo(score, 4);
}

describe.each(folders)("%s", (name) => {
	it("is listed, scored as it was, predicted with, and learns another product", async () => {
		const dir = copyOf(name);
		const before = scoresOf(dir);
		const { version, products } = known(dir);
		expect(products.map(({ id }) => id)).toEqual(["mvtec/a", "mvtec/b"]);
		expect(version.version).toBe(2);

		if (name === "versions")
			await teach(
				{ memDir: dir, config: null, change: { kind: "rollback", to: 1 } },
				watcher,
			);
		await evaluateRun(
			{ memDir: dir, dataRoot: data, oracleTask: false, trivial: false },
			watcher,
		);
		expectAlike(scoresOf(dir), before);

		const predictions: Prediction[] = [];
		await predictAll(
			{ memDir: dir, inputs: [join(data, "mvtec/a/test/good")] },
			{
				...watcher,
				emit: (event) => {
					if (event.type === "prediction") predictions.push(event.prediction);
				},
			},
			(async function* () {})(),
		);
		expect(predictions.map(({ score }) => score)).toEqual(
			scoresOf(dir)
				.filter(({ path }) => path.startsWith("mvtec/a/test/good/"))
				.map(({ score }) => score),
		);

		await teach(
			{
				memDir: dir,
				config: null,
				change: {
					kind: "learn",
					task: "c",
					data: join(data, "mvtec/b"),
					review: false,
				},
			},
			watcher,
		);
		expect(known(dir).products.map(({ id }) => id)).toContain("c");
	});
});

it("a version is gone back to whatever the configuration names: its methods may be of a plugin that is not here", async () => {
	const dir = copyOf("versions");
	const record = join(dir, "run.json");
	const text = readFileSync(record, "utf8");
	writeFileSync(record, text.replace(/"name": "\w+"/g, '"name": "other"'));
	await teach(
		{ memDir: dir, config: null, change: { kind: "rollback", to: 1 } },
		watcher,
	);
	expect(known(dir).version.version).toBe(3);
	await expect(
		teach(
			{ memDir: dir, config: null, change: { kind: "rollback", to: 9 } },
			watcher,
		),
	).rejects.toThrow(/keeps no version 9/);
});

it("a ledger of before attempts, digests and workers", () => {
	expect(Object.values(new Ledger(copyOf("ledger"), () => {}).entries)).toEqual(
		[
			{
				folder: "finetune-seed0-order1-c83853bb",
				label: "finetune",
				message: null,
				order: 1,
				seconds: 2.5,
				seed: 0,
				state: "finished",
				attempts: 0,
				start: null,
				digest: null,
				worker: null,
			},
		],
	);
});

it("every folder is opened here, and docs/durability.md names it", () => {
	const kept = readdirSync(join(import.meta.dirname, "earlier"));
	expect(kept.sort()).toEqual([...folders, "ledger"].sort());
	const page = readFileSync("docs/durability.md", "utf8");
	for (const name of kept) expect(page).toContain(`| \`${name}\` `);
});
