/**
 * Backbones kept in the user's cache folder, by the names configurations give them. Nothing here asks a network.
 *
 *   hub/<owner>/<name>/<commit>/   what models/hub.ts brought: hub:OWNER/NAME or hub:OWNER/NAME@REVISION
 *   hub/<owner>/<name>/refs.json   which commit "main" and other revisions were when they were last asked for
 *   local/<name>/                  what was imported from a folder: local:NAME
 *
 * Each holds the files as the hub lays them out and, written last, backbone.json: where they are from, their licence, and size and
 * SHA-256 of every file. Without it there is no backbone, only what a stopped download left.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, join, resolve } from "node:path";
import { z } from "zod";
import { fail, KeepsightError } from "../errors.ts";
import {
	hashFile,
	isObject,
	readBytes,
	readText,
	removeTree,
	stableJson,
	treeProblem,
	writeAtomic,
} from "../storage.ts";
import { parseYaml } from "../yaml.ts";
import { readBackbone } from "./backbone.ts";

/** Files of a backbone, small ones first; the others may be absent. */
export const backboneFiles = [
	"config.json",
	"preprocessor_config.json",
	"README.md",
	"model.safetensors",
] as const;
export type BackboneFile = (typeof backboneFiles)[number];

const recordName = "backbone.json";
const refsName = "refs.json";

const count = z.int().nonnegative();
const format = 1;
const recordSchema = z.strictObject({
	format: z.literal(format),
	name: z.string(),
	commit: z
		.string()
		.regex(/^[0-9a-f]{40}$/)
		.nullable(),
	source: z.string(),
	licence: z.string().nullable(),
	parameters: count,
	patch: count,
	files: z.partialRecord(
		z.enum(backboneFiles),
		z.strictObject({ bytes: count, sha256: z.string() }),
	),
});

/** A backbone of the cache. */
export interface CachedBackbone {
	/** As a configuration names it: hub:OWNER/NAME, local:NAME. */
	readonly name: string;
	/** The hub's commit, 40 hex; null for imported ones. */
	readonly commit: string | null;
	/** The page of the model, or the folder it was imported from. */
	readonly source: string;
	/** As the model card states it ("apache-2.0"); null: it states none. */
	readonly licence: string | null;
	readonly parameters: number;
	/** Side of a patch in pixels. */
	readonly patch: number;
	readonly files: Readonly<
		Partial<
			Record<BackboneFile, { readonly bytes: number; readonly sha256: string }>
		>
	>;
	/** Where it lies. */
	readonly dir: string;
}

