/**
 * Registry of dataset readers, and the way from `data.tasks` of a configuration to tasks.
 * Learning calls `readLearnTasks`, which never looks below test/ or ground_truth/; evaluation alone calls `readTasks`.
 */
import path from "node:path";
import { fail } from "../errors.ts";
import { isDirectory, listFolders } from "./files.ts";
import { folder } from "./folder.ts";
import { loco } from "./loco.ts";
import { mvtec } from "./mvtec.ts";
import type {
	Category,
	DatasetReader,
	LearnTask,
	ReadOptions,
	Sample,
	Task,
	TestCategory,
} from "./task.ts";

/** In the order they are asked; the first that matches reads. LOCO first, since its folders also match MVTec. Added ones are asked before. */
export const readers = { loco, mvtec, folder } satisfies Record<
	string,
	DatasetReader
>;
const builtIn = Object.keys(readers).length;

function asked(): readonly DatasetReader[] {
	const all: readonly DatasetReader[] = Object.values(readers);
	return [...all.slice(builtIn), ...all.slice(0, builtIn)];
}

/** One task: a category, or several that are learnt together; "mvtec/*" stands for every category found. */
export type TaskSpec = string | readonly string[];

/** The tasks without their test images. */
export async function readLearnTasks(
	root: string,
	specs: readonly TaskSpec[],
	options: ReadOptions = {},
): Promise<LearnTask[]> {
	return tasksOf(
		root,
		specs,
		(id) => readCategory(path.join(root, id), id, { ...options, root }),
		options,
	);
}

/** The tasks with their test images (listed, not decoded). */
export async function readTasks(
	root: string,
	specs: readonly TaskSpec[],
	options: ReadOptions = {},
): Promise<Task[]> {
	return tasksOf(
		root,
		specs,
		(id) => readTestCategory(path.join(root, id), id, { ...options, root }),
		options,
	);
}

/** One category folder, whatever its layout, as learning sees it: what `learn --data DIR` reads. */
export async function readCategory(
	dir: string,
	id: string,
	options?: ReadOptions,
): Promise<Category> {
	return (await readerOf(dir, id)).readNormals(dir, id, options);
}

export async function readTestCategory(
	dir: string,
	id: string,
	options?: ReadOptions,
): Promise<TestCategory> {
	const reader = await readerOf(dir, id);
	return {
		...(await reader.readNormals(dir, id, options)),
		dir,
		test: await reader.readTest(dir, id, options),
		layout: reader.layout,
	};
}

/** The reader for a folder; undefined if it is no category. */
export async function findReader(
	dir: string,
): Promise<DatasetReader | undefined> {
	for (const reader of asked()) if (await reader.matches(dir)) return reader;
	return undefined;
}

/** Ids of all categories below a root, <dataset>/<category>, in order. */
export async function findCategories(
	root: string,
	options: ReadOptions = {},
): Promise<string[]> {
	if (!(await isDirectory(root))) throw fail("DATA_ROOT_MISSING", { root });
	const within = { ...options, root };
	const found: string[] = [];
	for (const dataset of await listFolders(root, within)) {
		const own = await findReader(dataset.path);
		if (own && own !== folder) {
			found.push(dataset.name);
			continue;
		}
		const inside: string[] = [];
		for (const category of await listFolders(dataset.path, within)) {
			const reader = await findReader(category.path);
			// a stray picture beside the categories (a preview, say) does not make the whole data set one flat category
			if (reader && !(own && reader === folder))
				inside.push(`${dataset.name}/${category.name}`);
		}
		found.push(...(own && inside.length === 0 ? [dataset.name] : inside));
	}
	return found;
}

async function readerOf(dir: string, id: string): Promise<DatasetReader> {
	const reader = await findReader(dir);
	if (!reader) throw fail("DATA_NO_GOOD_IMAGES", { category: id, dir });
	return reader;
}

async function tasksOf<C extends Category>(
	root: string,
	specs: readonly TaskSpec[],
	read: (id: string) => Promise<C>,
	options: ReadOptions,
) {
	const known = await findCategories(root, options);
	for (const name of Object.keys(options.roi ?? {}))
		if (!known.includes(name))
			throw fail("DATA_UNKNOWN_CATEGORY", { name, root, known });
	const seen = new Map<string, string>(); // category -> the spec it came from
	const tasks: { id: string; categories: readonly C[] }[] = [];
	for (const spec of specs) {
		const groups =
			typeof spec === "string"
				? expand(spec, known, root).map((id) => [id])
				: [spec.flatMap((s) => expand(s, known, root))];
		for (const ids of groups) {
			for (const id of ids) {
				const first = seen.get(id);
				const second = typeof spec === "string" ? spec : spec.join("+");
				if (first !== undefined)
					throw fail("DATA_CATEGORY_TWICE", { name: id, first, second });
				seen.set(id, second);
			}
			const categories: C[] = [];
			for (const id of ids)
				categories.push({
					...thinned(await read(id), options.limit ?? null),
					...(options.roi?.[id] !== undefined && { roi: options.roi[id] }),
				});
			tasks.push({ id: ids.join("+"), categories });
		}
	}
	return tasks;
}

function thinned<C extends Category>(category: C, limit: number | null): C {
	const { normals } = category;
	if (limit === null || normals.length <= limit) return category;
	return {
		...category,
		normals: evenly(normals.length, limit).map((i) => normals[i] as Sample),
	};
}

/** At most `wanted` of `count` positions, spread evenly. */
export function evenly(count: number, wanted: number): number[] {
	const length = Math.min(wanted, count);
	return Array.from({ length }, (_, i) => Math.floor((i * count) / length));
}

/** Categories that a spec names: itself, or all that match its stars. */
function expand(
	spec: string,
	known: readonly string[],
	root: string,
): string[] {
	const parts = spec.split("/");
	if (
		parts.some(
			(p) =>
				p === "" ||
				p === "." ||
				p === ".." ||
				p.includes("\\") ||
				p.includes("\0"),
		)
	)
		throw fail("DATA_BAD_CATEGORY", { name: spec });
	const matching = known.filter((id) => {
		const names = id.split("/");
		return (
			names.length === parts.length &&
			parts.every((p, i) => matchesStar(p, names[i] as string))
		);
	});
	if (matching.length === 0)
		throw fail("DATA_UNKNOWN_CATEGORY", { name: spec, root, known });
	return matching;
}

/** "sc*" matches "screw"; without a star only itself. Plain searching: no name can make it slow, as it could a regular expression. */
function matchesStar(pattern: string, name: string): boolean {
	const [head = "", ...rest] = pattern.split("*");
	if (rest.length === 0) return pattern === name;
	const tail = rest.pop() as string;
	if (
		!name.startsWith(head) ||
		!name.endsWith(tail) ||
		name.length < head.length + tail.length
	)
		return false;
	let at = head.length;
	for (const part of rest) {
		const found = name.indexOf(part, at);
		if (found < 0 || found + part.length > name.length - tail.length)
			return false;
		at = found + part.length;
	}
	return true;
}
