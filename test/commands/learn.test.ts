/** The built program: a memory that grows product by product, forgets, goes back, and is whole after a kill. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
	cpSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodePng } from "../../src/data/image.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { Knowledge } from "../../src/knowledge.ts";
import { VersionedFolder } from "../../src/storage.ts";
import { drawCategory, size } from "../drawn.ts";
import { keepsight } from "../here.ts";
import { cli } from "../program.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-learn-"));
const data = join(work, "data");
afterAll(() => rmSync(work, { recursive: true, force: true }));

const written = (name: string, more: string): string => {
	const path = join(work, `${name}.yaml`);
	writeFileSync(
		path,
		`name: ${name}
data: { root: ${data}, tasks: [mvtec/a, mvtec/b] }
image_size: ${size}
backbone: { name: vit, width: 24, depth: 3, heads: 2, patch: 4 }
pretext: { name: cutpaste }
out: ${join(work, "out")}
threads: 1
${more}
`,
	);
	return path;
};
let frozen: string;
let trained: string;
beforeAll(async () => {
	for (const [kind, id] of ["mvtec/a", "mvtec/b"].entries())
		await drawCategory(join(data, id), kind, 12, 4);
	frozen = written(
		"frozen",
		"trainable: none\nstrategy: { name: frozen }\nmemory: [{ name: patches, blocks: [0.34], weight: 3 }, { name: dne }]",
	);
	trained = written(
		"trained",
		"trainable: { last: 1 }\nstrategy: { name: gpm }\nmemory: [{ name: dne }]\ntrain: { epochs: 1, batch_size: 8 }",
	);
});

const learn = (dir: string, task: string, ...more: string[]) =>
	keepsight(
		"learn",
		"--mem_dir",
		join(work, dir),
		"--task",
		task,
		...(more.includes("--data") ? [] : ["--data", join(data, task)]),
		...more,
	);
const succeeded = async (running: ReturnType<typeof keepsight>) => {
	const { status, stdout, stderr } = await running;
	expect(stderr).not.toMatch(/^error/m);
	expect(status).toBe(0);
	return stdout;
};
const refused = async (
	running: ReturnType<typeof keepsight>,
): Promise<string> => {
	const { status, stderr } = await running;
	expect(status).toBe(2);
	return stderr;
};
const on = (command: string, dir: string, ...more: string[]) =>
	keepsight(command, "--mem_dir", join(work, dir), ...more);
interface Listed {
	version: { version: number; change: string };
	products: { id: string; images: number; seconds: number | null }[];
	earlier: { version: number; change: string; products: number }[];
}
const tasks = async (dir: string): Promise<Listed> =>
	JSON.parse(await succeeded(on("tasks", dir, "--json")));
const memoryOf = (dir: string) => join(work, dir, "memory");
/** Path below memory/ -> content; without what names versions. */
const filesOf = (dir: string): Record<string, string> =>
	Object.fromEntries(
		readdirSync(memoryOf(dir), { recursive: true, encoding: "utf8" })
			.filter((path) => path.endsWith(".safetensors"))
			.sort()
			.map((path) => [
				path,
				readFileSync(join(memoryOf(dir), path)).toString("base64"),
			]),
	);

