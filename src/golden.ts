/**
 * npm run golden -- DIR: compares the code that train and eval run with the reference values of a folder, quantity by quantity.
 * Inputs and expected values both come from the folder. A file that no check knows, or a failure, makes the exit code 1.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gradients } from "./engine/autodiff.ts";
import { input, type Value, type ValueDict } from "./engine/graph.ts";
import { mean, mul } from "./engine/ops/index.ts";
import type { OptimizerOptions } from "./engine/optim.ts";
import { Session } from "./engine/runtime.ts";
import { TrainingStep } from "./engine/step.ts";
import { float32, type Tensor, type TensorDict } from "./engine/tensor.ts";
import { crossEntropy } from "./learn.ts";
import {
	gaussianOf,
	ledoitWolf,
	leaveOneOut,
	momentsOf,
	type Rows,
	shrunkCovariance,
	squaredDistances,
} from "./linalg/covariance.ts";
import { pooledSample } from "./memory/pooled.ts";
import {
	averageIncremental,
	average,
	backwardTransfer,
	forgetting,
	forwardTransfer,
	learning,
	type Matrix,
} from "./metrics/continual.ts";
import { auroc, averagePrecision, f1Max } from "./metrics/image.ts";
import { resizeGrid } from "./models/resize.ts";
import { readSafetensorsFile, toFloat32 } from "./models/safetensors.ts";
import { embed, gridOf, top, type VitConfig } from "./models/vit.ts";
import { Random } from "./random.ts";
import { projectedAway } from "./strategies/gpm.ts";
import { extendBasis, joinBasis } from "./strategies/subspace.ts";
import { headOf } from "./trunk.ts";

interface Outcome {
	readonly name: string;
	readonly error: number;
	readonly tolerance: number;
}
type Check = (dir: Folder) => Promise<Outcome[]>;

class Folder {
	readonly #dir: string;
	constructor(dir: string) {
		this.#dir = dir;
	}
	json<T>(name: string): T {
		return JSON.parse(readFileSync(join(this.#dir, name), "utf8")) as T;
	}
	tensors(name: string): TensorDict {
		const path = join(this.#dir, name);
		return Object.fromEntries(
			Object.entries(readSafetensorsFile(path).tensors).map(([key, t]) => [
				key,
				toFloat32(t, path),
			]),
		);
	}
}

/** max|a − b| / max|b|; infinite where lengths differ. */
function relative(a: ArrayLike<number>, b: ArrayLike<number>): number {
	return (
		absolute(a, b) /
		(Array.from(b).reduce((m, x) => Math.max(m, Math.abs(x)), 0) || 1)
	);
}
function absolute(a: ArrayLike<number>, b: ArrayLike<number>): number {
	if (a.length !== b.length) return Number.POSITIVE_INFINITY;
	let worst = 0;
	for (let i = 0; i < b.length; i++) {
		const error = Math.abs((a[i] as number) - (b[i] as number));
		if (Number.isNaN(error)) return error; // passes no tolerance
		worst = Math.max(worst, error);
	}
	return worst;
}
const isTrue = (name: string, holds: boolean): Outcome => ({
	name,
	error: holds ? 0 : 1,
	tolerance: 0,
});

interface VitJson {
	readonly image: number;
	readonly patch: number;
	readonly dim: number;
	readonly depth: number;
	readonly heads: number;
	readonly mlpRatio: number;
	readonly classes: number;
	readonly layerNormEps: number;
	readonly labels: readonly number[];
}

function vitConfig(
	json: VitJson,
	weights: TensorDict,
	imageSize: readonly [number, number],
): VitConfig {
	const config: VitConfig = {
		imageSize,
		patch: json.patch,
		width: json.dim,
		depth: json.depth,
		heads: json.heads,
		mlpRatio: json.mlpRatio,
		registers: weights.reg_token?.shape[1] ?? 0,
		layerScale: "blocks.0.ls1.gamma" in weights,
		classPosition: false,
		layerNormEps: json.layerNormEps,
		mean: [0, 0, 0],
		std: [1, 1, 1],
	};
	const [h, w] = gridOf(config);
	return {
		...config,
		classPosition: weights.pos_embed?.shape[1] === h * w + 1,
	};
}

