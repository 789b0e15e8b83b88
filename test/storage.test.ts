/** Storage under faults: every filesystem call fails once, and is once the last before a kill or a power cut. */
import { execFileSync, spawn } from "node:child_process";
import {
	closeSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	openSync,
	readdirSync,
	readFileSync,
	rmSync,
	symlinkSync,
	truncateSync,
	utimesSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
	afterEach,
	beforeEach,
	describe,
	expect,
	it,
	onTestFinished,
	vi,
} from "vitest";
import { KeepsightError } from "../src/errors.ts";
import {
	appendLine,
	ensureFolder,
	files,
	formats,
	hashedName,
	isBookkeeping,
	lockFolder,
	PartFile,
	removeTemporaries,
	removeTree,
	sha256,
	stableJson,
	VersionedFolder,
	writeAtomic,
} from "../src/storage.ts";

const real = { ...files };
let dir: string;
beforeEach(() => {
	dir = mkdtempSync(join(tmpdir(), "keepsight-storage-"));
});
afterEach(() => {
	Object.assign(files, real);
	rmSync(dir, { recursive: true, force: true });
});

const systemError = (code: string) =>
	Object.assign(new Error(code), { code, syscall: "test" });
const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const text = (b: Uint8Array) => Buffer.from(b).toString();
const add = (entries: Record<string, string>) =>
	new Map(Object.entries(entries).map(([k, v]) => [k, bytes(v)]));
const leftovers = (at: string) =>
	readdirSync(at, { recursive: true })
		.map(String)
		.filter((n) => n.includes(".tmp-") || n.includes(".lock"));

type Fault = "error" | "short" | "kill" | "power" | `E${string}`;
/**
 * Makes the n-th call (from 1) fail. "error": that call alone, as EIO; a code: that call alone, as that. "short": it writes half, then ENOSPC for good.
 * "kill": it and every later call do nothing. "power": a kill, and what was not synced is lost in the worst order: files
 * lose their unsynced content, folders other than `dir` their unsynced new names, while renames in `dir` survive.
 * Returns whether the fault came.
 */
function inject(
	n: number,
	fault: Fault,
): { readonly hit: () => boolean; readonly lose: () => void } {
	let calls = 0;
	let dead = false;
	const opened = new Map<number, string>();
	const unsyncedContent = new Set<string>();
	const unsyncedNames = new Map<string, Map<string, Uint8Array | null>>(); // by folder: what each name was before; null: absent
	for (const [name, call] of Object.entries(real) as [
		keyof typeof files,
		(...args: never[]) => unknown,
	][]) {
		(files as Record<string, unknown>)[name] = (...args: unknown[]) => {
			if (dead)
				throw fault === "short" && name !== "write"
					? passThrough(call, args)
					: systemError("KILLED");
			if (++calls === n) {
				if (fault === "error") throw systemError("EIO");
				if (fault.startsWith("E")) throw systemError(fault);
				dead = true;
				if (fault === "short" && name === "write")
					real.write(
						args[0] as number,
						(args[1] as Uint8Array).subarray(
							0,
							(args[1] as Uint8Array).length >> 1,
						),
					);
				throw systemError(fault === "short" ? "ENOSPC" : "KILLED");
			}
			const path = String(args[0]);
			const to = name === "rename" ? String(args[1]) : path;
			const earlier =
				name === "rename" && existsSync(to) ? readFileSync(to) : null;
			const result = call(...(args as never[]));
			if (name === "open") {
				opened.set(result as number, path);
				if (args[1] === "wx") unsyncedContent.add(path);
			} else if (name === "fsync") {
				const synced = opened.get(args[0] as number) as string;
				unsyncedContent.delete(synced);
				unsyncedNames.delete(synced);
			} else if (name === "rename" || name === "mkdir") {
				if (unsyncedContent.delete(path)) unsyncedContent.add(to);
				const parent = dirname(to);
				unsyncedNames.set(
					parent,
					(unsyncedNames.get(parent) ?? new Map()).set(to, earlier),
				);
			}
			return result;
		};
	}
	return {
		hit: () => calls >= n,
		lose() {
			if (fault !== "power") return;
			for (const path of unsyncedContent)
				if (existsSync(path)) truncateSync(path, 0);
			for (const [parent, earlier] of unsyncedNames) {
				if (parent === join(dir, "memory")) continue;
				for (const [path, content] of earlier) {
					rmSync(path, { recursive: true, force: true });
					if (content) writeFileSync(path, content);
				}
			}
		},
	};
}
function passThrough(
	call: (...args: never[]) => unknown,
	args: unknown[],
): Error {
	call(...(args as never[]));
	return systemError("ENOSPC");
}

/** Runs `action` with the fault at every call in turn, on a fresh folder each time, until it gets through untouched. */
function forEveryCall(
	fault: Fault,
	prepare: () => void,
	action: () => void,
	check: (failed: unknown, n: number) => void,
): number {
	for (let n = 1; ; n++) {
		rmSync(dir, { recursive: true, force: true });
		mkdirSync(dir);
		prepare();
		const injected = inject(n, fault);
		let failed: unknown = null;
		try {
			action();
		} catch (error) {
			failed = error;
		}
		Object.assign(files, real);
		injected.lose();
		if (!injected.hit()) return n - 1;
		check(failed, n);
	}
}

