/**
 * The built program exporting what it learnt from the drawn line, and what the graph says without it: in this runtime, and in Python where
 * KEEPSIGHT_PYTHON names one that has onnxruntime, numpy and pillow.
 */
import { spawnSync } from "node:child_process";
import {
	copyFileSync,
	cpSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodePng, readImage } from "../src/data/image.ts";
import { constant } from "../src/engine/graph.ts";
import { toOnnxEach } from "../src/engine/onnx.ts";
import { add, reshape } from "../src/engine/ops/index.ts";
import { Model } from "../src/engine/runtime.ts";
import { float32, type Tensor, uint8 } from "../src/engine/tensor.ts";
import type { Prediction } from "../src/events.ts";
import { modelOf } from "../src/export/graph.ts";
import { Knowledge } from "../src/knowledge.ts";
import { openRun } from "../src/run.ts";
import { differences } from "./documented.ts";
import { keepsight as here } from "./here.ts";
import { keepsight as program } from "./program.ts";

/** Of tests that start the program several times. */
const PATIENCE_MS = 120_000;

const work = mkdtempSync(join(tmpdir(), "keepsight-export-"));
const data = join(work, "data");
const pictures = join(work, "pictures");
const run = (name: string) => join(work, "out", name, "Anomaly");
const exported = (name: string) => join(work, "exported", name);
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** An export takes a file of the built program with it. */
const keepsight = async (...args: string[]) =>
	args[0] === "export" && !args.includes("--verify")
		? program(...args)
		: here(...args);
const succeed = async (...args: string[]) => {
	const { status, stdout, stderr } = await keepsight(...args);
	if (status !== 0) throw new Error(stderr);
	return stdout;
};

const PER_TASK = 20;
let tasks: readonly string[] = [];

beforeAll(async () => {
	await succeed(
		"data",
		"demo",
		data,
		"--products",
		"2",
		"--size",
		"96",
		"--quiet",
	);
	tasks = readdirSync(data, { withFileTypes: true })
		.filter((item) => item.isDirectory())
		.flatMap(({ name }) =>
			readdirSync(join(data, name)).map((category) => `${name}/${category}`),
		);
	mkdirSync(pictures);
	for (const task of tasks) {
		const test = join(data, task, "test");
		const files = readdirSync(test, { recursive: true, encoding: "utf8" })
			.filter((name) => name.endsWith(".png"))
			.sort();
		for (let i = 0; i < PER_TASK; i++) {
			const file = files[Math.floor((i * files.length) / PER_TASK)] as string;
			copyFileSync(
				join(test, file),
				join(pictures, `${task}-${file}`.replaceAll(/[/\\]/g, "-")),
			);
		}
	}
	// of nothing that was learnt, and of nothing at all
	const stripes = uint8([80, 80, 3]);
	stripes.data.forEach((_, i) => {
		stripes.data[i] = (Math.floor(i / 3) % 9) * 28;
	});
	writeFileSync(join(pictures, "stripes.png"), await encodePng(stripes));
	writeFileSync(
		join(pictures, "black.png"),
		await encodePng(uint8([80, 80, 3])),
	);
	const [first] = readdirSync(pictures);
	writeFileSync(
		join(pictures, "out-of-focus.png"),
		await encodePng(await readImage(join(pictures, first as string), [12, 12])),
	);
	const configure = async (name: string, rest: string) => {
		const file = join(work, `${name}.yaml`);
		writeFileSync(
			file,
			`name: ${name}
data: { root: ${data}, tasks: [${tasks.join(", ")}], limit: 16 }
image_size: 112
pretext: { name: cutpaste }
out: ${join(work, "out")}
threads: 2
${rest}`,
		);
		await succeed("train", "--config", file, "--quiet");
	};
	await configure(
		"int8",
		`backbone: { name: keepsight-tiny, precision: int8 }
trainable: none
strategy: { name: frozen }
memory:
  - { name: patches, tiles: 2, neighbours: 2, surround: 0.25, store: int8, bytes_per_task: 200000, weight: 0.5 }
  - { name: patches, store: int8, bytes_per_task: 100000, weight: 0.3 }
  - { name: words, words: 32, weight: 0.19 }
  - { name: dne, weight: 0.01 }
`,
	);
	await configure(
		"trained",
		`backbone: { name: keepsight-tiny }
trainable: { last: 1 }
strategy: { name: isolated }
memory: [{ name: patches, blocks: [0.5], bytes_per_task: 100000, weight: 3 }, { name: dne }]
train: { epochs: 1, batch_size: 16 }
`,
	);
	for (const name of ["int8", "trained"])
		await succeed(
			"export",
			"--mem_dir",
			run(name),
			"--out",
			exported(name),
			"--samples",
			pictures,
			"--quiet",
		);
}, 240_000);

