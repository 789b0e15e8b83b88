/**
 * Which image goes into which step of an epoch, and what fixes its views: current images in a permutation of their own, entries of a
 * strategy's rehearsal behind them. Every draw is derived from (seed, purpose, task, epoch, position).
 */
import type { AugmentJob } from "./augment.ts";
import { fail } from "./errors.ts";
import { Random } from "./random.ts";
import type { Rehearsal, RehearsalPart } from "./strategies/strategy.ts";

/**
 * The draws of one epoch: the order of images, the partner of each, the key of its views. The last step wraps around. With a `pool`, an
 * image's views depend on the image and on the epoch modulo the pool alone.
 */
export function epochJobs(
	seed: number,
	task: string,
	epoch: number,
	images: number,
	imagesPerStep: number,
	pool: number | null = null,
): AugmentJob[][] {
	const order = new Random(seed, "order", task, epoch).permutation(images);
	const steps = Math.ceil(images / imagesPerStep);
	return Array.from({ length: steps }, (_, s) =>
		Array.from({ length: imagesPerStep }, (_, k): AugmentJob => {
			const position = s * imagesPerStep + k;
			const image = order[position % images] as number;
			const draw =
				pool === null
					? ([task, epoch, position] as const)
					: ([task, "pool", epoch % pool, image] as const);
			const shift =
				images > 1
					? 1 + new Random(seed, "other", ...draw).integer(images - 1)
					: 0;
			return {
				image,
				other: (image + shift) % images,
				key: ["augment", ...draw],
			};
		}),
	);
}

/** A step's images: `current` ones of the task, then those of each part, from image `first` of the step on. */
export interface StepPlan {
	readonly current: number;
	readonly parts: readonly {
		readonly part: RehearsalPart;
		readonly first: number;
		readonly images: number;
	}[];
}

/** Shares `images` images of a step between the current task and the parts of a rehearsal: at least one each. */
export function planStep(
	images: number,
	rehearsal: Rehearsal | null,
): StepPlan {
	const parts = rehearsal?.parts ?? [];
	if (images <= parts.length)
		throw fail("BATCH_TOO_SMALL", { images, parts: parts.length });
	const counts = parts.map(({ share }) =>
		Math.max(1, Math.round(share * images)),
	);
	const rehearsed = () => counts.reduce((a, b) => a + b, 0);
	while (rehearsed() >= images) {
		const largest = counts.indexOf(Math.max(...counts));
		counts[largest] = (counts[largest] as number) - 1;
	}
	const current = images - rehearsed();
	let first = current;
	return {
		current,
		parts: parts.map((part, i) => {
			const count = counts[i] as number;
			first += count;
			return { part, first: first - count, images: count };
		}),
	};
}

export interface Step {
	/** In the order of the plan. */
	readonly jobs: readonly AugmentJob[];
	/** The entries drawn for each part. */
	readonly entries: readonly (readonly number[])[];
}

/**
 * The steps of one epoch: as many as if all images of a step were the current task's, so that with a rehearsal each of those is
 * seen less often. Entries of the rehearsal are images `currentImages` and up.
 */
export function epochSteps(
	seed: number,
	task: string,
	epoch: number,
	currentImages: number,
	{ current, parts }: StepPlan,
	rehearsal: Rehearsal | null,
	pool: number | null = null,
): Step[] {
	const perStep = parts.reduce((n, { images }) => n + images, current);
	const count = Math.ceil(currentImages / perStep);
	const orders = parts.map(({ part }) =>
		new Random(seed, "rehearse", part.name, task, epoch).permutation(
			rehearsal?.images.shape[0] ?? 0,
		),
	);
	return epochJobs(seed, task, epoch, currentImages, current, pool)
		.slice(0, count)
		.map((jobs, s) => {
			const entries = parts.map(({ images }, p) => {
				const order = orders[p] as readonly number[];
				return Array.from(
					{ length: images },
					(_, k) => order[(s * images + k) % order.length] as number,
				);
			});
			return {
				jobs: [
					...jobs,
					...parts.flatMap(({ part, images }, p) =>
						(entries[p] as readonly number[]).map(
							(entry, k): AugmentJob => ({
								image: currentImages + entry,
								other: currentImages + (rehearsal?.partner(entry) ?? entry),
								key:
									part.key?.(entry) ??
									(pool === null
										? ["rehearse", part.name, task, epoch, s * images + k]
										: [
												"rehearse",
												part.name,
												task,
												"pool",
												epoch % pool,
												entry,
											]),
							}),
						),
					),
				],
				entries,
			};
		});
}
