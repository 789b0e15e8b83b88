/**
 * Methods of one's own without a fork: a module that the user names, by --plugin or in a program, adds entries to the registries of this
 * process. The processes and threads it starts load the same files (`loadedPlugins` travels with their jobs). No file of data, no
 * configuration and nothing below memory/ ever names one, so nothing that is read can run code (docs/decisions/0024-plugins.md).
 */
import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { readers } from "./data/index.ts";
import type { DatasetReader } from "./data/task.ts";
import { fail, nearest } from "./errors.ts";
import { memories } from "./memory/index.ts";
import type { MemoryDefinition } from "./memory/memory.ts";
import { pretexts } from "./pretext/index.ts";
import type { PretextDefinition } from "./pretext/pretext.ts";
import { isObject, readBytes, sha256 } from "./storage.ts";
import { strategies } from "./strategies/index.ts";
import type { StrategyDefinition } from "./strategies/strategy.ts";

/** What a plugin's file exports as its default: entries by the names that a configuration gives them. */
export interface Plugin {
	readonly strategies?: Readonly<Record<string, StrategyDefinition>>;
	readonly pretexts?: Readonly<Record<string, PretextDefinition>>;
	readonly memories?: Readonly<Record<string, MemoryDefinition>>;
	/** Asked before the built-in ones, in their order. */
	readonly readers?: Readonly<Record<string, DatasetReader>>;
}

/** The plugin itself; for completion and checks in an editor. */
export const definePlugin = (plugin: Plugin): Plugin => plugin;

/** A plugin of this process. */
export interface LoadedPlugin {
	/** Absolute. */
	readonly file: string;
	/** Of the file itself, not of what it imports. */
	readonly sha256: string;
	/** "strategy l2" for every entry. */
	readonly adds: readonly string[];
}

type Group = keyof Plugin;
/** What one entry of a group is called in messages, its registry, and the functions it must have. */
const groups: Readonly<
	Record<
		Group,
		{
			readonly kind: string;
			readonly registry: Record<string, unknown>;
			readonly functions: readonly string[];
		}
	>
> = {
	strategies: {
		kind: "strategy",
		registry: strategies,
		functions: ["create"],
	},
	pretexts: { kind: "pretext", registry: pretexts, functions: ["create"] },
	memories: { kind: "memory", registry: memories, functions: ["create"] },
	readers: {
		kind: "reader",
		registry: readers,
		functions: ["matches", "readNormals", "readTest"],
	},
};
const layouts: readonly DatasetReader["layout"][] = ["mvtec", "loco", "folder"];

const loaded: LoadedPlugin[] = [];

/** All of this process, in the order they were loaded. */
export const loadedPlugins = (): readonly LoadedPlugin[] => loaded;

/**
 * Loads files and adds what they define to the registries; a file that is loaded already is passed over. `sha256`: what the file must
 * be. To be called before a configuration is parsed that names its entries.
 */
export async function loadPlugins(
	files: readonly (
		| string
		| (Pick<LoadedPlugin, "file"> & Partial<LoadedPlugin>)
	)[],
): Promise<void> {
	for (const one of files) {
		const { file: path, sha256: wanted } =
			typeof one === "string" ? { file: one } : one;
		const file = resolve(path);
		const found = hashOf(file);
		const known = loaded.find((plugin) => plugin.file === file);
		if (found !== (wanted ?? found) || found !== (known?.sha256 ?? found))
			throw fail("PLUGIN_CHANGED", { file });
		if (known) continue;
		const plugin = await exported(file);
		if (loaded.some((other) => other.file === file)) continue; // by another call meanwhile
		const entries = checked(file, plugin);
		for (const { group, name, entry } of entries)
			groups[group].registry[name] = entry;
		loaded.push({
			file,
			sha256: found,
			adds: entries.map(({ group, name }) => `${groups[group].kind} ${name}`),
		});
	}
}

