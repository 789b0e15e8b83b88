/**
 * The pictures that a name on the command line means: a file, a folder with all it holds, or a pattern of `*`, `?` and `**`.
 * Dotfiles are left out, and links are followed: whoever names a folder has chosen it.
 */
import { realpath, stat } from "node:fs/promises";
import path from "node:path";
import { fail } from "../errors.ts";
import { compareNames, type Entry, isImageName, list } from "./files.ts";

export interface Found {
	readonly path: string;
	/** With forward slashes, from the folder it was looked for in; the file's own name where it was named itself. */
	readonly name: string;
	/** The folder that was looked through with all below it; null: only some places were. */
	readonly folder: string | null;
}

export const single = (file: string): Found => ({
	path: file,
	name: path.basename(file),
	folder: null,
});

/** In order; an error where there is nothing. What exists under a name that looks like a pattern is meant as it is. */
export async function findImages(input: string): Promise<readonly Found[]> {
	const stats = await stat(input).catch(() => null);
	if (stats && !stats.isDirectory()) return [single(input)];
	if (!stats && !magic.test(input))
		throw fail("INPUT_MISSING", {
			input,
			problem: "there is no such file or folder",
		});
	const found = stats ? await imagesIn(input) : await matching(input);
	if (found.length === 0)
		throw fail("INPUT_MISSING", {
			input,
			problem: stats ? "the folder holds no picture" : "it matches no picture",
		});
	return found;
}

/** All pictures below a folder, that of a link met twice only once. */
export async function imagesIn(folder: string): Promise<readonly Found[]> {
	return walk(folder, Number.POSITIVE_INFINITY);
}

const magic = /[*?]/;

async function matching(pattern: string): Promise<readonly Found[]> {
	const parts = pattern.replaceAll(path.sep, "/").split("/");
	const fixed = parts.findIndex((part) => magic.test(part));
	const wanted = parts.slice(fixed);
	const folder = parts.slice(0, fixed).join("/") || (fixed > 0 ? "/" : ".");
	const deep = wanted.includes("**");
	const found = await walk(
		folder,
		deep ? Number.POSITIVE_INFINITY : wanted.length,
	);
	const matches = globOf(wanted.join("/"));
	return found
		.filter(({ name }) => matches.test(name))
		.map((one) => ({ ...one, folder: deep ? folder : null }));
}

/** `*`: any characters of one name, `?`: one, `**`: any number of folders. */
export function globOf(pattern: string): RegExp {
	const parts = pattern.split("/");
	const source = parts.map((part, i) => {
		const last = i === parts.length - 1;
		if (part === "**") return `(?:[^/]+/)*${last ? "[^/]+" : ""}`;
		const name = part
			.replace(/[\\^$+.()|[\]{}]/g, "\\$&")
			.replace(/\*+/g, "[^/]*")
			.replaceAll("?", "[^/]");
		return last ? name : `${name}/`;
	});
	return new RegExp(`^${source.join("")}$`, "su");
}

async function walk(folder: string, depth: number): Promise<Found[]> {
	const seen = new Set<string>();
	const found: Found[] = [];
	const into = async (dir: string, above: string, left: number) => {
		const real = await realpath(dir).catch(() => dir);
		if (left < 1 || seen.has(real)) return;
		seen.add(real);
		for (const entry of await entriesOf(dir)) {
			const name = `${above}${entry.name}`;
			if (entry.isDirectory) await into(entry.path, `${name}/`, left - 1);
			else if (isImageName(entry.name))
				found.push({ path: entry.path, name, folder });
		}
	};
	await into(folder, "", depth);
	return found.sort((a, b) => compareNames(a.name, b.name));
}

async function entriesOf(dir: string): Promise<readonly Entry[]> {
	try {
		return await list(dir, { followLinks: true });
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === undefined) throw error;
		throw fail("CANNOT_READ", { path: dir, code });
	}
}
