/**
 * Every write: atomic, hashed, locked. The only place that creates, changes or deletes files; readers may read directly.
 *
 * A file appears whole or not at all: temp file in the same folder, write, fsync, rename, fsync of the folder.
 * A folder of several files (`VersionedFolder`) changes by one rename of its manifest, so a kill at any moment
 * leaves the old version or the new one.
 *
 * Calls are synchronous on purpose: within a process no two writes interleave, and a signal handler can still save.
 * Whatever writes much runs in a child process, so no server waits for a disk.
 */
import { createHash, randomUUID } from "node:crypto";
import {
	closeSync,
	constants,
	existsSync,
	fstatSync,
	fsyncSync,
	linkSync,
	lstatSync,
	mkdirSync,
	openSync,
	readdirSync,
	readFileSync,
	readSync,
	renameSync,
	rmdirSync,
	statSync,
	unlinkSync,
	writeSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fail, KeepsightError } from "./errors.ts";

/** Every call that changes the disk. Tests replace its members to fail or kill the n-th call; nobody else does. */
export const files = {
	open: (path: string, flags: number | "wx" | "a+" | "r"): number =>
		openSync(path, flags),
	write: (fd: number, bytes: Uint8Array): number => writeSync(fd, bytes), // may write less than asked
	fsync: (fd: number): void => fsyncSync(fd),
	close: (fd: number): void => closeSync(fd),
	rename: (from: string, to: string): void => renameSync(from, to),
	link: (from: string, to: string): void => linkSync(from, to),
	unlink: (path: string): void => unlinkSync(path),
	mkdir: (path: string): void => mkdirSync(path),
	rmdir: (path: string): void => rmdirSync(path),
};

const temporaryPrefix = ".tmp-";
const lockName = ".lock";

/** A name this module may have left behind when it was killed; never content. */
const isTemporary = (name: string): boolean => name.startsWith(temporaryPrefix);
/** A lock, or one in the making. */
const isLock = (name: string): boolean => name.startsWith(lockName);
/** A name that says nothing about what a folder holds. */
export const isBookkeeping = (name: string): boolean =>
	isLock(name) || isTemporary(name);

// ---- single files ----

/** Replaces the file as a whole, or leaves the old one. Missing parents are made. */
export function writeAtomic(path: string, content: Uint8Array | string): void {
	const bytes = typeof content === "string" ? Buffer.from(content) : content;
	const folder = dirname(path);
	ensureFolder(folder);
	const temporary = join(folder, temporaryPrefix + randomUUID());
	try {
		writeSynced(temporary, bytes);
		files.rename(temporary, path);
	} catch (error) {
		attempt(() => files.unlink(temporary)); // the first error is the one to tell
		throw cannotWrite(path, error);
	}
	syncFolder(folder);
}

/** Appends one line. A line that an earlier kill left torn is closed first, so it spoils only itself. */
export function appendLine(path: string, text: string): void {
	ensureFolder(dirname(path));
	guarded(path, () => {
		const fd = files.open(path, "a+");
		try {
			const { size } = fstatSync(fd);
			const last = Buffer.alloc(1);
			if (size > 0) readSync(fd, last, 0, 1, size - 1);
			writeAll(
				fd,
				Buffer.from(`${size > 0 && last[0] !== 0x0a ? "\n" : ""}${text}\n`),
			);
		} finally {
			files.close(fd);
		}
	});
}

/** Appends bytes, all or, after a kill, a part of them. */
export function append(path: string, bytes: Uint8Array): void {
	ensureFolder(dirname(path));
	guarded(path, () => {
		const fd = files.open(path, "a+");
		try {
			writeAll(fd, bytes);
		} finally {
			files.close(fd);
		}
	});
}

/**
 * A file that arrives bit by bit, such as a download. It grows as `<path>.part`, which outlives the process, so that the next one
 * goes on where this one ended. `finish` gives it its name: only for who has checked what it holds.
 */
export class PartFile {
	readonly path: string;
	/** Where it grows. */
	readonly part: string;
	#fd: number;
	#bytes: number;

