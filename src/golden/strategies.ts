/** ewc.*, si.*, lwf.*, gpm.*: what the continual-learning strategies compute. */
import { gradients } from "../engine/autodiff.ts";
import { input, inputsOf, type Value } from "../engine/graph.ts";
import { mul, slice, sum } from "../engine/ops/index.ts";
import { Session } from "../engine/runtime.ts";
import { TrainingStep } from "../engine/step.ts";
import { float32, type Tensor, type TensorDict } from "../engine/tensor.ts";
import { embed, top, type VitConfig } from "../models/vit.ts";
import { squaresOf } from "../probe.ts";
import { Random } from "../random.ts";
import { groupOf } from "../strategies/anchored.ts";
import { consolidate, fisherTerms, penaltyOf } from "../strategies/ewc.ts";
import { projectedAway } from "../strategies/gpm.ts";
import { distillation } from "../strategies/lwf.ts";
import { si } from "../strategies/si.ts";
import type { Probe, StepGraph } from "../strategies/strategy.ts";
import { extendBasis, joinBasis } from "../strategies/subspace.ts";
import { headOf } from "../trunk.ts";
import {
	type Check,
	type Folder,
	isTrue,
	type Outcome,
	relative,
} from "./compare.ts";
import { oneHot, pixelsToLoss, type VitJson, vitConfig } from "./network.ts";

interface Model {
	readonly config: VitConfig;
	readonly weights: TensorDict;
	readonly images: Tensor;
	readonly labels: Tensor;
}

/** The ViT of vit.* with its batch. */
function modelOf(dir: Folder): Model {
	const json = dir.json<VitJson>("vit.config.json");
	const weights = dir.tensors("vit.weights.safetensors");
	return {
		weights,
		config: vitConfig(json, weights, [json.image, json.image]),
		images: dir.tensors("vit.forward.safetensors").input as Tensor,
		labels: oneHot(json.labels, json.classes),
	};
}

/** Mean of the squared gradients of each image of the batch. */
async function fisherOf(
	{ config, weights, images, labels }: Model,
	terms: keyof typeof fisherTerms,
): Promise<TensorDict> {
	const names = Object.keys(weights);
	const params = inputsOf(weights);
	const pixels = input("pixels", images.shape);
	const classes = input("classes", labels.shape);
	const samples = Array.from({ length: images.shape[0] as number }, (_, i) => {
		const one = (x: Value) => slice(x, 0, i, i + 1);
		const { embedding } = top(
			config,
			params,
			embed(config, params, one(pixels)),
			0,
			{ read: "class" },
		);
		return {
			embedding,
			logits: headOf(params, embedding),
			labels: one(classes),
			noise: embedding, // not read by these terms
		};
	});
	const squares = squaresOf(
		samples,
		fisherTerms[terms],
		names.map((n) => params[n] as Value),
	);
	const session = await Session.create(
		Object.fromEntries(
			names.map((n, i) => [n, mul(squares[i] as Value, 1 / samples.length)]),
		),
		{ threads: 2 },
	);
	const out = await session.run({
		...weights,
		pixels: images,
		classes: labels,
	});
	await session.release();
	return out;
}

const comparedWith =
	(name: string, expected: TensorDict, tolerance = 1e-4) =>
	([key, { data }]: [string, Tensor]) => ({
		name: `${name} ${key}`,
		error: relative(data, expected[key]?.data ?? []),
		tolerance,
	});

export const ewcFisher: Check = async (dir) => {
	const model = modelOf(dir);
	const expected = dir.tensors("ewc.fisher.safetensors");
	const { lambda, penalty } = dir.json<{ lambda: number; penalty: number }>(
		"ewc.json",
	);
	const fisher = await fisherOf(model, "empirical");
	const kept: TensorDict = {};
	consolidate(kept, fisher, dir.tensors("ewc.anchor.safetensors"));
	const held = await penaltyAt(model.weights, kept, lambda);
	return [
		...Object.entries(fisher).map(comparedWith("ewc.fisher", expected)),
		isTrue(
			"ewc.fisher has every parameter",
			Object.keys(expected).every((name) => name in fisher),
		),
		{
			name: "ewc penalty",
			error: relative([held.penalty], [penalty]),
			tolerance: 1e-4,
		},
	];
};