const inputsOf = (tensors: TensorDict): ValueDict =>
	Object.fromEntries(
		Object.entries(tensors).map(([name, t]) => [name, input(name, t.shape)]),
	);
const side = (t: Tensor): readonly [number, number] => [
	t.shape[2] as number,
	t.shape[3] as number,
];

function oneHot(labels: readonly number[], classes: number): Tensor {
	const t = float32([labels.length, classes]);
	labels.forEach((label, i) => {
		t.data[i * classes + label] = 1;
	});
	return t;
}

/** Everything but the key third of attn.qkv.bias, whose gradient is rounding noise around 0. */
function withoutKeyThird(name: string, data: Float32Array): Float32Array {
	if (!name.endsWith("attn.qkv.bias")) return data;
	const third = data.length / 3;
	return Float32Array.from([
		...data.subarray(0, third),
		...data.subarray(2 * third),
	]);
}

const pixelsToLoss = (
	config: VitConfig,
	params: ValueDict,
	pixels: Value,
	labels: Value,
) => {
	const { embedding } = top(config, params, embed(config, params, pixels), 0, {
		read: "class",
	});
	const logits = headOf(params, embedding);
	return { logits, loss: crossEntropy(logits, labels) };
};

const vit: Check = async (dir) => {
	const json = dir.json<VitJson>("vit.config.json");
	const weights = dir.tensors("vit.weights.safetensors");
	const expected = dir.tensors("vit.forward.safetensors");
	const grads = dir.tensors("vit.grads.safetensors");
	const images = expected.input as Tensor;
	const config = vitConfig(json, weights, [json.image, json.image]);
	const params = inputsOf(weights);
	const pixels = input("input", images.shape);
	const labels = oneHot(json.labels, json.classes);
	const { logits, loss } = pixelsToLoss(
		config,
		params,
		pixels,
		input("labels", labels.shape),
	);
	const names = Object.keys(weights);
	const dw = gradients(
		loss,
		names.map((n) => params[n] as Value),
	);
	const tokens = top(config, params, embed(config, params, pixels), 0, {
		read: "all",
	}).tokens as Value;
	const session = await Session.create(
		{
			tokens,
			logits,
			loss,
			...Object.fromEntries(names.map((n, i) => [`d ${n}`, dw[i] as Value])),
		},
		{ threads: 2 },
	);
	const out = await session.run({ ...weights, input: images, labels });
	await session.release();
	const data = (name: string) => (out[name] as Tensor).data;
	const missing = names
		.filter((n) => !(n in grads))
		.concat(Object.keys(grads).filter((n) => !(n in weights)));
	return [
		...(["tokens", "logits", "loss"] as const).map((name) => ({
			name: `vit.forward ${name}`,
			error: relative(data(name), (expected[name] as Tensor).data),
			tolerance: 1e-4,
		})),
		...names.map((n) => ({
			name: `vit.grads ${n}`,
			error: relative(
				withoutKeyThird(n, data(`d ${n}`)),
				withoutKeyThird(n, grads[n]?.data ?? new Float32Array(0)),
			),
			tolerance: 1e-4,
		})),
		isTrue("vit.grads has every parameter", missing.length === 0),
	];
};