interface Manifest {
	readonly graph: string;
	readonly memoryVersion: number;
	readonly inputs: readonly {
		readonly name: string;
		readonly size: readonly [number, number];
	}[];
	readonly verdicts: readonly string[];
	readonly products: readonly { readonly id: string }[];
	readonly golden: readonly {
		readonly name: string;
		readonly pixels: Readonly<Record<string, string>>;
		readonly score: number | null;
		readonly task: string | null;
		readonly verdict: string;
	}[];
}
const manifestOf = (dir: string): Manifest =>
	JSON.parse(readFileSync(join(dir, "manifest.json"), "utf8"));

const predicted = async (
	name: string,
	...args: string[]
): Promise<readonly Prediction[]> =>
	(
		await succeed(
			"predict",
			"--mem_dir",
			run(name),
			"--json",
			"--quiet",
			...args,
		)
	)
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line));

/** Of 1e-4, above 1 of it relative. */
const isNear = (found: number, wanted: number): boolean =>
	Math.abs(found - wanted) <= 1e-4 * Math.max(1, Math.abs(wanted));

const fed = async (dir: string, files: readonly string[]): Promise<Tensor> => {
	const images = await Promise.all(
		files.map((file) => readImage(join(dir, file))),
	);
	const [h = 0, w = 0] = images[0]?.shape ?? [];
	const out = float32([images.length, 3, h, w]);
	images.forEach(({ data: bytes }, n) => {
		for (let i = 0; i < h * w; i++)
			for (let c = 0; c < 3; c++)
				out.data[(n * 3 + c) * h * w + i] = bytes[3 * i + c] as number;
	});
	return out;
};

describe.each(["int8", "trained"])(
	"an exported detector (%s)",
	{ timeout: PATIENCE_MS },
	(name) => {
		it("says of the product's own pixels what predict says of the pictures, one by one and together", async () => {
			const dir = exported(name);
			const { graph, inputs, products, verdicts, golden } = manifestOf(dir);
			const told = new Map(
				(await predicted(name, pictures)).map((p) => [
					p.path.split("/").at(-1),
					p,
				]),
			);
			expect(golden).toHaveLength(tasks.length * PER_TASK + 3);
			expect(inputs.map((one) => one.size)).toEqual(
				name === "int8"
					? [
							[112, 112],
							[224, 224],
						]
					: [[112, 112]],
			);
			const model = await Model.open(readFileSync(join(dir, graph)), 2);
			const of = async (some: Manifest["golden"]) => {
				const feeds: Record<string, Tensor> = {};
				for (const one of inputs)
					feeds[one.name] = await fed(
						dir,
						some.map(({ pixels }) => pixels[one.name] as string),
					);
				return model.run(feeds);
			};
			const seen = new Set<string>();
			for (let at = 0; at < golden.length; at += 7) {
				const some = golden.slice(at, at + 7);
				const found = await of(some);
				expect(found.map?.shape.slice(0, 1)).toEqual([some.length]);
				for (const [i, one] of some.entries()) {
					const wanted = told.get(one.name) as Prediction;
					expect(one.score).toBe(wanted.score);
					const verdict = verdicts[Number(found.verdict?.data[i])];
					expect(`${one.name} ${verdict}`).toBe(
						`${one.name} ${wanted.verdict}`,
					);
					seen.add(wanted.verdict);
					if (wanted.score === null) continue;
					const score = found.score?.data[i] as number;
					expect(
						isNear(score, wanted.score),
						`${one.name}: ${score} instead of ${wanted.score}`,
					).toBe(true);
					expect(found.threshold?.data[i]).toBe(wanted.threshold);
					if (wanted.task !== null)
						expect(products[Number(found.task?.data[i])]?.id).toBe(wanted.task);
				}
				const [first] = some;
				if (at === 0 && first) {
					const alone = await of([first]);
					expect(alone.score?.data[0]).toBe(found.score?.data[0]);
				}
			}
			await model.release();
			for (const verdict of ["good", "defect", "unknown", "unusable"])
				expect(seen).toContain(verdict);
		});

		it("passes its own check", async () => {
			const { status, stdout } = await keepsight(
				"export",
				"--verify",
				exported(name),
			);
			expect(status).toBe(0);
			expect(stdout.match(/ pass$/gm)).toHaveLength(
				tasks.length * PER_TASK + 3,
			);
		});
	},
);

