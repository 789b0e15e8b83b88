/**
 * The frozen blocks in 8-bit integers: where in float32 a linear layer multiplies matrices, here both sides are rounded to 8 bits first
 * and the product is exact. Everything else (norms, attention, GELU, residuals) stays float32. All of it follows from the weights alone:
 * nothing is calibrated on pictures, nothing is stored.
 *
 * Weights: symmetric, a scale an output. Pixels are bytes already. Activations: the range of the rows of one image (trunk.ts sends images through one by one, so
 * an image scores the same whatever it is seen beside), and for what GELU puts out a range a row: the class token's hidden layer has
 * numbers many times the patches', whose steps would be too large by as much. Channels of a norm's output differ by orders of magnitude;
 * dividing each by a factor and multiplying the weight's column by it (SmoothQuant, Xiao et al. 2023, eq. 3 and 4) costs nothing, as the
 * norm's own weight and bias take the division. The paper takes a channel's range from pictures, here it is the norm's |bias| + 4 |weight|,
 * four deviations of a normalised number: docs/experiments.md has both.
 */
import { toInt8 } from "../engine/bytes.ts";
import { inputsOf, type Value } from "../engine/graph.ts";
import {
	add,
	dynamicLinear,
	integerLinear,
	max,
	mul,
	quantiseRows,
	reduceMax,
	reshape,
	slice,
	transpose,
} from "../engine/ops/index.ts";
import {
	type AnyTensor,
	float32,
	type Tensor,
	type TensorDict,
} from "../engine/tensor.ts";
import {
	gridOf,
	type Layers,
	type VitConfig,
	withoutLayerScale,
} from "./vit.ts";

export const precisions = ["float32", "int8"] as const;
/** In what the frozen blocks compute. */
export type Precision = (typeof precisions)[number];

const PATCHES = "patch_embed.proj";
/** The same layer once more, for what is left of its weights: all that follows rests on it, so it gets 16 bits. */
const REST = `${PATCHES}.rest`;

/** α of SmoothQuant: 1 gives all the difference between channels to the weights, 0 leaves it to the activations. */
const SMOOTHING = 0.85;
/** A normalised number's largest, in deviations. */
const DEVIATIONS = 4;

/** Code of 0 in what GELU puts out, and its least step: GELU's minimum, -.16997, is the code 0 then. */
const GELU_ZERO = 24;
const GELU_STEP = 0.17 / GELU_ZERO;

export interface Quantised {
	/** In place of the backbone's: norms and int8 weights of the quantised blocks, all others as they are. */
	readonly weights: Readonly<Record<string, AnyTensor>>;
	readonly layers: Layers;
}

/** The embedding of patches and the blocks below `upTo`, quantised. */
export function quantise(
	config: VitConfig,
	weights: TensorDict,
	upTo: number,
): Quantised {
	const out: Tensors = withoutLayerScale(weights, upTo);
	const plain = (layer: string): Layer => ({
		weight: out[`${layer}.weight`] as Tensor,
		bias: out[`${layer}.bias`] as Tensor,
	});
	const put = (layer: string, { weight, bias }: Layer): Tensor => {
		const { codes, scale } = toInt8(weight);
		delete out[`${layer}.weight`];
		Object.assign(out, {
			[`${layer}.codes`]: codes,
			[`${layer}.scale`]: scale,
			[`${layer}.bias`]: bias,
		});
		return rest(weight, codes, scale);
	};
	const { weight, bias } = ofBytes(config, out);
	const none = float32(bias.shape);
	put(REST, { weight: put(PATCHES, { weight, bias }), bias: none });
	for (let i = 0; i < upTo; i++) {
		const p = `blocks.${i}.`;
		const layers = {
			[`${p}attn.qkv`]: smoothed(out, `${p}norm1`, `${p}attn.qkv`),
			[`${p}attn.proj`]: plain(`${p}attn.proj`),
			[`${p}mlp.fc1`]: smoothed(out, `${p}norm2`, `${p}mlp.fc1`),
			[`${p}mlp.fc2`]: plain(`${p}mlp.fc2`),
		};
		for (const [layer, it] of Object.entries(layers)) put(layer, it);
	}
	return { weights: out, layers: layersOf(out) };
}

/** What rounding took off a weight. */
function rest({ shape, data }: Tensor, codes: Tensor<"int8">, scale: Tensor) {
	const [out, width] = shape as [number, number];
	const left = data.slice();
	for (let o = 0; o < out; o++)
		for (let j = 0; j < width; j++)
			left[o * width + j] =
				(left[o * width + j] as number) -
				(codes.data[j * out + o] as number) * (scale.data[o] as number);
	return float32(shape, left);
}

