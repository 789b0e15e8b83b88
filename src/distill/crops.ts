/**
 * A pool of random crops of ordinary pictures and what a teacher network says of each: what a student learns from (distill.ts). It lies
 * on disk in shards, so that a teacher looks at a crop once, however many students and epochs follow.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { listImages, listFolders } from "../data/files.ts";
import { type Part, readParts, type Size } from "../data/image.ts";
import type { Image } from "../data/task.ts";
import { viewAt } from "../data/turn.ts";
import { float32, type Tensor, uint8 } from "../engine/tensor.ts";
import { fail, KeepsightError } from "../errors.ts";
import { heed, type Stop } from "../events.ts";
import { toBytes } from "../engine/bytes.ts";
import type { Precision } from "../models/quantise.ts";
import {
	readSafetensorsFile,
	toFloat32,
	writeSafetensors,
} from "../models/safetensors.ts";
import { Random } from "../random.ts";
import {
	differingKeys,
	ensureFolder,
	type Guard,
	readJsonObject,
	sha256,
	stableJson,
	writeAtomic,
} from "../storage.ts";
import type { Trunk } from "../trunk.ts";

/** Crops of a shard, at least: about 30 MB at 224 px. */
const SHARD = 128;
/** Shards whose crops are shuffled together. */
const TOGETHER = 8;
/** Crops of one look at a picture, at most; large pictures give more than small ones. */
const MOST = 8;
/** Of the pictures, kept out for validation. */
const HELD_OUT = 0.05;
/** Share of crops without colour, as many parts are photographed. */
const GREY = 0.3;

export interface PoolSettings {
	/** SHA-256 of the teacher's weights, and in what it computed. */
	readonly teacher: string;
	readonly precision: Precision;
	/** Teacher's blocks whose patches are learnt, counted from 0. */
	readonly blocks: readonly number[];
	readonly teacherSize: Size;
	/** Of the crops as the student sees them. */
	readonly imageSize: Size;
	/** SHA-256 of the pictures' names. */
	readonly pictures: string;
	readonly seed: number;
}

/** Crops and what the teacher says of them: a shard of the pool, or a batch. */
export interface Crops {
	readonly pixels: Tensor<"uint8">; // [S, H, W, 3]
	/** The teacher's patches; 128 is 0, and each has a scale of its own, which no direction needs. */
	readonly patches: Tensor<"uint8">; // [S, N, D]
	/** The teacher's class tokens. */
	readonly classes: Tensor; // [S, D]
}

export type Split = "train" | "validation";

/** A picture, and its path below the folder it was found in: what the draws depend on. */
interface Picture {
	readonly path: string;
	readonly name: string;
}

export const namesHash = (pictures: readonly Picture[]): string =>
	sha256(new TextEncoder().encode(pictures.map(({ name }) => name).join("\n")));

/** All pictures in the folders and below. */
export async function picturesIn(dirs: readonly string[]): Promise<Picture[]> {
	const found: Picture[] = [];
	const walk = async (dir: string, below: string): Promise<void> => {
		for (const { name, path } of await listImages(dir))
			found.push({ path, name: below + name });
		for (const { name, path } of await listFolders(dir))
			await walk(path, `${below}${name}/`);
	};
	for (const dir of dirs) await walk(dir, "");
	if (found.length < 2)
		throw fail("PICTURES_MISSING", { dirs, found: found.length });
	return found;
}

/** What to do about a damaged file of a pool. */
const remedy = "have the crops drawn into another folder with --pool";

export class Pool {
	readonly dir: string;
	readonly settings: PoolSettings;
	readonly #guard: Guard;

	private constructor(dir: string, settings: PoolSettings, guard: Guard) {
		this.dir = dir;
		this.settings = settings;
		this.#guard = guard;
	}

