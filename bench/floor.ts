/** The least time that a network's matrix products could take: their FLOPs at the highest rate the runtime reaches on plain ones. */
import { input } from "../src/engine/graph.ts";
import { gemm } from "../src/engine/ops/index.ts";
import { Session } from "../src/engine/runtime.ts";
import { float32 } from "../src/engine/tensor.ts";
import { tokenCount, type VitConfig } from "../src/models/vit.ts";
import type { Random } from "../src/random.ts";

/** The runtime's highest rate on plain products: 2048 cubed and the model's shapes for a whole batch; FLOP per second. */
export async function gemmRate(
	config: VitConfig,
	{ batch, threads }: { readonly batch: number; readonly threads: number },
	random: Random,
): Promise<number> {
	const { width } = config;
	const rows = batch * tokenCount(config);
	let best = 0;
	for (const [m, k, n] of [
		[2048, 2048, 2048],
		[rows, width, 4 * width],
		[rows, 4 * width, width],
		[rows, width, 3 * width],
	] as const) {
		const session = await Session.create(
			{
				y: gemm(input("a", [m, k]), input("b", [k, n])),
			},
			{ threads },
		);
		const drawn = (length: number) =>
			Float32Array.from({ length }, () => random.uniform());
		const feeds = {
			a: float32([m, k], drawn(m * k)),
			b: float32([k, n], drawn(k * n)),
		};
		for (let i = 0; i < 6; i++) {
			const began = performance.now();
			await session.run(feeds);
			const seconds = (performance.now() - began) / 1000;
			if (i > 0) best = Math.max(best, (2 * m * k * n) / seconds);
		}
		await session.release();
	}
	return best;
}

/**
 * FLOPs of the matrix products of an image as they are built: the embedding of patches, a whole block, and the last one, of which
 * queries, projection and MLP are computed for the class row alone.
 */
export function flops(config: VitConfig): {
	embedding: number;
	whole: number;
	last: number;
} {
	const t = tokenCount(config);
	const { width: d, patch } = config;
	const linear = (rows: number, i: number, o: number) => 2 * rows * i * o;
	const attention = (queries: number) => 2 * 2 * queries * t * d;
	return {
		embedding: linear(t - 1, 3 * patch * patch, d),
		whole:
			linear(t, d, 3 * d) +
			linear(t, d, d) +
			2 * linear(t, d, 4 * d) +
			attention(t),
		last:
			linear(t, d, 2 * d) +
			2 * linear(1, d, d) +
			2 * linear(1, d, 4 * d) +
			attention(1),
	};
}