export const ewcExact: Check = async (dir) =>
	Object.entries(await fisherOf(modelOf(dir), "exact")).map(
		comparedWith("ewc.exact", dir.tensors("ewc.exact.safetensors")),
	);

/** Penalty and its gradient at `theta`. */
async function penaltyAt(
	theta: TensorDict,
	kept: TensorDict,
	lambda: number,
): Promise<{ penalty: number; gradient: TensorDict }> {
	const constants: TensorDict = {};
	const params = inputsOf(theta);
	const penalty = penaltyOf(
		{
			params,
			constant(t) {
				const name = `c${Object.keys(constants).length}`;
				constants[name] = t;
				return input(name, t.shape);
			},
		},
		kept,
		lambda,
	);
	const names = Object.keys(theta);
	const gradient = gradients(
		penalty,
		names.map((n) => params[n] as Value),
	);
	const session = await Session.create(
		{
			penalty,
			...Object.fromEntries(
				names.map((n, i) => [`d ${n}`, gradient[i] as Value]),
			),
		},
		{ threads: 2 },
	);
	const out = await session.run({ ...theta, ...constants });
	await session.release();
	return {
		penalty: out.penalty?.data[0] as number,
		gradient: Object.fromEntries(
			names.map((n) => [n, out[`d ${n}`] as Tensor]),
		),
	};
}

/** Row i of [rows, n]. */
const row = ({ shape, data }: Tensor, i: number): Tensor => {
	const n = shape[1] as number;
	return float32([n], data.slice(i * n, (i + 1) * n));
};

export const ewcThree: Check = async (dir) => {
	const t = dir.tensors("ewc.three.safetensors");
	const { lambda, penalty } = dir.json<{ lambda: number; penalty: number }>(
		"ewc.three.json",
	);
	const kept: TensorDict = {};
	for (let task = 0; task < ((t.fisher as Tensor).shape[0] as number); task++)
		consolidate(
			kept,
			{ w: row(t.fisher as Tensor, task) },
			{ w: row(t.anchor as Tensor, task) },
		);
	const held = await penaltyAt({ w: t.theta as Tensor }, kept, lambda);
	return [
		{
			name: "ewc.three penalty",
			error: relative([held.penalty], [penalty]),
			tolerance: 1e-5,
		},
		{
			name: "ewc.three gradient",
			error: relative(
				(held.gradient.w as Tensor).data,
				(t.gradient as Tensor).data,
			),
			tolerance: 1e-4,
		},
	];
};

const sgd = (lr: number) => ({
	name: "sgd" as const,
	lr,
	betas: [0.9, 0.999] as const,
	eps: 1e-8,
	weightDecay: 0,
	momentum: 0,
});

export const siOmega: Check = async (dir) => {
	const { config, weights, images, labels } = modelOf(dir);
	const { xi, lr, steps } = dir.json<{ xi: number; lr: number; steps: number }>(
		"si.json",
	);
	const strategy = si.create({ c: 1, xiRelative: 1, xi });
	const step = await TrainingStep.create({
		params: Object.fromEntries(
			Object.entries(weights).map(([n, t]) => [
				n,
				float32(t.shape, t.data.slice()),
			]),
		),
		optimizer: sgd(lr),
		clipNorm: null,
		threads: 2,
		build(builder) {
			const graph = builder as StepGraph; // the strategy asks for nothing else before a second task
			return {
				loss: pixelsToLoss(
					config,
					builder.params,
					builder.feed("input", images.shape),
					builder.feed("labels", labels.shape),
				).loss,
				hooks: {
					gradients: (g) => strategy.gradients?.(g, graph) ?? g,
					afterUpdate: (m) => strategy.afterUpdate?.(m, graph),
				},
			};
		},
	});
	for (let i = 0; i < steps; i++)
		await step.run({ input: images, labels }, i, {
			name: "constant",
			warmup: 0,
			total: steps,
		});
	await step.release();
	await strategy.endTask?.({ id: "golden", categories: [] }, {
		start: weights,
		params: step.params,
	} as unknown as Probe);
	return Object.entries(groupOf(strategy.tensors ?? {}, "importance")).map(
		comparedWith("si.omega", dir.tensors("si.omega.safetensors")),
	);
};

