/** Rows in 8 bits: symmetric about `zero`, every row with a scale of its own. */
import { float32, int8, type Tensor, uint8 } from "./tensor.ts";

export interface Bytes {
	/** x ≈ (codes − zero) · scale. */
	readonly codes: Tensor<"uint8">; // [M, D]
	readonly scale: Tensor; // [M]
}

/** The code of 0: 128 for all of 8 bits, 64 for 7 of them. */
export type Zero = 64 | 128;

export function toBytes({ shape, data }: Tensor, zero: Zero = 128): Bytes {
	const [m, d] = shape as [number, number];
	const codes = uint8([m, d]);
	const scale = float32([m]);
	for (let r = 0, from = 0; r < m; r++, from += d) {
		const to = from + d;
		let largest = 0;
		for (let i = from; i < to; i++)
			largest = Math.max(largest, Math.abs(data[i] as number));
		const step = Math.fround(largest / (zero - 1)) || 1;
		scale.data[r] = step;
		const round = zero + 0.5; // storing a byte rounds down
		for (let i = from; i < to; i++)
			codes.data[i] = (data[i] as number) / step + round;
	}
	return { codes, scale };
}

/** Of codes about 128. */
export function fromBytes({ codes, scale }: Bytes): Tensor {
	const d = codes.shape[1] as number;
	const out = float32(codes.shape);
	for (const [r, step] of scale.data.entries())
		for (let i = r * d; i < (r + 1) * d; i++)
			out.data[i] = ((codes.data[i] as number) - 128) * step;
	return out;
}

/** The same as the right side of a product: codes [D, M] · scale [M] ≈ the rows [M, D] the other way round; a row of zeros has scale 1. */
export function toInt8(rows: Tensor): {
	codes: Tensor<"int8">;
	scale: Tensor;
} {
	const [m, d] = rows.shape as [number, number];
	const { codes, scale } = toBytes(rows);
	const turned = int8([d, m]);
	for (let r = 0; r < m; r++)
		for (let i = 0; i < d; i++)
			turned.data[i * m + r] = (codes.data[r * d + i] as number) - 128;
	return { codes: turned, scale };
}
