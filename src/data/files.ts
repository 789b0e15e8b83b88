/**
 * Listing of data folders: dotfiles left out, a stable order, links checked. Names are taken as they are; nothing is matched by locale.
 * A link (or a folder behind one) that leads out of the data root is refused, since a data set somebody else packed could
 * otherwise read any file of this machine into a report.
 */
import type { Dirent } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { existsSync, realpathSync } from "node:fs";
import path from "node:path";
import { fail } from "../errors.ts";
import { imageEndings } from "./image.ts";
import type { ReadOptions } from "./task.ts";

export interface Entry {
	readonly name: string;
	readonly path: string;
	readonly isDirectory: boolean;
}

/** Numbers by value ("img2" before "img10"), all else by code unit; a total order that no locale changes. */
export function compareNames(a: string, b: string): number {
	const as = a.match(/\d+|\D+/g) ?? [];
	const bs = b.match(/\d+|\D+/g) ?? [];
	for (let i = 0; i < Math.min(as.length, bs.length); i++) {
		const x = as[i] as string;
		const y = bs[i] as string;
		if (/^\d/.test(x) && /^\d/.test(y)) {
			const p = x.replace(/^0+/, "");
			const q = y.replace(/^0+/, "");
			if (p.length !== q.length) return p.length - q.length;
			if (p !== q) return p < q ? -1 : 1;
		} else if (x !== y) return x < y ? -1 : 1;
	}
	if (as.length !== bs.length) return as.length - bs.length;
	return a < b ? -1 : a > b ? 1 : 0;
}

export const isImageName = (name: string): boolean =>
	imageEndings.includes(path.extname(name).toLowerCase());

/** "a/b.PNG" -> "b". */
export const stemOf = (file: string): string =>
	path.basename(file, path.extname(file));

export async function isDirectory(dir: string): Promise<boolean> {
	return stat(dir).then(
		(s) => s.isDirectory(),
		() => false,
	);
}

export async function exists(file: string): Promise<boolean> {
	return stat(file).then(
		() => true,
		() => false,
	);
}

/** What a folder holds, in order; nothing if it does not exist. */
export async function list(
	dir: string,
	options: ReadOptions = {},
): Promise<Entry[]> {
	let found: Dirent[];
	try {
		found = await readdir(dir, { withFileTypes: true });
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === "ENOENT" || code === "ENOTDIR") return [];
		throw error;
	}
	if (!options.followLinks) await checkInside(dir, options.root ?? dir);
	const entries: Entry[] = [];
	for (const e of found) {
		if (e.name.startsWith(".")) continue;
		const full = path.join(dir, e.name);
		if (e.isSymbolicLink() && !options.followLinks)
			await checkInside(full, options.root ?? dir);
		entries.push({
			name: e.name,
			path: full,
			isDirectory: e.isSymbolicLink()
				? await isDirectory(full)
				: e.isDirectory(),
		});
	}
	return entries.sort((a, b) => compareNames(a.name, b.name));
}

/** Images of a folder (by the ending of their names), sorted; hidden files are left out. */
export async function listImages(
	dir: string,
	options?: ReadOptions,
): Promise<Entry[]> {
	return (await list(dir, options)).filter(
		(e) => !e.isDirectory && isImageName(e.name),
	);
}

export async function listFolders(
	dir: string,
	options?: ReadOptions,
): Promise<Entry[]> {
	return (await list(dir, options)).filter((e) => e.isDirectory);
}

async function checkInside(file: string, root: string): Promise<void> {
	const target = await leadsOut(file, root);
	if (target !== null)
		throw fail("DATA_LINK_OUTSIDE", { path: file, target, root });
}

/** Where a path leads to, links followed, if that is outside of the root. */
export async function leadsOut(
	file: string,
	root: string,
): Promise<string | null> {
	const target = await realpath(file).catch(() => null);
	if (target === null) return null; // a dangling link: reading it says so, with its path
	const inside = path.relative(await realpath(root), target);
	return inside === ".." ||
		inside.startsWith(`..${path.sep}`) ||
		path.isAbsolute(inside)
		? target
		: null;
}

/** Runs `work` over all items, at most `limit` at a time; results in the items' order. */
export async function mapLimited<T, R>(
	items: readonly T[],
	limit: number,
	work: (item: T) => Promise<R>,
): Promise<R[]> {
	const results = new Array<R>(items.length);
	let next = 0;
	const worker = async () => {
		while (next < items.length) {
			const i = next++;
			results[i] = await work(items[i] as T);
		}
	};
	await Promise.all(
		Array.from({ length: Math.min(limit, items.length) }, worker),
	);
	return results;
}

/** Whether a path is the folder or lies in it, links followed. */
export function isInside(file: string, folder: string): boolean {
	const relative = path.relative(realPath(folder), realPath(file));
	return (
		relative !== ".." &&
		!relative.startsWith(`..${path.sep}`) &&
		!path.isAbsolute(relative)
	);
}

/** Also of what is not there yet. */
function realPath(file: string): string {
	const full = path.resolve(file);
	return existsSync(full)
		? realpathSync(full)
		: path.join(realPath(path.dirname(full)), path.basename(full));
}
