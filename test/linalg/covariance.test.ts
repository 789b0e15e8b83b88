import { expect, test } from "vitest";
import {
	concatRows,
	drawFrom,
	gaussianMoments,
	gaussianOf,
	ledoitWolf,
	leaveOneOut,
	mapMoments,
	mergeMoments,
	type Moments,
	momentsOf,
	multiply,
	type Rows,
	rowOf,
	shrunkCovariance,
	squaredDistances,
} from "../../src/linalg/covariance.ts";
import { Random } from "../../src/random.ts";
import {
	describeGolden,
	goldenJson,
	goldenRows,
	relativeError,
} from "../golden.ts";

const random = new Random("covariance");
const sample = (n: number, d: number, offset = 0): Rows => ({
	n,
	d,
	data: Float64Array.from(
		{ length: n * d },
		(_, i) => offset + random.normal() * (1 + (i % d)) + random.uniform(),
	),
});

function expectEqualMoments(a: Moments, b: Moments, tolerance = 1e-12): void {
	expect(a.n).toBe(b.n);
	expect(relativeError(a.mean, b.mean)).toBeLessThan(tolerance);
	expect(relativeError(a.covariance, b.covariance)).toBeLessThan(tolerance);
	expect(relativeError(a.third, b.third)).toBeLessThan(tolerance);
	expect(relativeError([a.fourth], [b.fourth])).toBeLessThan(tolerance);
}

describeGolden("golden dne: scikit-learn's Ledoit-Wolf", () => {
	const tensor = goldenRows("dne.safetensors");
	const expected = goldenJson("dne.json") as {
		name: string;
		n: number;
		shrinkage: number;
	}[];
	const tasks = ["task0", "task1", "task2"].map((name) =>
		momentsOf(tensor(`${name}.embeddings`)),
	);

	test.each(["task0", "task1", "task2", "joint"])("%s", (name) => {
		const moments =
			name === "joint"
				? tasks.reduce(mergeMoments)
				: (tasks[Number(name.at(-1))] as Moments); // joint: by merging alone
		const want = expected.find((entry) => entry.name === name);
		expect(moments.n).toBe(want?.n);
		const shrinkage = ledoitWolf(moments);
		expect(
			Math.abs(shrinkage.shrinkage - (want?.shrinkage ?? Number.NaN)),
		).toBeLessThan(1e-6);
		expect(
			relativeError(moments.covariance, tensor(`${name}.empirical`).data),
		).toBeLessThan(1e-5);
		expect(
			relativeError(
				shrunkCovariance(moments.covariance, shrinkage),
				tensor(`${name}.covariance`).data,
			),
		).toBeLessThan(1e-5);
		const distances = squaredDistances(
			gaussianOf(moments),
			tensor("queries"),
		).map(Math.sqrt);
		expect(
			relativeError(distances, tensor(`${name}.distance`).data),
		).toBeLessThan(1e-4);
	});

	test("dne.loo: leave-one-out at fixed shrinkage and target", () => {
		const loo = goldenRows("dne.loo.safetensors");
		const rows = loo("embeddings");
		const moments = momentsOf(rows);
		const found = leaveOneOut(
			moments,
			goldenJson("dne.loo.json") as { shrinkage: number; target: number },
		).squaredDistances(rows, moments.mean, moments.n);
		expect(relativeError(found, loo("squaredDistance").data)).toBeLessThan(
			1e-4,
		);
	});
});

test("merging equals the union, in any order, down to single samples", () => {
	const parts = [
		sample(7, 5),
		sample(1, 5, 3),
		sample(20, 5, -2),
		sample(1, 5),
	];
	const union = momentsOf(concatRows(parts, 5));
	expectEqualMoments(parts.map(momentsOf).reduce(mergeMoments), union);
	expectEqualMoments(
		parts.map(momentsOf).reverse().reduce(mergeMoments),
		union,
	);
});

