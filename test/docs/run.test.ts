/** The commands of the documentation, done: those of some pages here, in the short form, and every page of pages.ts by a shell in the long one. */
import { spawnSync } from "node:child_process";
import {
	chmodSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodePng } from "../../src/data/image.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { drawCategory, frozenRun, size } from "../drawn.ts";
import { keepsight } from "../here.ts";
import { cli } from "../program.ts";
import { type Block, blocks, callsOf, isShell, ours } from "./blocks.ts";
import { executed, formats, type Stock } from "./pages.ts";

const soak = process.env.KEEPSIGHT_SOAK !== undefined;
const root = process.cwd();
const work = mkdtempSync(join(tmpdir(), "keepsight-docs-"));
const stock: Stock = {
	data: join(work, "data"),
	run: join(work, "out/run/Anomaly"),
};

/** A drawn category with the masks of its squares: they are where drawn.ts puts them. */
async function drawMasked(dir: string, kind: number): Promise<void> {
	await drawCategory(dir, kind, 12, 4);
	const mask = uint8([size, size, 1], new Uint8Array(size * size));
	for (let y = 9; y < 18; y++)
		for (let x = 9; x < 18; x++) mask.data[y * size + x] = 255;
	mkdirSync(join(dir, "ground_truth/spot"), { recursive: true });
	for (let i = 0; i < 4; i++)
		writeFileSync(
			join(dir, `ground_truth/spot/${i}_mask.png`),
			await encodePng(mask),
		);
}

beforeAll(async () => {
	for (const [kind, name] of ["bottle", "nut"].entries())
		await drawMasked(join(stock.data, "mvtec", name), kind);
	const config = join(work, "run.yaml");
	writeFileSync(
		config,
		frozenRun({
			root: stock.data,
			tasks: ["mvtec/bottle", "mvtec/nut"],
			out: join(work, "out"),
		}),
	);
	const { status, stderr } = await keepsight("train", "--config", config);
	expect(status, stderr).toBe(0);
}, 120_000);
afterAll(() => rmSync(work, { recursive: true, force: true }));

const shellOf = (page: string): readonly Block[] =>
	blocks.filter(
		(block) =>
			block.page === page &&
			isShell(block) &&
			block.notRun === null &&
			block.runBy === null,
	);

/** A folder with what the page takes for granted. */
async function prepared(page: string): Promise<string> {
	const folder = join(work, page.replaceAll("/", "-"));
	mkdirSync(folder);
	await executed[page]?.prepare(folder, stock);
	return folder;
}

const pages = Object.entries(executed);

it("every page here has commands to run", () => {
	for (const [page, { instead = {} }] of pages) {
		const text = shellOf(page)
			.map((block) => block.text)
			.join("");
		expect(text, page).not.toBe("");
		for (const known of Object.keys(instead)) expect(text).toContain(known);
	}
});

const inThisProcess = () =>
	describe("in this process", () => {
		it.each(pages.filter(([, { short }]) => short).map(([page]) => page))(
			"the commands of %s",
			async (page) => {
				const { calls } = callsOf(shellOf(page).map(({ text }) => text));
				const before = process.env.HF_HOME;
				process.env.HF_HOME = join(work, "hub");
				process.chdir(await prepared(page));
				try {
					for (const { argv } of calls) {
						const { status, stderr } = await keepsight(...(ours(argv) ?? []));
						expect(status, `${argv.join(" ")}\n${stderr}`).toBe(0);
					}
				} finally {
					process.chdir(root);
					if (before === undefined) delete process.env.HF_HOME;
					else process.env.HF_HOME = before;
				}
				expect(calls.length).toBeGreaterThan(0);
			},
			120_000,
		);
	});

const byShell = () =>
	describe("by a shell", () => {
		it.each(pages)(
			"the commands of %s",
			async (page, { instead = {} }) => {
				const bin = join(work, "bin");
				mkdirSync(bin, { recursive: true });
				for (const [name, shift] of [
					["keepsight", ""],
					["npx", "shift\n"],
				] as const) {
					writeFileSync(
						join(bin, name),
						`#!/bin/sh\n${shift}exec "${process.execPath}" "${cli}" "$@"\n`,
					);
					chmodSync(join(bin, name), 0o755);
				}
				let script = shellOf(page)
					.map(({ text }) => text)
					.join("\n");
				for (const [known, other] of Object.entries(instead))
					script = script.replaceAll(known, other);
				const { status, stdout, stderr } = spawnSync(
					"bash",
					["-e", "-o", "pipefail", "-c", script],
					{
						cwd: await prepared(page),
						encoding: "utf8",
						env: {
							...process.env,
							HF_HOME: join(work, "hub"),
							PATH: `${bin}${delimiter}${process.env.PATH}`,
						},
						timeout: 1_500_000,
					},
				);
				expect(status, `${stdout.slice(-2000)}\n${stderr.slice(-2000)}`).toBe(
					0,
				);
			},
			1_600_000,
		);
	});

if (soak) byShell();
else inThisProcess();

describe("JSON that shows a file of a run folder", () => {
	/** ".categories[].id": every key there is, at its place; names of categories count as one. */
	function keysOf(value: unknown, path = ""): string[] {
		if (Array.isArray(value))
			return [...new Set(value.flatMap((one) => keysOf(one, `${path}[]`)))];
		if (typeof value !== "object" || value === null) return [];
		return [
			...new Set(
				Object.entries(value).flatMap(([key, inner]) => {
					const at = `${path}.${key.includes("/") ? "<category>" : key}`;
					return [at, ...keysOf(inner, at)];
				}),
			),
		];
	}
	it.each(
		blocks
			.filter(({ format }) => format !== null && formats.includes(format))
			.map((block) => [`${block.page}:${block.line}`, block] as const),
	)("%s has its keys", (_, { text, format }) => {
		const file = join(stock.run, format as string);
		expect(existsSync(file), file).toBe(true);
		const real = keysOf(JSON.parse(readFileSync(file, "utf8")));
		const shown = keysOf(JSON.parse(text));
		expect(shown.filter((key) => !real.includes(key))).toEqual([]);
	});
});
