import { spawnSync } from "node:child_process";
import {
	chmodSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { describe, expect, it } from "vitest";
import { memories } from "../src/memory/index.ts";
import { pretexts } from "../src/pretext/index.ts";
import { strategies } from "../src/strategies/index.ts";
import { cli } from "./program.ts";

const readme = readFileSync("README.md", "utf8");

/** Rows "| `name` | title |" of the table with this first heading; the formatter pads cells. */
function rowsOf(heading: string): string[] {
	const table = readme.split(new RegExp(`^\\| ${heading} +\\|`, "m"))[1] ?? "";
	return [
		...(table.split("\n\n")[0] as string).matchAll(
			/^\| `([\w+]+)` +\| (.*?) +\|$/gm,
		),
	].map(([, name, title]) => `${name}: ${title}`);
}

describe("README.md", () => {
	it.each([
		["strategy", strategies],
		["pretext", pretexts],
		["memory", memories],
	])("the table of %s equals the registry", (heading, registry) => {
		expect(rowsOf(heading)).toEqual(
			Object.entries(registry).map(([name, { title }]) => `${name}: ${title}`),
		);
	});
});

/** A port that nobody listens on now. */
const freePort = (): Promise<number> =>
	new Promise((resolve) => {
		const server = createServer().listen(0, "127.0.0.1", () => {
			const { port } = server.address() as AddressInfo;
			server.close(() => resolve(port));
		});
	});

const hasCurl = spawnSync("curl", ["--version"]).status === 0;

it.skipIf(!hasCurl)(
	`the commands of "Ten minutes" do what is said there${hasCurl ? "" : ": there is no curl"}`,
	async () => {
		const section = readme.split("## Ten minutes")[1]?.split("\n## ")[0] ?? "";
		const script = [...section.matchAll(/```sh\n(.*?)```/gs)]
			.map(([, block]) => block)
			.join("");
		const port = await freePort();
		const work = mkdtempSync(join(tmpdir(), "keepsight-readme-"));
		try {
			const npx = join(work, "npx"); // as if the package were installed here
			writeFileSync(
				npx,
				`#!/bin/sh\nshift\nexec "${process.execPath}" "${cli}" "$@"${""}\n`,
			);
			chmodSync(npx, 0o755);
			const { status, stdout, stderr } = spawnSync(
				"bash",
				[
					"-em",
					"-c",
					script
						.replaceAll("8080", String(port))
						.replace("--keep-images", `--keep-images --port ${port}`),
				],
				{
					cwd: work,
					encoding: "utf8",
					env: {
						...process.env,
						PATH: `${work}${delimiter}${process.env.PATH}`,
					},
					timeout: 240_000,
				},
			);
			expect(status, `${stdout.slice(-2000)}\n${stderr.slice(-2000)}`).toBe(0);
			const verdicts = [
				...stdout.matchAll(
					/"id":\d+,"at":"[^"]+","name":null,.*?"verdict":"(\w+)"/g,
				),
			].map(([, verdict]) => verdict);
			expect(verdicts).toEqual(["defect", "good"]);
			expect(stdout).toContain('"changed":[{"prediction":1');
		} finally {
			rmSync(work, { recursive: true, force: true });
		}
	},
	300_000,
);
