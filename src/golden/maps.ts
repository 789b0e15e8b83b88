/** metrics.pixel.* and spro/: metrics of anomaly maps. */
import { readDefectTypes } from "../data/defects.ts";
import { masksFolder, readMasks } from "../data/loco.ts";
import { sizeOf, type Tensor, uint8 } from "../engine/tensor.ts";
import {
	type ImageMetric,
	kindOf,
	metrics,
	type ScoreRow,
} from "../metrics/index.ts";
import type { Measured } from "../metrics/measured.ts";
import { PixelMeter } from "../metrics/pixel.ts";
import { absolute, type Check, isTrue, type Outcome } from "./compare.ts";

const outcome = (
	name: string,
	found: Measured | undefined,
	expected: number | undefined,
	tolerance: number,
): Outcome => ({
	name,
	error: Math.abs((found?.value ?? Number.NaN) - (expected ?? Number.NaN)),
	tolerance,
});

export const metricsPixel: Check = async (dir) => {
	const { maps, masks } = dir.tensors("metrics.pixel.safetensors") as Record<
		"maps" | "masks",
		Tensor
	>; // [n, H, W]
	const [n = 0, ...shape] = maps.shape;
	const pixels = sizeOf(shape);
	const meter = new PixelMeter({ layout: "mvtec", defects: null });
	for (let i = 0; i < n; i++) {
		const part = (t: Tensor) => t.data.subarray(i * pixels, (i + 1) * pixels);
		const mask = uint8(shape, Uint8Array.from(part(masks)));
		const good = mask.data.every((v) => v === 0);
		meter.add({
			id: `${i}`,
			map: { shape, data: part(maps) },
			defect: good ? null : "defect",
			kind: good ? "good" : "structural",
			masks: [{ mask, value: 1 }],
		});
	}
	const json = dir.json<Record<string, number>>("metrics.pixel.json");
	const names = {
		auroc: "pixelAuroc",
		averagePrecision: "pixelAveragePrecision",
		aupro30: "aupro30",
		aupro05: "aupro05",
	};
	const found = meter.results();
	return [
		isTrue(
			"metrics.pixel masks are 0 or 1",
			masks.data.every((v) => v === 0 || v === 1),
		),
		...Object.entries(names).map(([name, ours]) =>
			outcome(`metrics.pixel ${name}`, found[ours], json[name], 1e-6),
		),
	];
};

/** "logical_anomalies", "structural_anomalies" or "mean" -> value. */
type ByType<T> = Readonly<Record<string, T>>;

export const spro: Check = async (dir) => {
	const expected = dir.json<{
		imageSize: number[];
		auSpro: ByType<Record<string, number>>;
		imageAuroc: ByType<number>;
	}>("spro/expected.json");
	const folder = dir.path("spro");
	const meter = new PixelMeter({
		layout: "loco",
		defects: await readDefectTypes(folder),
	});
	const maps = dir.tensors("spro/maps.safetensors"); // each [H, W]
	const rows: ScoreRow[] = [];
	for (const [id, map] of Object.entries(maps)) {
		const [, type = "", stem = ""] = id.split("/"); // test/<type>/<stem>
		const kind = kindOf(type);
		const good = kind === "good";
		const masks = good
			? null
			: await readMasks(masksFolder(folder, type, stem));
		meter.add({
			id: `spro/${id}`,
			map,
			defect: good ? null : type,
			kind,
			masks,
		});
		rows.push({
			path: id,
			defect: type,
			label: good ? 0 : 1,
			score: map.data.reduce((a, b) => Math.max(a, b)),
			threshold: Number.NaN,
			routed: "",
		});
	}
	const areas: ByType<(limit: number) => Measured> = {
		logical_anomalies: (limit) => meter.auSpro("logical", limit),
		structural_anomalies: (limit) => meter.auSpro("structural", limit),
		mean: (limit) => meter.auSproMean(limit),
	};
	const aurocs: ByType<ImageMetric> = {
		logical_anomalies: metrics.imageAurocLogical,
		structural_anomalies: metrics.imageAurocStructural,
		mean: metrics.imageAuroc,
	};
	return [
		isTrue(
			"spro imageSize",
			Object.values(maps).every(
				({ shape }) => absolute(shape, expected.imageSize) === 0,
			),
		),
		...Object.entries(expected.auSpro).flatMap(([type, values]) =>
			Object.entries(values).map(([limit, value]) =>
				outcome(
					`spro ${type} to ${limit}`,
					areas[type]?.(Number(limit)),
					value,
					2e-4, // the script's curve is refined to steps of .001 and no further
				),
			),
		),
		...Object.entries(expected.imageAuroc).map(([type, value]) =>
			outcome(
				`spro image auroc ${type}`,
				aurocs[type]?.compute(rows, "loco"),
				value,
				1e-9,
			),
		),
	];
};