	/**
	 * The pool in the folder, made there if there is none. One of other settings is refused. Who makes or fills it holds the folder's lock,
	 * whose check is the `guard` of every write.
	 */
	static open(
		dir: string,
		settings: PoolSettings,
		guard: Guard = () => undefined,
	): Pool {
		ensureFolder(dir);
		const path = join(dir, "pool.json");
		const known = readJsonObject(path, remedy);
		const keys = known ? differingKeys(known, settings) : [];
		if (keys.length > 0) throw fail("POOL_DIFFERS", { dir, keys });
		if (!known) writeAtomic(path, stableJson(settings), guard);
		return new Pool(dir, settings, guard);
	}

	/** Crops of every shard. */
	counts(split: Split): number[] {
		return this.#shards(split).map((name) =>
			Number(/-(\d+)\./.exec(name)?.[1]),
		);
	}

	read(split: Split, shard: number): Crops {
		const file = join(this.dir, this.#shards(split)[shard] as string);
		const { tensors } = readSafetensorsFile(file);
		const { pixels, patches, classes } = tensors;
		const n = this.counts(split)[shard] as number;
		const fits =
			pixels?.dtype === "U8" &&
			patches?.dtype === "U8" &&
			classes !== undefined &&
			pixels.shape.join() === [n, ...this.settings.imageSize, 3].join() &&
			patches.shape.length === 3 &&
			patches.shape[0] === n &&
			classes.shape.join() === [n, patches.shape[2]].join();
		if (!fits)
			throw fail("DAMAGED", {
				path: file,
				problem: `it does not hold pixels, patches and classes of ${n} crops`,
				remedy,
			});
		return {
			pixels: uint8(pixels.shape, pixels.data),
			patches: uint8(patches.shape, patches.data),
			classes: toFloat32(classes, file),
		};
	}

	/** Draws shards until there are at least so many crops. Goes on where it was stopped. */
	async fill(
		split: Split,
		wanted: number,
		{
			pictures,
			trunk,
			stop,
			onProgress,
			onUnreadable,
		}: {
			readonly pictures: readonly Picture[];
			readonly trunk: Trunk;
			readonly stop: Stop;
			onProgress(done: number): void;
			onUnreadable(problem: string): void;
		},
	): Promise<void> {
		const sources = splitOf(pictures, split, this.settings.seed);
		let done = total(this.counts(split));
		let barren = 0; // looks since the last good one
		let at = this.#drawn(split);
		let ahead = this.#crops(sources, at);
		while (done < wanted) {
			const crops: [Image, Image][] = [];
			while (crops.length < SHARD) {
				await heed(stop);
				const drawn = await ahead;
				at++;
				ahead = this.#crops(sources, at);
				if (typeof drawn === "string") {
					onUnreadable(drawn);
					if (++barren > sources.length)
						throw fail("PICTURES_MISSING", {
							dirs: [`the pictures for ${split}`],
							found: 0,
						});
					continue;
				}
				barren = 0;
				crops.push(...drawn);
				onProgress(Math.min(wanted, done + crops.length));
			}
			const shard = await this.#look(crops, trunk, stop);
			const name = `${split}-${String(this.counts(split).length).padStart(5, "0")}-${crops.length}.safetensors`;
			writeAtomic(
				join(this.dir, name),
				writeSafetensors({ ...shard }, { drawn: String(at) }),
				this.#guard,
			);
			done += crops.length;
		}
		await ahead;
	}

	#shards(split: Split): string[] {
		if (!existsSync(this.dir)) return [];
		return readdirSync(this.dir)
			.filter((name) =>
				new RegExp(`^${split}-\\d+-\\d+\\.safetensors$`).test(name),
			)
			.sort();
	}

	/** Looks at pictures that the shards so far have taken. */
	#drawn(split: Split): number {
		const last = this.#shards(split).at(-1);
		if (last === undefined) return 0;
		return Number(
			readSafetensorsFile(join(this.dir, last)).metadata.drawn ?? 0,
		);
	}

	/** Crops of the n-th look: as the student sees them, and as the teacher does; or why there are none. */
	async #crops(
		sources: readonly Picture[],
		n: number,
	): Promise<[Image, Image][] | string> {
		const { seed, imageSize, teacherSize } = this.settings;
		const round = Math.floor(n / sources.length);
		const order = shuffled(sources, new Random(seed, "pictures", round));
		const picture = order[n % sources.length] as Picture;
		const random = new Random(seed, "crops", round, picture.name);
		const same = imageSize.join() === teacherSize.join();
		try {
			const parts = await readParts(
				picture.path,
				(size) => drawParts(size, random, Math.min(...imageSize)),
				same ? [imageSize] : [imageSize, teacherSize],
			);
			return parts.map(([student, teacher = student]) => {
				const change = changeOf(random);
				return [change(student as Image), change(teacher as Image)];
			});
		} catch (error) {
			if (
				error instanceof KeepsightError &&
				(error.code === "IMAGE_UNREADABLE" || error.code === "IMAGE_TOO_LARGE")
			)
				return error.message;
			throw error;
		}
	}

	async #look(
		crops: readonly (readonly [Image, Image])[],
		trunk: Trunk,
		stop: Stop,
	): Promise<Crops> {
		const [h, w] = this.settings.imageSize;
		const n = crops.length;
		const d = trunk.network.backbone.config.width;
		const pixels = uint8([n, h, w, 3]);
		const classes = float32([n, d]);
		let patches: Tensor<"uint8"> | null = null;
		for (let from = 0; from < n; from += trunk.together) {
			await heed(stop);
			const group = crops.slice(from, from + trunk.together);
			const sights = await trunk.seeAll(group.map(([, image]) => image));
			for (const [i, sight] of sights.entries()) {
				const { codes } = toBytes(sight.patches as Tensor);
				patches ??= uint8([n, ...codes.shape]);
				patches.data.set(codes.data, (from + i) * codes.data.length);
				classes.data.set(sight.frozen.data, (from + i) * d);
				const [student] = group[i] as readonly [Image, Image];
				pixels.data.set(student.data, (from + i) * h * w * 3);
			}
		}
		return { pixels, patches: patches as Tensor<"uint8">, classes };
	}
}

