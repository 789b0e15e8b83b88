/** Where sessions compute. Runs the built program, as probes start processes of their own. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { parseConfig } from "../src/config.ts";
import {
	deviceKinds,
	deviceOf,
	kindsHere,
	providersOf,
} from "../src/engine/device.ts";

const built = (file: string) =>
	pathToFileURL(resolve(import.meta.dirname, "../dist", file)).href;
const { probe, usableDevice } = (await import(
	built("devices.js")
)) as typeof import("../src/devices.ts");

const cuda = await probe("cuda");

describe("a device", () => {
	it("is a kind, and which of several; the CPU does what it cannot", () => {
		expect(deviceOf("cuda:1")).toEqual({ kind: "cuda", index: 1 });
		expect(deviceOf("webgpu")).toEqual({ kind: "webgpu", index: 0 });
		expect(providersOf("cuda:1")).toEqual([{ name: "cuda", deviceId: 1 }]);
		expect(providersOf("cpu")).toEqual(["cpu"]);
		expect(kindsHere("linux")).toEqual(["cuda", "webgpu", "cpu"]);
		expect(kindsHere("darwin")).toEqual(["coreml", "webgpu", "cpu"]);
		expect(kindsHere("win32")).toEqual(["dml", "webgpu", "cpu"]);
	});

	it("is a key of a configuration, the CPU by default", () => {
		const demo = readFileSync("configs/demo.yaml", "utf8");
		const config = (device?: string) =>
			parseConfig(
				demo,
				"demo.yaml",
				device === undefined ? [] : [`device=${device}`],
			).config.device;
		expect(config()).toBe("cpu");
		for (const name of ["auto", "webgpu", "cuda", "cuda:1"])
			expect(config(name)).toBe(name);
		for (const name of [
			"gpu",
			"cuda:",
			"cuda:x",
			"auto:1",
			"webgpu:1",
			"cpu:0",
			"",
		])
			expect(() => config(name)).toThrow("device");
	});

	it("is asked by a session in a process of its own", async () => {
		expect(await probe("cpu")).toBeNull();
		expect(await probe("coreml")).toEqual(
			process.platform === "darwin"
				? expect.anything()
				: expect.stringContaining("coreml"),
		);
	});
});

it.skipIf(cuda === null)(
	"one that does not work is refused, with what to do",
	async () => {
		await expect(usableDevice("cuda", () => {})).rejects.toMatchObject({
			code: "DEVICE_UNUSABLE",
			message: expect.stringContaining(deviceKinds.cuda.remedy),
		});
	},
);

it("auto says what it found", async () => {
	const notices: string[] = [];
	const device = await usableDevice("auto", (text) => notices.push(text));
	expect(kindsHere()).toContain(device);
	expect(notices).toHaveLength(1);
	if (device === "cpu") {
		expect(notices[0]).toContain("runs on the CPU");
		for (const kind of kindsHere().filter((k) => k !== "cpu"))
			expect(notices[0]).toContain(`${kind}: `);
	} else expect(notices[0]).toContain(device);
	expect(await usableDevice("cpu", (text) => notices.push(text))).toBe("cpu");
	expect(notices).toHaveLength(1);
});

/** Chromium brings a WebGPU driver that needs no GPU. */
const chromium = "/usr/lib/chromium";
const software = `${chromium}/vk_swiftshader_icd.json`;

/** Losses and gradient norms of three training steps of a small ViT. */
const program = (device: string) => `
	const { computeOn } = await import(${JSON.stringify(built("engine/runtime.js"))});
	const { TrainingStep } = await import(${JSON.stringify(built("engine/step.js"))});
	const { sum, mul, toFloat } = await import(${JSON.stringify(built("engine/ops/index.js"))});
	const vit = await import(${JSON.stringify(built("models/vit.js"))});
	const { Random } = await import(${JSON.stringify(built("random.js"))});
	computeOn(${JSON.stringify(device)});
	const config = { imageSize: [16, 16], patch: 4, width: 24, depth: 2, heads: 2, mlpRatio: 4, registers: 0, layerScale: true,
		classPosition: true, layerNormEps: 1e-6, mean: [.5, .5, .5], std: [.25, .25, .25] };
	const random = new Random("devices.test");
	const params = vit.initialise(config, random);
	const step = await TrainingStep.create({
		params, clipNorm: 1, threads: 1,
		optimizer: { name: "adamw", lr: 1e-3, betas: [.9, .999], eps: 1e-8, weightDecay: .01, momentum: 0 },
		build(builder) {
			const images = builder.feed("images", [3, 16, 16, 3], "uint8");
			const { tokens } = vit.top(config, builder.params, vit.embed(config, builder.params, vit.normalise(config, images)), 0, { read: "all" });
			const target = builder.feed("target", [3, 17, 24]);
			return { loss: sum(mul(tokens, target)) };
		},
	});
	const said = [];
	for (let i = 0; i < 3; i++) {
		const images = { dtype: "uint8", shape: [3, 16, 16, 3], data: Uint8Array.from({ length: 2304 }, () => random.integer(256)) };
		const target = { dtype: "float32", shape: [3, 17, 24], data: Float32Array.from({ length: 1224 }, () => random.normal(0, .02)) };
		const { loss, gradientNorm } = await step.run({ images, target }, i, { name: "constant", warmup: 0, total: 3 });
		said.push(loss, gradientNorm);
	}
	process.stdout.write("said " + JSON.stringify(said));
	process.exit(0);`;

function said(device: string): number[] {
	const { stdout, stderr } = spawnSync(
		process.execPath,
		["--input-type=module", "-e", program(device)],
		{
			encoding: "utf8",
			timeout: 120_000,
			env: {
				...process.env,
				VK_ICD_FILENAMES: software,
				LD_LIBRARY_PATH: chromium,
			},
		},
	);
	const [, json] = /said (.*)/.exec(stdout) ?? [];
	if (json === undefined) throw new Error(`no answer: ${stderr}`);
	return JSON.parse(json) as number[];
}

it.skipIf(!existsSync(software))(
	"WebGPU trains as the CPU does (needs Chromium's software driver)",
	() => {
		const [cpu, gpu] = [said("cpu"), said("webgpu")];
		expect(gpu).toHaveLength(6);
		for (const [i, value] of cpu.entries())
			expect(Math.abs((gpu[i] as number) - value)).toBeLessThan(
				1e-3 * Math.max(1, Math.abs(value)),
			);
	},
	200_000,
);
