/**
 * What a stranger does on the first day, in a copy of the sources: starts them, learns parts of their own, tries a strategy of their own
 * in one file, serves, scores, ends. The short form is given the packages, what was built and tiny pictures; the long one installs, builds
 * and draws by itself, learns the whole demo line, and puts the strategy among the others too.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
	cpSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, describe, expect, it } from "vitest";
import { drawDemo } from "../src/data/demo.ts";
import { openRun } from "../src/run.ts";
import { drawCategory, frozenRun, size } from "./drawn.ts";
import { outputIn } from "./program.ts";

const root = resolve(import.meta.dirname, "..");
const soak = process.env.KEEPSIGHT_SOAK !== undefined;
const work = mkdtempSync(join(tmpdir(), "keepsight-stranger-"));
const clone = join(work, "keepsight");
afterAll(() => rmSync(work, { recursive: true, force: true }));

const output = (program: string, ...args: string[]): string =>
	outputIn(clone, program, ...args);
const keepsight = (...args: string[]) =>
	output("npx", "--no-install", "keepsight", ...args);

/** As a clone of what is here now, with changes that are not committed. */
function cloned(): void {
	const { stdout } = spawnSync(
		"git",
		["ls-files", "-coz", "--exclude-standard"],
		{ cwd: root, encoding: "utf8" },
	);
	const files = stdout.split("\0").filter((file) => file !== "");
	expect(files).toContain("package.json");
	for (const file of files)
		cpSync(join(root, file), join(clone, file), { force: true });
}

/** Saves the installation, the build and the drawing of 256 pixels. */
async function spared(): Promise<void> {
	symlinkSync(join(root, "node_modules"), join(clone, "node_modules"));
	cpSync(join(root, "dist"), join(clone, "dist"), { recursive: true });
	const dir = join(clone, "demo-data");
	const tiny = {
		size: 32,
		train: 10,
		validation: 2,
		testGood: 3,
		perDefect: 1,
	};
	await drawDemo(dir, tiny);
	const stamp = join(dir, "keepsight-demo.json");
	const line = {
		size: 256,
		train: 64,
		validation: 14,
		testGood: 20,
		perDefect: 4,
	};
	writeFileSync(
		stamp,
		JSON.stringify({ ...JSON.parse(readFileSync(stamp, "utf8")), ...line }),
	);
}

const inGit = spawnSync("git", ["rev-parse"], { cwd: root }).status === 0;
describe.skipIf(!inGit)(
	`a stranger${inGit ? "" : ": these sources are in no git repository"}`,
	{ timeout: soak ? 1_200_000 : 240_000 },
	() => {
		it("starts what was cloned", async () => {
			cloned();
			if (!soak) await spared();
			const short = [
				"--set",
				"data.tasks=[mvtec/fabric]",
				"--set",
				"image_size=112",
			];
			const said = output("npm", "start", "--", ...(soak ? [] : short));
			expect(said).toMatch(/^mvtec\/fabric +AUC = /m);
			expect(said).toContain("The run is in results/demo/Anomaly: report.html");
		});

		it("learns parts of their own from a folder of good pictures", async () => {
			await drawCategory(join(clone, "parts/cap"), 0, 14, 2);
			cpSync(join(clone, "parts/cap/train/good"), join(clone, "my-parts"), {
				recursive: true,
			});
			const said = keepsight(
				"learn",
				"--mem_dir",
				"line",
				"--task",
				"cap",
				"--data",
				"my-parts",
				"--set",
				"image_size=112",
			);
			expect(said).toContain("Learnt cap from 14 good images");
		});

		const config = [
			frozenRun({ root: "parts", tasks: ["cap"], out: "results" })
				.replace("trainable: none", "trainable: { last: 1 }")
				.replace("name: frozen", "name: mine")
				.replace(
					"name: keepsight-tiny",
					"name: vit, width: 24, depth: 3, heads: 2, patch: 8",
				)
				.replace("image_size: 112", `image_size: ${size}`),
			"train: { epochs: 1 }",
		].join("");
		const trained = (...flags: string[]) => {
			expect(
				keepsight("train", "--config", "my.yaml", "--fresh", ...flags),
			).toMatch(/^cap +AUC = /m);
			return openRun(join(clone, "results/run/Anomaly"), "read").record;
		};

		it("trains with a strategy of their own, one file", () => {
			const mine = readFileSync(join(clone, "examples/strategy.mjs"), "utf8");
			writeFileSync(
				join(clone, "mine.mjs"),
				mine.replace("{ l2 }", "{ mine: l2 }"),
			);
			writeFileSync(join(clone, "my.yaml"), config);
			const { plugins } = trained("--plugin", "mine.mjs");
			expect(Object.keys(plugins ?? {})).toEqual(["strategy mine"]);
		});

		it.skipIf(!soak)(
			`and with one file and one line among the others${soak ? "" : ": only in the long form (npm run soak)"}`,
			() => {
				const mine = readFileSync(join(clone, "examples/strategy.mjs"), "utf8");
				writeFileSync(
					join(clone, "src/strategies/mine.ts"),
					mine
						.replace("// @ts-check", "// @ts-nocheck")
						.replace(
							/import \{[\s\S]*? from "keepsight";/,
							`import { z } from "zod";
import { add, mul, sub, sumSquare } from "../engine/ops/index.ts";
import { defineStrategy } from "./strategy.ts";`,
						)
						.replace(/export default[\s\S]*/, "export { l2 as mine };\n"),
				);
				const registry = join(clone, "src/strategies/index.ts");
				writeFileSync(
					registry,
					readFileSync(registry, "utf8")
						.replace("import", 'import { mine } from "./mine.ts";\nimport')
						.replace("\tgpm,\n", "\tgpm,\n\tmine,\n"),
				);
				output("npm", "run", "build");
				expect(trained().plugins).toEqual({});
			},
		);

		it("serves, scores over HTTP, and ends", async () => {
			const server = spawn(
				process.execPath,
				["dist/cli.js", "serve", "--mem_dir", "line", "--port", "0"],
				{ cwd: clone, stdio: ["ignore", "pipe", "inherit"] },
			);
			try {
				let address: string | undefined;
				for await (const line of createInterface(server.stdout)) {
					[address] = /http:\S+/.exec(line) ?? [];
					if (address) break;
				}
				const verdict = async (picture: string) => {
					const response = await fetch(`${address}/v1/predict`, {
						method: "POST",
						headers: { "content-type": "image/png" },
						body: readFileSync(join(clone, "parts/cap/test", picture)),
					});
					return ((await response.json()) as { verdict: string }).verdict;
				};
				expect(await verdict("good/0.png")).toBe("good");
				expect(await verdict("spot/0.png")).toBe("defect");
			} finally {
				server.kill("SIGTERM");
			}
			const [code] = await once(server, "exit");
			expect(code).toBe(0);
		});
	},
);
