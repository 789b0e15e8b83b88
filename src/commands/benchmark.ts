/** keepsight benchmark: draws many products, learns them one after the other, and says what holds and what does not. */
import { join } from "node:path";
import type { Command } from "commander";
import type { BenchmarkResult } from "../benchmark/benchmark.ts";
import { protocolOf } from "../benchmark/protocol.ts";
import { loadConfig } from "../config.ts";
import { usableDevice } from "../devices.ts";
import { launch } from "../launch.ts";
import {
	benchmarkCsv,
	benchmarkMarkdown,
	formatBenchmark,
} from "../reports/benchmark.ts";
import { describeMachine } from "../run.ts";
import { writeAtomic } from "../storage.ts";
import { version } from "../version.ts";
import { withBackbone } from "./backbone.ts";
import {
	type ConfigFlags,
	type ProgressFlags,
	wholeNumber,
	withConfigFlags,
	withProgressFlags,
} from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { flagship } from "./learn.ts";
import { createProgress } from "./progress.ts";

const called = "keepsight benchmark";

interface BenchmarkFlags extends ConfigFlags, ProgressFlags {
	readonly products: number;
	readonly seed: number;
	readonly out?: string;
	readonly drawOnly?: true;
}

export function addBenchmark(program: Command): void {
	const command = program
		.command("benchmark")
		.usage("[flags]")
		.description(
			"Keepsight-100: draws a hundred products, learns them one after the other, tabulates what holds: retention, routing, unknown products, few and dirty images, drift, false alarms; the same command goes on where it was stopped",
		)
		.option("--products <n>", "how many", wholeNumber(2, called), 100)
		.option(
			"--seed <n>",
			"another seed draws other pictures",
			wholeNumber(0, called),
			0,
		)
		.option(
			"--out <dir>",
			"where all of it goes (default: results/keepsight-<n>)",
		)
		.option("--draw-only", "only the pictures, for a detector of your own");
	withConfigFlags(
		command,
		"the detector; its data and out are not read (default: the flagship, configs/flagship.yaml of the package)",
	);
	withProgressFlags(command).action(run);
}

async function run(flags: BenchmarkFlags): Promise<void> {
	const { products, seed, drawOnly = false } = flags;
	const dir = flags.out ?? join("results", `keepsight-${products}`);
	const protocol = protocolOf(products, seed);
	const loaded = (await loadConfig(flags.config ?? flagship, flags.set)).config;
	const progress = createProgress(flags);
	const device = await usableDevice(loaded.device, (text) =>
		progress.onEvent({ type: "notice", text }),
	);
	const began = performance.now();
	const { results } = await interruptible(
		"What is done is kept; the same command goes on.",
		async (signal) => {
			const config = drawOnly
				? loaded
				: await withBackbone(loaded, null, { progress, signal });
			return launch(
				{
					kind: "benchmark",
					dir,
					protocol,
					config: { ...config, device },
					drawOnly,
				},
				{ onEvent: progress.onEvent, signal, device },
			);
		},
	).finally(progress.close);
	const { figures, wentOn } = results as BenchmarkResult;
	if (!figures) {
		console.log(
			flags.json
				? JSON.stringify({ dir, protocol }, null, 2)
				: `${join(dir, "data")}: ${products} products`,
		);
		return;
	}
	const whole = {
		format: 1,
		name: `keepsight-${products}`,
		protocol,
		detector: { config: loaded.name, backbone: loaded.backbone.name },
		made: {
			date: new Date().toISOString().slice(0, 10),
			/** null: it was gone on with, and nobody has added up. */
			seconds: wentOn ? null : Math.round((performance.now() - began) / 1000),
			keepsight: version,
			node: process.versions.node,
			machine: describeMachine(),
		},
		...figures,
	};
	const text = JSON.stringify(whole, null, 2);
	writeAtomic(join(dir, "benchmark.json"), `${text}\n`);
	writeAtomic(join(dir, "benchmark.csv"), benchmarkCsv(figures));
	writeAtomic(join(dir, "benchmark.md"), benchmarkMarkdown(figures));
	console.log(
		flags.json
			? text
			: `${formatBenchmark(figures)}\n\nTables: ${join(dir, "benchmark.json")}, .csv and .md`,
	);
}