	/** Goes on with what is there. One writer at a time: who opens it holds the folder's lock. */
	constructor(path: string) {
		this.path = path;
		this.part = `${path}.part`;
		ensureFolder(dirname(path));
		this.#fd = guarded(this.part, () => files.open(this.part, "a+"));
		this.#bytes = fstatSync(this.#fd).size;
	}

	/** How many have arrived. */
	get bytes(): number {
		return this.#bytes;
	}

	append(bytes: Uint8Array): void {
		guarded(this.part, () => writeAll(this.#fd, bytes));
		this.#bytes += bytes.byteLength;
	}

	/** Drops what has arrived. */
	restart(): void {
		guarded(this.part, () => {
			this.close();
			files.unlink(this.part);
			this.#fd = files.open(this.part, "a+");
		});
		this.#bytes = 0;
	}

	finish(): void {
		guarded(this.path, () => {
			files.fsync(this.#fd);
			this.close();
			files.rename(this.part, this.path);
		});
		syncFolder(dirname(this.path));
	}

	/** Leaves what has arrived for the next time. */
	close(): void {
		if (this.#fd >= 0) files.close(this.#fd);
		this.#fd = -1;
	}
}

/** Makes the folder and its parents, durably. */
export function ensureFolder(dir: string): void {
	if (isFolder(dir)) return;
	const parent = dirname(resolve(dir));
	if (parent !== resolve(dir)) ensureFolder(parent);
	guarded(dir, () => {
		try {
			files.mkdir(dir);
		} catch (error) {
			if (codeOf(error) !== "EEXIST" || !isFolder(dir)) throw error; // else someone was faster
		}
	});
	syncFolder(parent);
}

/** Deletes a file or a folder with all it holds. Links are deleted, never followed; a missing path is fine. */
export function removeTree(path: string): void {
	guarded(path, () => {
		const stat = lstatSync(path, { throwIfNoEntry: false });
		if (!stat) return;
		if (!stat.isDirectory()) {
			files.unlink(path);
			return;
		}
		for (const name of readdirSync(path)) removeTree(join(path, name));
		files.rmdir(path);
	});
}

/** Deletes what earlier kills left behind, in all subfolders. Only for who holds the folder's lock: others' writes use such names too. */
export function removeTemporaries(dir: string): void {
	for (const item of readdirSync(dir, { withFileTypes: true })) {
		if (item.isDirectory()) removeTemporaries(join(dir, item.name));
		else if (isTemporary(item.name)) removeTree(join(dir, item.name));
	}
}

/** A text file; errors as `readBytes` gives them. */
export const readText = (path: string): string =>
	Buffer.from(readBytes(path)).toString("utf8");

/** SHA-256 in hex. */
export const sha256 = (bytes: Uint8Array): string =>
	createHash("sha256").update(bytes).digest("hex");

/** Hash in hex of a file of any size, read bit by bit; `head` is hashed before its bytes. */
export function hashFile(
	path: string,
	algorithm: "sha256" | "sha1" = "sha256",
	head = "",
): string {
	const hash = createHash(algorithm).update(head);
	const buffer = Buffer.alloc(1 << 20);
	try {
		const fd = openSync(path, constants.O_RDONLY);
		try {
			for (let n = 1; n > 0; ) {
				n = readSync(fd, buffer, 0, buffer.length, null);
				hash.update(buffer.subarray(0, n));
			}
		} finally {
			closeSync(fd);
		}
	} catch (error) {
		throw fail("CANNOT_READ", { path, code: codeOf(error) });
	}
	return hash.digest("hex");
}

/** A name that follows from the content: "<prefix>.<16 hex of SHA-256><ext>", such as "weights.0f3a....safetensors". */
export const hashedName = (
	prefix: string,
	bytes: Uint8Array,
	ext: string,
): string => `${prefix}.${sha256(bytes).slice(0, 16)}${ext}`;

/** JSON that depends on the content alone: keys sorted at every depth, indented by tabs, newline at the end. */
export function stableJson(value: unknown): string {
	const sorted = (v: unknown): unknown => {
		if (typeof v === "number" && !Number.isFinite(v))
			throw new Error(
				`stableJson: ${v} has no JSON form; store null with a reason`,
			);
		if (Array.isArray(v)) return v.map(sorted);
		if (v === null || typeof v !== "object") return v;
		return Object.fromEntries(
			Object.entries(v)
				.filter(([, x]) => x !== undefined)
				.sort(([a], [b]) => (a < b ? -1 : 1))
				.map(([k, x]) => [k, sorted(x)]),
		);
	};
	return `${JSON.stringify(sorted(value), null, "\t")}\n`;
}

/** Keys by which a stored object and the wanted one differ. */
export const differingKeys = (
	stored: Readonly<Record<string, unknown>>,
	wanted: object,
): string[] => {
	const now = wanted as typeof stored;
	return Object.keys({ ...stored, ...now }).filter(
		(key) => stableJson(stored[key]) !== stableJson(now[key]),
	);
};

/** Reads a whole file; one clear error if it is missing or unreadable. */
export function readBytes(path: string): Uint8Array {
	try {
		return readFileSync(path);
	} catch (error) {
		throw fail("CANNOT_READ", { path, code: codeOf(error) });
	}
}

/** A file that may be absent (null) but, if there, must be a JSON object. */
export function readJsonObject(path: string): Record<string, unknown> | null {
	if (!existsSync(path)) return null;
	const text = readText(path);
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		throw fail("DAMAGED", {
			path,
			problem: text.length === 0 ? "it is empty" : "it is not valid JSON",
		});
	}
	if (!isObject(value))
		throw fail("DAMAGED", { path, problem: "it is not a JSON object" });
	return value;
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
	typeof value === "object" && value !== null && !Array.isArray(value);

/** The relative path, if it cannot leave its folder and means the same on every system; else an error. */
export function checkPath(path: string, where: string): string {
	const safe =
		path.length <= 1024 &&
		path
			.split("/")
			.every((part) =>
				/^[A-Za-z0-9_%@=~+-][A-Za-z0-9._%@=~+-]{0,254}$/.test(part),
			);
	if (!safe) throw fail("UNSAFE_PATH", { path, where });
	return path;
}

// ---- folders of several files that change together ----

const manifestName = "manifest.json";
const manifestFormat = 1;
/** Manifests of earlier versions that are kept, one a file. */
const earlierFolder = "@versions"; // no task's folder has such a name (run.ts)
const earlierFile = (version: number) =>
	`${earlierFolder}/${String(version).padStart(8, "0")}.json`;

interface Entry {
	readonly bytes: number;
	readonly sha256: string;
}
interface Manifest {
	readonly version: number;
	readonly files: ReadonlyMap<string, Entry>;
	readonly meta: Readonly<Record<string, unknown>>;
}

export interface Commit {
	/** New files by relative path. The same path with the same bytes is kept; with other bytes it is refused. */
	readonly add?: ReadonlyMap<string, Uint8Array>;
	/** Which files of the present version stay. Default: all. */
	readonly keep?: (path: string) => boolean;
	/** Further manifest entries; replaces the present ones. Default: they stay. No dates, durations or machine paths. */
	readonly meta?: Readonly<Record<string, unknown>>;
	/** The present version stays beside the new one, and so many of those before it (`restore`). Default: it goes; those kept so far stay. */
	readonly history?: number;
}

/**
 * A folder whose files belong together: manifest.json names each with its size and SHA-256, and is renamed into place last.
 * What the manifest does not name does not exist: leftovers of a kill are ignored, and cleared by the next commit.
 * Manifests are untrusted input: no path leaves the folder, links are not followed.
 */
export class VersionedFolder {
	readonly dir: string;
	#manifest: Manifest;

	private constructor(dir: string, manifest: Manifest) {
		this.dir = dir;
		this.#manifest = manifest;
	}

	/** A folder without a manifest, or no folder, is version 0 and empty. Takes no lock: who commits holds one (lockFolder). */
	static open(dir: string): VersionedFolder {
		return new VersionedFolder(dir, readManifest(dir));
	}

	/** An earlier version that was kept, to be read. */
	at(version: number): VersionedFolder {
		const manifest = existsSync(join(this.dir, earlierFile(version)))
			? readManifest(this.dir, earlierFile(version))
			: null;
		if (manifest?.version !== version || version >= this.version)
			throw fail("VERSION_UNKNOWN", {
				dir: this.dir,
				version,
				known: this.earlier.map((kept) => kept.version),
			});
		return new VersionedFolder(this.dir, manifest);
	}

	/** Versions kept beside this one, the newest first. */
	get earlier(): readonly Pick<VersionedFolder, "version" | "meta">[] {
		return this.#earlier().manifests;
	}

	/** One that cannot be read is none, but says so: nothing may be deleted then, as it may refer to anything. */
	#earlier(): {
		readonly manifests: readonly Manifest[];
		readonly unreadable: boolean;
	} {
		const folder = join(this.dir, earlierFolder);
		if (!lstatSync(folder, { throwIfNoEntry: false })?.isDirectory())
			return { manifests: [], unreadable: false };
		const manifests: Manifest[] = [];
		let unreadable = false;
		for (const name of readdirSync(folder))
			try {
				if (/^\d{8}\.json$/.test(name))
					manifests.push(readManifest(folder, name));
			} catch (error) {
				if (!(error instanceof KeepsightError)) throw error;
				unreadable = true;
			}
		return {
			manifests: manifests
				.filter(({ version }) => version > 0 && version < this.version) // one as new as this is left from a commit that was killed
				.sort((a, b) => b.version - a.version),
			unreadable,
		};
	}

	get version(): number {
		return this.#manifest.version;
	}
	get meta(): Readonly<Record<string, unknown>> {
		return this.#manifest.meta;
	}
	/** Sorted. */
	get paths(): readonly string[] {
		return [...this.#manifest.files.keys()];
	}
	/** Size of one file, or of all whose path `select` accepts. */
	bytes(select: (path: string) => boolean = () => true): number {
		let sum = 0;
		for (const [path, entry] of this.#manifest.files)
			if (select(path)) sum += entry.bytes;
		return sum;
	}
	has(path: string): boolean {
		return this.#manifest.files.has(path);
	}

	/** The content of a file of this version, after its size and hash were checked. */
	read(path: string): Uint8Array {
		const entry = this.#manifest.files.get(path);
		const full = join(this.dir, path);
		if (!entry)
			throw fail("DAMAGED", {
				path: full,
				problem: `version ${this.version} of ${this.dir} has no such file`,
			});
		this.#refuseLinks(path);
		const stat = lstatSync(full, { throwIfNoEntry: false });
		if (!stat) {
			const now = readManifest(this.dir).version;
			if (now !== this.version)
				throw fail("FOLDER_CHANGED", {
					dir: this.dir,
					opened: this.version,
					now,
				});
			throw fail("DAMAGED", { path: full, problem: "the file is missing" });
		}
		if (!stat.isFile())
			throw fail("DAMAGED", { path: full, problem: "it is not a plain file" });
		if (stat.size !== entry.bytes)
			throw fail("DAMAGED", {
				path: full,
				problem: `${stat.size} bytes instead of ${entry.bytes}`,
			});
		const bytes = readBytes(full);
		if (sha256(bytes) !== entry.sha256)
			throw fail("DAMAGED", {
				path: full,
				problem: "its content does not match its SHA-256",
			});
		return bytes;
	}

	/** Reads and checks every file: what `doctor` and `eval` call before they trust a copied folder. */
	verify(): void {
		for (const path of this.paths) this.read(path);
	}

	/** One step from this version to the next. A commit that changes nothing writes nothing and keeps the version. */
	commit({
		add = new Map(),
		keep = () => true,
		meta = this.meta,
		history,
	}: Commit): void {
		const before = this.#manifest;
		const earlier = this.#earlier().manifests;
		const after = new Map([...before.files].filter(([path]) => keep(path)));
		const fresh: [string, Uint8Array][] = [];
		for (const [path, bytes] of add) {
			checkPath(path, this.dir);
			if (path === manifestName || path.startsWith(`${earlierFolder}/`))
				throw fail("UNSAFE_PATH", { path, where: this.dir });
			const entry: Entry = { bytes: bytes.byteLength, sha256: sha256(bytes) };
			for (const { files: kept } of [before, ...earlier]) {
				const old = kept.get(path);
				if (old && old.sha256 !== entry.sha256)
					throw fail("FILE_CHANGED_IN_PLACE", { path, dir: this.dir });
			}
			if (!before.files.has(path)) fresh.push([path, bytes]);
			after.set(path, entry);
		}
		this.#advance(after, fresh, meta, history);
	}

	/** The files and entries of an earlier version as the next one; what was newer is kept, so nothing is lost by going back. */
	restore(
		version: number,
		{ meta, history }: Pick<Commit, "meta"> & { readonly history: number },
	): void {
		const { files: kept, meta: own } = this.at(version).#manifest;
		this.#advance(new Map(kept), [], meta ?? own, history);
	}

	#advance(
		after: ReadonlyMap<string, Entry>,
		fresh: readonly (readonly [string, Uint8Array])[],
		meta: Readonly<Record<string, unknown>>,
		history: number | undefined,
	): void {
		const before = this.#manifest;
		const onDisk = readManifest(this.dir).version;
		if (onDisk !== before.version)
			throw fail("FOLDER_CHANGED", {
				dir: this.dir,
				opened: before.version,
				now: onDisk,
			});
		const next = manifestText(before.version + 1, after, meta);
		if (
			before.version > 0 &&
			next === manifestText(before.version + 1, before.files, before.meta)
		) {
			this.#prune(history);
			this.#sweep(true);
			return;
		}

		for (const [path, bytes] of fresh) {
			this.#refuseLinks(path);
			writeAtomic(join(this.dir, path), bytes);
		}
		if (history !== undefined && before.version > 0) {
			this.#refuseLinks(earlierFile(before.version));
			writeAtomic(
				join(this.dir, earlierFile(before.version)),
				manifestText(before.version, before.files, before.meta),
			);
		}
		try {
			writeAtomic(join(this.dir, manifestName), next);
		} finally {
			this.#manifest = readManifest(this.dir); // whatever happened: what the disk says is what we hold
		}
		this.#prune(history);
		this.#sweep(before.version > 0);
	}

	#prune(history: number | undefined): void {
		if (history === undefined) return;
		for (const { version } of this.earlier.slice(1 + history))
			attempt(() => files.unlink(join(this.dir, earlierFile(version))));
	}

	/** Clears what a kill left behind: files of a version that was replaced, or was not finished. For who holds the lock. */
	tidy(): void {
		if (existsSync(this.dir)) this.#sweep(this.version > 0);
	}

	/** Back to version 0: the manifest goes first, so that no version is ever half there. */
	clear(): void {
		const manifest = join(this.dir, manifestName);
		if (existsSync(manifest)) {
			guarded(manifest, () => files.unlink(manifest));
			syncFolder(this.dir);
		}
		removeTree(this.dir);
		this.#manifest = readManifest(this.dir);
	}

	/**
	 * Deletes what nothing refers to. A folder that had no manifest may hold someone's files: only our leftovers go then.
	 * A file that cannot be deleted is harmless (nothing refers to it) and the next commit tries again.
	 */
	#sweep(everything: boolean): void {
		const kept = new Set<string>([manifestName, ...this.paths]);
		const walk = (dir: string, prefix: string): void => {
			for (const item of readdirSync(dir, { withFileTypes: true })) {
				const path = prefix + item.name;
				const full = join(dir, item.name);
				if (item.isDirectory()) {
					walk(full, `${path}/`);
					if (readdirSync(full).length === 0) files.rmdir(full);
				} else if (
					isTemporary(item.name) ||
					(everything && !isLock(path) && !kept.has(path))
				) {
					files.unlink(full);
				}
			}
		};
		attempt(() => {
			const { manifests, unreadable } = this.#earlier();
			if (unreadable) return;
			for (const { version, files: own } of manifests) {
				kept.add(earlierFile(version));
				for (const path of own.keys()) kept.add(path);
			}
			walk(this.dir, "");
		});
	}

	/** No folder on the way to `path` may be a link: it could lead out of this one. */
	#refuseLinks(path: string): void {
		for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) {
			const stat = lstatSync(join(this.dir, parent), { throwIfNoEntry: false });
			if (stat && !stat.isDirectory())
				throw fail("DAMAGED", {
					path: join(this.dir, parent),
					problem: "it is a link or a file where a folder belongs",
				});
		}
	}
}

