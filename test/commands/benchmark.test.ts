import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { keepsight } from "../program.ts";
import { ended, killAll, start, wait } from "../runs.ts";

const work = mkdtempSync(join(tmpdir(), "keepsight-benchmark-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

it("one product is no benchmark", () => {
	const { status, stderr } = keepsight(
		"benchmark",
		"--products",
		"1",
		"--out",
		join(work, "one"),
	);
	expect(status).toBe(2);
	expect(stderr).toBe(
		'error: "1" is not a whole number of at least 2. See: keepsight benchmark --help\n',
	);
	expect(existsSync(join(work, "one"))).toBe(false);
});

it("pictures alone need no backbone", () => {
	const out = join(work, "drawn");
	mkdirSync(out);
	writeFileSync(
		join(out, "protocol.json"),
		'{ "format": 1, "detector": null }',
	);
	const { status, stderr } = keepsight(
		"benchmark",
		"--draw-only",
		"--out",
		out,
		"--set",
		"backbone={ name: hub:nobody/nothing }",
	);
	expect(status).toBe(2);
	expect(stderr).toContain(`${out} holds a benchmark with another protocol.`);
});

it.skipIf(!process.env.KEEPSIGHT_SOAK)(
	`killed and started again it ends with its tables${process.env.KEEPSIGHT_SOAK ? "" : ": a minute, in the soak"}`,
	async () => {
		const out = join(work, "two");
		const args = ["benchmark", "--products", "2", "--out", out, "--json"];
		const child = start(...args);
		while (!existsSync(join(out, "looks/line/after-001.csv"))) {
			expect(child.exitCode).toBeNull();
			await wait(50);
		}
		killAll(child);
		await ended(child);
		const { status, stdout, stderr } = keepsight(...args);
		expect(status, stderr).toBe(0);
		expect(readFileSync(join(out, "benchmark.json"), "utf8")).toBe(stdout);
		const { made, tables } = JSON.parse(stdout) as {
			made: { seconds: number | null };
			tables: readonly { rows: readonly { label: string }[] }[];
		};
		expect(made.seconds).toBeNull();
		expect(readFileSync(join(out, "benchmark.md"), "utf8")).toContain(
			tables[0]?.rows[0]?.label,
		);
		expect(readFileSync(join(out, "benchmark.csv"), "utf8")).toMatch(
			/^growth,2,accuracy,[\d.]+,[\d.]+,[\d.]+,42$/m,
		);
		// the whole line stays, as a run that can be evaluated, served and reported on
		const again = keepsight(
			"eval",
			"--mem_dir",
			join(out, "memories/line"),
			"--json",
		);
		expect(again.status, again.stderr).toBe(0);
		const { matrices } = JSON.parse(again.stdout) as {
			matrices: { imageAuroc: readonly (readonly (number | null)[])[] };
		};
		const written = JSON.parse(
			readFileSync(join(out, "memories/line/metrics.json"), "utf8"),
		) as { matrices: typeof matrices };
		expect(matrices.imageAuroc.at(-1)).toEqual(
			written.matrices.imageAuroc.at(-1),
		);
	},
	600_000,
);
