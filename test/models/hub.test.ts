/** Downloads with the hub's real client from a hub on loopback: what arrives, and whatever may break on the way. */
import {
	appendFileSync,
	cpSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KeepsightError } from "../../src/errors.ts";
import { readBackbone } from "../../src/models/backbone.ts";
import {
	findCached,
	listCached,
	openCached,
	repoDir,
} from "../../src/models/cache.ts";
import { pullBackbone, type PullOptions } from "../../src/models/hub.ts";
import { files, lockFolder } from "../../src/storage.ts";
import { FakeHub, hex, type Model, send } from "./hub-server.ts";
import { dinov2Files, timmFiles, tinyConfig } from "./tiny.ts";

const name = "hub:facebook/tiny";
const commit = "a".repeat(40);
const other = "b".repeat(40);
const weights = "model.safetensors";

const real = { ...files };
let work: string;
let hub: FakeHub;
let env: Record<string, string>;
let model: Model;
beforeEach(async () => {
	work = mkdtempSync(join(tmpdir(), "keepsight-hub-"));
	hub = await FakeHub.start();
	env = { HF_ENDPOINT: hub.url, HF_HOME: work };
	model = {
		commit,
		files: dinov2Files(1),
		cardData: { license: "apache-2.0" },
	};
	hub.models.set("facebook/tiny", model);
});
afterEach(async () => {
	Object.assign(files, real);
	await hub.stop();
	rmSync(work, { recursive: true, force: true });
});

const pull = (options: PullOptions = {}, what = name) =>
	pullBackbone(what, { env, patienceMs: 1, ...options });
/** "CODE: message" of the error; "done" if there was none. */
const problem = async (promise: Promise<unknown>): Promise<string> => {
	try {
		await promise;
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		return `${error.code}: ${error.message}`;
	}
	return "done";
};
const dirOf = (at = commit) => join(repoDir("facebook/tiny", env), at);
const bytesOf = (file: string) => model.files[file] as Uint8Array;
const expectWhole = (at = commit) => {
	for (const file of readdirSync(dirOf(at)).filter(
		(f) => f !== "backbone.json",
	))
		expect(
			readFileSync(join(dirOf(at), file)).equals(bytesOf(file)),
			file,
		).toBe(true);
	expect(existsSync(join(dirOf(at), weights))).toBe(true);
};
/** The next replies with the weights: sent up to here, then the connection is cut. */
const cutAt = (...ends: number[]) => {
	hub.faults.push(({ at, range }, _request, response) => {
		if (at !== "store" || ends.length === 0) return false;
		const bytes = bytesOf(weights);
		const from = Number(/\d+/.exec(range ?? "")?.[0] ?? 0);
		response.writeHead(from > 0 ? 206 : 200, {
			"content-length": bytes.length - from,
			...(from > 0 && {
				"content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
			}),
		});
		response.write(bytes.subarray(from, ends.shift()), () =>
			setTimeout(() => response.destroy(), 20),
		);
		return true;
	});
};
/** So many replies to paths that match are this status. */
const answer = (
	pattern: RegExp,
	status: number,
	times = Number.POSITIVE_INFINITY,
	headers: Record<string, string> = {},
) => {
	hub.faults.push(({ path }, _request, response) => {
		if (!pattern.test(path) || times-- <= 0) return false;
		response.writeHead(status, headers).end();
		return true;
	});
};

