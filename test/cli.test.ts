/** The built program, as a user starts it. Needs dist/ (npm test and npm run build make it). */
import { spawnSync } from "node:child_process";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { version } from "../src/version.ts";
import { keepsight as here } from "./here.ts";

const keepsight = (...args: string[]) => {
	const { status, stdout, stderr } = spawnSync(
		process.execPath,
		["dist/cli.js", ...args],
		{ encoding: "utf8" },
	);
	return { status, stdout, stderr };
};

let dir = "";
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "keepsight-cli-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("help", () => {
	it.each([
		["--help"],
		["train", "--help"],
		["eval", "--help"],
		["data", "--help"],
		["help", "train"],
	])("%s %s exits 0 and prints to stdout", (...args) => {
		const { status, stdout, stderr } = keepsight(...args);
		expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
		expect(stdout).toContain("Usage: keepsight");
	});
	it("--version", () => {
		expect(keepsight("--version")).toEqual({
			status: 0,
			stdout: `${version}\n`,
			stderr: "",
		});
	});
	it("no command: the help, on stderr, exit code 2", () => {
		const { status, stderr } = keepsight();
		expect(status).toBe(2);
		expect(stderr).toContain("Usage: keepsight");
	});
});

describe("a user's mistake exits with 2, one line, no stack trace", () => {
	it.each([
		[
			"an unknown command",
			["trian"],
			"error: Unknown command 'trian'. Did you mean \"train\"? See: keepsight --help",
		],
		[
			"an unknown flag",
			["train", "--confg", "x"],
			"error: Unknown option '--confg'. Did you mean \"--config\"? See: keepsight train --help",
		],
		["an unknown subcommand", ["data", "chek"], "See: keepsight data --help"],
		[
			"no configuration",
			["train"],
			"error: Give --config FILE, such as configs/demo.yaml. See: keepsight train --help",
		],
		[
			"a configuration that is not there",
			["train", "--config", "nowhere.yaml"],
			"error: Cannot read the configuration nowhere.yaml: no such file.",
		],
		[
			"an unknown key",
			["train", "--config", "configs/demo.yaml", "--set", "train.epoch=3"],
			'error: Unknown key "epoch" at train',
		],
		[
			"an unknown strategy",
			[
				"train",
				"--config",
				"configs/demo.yaml",
				"--set",
				"strategy={ name: gpn }",
			],
			'error: Unknown strategy "gpn" at strategy.name (--set strategy). Did you mean "gpm"?',
		],
		[
			"flags that exclude each other",
			["train", "--config", "configs/demo.yaml", "--resume", "--fresh"],
			"error: Option '--resume' cannot be used with option '--fresh'.",
		],
		[
			"nothing to evaluate",
			["eval"],
			"error: Give --mem_dir DIR (a run folder) or --scores DIR.",
		],
		[
			"data that is not there",
			["train", "--config", "configs/demo.yaml", "--set", "data.root=nowhere"],
			"error: There is no data folder nowhere.",
		],
	])("%s", (_title, args, expected) => {
		const { status, stdout, stderr } = keepsight(
			...args,
			...(args[0] === "train" && args.length > 1 ? ["--out", dir] : []),
		);
		expect(stderr).toContain(expected);
		expect(stderr).not.toMatch(/\n\s+at /);
		expect(stdout).toBe("");
		expect(status).toBe(2);
	});
});

it("--mem_dir and --mem-dir are one flag, with a space or with =", () => {
	for (const flag of [
		["--mem_dir", dir],
		["--mem-dir", dir],
		[`--mem_dir=${dir}`],
	]) {
		const { status, stderr } = keepsight("eval", ...flag);
		expect(stderr).toContain(`error: ${dir} holds no run`);
		expect(status).toBe(2);
	}
});

describe("eval --scores", () => {
	const write = (folder: string, stages: Record<string, string[]>) => {
		for (const [stage, categories] of Object.entries(stages)) {
			mkdirSync(join(dir, folder, stage), { recursive: true });
			for (const category of categories)
				writeFileSync(
					join(dir, folder, stage, `${category}.csv`),
					"label,score,threshold\n0,1,2.5\n0,2,2.5\n1,3,2.5\n1,1.5,2.5\n",
				);
		}
	};
	beforeAll(() => {
		write("scores", {
			"after-01": ["mvtec.bottle"],
			"after-02": ["mvtec.bottle", "mvtec.tile"],
		});
	});
	it("takes the only stage of joint training for all its tasks", async () => {
		write("joint", { "after-02": ["mvtec.bottle", "mvtec.tile"] });
		const { status, stdout } = await here(
			"eval",
			"--scores",
			join(dir, "joint"),
			"--json",
		);
		expect(status).toBe(0);
		const { tasks, matrices } = JSON.parse(stdout) as {
			tasks: string[];
			matrices: { imageAuroc: unknown };
		};
		expect(tasks).toEqual(["mvtec/bottle", "mvtec/tile"]);
		expect(matrices.imageAuroc).toEqual([
			[null, null],
			[0.75, 0.75],
		]);
	});
	it("says so where stages do not tell which category is which task", async () => {
		const both = ["mvtec.bottle", "mvtec.tile"];
		write("early", { "after-01": both, "after-02": both }); // evaluate.untrained
		write("gap", { "after-01": ["mvtec.a"], "after-04": both });
		for (const folder of ["early", "gap"]) {
			const { status, stderr } = await here(
				"eval",
				"--scores",
				join(dir, folder),
			);
			expect(stderr).toContain("which is which task is unclear");
			expect(status).toBe(2);
		}
	});
	it("prints a line a category and the matrices", () => {
		const { status, stdout } = keepsight(
			"eval",
			"--scores",
			join(dir, "scores"),
		);
		expect(status).toBe(0);
		expect(stdout).toContain(
			"mvtec/bottle   AUC = 0.7500\nmvtec/tile     AUC = 0.7500",
		);
		expect(stdout).toContain("image AUROC (%)");
	});
	it("--json prints the object of metrics.json", () => {
		const results = JSON.parse(
			keepsight("eval", "--scores", join(dir, "scores"), "--json").stdout,
		) as {
			tasks: string[];
			matrices: { imageAuroc: unknown; accuracy: unknown };
			falseAlarms: { nominal: unknown; realised: unknown };
			memory: unknown;
		};
		expect(results.memory).toBeNull();
		expect(results.falseAlarms).toMatchObject({ nominal: null, realised: 0 }); // whoever set the thresholds knows at what they aim
		expect(results.tasks).toEqual(["mvtec/bottle", "mvtec/tile"]);
		expect(results.matrices.imageAuroc).toEqual([
			[0.75, null],
			[0.75, 0.75],
		]);
		expect(results.matrices.accuracy).toEqual([
			[0.75, null],
			[0.75, 0.75],
		]);
	});
});

it("doctor finds that this machine can run Keepsight", () => {
	const { status, stdout } = keepsight("doctor", "--json");
	const findings = JSON.parse(stdout) as { what: string; state: string }[];
	expect(findings.filter(({ state }) => state === "missing")).toEqual([]);
	expect(findings.map(({ what }) => what)).toContain("device cpu");
	expect(status).toBe(0);
});