describe("writeAtomic", () => {
	it("writes, replaces and makes parents", () => {
		const path = join(dir, "a", "b", "file");
		writeAtomic(path, "one");
		writeAtomic(path, bytes("two"));
		expect(readFileSync(path, "utf8")).toBe("two");
		expect(readdirSync(join(dir, "a", "b"))).toEqual(["file"]);
	});

	it.each(["error", "kill", "power"] as const)(
		"leaves the old or the new file when any call meets: %s",
		(fault) => {
			const path = join(dir, "file");
			const calls = forEveryCall(
				fault,
				() => writeAtomic(path, "old"),
				() => writeAtomic(path, "new content"),
				(failed, n) => {
					expect(["old", "new content"], `call ${n}`).toContain(
						readFileSync(path, "utf8"),
					);
					expect(failed).not.toBeNull();
					if (fault === "error") {
						expect(failed).toMatchObject({ code: "CANNOT_WRITE" });
						expect(leftovers(dir), `call ${n}`).toEqual([]);
					}
				},
			);
			expect(calls).toBeGreaterThanOrEqual(6); // open, write, fsync, close, rename, and the folder's fsync
		},
	);

	it.each([
		["ENOSPC", /the disk is full.*Free some space/],
		["EDQUOT", /quota/],
		["EACCES", /permission denied/],
		["EROFS", /read-only/],
		["EIO", /input\/output error/],
		["EMFILE", /ulimit/],
		["EWEIRD", /EWEIRD/],
	])(
		"says what %s means, names the path, leaves no temp file",
		(code, wording) => {
			const path = join(dir, "file");
			files.write = () => {
				throw systemError(code);
			};
			const failed = thrown(() => writeAtomic(path, "x"));
			expect(failed).toBeInstanceOf(KeepsightError);
			expect(failed.message).toMatch(wording);
			expect(failed.message).toContain(path);
			expect(readdirSync(dir)).toEqual([]);
		},
	);

	it("keeps on writing after a short write", () => {
		files.write = (fd, b) => real.write(fd, b.subarray(0, 3));
		writeAtomic(join(dir, "file"), "a longer text");
		expect(readFileSync(join(dir, "file"), "utf8")).toBe("a longer text");
	});

	it("names the path when a parent is a file", () => {
		writeAtomic(join(dir, "file"), "x");
		expect(() => writeAtomic(join(dir, "file", "below"), "y")).toThrow(
			/Could not write .*file/,
		);
	});
});

it("appendLine adds lines and closes a torn one", () => {
	const path = join(dir, "logs", "log.jsonl");
	appendLine(path, "1");
	appendLine(path, "2");
	writeFileSync(path, "torn", { flag: "a" });
	appendLine(path, "3");
	expect(readFileSync(path, "utf8")).toBe("1\n2\ntorn\n3\n");
});

it("removeTree deletes links, not what they lead to", () => {
	const outside = join(dir, "outside");
	writeAtomic(join(outside, "precious"), "x");
	ensureFolder(join(dir, "tree", "sub"));
	symlinkSync(outside, join(dir, "tree", "sub", "link"));
	removeTree(join(dir, "tree"));
	removeTree(join(dir, "tree")); // nothing there: fine
	expect(readdirSync(dir)).toEqual(["outside"]);
	expect(readFileSync(join(outside, "precious"), "utf8")).toBe("x");
});

it("stableJson sorts keys, leaves lists, and refuses what JSON would turn into null", () => {
	expect(stableJson({ b: [2, 1], a: { d: 1, c: undefined } })).toBe(
		'{\n\t"a": {\n\t\t"d": 1\n\t},\n\t"b": [\n\t\t2,\n\t\t1\n\t]\n}\n',
	);
	expect(() => stableJson({ a: Number.NaN })).toThrow(/NaN/);
});

it("hashedName follows from the content", () => {
	expect(hashedName("weights", bytes("abc"), ".safetensors")).toBe(
		"weights.ba7816bf8f01cfea.safetensors",
	);
});

describe("a file that arrives bit by bit", () => {
	it("grows beside its name, outlives who writes it, and gets its name at the end", () => {
		const path = join(dir, "new/big");
		const first = new PartFile(path);
		first.append(bytes("abc"));
		first.close();
		expect(existsSync(path)).toBe(false);
		const second = new PartFile(path);
		expect(second.bytes).toBe(3);
		second.append(bytes("def"));
		expect(second.bytes).toBe(6);
		second.finish();
		second.close();
		expect(readFileSync(path, "utf8")).toBe("abcdef");
		expect(readdirSync(join(dir, "new"))).toEqual(["big"]);
	});
	it("can begin anew", () => {
		const part = new PartFile(join(dir, "big"));
		part.append(bytes("wrong"));
		part.restart();
		part.append(bytes("right"));
		part.finish();
		expect(readFileSync(join(dir, "big"), "utf8")).toBe("right");
	});
	it("on a full disk keeps what went in, as the beginning of the whole", () => {
		const part = new PartFile(join(dir, "big"));
		let room = 4;
		files.write = (fd, b) => {
			if (room === 0) throw systemError("ENOSPC");
			const n = real.write(fd, b.subarray(0, room));
			room -= n;
			return n;
		};
		expect(() => part.append(bytes("abcdef"))).toThrow(
			/big\.part: the disk is full/,
		);
		part.close();
		files.write = real.write;
		expect(new PartFile(join(dir, "big")).bytes).toBe(4);
		expect(readFileSync(part.part, "utf8")).toBe("abcd");
	});
});