export const total = (counts: readonly number[]): number =>
	counts.reduce((a, b) => a + b, 0);

/** A crop of a shard. */
interface Row {
	readonly shard: Crops;
	readonly at: number;
}

const rowsOf = (shard: Crops): Row[] =>
	[...Array(shard.classes.shape[0]).keys()].map((at) => ({ shard, at }));

/** Crops as a batch. */
function together(rows: readonly Row[]): Crops {
	const like = rows[0]?.shard as Crops;
	const stack = <T extends Tensor | Tensor<"uint8">>(
		of: T,
		from: (shard: Crops) => T,
	): T => {
		const shape = [rows.length, ...of.shape.slice(1)];
		const size = of.data.length / (of.shape[0] as number);
		const out = (of.dtype === "uint8" ? uint8(shape) : float32(shape)) as T;
		for (const [i, { shard, at }] of rows.entries())
			out.data.set(
				from(shard).data.subarray(at * size, (at + 1) * size),
				i * size,
			);
		return out;
	};
	return {
		pixels: stack(like.pixels, ({ pixels }) => pixels),
		patches: stack(like.patches, ({ patches }) => patches),
		classes: stack(like.classes, ({ classes }) => classes),
	};
}

/** All crops to validate on, in batches of `size`. */
export function validation(pool: Pool, size: number): Crops[] {
	const rows = pool
		.counts("validation")
		.flatMap((_, i) => rowsOf(pool.read("validation", i)));
	return inBatches(rows, size).map(together);
}

/**
 * Batches of the pool's first `crops` crops (and what fills their last shard), epoch after epoch without end, from the `first`-th on.
 * Some shards at a time are read and their crops shuffled; what does not fill a batch is left out.
 */
