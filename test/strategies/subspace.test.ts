import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
	orthonormalise,
	timesTransposed,
	transpose,
} from "../../src/linalg/eigen.ts";
import { productBy } from "../../src/engine/products.ts";
import { Random } from "../../src/random.ts";
import {
	extendBasis,
	type GramPart,
	joinBasis,
	projectOut,
} from "../../src/strategies/subspace.ts";

const none = new Float64Array(0);
const random = () => new Random("gpm");

/** R Rᵀ of R [n, samples]. */
const gram = (r: Float64Array, n: number) =>
	timesTransposed(r, r, r.length / n);

/** MMᵀ from the rows of M's transpose. */
const projector = (basis: Float64Array, n: number) =>
	timesTransposed(transpose(basis, n), transpose(basis, n), basis.length / n);

function relativeError(a: Float64Array, b: Float64Array): number {
	expect(a.length).toBe(b.length);
	const largest = (list: Float64Array) =>
		list.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
	return largest(a.map((x, i) => x - (b[i] as number))) / largest(b);
}

const folder = new URL("../../../shared/golden/", import.meta.url);
test.skipIf(!existsSync(new URL("gpm.json", folder)))(
	"equals golden/gpm.* (skipped where ../shared/golden is absent)",
	async () => {
		const { threshold, rank1, rank2 } = JSON.parse(
			readFileSync(new URL("gpm.json", folder), "utf8"),
		) as {
			threshold: number;
			rank1: number;
			rank2: number;
		};
		const golden = readTensors(new URL("gpm.safetensors", folder));
		const { R1, R2, P1, P2, grad, projected } = golden as Record<
			"R1" | "R2" | "P1" | "P2" | "grad" | "projected",
			Float64Array
		>;
		const n = Math.sqrt(P1.length);
		const first = await extendBasis(
			[{ name: "all", gram: gram(R1, n) }],
			none,
			n,
			threshold,
			random(),
		);
		expect(first.rank).toBe(rank1);
		expect(relativeError(projector(first.added, n), P1)).toBeLessThan(1e-4);
		const second = await extendBasis(
			[{ name: "all", gram: gram(R2, n) }],
			first.added,
			n,
			threshold,
			random(),
		);
		const basis = joinBasis(first.added, second);
		expect(second.rank).toBe(rank2);
		expect(relativeError(projector(basis, n), P2)).toBeLessThan(1e-4);
		expect(
			relativeError(await projectOut(grad, basis, n), projected),
		).toBeLessThan(1e-4);
	},
);

/** Rows with energies along given unit vectors: Σ energy · e eᵀ. */
function along(
	n: number,
	energies: Readonly<Record<number, number>>,
): Float64Array {
	const g = new Float64Array(n * n);
	for (const [axis, energy] of Object.entries(energies))
		g[Number(axis) * (n + 1)] = energy;
	return g;
}

/** The axis of each added row of a basis that consists of axes. */
const axes = (rows: Float64Array, n: number) =>
	Array.from({ length: rows.length / n }, (_, k) =>
		rows.subarray(k * n, (k + 1) * n).findIndex((x) => Math.abs(x) > 0.999),
	);

describe("two parts", () => {
	const n = 6;
	// patches: 1000 times the energy; the class row lives on axis 4, which the patches hardly use
	const parts: GramPart[] = [
		{ name: "patches", gram: along(n, { 0: 900, 1: 90, 2: 9, 4: 1 }) },
		{ name: "class", gram: along(n, { 0: 0.3, 4: 0.7 }) },
	];

	test("each must be held to the threshold, whatever its size", async () => {
		const pooled = await extendBasis(
			[{ name: "all", gram: along(n, { 0: 900.3, 1: 90, 2: 9, 4: 1.7 }) }],
			none,
			n,
			0.95,
			random(),
		);
		expect(axes(pooled.added, n)).toEqual([0, 1]); // the class row would be lost
		const both = await extendBasis(parts, none, n, 0.95, random());
		expect(axes(both.added, n)).toEqual([0, 4, 1]); // energies .9 + .3, .001 + .7, .09
		expect(both.kept).toEqual({
			patches: expect.closeTo(0.991, 12),
			class: expect.closeTo(1, 12),
		});
		expect(both.free).toBe(0.5);
	});

	test("a later task adds only what is missing", async () => {
		const basis = (await extendBasis(parts, none, n, 0.95, random())).added;
		const again = await extendBasis(parts, basis, n, 0.95, random());
		expect(again.added.length).toBe(0);
		const other = await extendBasis(
			[{ name: "patches", gram: along(n, { 0: 50, 3: 50 }) }],
			basis,
			n,
			0.95,
			random(),
		);
		expect(axes(other.added, n)).toEqual([3]);
		expect(other.rank).toBe(4);
	});
});

