import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
	leadingEigen,
	orthonormalise,
	symmetricEigen,
	timesTransposed,
	transpose,
} from "../../src/linalg/eigen.ts";
import { Random } from "../../src/random.ts";

const normals = (count: number, random: Random) =>
	Float64Array.from({ length: count }, () => random.normal());

/** Vᵀ Λ V with a random orthonormal V. */
function withSpectrum(values: readonly number[], random: Random): Float64Array {
	const n = values.length;
	const v = orthonormalise(normals(n * n, random), n);
	const scaled = v.map((x, i) => x * (values[Math.floor(i / n)] as number));
	return timesTransposed(transpose(v, n), transpose(scaled, n), n);
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
	expect(a.length).toBe(b.length);
	let largest = 0;
	for (let i = 0; i < a.length; i++)
		largest = Math.max(largest, Math.abs((a[i] as number) - (b[i] as number)));
	return largest;
}

/** ‖V A − Λ V‖ and ‖V Vᵀ − I‖, largest entry; the first relative to the largest eigenvalue. */
function errors(
	a: Float64Array,
	n: number,
	values: Float64Array,
	vectors: Float64Array,
) {
	const scale = Math.max(...values.map(Math.abs)) || 1;
	const images = timesTransposed(vectors, a, n);
	const scaled = vectors.map(
		(x, i) => x * (values[Math.floor(i / n)] as number),
	);
	const k = values.length;
	const identity = Float64Array.from({ length: k * k }, (_, i) =>
		i % (k + 1) === 0 ? 1 : 0,
	);
	return {
		residual: largestDifference(images, scaled) / scale,
		orthonormality: largestDifference(
			timesTransposed(vectors, vectors, n),
			identity,
		),
	};
}

/** Denormal numbers have no 16 digits to be right in. */
const whole = (x: number) => (Math.abs(x) < 1e-290 ? 0 : x);

describe("symmetricEigen", () => {
	const spectra: Record<string, readonly number[]> = {
		"spread over 12 decades": Array.from(
			{ length: 40 },
			(_, i) => 10 ** (-0.3 * i),
		),
		"of both signs": Array.from({ length: 33 }, (_, i) => 16 - i),
		clustered: [
			...Array(10).fill(3),
			...Array(10).fill(3 + 1e-13),
			...Array(13).fill(1),
		],
		"all equal": Array(17).fill(2.5),
		"mostly zero (rank 5 of 50)": [5, 4, 3, 2, 1, ...Array(45).fill(0)],
		tiny: [3e-200, 2e-200, 1e-200, 0],
		huge: [3e200, 2e200, 1e200],
	};
	test.each(Object.entries(spectra))("finds a spectrum %s", (_, values) => {
		const n = values.length;
		const a = withSpectrum(values, new Random("spectrum", n));
		const eigen = symmetricEigen(a, n);
		const sorted = [...values].sort((x, y) => y - x);
		const scale = Math.max(...values.map(Math.abs));
		expect(largestDifference(eigen.values, sorted) / scale).toBeLessThan(
			n * 4e-16 + 1e-15,
		);
		const { residual, orthonormality } = errors(
			a,
			n,
			eigen.values,
			eigen.vectors,
		);
		expect(residual).toBeLessThan(1e-14);
		expect(orthonormality).toBeLessThan(1e-13);
	});

	test("any small matrix, values descending", () => {
		fc.assert(
			fc.property(
				fc.integer({ min: 1, max: 9 }),
				fc.array(fc.double({ min: -5, max: 5, noNaN: true }), {
					minLength: 81,
					maxLength: 81,
				}),
				(n, numbers) => {
					const a = new Float64Array(n * n);
					for (let i = 0; i < n; i++)
						for (let j = i; j < n; j++)
							a[i * n + j] = a[j * n + i] = whole(numbers[i * 9 + j] as number);
					const { values, vectors } = symmetricEigen(a, n);
					for (let i = 1; i < n; i++)
						expect(values[i - 1]).toBeGreaterThanOrEqual(values[i] as number);
					const { residual, orthonormality } = errors(a, n, values, vectors);
					expect(residual).toBeLessThan(1e-14);
					expect(orthonormality).toBeLessThan(1e-14);
				},
			),
		);
	});

	test("diagonal and empty matrices, zero", () => {
		expect([...symmetricEigen(Float64Array.of(1, 0, 0, 3), 2).values]).toEqual([
			3, 1,
		]);
		expect([...symmetricEigen(new Float64Array(9), 3).values]).toEqual([
			0, 0, 0,
		]);
		expect(symmetricEigen(new Float64Array(0), 0).vectors.length).toBe(0);
	});

	test("reads the upper triangle only and leaves its argument alone", () => {
		const a = withSpectrum([4, 2, 1], new Random("upper"));
		const upper = a.map((x, i) => (i % 3 >= Math.floor(i / 3) ? x : 0));
		const before = upper.slice();
		expect(symmetricEigen(upper, 3)).toEqual(symmetricEigen(a, 3));
		expect(upper).toEqual(before);
	});

	test("n = 384, a ViT-S layer, is right and takes well under a second on an idle core", () => {
		const n = 384;
		const x = normals(n * 200, new Random("vit")); // rank 200
		const a = timesTransposed(x, x, 200);
		const start = performance.now();
		const { values, vectors } = symmetricEigen(a, n);
		expect(performance.now() - start).toBeLessThan(5000); // .2 s measured; the margin is for busy machines
		const { residual, orthonormality } = errors(a, n, values, vectors);
		expect(residual).toBeLessThan(1e-14);
		expect(orthonormality).toBeLessThan(5e-14);
		expect(values.filter((value) => value > 1e-10).length).toBe(200);
	});

	test("refuses what is not finite and sizes that do not fit", () => {
		expect(() =>
			symmetricEigen(Float64Array.of(1, Number.NaN, 0, 1), 2),
		).toThrow("holds NaN");
		expect(() => symmetricEigen(new Float64Array(5), 2)).toThrow(
			"shapes do not fit",
		);
	});
});

