/** A small student of a small teacher, on drawn pictures. */
import {
	copyFileSync,
	cpSync,
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
import {
	afterAll,
	beforeAll,
	describe,
	expect,
	it,
	onTestFinished,
} from "vitest";
import {
	batches,
	type Crops,
	Pool,
	picturesIn,
	total,
	validation,
} from "../src/distill/crops.ts";
import { encodePng } from "../src/data/image.ts";
import {
	type DistillJob,
	type DistillSettings,
	distill,
} from "../src/distill/distill.ts";
import { constant, input, inputsOf } from "../src/engine/graph.ts";
import { Session } from "../src/engine/runtime.ts";
import { type Tensor, uint8 } from "../src/engine/tensor.ts";
import type { RunEvent } from "../src/events.ts";
import { readBackbone } from "../src/models/backbone.ts";
import { writeSafetensors } from "../src/models/safetensors.ts";
import { initialise, type VitConfig } from "../src/models/vit.ts";
import { Random } from "../src/random.ts";
import { files } from "../src/storage.ts";
import { lossesOf, projectionOf } from "../src/distill/student.ts";
import { Trunk } from "../src/trunk.ts";
import { keepsight } from "./program.ts";

const folder = mkdtempSync(join(tmpdir(), "keepsight-distill-"));
const pictures = join(folder, "pictures");
const teacher = join(folder, "teacher");
const pool = join(folder, "pool");
const random = new Random("distill.test");

const config: VitConfig = {
	imageSize: [16, 16],
	patch: 4,
	width: 32,
	depth: 4,
	heads: 2,
	mlpRatio: 4,
	registers: 0,
	layerScale: false,
	classPosition: true,
	layerNormEps: 1e-6,
	mean: [0.5, 0.5, 0.5],
	std: [0.25, 0.25, 0.25],
};

const settings: DistillSettings = {
	teacher,
	precision: "float32",
	images: [pictures],
	blocks: [0.75],
	student: { name: "vit", width: 16, depth: 3, heads: 2, patch: 4 },
	from: "random",
	imageSize: [16, 16],
	crops: 256,
	steps: 620, // one saved state on the way
	batchSize: 8,
	optimizer: "muon",
	lr: 3e-3,
	weightDecay: 0.01,
	classWeight: 0.2,
	seed: 1,
};
const quiet = { emit: () => {}, stop: { requested: false } };
const job = (
	name: string,
	more: Partial<DistillSettings> = {},
	mode: DistillJob["mode"] = "new",
): DistillJob => ({
	settings: { ...settings, ...more },
	out: join(folder, name),
	pool,
	mode,
	threads: 1,
});
/** The folder's lock is another's from now on. */
const take = (name: string) =>
	writeFileSync(
		join(folder, name, ".lock"),
		JSON.stringify({ host: "elsewhere", pid: 7, token: "x" }),
	);
const lossesAt = (result: { results: object }) =>
	(result.results as { heldOut: { patches: number; classes: number } }).heldOut;

/** Blobs and stripes. */
async function draw(name: string, [h, w]: readonly [number, number]) {
	const r = random.derive(name);
	const [fx, fy, phase] = [
		r.uniform(0.05, 0.6),
		r.uniform(0.05, 0.6),
		r.uniform(0, 6),
	];
	const colour = [r.uniform(40, 120), r.uniform(40, 120), r.uniform(40, 120)];
	const image = uint8([h, w, 3]);
	for (let y = 0; y < h; y++)
		for (let x = 0; x < w; x++)
			for (let k = 0; k < 3; k++)
				image.data[(y * w + x) * 3 + k] =
					128 + (colour[k] as number) * Math.sin(fx * x + fy * y + phase + k);
	writeFileSync(join(pictures, name), await encodePng(image));
}

beforeAll(async () => {
	mkdirSync(join(pictures, "more"), { recursive: true });
	mkdirSync(teacher);
	for (let i = 0; i < 16; i++)
		await draw(i % 2 ? `${i}.png` : `more/${i}.png`, [40 + 3 * i, 90 - 2 * i]);
	const weights = initialise(config, random);
	for (const t of Object.values(weights))
		for (let i = 0; i < t.data.length; i++)
			t.data[i] = (t.data[i] as number) * 4;
	writeFileSync(join(teacher, "model.safetensors"), writeSafetensors(weights));
	writeFileSync(
		join(teacher, "config.json"),
		JSON.stringify({ num_attention_heads: 2, layer_norm_eps: 1e-6 }),
	);
	writeFileSync(
		join(teacher, "preprocessor_config.json"),
		JSON.stringify({ image_mean: config.mean, image_std: config.std }),
	);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("a student", () => {
	it("learns what the teacher says, in a folder that is a backbone; another one shares the pool", async () => {
		const events: RunEvent[] = [];
		const result = await distill(job("first"), {
			...quiet,
			emit: (e) => events.push(e),
		});
		const first = lossesAt(result);
		expect(result.text).toContain("16 x 3");
		expect(
			events.some((e) => e.type === "progress" && e.unit === "crops"),
		).toBe(true);
		const drawn = readdirSync(pool).map((name) => [
			name,
			statSync(join(pool, name)).mtimeMs,
		]);

		const short = lossesAt(await distill(job("short", { steps: 1 }), quiet));
		expect(
			readdirSync(pool).map((name) => [
				name,
				statSync(join(pool, name)).mtimeMs,
			]),
		).toEqual(drawn);
		expect(first.patches).toBeLessThan(0.6 * short.patches);
		expect(first.classes).toBeLessThan(0.6 * short.classes);

		const { config: read, weights } = readBackbone(
			join(folder, "first"),
			[16, 16],
		);
		expect(read).toMatchObject({
			width: 16,
			depth: 3,
			heads: 2,
			patch: 4,
			mean: config.mean,
			patchBlocks: [2 / 3],
		});
		expect(
			Object.values(weights).every(({ data }) => data.every(Number.isFinite)),
		).toBe(true);
		const log = readFileSync(join(folder, "first", "log.jsonl"), "utf8")
			.trim()
			.split("\n")
			.map((line) => JSON.parse(line) as { step: number; heldOut: object });
		expect(log.map(({ step }) => step)).toEqual([0, 500, 620]);
		expect(log.at(-1)?.heldOut).toEqual(first);
	});

	it("stopped and resumed, ends in the same bytes", async () => {
		const stop = { requested: false };
		const emit = (event: RunEvent) => {
			if (
				event.type === "progress" &&
				event.unit === "steps" &&
				event.done === 560
			)
				stop.requested = true;
		};
		await expect(distill(job("stopped"), { emit, stop })).rejects.toThrow();
		await distill(job("stopped", {}, "resume"), quiet);
		for (const name of ["model.safetensors", "config.json"])
			expect(
				readFileSync(join(folder, "stopped", name)).equals(
					readFileSync(join(folder, "first", name)),
				),
			).toBe(true);
		// finished: nothing is left to do
		const again = await distill(job("stopped", {}, "resume"), quiet);
		expect(lossesAt(again).patches).toBeLessThan(1);
	});

	it.each(["manifest.json", "state"])(
		"whose %s is damaged says what to do about a student",
		async (name) => {
			const damaged = `damaged ${name}`;
			cpSync(join(folder, "first"), join(folder, damaged), { recursive: true });
			const checkpoint = join(folder, damaged, "checkpoint");
			const file = readdirSync(checkpoint).find((n) => n.startsWith(name));
			writeFileSync(join(checkpoint, file as string), "{");
			await expect(distill(job(damaged, {}, "resume"), quiet)).rejects.toThrow(
				/ is damaged: .* or begin the student anew in another folder with "keepsight backbone distill --out DIR"\.$/,
			);
		},
	);

	it("goes on from an earlier student", async () => {
		const on = lossesAt(
			await distill(
				job("on", { from: join(folder, "first"), steps: 60, lr: 1e-3 }),
				quiet,
			),
		);
		const anew = lossesAt(
			await distill(job("anew", { steps: 60, lr: 1e-3 }), quiet),
		);
		expect(on.patches).toBeLessThan(0.8 * anew.patches);
		await expect(
			distill(
				job("other", {
					from: join(folder, "first"),
					student: { ...settings.student, width: 8 },
				}),
				quiet,
			),
		).rejects.toThrow("width is 16, the student's 8");
	});

	it("does not mix with another in one folder", async () => {
		await expect(distill(job("first"), quiet)).rejects.toThrow("--resume");
		await expect(
			distill(job("first", { lr: 1 }, "resume"), quiet),
		).rejects.toThrow("other settings (lr)");
		await expect(distill(job("odd", { seed: 2 }), quiet)).rejects.toThrow(
			"other settings (seed)",
		);
		await distill(job("short", { steps: 2 }, "fresh"), quiet);
	});

	it.each([
		["distill.json", ["distill.json"]],
		["projection.safetensors", ["distill.json", "projection.safetensors"]],
		[
			"model.safetensors",
			["distill.json", "model.safetensors", "projection.safetensors"],
		],
	])(
		"case 7: writes nothing after %s where its folder was taken over then",
		async (last, left) => {
			const { rename } = files;
			files.rename = (from, to) => {
				rename(from, to);
				if (to === join(folder, `late ${last}`, last)) take(`late ${last}`);
			};
			onTestFinished(() => void Object.assign(files, { rename }));
			await expect(
				distill(job(`late ${last}`, { steps: 2 }), quiet),
			).rejects.toMatchObject({ code: "LOCK_LOST" });
			expect(readdirSync(join(folder, `late ${last}`)).sort()).toEqual([
				".lock",
				...left,
			]);
		},
	);

	it("case 7: --fresh deletes nothing once the folder was taken over", async () => {
		await distill(job("late fresh", { steps: 2 }), quiet);
		const { unlink } = files;
		let deleted = 0;
		files.unlink = (path) => {
			unlink(path);
			if (!path.includes(".lock") && ++deleted === 1) take("late fresh");
		};
		onTestFinished(() => void Object.assign(files, { unlink }));
		await expect(
			distill(job("late fresh", { steps: 2 }, "fresh"), quiet),
		).rejects.toMatchObject({ code: "LOCK_LOST" });
		expect(deleted).toBe(1);
	});

	it("case 7: adds nothing to a pool that was taken over", async () => {
		const { rename } = files;
		files.rename = (from, to) => {
			rename(from, to);
			if (to.endsWith("pool.json")) take("late-pool");
		};
		onTestFinished(() => void Object.assign(files, { rename }));
		await expect(
			distill({ ...job("poolless"), pool: join(folder, "late-pool") }, quiet),
		).rejects.toMatchObject({ code: "LOCK_LOST" });
		expect(readdirSync(join(folder, "late-pool")).sort()).toEqual([
			".lock",
			"pool.json",
		]);
	});

	it("replaces no backbone that it did not make", async () => {
		const before = readFileSync(join(teacher, "model.safetensors"));
		for (const mode of ["new", "resume", "fresh"] as const)
			await expect(
				distill({ ...job("x", {}, mode), out: teacher }, quiet),
			).rejects.toMatchObject({ code: "DISTILL_FOREIGN" });
		expect(
			readFileSync(join(teacher, "model.safetensors")).equals(before),
		).toBe(true);
	});

	it("may have patches of another size than its teacher's", async () => {
		const student = { ...settings.student, patch: 8 };
		const wide = {
			imageSize: [32, 32] as const,
			student,
			steps: 2,
			crops: 130,
		};
		await distill(
			{ ...job("wide", wide), pool: join(folder, "wide-pool") },
			quiet,
		);
		expect(
			JSON.parse(readFileSync(join(folder, "wide-pool", "pool.json"), "utf8")),
		).toMatchObject({ imageSize: [32, 32], teacherSize: [16, 16] });
	});

	it("says what it cannot learn from", async () => {
		await expect(
			distill(
				job("flat", { student: { ...settings.student, depth: 1 } }),
				quiet,
			),
		).rejects.toThrow("--depth of at least 2");
		await expect(
			distill(job("elsewhere", { images: [join(pictures, "more")] }), quiet),
		).rejects.toThrow("other settings (pictures)");
		await expect(
			distill(
				{
					...job("none", { images: [teacher] }),
					pool: join(folder, "none-pool"),
				},
				quiet,
			),
		).rejects.toThrow("0 usable pictures");
		await expect(
			distill(job("large", { batchSize: 5000 }), quiet),
		).rejects.toThrow("--batch-size");
		await expect(
			distill(job("uneven", { imageSize: [18, 18] }), quiet),
		).rejects.toThrow("multiple");
		await expect(
			distill(job("wild", { lr: 1e30, steps: 30 }), quiet),
		).rejects.toThrow("Lower --lr");
	});
});

describe("the pool", () => {
	const opened = () =>
		Pool.open(
			pool,
			JSON.parse(
				readFileSync(join(pool, "pool.json"), "utf8"),
			) as Pool["settings"],
		);

	it("stopped and resumed, holds the same crops; a picture that cannot be read is passed over", async () => {
		const other = join(folder, "pictures-2");
		cpSync(pictures, other, { recursive: true });
		writeFileSync(join(other, "broken.png"), "not a picture");
		const trunk = new Trunk({
			backbone: readBackbone(teacher, [16, 16]),
			from: 4,
			patchBlocks: [2],
			threads: 1,
		});
		const found = await picturesIn([other]);
		expect(found.length).toBe(17);
		const filled = async (name: string, amounts: readonly number[]) => {
			const problems: string[] = [];
			const p = Pool.open(join(folder, name), opened().settings);
			for (const amount of amounts)
				await p.fill("train", amount, {
					pictures: found,
					trunk,
					stop: quiet.stop,
					onProgress: () => {},
					onUnreadable: (problem) => problems.push(problem),
				});
			return { p, problems };
		};
		const { p: whole, problems } = await filled("whole", [300]);
		expect(problems.length).toBeGreaterThan(0);
		expect(problems[0]).toContain("broken.png");
		const { p: parts } = await filled("parts", [100, 300]);
		expect(parts.counts("train")).toEqual(whole.counts("train"));
		for (const i of whole.counts("train").keys())
			expect(parts.read("train", i)).toEqual(whole.read("train", i));
		await trunk.release();
	});

	it("gives every crop once an epoch, the same for the same seed, from any batch on", () => {
		const size = 8;
		const sums = (first: number, count: number, seed = 1) => {
			const out: number[] = [];
			for (const { pixels } of batches(opened(), {
				crops: 1e9,
				size,
				seed,
				first,
			})) {
				if (out.length === count * size) return out;
				for (let i = 0; i < size; i++)
					out.push(
						pixels.data
							.subarray(i * 768, (i + 1) * 768)
							.reduce((a, b, k) => a + b * (k % 97), 0),
					);
			}
			return out;
		};
		const epoch = Math.floor(total(opened().counts("train")) / size);
		const all = sums(0, epoch + 5);
		expect(new Set(all.slice(0, epoch * size)).size).toBe(epoch * size);
		expect(sums(7, 10)).toEqual(all.slice(7 * size, 17 * size));
		expect(sums(epoch, 5)).toEqual(all.slice(epoch * size));
		expect(sums(0, 5, 2)).not.toEqual(all.slice(0, 5 * size));
	});

	it("gives the first crops alone where it holds more, and batches larger than the shards read together", () => {
		const counts = opened().counts("train");
		expect(counts.length).toBe(2);
		const order = { crops: 100, size: counts[0] as number, seed: 1, first: 0 };
		const [only] = batches(opened(), order);
		const sum = ({ data }: { data: Uint8Array }) =>
			data.reduce((a, b) => a + b, 0);
		expect(sum((only as Crops).pixels)).toBe(
			sum(opened().read("train", 0).pixels),
		);
		const [large] = batches(opened(), {
			...order,
			crops: 1e9,
			size: total(counts),
		});
		expect(large?.pixels.shape[0]).toBe(total(counts));
	});

	it("with a damaged shard is refused", async () => {
		const damaged = join(folder, "damaged");
		const p = Pool.open(damaged, opened().settings);
		const name = readdirSync(pool).find((n) => n.startsWith("train")) as string;
		copyFileSync(join(pool, name), join(damaged, name));
		expect(p.read("train", 0).pixels.shape.slice(1)).toEqual([16, 16, 3]);
		writeFileSync(
			join(damaged, name),
			writeSafetensors({ pixels: uint8([1], Uint8Array.of(1)) }),
		);
		expect(() => p.read("train", 0)).toThrow(
			/does not hold .*, or have the crops drawn into another folder with --pool\.$/,
		);
	});

	it("projects onto orthonormal directions, in coordinates that add up to 0; a wide student learns the rows as they are", () => {
		const rows = { classWeight: 0.2 };
		const narrow = projectionOf(opened(), 16, rows);
		expect(narrow.shape).toEqual([32, 16]);
		for (let a = 0; a < 16; a++)
			for (let b = 0; b <= a; b++) {
				let dot = 0;
				for (let i = 0; i < 32; i++)
					dot +=
						(narrow.data[i * 16 + a] as number) *
						(narrow.data[i * 16 + b] as number);
				expect(dot).toBeCloseTo((a === b ? 1 : 0) - 1 / 16, 5);
			}
		const wide = projectionOf(opened(), 40, rows);
		expect(wide.shape).toEqual([32, 40]);
		expect(Array.from({ length: 32 }, (_, i) => wide.data[i * 40 + i])).toEqual(
			Array(32).fill(1),
		);
	});
});

describe("a student that begins as a part of its teacher", () => {
	const firstLosses = async (name: string, more: Partial<DistillSettings>) => {
		await distill(
			job(name, { from: "teacher", steps: 1, lr: 1e-9, ...more }),
			quiet,
		);
		const [line] = readFileSync(join(folder, name, "log.jsonl"), "utf8").split(
			"\n",
		);
		return (
			JSON.parse(line as string) as {
				step: number;
				heldOut: { patches: number; classes: number };
			}
		).heldOut;
	};

	it("as large as the teacher, is the teacher", async () => {
		const { patches, classes } = await firstLosses("whole-part", {
			student: { ...settings.student, width: 32, depth: 4 },
		});
		expect(patches).toBeLessThan(2e-3);
		expect(classes).toBeLessThan(2e-3);
	});

	it("narrower and with fewer blocks, is much closer to it than one of random weights", async () => {
		const shape = { ...settings.student, width: 24 };
		const part = await firstLosses("part", { student: shape });
		const noise = await firstLosses("noise", {
			student: shape,
			from: "random",
		});
		expect(part.patches).toBeLessThan(0.3 * noise.patches);
		expect(part.classes).toBeLessThan(0.5 * noise.classes);
	});

	it("goes on with the projection it began with, whichever pool it learns from", async () => {
		const other = { images: [join(pictures, "more")], steps: 1, lr: 1e-9 };
		const shape = { ...settings.student, width: 24 };
		await distill(
			{
				...job("part-on", {
					...other,
					student: shape,
					from: join(folder, "part"),
				}),
				pool: join(folder, "more-pool"),
			},
			quiet,
		);
		const bytes = (name: string) =>
			readFileSync(join(folder, name, "projection.safetensors"));
		expect(bytes("part-on").equals(bytes("part"))).toBe(true);
	});

	it("must fit into it", async () => {
		for (const [student, why] of [
			[{ patch: 8 }, "patches are 8 px"],
			[{ width: 40 }, "width is 40"],
			[{ heads: 4 }, "has 4 heads"],
			[{ depth: 5 }, "4 of its blocks"],
		] as const)
			await expect(
				distill(
					job("misfit", {
						from: "teacher",
						student: { ...settings.student, ...student },
					}),
					quiet,
				),
			).rejects.toThrow(why);
	});
});

it("from the command line", () => {
	const given =
		"--width 16 --depth 3 --heads 2 --patch 4 --image-size 16 --crops 130 --steps 3 --batch-size 8 --threads 1";
	const all = [
		"backbone",
		"distill",
		"--teacher",
		teacher,
		"--images",
		pictures,
		"--out",
		join(folder, "cli"),
		...given.split(" "),
	];
	const first = keepsight(...all, "--json");
	expect(first).toMatchObject({ status: 0 });
	expect(JSON.parse(first.stdout)).toMatchObject({
		steps: 3,
		student: join(folder, "cli"),
	});
	const failing = (text: string, ...more: string[]) =>
		expect(keepsight(...all, ...more)).toMatchObject({
			status: 2,
			stderr: expect.stringContaining(text),
		});
	failing("--resume");
	failing("above 0", "--fresh", "--lr", "0");
	failing("fractions", "--fresh", "--blocks", "7");
	expect(keepsight(...all, "--resume").stdout).toContain("16 x 3");
	expect(keepsight("backbone", "distill")).toMatchObject({ status: 2 });
	expect(keepsight(...all, "--fresh", "--quiet").status).toBe(0);
}, 60_000);

it("a student that says what the teacher says has no loss", async () => {
	const { config: same, weights } = readBackbone(teacher, [16, 16]);
	const p = Pool.open(
		pool,
		JSON.parse(
			readFileSync(join(pool, "pool.json"), "utf8"),
		) as Pool["settings"],
	);
	const losses = lossesOf(
		same,
		inputsOf(weights),
		16,
		projectionOf(p, 32, { classWeight: 0.2 }),
		{
			feed: (name, shape, dtype) => input(`x:${name}`, shape, dtype),
			constant,
		},
	);
	const session = await Session.create(losses, { threads: 1 });
	for (const { pixels, patches, classes } of validation(p, 16).slice(0, 2)) {
		const said = await session.run({
			...weights,
			"x:pixels": pixels,
			"x:patches": patches,
			"x:classes": classes,
		});
		expect((said.patches as Tensor).data[0]).toBeLessThan(1e-4); // rounded to 8 bits
		expect((said.classes as Tensor).data[0]).toBeLessThan(1e-5);
	}
	await session.release();
});