function manifestText(
	version: number,
	entries: ReadonlyMap<string, Entry>,
	meta: Readonly<Record<string, unknown>>,
): string {
	for (const key of ["format", "version", "files"])
		if (key in meta) throw new Error(`manifest: "${key}" is reserved`);
	return stableJson({
		...meta,
		format: manifestFormat,
		version,
		files: Object.fromEntries(entries),
	});
}

function readManifest(dir: string, name = manifestName): Manifest {
	const path = join(dir, name);
	const json = readJsonObject(path);
	if (!json) return { version: 0, files: new Map(), meta: {} };
	const { format, version, files: listed, ...meta } = json;
	if (format !== manifestFormat)
		throw fail("FORMAT_VERSION", {
			path,
			found: format,
			known: manifestFormat,
		});
	if (!isCount(version) || version === 0)
		throw fail("DAMAGED", {
			path,
			problem: "its version is not a positive whole number",
		});
	if (!isObject(listed))
		throw fail("DAMAGED", { path, problem: "it lists no files" });
	const entries = new Map<string, Entry>();
	for (const [name, entry] of Object.entries(listed).sort(([a], [b]) =>
		a < b ? -1 : 1,
	)) {
		checkPath(name, path);
		if (
			!isObject(entry) ||
			!isCount(entry.bytes) ||
			typeof entry.sha256 !== "string" ||
			!/^[0-9a-f]{64}$/.test(entry.sha256)
		) {
			throw fail("DAMAGED", {
				path,
				problem: `the entry of ${name} lacks a size or a SHA-256`,
			});
		}
		entries.set(name, { bytes: entry.bytes, sha256: entry.sha256 });
	}
	return { version, files: entries, meta };
}

