/** Host tensors: a shape and a typed array in row-major order. Nothing here computes. */

export interface Arrays {
	float32: Float32Array;
	float64: Float64Array;
	/** IEEE half precision, raw bits. */
	float16: Uint16Array;
	int64: BigInt64Array;
	int32: Int32Array;
	int8: Int8Array;
	uint8: Uint8Array;
}
/** Kinds of numbers. */
export type DType = keyof Arrays;
/** Sides, outermost first; [] is a scalar. */
export type Shape = readonly number[];

/** Numbers in row-major order. */
export interface Tensor<T extends DType = "float32"> {
	readonly dtype: T;
	readonly shape: Shape;
	readonly data: Arrays[T];
}
/** A tensor of any dtype. */
export type AnyTensor = { [T in DType]: Tensor<T> }[DType];
/** Named tensors; network parameters carry timm's names. */
export type TensorDict = Record<string, Tensor>;

/** Number of elements: the product of the sides; 1 for a scalar. */
export const sizeOf = (shape: Shape): number =>
	shape.reduce((a, b) => a * b, 1);

/** A tensor of float32; without `data` all 0. */
export const float32 = (
	shape: Shape,
	data: Float32Array = new Float32Array(sizeOf(shape)),
): Tensor => ({ dtype: "float32", shape, data });
/** A tensor of float64; without `data` all 0. */
export const float64 = (
	shape: Shape,
	data: Float64Array = new Float64Array(sizeOf(shape)),
): Tensor<"float64"> => ({ dtype: "float64", shape, data });
/** A tensor of int8; without `data` all 0. */
export const int8 = (
	shape: Shape,
	data: Int8Array = new Int8Array(sizeOf(shape)),
): Tensor<"int8"> => ({ dtype: "int8", shape, data });
/** A tensor of uint8; without `data` all 0. */
export const uint8 = (
	shape: Shape,
	data: Uint8Array = new Uint8Array(sizeOf(shape)),
): Tensor<"uint8"> => ({ dtype: "uint8", shape, data });
