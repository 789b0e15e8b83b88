/** One step as one graph: in-place updates, clipping, schedules, hooks. */
import { describe, expect, it } from "vitest";
import { input, type Value } from "../../src/engine/graph.ts";
import * as o from "../../src/engine/ops/index.ts";
import { optimizers, scheduled } from "../../src/engine/optim.ts";
import { type StepDefinition, TrainingStep } from "../../src/engine/step.ts";
import {
	float32,
	type Tensor,
	type TensorDict,
} from "../../src/engine/tensor.ts";
import { symmetricEigen } from "../../src/linalg/eigen.ts";
import { crossEntropy } from "../../src/engine/ops/index.ts";
import {
	embed,
	initialise,
	parameterShapes,
	top,
	type VitConfig,
} from "../../src/models/vit.ts";
import { Random } from "../../src/random.ts";
import { headOf } from "../../src/trunk.ts";

const config: VitConfig = {
	imageSize: [32, 32],
	patch: 8,
	width: 24,
	depth: 2,
	heads: 2,
	mlpRatio: 4,
	registers: 1,
	layerScale: true,
	classPosition: true,
	layerNormEps: 1e-6,
	mean: [0, 0, 0],
	std: [1, 1, 1],
};
const random = new Random("step");
const draw = (shape: readonly number[], deviation = 1) =>
	float32(
		shape,
		Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () =>
			random.normal(0, deviation),
		),
	);
const weights: TensorDict = {
	...initialise(config, random.derive("weights")),
	"head.weight": draw([2, 24], 0.5),
	"head.bias": float32([2]),
};
for (const [name, t] of Object.entries(weights))
	if (name.endsWith("gamma")) t.data.fill(0.5);
const images = draw([4, 3, 32, 32]);
const labels = float32([4, 2], new Float32Array([1, 0, 0, 1, 1, 0, 0, 1]));
const copy = (dict: TensorDict): TensorDict =>
	Object.fromEntries(
		Object.entries(dict).map(([n, t]) => [n, float32(t.shape, t.data.slice())]),
	);
const constantRate = { name: "constant", warmup: 0, total: 10 } as const;

const define = (changes: Partial<StepDefinition> = {}): StepDefinition => ({
	params: copy(weights),
	optimizer: {
		name: "adamw",
		lr: 1e-2,
		betas: [0.9, 0.999],
		eps: 1e-8,
		weightDecay: 0.1,
		momentum: 0.9,
	},
	clipNorm: null,
	threads: 2,
	build: (s) => {
		const { embedding } = top(
			config,
			s.params,
			embed(config, s.params, s.feed("images", images.shape)),
			0,
			{ read: "class" },
		);
		return {
			loss: crossEntropy(
				headOf(s.params, embedding),
				s.feed("labels", labels.shape),
			),
		};
	},
	...changes,
});
async function train(definition: StepDefinition, steps = 12) {
	const step = await TrainingStep.create(definition);
	const losses: number[] = [];
	for (let i = 0; i < steps; i++)
		losses.push((await step.run({ images, labels }, i, constantRate)).loss);
	await step.release();
	return { losses, params: step.params, states: step.states };
}

describe("a training step", () => {
	it("knows every parameter of the network", () => {
		expect(
			Object.keys(weights)
				.filter((n) => !n.startsWith("head."))
				.sort(),
		).toEqual(Object.keys(parameterShapes(config)).sort());
	});

	it.each(["adamw", "adam", "sgd"] as const)(
		"updates in place to the bits of fresh outputs (%s)",
		async (name) => {
			const optimizer = { ...define().optimizer, name, lr: 3e-3 };
			for (const clipNorm of [null, 0.5]) {
				const a = await train(define({ optimizer, clipNorm, inPlace: true }));
				const b = await train(define({ optimizer, clipNorm, inPlace: false }));
				expect(a.losses).toEqual(b.losses);
				for (const [n, t] of Object.entries(a.params))
					expect(t.data, n).toEqual(b.params[n]?.data);
				for (const [n, t] of Object.entries(a.states))
					expect(t.data, n).toEqual(b.states[n]?.data);
				expect(Math.min(...a.losses.slice(1))).toBeLessThan(
					a.losses[0] as number,
				);
			}
		},
	);

	it("clips the whole gradient to the norm", async () => {
		const optimizer = {
			...define().optimizer,
			name: "sgd" as const,
			lr: 1,
			weightDecay: 0,
			momentum: 0,
		};
		const step = await TrainingStep.create(
			define({ optimizer, clipNorm: 0.01 }),
		);
		const { gradientNorm } = await step.run(
			{ images, labels },
			0,
			constantRate,
		);
		expect(gradientNorm).toBeGreaterThan(0.01);
		let moved = 0;
		for (const [n, t] of Object.entries(step.params))
			t.data.forEach((v, i) => {
				moved +=
					(v - ((weights[n] as { data: Float32Array }).data[i] as number)) ** 2;
			});
		expect(Math.sqrt(moved)).toBeCloseTo(0.01, 5);
	});

	it("runs hooks on gradients and moves, and carries a strategy's state", async () => {
		const seen: Value[] = [];
		const definition = define();
		const { params, states } = await train(
			define({
				build: (s) => {
					const count = s.state("count", float32([1]));
					return {
						...definition.build(s),
						hooks: {
							gradients: (g) => ({
								...g,
								"head.bias": o.mul(g["head.bias"] as Value, 0),
							}),
							moves: (m) => {
								seen.push(...Object.values(m));
								return { ...m, cls_token: o.mul(m.cls_token as Value, 0) };
							},
							afterUpdate: () => count.set(o.add(count.now, 1)),
						},
					};
				},
				optimizer: { ...definition.optimizer, weightDecay: 0 },
			}),
			3,
		);
		expect(seen.length).toBe(Object.keys(weights).length);
		expect(params["head.bias"]?.data).toEqual(weights["head.bias"]?.data);
		expect(params.cls_token?.data).toEqual(weights.cls_token?.data);
		expect(states["s:count"]?.data[0]).toBe(3);
	});

	it("reports a loss that is not finite instead of hiding it", async () => {
		const step = await TrainingStep.create(define());
		const bad = float32(images.shape, images.data.slice());
		bad.data[5] = Number.NaN;
		expect(
			(await step.run({ images: bad, labels }, 0, constantRate)).loss,
		).toBeNaN();
	});
});

