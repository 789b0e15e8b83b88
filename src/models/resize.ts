/**
 * Positional grids for another image size: bicubic interpolation (Keys 1981) with a = -0.75, half-pixel centres, border clamped,
 * no antialias: PyTorch's interpolate(mode="bicubic", align_corners=False), which DINOv2 uses. timm's antialiased downscaling differs.
 */
import { float32, type Tensor } from "../engine/tensor.ts";

/** `grid` [h, w, d] row-major as [1, h*w, d] to [1, H*W, d]. */
export function resizeGrid(
	grid: Tensor,
	from: readonly [number, number],
	to: readonly [number, number],
): Tensor {
	if (from[0] === to[0] && from[1] === to[1]) return grid;
	const d = grid.shape.at(-1) as number;
	const across = resizeAxis(grid.data, from[0], from[1], d, to[1]); // [h, W, d]
	return float32(
		[1, to[0] * to[1], d],
		Float32Array.from(resizeAxis(across, 1, from[0], to[1] * d, to[0])),
	);
}

/** Along the middle axis of [outer, n, inner]. */
function resizeAxis(
	data: ArrayLike<number>,
	outer: number,
	n: number,
	inner: number,
	size: number,
): Float64Array {
	const out = new Float64Array(outer * size * inner);
	for (let i = 0; i < size; i++) {
		const centre = ((i + 0.5) * n) / size - 0.5;
		const first = Math.floor(centre);
		const t = centre - first;
		const weights = [cubic(1 + t), cubic(t), cubic(1 - t), cubic(2 - t)];
		weights.forEach((weight, k) => {
			const source = Math.min(n - 1, Math.max(0, first - 1 + k));
			for (let o = 0; o < outer; o++) {
				const to = (o * size + i) * inner;
				const from = (o * n + source) * inner;
				for (let j = 0; j < inner; j++)
					out[to + j] =
						(out[to + j] as number) + weight * (data[from + j] as number);
			}
		});
	}
	return out;
}

function cubic(x: number): number {
	const a = -0.75;
	return x <= 1
		? ((a + 2) * x - (a + 3)) * x * x + 1
		: ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}