describe("learn", () => {
	it("product by product ends with the files that train writes", async () => {
		await succeeded(keepsight("train", "--config", frozen));
		const out = await succeeded(learn("frozen", "mvtec/a", "--config", frozen));
		expect(out).toContain("Learnt mvtec/a from 12 good images");
		expect(out).toContain("12 good images show 1 in 13");
		const first = filesOf("frozen");
		await succeeded(learn("frozen", "mvtec/b"));
		const both = filesOf("frozen");
		expect(both).toMatchObject(first); // untouched
		expect(both).toEqual(filesOf("out/frozen/Anomaly"));
		expect(await tasks("frozen")).toMatchObject({
			version: { version: 2, change: "learn mvtec/b" },
			products: [
				{ id: "mvtec/a", images: 12 },
				{ id: "mvtec/b", images: 12 },
			],
			earlier: [{ version: 1, change: "learn mvtec/a", products: 1 }],
		});
		await succeeded(on("eval", "frozen"));
		const scores = (dir: string) =>
			["a", "b"].map((id) =>
				readFileSync(join(work, dir, `scores/after-02/mvtec.${id}.csv`), "utf8")
					// rows name files below the product's own folder or the data root alike
					.replaceAll("\r", ""),
			);
		expect(scores("frozen")).toEqual(scores("out/frozen/Anomaly"));
	});

	it("also where a strategy trains weights", async () => {
		await succeeded(keepsight("train", "--config", trained));
		await succeeded(learn("trained", "mvtec/a", "--config", trained));
		await succeeded(learn("trained", "mvtec/b"));
		const wanted = filesOf("out/trained/Anomaly");
		const found = filesOf("trained");
		// weights of earlier versions are kept beside
		for (const [path, content] of Object.entries(wanted))
			expect(found[path], path).toBe(content);
	});

	it("makes no memory where nothing can be learnt", async () => {
		const empty = join(work, "empty");
		mkdirSync(empty);
		for (const more of [
			["--data", empty],
			["--data", join(data, "mvtec/a"), "--set", "backbone={ name: nosuch }"],
		])
			await refused(learn("fresh", "mvtec/a", "--config", frozen, ...more));
		expect(existsSync(join(work, "fresh"))).toBe(false);
		expect(await refused(on("forget", "fresh", "--task", "a"))).toContain(
			"no run",
		);
	});

	it("a flat folder of pictures, with a region of interest; more images are added, and counted once", async () => {
		const flat = join(work, "pictures");
		cpSync(join(data, "mvtec/a/train/good"), flat, { recursive: true });
		const roi = uint8([8, 8]);
		roi.data.fill(255, 32);
		const mask = join(work, "roi.png");
		writeFileSync(mask, await encodePng(roi));
		await succeeded(
			learn("flat", "cap", "--data", flat, "--roi", mask, "--config", frozen),
		);
		const folder = VersionedFolder.open(memoryOf("flat"));
		const before = Knowledge.load(folder, 1);
		expect(before.imagesOf("cap")).toBe(12);
		const more = join(work, "more");
		cpSync(join(data, "mvtec/a/test/good"), more, { recursive: true });
		const count = readdirSync(more).length;
		expect(
			await succeeded(learn("flat", "cap", "--add", "--data", more)),
		).toContain(`Added ${count} good images to cap`);
		const after = Knowledge.load(VersionedFolder.open(memoryOf("flat")), 1);
		expect(after.imagesOf("cap")).toBe(12 + count);
		const crossFitted = (k: Knowledge) =>
			k.memories.map((memory) => memory.crossFitted("cap").scores.length);
		expect(crossFitted(before)).toEqual([12, 12]);
		expect(crossFitted(after)).toEqual([12 + count, 12 + count]);
	});

	it("names images that show nothing, two of them too, which are not odd", async () => {
		const dim = join(work, "dim");
		cpSync(join(data, "mvtec/a/train/good"), dim, { recursive: true });
		const black = await encodePng(uint8([size, size, 3]));
		for (const name of ["b1.png", "b2.png"])
			writeFileSync(join(dim, name), black);
		const told = await succeeded(
			learn("saw", "cap", "--data", dim, "--config", frozen),
		);
		expect(told).toContain("2 images show nothing");
		expect(await refused(on("rollback", "saw"))).toContain(
			"keeps no earlier version. It keeps none but the present one",
		);
		expect(told).toContain(`  dark  ${join(dim, "b1.png")}\n`);
		const one = join(work, "black");
		mkdirSync(one);
		writeFileSync(join(one, "1.png"), black);
		const more = await succeeded(
			learn("saw", "cap", "--add", "--data", one, "--json"),
		);
		expect(JSON.parse(more)).toMatchObject({
			images: 1,
			blank: [{ path: join(one, "1.png"), flaw: "dark" }],
		});
	});

	it("names added images that the product would have rejected", async () => {
		const other = join(data, "mvtec/b/train/good");
		const files = readdirSync(other);
		const text = await succeeded(learn("saw", "cap", "--add", "--data", other));
		expect(text).toContain(
			`As cap was before, ${files.length} of them would have been rejected. If a part in them is not good, or is another product, \`keepsight rollback\` takes all of them out again:\n`,
		);
		expect(text.match(/^ {2}[\d.]+ {2}.*\.png$/gm)).toHaveLength(
			Math.min(10, files.length),
		);
	});

	it("what forgot its last product is empty to all that score", async () => {
		const mem = join(work, "saw");
		await succeeded(on("forget", "saw", "--task", "cap"));
		for (const empty of [
			keepsight("export", "--mem_dir", mem, "--out", join(work, "exported")),
			keepsight("predict", "--mem_dir", mem, data),
			on("eval", "saw"),
		])
			expect(await refused(empty)).toContain("has learnt no task yet");
	});

	it("lists odd images; with --review a person decides before anything is learnt", async () => {
		const dirty = join(work, "dirty");
		cpSync(join(data, "mvtec/a/train/good"), dirty, { recursive: true });
		const bad = join(dirty, "zz, bad.png");
		cpSync(join(data, "mvtec/a/test/spot/0.png"), bad);
		const told = await succeeded(
			learn("told", "cap", "--data", dirty, "--config", frozen),
		);
		expect(told).toContain("13 good images");
		expect(told).toMatch(/looks? unlike the others/);
		expect(told).toContain(bad);

		const review = (...more: string[]) =>
			learn("asked", "cap", "--data", dirty, "--review", ...more);
		expect(await succeeded(review("--config", frozen))).toContain(
			"Nothing is learnt yet",
		);
		expect(await refused(on("tasks", "asked"))).toContain(
			"has learnt no task yet",
		);
		const table = join(work, "asked/review/cap.csv");
		const rows = readFileSync(table, "utf8");
		expect(rows).toMatch(/^keep,score,picture,path\n/);
		expect(rows).toContain(`?,`);
		expect(rows).toContain(`"${bad}"`);
		expect(existsSync(join(work, "asked/review/cap/001.png"))).toBe(true);
		expect(await refused(review("--config", frozen))).toContain(
			'"?" is neither yes nor no',
		);
		const decided = rows
			.split("\n")
			.map((row) =>
				row.startsWith("?")
					? row.replace("?", row.includes("bad") ? "no" : "Yes")
					: row,
			)
			.join("\r\n");
		writeFileSync(table, `\uFEFF${decided}`); // as a spreadsheet saves it
		const done = await succeeded(review("--config", frozen));
		expect(done).toContain("from 12 good images");
		expect(done).toContain("without 1 that the review refused");
		expect(existsSync(table)).toBe(false);
		expect(existsSync(join(work, "asked/review/cap"))).toBe(false);
		await succeeded(
			learn(
				"clean",
				"cap",
				"--data",
				join(data, "mvtec/a"),
				"--config",
				frozen,
			),
		);
		const [mine, wanted] = ["asked", "clean"].map((dir) =>
			Object.keys(filesOf(dir)),
		);
		expect(mine).toEqual(wanted); // names follow from contents
	});

	it("recalibrates on good images under another lamp: thresholds move, the memory's files stay", async () => {
		const lamp = join(work, "lamp");
		await drawCategory(lamp, 0, 24, 0);
		const before = filesOf("clean");
		const told = await succeeded(
			on(
				"learn",
				"clean",
				"--task",
				"cap",
				"--recalibrate",
				join(lamp, "train/good"),
			),
		);
		expect(told).toContain("Recalibrated cap on 24 good images");
		const after = filesOf("clean");
		expect(after).toMatchObject(before);
		expect(Object.keys(after).length).toBe(Object.keys(before).length + 1);
		const folder = () => VersionedFolder.open(memoryOf("clean"));
		const [fresh, old] = [folder(), folder().at(1)].map(
			(at) => Knowledge.load(at, 1).calibrations("cap") ?? [],
		);
		expect(old?.map(({ n }) => n)).toEqual([12, 12]);
		expect(fresh?.map(({ n }) => n)).toEqual([24, 24]);
		await succeeded(learn("clean", "cap", "--add", "--data", lamp));
		expect(
			Knowledge.load(folder(), 1)
				.calibrations("cap")
				.map(({ n }) => n),
		).toEqual([36, 36]); // of all that is learnt again
	});

	it("refuses what cannot be, and leaves the memory alone", async () => {
		const files = filesOf("frozen");
		const few = join(work, "few");
		mkdirSync(few);
		const good = join(data, "mvtec/a/train/good");
		for (const name of readdirSync(good).slice(0, 9))
			cpSync(join(good, name), join(few, name));
		const text = [
			[learn("frozen", "mvtec/a"), "is learnt already"],
			[learn("frozen", "few", "--data", few), "9 good images"],
			[learn("frozen", "none", "--data", join(work, "nosuch")), "nosuch"],
			[learn("frozen", "../up", "--data", few), "cannot be a product's name"],
			[learn("frozen", "a\nb", "--data", few), "cannot be a product's name"],
			[learn("frozen", "mvtec/x", "--add", "--data", few), "mvtec/x"],
			[learn("frozen", "c", "--config", frozen), "configuration already"],
			[
				learn("frozen", "mvtec/a", "--add", "--roi", join(work, "roi.png")),
				"--roi",
			],
			[
				on("learn", "frozen", "--task", "mvtec/a", "--recalibrate", few),
				"9 good images",
			],
			[on("learn", "frozen", "--task", "mvtec/a"), "--data"],
			[
				learn("frozen", "mvtec/a", "--recalibrate", few),
				"--data and --recalibrate",
			],
			[on("forget", "frozen", "--task", "mvtec/x"), "mvtec/a, mvtec/b"],
			[on("rollback", "frozen", "--to", "9"), "keeps no version 9"],
			[on("rollback", "frozen", "--to", "2"), "at version 2 already"],
			[on("forget", "nosuch", "--task", "a"), "nosuch"],
			[on("tasks", "nosuch"), "nosuch"],
		] as const;
		for (const [result, wording] of text)
			expect(await refused(result)).toContain(wording);
		expect(filesOf("frozen")).toEqual(files);
		expect(existsSync(join(work, "nosuch"))).toBe(false);
	});
});