describe("Muon", () => {
	/** The same in plain loops: a and b as rows. */
	const product = (a: number[][], b: number[][]) =>
		a.map((row) =>
			(b[0] as number[]).map((_, j) =>
				row.reduce((sum, x, k) => sum + x * (b[k]?.[j] as number), 0),
			),
		);
	const turned = (a: number[][]) =>
		(a[0] as number[]).map((_, j) => a.map((row) => row[j] as number));
	const mixed = (a: number[][], x: number, b: number[][], y: number) =>
		a.map((row, i) => row.map((v, j) => x * v + y * (b[i]?.[j] as number)));
	function orthogonalised(x: number[][]): number[][] {
		if (x.length > (x[0] as number[]).length)
			return turned(orthogonalised(turned(x)));
		const norm = Math.sqrt(x.flat().reduce((sum, v) => sum + v * v, 0));
		let y = x.map((row) => row.map((v) => v / (norm + 1e-7)));
		for (let i = 0; i < 5; i++) {
			const a = product(y, turned(y));
			const p = mixed(a, -4.775, product(a, a), 2.0315);
			y = mixed(y, 3.4445, product(p, y), 1);
		}
		return y;
	}

	it.each([
		[16, 24],
		[40, 16],
	])(
		"moves a matrix of %d x %d as its definition says",
		async (rows, columns) => {
			const random = new Random("muon", rows);
			const draw = () =>
				Array.from({ length: rows }, () =>
					Array.from({ length: columns }, () => random.normal()),
				);
			const tensor = (x: number[][]) =>
				float32([rows, columns], Float32Array.from(x.flat()));
			let weight = draw();
			const [lr, decay, beta] = [0.1, 0.2, 0.9];
			const step = await TrainingStep.create({
				params: { w: tensor(weight) },
				optimizer: {
					name: "muon",
					lr,
					betas: [beta, 0.99],
					eps: 1e-8,
					weightDecay: decay,
					momentum: 0,
				},
				clipNorm: null,
				threads: 1,
				// the gradient is what is fed
				build: ({ params, feed }) => ({
					loss: o.sum(o.mul(params.w as Value, feed("g", [rows, columns]))),
				}),
			});
			let m = weight.map((row) => row.map(() => 0));
			for (let i = 0; i < 3; i++) {
				const g = draw();
				await step.run({ g: tensor(g) }, i, {
					name: "constant",
					warmup: 0,
					total: 3,
				});
				m = mixed(m, beta, g, 1);
				const u = orthogonalised(mixed(m, beta, g, 1));
				weight = mixed(
					weight,
					1 - lr * decay,
					u,
					-lr * 0.2 * Math.sqrt(Math.max(rows, columns)),
				);
			}
			const found = (step.params.w as Tensor).data;
			for (const [i, x] of weight.flat().entries())
				expect(Math.abs((found[i] as number) - x)).toBeLessThan(1e-4);
			await step.release();
		},
	);

	it("brings singular values near 1, and leaves what is no matrix to AdamW", () => {
		const random = new Random("muon");
		const x = Array.from({ length: 16 }, () =>
			Array.from({ length: 30 }, () => random.normal()),
		);
		const y = orthogonalised(x);
		const gram = product(y, turned(y)).flat();
		const { values } = symmetricEigen(Float64Array.from(gram), 16);
		expect(Math.sqrt(values[0] as number)).toBeLessThan(1.25);
		expect(Math.sqrt(values[15] as number)).toBeGreaterThan(0.3);
		expect(optimizers.muon.states([16, 16])).toEqual(["momentum"]);
		for (const shape of [[30], [2, 30], [16, 3, 4, 4]])
			expect(optimizers.muon.states(shape)).toEqual(["sum", "squares"]);
	});
});

describe("schedules", () => {
	it("warms up linearly, then falls by half a cosine", () => {
		const s = { name: "cosine", warmup: 4, total: 14 } as const;
		expect([0, 1, 3].map((i) => scheduled(1, i, s))).toEqual([0.25, 0.5, 1]);
		expect(scheduled(1, 4, s)).toBe(1);
		expect(scheduled(1, 9, s)).toBeCloseTo(0.5, 12);
		expect(scheduled(1, 14, s)).toBeCloseTo(0, 12);
		expect(scheduled(3, 7, { ...s, name: "constant" })).toBe(3);
	});
});

it("an input that is not fed is named", async () => {
	const { Session } = await import("../../src/engine/runtime.ts");
	const session = await Session.create(
		{ y: o.neg(input("x", [2])) },
		{ threads: 1 },
	);
	await expect(session.run({})).rejects.toThrow('"x"');
	await expect(session.run({ x: float32([3]) })).rejects.toThrow("[3]");
});