export function* batches(
	pool: Pool,
	{
		crops: wanted,
		size,
		seed,
		first,
	}: {
		readonly crops: number;
		readonly size: number;
		readonly seed: number;
		readonly first: number;
	},
): Generator<Crops> {
	const counts = firstOf(pool.counts("train"), wanted);
	const shardsTogether = Math.max(TOGETHER, Math.ceil(size / SHARD));
	let skipped = 0;
	for (let epoch = 0; ; epoch++) {
		const order = new Random(seed, "shards", epoch).permutation(counts.length);
		for (const group of inBatches(order, shardsTogether, true)) {
			const crops = total(group.map((i) => counts[i] as number));
			const here = Math.floor(crops / size);
			if (skipped + here <= first) {
				skipped += here;
				continue;
			}
			const rows = group.flatMap((i) => rowsOf(pool.read("train", i)));
			const shuffled = new Random(seed, "rows", epoch, group[0] as number)
				.permutation(rows.length)
				.map((i) => rows[i] as Row);
			for (const batch of inBatches(shuffled, size))
				if (skipped++ >= first) yield together(batch);
		}
	}
}

/** The leading counts that reach `wanted` together. */
function firstOf(counts: readonly number[], wanted: number): number[] {
	let sum = 0;
	return counts.filter((count) => {
		const missing = sum < wanted;
		sum += count;
		return missing;
	});
}

/** Runs of `size`; a shorter rest only where it is wanted. */
function inBatches<T>(items: readonly T[], size: number, rest = false): T[][] {
	const out: T[][] = [];
	for (let i = 0; i < items.length; i += size)
		if (rest || i + size <= items.length) out.push(items.slice(i, i + size));
	return out;
}

/** Every picture belongs to one side by its name, whichever others there are; but neither side is empty. */
function splitOf(
	pictures: readonly Picture[],
	split: Split,
	seed: number,
): readonly Picture[] {
	const drawn = pictures
		.map((picture) => ({
			picture,
			at: new Random(seed, "split", picture.name).uniform(),
		}))
		.sort((a, b) => a.at - b.at);
	const below = drawn.filter(({ at }) => at < HELD_OUT).length;
	const kept = Math.min(drawn.length - 1, Math.max(1, below));
	return (
		split === "validation" ? drawn.slice(0, kept) : drawn.slice(kept)
	).map(({ picture }) => picture);
}

const shuffled = <T>(items: readonly T[], random: Random): T[] =>
	random.permutation(items.length).map((i) => items[i] as T);

/** Squares, sides drawn between half the input's and the whole picture, every octave as likely. */
function drawParts([h, w]: Size, random: Random, input: number): Part[] {
	const most = Math.min(h, w);
	const least = Math.min(most, Math.ceil(input / 2));
	const count = Math.min(
		MOST,
		Math.max(1, Math.floor(Math.sqrt(h * w) / input)),
	);
	return Array.from({ length: count }, () => {
		const side = Math.round(
			Math.exp(random.uniform(Math.log(least), Math.log(most))),
		);
		return {
			top: random.integer(h - side + 1),
			left: random.integer(w - side + 1),
			side,
		};
	});
}

/** A turn, a mirror image, other light; some without colour. The same for both sizes of a crop. */
function changeOf(random: Random): (image: Image) => Image {
	const at = random.uniform();
	const grey = random.uniform() < GREY;
	const contrast = Math.exp(random.uniform(-0.3, 0.3));
	const shift = random.uniform(-25, 25);
	return (image) => {
		const { shape, data } = viewAt(image, at);
		const out = uint8(shape);
		for (let p = 0; p < data.length; p += 3) {
			const colours = data.subarray(p, p + 3);
			const mean =
				((colours[0] as number) +
					(colours[1] as number) +
					(colours[2] as number)) /
				3;
			for (let k = 0; k < 3; k++) {
				const value = grey ? mean : (colours[k] as number);
				out.data[p + k] = Math.min(
					255,
					Math.max(0, Math.round((value - 128) * contrast + 128 + shift)),
				);
			}
		}
		return out;
	};
}
