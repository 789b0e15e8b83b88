/** A rehearsal buffer: clean images of all tasks in equal shares, of a fixed total, as uint8. What Replay and DER have in common. */
import { z } from "zod";
import {
	type AnyTensor,
	float32,
	sizeOf,
	type Tensor,
	uint8,
} from "../engine/tensor.ts";
import type { Image } from "../data/task.ts";
import type { Probe, ViewKey } from "./strategy.ts";

export const bufferOptions = {
	buffer: z
		.number()
		.int()
		.min(0)
		.default(100)
		.describe(
			"Images kept of all tasks together, in equal shares of whole pairs; 0 equals finetune.",
		),
	share: z
		.number()
		.gt(0)
		.lt(1)
		.default(0.5)
		.describe("Share of a step's images that comes from the buffer."),
};

/** Entries lie task by task; two neighbours of a task (2i, 2i + 1) are partners. */
export interface Buffer {
	readonly images: Tensor<"uint8">; // [N, H, W, 3]
	readonly task: Tensor; // [N], counted from 0
	/** Fixes the draws of an entry's own views. */
	readonly draw: Tensor; // [N]
}

export const bufferOf = (
	tensors: Readonly<Record<string, AnyTensor>>,
): Buffer | null => (tensors.images ? (tensors as unknown as Buffer) : null);

/** The other of a pair; an entry without one is its own. */
export function partnerIn({ task }: Buffer, entry: number): number {
	const first = task.data.indexOf(task.data[entry] as number);
	const other = first + ((entry - first) ^ 1);
	return task.data[other] === task.data[entry] ? other : entry;
}

/** The seed of the views whose logits are stored. */
export const viewKeyOf = ({ task, draw }: Buffer, entry: number): ViewKey => [
	"buffer",
	task.data[entry] as number,
	draw.data[entry] as number,
];

/**
 * Cuts every task back to its equal share of `total` and fills the newest task's with a random choice of its images, in place.
 * Returns the images chosen, in the order of their entries at the end of the buffer.
 */
export function refill(
	tensors: Record<string, AnyTensor>,
	total: number,
	{ images, random, notice }: Probe,
): readonly number[] {
	const before = bufferOf(tensors);
	const tasks = before ? (before.task.data.at(-1) as number) + 2 : 1;
	const share = Math.max(2, 2 * Math.floor(total / tasks / 2)); // whole pairs, so that partners stay
	if (share * tasks > total)
		notice(
			`A buffer of ${total} is too small for ${tasks} tasks: a pair of images is kept of each, ${share * tasks} in all.`,
		);
	if (share > images.length)
		notice(
			`The buffer holds ${share} images a task, this task has ${images.length}: all of them are kept.`,
		);
	const chosen = random.permutation(images.length).slice(0, share);
	const seen = new Map<number, number>(); // task -> entries so far
	const kept: number[] = [];
	before?.task.data.forEach((task, entry) => {
		const position = seen.get(task) ?? 0;
		seen.set(task, position + 1);
		if (position < share) kept.push(entry);
	});
	const added = {
		images: uint8(
			[chosen.length, ...(images[0]?.shape ?? [])],
			new Uint8Array(
				Buffer.concat(chosen.map((i) => (images[i] as Image).data)),
			),
		),
		task: float32(
			[chosen.length],
			new Float32Array(chosen.length).fill(tasks - 1),
		),
		draw: float32([chosen.length], Float32Array.from(chosen)),
	};
	for (const [name, t] of Object.entries(tensors))
		tensors[name] = rowsOf(t, kept);
	for (const [name, t] of Object.entries(added))
		tensors[name] = joined(tensors[name], t);
	return chosen;
}

/** Some rows of a tensor along its first axis. */
const rowsOf = (t: AnyTensor, rows: readonly number[]): AnyTensor =>
	fromRows(
		t,
		rows.map((row) => [t, row] as const),
	);

/** Along the first axis. */
export const joined = (a: AnyTensor | undefined, b: AnyTensor): AnyTensor =>
	fromRows(
		b,
		[a, b].flatMap((t) =>
			Array.from(
				{ length: t?.shape[0] ?? 0 },
				(_, row) => [t as AnyTensor, row] as const,
			),
		),
	);

/** A tensor of these rows, each of some tensor, of the kind and row shape of `like`; a buffer holds uint8 and float32 alone. */
function fromRows(
	like: AnyTensor,
	rows: readonly (readonly [AnyTensor, number])[],
): AnyTensor {
	const one = like.shape.slice(1);
	const shape = [rows.length, ...one];
	const size = sizeOf(one);
	const made = like.dtype === "uint8" ? uint8(shape) : float32(shape);
	rows.forEach(([{ data }, row], i) => {
		for (let j = 0; j < size; j++)
			made.data[i * size + j] = data[row * size + j] as number;
	});
	return made;
}
