/** Which pictures a product is qualified with: how they lie in their folders, and that none of them was learnt. */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { isDirectory } from "../data/files.ts";
import { type Found, imagesIn } from "../data/find.ts";
import { readBytes } from "../data/image.ts";
import { readCategory } from "../data/index.ts";
import { fail, KeepsightError } from "../errors.ts";
import type { Run } from "../run.ts";

/** The folder of good parts among those of defects. */
export const GOOD = "good";

export interface Group {
	readonly name: string;
	readonly found: readonly Found[];
}

/** Pictures by the folder they lie in, right below this one. */
export async function groupsOf(
	dir: string,
	flag: string,
): Promise<readonly Group[]> {
	const layout = (problem: string) =>
		fail("QUALIFY_LAYOUT", { dir, flag, problem });
	if (!(await isDirectory(dir))) throw layout("there is no such folder");
	const groups = new Map<string, Found[]>();
	for (const found of await imagesIn(dir)) {
		const at = found.name.indexOf("/");
		if (at < 0)
			throw layout(
				`${JSON.stringify(found.name)} lies in it and in none of its subfolders`,
			);
		const name = found.name.slice(0, at);
		groups.set(name, [...(groups.get(name) ?? []), found]);
	}
	if (groups.size === 0) throw layout("its subfolders hold no picture");
	return [...groups].map(([name, found]) => ({ name, found }));
}

export async function labelledIn(dir: string): Promise<readonly Group[]> {
	const test = join(dir, "test");
	return groupsOf((await isDirectory(test)) ? test : dir, "--labelled");
}

export async function goodIn(dir: string): Promise<readonly Found[]> {
	const found = (await isDirectory(dir)) ? await imagesIn(dir) : [];
	if (found.length === 0)
		throw fail("QUALIFY_LAYOUT", {
			dir,
			flag: "--good",
			problem: "it is no folder with pictures",
		});
	return found;
}

interface Learnt {
	/** Files of the folder that the product was learnt from; null: it is not there any more. */
	readonly paths: readonly string[] | null;
	/** Files of that folder that only set the scale of its scores (LOCO's validation/good). */
	readonly calibrating: readonly string[];
	readonly dir: string;
}

export async function learntOf(
	{ record, settings }: Run,
	task: string,
): Promise<Learnt> {
	const { root } = settings.data;
	const dir =
		record.tasks.find(({ id }) => id === task)?.data ?? resolve(root, task);
	try {
		const { normals, heldOut } = await readCategory(dir, task, {
			followLinks: true,
		});
		const [paths, calibrating] = [normals, heldOut].map((samples) =>
			samples.map(({ path }) => path),
		) as [string[], string[]];
		return { paths, calibrating, dir };
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		return { paths: null, calibrating: [], dir };
	}
}

/** Pictures that were learnt score lower than any others will, and those that set the scale are not new to it: none of them may count. They are recognised by their bytes. */
export async function refuseLearnt(
	{ paths, calibrating }: Learnt,
	pictures: readonly Found[],
): Promise<void> {
	const sizeOf = (file: string) =>
		stat(file).then(
			({ size }) => size,
			() => -1,
		);
	const bySize = new Map<number, string[]>();
	for (const file of [...(paths ?? []), ...calibrating]) {
		const size = await sizeOf(file);
		bySize.set(size, [...(bySize.get(size) ?? []), file]);
	}
	const hashes = new Map<string, string>();
	const hashOf = async (file: string): Promise<string> => {
		const known =
			hashes.get(file) ??
			createHash("sha256")
				.update(await readBytes(file))
				.digest("hex");
		hashes.set(file, known);
		return known;
	};
	const refused: string[] = [];
	for (const { path } of pictures) {
		const size = await sizeOf(path);
		for (const file of size > 0 ? (bySize.get(size) ?? []) : [])
			if ((await hashOf(file)) === (await hashOf(path))) {
				refused.push(path);
				break;
			}
	}
	if (refused.length > 0) throw fail("PICTURES_LEARNT", { paths: refused });
}

export function learntNotes({ paths, dir }: Learnt, images: number): string[] {
	if (paths === null)
		return [
			`The folder that the product was learnt from is not there any more (${dir}): whether any of these pictures was learnt could not be checked.`,
		];
	return images > paths.length
		? [
				`${images - paths.length} of the images that were learnt came from other folders (learn --add): whether any of these pictures is among them could not be checked.`,
			]
		: [];
}