const dino: Check = async (dir) => {
	const weights = dir.tensors("dino.weights.safetensors");
	const expected = dir.tensors("dino.forward.safetensors");
	const grads = dir.tensors("dino.grads.safetensors");
	const images = expected.input as Tensor;
	const config = vitConfig(
		dir.json<VitJson>("vit.config.json"),
		weights,
		side(images),
	);
	const params = inputsOf(weights);
	const tokens = top(
		config,
		params,
		embed(config, params, input("input", images.shape)),
		0,
		{ read: "all" },
	).tokens as Value;
	const cotangent = grads.cotangent as Tensor;
	const names = Object.keys(weights);
	const dw = gradients(
		mean(mul(tokens, input("cotangent", cotangent.shape))),
		names.map((n) => params[n] as Value),
	);
	const session = await Session.create(
		{
			tokens,
			...Object.fromEntries(names.map((n, i) => [`d ${n}`, dw[i] as Value])),
		},
		{ threads: 2 },
	);
	const out = await session.run({ ...weights, input: images, cotangent });
	await session.release();
	return [
		{
			name: "dino.forward tokens",
			error: relative(
				(out.tokens as Tensor).data,
				(expected.tokens as Tensor).data,
			),
			tolerance: 1e-4,
		},
		...names.map((n) => ({
			name: `dino.grads ${n}`,
			error: relative(
				withoutKeyThird(n, (out[`d ${n}`] as Tensor).data),
				withoutKeyThird(n, grads[n]?.data ?? new Float32Array(0)),
			),
			tolerance: 1e-4,
		})),
	];
};

const dinoResized: Check = async (dir) => {
	const weights = dir.tensors("dino.weights.safetensors");
	const small = dir.tensors("dino.forward.safetensors").input as Tensor;
	const expected = dir.tensors("dino.resized.safetensors");
	const images = expected.input as Tensor;
	const json = dir.json<VitJson>("vit.config.json");
	const config = vitConfig(json, weights, side(images));
	const positions = resizeGrid(
		weights.pos_embed as Tensor,
		gridOf({ ...config, imageSize: side(small) }),
		gridOf(config),
	);
	const resized = { ...weights, pos_embed: positions };
	const tokens = top(
		config,
		inputsOf(resized),
		embed(config, inputsOf(resized), input("input", images.shape)),
		0,
		{ read: "all" },
	).tokens as Value;
	const session = await Session.create({ tokens }, { threads: 2 });
	const out = await session.run({ ...resized, input: images });
	await session.release();
	return [
		{
			name: "dino.resized pos_embed",
			error: relative(positions.data, (expected.pos_embed as Tensor).data),
			tolerance: 1e-4,
		},
		{
			name: "dino.resized tokens",
			error: relative(
				(out.tokens as Tensor).data,
				(expected.tokens as Tensor).data,
			),
			tolerance: 1e-4,
		},
	];
};

const optimiser =
	(
		name: "adam" | "adamw" | "sgd",
		options: Partial<OptimizerOptions> & { lr: number },
	): Check =>
	async (dir) => {
		const json = dir.json<VitJson>("vit.config.json");
		const weights = dir.tensors("vit.weights.safetensors");
		const images = dir.tensors("vit.forward.safetensors").input as Tensor;
		const expected = dir.tensors(`optim.${name}.safetensors`);
		const { losses } = dir.json<{ losses: number[] }>(`optim.${name}.json`);
		const config = vitConfig(json, weights, [json.image, json.image]);
		const labels = oneHot(json.labels, json.classes);
		const step = await TrainingStep.create({
			params: Object.fromEntries(
				Object.entries(weights).map(([n, t]) => [
					n,
					float32(t.shape, t.data.slice()),
				]),
			),
			optimizer: {
				name,
				betas: [0.9, 0.999],
				eps: 1e-8,
				weightDecay: 0,
				momentum: 0,
				...options,
			},
			clipNorm: null,
			threads: 2,
			build: (s) => ({
				loss: pixelsToLoss(
					config,
					s.params,
					s.feed("input", images.shape),
					s.feed("labels", labels.shape),
				).loss,
			}),
		});
		const seen: number[] = [];
		for (let i = 0; i < losses.length; i++)
			seen.push(
				(
					await step.run({ input: images, labels }, i, {
						name: "constant",
						warmup: 0,
						total: losses.length,
					})
				).loss,
			);
		await step.release();
		const isRelative = name === "sgd";
		return [
			{
				name: `optim.${name} losses`,
				error: absolute(seen, losses),
				tolerance: 1e-5,
			},
			...Object.keys(weights).map((n) => {
				const known = expected[n]?.data ?? new Float32Array(0);
				const now = (step.params[n] as Tensor).data;
				const key = n.endsWith("attn.qkv.bias");
				if (isRelative)
					return {
						name: `optim.${name} ${n}`,
						error: relative(now, known),
						tolerance: 1e-4,
					};
				if (key && name === "adam")
					return {
						name: `optim.${name} ${n}`,
						error: absolute(now, known),
						tolerance: 2e-4,
					};
				return {
					name: `optim.${name} ${n}`,
					error: absolute(withoutKeyThird(n, now), withoutKeyThird(n, known)),
					tolerance: 5e-5,
				};
			}),
		];
	};

