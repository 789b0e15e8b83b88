/** Draws what a run found into visualizations/: pictures of telling test images, and what charts need beyond scores and metrics. */
import { readImage } from "./data/image.ts";
import type { Sample, Task, TestCategory } from "./data/task.ts";
import { writeMap } from "./data/tiff.ts";
import type { Tensor } from "./engine/tensor.ts";
import { uint8 } from "./engine/tensor.ts";
import { heed, type Stop } from "./events.ts";
import type { Localiser, ScoredCategory } from "./localise.ts";
import { type Curves, writeCurves } from "./pictures/curves.ts";
import { overlayOf, type Shown, writePictures } from "./pictures/pictures.ts";
import { project } from "./pictures/projection.ts";
import { chooseShown } from "./pictures/shown.ts";
import type { Run, ScoreRow } from "./run.ts";
import { writeAtomic } from "./storage.ts";

/** What was found in one category, last. */
export interface Seen {
	readonly category: TestCategory;
	readonly scored: ScoredCategory;
}

export async function visualise(
	run: Run,
	tasks: readonly Task[],
	seen: readonly Seen[],
	localiser: Localiser,
	{ stop }: { readonly stop: Stop },
): Promise<void> {
	await writePictures(
		run,
		seen.map((one) => ({
			id: one.category.id,
			shown: shownOf(one, localiser, stop),
		})),
	);
	const pro = Object.fromEntries(
		seen.flatMap(({ category: { id } }) => {
			const curve = localiser.proCurveOf(id);
			return curve ? [[id, curve]] : [];
		}),
	);
	writeCurves(run, { pro, ...projectionOf(tasks, seen) });
}

/** Every map as a TIFF in MVTec's layout, and the picture under it beside it as PNG. */
export async function writeMaps(
	dir: string,
	seen: readonly Seen[],
	localiser: Localiser,
	{ stop }: { readonly stop: Stop },
): Promise<void> {
	for (const { category, scored } of seen)
		for (const [i, sample] of category.test.entries()) {
			await heed(stop);
			const cells = scored.maps[i];
			if (!cells) throw new Error(`writeMaps: no map of ${sample.id}`);
			const file = writeMap(
				dir,
				sample.id,
				await localiser.mapOf(sample, cells),
			);
			const map = await localiser.pictureOf(sample, cells);
			const { threshold } = scored.rows[i] as ScoreRow;
			const image = await readImage(sample.path);
			writeAtomic(
				file.replace(/tiff$/, "png"),
				await overlayOf({ image, map, threshold }),
			);
		}
}

async function* shownOf(
	{ category, scored: { rows, maps } }: Seen,
	localiser: Localiser,
	stop: Stop,
): AsyncGenerator<Shown> {
	for (const { index, role } of chooseShown(rows)) {
		await heed(stop);
		const sample = category.test[index] as Sample;
		const map = maps[index];
		const image = await readImage(sample.path);
		yield {
			row: rows[index] as ScoreRow,
			role,
			image,
			map: map ? await localiser.pictureOf(sample, map) : null,
			mask: await maskOf(sample, image),
		};
	}
}

/** All defects of an image in one mask; null where there is no ground truth of the image's size. */
async function maskOf(
	sample: Sample,
	{ shape: [h = 0, w = 0] }: Tensor<"uint8">,
): Promise<Tensor<"uint8"> | null> {
	const masks = (await sample.readMasks?.()) ?? [];
	const fits = masks.every(
		({ mask: { shape } }) => shape[0] === h && shape[1] === w,
	);
	if (masks.length === 0 || !fits) return null;
	const all = uint8([h, w]);
	for (const { mask } of masks)
		mask.data.forEach((set, i) => {
			if (set) all.data[i] = 1;
		});
	return all;
}

/** Embeddings of all test images on one plane. */
function projectionOf(
	tasks: readonly Task[],
	seen: readonly Seen[],
): Pick<Curves, "projection"> {
	const images = seen.flatMap(({ category, scored: { rows, embeddings } }) =>
		rows.map(({ label }, i) => ({
			task:
				tasks.find((t) => t.categories.some((c) => c.id === category.id))?.id ??
				category.id,
			label,
			embedding: embeddings[i] as Float32Array,
		})),
	);
	const d = images[0]?.embedding.length ?? 0;
	const rows = new Float64Array(images.length * d);
	images.forEach(({ embedding }, i) => {
		rows.set(embedding, i * d);
	});
	const { points, explained } = project(rows, images.length, d);
	return {
		projection: {
			explained,
			points: images.map(({ task, label }, i) => ({
				task,
				label,
				x: points[2 * i] as number,
				y: points[2 * i + 1] as number,
			})),
		},
	};
}