describe("VersionedFolder", () => {
	const at = () => join(dir, "memory");
	const open = () => VersionedFolder.open(at());
	const contents = (folder: VersionedFolder) =>
		Object.fromEntries(folder.paths.map((p) => [p, text(folder.read(p))]));
	const onDisk = () =>
		readdirSync(at(), { recursive: true, withFileTypes: true })
			.filter((d) => !d.isDirectory())
			.map((d) => d.name)
			.sort();

	it("starts empty, commits, reopens, drops what is not kept", () => {
		const folder = open();
		expect([folder.version, folder.paths, folder.meta]).toEqual([0, [], {}]);
		folder.commit({
			add: add({ "t1/a.json": "1", "t2/b.json": "22" }),
			meta: { tasks: ["t1", "t2"] },
		});
		expect(contents(open())).toEqual({ "t1/a.json": "1", "t2/b.json": "22" });
		expect(open().bytes()).toBe(3);
		folder.commit({
			keep: (p) => p.startsWith("t2/"),
			meta: { tasks: ["t2"] },
		});
		const again = open();
		expect([again.version, again.meta, contents(again)]).toEqual([
			2,
			{ tasks: ["t2"] },
			{ "t2/b.json": "22" },
		]);
		expect(readdirSync(at()).sort()).toEqual(["manifest.json", "t2"]); // the emptied folder is gone, too
	});

	it("writes a manifest that depends on content alone", () => {
		open().commit({
			add: add({ b: "2", a: "1" }),
			meta: { z: 1, y: { d: 1, c: 2 } },
		});
		const manifest = readFileSync(join(at(), "manifest.json"), "utf8");
		expect(JSON.parse(manifest)).toEqual({
			format: 1,
			version: 1,
			files: {
				a: { bytes: 1, sha256: sha256(bytes("1")) },
				b: { bytes: 1, sha256: sha256(bytes("2")) },
			},
			y: { c: 2, d: 1 },
			z: 1,
			sha256: expect.stringMatching(/^[0-9a-f]{64}$/), // of all the rest
		});
		rmSync(at(), { recursive: true });
		open().commit({
			add: add({ a: "1", b: "2" }),
			meta: { y: { c: 2, d: 1 }, z: 1 },
		});
		expect(readFileSync(join(at(), "manifest.json"), "utf8")).toBe(manifest);
	});

	it("keeps the version when a commit changes nothing, as a resumed run repeats its last one", () => {
		const folder = open();
		folder.commit({ add: add({ a: "1" }), meta: { n: 1 } });
		folder.commit({ add: add({ a: "1" }), meta: { n: 1 } });
		expect(open().version).toBe(1);
	});

	it("never changes a file in place", () => {
		const folder = open();
		folder.commit({ add: add({ a: "1" }) });
		expect(() =>
			folder.commit({ add: add({ a: "2" }), keep: () => false }),
		).toThrow(/never changed in place/);
		expect(contents(open())).toEqual({ a: "1" });
	});

	it("ignores leftovers and clears them with the next commit", () => {
		const folder = open();
		folder.commit({ add: add({ a: "1" }) });
		writeFileSync(join(at(), ".tmp-x"), "torn");
		writeFileSync(join(at(), "orphan"), "unreferenced");
		expect(contents(open())).toEqual({ a: "1" });
		folder.commit({ add: add({ b: "2" }) });
		expect(onDisk()).toEqual(["a", "b", "manifest.json"]);
	});

	it("does not delete someone's files from a folder that had no manifest", () => {
		writeAtomic(join(at(), "thesis.txt"), "years of work");
		open().commit({ add: add({ a: "1" }) });
		expect(readFileSync(join(at(), "thesis.txt"), "utf8")).toBe(
			"years of work",
		);
	});

	it.each(["error", "short", "kill", "power"] as const)(
		"is the old or the new version, never torn, when any call meets: %s",
		(fault) => {
			const before = { keep: "same", drop: "old" };
			const after = { keep: "same", "new/x": "1", "new/y": "2".repeat(1000) };
			const seen = new Set<number>();
			const calls = forEveryCall(
				fault,
				() => open().commit({ add: add(before), meta: { n: 1 } }),
				() =>
					open().commit({
						add: add({ "new/x": after["new/x"], "new/y": after["new/y"] }),
						keep: (p) => p === "keep",
						meta: { n: 2 },
					}),
				(_, n) => {
					const folder = open();
					seen.add(folder.version);
					expect(contents(folder), `call ${n}`).toEqual(
						folder.version === 1 ? before : after,
					);
					expect(folder.meta).toEqual({ n: folder.version });
					// and the same commit, repeated, ends as if nothing had happened
					folder.commit({
						add: add({ "new/x": after["new/x"], "new/y": after["new/y"] }),
						keep: (p) => p !== "drop",
						meta: { n: 2 },
					});
					expect(
						[open().version, contents(open())],
						`call ${n}, repeated`,
					).toEqual([2, after]);
					expect(onDisk()).toEqual(["keep", "manifest.json", "x", "y"]);
				},
			);
			expect(calls).toBeGreaterThan(20);
			expect([...seen].sort()).toEqual([1, 2]);
		},
	);

	describe("with a history", () => {
		const step = (n: number, history = 2) =>
			open().commit({
				add: add({ [`own${n}`]: `${n}`, [`next${n}`]: "x" }),
				keep: (path) => path === "shared",
				meta: { n },
				history,
			});
		const first = () =>
			open().commit({ add: add({ shared: "s" }), meta: { n: 1 } });

		it("keeps so many versions with all their files, and goes back to one as the next", () => {
			first();
			for (const n of [2, 3, 4]) step(n);
			const folder = open();
			expect(
				folder.earlier.map(({ version, meta }) => [version, meta]),
			).toEqual([
				[3, { n: 3 }],
				[2, { n: 2 }],
				[1, { n: 1 }],
			]);
			expect(contents(folder.at(1))).toEqual({ shared: "s" });
			step(5);
			expect(open().earlier.map(({ version }) => version)).toEqual([4, 3, 2]);
			expect(existsSync(join(at(), "shared"))).toBe(true); // of version 2
			open().restore(3, { meta: { n: 3, back: true }, history: 2 });
			expect(open().version).toBe(6);
			expect(open().meta).toEqual({ n: 3, back: true });
			expect(contents(open())).toEqual({ shared: "s", own3: "3", next3: "x" });
			expect(contents(open().at(5))).toEqual({
				shared: "s",
				own5: "5",
				next5: "x",
			});
			expect(existsSync(join(at(), "own2"))).toBe(false);
			expect(() => open().at(2)).toThrow(
				"keeps no version 2. It keeps 5, 4, 3",
			);
			// a commit that says nothing of history leaves it alone
			open().commit({ add: add({ z: "z" }) });
			expect(open().earlier.map(({ version }) => version)).toEqual([5, 4, 3]);
		});

		it("refuses to change a file that an earlier version has, and to write among the versions", () => {
			first();
			step(2);
			open().commit({ keep: () => false, history: 2 });
			expect(() => open().commit({ add: add({ own2: "other" }) })).toThrow(
				"own2",
			);
			for (const name of ["@versions/x", "@versions/00000001.json"])
				expect(() => open().commit({ add: add({ [name]: "1" }) })).toThrow(
					"versions",
				);
		});

		it("loses nothing that it refers to where one of the versions cannot be read", () => {
			first();
			step(2);
			step(3);
			writeFileSync(join(at(), "@versions/00000002.json"), "{");
			expect(open().earlier.map(({ version }) => version)).toEqual([1]);
			expect(() => open().at(2)).toThrow("not valid JSON");
			step(4, 0);
			expect(existsSync(join(at(), "own2"))).toBe(true);
			expect(contents(open())).toEqual({ shared: "s", own4: "4", next4: "x" });
			rmSync(join(at(), "@versions/00000002.json"));
			step(5, 0);
			expect(existsSync(join(at(), "own2"))).toBe(false);
		});

		it.each(["error", "short", "kill", "power"] as const)(
			"is the old or the new version, and all kept ones are whole, when any call meets: %s",
			(fault) => {
				const seen = new Set<number>();
				const calls = forEveryCall(
					fault,
					() => {
						first();
						for (const n of [2, 3]) step(n, 1);
					},
					() => step(4, 1),
					(_, n) => {
						const folder = open();
						seen.add(folder.version);
						folder.verify();
						expect(folder.earlier.length, `call ${n}`).toBeGreaterThan(0);
						for (const { version } of folder.earlier)
							folder.at(version).verify();
						step(4, 1);
						expect(open().earlier.map(({ version }) => version)).toEqual([
							3, 2,
						]);
						expect(contents(open())).toEqual({
							shared: "s",
							own4: "4",
							next4: "x",
						});
					},
				);
				expect(calls).toBeGreaterThan(20);
				expect([...seen].sort()).toEqual([3, 4]);
			},
		);
	});

	it("names the full disk, and the earlier version still reads", () => {
		const folder = open();
		folder.commit({ add: add({ a: "1" }) });
		files.write = () => {
			throw systemError("ENOSPC");
		};
		expect(() => folder.commit({ add: add({ b: "2" }) })).toThrow(
			/memory.*the disk is full \(ENOSPC\)/,
		);
		Object.assign(files, real);
		expect(contents(folder)).toEqual({ a: "1" });
		folder.commit({ add: add({ b: "2" }) }); // goes on once there is space
		expect(contents(open())).toEqual({ a: "1", b: "2" });
	});

	it.each([
		[
			"another size",
			() => writeFileSync(join(at(), "a"), "longer"),
			/is damaged: 6 bytes instead of 1.*Restore it/,
		],
		["a flipped bit", () => writeFileSync(join(at(), "a"), "2"), /SHA-256/],
		[
			"zero length",
			() => truncateSync(join(at(), "a")),
			/0 bytes instead of 1/,
		],
		["a missing file", () => rmSync(join(at(), "a")), /is missing/],
		[
			"a link",
			() => (
				rmSync(join(at(), "a")), symlinkSync("/etc/hostname", join(at(), "a"))
			),
			/not a plain file/,
		],
	])("finds %s", (_, damage, wording) => {
		open().commit({ add: add({ a: "1" }) });
		damage();
		expect(() => open().verify()).toThrow(wording);
	});

	it("finds a flipped bit of a number in the manifest", () => {
		open().commit({ add: add({ a: "1" }), meta: { threshold: 2 } });
		const path = join(at(), "manifest.json");
		writeFileSync(
			path,
			readFileSync(path, "utf8").replace('"threshold": 2', '"threshold": 3'),
		);
		expect(open).toThrow(/manifest\.json.*does not match its SHA-256/);
	});

	it("names an earlier version that does not need the damaged file", () => {
		const folder = open();
		folder.commit({ add: add({ a: "1" }) });
		folder.commit({ add: add({ b: "2" }), history: 3 });
		writeFileSync(join(at(), "b"), "3");
		expect(() => open().verify()).toThrow(/rollback --mem_dir DIR --to 1\./);
		writeFileSync(join(at(), "a"), "3"); // both need it
		expect(() => open().read("a")).toThrow(/or learn again/);
	});

	it("lifts a manifest of an older format, and writes the present one", () => {
		writeAtomic(join(at(), "a"), "1");
		writeAtomic(
			join(at(), "manifest.json"),
			JSON.stringify({
				format: 0,
				version: 4,
				list: { a: { bytes: 1, sha256: sha256(bytes("1")) } },
			}),
		);
		expect(open).toThrow(/format version 0; this Keepsight reads version 1/);
		formats.manifest.lifts[0] = ({ list, ...rest }) => ({
			...rest,
			files: list,
		});
		try {
			expect(contents(open())).toEqual({ a: "1" });
			open().commit({ add: add({ b: "2" }) });
		} finally {
			delete formats.manifest.lifts[0];
		}
		expect(contents(open())).toEqual({ a: "1", b: "2" });
		expect(open().version).toBe(5);
	});

	it("case 2, 3: on a disk that is full or fails, at any call, the earlier state is whole, nothing is left over, and the disk is named", () => {
		const calls = { ENOSPC: 0, EIO: 0, EMFILE: 0, EACCES: 0, EROFS: 0 };
		for (const code of Object.keys(calls) as (keyof typeof calls)[])
			calls[code] = forEveryCall(
				code,
				() => open().commit({ add: add({ old: "1" }), meta: { n: 1 } }),
				() =>
					open().commit({
						add: add({ "new/x": "1", "new/y": "2".repeat(1000) }),
						keep: () => false,
						meta: { n: 2 },
					}),
				(failed, n) => {
					const at = `${code} at call ${n}`;
					expect(leftovers(dir), at).toEqual([]);
					const folder = open();
					folder.verify();
					if (failed === null) {
						expect(folder.meta, at).toEqual({ n: 2 }); // only what nobody needs was not cleared
						return;
					}
					expect(failed, at).toMatchObject({ code: "CANNOT_WRITE" });
					const { message } = failed as Error;
					expect(message, at).toContain(code);
					expect(message, at).toContain(dir);
					if (folder.version === 1)
						expect(contents(folder), at).toEqual({ old: "1" });
				},
			);
		for (const n of Object.values(calls)) expect(n).toBeGreaterThan(20);
	});

	it("case 7: nothing gets its name, and nothing is deleted, once the guard refuses", () => {
		open().commit({ add: add({ a: "1" }), meta: { n: 1 } });
		const before = onDisk();
		let allowed = 0;
		const guarded = () =>
			VersionedFolder.open(at(), () => {
				if (allowed-- <= 0) throw new Error("taken over");
			});
		for (const change of [
			() =>
				guarded().commit({
					add: add({ b: "2" }),
					keep: () => false,
					meta: { n: 2 },
				}),
			() => guarded().clear(),
		]) {
			allowed = 0;
			expect(change).toThrow("taken over");
			expect(onDisk()).toEqual(before);
		}
		allowed = 4; // the new file is there, its manifest comes too late
		expect(() => guarded().commit({ add: add({ b: "2" }) })).toThrow("taken");
		expect([open().version, open().meta]).toEqual([1, { n: 1 }]);
		expect(leftovers(dir)).toEqual([]);
	});

	it.each([
		["{", /not valid JSON/],
		["", /empty/],
		["[]", /not a JSON object/],
		[
			JSON.stringify({ format: 7, version: 1, files: {} }),
			/format version 7; this Keepsight reads version 1/,
		],
		[JSON.stringify({ version: 1, files: {} }), /format version none/],
		[
			JSON.stringify({ format: 1, version: -1, files: {} }),
			/positive whole number/,
		],
		[JSON.stringify({ format: 1, version: 1 }), /lists no files/],
		[
			JSON.stringify({
				format: 1,
				version: 1,
				files: { a: { bytes: -1, sha256: "00" } },
			}),
			/lacks a size or a SHA-256/,
		],
		[
			JSON.stringify({ format: 1, version: 1, files: { a: null } }),
			/lacks a size/,
		],
	])("refuses the manifest %s", (manifest, wording) => {
		writeAtomic(join(at(), "manifest.json"), manifest);
		expect(open).toThrow(wording);
	});

	it.each([
		"../x",
		"a/../../x",
		"/etc/passwd",
		"a\\b",
		"C:\\x",
		"C:/x",
		"",
		".",
		"a//b",
		"a/",
		".hidden",
		"a\0b",
		"a\nb",
		"ü",
		"x".repeat(300),
	])("refuses the path %j, given or read", (path) => {
		expect(() => open().commit({ add: new Map([[path, bytes("x")]]) })).toThrow(
			/Refused the file name/,
		);
		writeAtomic(
			join(at(), "manifest.json"),
			JSON.stringify({
				format: 1,
				version: 1,
				files: { [path]: { bytes: 1, sha256: "0".repeat(64) } },
			}),
		);
		expect(open).toThrow(/Refused the file name/);
	});

	it("takes a manifest with the key __proto__ as data", () => {
		open().commit({ add: add({ a: "1" }) });
		writeFileSync(
			join(at(), "manifest.json"),
			readFileSync(join(at(), "manifest.json"), "utf8")
				.replace("{", '{"__proto__": {"polluted": true},')
				.replace(/\t"sha256": "[0-9a-f]{64}",\n(\t"version")/, "$1"), // a manifest need not say its hash
		);
		expect((open().meta as { polluted?: boolean }).polluted).toBeUndefined();
		expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
	});

	it("does not write or read through a linked folder", () => {
		open().commit({ add: add({ a: "1" }) });
		const outside = join(dir, "outside");
		mkdirSync(outside);
		symlinkSync(outside, join(at(), "task"));
		expect(() => open().commit({ add: add({ "task/x": "1" }) })).toThrow(
			/link/,
		);
		expect(readdirSync(outside)).toEqual([]);
	});

	it("tells a reader, and refuses a writer, when another process was there", () => {
		const ours = open();
		ours.commit({ add: add({ a: "1" }) });
		const theirs = open();
		theirs.commit({ add: add({ b: "2" }), keep: () => false });
		expect(() => ours.read("a")).toThrow(/from version 1 to 2/);
		expect(() => ours.commit({ add: add({ c: "3" }) })).toThrow(
			/from version 1 to 2/,
		);
	});

	it.each(["error", "kill"] as const)(
		"clear leaves all or nothing when any call meets: %s",
		(fault) => {
			forEveryCall(
				fault,
				() => open().commit({ add: add({ "t/a": "1", b: "2" }) }),
				() => open().clear(),
				(_, n) => {
					const folder = open();
					expect(contents(folder), `call ${n}`).toEqual(
						folder.version === 0 ? {} : { "t/a": "1", b: "2" },
					);
					folder.clear();
					expect(existsSync(at())).toBe(false);
				},
			);
		},
	);
});