/** "strategy l2" -> hash of the file that brought it: of the entries named, and of all readers, since any data set may be theirs. */
export function pluginsBehind({
	strategy,
	pretext,
	memory,
}: {
	readonly strategy: { readonly name: string };
	readonly pretext: { readonly name: string };
	readonly memory: readonly { readonly name: string }[];
}): Readonly<Record<string, string>> {
	const named = [
		`strategy ${strategy.name}`,
		`pretext ${pretext.name}`,
		...memory.map(({ name }) => `memory ${name}`),
	];
	return Object.fromEntries(
		loaded.flatMap(({ adds, sha256 }) =>
			adds
				.filter((entry) => named.includes(entry) || entry.startsWith("reader "))
				.map((entry) => [entry, sha256]),
		),
	);
}

function hashOf(file: string): string {
	if (!existsSync(file))
		throw fail("PLUGIN_UNREADABLE", { file, reason: "there is no such file" });
	return sha256(readBytes(file));
}

/** The default export of a file. */
async function exported(file: string): Promise<unknown> {
	const { href } = pathToFileURL(file);
	try {
		return ((await import(href)) as { default?: unknown }).default;
	} catch (error) {
		const { code, message, stack } = error as NodeJS.ErrnoException;
		const name = basename(file).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
		const line = new RegExp(`${name}:(\\d+)`).exec(stack ?? "")?.[1];
		throw fail("PLUGIN_UNREADABLE", {
			file,
			reason: `${line === undefined ? "" : `line ${line}: `}${message ?? String(error)}`,
			...(code !== undefined && { code }),
		});
	}
}

interface Entry {
	readonly group: Group;
	readonly name: string;
	readonly entry: unknown;
}

/** All entries of a plugin, or the error that says what it lacks. */
function checked(file: string, plugin: unknown): readonly Entry[] {
	const invalid = (problem: string) =>
		fail("PLUGIN_INVALID", { file, problem });
	if (!isObject(plugin)) throw invalid("it has no default export");
	const known = Object.keys(groups) as Group[];
	const entries = Object.entries(plugin).flatMap(([key, list]): Entry[] => {
		const group = known.find((name) => name === key);
		if (group === undefined) {
			const near = nearest(key, known);
			throw invalid(
				`its default export has the key "${key}", and knows ${known.join(", ")}${near ? `; did you mean "${near}"?` : ""}`,
			);
		}
		if (list === undefined) return [];
		if (!isObject(list))
			throw invalid(`${key} is no object of entries by name`);
		return Object.entries(list).map(([name, entry]) => ({
			group,
			name,
			entry,
		}));
	});
	if (entries.length === 0) throw invalid("it adds nothing");
	for (const { group, name, entry } of entries) {
		const { kind, registry, functions } = groups[group];
		if (!/^[A-Za-z][A-Za-z0-9_+-]{0,63}$/.test(name))
			throw invalid(
				`a ${kind} cannot be called ${JSON.stringify(name)}: a letter, then letters, digits and _ + - only`,
			);
		const problem = problemOf(group, entry, functions);
		if (problem !== null) throw invalid(`${kind} "${name}" ${problem}`);
		if (Object.hasOwn(registry, name))
			throw fail("PLUGIN_CLASH", {
				file,
				kind,
				name,
				other:
					loaded.find(({ adds }) => adds.includes(`${kind} ${name}`))?.file ??
					null,
			});
	}
	return entries;
}

/** What is wrong with an entry; null: nothing that shows before it is used. */
function problemOf(
	group: Group,
	entry: unknown,
	functions: readonly string[],
): string | null {
	if (!isObject(entry)) return "is no definition";
	if (typeof entry.title !== "string") return "has no title";
	const lacking = functions.find((key) => typeof entry[key] !== "function");
	if (lacking !== undefined) return `has no function ${lacking}`;
	if (group === "readers")
		return layouts.some((layout) => layout === entry.layout)
			? null
			: `must have one of the layouts ${layouts.join(", ")}`;
	if (!(entry.options instanceof z.ZodObject))
		return "must have options that are a z.strictObject, {} if it takes none";
	return typeof entry.paper === "string"
		? null
		: 'has no paper; "" if there is none';
}