const isCount = (n: unknown): n is number =>
	typeof n === "number" && Number.isSafeInteger(n) && n >= 0;

// ---- locks ----

export interface Lock {
	/** Throws if another process took the lock over; called before what must not be written twice. */
	check(): void;
	/** Gives the folder back, if it is still ours. */
	release(): void;
}

interface Owner {
	readonly host: string;
	readonly pid: number;
	/** Boot and start time of the process, so that a reused pid is told apart; null where the system does not say. */
	readonly started: string | null;
	readonly token: string;
}

/**
 * One writer a folder. The lock is linked into place with its content, so that it always names its owner.
 * It is taken over only from a provably dead one: same host, and that pid gone or started at another time.
 */
export function lockFolder(dir: string): Lock {
	ensureFolder(dir);
	const path = join(dir, lockName);
	const mine: Owner = {
		host: hostname(),
		pid: process.pid,
		started: startOf(process.pid),
		token: randomUUID(),
	};
	for (let tries = 0; !linkLock(path, mine); tries++) {
		const text = readLock(path);
		if (text === null) continue; // released just now
		const owner = parseOwner(text);
		if (tries >= 5 || !owner || !isDead(owner))
			throw fail("LOCKED", { dir, owner: describe(owner), lock: path });
		takeAway(path, text);
	}
	const ours = () => parseOwner(readLock(path) ?? "")?.token === mine.token;
	return {
		check() {
			if (!ours())
				throw fail("LOCK_LOST", {
					dir,
					owner: describe(parseOwner(readLock(path) ?? "")),
				});
		},
		release() {
			if (ours()) guarded(path, () => files.unlink(path));
		},
	};
}

