/** Whether pictures are still those that a run began with: asked without decoding any. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { fail } from "../errors.ts";
import { codeOf, sha256 } from "../storage.ts";
import { mapLimited } from "./files.ts";
import type { LearnTask } from "./task.ts";

/** Bytes that are read of each file. */
const PART = 4096;

/**
 * "16 images, 0f3a...": changes with the list of a task's images, with the size of one, and with the bytes in the middle of its file (a
 * bitmap keeps its size whatever it shows). Neither folder nor dates count, so a copied data set is the same. Test images do not count.
 * CANNOT_READ where one cannot be read.
 */
export async function fingerprint({ categories }: LearnTask): Promise<string> {
	const images = categories.flatMap(({ normals, heldOut }) => [
		...normals,
		...heldOut,
	]);
	const regions = categories.flatMap(({ id, roi }) =>
		roi === undefined ? [] : [{ id: `region of ${id}`, path: roi }],
	);
	const seen = await mapLimited(
		[...images, ...regions],
		8,
		async ({ id, path }) => [id, ...(await sizeAndPart(path))],
	);
	const hash = sha256(Buffer.from(JSON.stringify(seen)));
	return `${images.length} images, ${hash.slice(0, 16)}`;
}

/** Of several tasks, by their ids. */
export async function fingerprints(
	tasks: readonly LearnTask[],
): Promise<Record<string, string>> {
	const found: Record<string, string> = {};
	for (const task of tasks) found[task.id] = await fingerprint(task);
	return found;
}

async function sizeAndPart(
	path: string,
): Promise<readonly [bytes: number, part: string]> {
	try {
		const { size } = await stat(path);
		const start = Math.max(0, Math.floor((size - PART) / 2));
		const chunks: Buffer[] = [];
		for await (const chunk of createReadStream(path, {
			start,
			end: start + PART - 1,
		}))
			chunks.push(chunk as Buffer);
		return [size, sha256(Buffer.concat(chunks))];
	} catch (error) {
		throw fail("CANNOT_READ", { path, code: codeOf(error) });
	}
}
