/** One drawn product, learnt with the memories of configs/flagship.yaml: what measurements of scoring begin with. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../src/config.ts";
import { drawDemo } from "../src/data/demo.ts";
import { findCategories } from "../src/data/index.ts";
import { teach } from "../src/teach.ts";

/** `dir`: of everything, to be deleted afterwards; `category`: the folder of the product's pictures, 224 px. It is called "product". */
export async function learnProduct(job: {
	/** Good images to learn. */
	readonly train: number;
	/** Good images to test. */
	readonly test: number;
	readonly threads: number;
}): Promise<{
	readonly dir: string;
	readonly memDir: string;
	readonly category: string;
}> {
	const dir = mkdtempSync(join(tmpdir(), "keepsight-bench-"));
	const root = join(dir, "data");
	await drawDemo(root, {
		seed: 3,
		products: 1,
		size: 224,
		train: job.train,
		testGood: job.test,
		perDefect: 1,
		validation: 2,
	});
	const [id] = await findCategories(root);
	const category = join(root, id as string);
	const memDir = join(dir, "run");
	const { config } = await loadConfig("configs/flagship.yaml", [
		`threads=${job.threads}`,
	]);
	await teach(
		{
			memDir,
			change: {
				kind: "learn",
				task: "product",
				data: category,
				review: false,
			},
			config,
		},
		{ emit: () => undefined, stop: { requested: false } },
	);
	return { dir, memDir, category };
}
