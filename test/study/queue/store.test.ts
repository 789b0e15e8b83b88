/** Run folders through an S3-compatible store: what comes out is what went in, and what cannot be used says so. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parseConfig, runDir, type RunConfig } from "../../../src/config.ts";
import { writeAtomic } from "../../../src/storage.ts";
import { folderStore, openStore } from "../../../src/study/queue/store.ts";
import { S3Server } from "./s3-server.ts";

const study = "00000000-0000-4000-8000-000000000000";
const work = mkdtempSync(join(tmpdir(), "keepsight-store-"));
let server: S3Server;
const saved = { ...process.env };
beforeAll(async () => {
	process.env.AWS_ACCESS_KEY_ID = "id";
	process.env.AWS_SECRET_ACCESS_KEY = "secret";
	server = await S3Server.start();
});
afterAll(async () => {
	process.env = saved;
	await server.stop();
	rmSync(work, { recursive: true, force: true });
});
beforeEach(() => {
	server.objects.clear();
	server.refusal = null;
	server.page = 1000;
	rmSync(join(work, "here"), { recursive: true, force: true });
	rmSync(join(work, "there"), { recursive: true, force: true });
});

const quiet = new AbortController().signal;
const storeOf = (prefix = "sweeps/one") =>
	openStore(`s3://bucket/${prefix}?endpoint=${server.endpoint}`);
const at = (place: string): RunConfig =>
	parseConfig(
		`name: gpm-seed0
data: { tasks: [a/x] }
pretext: { name: cutpaste }
strategy: { name: gpm }
memory: [{ name: dne }]
out: ${join(work, place)}
`,
		"test",
	).config;

/** Path -> content of a run that is as real as a store can tell. */
const files: Readonly<Record<string, string>> = {
	"run.json": "{}",
	"metrics.json": "{}",
	"scores/after-01/a.x.csv": "label,score\n",
	"memory/manifest.json": "{}",
	"memory/a.x/dne.0123456789abcdef.safetensors": "bytes",
	"log.jsonl": "",
};
const written = () => {
	for (const [path, text] of Object.entries(files))
		writeAtomic(join(runDir(at("here")), path), text);
	writeAtomic(join(runDir(at("here")), ".lock"), "mine");
};
const filesIn = (place: string) => {
	const dir = runDir(at(place));
	return Object.fromEntries(
		readdirSync(dir, { recursive: true, withFileTypes: true })
			.filter((file) => file.isFile())
			.map((file) => join(file.parentPath, file.name))
			.map((path) => [path.slice(dir.length + 1), readFileSync(path, "utf8")]),
	);
};

describe("an S3 store", () => {
	it("brings a run folder from one machine to another, without its lock", async () => {
		server.page = 2; // listings come in pages
		const store = await storeOf();
		written();
		await store.publish({ study, config: at("here"), start: "1-2-3" }, quiet);
		expect([...server.objects.keys()].at(-1)).toBe(
			`bucket/sweeps/one/${study}/gpm-seed0/1-2-3/run.json`, // last: without it there is no run
		);
		writeAtomic(join(runDir(at("there")), "old"), "of an earlier attempt");
		await store.retrieve({ study, config: at("there"), start: "1-2-3" });
		expect(filesIn("there")).toEqual(files);
	});

	it("keeps attempts apart, and gives none that is not whole", async () => {
		const store = await storeOf("");
		written();
		await store.publish({ study, config: at("here"), start: "1" }, quiet);
		await expect(
			store.retrieve({ study, config: at("there"), start: "2" }),
		).rejects.toThrow(/holds no finished run/);
		server.objects.delete(`bucket/${study}/gpm-seed0/1/run.json`);
		await expect(
			store.retrieve({ study, config: at("there"), start: "1" }),
		).rejects.toMatchObject({ code: "STORE_UNUSABLE" });
	});

	it("knows the sweeps that were announced", async () => {
		const store = await storeOf();
		expect(await store.problemWith(study, "")).toMatch(/does not hold/);
		await store.announce(study);
		expect(await store.problemWith(study, "")).toBeNull();
	});

	it("takes no name that leads out of the run folder", async () => {
		const store = await storeOf();
		const folder = `bucket/sweeps/one/${study}/gpm-seed0/1`;
		server.objects.set(`${folder}/run.json`, Buffer.from("{}"));
		server.objects.set(`${folder}/../../../evil`, Buffer.from("x"));
		await expect(
			store.retrieve({ study, config: at("there"), start: "1" }),
		).rejects.toMatchObject({ code: "UNSAFE_PATH" });
		expect(readdirSync(work)).not.toContain("evil");
	});

	it.each([
		["is read-only", 403, "AccessDenied"],
		["is full", 507, "XMinioStorageFull"],
	])(
		"case 14: that %s says so, and the run stays where it was computed",
		async (_, status, code) => {
			const store = await storeOf();
			written();
			server.refusal = [status, code];
			await expect(
				store.publish({ study, config: at("here"), start: "1" }, quiet),
			).rejects.toThrow(
				new RegExp(
					`s3://bucket/sweeps/one: ${code}.*stays in its run folder`,
					"s",
				),
			);
			expect(filesIn("here")).toMatchObject(files);
		},
	);

	it("that is not there says so", async () => {
		const store = await openStore("s3://bucket?endpoint=http://127.0.0.1:1");
		await expect(store.announce(study)).rejects.toMatchObject({
			code: "STORE_UNUSABLE",
		});
	});
});

describe("the address of a store", () => {
	it("is the shared folder where none is given", async () => {
		expect(await openStore(undefined)).toBe(folderStore);
	});
	it.each(["http://host/x", "somewhere", "file:///x"])(
		"%s is none",
		async (url) => {
			await expect(openStore(url)).rejects.toThrow(/no s3:\/\/BUCKET\/PREFIX/);
		},
	);
});