const gpm: Check = async (dir) => {
	const t = dir.tensors("gpm.safetensors");
	const { threshold, rank1, rank2 } = dir.json<{
		threshold: number;
		rank1: number;
		rank2: number;
	}>("gpm.json");
	const n = (t.R1 as Tensor).shape[0] as number;
	const gram = (r: Tensor) => {
		const columns = r.shape[1] as number;
		const g = new Float64Array(n * n);
		for (let i = 0; i < n; i++)
			for (let j = 0; j < n; j++)
				for (let k = 0; k < columns; k++)
					g[i * n + j] =
						(g[i * n + j] as number) +
						(r.data[i * columns + k] as number) *
							(r.data[j * columns + k] as number);
		return [{ name: "rows", gram: g }];
	};
	const onto = (basis: Float64Array) =>
		Float64Array.from({ length: n * n }, (_, at) => {
			let sum = 0;
			for (let k = 0; k < basis.length; k += n)
				sum +=
					(basis[k + Math.floor(at / n)] as number) *
					(basis[k + (at % n)] as number);
			return sum;
		});
	const none = new Float64Array(0);
	const first = joinBasis(
		none,
		await extendBasis(
			gram(t.R1 as Tensor),
			none,
			n,
			threshold,
			new Random("golden"),
		),
	);
	const both = joinBasis(
		first,
		await extendBasis(
			gram(t.R2 as Tensor),
			first,
			n,
			threshold,
			new Random("golden"),
		),
	);
	const grad = t.grad as Tensor;
	const basis = float32([both.length / n, n], Float32Array.from(both));
	const session = await Session.create(
		{
			projected: projectedAway(
				input("grad", grad.shape),
				input("basis", basis.shape),
			),
		},
		{ threads: 1 },
	);
	const out = await session.run({ grad, basis });
	await session.release();
	return [
		isTrue("gpm rank1", first.length / n === rank1),
		isTrue("gpm rank2", both.length / n === rank2),
		{
			name: "gpm P1",
			error: relative(onto(first), (t.P1 as Tensor).data),
			tolerance: 1e-4,
		},
		{
			name: "gpm P2",
			error: relative(onto(both), (t.P2 as Tensor).data),
			tolerance: 1e-4,
		},
		{
			name: "gpm projected",
			error: relative(
				(out.projected as Tensor).data,
				(t.projected as Tensor).data,
			),
			tolerance: 1e-4,
		},
	];
};

const rowsOf = (t: Tensor): Rows => {
	const d = t.shape.at(-1) as number;
	return { n: t.data.length / d, d, data: Float64Array.from(t.data) };
};
const stacked = (parts: readonly Rows[]): Rows => ({
	n: parts.reduce((n, p) => n + p.n, 0),
	d: parts[0]?.d ?? 0,
	data: Float64Array.from(parts.flatMap((p) => [...p.data])),
});