describe("a download", () => {
	it("brings what a backbone needs, records where it is from, and is found by its name", async () => {
		const seen: [number, number][] = [];
		const found = await pull({
			onProgress: (done, total) => seen.push([done, total]),
		});
		expectWhole();
		expect(readdirSync(dirOf()).toSorted()).toEqual([
			"README.md",
			"backbone.json",
			"config.json",
			weights,
			"preprocessor_config.json",
		]);
		const total = Object.values(model.files).reduce((n, b) => n + b.length, 0);
		expect(seen[0]).toEqual([0, total]);
		expect(seen.at(-1)).toEqual([total, total]);
		expect(found).toMatchObject({
			name,
			commit,
			source: `${hub.url}/facebook/tiny`,
			licence: "apache-2.0",
			patch: 8,
			dir: dirOf(),
			alreadyThere: false,
		});
		expect(found.files[weights]).toEqual({
			bytes: bytesOf(weights).length,
			sha256: hex(bytesOf(weights)),
		});
		const { config, weights: loaded } = readBackbone(
			openCached({ name }, env),
			[32, 32],
		);
		expect(config).toEqual({ ...tinyConfig, layerScale: true });
		expect(found.parameters).toBe(
			Object.values(loaded).reduce((n, t) => n + t.data.length, 0),
		);
		expect(listCached(env)).toEqual([findCached({ name }, env)]);
	});

	it("timm's names and configuration; the licence is read off the tags; no pickle is asked for", async () => {
		model.files = timmFiles(1);
		model.cardData = undefined;
		model.tags = ["timm", "license:mit"];
		const found = await pull();
		expect(found.licence).toBe("mit");
		expect(readBackbone(found.dir, [32, 32]).config).toEqual(tinyConfig);
		expect(hub.asked(/pytorch|gitattributes/)).toEqual([]);
	});

	it("a second time asks only whether it is still the newest, and a commit nothing at all", async () => {
		await pull();
		hub.log.length = 0;
		expect((await pull()).alreadyThere).toBe(true);
		expect(hub.log.map(({ path }) => path.replace(/\?.*/, ""))).toEqual([
			"/api/models/facebook/tiny/revision/main",
		]);
		hub.log.length = 0;
		expect((await pull({}, `${name}@${commit}`)).alreadyThere).toBe(true);
		expect(hub.log).toEqual([]);
	});

	it("the newest commit comes beside the earlier one, which stays what was pinned", async () => {
		await pull();
		const earlier = model.files;
		model.commit = other;
		model.files = dinov2Files(2);
		await pull();
		expectWhole(other);
		expect(findCached({ name }, env)?.commit).toBe(other);
		const pinned = openCached({ name, commit }, env);
		expect(
			readFileSync(join(pinned, weights)).equals(earlier[weights] as Buffer),
		).toBe(true);
		expect(listCached(env).map((b) => b.commit)).toEqual([commit, other]);
	});

	it("a revision by its name", async () => {
		model.revisions = { "refs/pr/1": other, v1: other };
		expect((await pull({}, `${name}@v1`)).commit).toBe(other);
		expect(findCached({ name: `${name}@v1` }, env)?.commit).toBe(other);
		expect((await pull({}, `${name}@refs/pr/1`)).alreadyThere).toBe(true);
		expect(findCached({ name }, env)).toBeNull();
	});

	it("a list of files in pages", async () => {
		hub.pageSize = 1;
		await pull();
		expectWhole();
	});

	it("the token goes to the hub, not to the store it points to", async () => {
		await pull({ env: { ...env, HF_TOKEN: " secret-1\n" } });
		const sent = (at: string) => [
			...new Set(
				hub.log.filter((a) => a.at === at).map((a) => a.authorization),
			),
		];
		expect(sent("hub")).toEqual(["Bearer secret-1"]);
		expect(sent("store")).toEqual([undefined]);
	});

	it("a stored token is not given to a mirror", async () => {
		writeFileSync(join(work, "token"), "stored");
		await pull();
		expect(hub.log.every((a) => a.authorization === undefined)).toBe(true);
	});

	it("two at a time: the second is told who is first", async () => {
		const lock = lockFolder(repoDir("facebook/tiny", env));
		expect(await problem(pull())).toMatch(/^LOCKED: .*process \d+/);
		lock.release();
		expect(await problem(pull())).toBe("done");
	});

	it("case 7: one that was killed where nobody can ask after it is waited for, then followed", async () => {
		const dir = repoDir("facebook/tiny", env);
		mkdirSync(dir, { recursive: true });
		const owner = { host: "a container", pid: 1, token: "x", lease: 200 };
		writeFileSync(join(dir, ".lock"), JSON.stringify(owner));
		writeFileSync(join(dir, ".tmp-1"), "half");
		expect(await problem(pull())).toMatch(/^LOCKED/); // there is nobody to tell
		const told: string[] = [];
		await pull({ onWait: (text) => told.push(text) });
		expect(told).toEqual([expect.stringMatching(/"a container".*Waiting/)]);
		expect(existsSync(join(dir, ".tmp-1"))).toBe(false);
	});

	it("case 7: writes nothing more once it was taken over", async () => {
		const dir = repoDir("facebook/tiny", env);
		const { rename } = files;
		files.rename = (from, to) => {
			rename(from, to);
			if (to.endsWith("config.json"))
				writeFileSync(
					join(dir, ".lock"),
					JSON.stringify({ host: "elsewhere", pid: 7, token: "x" }),
				);
		};
		expect(await problem(pull())).toMatch(/^LOCK_LOST/);
		files.rename = rename;
		expect(
			readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((name) =>
				/safetensors|json$/.test(name),
			),
		).toEqual([expect.stringMatching(/config\.json$/)]);
	});
});