describe("leadingEigen", () => {
	const n = 200;
	const values = Array.from({ length: n }, (_, i) => 1 / (1 + i) ** 1.2);
	const a = withSpectrum(values, new Random("leading"));
	const trace = values.reduce((x, y) => x + y, 0);
	const product = (rows: Float64Array) => timesTransposed(rows, a, n);

	test.each([0.3, 0.6, 0.8, 0.9])(
		"takes the fewest pairs that hold %s of the trace",
		async (energy) => {
			let sum = 0;
			let rank = 0;
			while (sum < energy * trace) sum += values[rank++] as number;
			const leading = await leadingEigen(
				product,
				n,
				trace,
				energy,
				new Random("start"),
				{ maximumRank: 100 },
			);
			if (!leading.found) throw new Error(`not found, about ${leading.about}`);
			expect(leading.values.length).toBe(rank);
			expect(
				largestDifference(leading.values, values.slice(0, rank)),
			).toBeLessThan(1e-7);
			const { residual, orthonormality } = errors(
				a,
				n,
				leading.values,
				leading.vectors,
			);
			expect(residual).toBeLessThan(1e-5);
			expect(orthonormality).toBeLessThan(1e-13);
			expect(leading.values.reduce((x, y) => x + y, 0)).toBeGreaterThanOrEqual(
				energy * trace,
			);
		},
	);

	test("is the same for the same seed, and takes a product that comes later", async () => {
		const one = await leadingEigen(product, n, trace, 0.6, new Random("start"));
		const two = await leadingEigen(
			async (rows) => product(rows),
			n,
			trace,
			0.6,
			new Random("start"),
		);
		expect(two).toEqual(one);
	});

	test("stops at the rank of a matrix of low rank", async () => {
		const low = withSpectrum(
			[3, 2, 1, ...Array(97).fill(0)],
			new Random("low"),
		);
		const leading = await leadingEigen(
			(rows) => timesTransposed(rows, low, 100),
			100,
			6,
			1 - 1e-12,
			new Random("start"),
		);
		expect(leading.found && leading.values.length).toBe(3);
	});

	test("says that the full decomposition is cheaper when too many are wanted", async () => {
		const leading = await leadingEigen(
			product,
			n,
			trace,
			0.99,
			new Random("start"),
		);
		expect(leading.found).toBe(false);
		if (!leading.found) expect(leading.about).toBeGreaterThan(n / 3);
	});

	test("no energy, no vectors", async () => {
		const leading = await leadingEigen(
			product,
			n,
			trace,
			0,
			new Random("start"),
		);
		expect(leading.found && leading.values.length).toBe(0);
	});
});

describe("orthonormalise", () => {
	test("keeps the span and leaves dependent rows out", () => {
		const rows = Float64Array.of(1, 1, 0, 2, 2, 0, 1, 0, 0); // the second is twice the first
		const basis = orthonormalise(rows, 3);
		expect(basis.length).toBe(6);
		const { orthonormality } = errors(
			new Float64Array(9),
			3,
			new Float64Array(2),
			basis,
		);
		expect(orthonormality).toBeLessThan(1e-15);
		expect(basis[2]).toBe(0);
		expect(basis[5]).toBe(0);
	});

	test("nearly dependent rows come out orthogonal", () => {
		const random = new Random("near");
		const base = normals(50, random);
		const rows = Float64Array.from(
			{ length: 500 },
			(_, i) => (base[i % 50] as number) + 1e-9 * random.normal(),
		);
		const basis = orthonormalise(rows, 50);
		expect(basis.length).toBe(500);
		expect(
			errors(new Float64Array(2500), 50, new Float64Array(10), basis)
				.orthonormality,
		).toBeLessThan(1e-14);
	});

	test("projects another basis out first", () => {
		const basis = orthonormalise(
			Float64Array.of(1, 0, 0, 1, 1, 1),
			3,
			Float64Array.of(1, 0, 0),
		);
		expect([...basis]).toEqual(
			[0, Math.SQRT1_2, Math.SQRT1_2].map((x) => expect.closeTo(x, 15)),
		);
	});
});

test("timesTransposed is rows times rows at every size", () => {
	const random = new Random("product");
	for (const [m, n, k] of [
		[1, 1, 1],
		[3, 5, 2],
		[4, 2, 7],
		[6, 7, 3],
		[0, 3, 2],
	] as const) {
		// biome-ignore format: a list of sizes
		const a = normals(m * k, random);
		const b = normals(n * k, random);
		const expected = Float64Array.from({ length: m * n }, (_, i) => {
			let sum = 0;
			for (let p = 0; p < k; p++)
				sum +=
					(a[Math.floor(i / n) * k + p] as number) *
					(b[(i % n) * k + p] as number);
			return sum;
		});
		expect(largestDifference(timesTransposed(a, b, k), expected)).toBeLessThan(
			1e-14,
		);
	}
});