describe("beside train and eval", () => {
	const record = (dir: string) => join(work, dir, "run.json");
	const rewrite = (dir: string, change: (run: never) => unknown) => {
		const run = JSON.parse(readFileSync(record(dir), "utf8"));
		change(run as never);
		writeFileSync(record(dir), JSON.stringify(run));
	};

	it("a run of train that has not ended is left alone, and one that was changed is not gone on with", async () => {
		cpSync(join(work, "out/frozen"), join(work, "out/half"), {
			recursive: true,
		});
		const half = "out/half/Anomaly";
		const pending = (run: {
			config: { name: string };
			tasks: { state: string }[];
		}) => {
			run.config.name = "half";
			(run.tasks[1] as { state: string }).state = "learning";
		};
		rewrite(half, pending);
		const before = readFileSync(record(half), "utf8");
		expect(await refused(on("forget", half, "--task", "mvtec/a"))).toContain(
			"train --resume",
		);
		expect(readFileSync(record(half), "utf8")).toBe(before);
		await succeeded(
			keepsight("train", "--config", frozen, "--resume", "--set", "name=half"),
		);
		await succeeded(on("forget", half, "--task", "mvtec/a"));
		expect(
			await refused(
				keepsight(
					"train",
					"--config",
					frozen,
					"--resume",
					"--force",
					"--set",
					"name=half",
				),
			),
		).toContain("was changed by learn, forget or rollback");
		expect((await tasks(half)).products.map(({ id }) => id)).toEqual([
			"mvtec/b",
		]);
	});

	it("killed between the memory and the record, a product keeps its folder, and old scores do not outlive it", async () => {
		rewrite("frozen", (run: { tasks: { state: string }[] }) => {
			(run.tasks[1] as { state: string }).state = "learning";
		});
		const scores = join(work, "kept-scores");
		await succeeded(on("eval", "frozen"));
		cpSync(join(work, "frozen/scores"), scores, { recursive: true });
		await succeeded(on("forget", "frozen", "--task", "mvtec/b"));
		await succeeded(on("rollback", "frozen"));
		await succeeded(on("eval", "frozen"));
		expect(
			readFileSync(join(work, "frozen/scores/after-02/mvtec.b.csv"), "utf8"),
		).toBe(readFileSync(join(scores, "after-02/mvtec.b.csv"), "utf8"));
	});

	it("maps never replace a product's own pictures", async () => {
		expect(await refused(on("eval", "frozen", "--maps", data))).toContain(
			"pictures",
		);
		const maps = join(work, "maps");
		for (
			let twice = 0;
			twice < 2;
			twice++ // also into a folder that is there
		)
			await succeeded(on("eval", "frozen", "--maps", maps));
		expect(existsSync(join(maps, "mvtec/a/test/spot/0.tiff"))).toBe(true);
	});

	it("a product may have any name, also that of a folder of ours", async () => {
		for (const name of ["versions", "memory", "@versions", "größe 5"])
			await succeeded(
				learn(
					"names",
					name,
					"--data",
					join(data, "mvtec/a"),
					...(name === "versions" ? ["--config", frozen] : []),
				),
			);
		expect((await tasks("names")).products.map(({ id }) => id)).toEqual([
			"versions",
			"memory",
			"@versions",
			"größe 5",
		]);
		expect((await tasks("names")).earlier.length).toBe(3);
	});

	it("goes back from a memory that is damaged", async () => {
		const damaged = readdirSync(memoryOf("names"), {
			recursive: true,
			encoding: "utf8",
		}).find((path) => /5\..*routing/.test(path));
		writeFileSync(join(memoryOf("names"), damaged as string), "");
		expect(await refused(on("tasks", "names"))).toContain("damaged");
		await succeeded(on("rollback", "names"));
		expect((await tasks("names")).products.length).toBe(3);
	});
});

