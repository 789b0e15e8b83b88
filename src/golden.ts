/**
 * npm run golden -- DIR: compares the code that train and eval run with the reference values of a folder, quantity by quantity.
 * Inputs and expected values both come from the folder. A file that no check knows, or a failure, makes the exit code 1.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Check, Folder } from "./golden/compare.ts";
import { metricsPixel, spro } from "./golden/maps.ts";
import { dne, dneLoo } from "./golden/memory.ts";
import { metricsContinual, metricsImage } from "./golden/metrics.ts";
import { dino, dinoResized, optimiser, vit } from "./golden/network.ts";
import {
	ewcExact,
	ewcFisher,
	ewcThree,
	gpm,
	lwf,
	siOmega,
	siTwo,
} from "./golden/strategies.ts";

/** Files to the check that reads them. A name ending in "/" is a folder. */
const checks: readonly {
	readonly files: readonly string[];
	readonly check: Check;
}[] = [
	{
		files: [
			"vit.config.json",
			"vit.weights.safetensors",
			"vit.forward.safetensors",
			"vit.grads.safetensors",
		],
		check: vit,
	},
	{
		files: [
			"dino.weights.safetensors",
			"dino.forward.safetensors",
			"dino.grads.safetensors",
		],
		check: dino,
	},
	{ files: ["dino.resized.safetensors"], check: dinoResized },
	{
		files: ["optim.adam.json", "optim.adam.safetensors"],
		check: optimiser("adam", { lr: 1e-3, weightDecay: 1e-2 }),
	},
	{
		files: ["optim.adamw.json", "optim.adamw.safetensors"],
		check: optimiser("adamw", { lr: 1e-3, weightDecay: 0.3 }),
	},
	{
		files: ["optim.sgd.json", "optim.sgd.safetensors"],
		check: optimiser("sgd", { lr: 1e-2, momentum: 0.9 }),
	},
	{ files: ["gpm.safetensors", "gpm.json"], check: gpm },
	{ files: ["dne.safetensors", "dne.json"], check: dne },
	{ files: ["dne.loo.safetensors", "dne.loo.json"], check: dneLoo },
	{ files: ["metrics.image.json"], check: metricsImage },
	{ files: ["metrics.continual.json"], check: metricsContinual },
	{
		files: ["ewc.fisher.safetensors", "ewc.anchor.safetensors", "ewc.json"],
		check: ewcFisher,
	},
	{ files: ["ewc.exact.safetensors"], check: ewcExact },
	{ files: ["ewc.three.safetensors", "ewc.three.json"], check: ewcThree },
	{ files: ["si.omega.safetensors", "si.json"], check: siOmega },
	{ files: ["si.two.safetensors", "si.two.json"], check: siTwo },
	{ files: ["lwf.safetensors", "lwf.json"], check: lwf },
	{
		files: ["metrics.pixel.safetensors", "metrics.pixel.json"],
		check: metricsPixel,
	},
	{ files: ["spro/"], check: spro },
];

async function main(path: string): Promise<number> {
	if (!existsSync(path)) {
		console.error(
			`error: there is no folder ${path}. Give the folder of reference values: npm run golden -- DIR`,
		);
		return 2;
	}
	const present = readdirSync(path)
		.filter((name) => name !== "README.md" && !name.endsWith(".py"))
		.map((name) =>
			statSync(join(path, name)).isDirectory() ? `${name}/` : name,
		);
	const known = checks.flatMap((c) => c.files);
	let failures = 0;
	const print = (
		name: string,
		error: string,
		tolerance: string,
		verdict: string,
	) =>
		console.log(
			`${name.padEnd(44)} ${error.padStart(10)} ${tolerance.padStart(8)}  ${verdict}`,
		);
	const folder = new Folder(path);
	for (const { files, check } of checks) {
		if (!files.some((f) => present.includes(f))) continue;
		try {
			for (const { name, error, tolerance } of await check(folder)) {
				const pass = error <= tolerance;
				if (!pass) failures++;
				print(
					name,
					error.toExponential(1),
					tolerance ? tolerance.toExponential(0) : "exact",
					pass ? "pass" : "FAIL",
				);
			}
		} catch (error) {
			failures++;
			print(files[0] as string, "", "", `FAIL (${(error as Error).message})`);
		}
	}
	for (const name of present.filter((n) => !known.includes(n))) {
		failures++;
		print(name, "", "", "FAIL (no check knows this file)");
	}
	if (present.length === 0) failures++;
	console.log(failures === 0 ? "all quantities pass" : `${failures} failures`);
	return failures === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv[2] ?? "../shared/golden");