interface Layer {
	readonly weight: Tensor; // [out, in]
	readonly bias: Tensor; // [out]
}
type Tensors = Record<string, AnyTensor>;

/**
 * The embedding of patches for pixels 0..255, channels last, as they lie in an image: x ↦ (x / 255 - mean) / std, which is linear, taken
 * into its weight and bias. So the pixels are not rounded at all.
 */
function ofBytes({ patch, mean, std }: VitConfig, all: Tensors): Layer {
	const weight = all[`${PATCHES}.weight`] as Tensor; // [D, 3, P, P]
	const bias = float32(
		[weight.shape[0] as number],
		(all[`${PATCHES}.bias`] as Tensor).data.slice(),
	);
	const area = patch * patch;
	const data = new Float32Array(weight.data.length);
	for (let i = 0; i < data.length; i++) {
		const [o, place] = [Math.floor(i / (3 * area)), i % area];
		const channel = Math.floor(i / area) % 3;
		const w = (weight.data[i] as number) / (std[channel] as number);
		data[3 * (o * area + place) + channel] = w / 255;
		bias.data[o] = (bias.data[o] as number) - w * (mean[channel] as number);
	}
	return { weight: float32([bias.data.length, 3 * area], data), bias };
}

/** A layer behind a norm, and the norm in `all`, with channels brought nearer to each other: y / s and w s. */
function smoothed(all: Tensors, norm: string, layer: string): Layer {
	const weight = all[`${layer}.weight`] as Tensor;
	const [out, width] = weight.shape as [number, number];
	const gain = (all[`${norm}.weight`] as Tensor).data.slice();
	const shift = (all[`${norm}.bias`] as Tensor).data.slice();
	const data = weight.data.slice();
	for (let j = 0; j < width; j++) {
		let largest = 0;
		for (let o = 0; o < out; o++)
			largest = Math.max(largest, Math.abs(data[o * width + j] as number));
		const range =
			Math.abs(shift[j] as number) + DEVIATIONS * Math.abs(gain[j] as number);
		if (range === 0) continue;
		// a channel that nothing reads becomes 0, and does not widen the others' range
		const s = range ** SMOOTHING / largest ** (1 - SMOOTHING);
		gain[j] = (gain[j] as number) / s;
		shift[j] = (shift[j] as number) / s;
		for (let o = 0; o < out; o++)
			if (largest > 0)
				data[o * width + j] = (data[o * width + j] as number) * s;
	}
	all[`${norm}.weight`] = float32([width], gain);
	all[`${norm}.bias`] = float32([width], shift);
	return {
		weight: float32(weight.shape, data),
		bias: all[`${layer}.bias`] as Tensor,
	};
}

function layersOf(weights: Readonly<Tensors>): Layers {
	const params = inputsOf(weights);
	const get = (name: string) => params[name] as Value;
	return {
		linear(x, layer, range) {
			const of = (name: string, axis: number): Value => {
				const value = get(`${layer}.${name}`);
				return range ? slice(value, axis, ...range) : value;
			};
			const linear = layer.endsWith("mlp.fc2") ? afterGelu : dynamicLinear;
			return linear(x, of("codes", 1), of("scale", 0), of("bias", 0));
		},
		patches(c, images) {
			const [h, w] = gridOf(c);
			const [b, p] = [images.shape[0] as number, c.patch];
			const patches = transpose(
				reshape(images, [b, h, p, w, 3 * p]),
				[0, 1, 3, 2, 4],
			);
			const x = reshape(patches, [b * h * w, 3 * p * p]);
			const product = (layer: string) =>
				integerLinear(
					x,
					get(`${layer}.codes`),
					get(`${layer}.scale`),
					get(`${layer}.bias`),
					0,
				);
			return add(product(PATCHES), product(REST));
		},
	};
}

/** x w · scale + b for x [rows, in] that GELU puts out, each row with a step of its own. */
function afterGelu(x: Value, codes: Value, scale: Value, bias: Value): Value {
	const steps = max(mul(reduceMax(x), 1 / (255 - GELU_ZERO)), GELU_STEP); // [rows, 1]
	const product = integerLinear(
		quantiseRows(x, steps, GELU_ZERO),
		codes,
		scale,
		null,
		GELU_ZERO,
	);
	return add(mul(product, steps), bias);
}
