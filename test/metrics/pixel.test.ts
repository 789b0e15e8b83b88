import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Folder } from "../../src/golden/compare.ts";
import { metricsPixel, spro } from "../../src/golden/maps.ts";
import { auroc, averagePrecision } from "../../src/metrics/image.ts";
import { definitionOf, type Layout } from "../../src/metrics/index.ts";
import { type MeasuredMap, PixelMeter } from "../../src/metrics/pixel.ts";
import type { Saturation } from "../../src/metrics/spro.ts";
import { Random } from "../../src/random.ts";
import { describeGolden } from "../golden.ts";
import { components } from "../../src/metrics/components.ts";

type Defects = ReadonlyMap<number, { saturation: Saturation }>;

function meterOf(
	images: readonly MeasuredMap[],
	options: {
		layout?: Layout;
		defects?: Defects | null;
		exactPixels?: number;
	} = {},
): PixelMeter {
	const meter = new PixelMeter({ layout: "mvtec", defects: null, ...options });
	for (const image of images) meter.add(image);
	return meter;
}

const valuesOf = (meter: PixelMeter) =>
	Object.fromEntries(
		Object.entries(meter.results()).map(([name, { value }]) => [name, value]),
	);

// ---- the second way: by definition, threshold by threshold ----

const shareAbove = (scores: readonly number[], t: number) =>
	scores.filter((s) => s >= t).length / scores.length;

/** Area under y(t) over x(t) for all thresholds t, up to x = limit. */
function areaByDefinition(
	thresholds: readonly number[],
	x: (t: number) => number,
	y: (t: number) => number,
	limit: number,
): number {
	const points = [
		[0, 0],
		...[...new Set(thresholds)].sort((a, b) => b - a).map((t) => [x(t), y(t)]),
	] as [number, number][];
	let sum = 0;
	points.slice(1).forEach(([x1, y1], i) => {
		const [x0, y0] = points[i] as [number, number];
		if (x0 >= limit) return;
		const end = Math.min(x1, limit);
		const height = x1 > x0 ? y0 + ((y1 - y0) * (end - x0)) / (x1 - x0) : y1;
		sum += ((end - x0) * (y0 + height)) / 2;
	});
	return sum / limit;
}

const mean = (values: readonly number[]) =>
	values.reduce((a, b) => a + b, 0) / values.length;

function byDefinition(images: readonly MeasuredMap[], defects: Defects) {
	const pixels = images.map(({ map, masks, defect, kind }) => {
		const all = defect === null ? [] : (masks ?? []);
		const union = Uint8Array.from(map.data, (_, i) =>
			all.some(({ mask }) => mask.data[i] !== 0) ? 1 : 0,
		);
		const scores = [...map.data];
		return {
			kind,
			scores,
			labels: [...union],
			good: scores.filter((_, i) => union[i] === 0),
			components: components(union, map.shape[1] as number).map((component) =>
				[...component].map((p) => scores[p] as number),
			),
			regions: all.map(({ mask, value }) => ({
				scores: scores.filter((_, i) => mask.data[i] !== 0),
				value,
			})),
		};
	});
	const thresholds = pixels.flatMap(({ scores }) => scores);
	const fpr = (of: typeof pixels) => {
		const good = of.flatMap((p) => p.good);
		return (t: number) => shareAbove(good, t);
	};
	const pro = (t: number) =>
		mean(pixels.flatMap((p) => p.components.map((c) => shareAbove(c, t))));
	const auSpro = (kind: string) => {
		const regions = pixels
			.filter((p) => p.kind === kind)
			.flatMap((p) => p.regions);
		if (regions.length === 0) return null;
		const shares = (t: number) =>
			mean(
				regions.map(({ scores, value }) => {
					const { threshold, relative } = (
						defects.get(value) as { saturation: Saturation }
					).saturation;
					const n = scores.length;
					const s = relative
						? Math.trunc(threshold * n)
						: Math.min(threshold, n);
					return Math.min(
						scores.filter((x) => x >= t).length / Math.max(1, s),
						1,
					);
				}),
			);
		const counted = pixels.filter((p) => p.kind === "good" || p.kind === kind);
		return areaByDefinition(thresholds, fpr(counted), shares, 0.05);
	};
	const logical = auSpro("logical");
	const structural = auSpro("structural");
	const labels = pixels.flatMap((p) => p.labels);
	return {
		pixelAuroc: auroc(thresholds, labels).value,
		pixelAveragePrecision: averagePrecision(thresholds, labels).value,
		aupro30: areaByDefinition(thresholds, fpr(pixels), pro, 0.3),
		aupro05: areaByDefinition(thresholds, fpr(pixels), pro, 0.05),
		auSpro05: mean([logical, structural].filter((v) => v !== null)),
		auSpro05Logical: logical,
		auSpro05Structural: structural,
	};
}

