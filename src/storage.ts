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
	accessSync,
	closeSync,
	constants,
	existsSync,
	fstatSync,
	fsyncSync,
	futimesSync,
	linkSync,
	lstatSync,
	mkdirSync,
	openSync,
	readdirSync,
	readFileSync,
	readlinkSync,
	readSync,
	renameSync,
	rmdirSync,
	statSync,
	unlinkSync,
	writeSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Worker } from "node:worker_threads";
import { fail, KeepsightError } from "./errors.ts";

/** Every call that changes the disk. Tests replace its members to fail or kill the n-th call; nobody else does. */
export const files = {
	open: (path: string, flags: number | "wx" | "a+" | "r"): number =>
		openSync(path, flags),
	write: (fd: number, bytes: Uint8Array): number => writeSync(fd, bytes), // may write less than asked
	fsync: (fd: number): void => fsyncSync(fd),
	touch: (fd: number): void => futimesSync(fd, new Date(), new Date()),
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
/** What an NFS client leaves of a file that was deleted while it was open: it goes once that is closed, and cannot be deleted before. */
const isGhost = (name: string): boolean => name.startsWith(".nfs");
/** A name that says nothing about what a folder holds. */
export const isBookkeeping = (name: string): boolean =>
	isLock(name) || isTemporary(name) || isGhost(name);

// ---- single files ----

/** Throws where this process may no longer write: a lock's `check`. */
export type Guard = () => void;

/** Replaces the file as a whole, or leaves the old one. Missing parents are made. `guard` is asked before anything, and last before the new one gets its name. */
export function writeAtomic(
	path: string,
	content: Uint8Array | string,
	guard?: Guard,
): void {
	guard?.();
	const bytes = typeof content === "string" ? Buffer.from(content) : content;
	const folder = dirname(path);
	ensureFolder(folder);
	const temporary = join(folder, temporaryPrefix + randomUUID());
	try {
		files.close(writeSynced(temporary, bytes));
		guard?.();
		files.rename(temporary, path);
	} catch (error) {
		attempt(() => files.unlink(temporary)); // the first error is the one to tell
		guard?.(); // but who took the folder over has deleted the temporary file
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

/** Refuses a file that could not be written, before the long work whose result it is for. Makes its folder. */
export function checkWritable(path: string): void {
	const dir = dirname(resolve(path));
	ensureFolder(dir);
	guarded(path, () => accessSync(dir, constants.W_OK));
	if (isFolder(path)) throw fail("CANNOT_WRITE", { path, code: "EISDIR" });
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

/** Deletes a file or a folder with all it holds. Links are deleted, never followed; a missing path is fine. `guard` is asked before each. */
export function removeTree(path: string, guard?: Guard): void {
	guarded(path, () => {
		const stat = lstatSync(path, { throwIfNoEntry: false });
		if (!stat) return;
		if (!stat.isDirectory()) {
			guard?.();
			files.unlink(path);
			return;
		}
		for (const name of readdirSync(path)) removeTree(join(path, name), guard);
		guard?.();
		files.rmdir(path);
	});
}

/**
 * Deletes what earlier kills left behind, also in the subfolders that `enters` accepts. Only for who holds the folder's lock, where nobody
 * else writes: others' writes use such names too. Of an owner that was taken for dead it takes what was to be renamed next; whatever it
 * writes later, its guard refuses.
 */
export function removeTemporaries(
	dir: string,
	guard?: Guard,
	enters: (folder: string) => boolean = () => true,
): void {
	for (const item of readdirSync(dir, { withFileTypes: true })) {
		const path = join(dir, item.name);
		if (!item.isDirectory()) {
			if (isTemporary(item.name)) removeTree(path, guard);
		} else if (enters(path)) removeTemporaries(path, guard, enters);
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

/** A file that may be absent (null) but, if there, must be a JSON object. `remedy`: what to do where it is damaged and there is no copy. */
export function readJsonObject(
	path: string,
	remedy?: string,
): Record<string, unknown> | null {
	if (!existsSync(path)) return null;
	const text = readText(path);
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		throw fail("DAMAGED", {
			path,
			problem: text.length === 0 ? "it is empty" : "it is not valid JSON",
			remedy,
		});
	}
	if (!isObject(value))
		throw fail("DAMAGED", { path, problem: "it is not a JSON object", remedy });
	const problem = treeProblem(value);
	if (problem !== null) throw fail("DAMAGED", { path, problem, remedy });
	return value;
}

/** Levels of anything that is read; all of ours are below 20. */
export const DEEPEST = 100;

/**
 * What parsers of JSON and YAML let pass and whoever walks the value would stumble over; null: nothing. JSON's 1e999 is infinite, and could not
 * be written again. `anyNumber`: those are for others to judge.
 */
export function treeProblem(
	value: unknown,
	anyNumber = false,
	depth = 0,
): string | null {
	if (typeof value === "number")
		return anyNumber || Number.isFinite(value)
			? null
			: "it holds a number that is too large";
	if (typeof value !== "object" || value === null) return null;
	if (depth === DEEPEST) return `it is nested more than ${DEEPEST} levels deep`;
	for (const item of Object.values(value)) {
		const problem = treeProblem(item, anyNumber, depth + 1);
		if (problem !== null) return problem;
	}
	return null;
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

// ---- formats ----

/** What lifts a file of one format version to the next; tests add an older one. */
type Lift = (json: Record<string, unknown>) => Record<string, unknown>;

/** The present format version of each kind of stored file, and how files of earlier versions (the key) become files of the next. */
export const formats = {
	run: { present: 1, lifts: {} as Record<number, Lift> },
	metrics: { present: 1, lifts: {} as Record<number, Lift> },
	manifest: { present: 1, lifts: {} as Record<number, Lift> },
};

/** A stored object in the present format, lifted step by step if it is older. What is newer, or says no version, is refused. */
export function inPresentFormat(
	kind: keyof typeof formats,
	path: string,
	json: Record<string, unknown>,
): Record<string, unknown> {
	const { present, lifts } = formats[kind];
	const found = json.format;
	let lifted = json;
	for (let version = found; version !== present; version++) {
		const lift = typeof version === "number" ? lifts[version] : undefined;
		if (typeof version !== "number" || !lift)
			throw fail("FORMAT_VERSION", { path, found, known: present });
		lifted = { ...lift(lifted), format: version + 1 };
	}
	return lifted;
}

// ---- folders of several files that change together ----

const manifestName = "manifest.json";
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
	readonly #guard: Guard;
	readonly #remedy: string | undefined;

	private constructor(
		dir: string,
		manifest: Manifest,
		guard: Guard,
		remedy: string | undefined,
	) {
		this.dir = dir;
		this.#manifest = manifest;
		this.#guard = guard;
		this.#remedy = remedy;
	}

	/**
	 * A folder without a manifest, or no folder, is version 0 and empty. Takes no lock: who commits holds one (lockFolder), whose check is
	 * the `guard` of every change. `remedy`: what to do where it is damaged and there is no copy; without it, to learn again.
	 */
	static open(
		dir: string,
		guard: Guard = () => undefined,
		remedy?: string,
	): VersionedFolder {
		if (existsSync(dir) && !isFolder(dir))
			throw fail("DAMAGED", { path: dir, problem: "it is no folder", remedy });
		return new VersionedFolder(
			dir,
			readManifest(dir, manifestName, remedy),
			guard,
			remedy,
		);
	}

	/** An earlier version that was kept, to be read. */
	at(version: number): VersionedFolder {
		const manifest = existsSync(join(this.dir, earlierFile(version)))
			? this.#readManifest(earlierFile(version))
			: null;
		if (manifest?.version !== version || version >= this.version)
			throw fail("VERSION_UNKNOWN", {
				dir: this.dir,
				version,
				known: this.earlier.map((kept) => kept.version),
			});
		return new VersionedFolder(this.dir, manifest, this.#guard, this.#remedy);
	}

	#readManifest(name = manifestName): Manifest {
		return readManifest(this.dir, name, this.#remedy);
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
		const damaged = (problem: string) =>
			fail("DAMAGED", {
				path: full,
				problem,
				earlier: this.#earlier().manifests.find((kept) => !kept.files.has(path))
					?.version,
				remedy: this.#remedy,
			});
		if (!entry)
			throw damaged(`version ${this.version} of ${this.dir} has no such file`);
		this.#refuseLinks(path);
		const stat = lstatSync(full, { throwIfNoEntry: false });
		if (!stat) {
			const now = this.#readManifest().version;
			if (now !== this.version)
				throw fail("FOLDER_CHANGED", {
					dir: this.dir,
					opened: this.version,
					now,
				});
			throw damaged("the file is missing");
		}
		if (!stat.isFile()) throw damaged("it is not a plain file");
		if (stat.size !== entry.bytes)
			throw damaged(`${stat.size} bytes instead of ${entry.bytes}`);
		const bytes = readBytes(full);
		if (sha256(bytes) !== entry.sha256)
			throw damaged("its content does not match its SHA-256");
		return bytes;
	}

	/** SHA-256 over the hashes of all files and the further entries. */
	digest(): string {
		const { files: entries, meta } = this.#manifest;
		return sha256(
			Buffer.from(stableJson({ files: Object.fromEntries(entries), meta })),
		);
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
		this.#guard();
		const before = this.#manifest;
		const onDisk = this.#readManifest().version;
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
			writeAtomic(join(this.dir, path), bytes, this.#guard);
		}
		if (history !== undefined && before.version > 0) {
			this.#refuseLinks(earlierFile(before.version));
			writeAtomic(
				join(this.dir, earlierFile(before.version)),
				manifestText(before.version, before.files, before.meta),
				this.#guard,
			);
		}
		try {
			writeAtomic(join(this.dir, manifestName), next, this.#guard);
		} finally {
			this.#manifest = this.#readManifest(); // whatever happened: what the disk says is what we hold
		}
		this.#prune(history);
		this.#sweep(before.version > 0);
	}

	#prune(history: number | undefined): void {
		if (history === undefined) return;
		for (const { version } of this.earlier.slice(1 + history))
			attempt(() => {
				this.#guard();
				files.unlink(join(this.dir, earlierFile(version)));
			});
	}

	/** Clears what a kill left behind: files of a version that was replaced, or was not finished. For who holds the lock. */
	tidy(): void {
		if (existsSync(this.dir)) this.#sweep(this.version > 0);
	}

	/** Back to version 0: the manifest goes first, so that no version is ever half there. */
	clear(): void {
		const manifest = join(this.dir, manifestName);
		if (existsSync(manifest)) {
			guarded(manifest, () => {
				this.#guard();
				files.unlink(manifest);
			});
			syncFolder(this.dir);
		}
		removeTree(this.dir, this.#guard);
		this.#manifest = this.#readManifest();
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
					(everything &&
						!isLock(path) &&
						!isGhost(item.name) &&
						!kept.has(path))
				) {
					this.#guard();
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
					remedy: this.#remedy,
				});
		}
	}
}

function manifestText(
	version: number,
	entries: ReadonlyMap<string, Entry>,
	meta: Readonly<Record<string, unknown>>,
): string {
	for (const key of ["format", "version", "files", "sha256"])
		if (key in meta) throw new Error(`manifest: "${key}" is reserved`);
	const content = {
		...meta,
		format: formats.manifest.present,
		version,
		files: Object.fromEntries(entries),
	};
	return stableJson({ ...content, sha256: ownHash(content) });
}

/** What a manifest says of itself: a flipped bit of a number in it would otherwise go unseen. */
const ownHash = (content: object): string =>
	sha256(Buffer.from(stableJson(content)));

function readManifest(dir: string, name: string, remedy?: string): Manifest {
	const path = join(dir, name);
	const damaged = (problem: string) =>
		fail("DAMAGED", { path, problem, remedy });
	const json = readJsonObject(path, remedy);
	if (!json) return { version: 0, files: new Map(), meta: {} };
	const { sha256: stated, ...content } = json;
	if (stated !== undefined && stated !== ownHash(content))
		throw damaged("its content does not match its SHA-256");
	const {
		format: _,
		version,
		files: listed,
		...meta
	} = inPresentFormat("manifest", path, content);
	if (!isCount(version) || version === 0)
		throw damaged("its version is not a positive whole number");
	if (!isObject(listed)) throw damaged("it lists no files");
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
			throw damaged(`the entry of ${name} lacks a size or a SHA-256`);
		}
		entries.set(name, { bytes: entry.bytes, sha256: entry.sha256 });
	}
	return { version, files: entries, meta };
}

/** A whole number from 0 to 2^53 - 1. */
export const isCount = (n: unknown): n is number =>
	typeof n === "number" &&
	Number.isSafeInteger(n) &&
	n >= 0 &&
	!Object.is(n, -0);

// ---- locks ----

export interface Lock {
	/** Throws if another process took the lock over: the `guard` of every write. */
	check(): void;
	/** Gives the folder back, if it is still ours. */
	release(): void;
}

export interface LockOptions {
	/** Is told before it waits to see whether an owner lives that cannot be asked after. Without it nobody waits: the folder is in use. */
	readonly onWait?: ((text: string) => void) | undefined;
	/** ms without a sign of life after which another may take our lock. Default 30 s. */
	readonly lease?: number;
	/** ms from one sign of life to the next. Default 5 s. */
	readonly beat?: number;
}

interface Owner {
	readonly host: string;
	/** Where `pid` means something (`systemOf`); null where the system does not say. */
	readonly system: string | null;
	readonly pid: number;
	/** Boot and start time of the process, so that a reused pid is told apart; null where the system does not say. */
	readonly started: string | null;
	readonly token: string;
	/** As in LockOptions; null: it gives no signs of life. */
	readonly lease: number | null;
}

/** What the thread of storage.worker.ts starts with. */
export interface Heart {
	/** The lock, open. */
	readonly fd: number;
	readonly beat: number;
	/** 0: the thread rests; 1: it touches the lock; 2: the lock was released and `fd` is closed, or another's by now. */
	readonly state: Int32Array<SharedArrayBuffer>;
}

/** Sources run as they are (tests) have no thread to show that they live. */
const heartFile = import.meta.url.endsWith(".ts")
	? null
	: new URL("./storage.worker.js", import.meta.url);
/** How often the lock of a silent owner is looked at before it counts as given up. */
const LOOKS = 15;
const LONGEST_LEASE = 3_600_000;

/**
 * One writer a folder. The lock is linked into place with its content, so that it always names its owner. It is taken over at once from
 * a provably dead one (its process number is gone from this very system), and from one that cannot be asked after (another machine,
 * or stopped) when it has given no sign of life for its lease. A lock that promises no signs of life is never taken that way.
 * Time is counted by waiting, so no clock that jumps matters.
 */
export function lockFolder(
	dir: string,
	{ onWait, lease = 30_000, beat = 5_000 }: LockOptions = {},
): Lock {
	ensureFolder(dir);
	const path = join(dir, lockName);
	const mine: Owner = {
		host: hostname(),
		system: systemOf(),
		pid: process.pid,
		started: startOf(process.pid),
		token: randomUUID(),
		lease: heartFile && lease,
	};
	const ours = () => isOf(path, mine);
	let stop: () => void;
	try {
		for (let tries = 0; !linkLock(path, mine); tries++) {
			const seen = readLock(path);
			if (seen === null) continue; // released just now
			if (tries >= 5 || !isGone(path, seen, onWait))
				throw fail("LOCKED", { dir, owner: ownerNow(path), lock: path });
			takeAway(path, seen);
		}
		stop = startHeart(path, mine, beat);
	} catch (error) {
		attempt(() => {
			if (ours()) files.unlink(path);
		});
		throw error;
	}
	return {
		check() {
			if (!ours()) throw fail("LOCK_LOST", { dir, owner: ownerNow(path) });
		},
		release() {
			stop();
			if (ours()) guarded(path, () => files.unlink(path));
		},
	};
}

/** Whether the lock there is this owner's. */
const isOf = (path: string, { token }: Owner): boolean =>
	parseOwner(readLock(path)?.text)?.token === token;

/** Returns what ends it and closes the lock: on NFS a file that is deleted while it is open leaves another. */
function startHeart(path: string, owner: Owner, beat: number): () => void {
	if (!heartFile) return () => undefined;
	const dir = dirname(path);
	const fd = guarded(path, () => openSync(path, constants.O_RDWR));
	const state = new Int32Array(new SharedArrayBuffer(4));
	try {
		if (parseOwner(readFileSync(fd, "utf8"))?.token !== owner.token)
			throw fail("LOCK_LOST", { dir, owner: ownerNow(path) });
		const thread = new Worker(heartFile, {
			workerData: { fd, beat, state } satisfies Heart,
			execArgv: [],
			trackUnmanagedFds: false, // the descriptor is the main thread's
		});
		thread.on("error", () => undefined); // without it the lock may be taken over, which every write asks after
		thread.unref();
	} catch (error) {
		closeSync(fd);
		if (error instanceof KeepsightError) throw error;
		throw fail("LOCK_THREAD", { dir, code: codeOf(error) });
	}
	let stopped = false;
	return () => {
		if (stopped) return;
		stopped = true;
		while (Atomics.compareExchange(state, 0, 0, 2) === 1)
			Atomics.wait(state, 0, 1); // for the end of a touch
		Atomics.notify(state, 0);
		closeSync(fd);
	};
}

/** Whether the lock is ours now; else one is there already. */
function linkLock(path: string, owner: Owner): boolean {
	const temporary = join(dirname(path), `${lockName}-${randomUUID()}`); // not a temporary that an owner's sweep may delete
	try {
		writeLock(temporary, owner);
		files.link(temporary, path);
		return true;
	} catch (error) {
		if (codeOf(error) === "EEXIST") return isOf(path, owner); // a network file system that lost the reply asks twice
		if (["EPERM", "ENOTSUP", "ENOSYS", "EOPNOTSUPP"].includes(codeOf(error)))
			return createLock(path, owner); // a file system without hard links
		throw cannotWrite(path, error);
	} finally {
		attempt(() => files.unlink(temporary));
	}
}

function createLock(path: string, owner: Owner): boolean {
	try {
		writeLock(path, owner);
		return true;
	} catch (error) {
		if (codeOf(error) === "EEXIST") return false;
		throw cannotWrite(path, error);
	}
}

/** A new lock file. Where the file system lets nobody touch it, it promises no signs of life. */
function writeLock(path: string, owner: Owner): void {
	const content = (fd: number) => {
		let { lease } = owner;
		try {
			files.touch(fd);
		} catch {
			lease = null;
		}
		return Buffer.from(`${JSON.stringify({ ...owner, lease })}\n`);
	};
	files.close(writeSynced(path, content));
}

/** Moves a dead owner's lock aside. If a third process replaced it meanwhile, or its owner lives after all, it goes back. */
function takeAway(path: string, expected: Seen): void {
	const aside = join(dirname(path), `${lockName}-${randomUUID()}`);
	guarded(path, () => {
		try {
			files.rename(path, aside);
		} catch (error) {
			if (codeOf(error) === "ENOENT") return; // someone else took it away
			throw error;
		}
		if (!isSame(readLock(aside), expected))
			attempt(() => files.link(aside, path));
		files.unlink(aside);
	});
}

/** A lock as it was found. */
interface Seen {
	readonly text: string;
	/** Time of the owner's last sign of life, by the clock of whoever keeps the file: only ever compared with itself. */
	readonly touched: number;
}

const isSame = (now: Seen | null, then: Seen): boolean =>
	now?.text === then.text && now.touched === then.touched;

/** Opens the file every time: so a network file system asks its server, and does not answer from what it remembers. */
function readLock(path: string): Seen | null {
	try {
		const fd = openSync(path, constants.O_RDONLY);
		try {
			return {
				text: readFileSync(fd, "utf8"),
				touched: fstatSync(fd).mtimeMs,
			};
		} finally {
			closeSync(fd);
		}
	} catch (error) {
		if (["ENOENT", "ESTALE"].includes(codeOf(error))) return null; // gone; so a network file system says it of what it still knew
		throw fail("CANNOT_READ", { path, code: codeOf(error) });
	}
}

function parseOwner(text = ""): Owner | null {
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
		const known = isCount(o.lease) && o.lease > 0 && o.lease <= LONGEST_LEASE;
		return {
			host: o.host,
			system: typeof o.system === "string" ? o.system : null,
			pid: o.pid,
			started: typeof o.started === "string" ? o.started : null,
			token: o.token,
			lease: known ? (o.lease as number) : null,
		};
	} catch {
		return null;
	}
}

const describe = (owner: Owner | null): string =>
	owner
		? `process ${owner.pid} on ${JSON.stringify(owner.host)}`
		: "an unknown process";

const ownerNow = (path: string): string =>
	describe(parseOwner(readLock(path)?.text));

/** Whether a lock's owner has ended, or has shown no sign of life for its lease. */
function isGone(
	path: string,
	seen: Seen,
	onWait: LockOptions["onWait"],
): boolean {
	const owner = parseOwner(seen.text);
	if (!owner) return false;
	const state = stateOf(owner);
	if (state !== "unknown") return state === "dead";
	if (owner.lease === null || !onWait) return false;
	onWait(
		`${path} belongs to ${describe(owner)}, which cannot be asked from here. Waiting up to ${Math.ceil(owner.lease / 1000)} s for a sign of life.`,
	);
	const clock = new Int32Array(new SharedArrayBuffer(4));
	for (let look = 0; look < LOOKS; look++) {
		Atomics.wait(clock, 0, 0, owner.lease / LOOKS);
		const now = readLock(path);
		if (now === null) return true; // released
		if (!isSame(now, seen)) return false;
	}
	return true;
}

/** Whether a process of this number exists on this machine. */
export function isAlive(pid: number): boolean {
	try {
		process.kill(pid, 0); // asks only whether it exists
		return true;
	} catch (error) {
		return codeOf(error) !== "ESRCH";
	}
}

/** "unknown": it runs elsewhere, or is stopped (SIGSTOP) and may go on or not. */
function stateOf(owner: Owner): "dead" | "running" | "unknown" {
	if (owner.host !== hostname()) return "unknown";
	const here = systemOf();
	if (owner.system !== null && owner.system !== here) {
		const [machine, boot] = owner.system.split(" ");
		const [ourMachine, ourBoot] = here?.split(" ") ?? [];
		const rebooted =
			machine !== "" && machine === ourMachine && boot !== ourBoot;
		return rebooted ? "dead" : "unknown";
	}
	if (!isAlive(owner.pid)) return "dead";
	const started = startOf(owner.pid);
	if (
		started === "exited" ||
		(started !== null && owner.started !== null && started !== owner.started)
	)
		return "dead";
	return /^[Tt]$/.test(statOf(owner.pid)?.[0] ?? "") ? "unknown" : "running";
}

/** "<machine> <boot> <namespace of processes>": where a process number means one process. A container has a namespace of its own. */
function systemOf(): string | null {
	try {
		const id = existsSync("/etc/machine-id") ? read("/etc/machine-id") : "";
		const machine = /^[0-9a-f]{32}$/.test(id) // of an image that was never started it is empty or "uninitialized": on many machines
			? sha256(Buffer.from(`keepsight ${id}`)) // the number itself is to be told to nobody
			: "";
		return [
			machine.slice(0, 16),
			read("/proc/sys/kernel/random/boot_id"),
			readlinkSync("/proc/self/ns/pid"),
		].join(" ");
	} catch {
		return null;
	}
}

/** "<boot id>:<clock ticks since boot>" of a process; "exited" if only its parent's waiting for it keeps its number. */
function startOf(pid: number): string | null {
	const fields = statOf(pid);
	if (!fields) return null;
	if (fields[0] === "Z" || fields[0] === "X") return "exited";
	return `${read("/proc/sys/kernel/random/boot_id")}:${fields[19]}`;
}

/** What the system says of a process, from its state on (field 3; the start time is field 22); null where it does not say. */
function statOf(pid: number): readonly string[] | null {
	try {
		const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
		return stat.slice(stat.lastIndexOf(")") + 2).split(" "); // the name before it may hold spaces
	} catch {
		return null;
	}
}

const read = (path: string): string => readFileSync(path, "utf8").trim();

// ---- below everything ----

/** A new file with all its bytes on the disk, still open; where that fails, there is none. */
function writeSynced(
	path: string,
	bytes: Uint8Array | ((fd: number) => Uint8Array),
): number {
	const fd = files.open(path, "wx");
	try {
		writeAll(fd, typeof bytes === "function" ? bytes(fd) : bytes);
		files.fsync(fd);
		return fd;
	} catch (error) {
		attempt(() => files.close(fd));
		attempt(() => files.unlink(path));
		throw error;
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

/** A folder, or a link to one. What lies in a file is none. */
export const isFolder = (path: string): boolean =>
	existsSync(path) &&
	(statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false);

/** "ENOSPC" and the like. */
export const codeOf = (error: unknown): string =>
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
