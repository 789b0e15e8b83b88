/** The golden check passes on the reference values, and fails when a number in any of its files is changed. */
import { spawnSync } from "node:child_process";
import {
	copyFileSync,
	cpSync,
	existsSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
	readSafetensorsFile,
	toTensor,
	writeSafetensors,
} from "../src/models/safetensors.ts";
import { goldenAbsent } from "./golden.ts";

const reference = resolve(import.meta.dirname, "../../shared/golden");
const script = resolve(import.meta.dirname, "../dist/golden.js");
const work = mkdtempSync(join(tmpdir(), "keepsight-golden-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const run = (dir: string) => {
	const { status, stdout } = spawnSync(process.execPath, [script, dir], {
		encoding: "utf8",
	});
	return { status, stdout };
};

/** A folder with only the files of one check and what they need, one of them changed. */
function changed(file: string, alter: (path: string) => void): string {
	const dir = mkdtempSync(join(work, "copy-"));
	const group = file.split(".")[0] as string;
	const needed =
		group === "optim"
			? ["vit", file.split(".").slice(0, 2).join(".")]
			: group === "dino"
				? ["vit.config", "dino"]
				: group === "ewc" || group === "si"
					? ["vit", group]
					: [file.startsWith("dne.loo") ? "dne.loo" : group];
	for (const name of readdirSync(reference)) {
		if (
			name === file ||
			(needed.some((n) => name.startsWith(`${n}.`)) && !/\.(py|md)$/.test(name))
		) {
			if (name === file) cpSync(join(reference, name), join(dir, name));
			else symlinkSync(join(reference, name), join(dir, name));
		}
	}
	const path = join(dir, file);
	const bytes = readFileSync(path);
	rmSync(path);
	writeFileSync(path, bytes); // the reference is read-only
	alter(path);
	return dir;
}

/** The largest number of the last tensor, times 1.01 and then some; or another change of its numbers. */
function alterTensors(path: string, alter = raiseLargest): void {
	const { tensors } = readSafetensorsFile(path);
	const all = Object.fromEntries(
		Object.entries(tensors).map(([n, t]) => [n, toTensor(t)]),
	);
	const key = Object.keys(all).at(-1) as string;
	alter((all[key] as { data: Float32Array }).data);
	writeFileSync(path, writeSafetensors(all));
}
function raiseLargest(data: Float32Array): void {
	const at = data.reduce(
		(best, x, i) => (Math.abs(x) > Math.abs(data[best] as number) ? i : best),
		0,
	);
	data[at] = (data[at] as number) * 1.01 + 0.01;
}
function alterJson(path: string): void {
	const text = readFileSync(path, "utf8");
	const numbers = [...text.matchAll(/-?\d+(\.\d+)?([eE][-+]?\d+)?/g)];
	const last = numbers
		.filter(
			(m) =>
				text[m.index - 1] !== '"' && !/[A-Za-z]/.test(text[m.index - 1] ?? ""),
		)
		.at(-1) as RegExpMatchArray & { index: number };
	const value = Number(last[0]);
	writeFileSync(
		path,
		`${text.slice(0, last.index)}${Number.isInteger(value) && !last[0].includes(".") ? (value === 0 ? 1 : value === 1 ? 0 : value + 1) : value * 1.01 + 0.001}${text.slice(last.index + last[0].length)}`,
	);
}

/** Replaces the first such text. */
const replacing = (from: string, to: string) => (path: string) => {
	const text = readFileSync(path, "utf8");
	expect(text).toContain(from);
	writeFileSync(path, text.replace(from, to));
};

const built = [
	"vit.",
	"dino.",
	"optim.",
	"gpm.",
	"ewc.",
	"si.",
	"lwf.",
	"dne.",
	"metrics.image",
	"metrics.continual",
	"metrics.pixel",
];

describe.skipIf(goldenAbsent)(
	`golden check${goldenAbsent ? ` (skipped: ${goldenAbsent})` : ""}`,
	() => {
		it("passes", () => {
			const { status, stdout } = run(reference);
			expect(
				stdout.split("\n").filter((line) => line.includes("FAIL")),
			).toEqual([]);
			expect(status).toBe(0);
		}, 60_000);

		const files = existsSync(reference)
			? readdirSync(reference).filter(
					(name) =>
						/\.(json|safetensors)$/.test(name) &&
						built.some((b) => name.startsWith(b)),
				)
			: [];
		it.each(files)(
			"fails when %s is changed",
			(file) => {
				const { status, stdout } = run(
					changed(file, file.endsWith(".json") ? alterJson : alterTensors),
				);
				expect(stdout).toContain("FAIL");
				expect(status).toBe(1);
			},
			60_000,
		);

		it.each<[string, (path: string) => void]>([
			["expected.json", replacing('"0.05": 0.72', '"0.05": 0.73')],
			["expected.json", replacing('"mean": 0.75', '"mean": 0.76')],
			["expected.json", replacing("72,", "71,")],
			["defects_config.json", replacing(": 400,", ": 300,")],
			// the order of scores counts, so the largest may well be larger
			[
				"maps.safetensors",
				(path) => alterTensors(path, (map) => map.reverse()),
			],
			[
				"ground_truth/logical_anomalies/003/000.png",
				(path) => copyFileSync(path.replace("003", "004"), path),
			],
		])(
			"fails when spro/%s is changed",
			(file, alter) => {
				const dir = mkdtempSync(join(work, "spro-"));
				cpSync(join(reference, "spro"), join(dir, "spro"), { recursive: true });
				const path = join(dir, "spro", file);
				const bytes = readFileSync(path);
				rmSync(path);
				writeFileSync(path, bytes); // the reference is read-only
				alter(path);
				const { status, stdout } = run(dir);
				expect(stdout).toContain("FAIL");
				expect(status).toBe(1);
			},
			60_000,
		);

		it("fails on a file it does not know and on an empty folder", () => {
			const dir = mkdtempSync(join(work, "odd-"));
			expect(run(dir).status).toBe(1);
			writeFileSync(join(dir, "new.json"), "{}");
			expect(run(dir).stdout).toContain("no check knows this file");
		}, 60_000);
	},
);
