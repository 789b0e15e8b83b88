/** Tiny drawn categories in MVTec AD's layout: stripes across or along, defects are dark squares. */
import { mkdirSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { encodePng } from "../src/data/image.ts";
import { uint8 } from "../src/engine/tensor.ts";
import { Random } from "../src/random.ts";

/** Side of the pictures in pixels. */
export const size = 32;

/** `kind` 0: stripes across, 1: along. `train` good images; `test` good and as many defective ones. */
export async function drawCategory(
	dir: string,
	kind: number,
	train: number,
	test: number,
): Promise<void> {
	const write = async (path: string, seed: number, defect: boolean) => {
		const r = new Random("e2e", kind, basename(dir), relative(dir, path), seed); // wherever the folder lies
		const pixels = new Uint8Array(size * size * 3);
		const phase = r.uniform(0, 6);
		for (let y = 0; y < size; y++)
			for (let x = 0; x < size; x++)
				for (let c = 0; c < 3; c++) {
					const inside = defect && x > 8 && x < 18 && y > 8 && y < 18;
					pixels[(y * size + x) * 3 + c] = Math.max(
						0,
						Math.min(
							255,
							(inside ? 30 : 128) +
								70 * Math.sin((kind ? x : y) * 0.7 + phase) +
								r.normal(0, 10),
						),
					);
				}
		mkdirSync(join(path, ".."), { recursive: true });
		writeFileSync(path, await encodePng(uint8([size, size, 3], pixels)));
	};
	for (let i = 0; i < train; i++)
		await write(join(dir, "train/good", `${i}.png`), i, false);
	for (let i = 0; i < test; i++)
		await write(join(dir, "test/good", `${i}.png`), 1000 + i, false);
	for (let i = 0; i < test; i++)
		await write(join(dir, "test/spot", `${i}.png`), 2000 + i, true);
}

/** The configuration of a run that learns such categories within seconds and trains nothing. */
export const frozenRun = ({
	root,
	tasks,
	out,
}: {
	readonly root: string;
	readonly tasks: readonly string[];
	readonly out: string;
}): string => `name: run
data: { root: ${root}, tasks: [${tasks.join(", ")}] }
image_size: 112
backbone: { name: keepsight-tiny }
trainable: none
pretext: { name: cutpaste }
strategy: { name: frozen }
memory: [{ name: patches, weight: 3 }, { name: dne }]
out: ${out}
threads: 1
`;