test("leave-one-out equals refitting without the sample, also where classes share a covariance", () => {
	const d = 6;
	const shrinkage = { shrinkage: 0.2, target: 1.5 };
	const classes = [sample(9, d), sample(5, d, 4)];
	const pooled = (parts: Moments[]) => {
		const n = parts.reduce((sum, part) => sum + part.n, 0);
		return {
			n,
			covariance: parts.reduce(
				(sum, part) =>
					sum.map(
						(value, i) => value + (part.n / n) * (part.covariance[i] as number),
					),
				new Float64Array(d * d),
			),
		};
	};
	for (const [which, rows] of classes.entries()) {
		const moments = classes.map(momentsOf);
		const { mean, n } = moments[which] as Moments;
		const found = leaveOneOut(pooled(moments), shrinkage).squaredDistances(
			rows,
			mean,
			n,
		);
		for (let i = 0; i < rows.n; i++) {
			const rest = momentsOf(
				concatRows(
					Array.from({ length: rows.n }, (_, j) => ({
						n: 1,
						d,
						data: rowOf(rows, j),
					})).filter((_, j) => j !== i),
					d,
				),
			);
			const refit = pooled(moments.map((m, c) => (c === which ? rest : m)));
			const gaussian = gaussianOf(
				{ ...rest, covariance: refit.covariance },
				shrinkage,
			);
			expect(
				relativeError(
					[found[i] as number],
					squaredDistances(gaussian, { n: 1, d, data: rowOf(rows, i) }),
				),
			).toBeLessThan(1e-10);
		}
	}
});

test("expected: near the mean of the leave-one-out distances, from moments alone", () => {
	const rows = sample(60, 8);
	const moments = momentsOf(rows);
	const loo = leaveOneOut(moments, ledoitWolf(moments));
	const scores = loo.squaredDistances(rows, moments.mean, moments.n);
	expect(loo.expected(moments, moments.mean, moments.n)).toBeCloseTo(
		scores.reduce((a, b) => a + b) / 60,
		0,
	);
});

test("mapped moments are those of mapped samples; draws have the Gaussian's moments", () => {
	const d = 4;
	const rows = sample(5000, d);
	const a = Float64Array.from({ length: d * d }, () => random.normal());
	const mapped = momentsOf(
		concatRows(
			Array.from({ length: rows.n }, (_, i) => ({
				n: 1,
				d,
				data: multiply(a, rowOf(rows, i)),
			})),
			d,
		),
	);
	const found = mapMoments(momentsOf(rows), a);
	expect(relativeError(found.mean, mapped.mean)).toBeLessThan(1e-10);
	expect(relativeError(found.covariance, mapped.covariance)).toBeLessThan(
		1e-10,
	);
	expect(found.fourth / mapped.fourth).toBeCloseTo(1, 1);

	const gaussian = gaussianOf(momentsOf(rows));
	const drawn = momentsOf(
		drawFrom(gaussian, {
			n: 5000,
			d,
			data: Float64Array.from({ length: 5000 * d }, () => random.normal()),
		}),
	);
	const covariance = shrunkCovariance(momentsOf(rows).covariance, gaussian);
	expect(relativeError(drawn.covariance, covariance)).toBeLessThan(0.1);
	expect(
		drawn.fourth / gaussianMoments(5000, gaussian.mean, covariance).fourth,
	).toBeCloseTo(1, 0);
});

test.each([
	["one sample", sample(1, 5)],
	["two samples", sample(2, 5)],
	["fewer samples than dimensions", sample(4, 30)],
	[
		"one sample many times",
		{ n: 6, d: 4, data: Float64Array.from({ length: 24 }, (_, i) => i % 4) },
	],
	["all zero", { n: 3, d: 4, data: new Float64Array(12) }],
	[
		"constant features",
		{
			n: 8,
			d: 4,
			data: Float64Array.from({ length: 32 }, (_, i) =>
				i % 4 === 0 ? Math.sin(i) : 2,
			),
		},
	],
	[
		"two clusters of duplicates",
		{
			n: 8,
			d: 4,
			data: Float64Array.from({ length: 32 }, (_, i) => (i < 16 ? 1 : -1)),
		},
	],
])("%s: positive definite and finite", (_, rows) => {
	const moments = momentsOf(rows);
	const shrinkage = ledoitWolf(moments);
	expect(shrinkage.shrinkage).toBeGreaterThan(0);
	expect(shrinkage.shrinkage).toBeLessThanOrEqual(1);
	expect(shrinkage.target).toBeGreaterThan(0);
	const query: Rows = {
		n: 1,
		d: rows.d,
		data: Float64Array.from({ length: rows.d }, (_, i) => i - 1),
	};
	for (const value of squaredDistances(
		gaussianOf(moments),
		concatRows([rows, query], rows.d),
	))
		expect(value).toSatisfy((v: number) => Number.isFinite(v) && v >= 0);
	const scores = leaveOneOut(moments, shrinkage).squaredDistances(
		rows,
		moments.mean,
		moments.n,
	);
	expect(scores.length).toBe(rows.n > 1 ? rows.n : 0);
	expect(scores.every((value) => Number.isFinite(value) && value >= 0)).toBe(
		true,
	);
});