/** A backbone by its name, and by the commit where that is pinned. */
export interface CacheChoice {
	readonly name: string;
	readonly commit?: string | undefined;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where backbones are kept: in `HF_HOME/assets/keepsight` where HF_HOME is set, else in the user's cache folder. */
export function cacheDir(env: Environment = process.env): string {
	const home = env.HF_HOME
		? join(env.HF_HOME, "assets", "keepsight")
		: join(userCache(env), "keepsight");
	return join(home, "backbones");
}

/** XDG_CACHE_HOME, or ~/.cache. */
export const userCache = (env: Environment): string =>
	env.XDG_CACHE_HOME || join(homedir(), ".cache");

/** HF_HUB_OFFLINE, or transformers' TRANSFORMERS_OFFLINE, is 1, on, yes or true. */
export const isOffline = (env: Environment): boolean =>
	/^(1|on|yes|true)$/i.test(
		env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE || "",
	);

// ---- names ----

export interface HubName {
	/** "facebook/dinov2-small" */
	readonly repo: string;
	/** A branch, tag or commit; null: main. */
	readonly revision: string | null;
}

export const isHubName = (name: string): boolean => name.startsWith("hub:");
const isLocalName = (name: string): boolean => name.startsWith("local:");
export const isCommit = (text: string | null): text is string =>
	/^[0-9a-f]{40}$/.test(text ?? "");

/** What is wrong with a name of the cache; null: nothing, or it is none. Names become paths, so nothing may lead out. */
export function nameProblem(name: string): string | null {
	if (isLocalName(name))
		return /^[A-Za-z0-9_]([\w.+-]{0,94}[\w+-])?$/.test(name.slice(6)) &&
			!name.includes("..")
			? null
			: "a local name is up to 96 letters, digits and . _ + -, and begins and ends with none of the marks";
	if (!isHubName(name)) return null;
	const { repo, revision } = splitHubName(name);
	const parts = repo.split("/");
	if (parts.length !== 2)
		return `"${repo}" must be an owner and a name with one / between them`;
	const odd = parts.find(
		(part) =>
			!/^[A-Za-z0-9_]([\w.-]{0,94}\w)?$/.test(part) ||
			/\.\.|--|\.git$/.test(part),
	);
	if (odd !== undefined)
		return `"${odd}" must be letters, digits and single - . _, neither at its ends, up to 96 of them`;
	if (
		revision !== null &&
		(!/^\w[\w./-]{0,199}$/.test(revision) || /\.\.|\/\/|\/$/.test(revision))
	)
		return `"${revision}" is no branch, tag or commit`;
	return null;
}

/** The parts of a name of the hub. Throws BACKBONE_NAME. */
export function parseHubName(name: string): HubName {
	const problem = isHubName(name)
		? nameProblem(name)
		: "it does not begin with hub:";
	if (problem !== null) throw fail("BACKBONE_NAME", { name, problem });
	return splitHubName(name);
}

function splitHubName(name: string): HubName {
	const [, repo = "", revision] = /^hub:([^@]*)(?:@(.*))?$/s.exec(name) ?? [];
	return { repo, revision: revision ?? null };
}

// ---- finding ----

/** Whether `name` stands for something in the cache, not for a folder. */
export const isCacheName = (name: string): boolean =>
	isHubName(name) || isLocalName(name);

/** Folder of all commits of a hub's model. */
export const repoDir = (repo: string, env?: Environment): string =>
	join(cacheDir(env), "hub", ...repo.split("/"));

/** The backbone of that name; null: it is not there, or not whole. Of a hub's model without commit: what its revision was when last pulled. */
export function findCached(
	{ name, commit }: CacheChoice,
	env: Environment = process.env,
): CachedBackbone | null {
	if (isLocalName(name)) return readRecord(localDir(name, env));
	const { repo, revision } = parseHubName(name);
	if (commit !== undefined && !isCommit(commit))
		throw fail("BACKBONE_NAME", {
			name: `${name}@${commit}`,
			problem: "a pinned commit is 40 hexadecimal digits",
		});
	const pinned =
		commit ??
		(isCommit(revision) ? revision : refsOf(repo, env)[revision ?? "main"]);
	return pinned === undefined
		? null
		: readRecord(join(repoDir(repo, env), pinned));
}

/** The same choice with the commit it stands for today, where the cache knows. */
export function pinned<T extends CacheChoice>(choice: T): T {
	if (!isHubName(choice.name) || choice.commit !== undefined) return choice;
	const commit = findCached(choice)?.commit;
	return commit ? { ...choice, commit } : choice;
}

/** The folder of a backbone of the cache, after the hash of each of its files was checked. Throws BACKBONE_NOT_CACHED, BACKBONE_DAMAGED. */
export function openCached(
	choice: CacheChoice,
	env: Environment = process.env,
): string {
	const found = findCached(choice, env);
	if (!found) throw notCached(choice, env);
	const problem = damage(found);
	if (problem !== null)
		throw fail("BACKBONE_DAMAGED", {
			dir: found.dir,
			problem,
			remedy: `Run "keepsight backbone ${
				isHubName(found.name)
					? `pull ${found.name}@${found.commit}`
					: `import ${found.source} --name ${found.name.slice(6)}`
			}" to get it anew`,
		});
	return found.dir;
}

export function notCached({ name, commit }: CacheChoice, env: Environment) {
	const { repo, revision } = isHubName(name)
		? parseHubName(name)
		: { repo: "", revision: null };
	return fail("BACKBONE_NOT_CACHED", {
		name:
			commit === undefined || revision === commit
				? name
				: `hub:${repo}@${commit}`,
		cache: cacheDir(env),
		folder: repoDir(repo, env),
		offline: isOffline(env),
	});
}

/** What is wrong with its files; null: each has the bytes that backbone.json records. */
export function damage({ dir, files }: CachedBackbone): string | null {
	for (const [file, { bytes, sha256 }] of Object.entries(files)) {
		const path = join(dir, file);
		const size = statSync(path, { throwIfNoEntry: false })?.size;
		if (size === undefined) return `${file} is missing`;
		if (size !== bytes) return `${file} has ${size} bytes instead of ${bytes}`;
		if (hashFile(path) !== sha256)
			return `the content of ${file} does not match its SHA-256`;
	}
	return null;
}

/** Every backbone of the cache, the hub's first, by name. */
export function listCached(env: Environment = process.env): CachedBackbone[] {
	const root = cacheDir(env);
	const repos = foldersIn(join(root, "hub")).flatMap(foldersIn);
	return [...repos, join(root, "local")].flatMap(readRecords);
}

const foldersIn = (dir: string): string[] =>
	existsSync(dir)
		? readdirSync(dir, { withFileTypes: true })
				.filter((item) => item.isDirectory())
				.map((item) => join(dir, item.name))
				.sort()
		: [];

/** Of the backbones that are folders of this one. */
export const readRecords = (parent: string): CachedBackbone[] =>
	foldersIn(parent).flatMap((dir) => readRecord(dir) ?? []);

/** Commits by revision. */
function refsOf(repo: string, env: Environment): Record<string, string> {
	const refs = readJson(repoDir(repo, env), refsName) ?? {};
	for (const commit of Object.values(refs))
		if (typeof commit !== "string" || !isCommit(commit))
			throw unreadable(repoDir(repo, env), refsName);
	return Object.assign(Object.create(null), refs) as Record<string, string>;
}

/** From now on this revision means this commit. */
export function writeRef(
	{ repo, revision }: HubName,
	commit: string,
	env: Environment,
): void {
	writeAtomic(
		join(repoDir(repo, env), refsName),
		stableJson({ ...refsOf(repo, env), [revision ?? "main"]: commit }),
	);
}

function readRecord(dir: string): CachedBackbone | null {
	const json = readJson(dir, recordName);
	if (json === null) return null;
	if (typeof json.format === "number" && json.format !== format)
		throw fail("FORMAT_VERSION", {
			path: join(dir, recordName),
			found: json.format,
			known: format,
		});
	const { data } = recordSchema.safeParse(json);
	if (!data) throw unreadable(dir, recordName);
	const { format: _format, ...record } = data;
	return { ...record, dir };
}

/** null: no such file. */
function readJson(dir: string, file: string): Record<string, unknown> | null {
	const path = join(dir, file);
	if (!existsSync(path)) return null;
	try {
		const json: unknown = JSON.parse(readText(path));
		if (isObject(json) && treeProblem(json) === null) return json;
	} catch (error) {
		if (error instanceof KeepsightError) throw error;
	}
	throw unreadable(dir, file);
}

const unreadable = (dir: string, file: string) =>
	fail("BACKBONE_DAMAGED", {
		dir,
		problem: `${file} is not what Keepsight writes there`,
		remedy: "Delete that folder, then pull or import it again",
	});

// ---- adding ----

/**
 * Declares the files of `dir` a backbone, after it was read as one: writes backbone.json. Throws what readBackbone does.
 */
export function writeRecord(
	dir: string,
	about: Pick<CachedBackbone, "name" | "commit" | "source" | "licence">,
): CachedBackbone {
	const { config, weights } = readBackbone(dir, null);
	const record = {
		...about,
		parameters: Object.values(weights).reduce((n, t) => n + t.data.length, 0),
		patch: config.patch,
		files: filesOf(dir),
	};
	writeAtomic(join(dir, recordName), stableJson({ format, ...record }));
	return { ...record, dir };
}

/** Withdraws what `writeRecord` declared; the files stay. */
export const removeRecord = (dir: string): void =>
	removeTree(join(dir, recordName));

const filesOf = (dir: string): CachedBackbone["files"] =>
	Object.fromEntries(
		backboneFiles.flatMap((file) => {
			const path = join(dir, file);
			return existsSync(path)
				? [[file, { bytes: statSync(path).size, sha256: hashFile(path) }]]
				: [];
		}),
	);

const localDir = (name: string, env: Environment): string => {
	const problem = nameProblem(name);
	if (problem !== null) throw fail("BACKBONE_NAME", { name, problem });
	return join(cacheDir(env), "local", name.slice(6));
};

/**
 * Copies a folder with config.json and model.safetensors into the cache, where configurations name it local:NAME. Only what can be
 * read as a backbone is copied. The same files again change nothing; other files under a taken name are BACKBONE_EXISTS.
 * `name`: default the folder's own.
 */
export function importBackbone(
	from: string,
	name: string = basename(resolve(from)),
	env: Environment = process.env,
): CachedBackbone {
	if (!existsSync(from))
		throw fail("CANNOT_READ", { path: from, code: "ENOENT" });
	readBackbone(from, null);
	const full = `local:${name}`;
	const dir = localDir(full, env);
	const earlier = readRecord(dir);
	const files = filesOf(from);
	if (earlier && stableJson(earlier.files) !== stableJson(files))
		throw fail("BACKBONE_EXISTS", { name: full, dir });
	if (earlier && damage(earlier) === null) return earlier;
	if (resolve(from) !== resolve(dir)) {
		removeTree(dir);
		for (const file of Object.keys(files))
			writeAtomic(join(dir, file), readBytes(join(from, file)));
	}
	return writeRecord(dir, {
		name: full,
		commit: null,
		source: resolve(from),
		licence: existsSync(join(from, "README.md"))
			? licenceOf(cardOf(join(from, "README.md")))
			: null,
	});
}

/** Letters of a licence's name; what is longer is none. */
const LONGEST = 200;

/** The licence of a model card's metadata, with the name it has where it is none of the common ones. */
export function licenceOf(card: unknown): string | null {
	if (!isObject(card)) return null;
	const { license, license_name: own } = card;
	const licence = Array.isArray(license)
		? license.filter((one) => typeof one === "string").join(", ")
		: license;
	if (typeof licence !== "string" || licence === "" || licence.length > LONGEST)
		return null;
	return licence === "other" && typeof own === "string" && own.length <= LONGEST
		? `other (${own})`
		: licence;
}

/** The front matter of a README.md: YAML between two lines of ---. A card that cannot be read states nothing. */
function cardOf(path: string): unknown {
	const text = readText(path);
	const [, yaml] = /^\uFEFF?---\r?\n(.*?)\r?\n---/s.exec(text) ?? [];
	if (yaml === undefined) return null;
	try {
		return parseYaml(yaml).value;
	} catch {
		return null;
	}
}
