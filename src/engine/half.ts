/** IEEE 754 binary16: sign 1, exponent 5 (bias 15), fraction 10. */
import { float32, type Tensor } from "./tensor.ts";

export function halfToNumber(bits: number): number {
	const sign = bits & 0x8000 ? -1 : 1;
	const exponent = (bits >> 10) & 31;
	const fraction = bits & 1023;
	if (exponent === 0) return sign * fraction * 2 ** -24;
	if (exponent === 31)
		return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
	return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const word = new Float32Array(1);
const bitsOf = new Uint32Array(word.buffer);

/** Rounded to nearest, ties to even; beyond 65504 infinity. */
export function numberToHalf(value: number): number {
	word[0] = value;
	const bits = bitsOf[0] as number;
	const sign = (bits >>> 16) & 0x8000;
	const magnitude = Math.abs(word[0]);
	if (Number.isNaN(value)) return sign | 0x7e00;
	if (magnitude >= 65520) return sign | 0x7c00;
	if (magnitude < 2 ** -14) return sign | roundEven(magnitude * 2 ** 24);
	// the carry of a fraction that rounds up goes into the exponent, as it should
	const exponent = ((bits >>> 23) & 255) - 127;
	const fraction = roundEven((bits & 0x7fffff) / 2 ** 13);
	return sign | (((exponent + 15) << 10) + fraction);
}

function roundEven(x: number): number {
	const floor = Math.floor(x);
	const rest = x - floor;
	if (rest === 0.5) return floor + (floor % 2);
	return rest > 0.5 ? floor + 1 : floor;
}

export const toHalf = ({ shape, data }: Tensor): Tensor<"float16"> => ({
	dtype: "float16",
	shape,
	data: Uint16Array.from(data, numberToHalf),
});

let numbers: Float32Array | null = null; // of all bits there are

export function fromHalf({ shape, data }: Tensor<"float16">): Tensor {
	numbers ??= Float32Array.from({ length: 1 << 16 }, (_, bits) =>
		halfToNumber(bits),
	);
	const out = float32(shape);
	for (let i = 0; i < data.length; i++)
		out.data[i] = numbers[data[i] as number] as number;
	return out;
}

/** Neither infinite nor NaN. */
export function allFinite(bits: Uint16Array): boolean {
	for (let i = 0; i < bits.length; i++)
		if (((bits[i] as number) & 0x7c00) === 0x7c00) return false;
	return true;
}
