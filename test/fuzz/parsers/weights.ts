/** Weights and what stands beside them: safetensors, a backbone's folder, the cache of backbones, the answers of a model hub. */
import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AnyTensor } from "../../../src/engine/tensor.ts";
import { float32 } from "../../../src/engine/tensor.ts";
import { readBackbone } from "../../../src/models/backbone.ts";
import {
	findCached,
	importBackbone,
	listCached,
	openCached,
} from "../../../src/models/cache.ts";
import { pullBackbone } from "../../../src/models/hub.ts";
import {
	readSafetensors,
	toTensor,
	writeSafetensors,
} from "../../../src/models/safetensors.ts";
import { parameterShapes } from "../../../src/models/vit.ts";
import { dinov2Files, timmFiles } from "../../models/tiny.ts";
import { treeProblem } from "../../../src/storage.ts";
import type { Parser } from "../harness.ts";
import { json, safetensors, text as textOf } from "../mutate.ts";
import { finite, text, utf8 } from "../values.ts";

type Files = Readonly<Record<string, Uint8Array>>;

const small: Readonly<Record<string, AnyTensor>> = {
	a: float32([2, 3], Float32Array.from([1, 2, 3, 4, 5, 6])),
	b: { dtype: "float64", shape: [1], data: Float64Array.of(0.1) },
	c: { dtype: "int32", shape: [2], data: Int32Array.of(-1, 7) },
	d: { dtype: "uint8", shape: [3], data: Uint8Array.of(1, 2, 3) },
	e: { dtype: "int64", shape: [1], data: BigInt64Array.of(5n) },
	f: { dtype: "float16", shape: [0, 4], data: new Uint16Array() },
};

/** The folder of a backbone with one file in another form. */
function backbone(
	name: string,
	file: string,
	all: readonly Files[],
	mutate: Parser["mutate"],
	cases: number,
): Parser {
	return {
		name,
		covers: ["models/backbone.ts", "models/safetensors.ts"],
		mutate,
		cases,
		open(root) {
			const folders = all.map((files, i) => {
				const dir = join(root, String(i));
				mkdirSync(dir);
				for (const [own, bytes] of Object.entries(files))
					writeFileSync(join(dir, own), bytes);
				return dir;
			});
			return {
				seeds: all.flatMap((files) => files[file] ?? []),
				read(bytes) {
					const problems: unknown[] = [];
					for (const dir of folders) {
						writeFileSync(join(dir, file), bytes);
						for (const size of [null, [16, 40]] as const)
							try {
								isBackbone(dir, size);
							} catch (error) {
								problems.push(error);
								if ((error as Error).name !== "KeepsightError") throw error;
							}
					}
					if (problems.length === 2 * folders.length) throw problems[0];
				},
			};
		},
	};
}

function isBackbone(dir: string, size: readonly [number, number] | null): void {
	const { config, weights } = readBackbone(dir, size);
	finite({ ...config, mean: [...config.mean], std: [...config.std] });
	assert(config.heads >= 1 && config.width % config.heads === 0);
	assert(config.patch >= 1 && config.depth >= 1 && config.mlpRatio > 0);
	assert(config.layerNormEps > 0 && config.std.every((s) => s > 0));
	for (const [name, shape] of Object.entries(parameterShapes(config))) {
		assert.deepEqual(weights[name]?.shape, shape, name);
		assert.equal(
			weights[name]?.data.length,
			shape.reduce((a, b) => a * b, 1),
		);
	}
}

// ---- a model hub ----

const commit = "a".repeat(40);
const model = dinov2Files(1);
const sha1 = (bytes: Uint8Array) =>
	createHash("sha1")
		.update(`blob ${bytes.length}\0`)
		.update(bytes)
		.digest("hex");
const sha256 = (bytes: Uint8Array) =>
	createHash("sha256").update(bytes).digest("hex");

/** What a hub says of a model: the description of its revision, and the list of its files. */
const answers = {
	revision: {
		_id: "0",
		id: "facebook/tiny",
		sha: commit,
		private: false,
		gated: false,
		downloads: 1,
		likes: 1,
		lastModified: "2026-01-01T00:00:00.000Z",
		cardData: { license: "other", license_name: "own" },
		tags: ["license:apache-2.0"],
	},
	tree: Object.entries(model).map(([path, bytes]) => ({
		type: "file",
		path,
		size: bytes.length,
		oid: sha1(bytes),
		...(path.endsWith(".safetensors") && {
			lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 134 },
		}),
	})),
};

function answersIn(bytes: Uint8Array): Partial<typeof answers> | null {
	try {
		return JSON.parse(text(bytes)) as Partial<typeof answers> | null;
	} catch {
		return null;
	}
}

/** `fetch` as such a hub answers it; what is no JSON is the answer to everything. */
function hubOf(bytes: Uint8Array): typeof fetch {
	const found = answersIn(bytes);
	const said = treeProblem(found, true) === null ? found : null; // too deep to be written again: sent as it is
	return (input) => {
		const url = decodeURIComponent(
			input instanceof Request ? input.url : String(input),
		);
		const file = /\/resolve\/[^/]+\/(.*)$/.exec(url)?.[1];
		const answer = (value: unknown) =>
			new Response(
				said === null ? Buffer.from(bytes) : (JSON.stringify(value) ?? ""),
				{ headers: { "content-type": "application/json" } },
			);
		return Promise.resolve(
			file !== undefined
				? new Response(Buffer.from(model[file] ?? []))
				: answer(url.includes("/tree/") ? said?.tree : said?.revision),
		);
	};
}