/** False if a lock is there already. */
function linkLock(path: string, owner: Owner): boolean {
	const text = Buffer.from(`${JSON.stringify(owner)}\n`);
	const temporary = join(dirname(path), `${lockName}-${randomUUID()}`); // not a temporary that an owner's sweep may delete
	try {
		writeSynced(temporary, text);
		try {
			files.link(temporary, path);
		} catch (error) {
			if (codeOf(error) === "EEXIST") return false;
			if (!["EPERM", "ENOTSUP", "ENOSYS", "EOPNOTSUPP"].includes(codeOf(error)))
				throw error;
			return createLock(path, text); // a file system without hard links
		}
		return true;
	} catch (error) {
		throw cannotWrite(path, error);
	} finally {
		attempt(() => files.unlink(temporary));
	}
}

function createLock(path: string, text: Uint8Array): boolean {
	try {
		writeSynced(path, text);
		return true;
	} catch (error) {
		if (codeOf(error) === "EEXIST") return false;
		throw error;
	}
}

/** Moves a dead owner's lock aside. If a third process replaced it meanwhile, that one gets it back. */
function takeAway(path: string, expected: string): void {
	const aside = join(dirname(path), `${lockName}-${randomUUID()}`);
	guarded(path, () => {
		try {
			files.rename(path, aside);
		} catch (error) {
			if (codeOf(error) === "ENOENT") return; // someone else took it away
			throw error;
		}
		if (readLock(aside) !== expected) attempt(() => files.link(aside, path));
		files.unlink(aside);
	});
}