describe("a broken transfer", () => {
	it("goes on after the cut with the bytes that are missing", async () => {
		cutAt(1000, 5000);
		await pull();
		expectWhole();
		const ranges = hub.log.filter((a) => a.at === "store").map((a) => a.range);
		expect(ranges).toEqual([undefined, "bytes=1000-", "bytes=5000-"]);
	});

	it("that keeps breaking is an error, and the next call goes on", async () => {
		cutAt(1000, 1000, 1000, 1000, 1000);
		expect(await problem(pull())).toMatch(
			/^HUB_UNREACHABLE: .*model\.safetensors: .*5 tries.*goes on after the 1000 bytes/,
		);
		expect(readdirSync(dirOf())).toContain(`${weights}.part`);
		expect(readdirSync(dirOf())).not.toContain(weights);
		expect(findCached({ name }, env)).toBeNull();
		hub.log.length = 0;
		await pull();
		expectWhole();
		expect(hub.asked(/resolve/).map((a) => a.path)).toHaveLength(1); // the small files were there
		expect(hub.log.filter((a) => a.at === "store").map((a) => a.range)).toEqual(
			["bytes=1000-"],
		);
	});

	it("tries are counted anew whenever bytes arrived", async () => {
		cutAt(100, 200, 300, 400, 500, 600, 700, 800);
		await pull();
		expectWhole();
	});

	it("an end too early without a cut", async () => {
		let times = 1;
		hub.faults.push(({ at }, _request, response) => {
			if (at !== "store" || times-- <= 0) return false;
			response.writeHead(200).end(bytesOf(weights).subarray(0, 777)); // chunked: no length
			return true;
		});
		await pull();
		expectWhole();
		expect(hub.log.at(-1)?.range).toBe("bytes=777-");
	});

	it("a server that knows no ranges sends it all again", async () => {
		cutAt(1000);
		hub.faults.push(({ at }, _request, response) => {
			if (at === "store") response.writeHead(200).end(bytesOf(weights));
			return at === "store";
		});
		await pull();
		expectWhole();
	});

	it.each([
		[
			"another range than was asked for",
			206,
			{ "content-range": "bytes 5-9/10" },
		],
		["no such range", 416, {}],
	])("%s: from the start", async (_title, status, headers) => {
		cutAt(1000);
		let times = 1;
		hub.faults.push(({ at }, _request, response) => {
			if (at !== "store" || times-- <= 0) return false;
			response.writeHead(status, headers).end("12345");
			return true;
		});
		await pull();
		expectWhole();
		expect(hub.log.at(-1)?.range).toBeUndefined();
	});

	it.each([500, 503, 429, 408])("%i, then an answer", async (status) => {
		answer(/revision/, status, 2);
		answer(/tree/, status, 2);
		answer(/config\.json/, status, 2, { "retry-after": "0" });
		await pull();
		expectWhole();
	});

	it("500 for good", async () => {
		answer(/revision/, 500);
		expect(await problem(pull())).toMatch(
			/^HUB_UNREACHABLE: .*it answered 500 \(5 tries\)/,
		);
	});

	it("nobody listens", async () => {
		await hub.stop();
		expect(await problem(pull())).toMatch(
			/^HUB_UNREACHABLE: .*ECONNREFUSED.*HF_ENDPOINT/,
		);
	});

	it("a connection that brings nothing any more counts as cut", async () => {
		let times = 1;
		hub.faults.push(({ at }, _request, response) => {
			if (at !== "store" || times-- <= 0) return false;
			response.writeHead(200, { "content-length": bytesOf(weights).length });
			response.write(bytesOf(weights).subarray(0, 1234)); // and then silence
			return true;
		});
		await pull({ stallMs: 200 });
		expectWhole();
		expect(hub.log.at(-1)?.range).toBe("bytes=1234-");
	});

	it("stopped by the user: what has arrived is kept", async () => {
		const controller = new AbortController();
		cutAt(4321);
		await expect(
			pull({
				signal: controller.signal,
				patienceMs: 60_000,
				onProgress: (done) => {
					if (done > 4000) setTimeout(() => controller.abort(), 50);
				},
			}),
		).rejects.toThrow("interrupted");
		expect(statSync(join(dirOf(), `${weights}.part`)).size).toBe(4321);
		await pull();
		expectWhole();
	});
});