const dne: Check = async (dir) => {
	const t = dir.tensors("dne.safetensors");
	const list =
		dir.json<{ name: string; n: number; shrinkage: number }[]>("dne.json");
	const get = (name: string) => rowsOf(t[name] as Tensor);
	const queries = get("queries");
	const single = list.filter((entry) => `${entry.name}.embeddings` in t);
	const embeddings = single.map(({ name }) => get(`${name}.embeddings`));
	const outcomes: Outcome[] = [];
	for (const { name, n, shrinkage } of list) {
		const i = single.findIndex((entry) => entry.name === name);
		const earlier = embeddings.slice(0, -1).map((rows, task) => ({
			gaussian: gaussianOf(momentsOf(rows)),
			normals: get(`paper.normal${task}`),
		}));
		const rows =
			embeddings[i] ??
			(`${name}.mean` in t
				? stacked(embeddings)
				: pooledSample(earlier, embeddings.at(-1) as Rows));
		const moments = momentsOf(rows);
		const found = ledoitWolf(moments);
		const distance = squaredDistances(gaussianOf(moments, found), queries).map(
			Math.sqrt,
		);
		outcomes.push(isTrue(`dne ${name} n`, rows.n === n), {
			name: `dne ${name} shrinkage`,
			error: Math.abs(found.shrinkage - shrinkage),
			tolerance: 1e-6,
		});
		outcomes.push({
			name: `dne ${name} distance`,
			error: relative(distance, get(`${name}.distance`).data),
			tolerance: 1e-4,
		});
		if (!(`${name}.mean` in t)) continue; // the paper's refit comes as distances alone
		outcomes.push(
			{
				name: `dne ${name} mean`,
				error: relative(moments.mean, get(`${name}.mean`).data),
				tolerance: 1e-4,
			},
			{
				name: `dne ${name} empirical`,
				error: relative(moments.covariance, get(`${name}.empirical`).data),
				tolerance: 1e-4,
			},
			{
				name: `dne ${name} covariance`,
				error: relative(
					shrunkCovariance(moments.covariance, found),
					get(`${name}.covariance`).data,
				),
				tolerance: 1e-4,
			},
		);
	}
	return outcomes;
};

const dneLoo: Check = async (dir) => {
	const t = dir.tensors("dne.loo.safetensors");
	const shrinkage = dir.json<{ shrinkage: number; target: number }>(
		"dne.loo.json",
	);
	const rows = rowsOf(t.embeddings as Tensor);
	const moments = momentsOf(rows);
	const found = leaveOneOut(moments, shrinkage).squaredDistances(
		rows,
		moments.mean,
		moments.n,
	);
	return [
		{
			name: "dne.loo squaredDistance",
			error: relative(found, (t.squaredDistance as Tensor).data),
			tolerance: 1e-4,
		},
	];
};

const metricsImage: Check = async (dir) =>
	dir
		.json<
			{
				kind: string;
				labels: number[];
				scores: number[];
				auroc: number;
				averagePrecision: number;
				f1Max: number;
			}[]
		>("metrics.image.json")
		.flatMap((c) =>
			(
				[
					["auroc", auroc],
					["averagePrecision", averagePrecision],
					["f1Max", f1Max],
				] as const
			).map(([name, metric]) => ({
				name: `metrics.image ${c.kind} ${name}`,
				error: Math.abs(
					(metric(c.scores, c.labels).value ?? Number.NaN) - c[name],
				),
				tolerance: 1e-9,
			})),
		);

const metricsContinual: Check = async (dir) => {
	const json = dir.json<
		Record<string, number> & { matrix: Matrix; untrained: number[] }
	>("metrics.continual.json");
	const found = {
		average: average(json.matrix),
		averageIncremental: averageIncremental(json.matrix),
		learning: learning(json.matrix),
		backwardTransfer: backwardTransfer(json.matrix),
		forwardTransfer: forwardTransfer(json.matrix, json.untrained),
		forgetting: forgetting(json.matrix),
	};
	return Object.entries(found).map(([name, m]) => ({
		name: `metrics.continual ${name}`,
		error: Math.abs((m.value ?? Number.NaN) - (json[name] ?? Number.NaN)),
		tolerance: 1e-9,
	}));
};

