/** Runs an exported graph over its golden samples and compares with what `predict` said of them. */
import { join } from "node:path";
import { decodeImage, readFloats } from "../data/image.ts";
import type { Image } from "../data/task.ts";
import { Model } from "../engine/runtime.ts";
import { float32, type Tensor } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import { heed, type RunEvent, type Stop, verdicts } from "../events.ts";
import { type Golden, openExport, TOLERANCE } from "./manifest.ts";

export interface VerifyJob {
	/** An export. */
	readonly dir: string;
}

/** A golden sample with what it is compared by. */
export interface Sample extends Golden {
	/** Input -> its pixels [H, W, 3]. */
	readonly images: Readonly<Record<string, Image>>;
	readonly cells: Float32Array | null;
}

export interface Compared {
	readonly name: string;
	readonly score: number;
	/** null: unusable, nothing to compare with. */
	readonly expected: number | null;
	/** Of the score; above 1 relative to it. */
	readonly scoreDifference: number;
	/** The largest of all patches; null: there is no map. */
	readonly mapDifference: number | null;
	readonly task: string | null;
	readonly verdict: string;
	readonly pass: boolean;
}

export const goldenProgress = (done: number, total: number): RunEvent => ({
	type: "progress",
	phase: "evaluate",
	task: "golden samples",
	taskIndex: 0,
	taskCount: 1,
	done,
	total,
	unit: "images",
});

/** Samples in one run of the graph. */
const TOGETHER = 8;

export async function verifyExport(
	{ dir }: VerifyJob,
	{ emit, stop }: { readonly emit: (e: RunEvent) => void; readonly stop: Stop },
): Promise<{ results: object; text: string }> {
	const opened = openExport(dir);
	if (!opened) throw fail("EXPORT_MISSING", { dir });
	const { folder, manifest } = opened;
	folder.verify();
	const samples: Sample[] = [];
	for (const golden of manifest.golden)
		samples.push({
			...golden,
			images: Object.fromEntries(
				await Promise.all(
					manifest.inputs.map(async ({ name, size }) => {
						const path = golden.pixels[name] ?? "";
						const image = await decodeImage(folder.read(path), path);
						if (image.shape[0] !== size[0] || image.shape[1] !== size[1])
							throw fail("DAMAGED", {
								path: join(dir, path),
								problem: `it is ${image.shape[1]} x ${image.shape[0]} pixels, the input ${name} ${size[1]} x ${size[0]}`,
							});
						return [name, image] as const;
					}),
				),
			),
			cells: golden.map ? (await readFloats(join(dir, golden.map))).data : null,
		});
	const compared = await compare(folder.read(manifest.graph), samples, {
		manifest,
		stop,
		done: (done) => emit(goldenProgress(done, samples.length)),
	});
	return {
		results: {
			agrees: compared.every(({ pass }) => pass),
			tolerance: TOLERANCE,
			samples: compared,
		},
		text: tableOf(compared),
	};
}

/** Sample by sample. */
export async function compare(
	graph: Uint8Array,
	samples: readonly Sample[],
	{
		manifest: { inputs, products },
		stop,
		done = () => {},
	}: {
		readonly manifest: {
			readonly inputs: readonly { readonly name: string }[];
			readonly products: readonly { readonly id: string }[];
		};
		readonly stop: Stop;
		readonly done?: (samples: number) => void;
	},
): Promise<readonly Compared[]> {
	const model = await Model.open(graph, 2);
	const compared: Compared[] = [];
	try {
		for (let from = 0; from < samples.length; from += TOGETHER) {
			await heed(stop);
			const part = samples.slice(from, from + TOGETHER);
			const found = await model.run(
				Object.fromEntries(
					inputs.map(({ name }) => [
						name,
						batchOf(part.map((sample) => sample.images[name] as Image)),
					]),
				),
			);
			for (const [i, sample] of part.entries())
				compared.push(comparedWith(sample, found, i, products));
			done(compared.length);
		}
	} finally {
		await model.release();
	}
	return compared;
}

/** [N, 3, H, W] */
function batchOf(images: readonly Image[]): Tensor {
	const [h = 0, w = 0] = images[0]?.shape ?? [];
	const batch = float32([images.length, 3, h, w]);
	for (const [n, { data }] of images.entries())
		for (let i = 0; i < h * w; i++)
			for (let c = 0; c < 3; c++)
				batch.data[(n * 3 + c) * h * w + i] = data[3 * i + c] as number;
	return batch;
}

function comparedWith(
	sample: Sample,
	found: Readonly<Record<string, Tensor>>,
	i: number,
	products: readonly { readonly id: string }[],
): Compared {
	const number = (name: string) => Number(found[name]?.data[i]);
	const score = number("score");
	const verdict = verdicts[number("verdict")] ?? "";
	const told = verdict !== "unknown" && verdict !== "unusable";
	const task = told ? (products[number("task")]?.id ?? null) : null;
	const expected = sample.score;
	const scoreDifference = expected === null ? 0 : apart(score, expected);
	const mapDifference = sample.cells && mapApart(sample.cells, found.map, i);
	return {
		name: sample.name,
		score,
		expected,
		scoreDifference,
		mapDifference,
		task,
		verdict,
		pass:
			scoreDifference <= TOLERANCE &&
			(mapDifference ?? 0) <= TOLERANCE &&
			task === sample.task &&
			verdict === sample.verdict,
	};
}

/** Above 1 relative to what is expected. What is no number is infinitely far. */
function apart(found: number, expected: number): number {
	const difference =
		Math.abs(found - expected) / Math.max(1, Math.abs(expected));
	return Number.isFinite(difference) ? difference : Number.MAX_VALUE;
}

function mapApart(
	cells: Float32Array,
	map: Tensor | undefined,
	i: number,
): number {
	const own = map?.data.subarray(i * cells.length, (i + 1) * cells.length);
	return cells.reduce(
		(largest, cell, k) =>
			Math.max(largest, apart(own?.[k] ?? Number.NaN, cell)),
		0,
	);
}

function tableOf(compared: readonly Compared[]): string {
	const line = (
		...[name, score, difference, map, verdict, task, pass]: string[]
	) =>
		`${name?.padEnd(24)}${score?.padStart(10)}${difference?.padStart(12)}${map?.padStart(12)}   ${verdict?.padEnd(9)} ${task?.padEnd(20)} ${pass}`;
	return [
		line("sample", "score", "difference", "map", "verdict", "product", ""),
		...compared.map((one) =>
			line(
				one.name,
				one.score.toFixed(4),
				one.expected === null ? "-" : one.scoreDifference.toExponential(1),
				one.mapDifference?.toExponential(1) ?? "-",
				one.verdict,
				one.task ?? "-",
				one.pass ? "pass" : "FAIL",
			),
		),
	].join("\n");
}