describe("bytes that are not the file", () => {
	const corrupted = (pattern: RegExp, of: (bytes: Buffer) => Uint8Array) => {
		let times = 1;
		hub.faults.push(({ path }, request, response) => {
			const [, file] =
				Object.entries(model.files).find(
					([f, bytes]) =>
						pattern.test(f) &&
						(path.endsWith(f) || path === `/${hex(bytes)}`) &&
						!(f === weights && path.endsWith(f)),
				) ?? [];
			if (!file || times-- <= 0) return false;
			send(request, response, of(Buffer.from(file)));
			return true;
		});
	};
	const flipped = (bytes: Buffer) => {
		bytes[bytes.length - 5] = (bytes[bytes.length - 5] as number) ^ 1;
		return bytes;
	};
	it.each([
		["the weights", weights, /the SHA-256 [0-9a-f]{64} is listed/],
		["a small file", "config.json", /the git hash [0-9a-f]{40} is listed/],
	])("%s with a bit turned", async (_title, file, text) => {
		corrupted(new RegExp(`^${file}`), flipped);
		const said = await problem(pull());
		expect(said).toMatch(/^HUB_CHECKSUM: /);
		expect(said).toMatch(text);
		expect(existsSync(join(dirOf(), file))).toBe(false);
		expect(statSync(join(dirOf(), `${file}.part`)).size).toBe(0);
		expect(findCached({ name }, env)).toBeNull();
		await pull();
		expectWhole();
	});

	it("more of them than are listed", async () => {
		corrupted(/safetensors/, (bytes) => Buffer.concat([bytes, bytes]));
		expect(await problem(pull())).toMatch(
			/^HUB_CHECKSUM: .*a size of \d+ bytes is listed, more came/,
		);
		expect(existsSync(join(dirOf(), weights))).toBe(false);
	});

	it("an earlier part that is none of the file, or is longer", async () => {
		cutAt(1000, 1000, 1000, 1000, 1000);
		await problem(pull());
		const part = join(dirOf(), `${weights}.part`);
		writeFileSync(part, Buffer.alloc(1000));
		expect(await problem(pull())).toMatch(/^HUB_CHECKSUM/);
		appendFileSync(part, Buffer.alloc(bytesOf(weights).length + 1));
		await pull();
		expectWhole();
	});

	it("a cache that was damaged is noticed, and pulling mends the one file", async () => {
		await pull();
		const path = join(dirOf(), weights);
		const bytes = readFileSync(path);
		for (const [damaged, text] of [
			[bytes.subarray(0, 999), "has 999 bytes instead of"],
			[flipped(Buffer.from(bytes)), "does not match its SHA-256"],
			[null, "is missing"],
		] as const) {
			rmSync(path);
			if (damaged) writeFileSync(path, damaged);
			expect(() => openCached({ name }, env)).toThrow(text);
			expect(() => openCached({ name }, env)).toThrow(
				`keepsight backbone pull ${name}@${commit}`,
			);
			hub.log.length = 0;
			expect((await pull({}, `${name}@${commit}`)).alreadyThere).toBe(false);
			expect(hub.asked(/resolve/)).toHaveLength(1);
			expectWhole();
			expect(openCached({ name }, env)).toBe(dirOf());
		}
	});

	it("a record or list of revisions that is none of ours", async () => {
		await pull();
		for (const [file, text] of [
			[join(dirOf(), "backbone.json"), "{"],
			[join(dirOf(), "backbone.json"), '{"format":1}'],
			[join(dirOf(), "../refs.json"), '{"main":"../../.."}'],
		] as const) {
			const before = readFileSync(file);
			writeFileSync(file, text);
			expect(() => openCached({ name }, env)).toThrow(
				/is damaged.*Delete that folder/,
			);
			writeFileSync(file, before);
		}
	});
});