/** Gradients and moves as recorded: the loss is w · gradient, and the move takes the place of the optimiser's. */
export const siTwo: Check = async (dir) => {
	const t = dir.tensors("si.two.safetensors");
	const { xi, negativePaths, clipped } = dir.json<{
		xi: number;
		negativePaths: number;
		clipped: number;
	}>("si.two.json");
	const strategy = si.create({ c: 1, xiRelative: 1, xi });
	const [steps, n] = (t.gradient0 as Tensor).shape as [number, number];
	let weights = float32([n]);
	const outcomes: Outcome[] = [];
	const count = (data: ArrayLike<number>, holds: (x: number) => boolean) =>
		Array.from(data).filter(holds).length;
	for (const task of [0, 1]) {
		const start = { w: float32([n], weights.data.slice()) };
		const step = await TrainingStep.create({
			params: { w: weights },
			optimizer: sgd(1),
			clipNorm: null,
			threads: 1,
			build(builder) {
				const graph = { ...builder, report: () => {} } as unknown as StepGraph;
				const gradient = builder.feed("gradient", [n]);
				const move = builder.feed("move", [n]);
				return {
					loss: sum(mul(builder.params.w as Value, gradient)),
					hooks: {
						gradients: (g) => strategy.gradients?.(g, graph) ?? g,
						moves: () => ({ w: move }),
						afterUpdate: (m) => strategy.afterUpdate?.(m, graph),
					},
				};
			},
		});
		for (let i = 0; i < steps; i++)
			await step.run(
				{
					gradient: row(t[`gradient${task}`] as Tensor, i),
					move: row(t[`move${task}`] as Tensor, i),
				},
				i,
				{ name: "constant", warmup: 0, total: steps },
			);
		await step.release();
		weights = step.params.w as Tensor;
		await strategy.endTask?.({ id: "golden", categories: [] }, {
			start,
			params: step.params,
		} as unknown as Probe);
		const importance = strategy.tensors?.["importance:w"]?.data as Float32Array;
		outcomes.push({
			name: `si.two importance${task}`,
			error: relative(importance, (t[`importance${task}`] as Tensor).data),
			tolerance: 1e-4,
		});
		if (task === 1)
			outcomes.push(
				isTrue(
					"si.two negative paths",
					count((step.states["s:path:w"] as Tensor).data, (x) => x < 0) ===
						negativePaths,
				),
				isTrue("si.two clipped", count(importance, (x) => x === 0) === clipped),
			);
	}
	return outcomes;
};

export const lwf: Check = async (dir) => {
	const { student, teacher, grad } = dir.tensors("lwf.safetensors") as Record<
		"student" | "teacher" | "grad",
		Tensor
	>;
	const { temperature, loss } = dir.json<{ temperature: number; loss: number }>(
		"lwf.json",
	);
	const z = input("student", student.shape);
	const distance = distillation(
		input("teacher", teacher.shape),
		z,
		temperature,
	);
	const [slope] = gradients(distance, [z]) as [Value];
	const session = await Session.create({ distance, slope }, { threads: 1 });
	const out = await session.run({ student, teacher });
	await session.release();
	return [
		{
			name: "lwf loss",
			error: relative((out.distance as Tensor).data, [loss]),
			tolerance: 1e-5,
		},
		{
			name: "lwf grad",
			error: relative((out.slope as Tensor).data, grad.data),
			tolerance: 1e-5,
		},
	];
};

export const gpm: Check = async (dir) => {
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