const saturations: Defects = new Map([
	[255, { saturation: { threshold: 3, relative: false } }],
	[254, { saturation: { threshold: 1, relative: true } }],
	[253, { saturation: { threshold: 0.5, relative: true } }],
	[7, { saturation: { threshold: 1e6, relative: false } }],
]);

/** A good image, an anomalous one, and more of any kind; few distinct scores in half of the maps. */
const images = fc
	.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 }))
	.chain(([h, w]) => {
		const plane = <T>(values: fc.Arbitrary<T>) =>
			fc.array(values, { minLength: h * w, maxLength: h * w });
		const map = fc
			.oneof(
				plane(fc.integer({ min: -2, max: 2 })),
				plane(fc.float({ noNaN: true })),
			)
			.map((values) => ({
				shape: [h, w],
				data: Float32Array.from(values),
			}));
		const mask = plane(fc.constantFrom(0, 0, 1))
			.filter((values) => values.includes(1))
			.map((values) => ({ shape: [h, w], data: Uint8Array.from(values) }));
		const good = map.map(
			(m): MeasuredMap => ({
				id: "good.png",
				map: m,
				defect: null,
				kind: "good",
				masks: null,
			}),
		);
		const anomalous = fc
			.record({
				map,
				kind: fc.constantFrom("logical" as const, "structural" as const),
				masks: fc.array(
					fc.record({ mask, value: fc.constantFrom(...saturations.keys()) }),
					{ minLength: 1, maxLength: 3 },
				),
			})
			.map(
				(image): MeasuredMap => ({
					id: "bad.png",
					defect: `${image.kind}_anomalies`,
					...image,
				}),
			);
		return fc
			.tuple(
				good,
				anomalous,
				fc.array(fc.oneof(good, anomalous), { maxLength: 3 }),
			)
			.map(([a, b, rest]) => [a, b, ...rest]);
	});

describe("any maps", () => {
	test("equal the definition, threshold by threshold", () => {
		fc.assert(
			fc.property(images, (list) => {
				const found = valuesOf(
					meterOf(list, { layout: "loco", defects: saturations }),
				);
				const expected = byDefinition(list, saturations);
				expect(Object.keys(found)).toEqual(Object.keys(expected));
				for (const [name, value] of Object.entries(expected))
					if (value === null) expect(found[name]).toBe(null);
					else expect(found[name]).toBeCloseTo(value, 12);
			}),
		);
	});

	test("do not change with the order of the images, nor under a strictly increasing map", () => {
		fc.assert(
			fc.property(images, (list) => {
				const options = { layout: "loco", defects: saturations } as const;
				const order = [
					...new Set(list.flatMap(({ map }) => [...map.data])),
				].sort((a, b) => a - b);
				const ranks = list.map((image) => ({
					...image,
					map: {
						...image.map,
						data: image.map.data.map((s) => order.indexOf(s) ** 3 - 5),
					},
				}));
				const found = valuesOf(meterOf(list, options));
				for (const other of [ranks, list.toReversed()])
					for (const [name, value] of Object.entries(
						valuesOf(meterOf(other, options)),
					))
						if (value === null) expect(found[name]).toBe(null);
						else expect(found[name]).toBeCloseTo(value, 12);
			}),
		);
	});
});

describeGolden("against golden/", () => {
	const folder = new Folder(
		fileURLToPath(new URL("../../../shared/golden", import.meta.url)),
	);
	test.each([
		["metrics.pixel", metricsPixel, 5],
		["spro, MVTec's own script", spro, 19],
	] as const)("%s", async (_, check, count) => {
		const outcomes = await check(folder);
		expect(outcomes).toHaveLength(count);
		for (const { name, error, tolerance } of outcomes)
			expect(error, name).toBeLessThanOrEqual(tolerance);
	});
});