describe("general position", () => {
	const n = 40;
	const source = new Random("rows");
	const factor = (k: number) =>
		Float64Array.from(
			{ length: n * k },
			(_, i) => source.normal() / (1 + (i % k)) ** 2,
		);
	const first = [
		{ name: "patches", gram: gram(factor(30), n) },
		{ name: "class", gram: gram(factor(8), n) },
	];
	const second = [
		{ name: "patches", gram: gram(factor(30), n) },
		{ name: "class", gram: gram(factor(8), n) },
	];

	test("the basis stays orthonormal, the thresholds hold, one direction fewer would not do", async () => {
		const one = await extendBasis(first, none, n, 0.97, random());
		const two = await extendBasis(second, one.added, n, 0.97, random());
		const basis = joinBasis(one.added, two);
		const identity = Float64Array.from({ length: two.rank ** 2 }, (_, i) =>
			i % (two.rank + 1) === 0 ? 1 : 0,
		);
		expect(
			relativeError(timesTransposed(basis, basis, n), identity),
		).toBeLessThan(1e-13);
		const share = (g: Float64Array, rows: Float64Array) => {
			const p = projector(rows, n);
			const trace = (m: Float64Array) =>
				m.reduce((sum, x, i) => (i % (n + 1) === 0 ? sum + x : sum), 0);
			return trace(timesTransposed(p, g, n)) / trace(g);
		};
		for (const { name, gram: g } of second) {
			expect(two.kept[name]).toBeCloseTo(share(g, basis), 12);
			expect(two.kept[name]).toBeGreaterThanOrEqual(0.97);
		}
		const shorter = basis.slice(0, -n);
		expect(
			Math.min(...second.map(({ gram: g }) => share(g, shorter))),
		).toBeLessThan(0.97);
	});

	test("inputs inside the basis do not see a projected weight change", async () => {
		const { added } = await extendBasis(first, none, n, 0.97, random());
		const change = await projectOut(factor(16), added, n); // [16, n]
		const seen = timesTransposed(change, added, n);
		expect(
			Math.max(...seen.map(Math.abs)) / Math.max(...change.map(Math.abs)),
		).toBeLessThan(1e-14);
	});
});

describe("edges", () => {
	test("threshold 0 takes nothing, any other at least one direction for the first task", async () => {
		const parts = [{ name: "all", gram: along(4, { 1: 3, 2: 1 }) }];
		expect((await extendBasis(parts, none, 4, 0, random())).rank).toBe(0);
		expect(
			axes((await extendBasis(parts, none, 4, 1e-9, random())).added, 4),
		).toEqual([1]);
	});

	test("threshold 1 takes what has energy and no more; a full basis takes nothing", async () => {
		const parts = [{ name: "all", gram: along(4, { 1: 3, 2: 1 }) }];
		const all = await extendBasis(parts, none, 4, 1, random());
		expect(all.rank).toBe(2);
		const full = Float64Array.from({ length: 16 }, (_, i) =>
			i % 5 === 0 ? 1 : 0,
		);
		expect((await extendBasis(parts, full, 4, 1, random())).added.length).toBe(
			0,
		);
	});

	test("a part without input asks for nothing", async () => {
		const parts = [
			{ name: "all", gram: along(4, { 1: 3 }) },
			{ name: "silent", gram: new Float64Array(16) },
		];
		const extension = await extendBasis(parts, none, 4, 0.9, random());
		expect(extension.rank).toBe(1);
		expect(extension.kept).toEqual({ all: 1 });
	});
});

test("a wide layer takes few directions by subspace iteration, the same as the full decomposition finds", async () => {
	const n = 1024;
	const source = new Random("wide");
	const truth = orthonormalise(
		Float64Array.from({ length: 6 * n }, () => source.normal()),
		n,
	); // [6, n]
	const scaled = truth.map((x, i) => x * 2 ** -Math.floor(i / n));
	const g = timesTransposed(transpose(scaled, n), transpose(scaled, n), 6); // eigenvalues 1, 1/4, 1/16, ...
	const { added, rank } = await extendBasis(
		[{ name: "all", gram: g }],
		none,
		n,
		0.98,
		random(),
	);
	expect(rank).toBe(3); // 1 + 1/4 + 1/16 of 1.333 is .985, without the third .938
	expect(
		relativeError(projector(added, n), projector(truth.slice(0, 3 * n), n)),
	).toBeLessThan(1e-4);
}, 30_000);

/** float32 tensors of a safetensors file, widened. */
function readTensors(file: URL): Record<string, Float64Array> {
	const bytes = readFileSync(file);
	const headerLength = Number(bytes.readBigUInt64LE(0));
	const header = JSON.parse(
		bytes.toString("utf8", 8, 8 + headerLength),
	) as Record<string, { data_offsets: [number, number] }>;
	return Object.fromEntries(
		Object.entries(header).flatMap(([name, entry]) => {
			if (name === "__metadata__") return [];
			const [from, to] = entry.data_offsets;
			return [
				[
					name,
					Float64Array.from({ length: (to - from) / 4 }, (_, i) =>
						bytes.readFloatLE(8 + headerLength + from + 4 * i),
					),
				],
			];
		}),
	);
}

test("the engine's products find what plain loops find, in wide layers as well", async () => {
	const n = 1100;
	const r = new Random("wide");
	const part = (name: string, power: number) => {
		const rows = 300;
		const x = Float64Array.from(
			{ length: n * rows },
			(_, i) => (1 + Math.floor(i / rows)) ** -power * r.normal(),
		);
		return { name, gram: timesTransposed(x, x, rows) };
	};
	const product = productBy(1);
	let plain: Float64Array = none;
	let fast: Float64Array = none;
	for (const task of [0, 1]) {
		const parts = [part("class", 1), part("patches", 0.8)];
		const start = () => new Random("wide", task);
		const a = await extendBasis(parts, plain, n, 0.95, start());
		const b = await extendBasis(parts, fast, n, 0.95, start(), product);
		plain = joinBasis(plain, a);
		fast = joinBasis(fast, b);
		expect(Math.abs(b.rank - a.rank)).toBeLessThanOrEqual(1);
		for (const kept of Object.values(b.kept))
			expect(kept).toBeGreaterThanOrEqual(0.95);
		const gramian = timesTransposed(fast, fast, n);
		const off = gramian.map((x, i) => Math.abs(x - (i % (b.rank + 1) ? 0 : 1)));
		expect(Math.max(...off)).toBeLessThan(1e-12);
	}
}, 60_000);
