/**
 * A run folder as others read it: our AUROC is scikit-learn's, and Python's safetensors finds the tensors that our reader does.
 * KEEPSIGHT_PYTHON: a Python with scikit-learn and safetensors. KEEPSIGHT_RUN: the run folder; default: a tiny run made here.
 */
import { spawnSync } from "node:child_process";
import {
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readSafetensorsFile, toTensor } from "../src/models/safetensors.ts";
import { taskOfFolder } from "../src/run.ts";
import { sha256 } from "../src/storage.ts";

const python = process.env.KEEPSIGHT_PYTHON;

/** Runs a program to its end and returns what it printed. */
function output(program: string, ...args: string[]): string {
	const { status, stdout, stderr, error } = spawnSync(program, args, {
		encoding: "utf8",
		maxBuffer: 1e8,
	});
	if (status !== 0) throw error ?? new Error(`${program}: ${stderr}`);
	return stdout;
}

/** Draws two products and learns them: a second or two. */
function tinyRun(work: string): string {
	const cli = resolve(import.meta.dirname, "../dist/cli.js");
	const data = join(work, "data");
	const drawn = ["--products", "2", "--size", "32", "--quiet"];
	output(process.execPath, cli, "data", "demo", data, ...drawn);
	const config = join(work, "run.yaml");
	writeFileSync(
		config,
		`name: tiny
data: { root: ${data}, tasks: ["*/*"] }
image_size: 32
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 8 }
trainable: { last: 1 }
pretext: { name: cutpaste }
strategy: { name: gpm, images: 6 }
memory: [ { name: dne } ]
train: { epochs: 1 }
out: ${work}
threads: 1
`,
	);
	output(process.execPath, cli, "train", "--config", config, "--quiet");
	return join(work, "tiny", "Anomaly");
}

interface Metrics {
	readonly tasks: readonly string[];
	readonly matrices: {
		readonly imageAurocAll: readonly (readonly (number | null)[])[];
	};
	readonly categories: Readonly<
		Record<string, { readonly imageAurocAll: number | null }>
	>;
}
/** By tensor: numpy's name of the type, the shape, SHA-256 of the numbers. */
type Tensors = Readonly<
	Record<string, readonly [string, readonly number[], string]>
>;

describe("scikit-learn and safetensors", () => {
	if (python === undefined) {
		it.skip("KEEPSIGHT_PYTHON names no Python with both packages", () => {});
		return;
	}
	const work = mkdtempSync(join(tmpdir(), "keepsight-scikit-"));
	afterAll(() => rmSync(work, { recursive: true, force: true }));
	let run = "";
	let theirs: {
		auroc: Record<string, number>;
		tensors: Record<string, Tensors>;
	};
	beforeAll(() => {
		run = process.env.KEEPSIGHT_RUN ?? tinyRun(work);
		const script = join(import.meta.dirname, "scikit.py");
		theirs = JSON.parse(output(python, script, run));
	}, 120_000);

	it("the AUROC of every score file is the one in metrics.json, to 1e-12", () => {
		const { tasks, matrices, categories }: Metrics = JSON.parse(
			readFileSync(join(run, "metrics.json"), "utf8"),
		);
		const compared = new Set<string>();
		for (const [file, expected] of Object.entries(theirs.auroc)) {
			const [stage = "", name = ""] = file.split("/");
			const id = taskOfFolder(name.replace(/\.csv$/, ""));
			const row = Number(stage.replace("after-", "")) - 1;
			const found = [];
			if (row >= matrices.imageAurocAll.length) continue; // metrics.json comes last: this run is being evaluated
			if (row === matrices.imageAurocAll.length - 1)
				found.push(categories[id]?.imageAurocAll);
			if (tasks.includes(id))
				found.push(matrices.imageAurocAll[row]?.[tasks.indexOf(id)]); // a task of several categories has their mean there
			for (const value of found) {
				expect(Math.abs((value ?? Number.NaN) - expected), file).toBeLessThan(
					1e-12,
				);
				compared.add(id);
			}
		}
		expect([...compared].sort()).toEqual(Object.keys(categories).sort());
	});

	it("every tensor of memory/ is the same to both readers, bit for bit", () => {
		const files = readdirSync(join(run, "memory"), {
			recursive: true,
			encoding: "utf8",
		}).filter((path) => path.endsWith(".safetensors"));
		const ours = Object.fromEntries(
			files.map((path): [string, Tensors] => {
				const { tensors } = readSafetensorsFile(join(run, "memory", path));
				return [
					`memory/${path.replaceAll("\\", "/")}`,
					Object.fromEntries(
						Object.entries(tensors).map(([name, stored]) => {
							const { dtype, shape, data } = toTensor(stored);
							const bytes = new Uint8Array(
								data.buffer,
								data.byteOffset,
								data.byteLength,
							);
							return [name, [dtype, shape, sha256(bytes)]];
						}),
					),
				];
			}),
		);
		expect(files.length).toBeGreaterThan(0);
		expect(theirs.tensors).toEqual(ours);
	});
});