describe("forget and rollback", () => {
	it("drop a product and bring it back, with its scores bit for bit", async () => {
		await succeeded(on("eval", "frozen"));
		const scored = () =>
			readFileSync(join(work, "frozen/scores/after-02/mvtec.a.csv"), "utf8");
		const before = scored();
		const kept = filesOf("frozen");
		await succeeded(on("forget", "frozen", "--task", "mvtec/a"));
		expect((await tasks("frozen")).products.map(({ id }) => id)).toEqual([
			"mvtec/b",
		]);
		expect(existsSync(join(work, "frozen/scores"))).toBe(false);
		expect(filesOf("frozen")).toMatchObject(kept); // of the versions that are kept
		expect(await succeeded(on("rollback", "frozen"))).toContain(
			"there again: mvtec/a",
		);
		const now = await tasks("frozen");
		expect(now.version.change).toMatch(/^rollback to version \d+$/);
		expect(now.products.map(({ id }) => id)).toEqual(["mvtec/a", "mvtec/b"]);
		expect(now.products.every(({ seconds }) => seconds !== null)).toBe(true);
		await succeeded(on("eval", "frozen"));
		expect(scored()).toBe(before);
		await succeeded(on("rollback", "frozen", "--to", "1"));
		expect((await tasks("frozen")).products.map(({ id }) => id)).toEqual([
			"mvtec/a",
		]);
		await succeeded(learn("frozen", "mvtec/b")); // it may be learnt again
		expect((await tasks("frozen")).products.map(({ id }) => id)).toEqual([
			"mvtec/a",
			"mvtec/b",
		]);
	});
});