describe("the disk", () => {
	it.each(["ENOSPC", "EDQUOT"])(
		"%s: says so, and the next call goes on",
		async (code) => {
			let room = 20_000;
			files.write = (fd, bytes) => {
				const n = Math.min(room, bytes.length);
				if (n === 0)
					throw Object.assign(new Error(code), { code, syscall: "write" });
				room -= n;
				return real.write(fd, bytes.subarray(0, n));
			};
			const said = await problem(pull());
			expect(said).toMatch(/^CANNOT_WRITE: .*model\.safetensors\.part/);
			expect(said).toMatch(/run the same command again/);
			expect(findCached({ name }, env)).toBeNull();
			expect(existsSync(join(dirOf(), weights))).toBe(false);
			files.write = real.write;
			hub.log.length = 0;
			await pull();
			expectWhole();
			expect(hub.log.at(-1)?.range).toMatch(/^bytes=\d{4,}-$/);
		},
	);

	it("whichever call fails, nothing is found that is not whole, and the next pull is", async () => {
		delete model.files["README.md"];
		delete model.files["preprocessor_config.json"];
		for (let n = 1; ; n++) {
			rmSync(join(work, "assets"), { recursive: true, force: true });
			let calls = 0;
			for (const call of ["open", "write", "fsync", "rename", "mkdir"] as const)
				(files[call] as unknown) = (...args: never[]) => {
					if (++calls === n)
						throw Object.assign(new Error("EIO"), {
							code: "EIO",
							syscall: call,
						});
					return (real[call] as (...a: never[]) => unknown)(...args);
				};
			const said = await problem(pull());
			Object.assign(files, real);
			if (said === "done") break;
			expect(said).toMatch(/^CANNOT_(WRITE|READ)/);
			if (findCached({ name }, env)) expectWhole();
			await pull();
			expectWhole();
		}
	});
});