function readLock(path: string): string | null {
	try {
		return readFileSync(path, "utf8");
	} catch (error) {
		if (codeOf(error) === "ENOENT") return null;
		throw fail("CANNOT_READ", { path, code: codeOf(error) });
	}
}

function parseOwner(text: string): Owner | null {
	try {
		const o: unknown = JSON.parse(text);
		if (
			!isObject(o) ||
			typeof o.host !== "string" ||
			!isCount(o.pid) ||
			o.pid === 0 ||
			typeof o.token !== "string"
		)
			return null;
		return {
			host: o.host,
			pid: o.pid,
			started: typeof o.started === "string" ? o.started : null,
			token: o.token,
		};
	} catch {
		return null;
	}
}

const describe = (owner: Owner | null): string =>
	owner
		? `process ${owner.pid} on ${JSON.stringify(owner.host)}`
		: "an unknown process";

/** Whether a process of this number exists on this machine. */
export function isAlive(pid: number): boolean {
	try {
		process.kill(pid, 0); // asks only whether it exists
		return true;
	} catch (error) {
		return codeOf(error) !== "ESRCH";
	}
}

function isDead(owner: Owner): boolean {
	if (owner.host !== hostname()) return false;
	if (!isAlive(owner.pid)) return true;
	const started = startOf(owner.pid);
	return (
		started === "exited" ||
		(started !== null && owner.started !== null && started !== owner.started)
	);
}