it("killed at any moment, the memory is the old or the new one, and the next command goes on", async () => {
	const times: number[] = [];
	const factor = process.env.KEEPSIGHT_SOAK ? 1.2 : 1.5;
	for (let wait = 200; wait < 60_000; wait = Math.round(wait * factor))
		times.push(wait);
	const dir = "killed";
	await succeeded(learn(dir, "mvtec/a", "--config", frozen));
	const old = filesOf(dir);
	const seen = new Set<string>();
	for (const wait of times) {
		const child = spawn(
			process.execPath,
			[
				cli,
				"learn",
				"--mem_dir",
				join(work, dir),
				"--quiet",
				"--task",
				"mvtec/b",
				"--data",
				join(data, "mvtec/b"),
			],
			{ stdio: "ignore" },
		);
		const ended = once(child, "exit");
		const timer = setTimeout(() => child.kill("SIGKILL"), wait);
		await ended;
		clearTimeout(timer);
		await new Promise((resolve) => setTimeout(resolve, 300)); // its own child follows it
		const folder = VersionedFolder.open(memoryOf(dir));
		folder.verify();
		for (const { version } of folder.earlier) folder.at(version).verify();
		expect(filesOf(dir)).toMatchObject(old);
		const { products } = await tasks(dir);
		seen.add(products.map(({ id }) => id).join(" "));
		if (products.length === 2) break;
	}
	expect([...seen]).toEqual(["mvtec/a", "mvtec/a mvtec/b"]);
	await succeeded(on("forget", dir, "--task", "mvtec/b"));
	expect((await tasks(dir)).products.map(({ id }) => id)).toEqual(["mvtec/a"]);
}, 120_000);