it("what NFS leaves of a deleted file that is open stops no clearing up, and is no content", () => {
	const folder = VersionedFolder.open(dir);
	folder.commit({ add: add({ a: "1" }) });
	for (const name of [".nfs000000000001", "left"])
		writeFileSync(join(dir, name), "x");
	files.unlink = (path) => {
		if (path.includes(".nfs")) throw systemError("EBUSY");
		real.unlink(path);
	};
	folder.commit({ add: add({ b: "2" }), keep: () => false });
	expect(readdirSync(dir).filter((name) => !isBookkeeping(name))).toEqual(
		folder.paths.concat("manifest.json"),
	);
});

describe("lockFolder", () => {
	const lockPath = () => join(dir, ".lock");
	const leave = (owner: object) =>
		writeFileSync(
			lockPath(),
			JSON.stringify({
				host: hostname(),
				pid: process.pid,
				started: null,
				token: "theirs",
				...owner,
			}),
		);
	const deadPid = () =>
		Number(
			execFileSync(process.execPath, ["-p", "process.pid"], {
				encoding: "utf8",
			}),
		);

	it("lets one in, names it to the second, opens again on release", () => {
		const lock = lockFolder(dir);
		lock.check();
		expect(() => lockFolder(dir)).toThrow(
			`is in use by process ${process.pid} on "${hostname()}"`,
		);
		lock.release();
		lock.release();
		expect(readdirSync(dir)).toEqual([]);
		lockFolder(dir).release();
	});

	it("takes over from a process that is gone", () => {
		leave({ pid: deadPid() });
		const lock = lockFolder(dir);
		lock.check();
		expect(readdirSync(dir)).toEqual([".lock"]);
		lock.release();
	});

	it.runIf(existsSync("/proc/self/stat"))(
		"takes over when the pid belongs to a later process, or to a killed one not yet waited for",
		async () => {
			leave({ started: "another boot:1" });
			lockFolder(dir).release();
			// a shell that never waits for its child: kill -9 leaves a zombie
			const shell = spawn(
				"sh",
				["-c", "sleep 60 & echo $!; kill -9 $!; exec sleep 60"],
				{ stdio: ["ignore", "pipe", "ignore"] },
			);
			const pid = await new Promise<number>((done) =>
				shell.stdout.once("data", (d) => done(Number(d))),
			);
			await expect
				.poll(() => readFileSync(`/proc/${pid}/stat`, "utf8"))
				.toMatch(/\) Z /);
			leave({ pid, started: "some boot:2" });
			lockFolder(dir).release();
			shell.kill();
		},
	);

	it.each([
		["a living process", { pid: process.ppid }, /in use by process/],
		[
			"another host",
			{ host: "elsewhere", pid: 999_999 },
			/in use by process 999999 on "elsewhere"/,
		],
		["nonsense", { pid: "x" }, /an unknown process/],
		[
			"a pid that means a group of processes",
			{ pid: -1 },
			/an unknown process/,
		],
	])("respects the lock of %s", (_, owner, wording) => {
		leave(owner);
		expect(() => lockFolder(dir)).toThrow(wording);
		expect(existsSync(lockPath())).toBe(true);
	});

	const elsewhere = (lease: number) =>
		leave({ host: "elsewhere", pid: 7, system: "other", lease });
	/** Takes the lock with a listener that touches it after so many ms, as an owner who lives would. */
	const waiting = (touched?: () => void) => {
		const told: string[] = [];
		const lock = lockFolder(dir, {
			onWait: (text) => {
				told.push(text);
				touched?.();
			},
		});
		return { lock, told };
	};
	/** What changes a file's mtime while this thread waits. */
	const touchAfter = (ms: number) =>
		spawn(process.execPath, [
			"-e",
			`setTimeout(() => require("fs").utimesSync(${JSON.stringify(lockPath())}, 1, 1), ${ms})`,
		]);

	it("case 7: takes over from another host that has given no sign of life for its lease, and says why it waits", () => {
		elsewhere(300);
		const began = performance.now();
		const { lock, told } = waiting();
		expect(performance.now() - began).toBeGreaterThan(290);
		expect(told).toEqual([
			expect.stringMatching(/process 7 on "elsewhere".*up to 1 s/),
		]);
		lock.check();
		lock.release();
	});

	it("case 7, 8: leaves the lock to another host that gives one, whatever its clock says", () => {
		elsewhere(10_000);
		const began = performance.now();
		// from now to 1970: only that it changed counts
		expect(() => waiting(() => touchAfter(0))).toThrow(
			/in use by process 7 on "elsewhere"/,
		);
		expect(performance.now() - began).toBeLessThan(8_000);
	});

	it("case 8: a clock that jumps makes nobody give up sooner", () => {
		elsewhere(400);
		const now = vi.spyOn(Date, "now");
		let hours = 0;
		now.mockImplementation(() => 3_600_000 * hours++);
		const began = performance.now();
		const { lock } = waiting();
		expect(performance.now() - began).toBeGreaterThan(390);
		lock.release();
		now.mockRestore();
	});

	it.each([
		["promises no signs of life", { lease: null }],
		["is of an earlier version", {}],
		["promises one in a year", { lease: 3.2e10 }],
	])("never takes the lock of another host that %s", (_, owner) => {
		leave({ host: "elsewhere", pid: 7, ...owner });
		expect(() => waiting()).toThrow(/in use by process 7/);
		expect(existsSync(lockPath())).toBe(true);
	});

	it("waits for nobody where it can tell no one why", () => {
		elsewhere(60_000);
		expect(() => lockFolder(dir)).toThrow(/in use by process 7/);
	});

	it("gives a lock back whose owner shows life at the last moment", () => {
		elsewhere(100);
		let beats = 0;
		files.rename = (from, to) => {
			beats++;
			utimesSync(from, beats, beats);
			real.rename(from, to);
		};
		expect(() => waiting()).toThrow(/in use by process 7/);
		expect(JSON.parse(readFileSync(lockPath(), "utf8")).token).toBe("theirs");
		expect(leftovers(dir)).toEqual([".lock"]);
	});

	it.runIf(existsSync("/proc/self/stat"))(
		"asks after process numbers on its own system alone",
		() => {
			lockFolder(dir);
			const { system } = JSON.parse(readFileSync(lockPath(), "utf8"));
			const [machine, boot, processes] = system.split(" ");
			rmSync(lockPath());
			// the same machine, started anew
			leave({ system: `${machine} other ${processes}`, lease: 60_000 });
			if (machine !== "") lockFolder(dir).release();
			// a container beside this one
			leave({ system: `${machine} ${boot} pid:[1]`, lease: 60_000, pid: 2 });
			expect(() => lockFolder(dir)).toThrow(/in use by process 2/);
		},
	);

	describe("of the built program", () => {
		const module = JSON.stringify(
			pathToFileURL(resolve(import.meta.dirname, "../dist/storage.js")).href,
		);
		const script = (text: string) =>
			execFileSync(process.execPath, ["--input-type=module", "-e", text], {
				encoding: "utf8",
			});
		/** A process with the lock, whose main thread is busy until `goOn`; then it writes the file `late` if it may. */
		const owner = async (lease: number) => {
			const go = join(dir, "go");
			const child = spawn(
				process.execPath,
				[
					"--input-type=module",
					"-e",
					`import { existsSync } from "node:fs";
					const { lockFolder, writeAtomic, VersionedFolder } = await import(${module});
					const dir = ${JSON.stringify(dir)};
					const lock = lockFolder(dir, { lease: ${lease}, beat: ${lease / 6} });
					const memory = VersionedFolder.open(dir + "/memory", lock.check);
					memory.commit({ add: new Map([["a", Buffer.from("1")]]) });
					process.stdout.write("locked");
					while (!existsSync(${JSON.stringify(go)}));
					const codes = [];
					for (const write of [
						() => writeAtomic(dir + "/late", "late", lock.check),
						() => memory.commit({ add: new Map([["late", Buffer.from("late")]]), keep: () => false }),
						() => memory.clear(),
					])
						try { write(); codes.push("written"); } catch (e) { codes.push(e.code); }
					lock.release();
					process.stdout.write(JSON.stringify(codes));`,
				],
				{ stdio: ["ignore", "pipe", "inherit"] },
			);
			onTestFinished(() => void child.kill("SIGKILL"));
			let text = "";
			const ended = new Promise<unknown>((done) =>
				child.once("close", () => done(JSON.parse(text.slice(6)))),
			);
			await new Promise<void>((done) =>
				child.stdout.on("data", (data) => {
					text += data;
					done();
				}),
			);
			const goOn = () => {
				writeFileSync(go, "");
				return ended;
			};
			return { child, goOn };
		};
		/** As another machine finds the lock. */
		const fromElsewhere = () => {
			const text = readFileSync(lockPath(), "utf8");
			const fd = openSync(lockPath(), "r+"); // in place: the owner's descriptor stays that of the lock
			writeSync(
				fd,
				text.replace(
					`"host":"${hostname()}"`,
					`"host":"${"x".repeat(hostname().length)}"`,
				),
			);
			closeSync(fd);
		};

		it("case 7: a busy owner shows that it lives", async () => {
			const { goOn } = await owner(1200);
			fromElsewhere();
			expect(() => waiting()).toThrow(/in use by process/);
			expect(await goOn()).toEqual(["written", "written", "written"]);
		});

		it.runIf(existsSync("/proc/self/stat"))(
			"case 7, 40: an owner that was stopped past its lease and goes on writes nothing",
			async () => {
				const { child, goOn } = await owner(600);
				child.kill("SIGSTOP");
				await expect
					.poll(() => readFileSync(`/proc/${child.pid}/stat`, "utf8"))
					.toMatch(/\) T /);
				const { lock, told } = waiting();
				expect(told).toHaveLength(1);
				const memory = VersionedFolder.open(join(dir, "memory"), lock.check);
				memory.commit({ add: add({ b: "2" }) });
				child.kill("SIGCONT");
				expect(await goOn()).toEqual(["LOCK_LOST", "LOCK_LOST", "LOCK_LOST"]);
				lock.check();
				const now = VersionedFolder.open(join(dir, "memory"));
				now.verify();
				expect([now.version, now.paths]).toEqual([2, ["a", "b"]]);
				expect(existsSync(join(dir, "late"))).toBe(false);
				lock.release();
				expect(leftovers(dir)).toEqual([]);
			},
		);

		it.runIf(existsSync("/proc/self/stat"))(
			"case 6: a stopped owner that goes on in time keeps the lock",
			async () => {
				const { child, goOn } = await owner(6000);
				child.kill("SIGSTOP");
				await expect
					.poll(() => readFileSync(`/proc/${child.pid}/stat`, "utf8"))
					.toMatch(/\) T /);
				expect(() =>
					waiting(() => {
						spawn("sh", ["-c", `sleep .2; kill -CONT ${child.pid}`]);
					}),
				).toThrow(/in use by process/);
				expect(await goOn()).toEqual(["written", "written", "written"]);
			},
		);

		it.runIf(existsSync("/proc/self/fd"))(
			"deletes no lock file that it has open: on NFS another name would stay for it",
			() => {
				const open = script(
					`import { readdirSync, readlinkSync } from "node:fs";
					const { files, lockFolder } = await import(${module});
					const opened = () =>
						readdirSync("/proc/self/fd").flatMap((fd) => {
							try { return [readlinkSync("/proc/self/fd/" + fd)]; } catch { return []; }
						}).filter((path) => path.includes(".lock"));
					const seen = [];
					const { unlink } = files;
					files.unlink = (path) => { seen.push(opened().length); unlink(path); };
					const lock = lockFolder(${JSON.stringify(dir)}, { beat: 1 });
					await new Promise((done) => setTimeout(done, 200));
					const held = opened().length;
					lock.release();
					const again = lockFolder(${JSON.stringify(dir)});
					again.release(); // before its thread has started
					again.release();
					console.log(JSON.stringify({ held, seen, left: opened().length }));`,
				);
				expect(JSON.parse(open)).toEqual({
					held: 1,
					seen: [0, 0, 0, 0], // what was linked and the lock, twice
					left: 0,
				});
			},
		);

		it.runIf(existsSync("/proc/self/fd"))(
			"leaves neither lock nor descriptor where no thread can be started",
			() => {
				const tried = script(
					`import { readdirSync } from "node:fs";
					import { syncBuiltinESMExports } from "node:module";
					import threads from "node:worker_threads";
					threads.Worker = class {
						constructor() {
							throw Object.assign(new Error("no"), { code: "ERR_WORKER_INIT_FAILED" });
						}
					};
					syncBuiltinESMExports();
					const { lockFolder } = await import(${module});
					const count = () => readdirSync("/proc/self/fd").length;
					const before = count();
					const codes = [1, 2].map(() => {
						try { lockFolder(${JSON.stringify(dir)}); } catch (e) { return e.code; }
					});
					console.log(JSON.stringify({ codes, more: count() - before }));`,
				);
				expect(JSON.parse(tried)).toEqual({
					codes: ["LOCK_THREAD", "LOCK_THREAD"],
					more: 0,
				});
				expect(readdirSync(dir)).toEqual([]);
			},
		);

		it.runIf(existsSync("/proc/self/ns/pid"))(
			'takes an empty or an "uninitialized" machine-id for none: many machines have it',
			() => {
				const ids = ["", "uninitialized\n", `${"0a".repeat(16)}\n`];
				const machines = script(
					`import fs from "node:fs";
					import { syncBuiltinESMExports } from "node:module";
					const { existsSync, readFileSync } = fs;
					let id;
					fs.existsSync = (path) => path === "/etc/machine-id" || existsSync(path);
					fs.readFileSync = (path, ...args) => path === "/etc/machine-id" ? id : readFileSync(path, ...args);
					syncBuiltinESMExports();
					const { lockFolder } = await import(${module});
					const dir = ${JSON.stringify(dir)};
					const machines = [];
					for (id of ${JSON.stringify(ids)}) {
						const lock = lockFolder(dir);
						machines.push(JSON.parse(readFileSync(dir + "/.lock", "utf8")).system.split(" ")[0]);
						lock.release();
					}
					console.log(JSON.stringify(machines));`,
				);
				expect(JSON.parse(machines)).toEqual([
					"",
					"",
					expect.stringMatching(/^[0-9a-f]{16}$/),
				]);
			},
		);
	});

	it("case 7: what a late owner was about to rename is gone with the take-over", () => {
		const stale = join(dir, ".tmp-late");
		writeFileSync(stale, "late");
		const guard = vi.fn(() => {
			if (guard.mock.calls.length === 3) throw new Error("taken over");
		});
		files.rename = () => {
			removeTemporaries(dir); // between the check and the rename, as openRun of the new owner does
			real.rename(stale, join(dir, "file"));
		};
		expect(() => writeAtomic(join(dir, "file"), "x", guard)).toThrow(
			"taken over",
		);
		expect(readdirSync(dir)).toEqual([]);
	});

	it("notices that it lost the lock, and leaves the new owner's alone", () => {
		const lock = lockFolder(dir);
		leave({ pid: process.ppid });
		expect(() => lock.check()).toThrow(/taken over by process/);
		lock.release();
		expect(existsSync(lockPath())).toBe(true);
	});

	it("works where there are no hard links", () => {
		files.link = () => {
			throw systemError("EPERM");
		};
		const lock = lockFolder(dir);
		expect(() => lockFolder(dir)).toThrow(/in use/);
		lock.release();
		let writes = 0;
		files.write = (fd, content) => {
			if (++writes > 1) throw systemError("ENOSPC"); // the first is of what cannot be linked
			return real.write(fd, content);
		};
		expect(() => lockFolder(dir)).toThrow(/the disk is full/);
		expect(readdirSync(dir)).toEqual([]); // a lock without an owner would stay for ever
	});

	it("is ours where a network file system linked it, lost the reply, and asked again", () => {
		files.link = (from, to) => {
			real.link(from, to);
			throw systemError("EEXIST");
		};
		const lock = lockFolder(dir);
		lock.check();
		expect(readdirSync(dir)).toEqual([".lock"]);
		lock.release();
	});

	it("is not left to nobody where it was linked and the reply was an error", () => {
		files.link = (from, to) => {
			real.link(from, to);
			throw systemError("EIO");
		};
		expect(() => lockFolder(dir)).toThrow(/EIO/);
		expect(readdirSync(dir)).toEqual([]);
	});

	it.each(["error", "kill"] as const)(
		"never leaves a lock without an owner when any call meets: %s",
		(fault) => {
			const gone = deadPid();
			forEveryCall(
				fault,
				() => leave({ pid: gone }),
				() => lockFolder(dir),
				(_, n) => {
					if (existsSync(lockPath()))
						expect(
							JSON.parse(readFileSync(lockPath(), "utf8")),
							`call ${n}`,
						).toHaveProperty("token");
				},
			);
		},
	);
});

function thrown(action: () => void): Error {
	try {
		action();
	} catch (error) {
		return error as Error;
	}
	throw new Error("nothing was thrown");
}