describe("export", { timeout: PATIENCE_MS }, () => {
	it("of one product scores every picture as that, and calls none unknown", async () => {
		const dir = exported("one");
		const [, task] = tasks as [string, string];
		await succeed(
			"export",
			"--mem_dir",
			run("int8"),
			"--out",
			dir,
			"--task",
			task,
			"--samples",
			join(pictures, "stripes.png"),
			"--quiet",
		);
		expect(differences(manifestOf(dir), "## Exports")).toEqual([]);
		const { products, golden } = manifestOf(dir);
		expect(products.map(({ id }) => id)).toEqual([task]);
		expect(golden[0]).toMatchObject({ task, verdict: "defect" });
		expect((await keepsight("export", "--verify", dir)).status).toBe(0);
	});

	it("draws its samples where none are given, the same each time, and replaces an earlier export alone", async () => {
		const dir = exported("drawn");
		const args = ["export", "--mem_dir", run("int8"), "--out", dir, "--quiet"];
		await succeed(...args);
		const first = readFileSync(join(dir, "manifest.json"), "utf8");
		await succeed(...args);
		expect(readFileSync(join(dir, "manifest.json"), "utf8")).toBe(first);
		await succeed(...args, "--task", tasks[0] as string);
		const { graph } = manifestOf(dir);
		expect(readdirSync(dir).filter((file) => file.endsWith(".onnx"))).toEqual([
			graph,
		]);
		writeFileSync(join(dir, "mine.txt"), "keep");
		const refused = await keepsight(...args);
		expect(refused.status).toBe(2);
		expect(refused.stderr).toContain("mine.txt");
		expect(existsSync(join(dir, graph))).toBe(true);
		for (const other of [run("int8"), join(run("int8"), "memory")]) {
			const { status, stderr } = await keepsight(
				"export",
				"--mem_dir",
				run("int8"),
				"--out",
				other,
			);
			expect(status).toBe(2);
			expect(stderr).toContain("something else than an export");
		}
	});

	it("case 7: writes nothing into a folder that was taken over", async () => {
		const dist = (path: string) =>
			pathToFileURL(resolve(import.meta.dirname, "../dist", path)).href;
		const { exportDetector } = (await import(
			dist("export/export.js")
		)) as typeof import("../src/export/export.ts");
		const { files } = (await import(
			dist("storage.js")
		)) as typeof import("../src/storage.ts");
		const out = exported("late");
		mkdirSync(out, { recursive: true });
		writeFileSync(join(out, ".tmp-1"), "of an owner that was killed");
		const { fsync } = files;
		files.fsync = (fd) => {
			fsync(fd);
			if (existsSync(join(out, ".lock")))
				writeFileSync(
					join(out, ".lock"),
					JSON.stringify({ host: "elsewhere", pid: 7, token: "x" }),
				);
		};
		try {
			await expect(
				exportDetector(
					{ memDir: run("int8"), out, task: tasks[0] as string },
					{ emit: () => {}, stop: { requested: false } },
				),
			).rejects.toMatchObject({ code: "LOCK_LOST" });
		} finally {
			files.fsync = fsync;
		}
		expect(readdirSync(out)).toEqual([".lock"]);
	});

	it("tells damage from another answer", async () => {
		const dir = join(work, "damaged");
		const again = () => {
			rmSync(dir, { recursive: true, force: true });
			cpSync(exported("drawn"), dir, { recursive: true });
			rmSync(join(dir, "mine.txt"), { force: true });
		};
		again();
		const { graph, golden } = manifestOf(dir);
		const bytes = readFileSync(join(dir, graph));
		bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
		writeFileSync(join(dir, graph), bytes);
		const damaged = await keepsight("export", "--verify", dir);
		expect(damaged.status).toBe(2);
		expect(damaged.stderr).toContain("SHA-256");
		again();
		const file = join(dir, "manifest.json");
		const score = String(golden.find((one) => one.score !== null)?.score);
		const other = readFileSync(file, "utf8").replace(
			score,
			String(Number(score) * 1.001),
		);
		writeFileSync(file, other);
		expect((await keepsight("export", "--verify", dir)).stderr).toMatch(
			/manifest\.json is damaged: .* or write it again, into another folder, with "keepsight export --out DIR"\.$/m,
		);
		// without its own hash, it may be that of another program
		writeFileSync(file, other.replace(/^\t"sha256": "\w+",\n/m, ""));
		const differs = await keepsight("export", "--verify", dir, "--json");
		expect(differs.status).toBe(1);
		expect(JSON.parse(differs.stdout)).toMatchObject({ agrees: false });
		writeFileSync(
			file,
			readFileSync(file, "utf8").replace(graph, "../../model.onnx"),
		);
		expect((await keepsight("export", "--verify", dir)).status).toBe(2);
		expect(await keepsight("export", "--verify", work)).toMatchObject({
			status: 2,
		});
	});

	it("refuses a memory that is no graph, and a graph that is no file", () => {
		const knowledge = Knowledge.load(openRun(run("int8"), "read").memory, 1);
		Object.assign(knowledge.memories[0] as object, { graph: undefined });
		expect(() => modelOf(knowledge, null)).toThrow(
			'The memory "patches" of this run cannot be expressed',
		);
		const large = constant(float32([2 ** 29])); // 2 GiB, of which nothing is touched
		expect(() =>
			toOnnxEach({ y: add(reshape(large, [1, 2 ** 29]), 1) }),
		).toThrow("Export one product at a time with --task");
	});

	it("says what is missing", async () => {
		const out = join(work, "nothing");
		for (const args of [
			[],
			["--out", out],
			["--mem_dir", run("int8")],
			["--verify", out, "--out", out],
			["--mem_dir", run("int8"), "--out", out, "--task", "mvtec/nosuch"],
			["--mem_dir", run("int8"), "--out", out, "--samples", out],
		]) {
			const { status, stderr } = await keepsight("export", ...args);
			expect(`${status} ${stderr}`).toMatch(/^2 error: /);
		}
		expect(existsSync(out)).toBe(false);
	});
});