// ---- drawn images ----

/** Noise, and in every second image a square where it is higher by `shift`. */
function drawn(
	count: number,
	[h, w]: readonly [number, number],
	scale: (x: number) => number,
	shift = 1,
): MeasuredMap[] {
	const random = new Random("pixel");
	return Array.from({ length: count }, (_, k) => {
		const bad = k % 2 === 1;
		const mask = new Uint8Array(h * w);
		if (bad)
			for (let y = h >> 2; y < h >> 1; y++)
				mask.fill(1, y * w + (w >> 2), y * w + (w >> 1));
		const data = Float32Array.from(mask, (m) =>
			scale(random.normal() + shift * m),
		);
		return {
			id: `loco/kit/test/${bad ? "logical_anomalies" : "good"}/${k}.png`,
			map: { shape: [h, w], data },
			defect: bad ? "logical_anomalies" : null,
			kind: bad ? "logical" : "good",
			masks: bad ? [{ mask: { shape: [h, w], data: mask }, value: 253 }] : null,
		};
	});
}

describe("streaming", () => {
	test.each([
		["around zero", (x: number) => x],
		["squared distances", (x: number) => (x + 8) ** 2],
		["chances of 1e-9 to 1", (x: number) => Math.exp(4 * x - 8)],
		[
			"a narrow band: cosine distances of .4 to .5",
			(x: number) => 0.45 + x / 100,
		],
	])(
		"differs from the exact way by less than 5e-6, average precision 5e-5: %s",
		(_, scale) => {
			const list = drawn(40, [64, 48], scale);
			const options = { layout: "loco", defects: saturations } as const;
			const exact = valuesOf(meterOf(list, options));
			for (const exactPixels of [0, 2 * 64 * 48]) {
				const binned = valuesOf(meterOf(list, { ...options, exactPixels }));
				for (const [name, value] of Object.entries(exact)) {
					const most = name === "pixelAveragePrecision" ? 5e-5 : 5e-6;
					if (value === null) expect(binned[name]).toBe(null);
					else
						expect(
							Math.abs((binned[name] as number) - value),
							name,
						).toBeLessThan(most);
				}
			}
		},
	);

	const soak = Boolean(process.env.KEEPSIGHT_SOAK);
	const count = soak ? 1000 : 8;
	test(`${count} maps of 1600 x 1280 within 1 GB${soak ? "" : " (1,000 with npm run soak)"}`, () => {
		const size = [1280, 1600] as const;
		const base = drawn(2, size, (x) => x);
		const meter = new PixelMeter({ layout: "loco", defects: saturations });
		for (let k = 0; k < count; k++) {
			const image = base[k % 2] as MeasuredMap;
			const data = image.map.data.map((x) => x + k / count);
			meter.add({ ...image, map: { shape: size, data } });
		}
		for (const { value } of [
			meter.results().pixelAuroc,
			meter.results().auSpro05,
		] as { value: number }[])
			expect(value).toBeGreaterThan(0);
		expect(process.resourceUsage().maxRSS).toBeLessThan(1024 * 1024); // in KiB
	}, 600_000);
});

test("the PRO curve: about 200 points, from (0, 0) to the limit", () => {
	const points = meterOf(drawn(8, [64, 48], (x) => x)).proCurve();
	expect(points?.[0]).toEqual([0, 0]);
	expect(points?.at(-1)?.[0]).toBe(0.3);
	expect(points?.length).toBeGreaterThan(100);
	expect(points?.length).toBeLessThanOrEqual(202);
});

test("every metric has a title", () => {
	const names = Object.keys(meterOf([], { layout: "loco" }).results());
	expect(names.map((name) => definitionOf(name)?.title)).toEqual([
		"pixel AUROC",
		"pixel average precision",
		"AUPRO to FPR .3",
		"AUPRO to FPR .05",
		"AU-sPRO to FPR .05",
		"AU-sPRO to FPR .05, logical",
		"AU-sPRO to FPR .05, structural",
	]);
});

