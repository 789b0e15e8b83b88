/** Scores many pictures on the workers of a queue, a shard at a time, and gives the predictions in the order of the pictures. */
import { randomUUID } from "node:crypto";
import { stat } from "node:fs/promises";
import type { Found } from "../../data/find.ts";
import { fail } from "../../errors.ts";
import type { Prediction } from "../../events.ts";
import { MapNames } from "../../predict.ts";
import { openRun } from "../../run.ts";
import { codeOf } from "../../storage.ts";
import { drive, type DriveOptions, type Item } from "./drive.ts";
import { isPlain, jobBase, type ShardJob, shardResult } from "./jobs.ts";

export interface ShardOptions extends DriveOptions {
	readonly memDir: string;
	readonly images: readonly Found[];
	readonly task: string | null;
	readonly maps: string | null;
	/** Pictures of a job. */
	readonly size: number;
	/** Called as soon as all pictures before it are scored. */
	readonly onPrediction: (prediction: Prediction) => void;
	/** How many are scored, in whatever order. */
	readonly onScored: (done: number) => void;
}

/** Rejects with SHARD_FAILED once every shard has ended, where one of them could not be scored. */
export async function scoreShards({
	memDir,
	images,
	task,
	maps,
	size,
	onPrediction,
	onScored,
	...options
}: ShardOptions): Promise<void> {
	const { memory } = openRun(memDir, "read");
	const { version } = memory;
	if (version === 0) throw fail("NOTHING_LEARNT", { dir: memDir });
	const paths: (readonly [string, string | null])[] = [
		["--mem_dir", memDir],
		["--maps", maps],
		...images.flatMap((image): [string, string | null][] => [
			["a picture", image.path],
			["a folder of pictures", image.folder],
		]),
	];
	for (const [where, path] of paths)
		if (path !== null && !isPlain(path))
			throw fail("PATH_NOT_SHARED", { where, path });
	const names = new MapNames();
	const named = await Promise.all(
		images.map(async (image) => ({
			...image,
			name: names.of(image),
			bytes: await sizeOf(image.path),
		})),
	);
	const digest = memory.digest();
	const study = randomUUID();
	const shards = Array.from(
		{ length: Math.ceil(named.length / size) },
		(_, i) => named.slice(i * size, (i + 1) * size),
	);
	const waiting = new Map<number, readonly Prediction[]>(); // of shards that ended before an earlier one
	const failures: { readonly shard: number; readonly reason: string }[] = [];
	let next = 0;
	let scored = 0;
	const end = (shard: number, predictions: readonly Prediction[]) => {
		waiting.set(shard, predictions);
		scored += predictions.length;
		onScored(scored);
		for (let found = waiting.get(next); found; found = waiting.get(next)) {
			waiting.delete(next);
			next += 1;
			found.forEach(onPrediction);
		}
	};
	await drive(
		study,
		shards.map((shard, i): Item => {
			const failed = (reason: string) => {
				failures.push({ shard: i, reason });
				end(i, []);
			};
			return {
				id: `${study}-${i}`,
				kind: "shard",
				data: () =>
					({
						...jobBase,
						kind: "shard",
						study,
						memDir,
						memoryVersion: version,
						memoryDigest: digest,
						images: shard,
						task,
						maps,
					}) satisfies ShardJob,
				completed(result) {
					const parsed = shardResult.safeParse(result);
					const fits =
						parsed.success &&
						parsed.data.predictions.length === shard.length &&
						parsed.data.predictions.every(
							({ path, memoryVersion }, k) =>
								path === shard[k]?.path && memoryVersion === version,
						);
					if (fits) end(i, parsed.data.predictions);
					else failed("its worker reported something else than its images");
					return Promise.resolve(true);
				},
				failed,
			};
		}),
		options,
	);
	const [first] = failures.sort((a, b) => a.shard - b.shard);
	if (first)
		throw fail("SHARD_FAILED", {
			images: failures.reduce(
				(n, { shard }) => n + (shards[shard] as Found[]).length,
				0,
			),
			first: shards[first.shard]?.[0]?.path ?? "",
			reason: first.reason,
		});
}

async function sizeOf(path: string): Promise<number> {
	try {
		return (await stat(path)).size;
	} catch (error) {
		throw fail("CANNOT_READ", { path, code: codeOf(error) });
	}
}