/** A program's line a picture. */
const linesOf = (command: string, ...args: string[]) => {
	const { status, stdout, stderr } = spawnSync(command, args, {
		encoding: "utf8",
	});
	if (status !== 0) throw new Error(stderr);
	return stdout
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line) as Prediction);
};

describe("the examples", { timeout: PATIENCE_MS }, () => {
	/** Where a JavaScript program finds the packages it imports. */
	const beside = (name: string) => {
		const dir = join(
			resolve("node_modules/.cache"),
			`keepsight-${process.pid}`,
		);
		cpSync(exported(name), dir, { recursive: true });
		return dir;
	};

	it("predict.mjs says of pictures what predict says", async () => {
		const dir = beside("int8");
		try {
			const files = readdirSync(pictures)
				.filter((_, i) => i % 4 === 0)
				.map((file) => join(pictures, file));
			const found = linesOf(
				process.execPath,
				join(dir, "predict.mjs"),
				...files,
			);
			const wanted = await predicted("int8", ...files);
			for (const [i, one] of wanted.entries()) {
				expect(found[i]).toMatchObject({
					path: one.path,
					verdict: one.verdict,
					task: one.task,
				});
				if (one.score !== null)
					expect(isNear(found[i]?.score as number, one.score)).toBe(true);
			}
		} finally {
			rmSync(dir, { recursive: true });
		}
	});

	const python = process.env.KEEPSIGHT_PYTHON;
	const usable =
		python !== undefined &&
		spawnSync(python, ["-c", "import onnxruntime, numpy, PIL"]).status === 0;
	if (!usable)
		it.skip("KEEPSIGHT_PYTHON names no Python with onnxruntime, numpy and pillow", () => {});
	else {
		it("the graph says in Python's onnxruntime what predict says, of the product's own pixels", () => {
			const read = `
import json, pathlib, sys
import numpy as np, onnxruntime
from PIL import Image
folder = pathlib.Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text("utf8"))
session = onnxruntime.InferenceSession(folder / manifest["graph"])
names = [output.name for output in session.get_outputs()]
of = lambda name: np.stack([np.asarray(Image.open(folder / one["pixels"][name]), np.float32).transpose(2, 0, 1) for one in manifest["golden"]])
found = dict(zip(names, session.run(None, {one["name"]: of(one["name"]) for one in manifest["inputs"]})))
for i, one in enumerate(manifest["golden"]):
    print(json.dumps({"path": one["name"], "score": found["score"][i], "verdict": manifest["verdicts"][found["verdict"][i]]}))
`;
			for (const name of ["int8", "trained"]) {
				const dir = exported(name);
				const found = linesOf(python, "-c", read, dir);
				for (const [i, one] of manifestOf(dir).golden.entries()) {
					expect(found[i]).toMatchObject({
						path: one.name,
						verdict: one.verdict,
					});
					if (one.score !== null)
						expect(isNear(found[i]?.score as number, one.score)).toBe(true);
				}
			}
		});

		it("predict.py recognises pictures as predict does, resized as Pillow does", async () => {
			const files = readdirSync(pictures).map((file) => join(pictures, file));
			const found = linesOf(
				python,
				join(exported("int8"), "predict.py"),
				...files,
			);
			for (const [i, one] of (await predicted("int8", ...files)).entries()) {
				expect(found[i]?.path).toBe(one.path);
				if (one.task !== null) expect(found[i]?.task).toBe(one.task);
				if (one.score !== null)
					expect(
						Math.abs((found[i]?.score as number) - one.score),
					).toBeLessThan(0.5 * Math.max(1, Math.abs(one.score)));
			}
		});
	}
});