describe("what is refused", () => {
	it.each([
		[
			"hub:nobody/nothing",
			{},
			/^HUB_NOT_FOUND: .*no model nobody\/nothing.*if it is private, set HF_TOKEN/,
		],
		[
			"hub:nobody/nothing",
			{ HF_TOKEN: "t" },
			/^HUB_NOT_FOUND: .*your token may read it/,
		],
		[
			`${name}@v9`,
			{},
			/^HUB_NOT_FOUND: .*no revision v9 for hub:facebook\/tiny@v9/,
		],
	])("%s %o", async (what, more, text) => {
		expect(await problem(pull({ env: { ...env, ...more } }, what))).toMatch(
			text,
		);
		expect(existsSync(join(work, "assets"))).toBe(false);
	});

	it("a gated model: without a token, with one that has no access, with one that has", async () => {
		model.token = "good";
		expect(await problem(pull())).toMatch(
			/^HUB_DENIED: .*is gated.*Accept them on http.*\/facebook\/tiny, then set HF_TOKEN/,
		);
		expect(await problem(pull({ env: { ...env, HF_TOKEN: "bad" } }))).toMatch(
			/^HUB_DENIED: .*account of your token has not been given access/,
		);
		expect(listCached(env)).toEqual([]);
		await pull({ env: { ...env, HF_TOKEN: "good" } });
		expectWhole();
	});

	it("a private model", async () => {
		model.token = "good";
		model.private = true;
		expect(await problem(pull())).toMatch(/^HUB_NOT_FOUND/);
		await pull({ env: { ...env, HF_TOKEN: "good" } });
		expectWhole();
	});

	it.each([
		[
			401,
			{ HF_TOKEN: "t" },
			/^HUB_DENIED: .*401: access denied with the token given/,
		],
		[403, {}, /^HUB_DENIED: .*403: access denied\. If the model is private/],
		[418, {}, /^HUB_REPLY: .*it answered 418/],
	])("status %i", async (status, more, text) => {
		answer(/revision/, status);
		expect(await problem(pull({ env: { ...env, ...more } }))).toMatch(text);
	});

	it("no safetensors: says that pickles are never loaded and what to do", async () => {
		const { [weights]: _, ...rest } = timmFiles(1);
		model.files = rest;
		expect(await problem(pull())).toMatch(
			/^HUB_NO_SAFETENSORS: .*its weights are pytorch_model\.bin\)\. .*pickles, which can run code, are never loaded.*backbone import DIR/,
		);
		expect(hub.asked(/resolve/)).toEqual([]);
	});

	it("no config.json", async () => {
		const { "config.json": _, ...rest } = model.files;
		model.files = rest;
		expect(await problem(pull())).toMatch(
			/^BACKBONE_INCOMPLETE: .*config\.json/,
		);
	});

	it.each([
		[{ model_type: "dinov3_vit" }, /rotary positions \(DINOv3\)/],
		[{ model_type: "bert" }, /model_type is "bert"/],
		[{ model_type: "dinov2", use_swiglu_ffn: true }, /SwiGLU/],
	])(
		"the architecture %o, before the weights are waited for",
		async (json, text) => {
			model.files["config.json"] = Buffer.from(JSON.stringify(json));
			const said = await problem(pull());
			expect(said).toMatch(/^BACKBONE_UNSUPPORTED/);
			expect(said).toMatch(text);
			expect(hub.asked(/model\.safetensors/)).toEqual([]);
		},
	);

	it("weights that do not fit their configuration are not in the cache", async () => {
		model.files[weights] = timmFiles(1)["config.json"] as Uint8Array;
		expect(await problem(pull())).toMatch(/^SAFETENSORS_INVALID/);
		model.files = {
			...timmFiles(1),
			"config.json": Buffer.from('{"num_attention_heads": 7}'),
		};
		model.commit = other;
		expect(await problem(pull())).toMatch(/^BACKBONE_UNSUPPORTED: .*7 heads/);
		expect(listCached(env)).toEqual([]);
	});

	it.each([
		["a login page", /revision/, "<html>", /its answer is not JSON/],
		["no commit", /revision/, "{}", /no commit/],
		["a commit that leads out", /revision/, '{"sha":"../../x"}', /no commit/],
		["nothing", /revision/, "null", /another structure/],
		["a list that is none", /tree/, "{}", /another structure/],
		[
			"a file without hash",
			/tree/,
			'[{"type":"file","path":"model.safetensors","size":1},{"type":"file","path":"config.json","size":1}]',
			/no hash of config\.json/,
		],
		[
			"a hash that is none",
			/tree/,
			'[{"type":"file","path":"model.safetensors","size":1,"oid":"x","lfs":{"oid":"../x","size":1}},{"type":"file","path":"config.json","size":1,"oid":"x"}]',
			/no hash/,
		],
	])("an answer that is %s", async (_title, pattern, body, text) => {
		hub.faults.push(({ path }, _request, response) => {
			if (pattern.test(path)) response.writeHead(200).end(body);
			return pattern.test(path);
		});
		const said = await problem(pull());
		expect(said).toMatch(/^HUB_REPLY/);
		expect(said).toMatch(text);
	});

	it("another commit than was asked for", async () => {
		model.revisions = { [other]: commit };
		expect(await problem(pull({}, `${name}@${other}`))).toMatch(
			/^HUB_REPLY: .*asked for b+, it tells of a+/,
		);
	});

	it.each([
		["HF_ENDPOINT", "hub.example", /begins with https:\/\//],
		[
			"HF_ENDPOINT",
			"https://me:secret@hub.example",
			/must not hold a password/,
		],
		["HF_TOKEN", "two\nwords", /one word/],
	])("%s=%j", async (variable, value, text) => {
		const said = await problem(pull({ env: { ...env, [variable]: value } }));
		expect(said).toMatch(/^HUB_SETTING/);
		expect(said).toMatch(text);
		expect(said).not.toMatch(/secret|words/);
	});
});

describe("offline", () => {
	it.each([
		["HF_HUB_OFFLINE", "1"],
		["HF_HUB_OFFLINE", "True"],
		["TRANSFORMERS_OFFLINE", "yes"],
	])("%s=%s: what is there, and nothing is asked", async (variable, value) => {
		const off = { ...env, [variable]: value };
		const said = await problem(pull({ env: off }));
		expect(said).toMatch(
			/^BACKBONE_NOT_CACHED: hub:facebook\/tiny is not in .* HF_HUB_OFFLINE is set\. Run "keepsight backbone pull hub:facebook\/tiny" where there is a network.*config\.json and model\.safetensors/,
		);
		expect(said).toContain(repoDir("facebook/tiny", env));
		expect(hub.log).toEqual([]);
		await pull();
		hub.log.length = 0;
		expect((await pull({ env: off })).alreadyThere).toBe(true);
		expect(hub.log).toEqual([]);
	});

	it("a copy of the model's folder is enough", async () => {
		await pull();
		const elsewhere = join(work, "elsewhere");
		mkdirSync(elsewhere);
		cpSync(join(work, "assets"), join(elsewhere, "assets"), {
			recursive: true,
		});
		const there = { HF_HOME: elsewhere, HF_HUB_OFFLINE: "1" };
		expect((await pull({ env: there })).dir).toContain(elsewhere);
	});
});