/** Files to the check that reads them; "not built": quantities the product does not have yet. A name ending in "/" is a folder. */
const checks: readonly {
	readonly files: readonly string[];
	readonly check: Check | "not built";
}[] = [
	{
		files: [
			"vit.config.json",
			"vit.weights.safetensors",
			"vit.forward.safetensors",
			"vit.grads.safetensors",
		],
		check: vit,
	},
	{
		files: [
			"dino.weights.safetensors",
			"dino.forward.safetensors",
			"dino.grads.safetensors",
		],
		check: dino,
	},
	{ files: ["dino.resized.safetensors"], check: dinoResized },
	{
		files: ["optim.adam.json", "optim.adam.safetensors"],
		check: optimiser("adam", { lr: 1e-3, weightDecay: 1e-2 }),
	},
	{
		files: ["optim.adamw.json", "optim.adamw.safetensors"],
		check: optimiser("adamw", { lr: 1e-3, weightDecay: 0.3 }),
	},
	{
		files: ["optim.sgd.json", "optim.sgd.safetensors"],
		check: optimiser("sgd", { lr: 1e-2, momentum: 0.9 }),
	},
	{ files: ["gpm.safetensors", "gpm.json"], check: gpm },
	{ files: ["dne.safetensors", "dne.json"], check: dne },
	{ files: ["dne.loo.safetensors", "dne.loo.json"], check: dneLoo },
	{ files: ["metrics.image.json"], check: metricsImage },
	{ files: ["metrics.continual.json"], check: metricsContinual },
	{
		files: ["ewc.fisher.safetensors", "ewc.anchor.safetensors", "ewc.json"],
		check: "not built",
	},
	{ files: ["ewc.exact.safetensors"], check: "not built" },
	{ files: ["ewc.three.safetensors", "ewc.three.json"], check: "not built" },
	{ files: ["si.omega.safetensors", "si.json"], check: "not built" },
	{ files: ["si.two.safetensors", "si.two.json"], check: "not built" },
	{ files: ["lwf.safetensors", "lwf.json"], check: "not built" },
	{
		files: ["metrics.pixel.safetensors", "metrics.pixel.json"],
		check: "not built",
	},
	{ files: ["spro/"], check: "not built" },
];

async function main(path: string): Promise<number> {
	if (!existsSync(path)) {
		console.error(
			`error: there is no folder ${path}. Give the folder of reference values: npm run golden -- DIR`,
		);
		return 2;
	}
	const present = readdirSync(path)
		.filter((name) => name !== "README.md" && !name.endsWith(".py"))
		.map((name) =>
			statSync(join(path, name)).isDirectory() ? `${name}/` : name,
		);
	const known = checks.flatMap((c) => c.files);
	let failures = 0;
	const print = (
		name: string,
		error: string,
		tolerance: string,
		verdict: string,
	) =>
		console.log(
			`${name.padEnd(44)} ${error.padStart(10)} ${tolerance.padStart(8)}  ${verdict}`,
		);
	const folder = new Folder(path);
	for (const { files, check } of checks) {
		if (!files.some((f) => present.includes(f))) continue;
		if (check === "not built") {
			for (const f of files.filter((name) => present.includes(name)))
				print(f.replace(/\.(safetensors|json)$|\/$/, ""), "", "", "not built");
			continue;
		}
		try {
			for (const { name, error, tolerance } of await check(folder)) {
				const pass = error <= tolerance;
				if (!pass) failures++;
				print(
					name,
					error.toExponential(1),
					tolerance ? tolerance.toExponential(0) : "exact",
					pass ? "pass" : "FAIL",
				);
			}
		} catch (error) {
			failures++;
			print(files[0] as string, "", "", `FAIL (${(error as Error).message})`);
		}
	}
	for (const name of present.filter((n) => !known.includes(n))) {
		failures++;
		print(name, "", "", "FAIL (no check knows this file)");
	}
	if (present.length === 0) failures++;
	console.log(failures === 0 ? "all quantities pass" : `${failures} failures`);
	return failures === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv[2] ?? "../shared/golden");