export const weights: readonly Parser[] = [
	{
		name: "safetensors",
		covers: ["models/safetensors.ts"],
		mutate: safetensors,
		open: () => ({
			seeds: [
				writeSafetensors(small, { note: "é" }),
				writeSafetensors({}),
				dinov2Files(1)["model.safetensors"] as Uint8Array,
			],
			read(bytes) {
				const { tensors } = readSafetensors(bytes, "a.safetensors");
				const all = Object.entries(tensors).map(([name, tensor]) => {
					const own = toTensor(tensor);
					assert.equal(
						own.data.length,
						own.shape.reduce((a, b) => a * b, 1),
					);
					return [name, own] as const;
				});
				const again = readSafetensors(
					writeSafetensors(Object.fromEntries(all)),
					"again",
				);
				assert.deepEqual(
					Object.keys(again.tensors).sort(),
					Object.keys(tensors).sort(),
				);
			},
		}),
	},
	backbone(
		"backbone-weights",
		"model.safetensors",
		[dinov2Files(1), timmFiles(1)],
		safetensors,
		60,
	),
	backbone(
		"backbone-config",
		"config.json",
		[dinov2Files(1), timmFiles(1)],
		json,
		60,
	),
	backbone(
		"backbone-preprocessor",
		"preprocessor_config.json",
		[dinov2Files(1)],
		json,
		60,
	),
	{
		name: "cache-record",
		covers: ["models/cache.ts"],
		mutate: json,
		open(root) {
			const env = { HF_HOME: root };
			const from = join(root, "tiny");
			mkdirSync(from);
			for (const [file, bytes] of Object.entries(model))
				writeFileSync(join(from, file), bytes);
			const { dir, ...record } = importBackbone(from, "tiny", env);
			const path = join(dir, "backbone.json");
			return {
				seeds: [utf8(JSON.stringify({ format: 1, ...record }))],
				read(bytes) {
					writeFileSync(path, bytes);
					for (const found of listCached(env)) {
						assert.equal(found.dir, dir);
						finite(found);
						if (found.name === "local:tiny")
							assert.equal(openCached({ name: found.name }, env), dir);
					}
				},
			};
		},
	},
	{
		name: "cache-refs",
		covers: ["models/cache.ts"],
		mutate: json,
		open(root) {
			const env = { HF_HOME: root };
			const repo = join(root, "assets/keepsight/backbones/hub/facebook/tiny");
			mkdirSync(repo, { recursive: true });
			return {
				seeds: [utf8(JSON.stringify({ main: commit, v1: commit }))],
				read(bytes) {
					writeFileSync(join(repo, "refs.json"), bytes);
					for (const revision of ["", "@v1", "@constructor", "@__proto__"])
						assert.equal(
							findCached({ name: `hub:facebook/tiny${revision}` }, env),
							null,
						);
				},
			};
		},
	},
	{
		name: "model-card",
		covers: ["models/cache.ts"],
		mutate: textOf([
			"---\n",
			"license: ",
			"license: [a, b]\n",
			"license: [{ toString: 1 }]\n",
			"license: &a [*a]\n",
			"license: other\nlicense_name: own\n",
			"[",
			"{ a: ",
			"!!binary ",
			"&a ",
			"*a",
			"\uFEFF",
		]),
		cases: 60,
		open(root) {
			const from = join(root, "tiny");
			mkdirSync(from);
			for (const [file, bytes] of Object.entries(model))
				writeFileSync(join(from, file), bytes);
			return {
				seeds: [
					"---\nlicense: other\nlicense_name: own\ntags: [a, b]\n---\n# tiny\n",
				].map(utf8),
				read(bytes) {
					writeFileSync(join(from, "README.md"), bytes);
					const home = join(root, "home");
					rmSync(home, { recursive: true, force: true });
					const { licence } = importBackbone(from, "tiny", { HF_HOME: home });
					assert(licence === null || (licence !== "" && licence.length < 1000));
				},
			};
		},
	},
	{
		name: "hub",
		covers: ["models/hub.ts", "models/cache.ts"],
		mutate: json,
		cases: 60,
		open(root) {
			const real = globalThis.fetch;
			return {
				seeds: [utf8(JSON.stringify(answers))],
				async read(bytes) {
					const home = join(root, "home");
					rmSync(home, { recursive: true, force: true });
					globalThis.fetch = hubOf(bytes);
					try {
						const found = await pullBackbone("hub:facebook/tiny", {
							env: { HF_HOME: home, HF_ENDPOINT: "http://hub.test" },
							patienceMs: 0,
							stallMs: 500,
						});
						assert.match(found.commit ?? "", /^[0-9a-f]{40}$/);
						assert(found.licence === null || found.licence !== "");
						assert(found.dir.startsWith(home));
					} finally {
						globalThis.fetch = real;
					}
				},
				close() {
					globalThis.fetch = real;
				},
			};
		},
	},
];