/** "<boot id>:<clock ticks since boot>" of a process; "exited" if only its parent's waiting for it keeps its number. */
function startOf(pid: number): string | null {
	try {
		const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
		const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // the name before it may hold spaces; state is field 3, start time field 22
		if (fields[0] === "Z" || fields[0] === "X") return "exited";
		return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}:${fields[19]}`;
	} catch {
		return null;
	}
}

// ---- below everything ----

/** A new file with all its bytes on the disk. */
function writeSynced(path: string, bytes: Uint8Array): void {
	const fd = files.open(path, "wx");
	try {
		writeAll(fd, bytes);
		files.fsync(fd);
	} finally {
		files.close(fd);
	}
}

function writeAll(fd: number, bytes: Uint8Array): void {
	for (let done = 0; done < bytes.byteLength; )
		done += files.write(fd, bytes.subarray(done));
}

/** Makes renames and new names in a folder durable. Some systems cannot open or sync folders; they order such changes themselves. */
function syncFolder(dir: string): void {
	guarded(dir, () => {
		let fd: number | undefined;
		try {
			fd = files.open(dir, constants.O_RDONLY);
			files.fsync(fd);
		} catch (error) {
			if (
				!["EINVAL", "ENOTSUP", "EISDIR"].includes(codeOf(error)) &&
				process.platform !== "win32"
			)
				throw error;
		} finally {
			if (fd !== undefined) files.close(fd);
		}
	});
}

/** A folder, or a link to one. */
const isFolder = (path: string): boolean =>
	statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

const codeOf = (error: unknown): string =>
	error instanceof Error && "code" in error && typeof error.code === "string"
		? error.code
		: "an unknown error";

/** System errors become errors of ours; anything else (a bug, a test's kill) passes. */
function cannotWrite(path: string, error: unknown): unknown {
	if (
		error instanceof KeepsightError ||
		!(error instanceof Error && "syscall" in error)
	)
		return error;
	return fail("CANNOT_WRITE", { path, code: codeOf(error) });
}

function guarded<T>(path: string, action: () => T): T {
	try {
		return action();
	} catch (error) {
		throw cannotWrite(path, error);
	}
}

/** For clearing up after an error: the first error is the one to tell. */
function attempt(action: () => void): void {
	try {
		action();
	} catch {}
}