describe("bad input", () => {
	const size = [4, 6] as const;
	const plane = <T>(data: T) => ({ shape: size, data });
	const map = (value = 0) => plane(new Float32Array(24).fill(value));
	const mask = (...marked: number[]) =>
		plane(Uint8Array.from({ length: 24 }, (_, i) => +marked.includes(i)));
	const good: MeasuredMap = {
		id: "loco/kit/test/good/0.png",
		map: map(),
		defect: null,
		kind: "good",
		masks: null,
	};
	const bad: MeasuredMap = {
		id: "loco/kit/test/logical_anomalies/0.png",
		map: plane(Float32Array.from(mask(3).data)),
		defect: "logical_anomalies",
		kind: "logical",
		masks: [{ mask: mask(3), value: 255 }],
	};
	const loco = { layout: "loco", defects: saturations } as const;

	/** All metrics are null for this reason. */
	function expectReason(list: readonly MeasuredMap[], reason: string): void {
		const meter = meterOf(list, loco);
		for (const [name, measured] of Object.entries(meter.results()))
			expect(measured, name).toEqual({ value: null, reason });
		expect(meter.proCurve()).toBeNull();
	}

	test("one class, or nothing", () => {
		expectReason([], "no images");
		expectReason([good], "no anomalous images");
		expectReason([bad], "no good images");
	});

	test("ground truth that is missing is named, and nothing is measured without it", () => {
		const id = "loco/kit/test/logical_anomalies/7.png";
		const reason = `no ground truth for ${id} (1 of 2 anomalous images)`;
		expectReason([good, bad, { ...bad, id, masks: null }], reason);
		expectReason([good, bad, { ...bad, id, masks: [] }], reason);
		const many = ["a", "b", "c", "d"].map((n) => ({
			...bad,
			id: n,
			masks: null,
		}));
		expectReason(
			[good, ...many],
			"no ground truth for a, b, c, ... (4 of 4 anomalous images)",
		);
	});

	test("a mask that marks nothing is named", () => {
		expectReason(
			[
				good,
				{
					...bad,
					masks: [...(bad.masks ?? []), { mask: mask(), value: 0 }],
				},
			],
			"no pixel is marked in the ground truth of loco/kit/test/logical_anomalies/0.png",
		);
	});

	test("a kind without images, or a category without defects_config.json", () => {
		const found = meterOf([good, bad], loco).results();
		expect(found.auSpro05Structural?.reason).toBe("no structural anomalies");
		expect(found.auSpro05).toEqual(found.auSpro05Logical);
		expect(found.auSpro05?.value).toBe(1);
		const without = meterOf([good, bad], { layout: "loco" }).results();
		expect(without.auSpro05?.reason).toBe("no defects_config.json");
		expect(without.aupro30?.value).toBe(1);
	});

	test("a mask of another size", () => {
		const small = { shape: [2, 3], data: new Uint8Array(6).fill(1) };
		expect(() =>
			meterOf([{ ...bad, masks: [{ mask: small, value: 255 }] }]),
		).toThrow(
			"The ground truth of loco/kit/test/logical_anomalies/0.png has 3 x 2 pixels, its anomaly map 6 x 4. Both must have the size of the image",
		);
		// as many pixels, turned
		const turned = { ...mask(3), shape: [6, 4] };
		expect(() =>
			meterOf([{ ...bad, masks: [{ mask: turned, value: 255 }] }]),
		).toThrow("has 4 x 6 pixels, its anomaly map 6 x 4");
	});

	test("a value that defects_config.json does not list", () => {
		const unknown = { ...bad, masks: [{ mask: mask(3), value: 42 }] };
		expect(() => meterOf([unknown], loco)).toThrow(
			"The ground truth of loco/kit/test/logical_anomalies/0.png has pixels of value 42, which loco/kit/defects_config.json does not list (it lists 255, 254, 253, 7).",
		);
		expect(meterOf([good, unknown]).results().aupro30?.value).toBe(1); // elsewhere values have no meaning
	});

	test("a score that is not a number; infinite ones are compared like any other", () => {
		const broken = map();
		broken.data[15] = Number.NaN;
		expect(() => meterOf([{ ...good, map: broken }])).toThrow(
			"The anomaly map of loco/kit/test/good/0.png is not a number at row 2, column 3",
		);
		expect(
			meterOf([
				{ ...good, map: map(Number.NEGATIVE_INFINITY) },
				{
					...bad,
					map: map(Number.POSITIVE_INFINITY),
					masks: [{ mask: mask(...Array(24).keys()), value: 255 }],
				},
			]).results().pixelAuroc?.value,
		).toBe(1);
	});
});
