/**
 * Image transforms on uint8 [H, W, 3]: torchvision's ColorJitter and rotation, crop, paste.
 * Colour follows torchvision's tensor backend (transforms/_functional_tensor.py), which truncates to whole grey
 * levels after each step; its PIL backend rounds hue to 8 bits first and is not followed. Sums are float64 where
 * torchvision has float32: a pixel at the edge of a level may differ by one.
 */

import type { Image } from "../data/task.ts";
import { uint8 } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import type { Random } from "../random.ts";

/** [H, W] of an image. */
export function sidesOf(image: Image): readonly [number, number] {
	const [height, width, channels] = image.shape;
	if (height === undefined || width === undefined || channels !== 3) {
		throw fail("SHAPE_MISMATCH", {
			op: "pretext",
			shapes: [image.shape],
			hint: "An image is [H, W, 3].",
		});
	}
	return [height, width];
}

/**
 * ColorJitter(s, s, s, s): brightness, contrast and saturation by factors from U(1 - s, 1 + s), hue by U(-s, s) of a
 * turn, in random order. Strength 0 gives a copy.
 */
export function colorJitter(
	image: Image,
	strength: number,
	random: Random,
): Image {
	const data = Uint8Array.from(image.data);
	if (strength > 0) {
		const order = random.permutation(4);
		const factor = () => random.uniform(1 - strength, 1 + strength);
		const [brightness, contrast, saturation, hue] = [
			factor(),
			factor(),
			factor(),
			random.uniform(-strength, strength),
		];
		for (const step of order) {
			if (step === 0) adjustBrightness(data, brightness);
			else if (step === 1) adjustContrast(data, contrast);
			else if (step === 2) adjustSaturation(data, saturation);
			else adjustHue(data, hue);
		}
	}
	return uint8(image.shape, data);
}

const level = (x: number) => (x < 0 ? 0 : x > 255 ? 255 : x | 0);
const grey = (r: number, g: number, b: number) =>
	(0.2989 * r + 0.587 * g + 0.114 * b) | 0;

/** x ← factor · x. The four steps change `data` (RGB, interleaved) in place. */
export function adjustBrightness(data: Uint8Array, factor: number): void {
	lookUp(data, factor, 0);
}

/** x ← factor · x + (1 - factor) · m, m the mean of the grey image. */
export function adjustContrast(data: Uint8Array, factor: number): void {
	let sum = 0;
	for (let i = 0; i < data.length; i += 3)
		sum += grey(
			data[i] as number,
			data[i + 1] as number,
			data[i + 2] as number,
		);
	lookUp(data, factor, ((1 - factor) * sum * 3) / data.length);
}

function lookUp(data: Uint8Array, factor: number, offset: number): void {
	const table = Uint8Array.from({ length: 256 }, (_, x) =>
		level(factor * x + offset),
	);
	for (let i = 0; i < data.length; i++)
		data[i] = table[data[i] as number] as number;
}

/** x ← factor · x + (1 - factor) · grey(x), each pixel with its own grey. */
export function adjustSaturation(data: Uint8Array, factor: number): void {
	for (let i = 0; i < data.length; i += 3) {
		const r = data[i] as number;
		const g = data[i + 1] as number;
		const b = data[i + 2] as number;
		const rest = (1 - factor) * grey(r, g, b);
		data[i] = level(factor * r + rest);
		data[i + 1] = level(factor * g + rest);
		data[i + 2] = level(factor * b + rest);
	}
}

/**
 * Turns the hue by `turn` (1 is once round the circle) in HSV. With d = max - min and f the place between two
 * corners of the hexagon, the three values are max, min, and q = max - d·f or t = max - d·(1 - f).
 */
export function adjustHue(data: Uint8Array, turn: number): void {
	const toLevel = 255.999 / 255; // torchvision's conversion of [0, 1] to bytes
	for (let i = 0; i < data.length; i += 3) {
		const r = data[i] as number;
		const g = data[i + 1] as number;
		const b = data[i + 2] as number;
		const max = Math.max(r, g, b);
		const min = Math.min(r, g, b);
		const d = max - min;
		if (d === 0) continue; // grey has no hue
		let h =
			(max === r
				? (g - b) / d
				: max === g
					? 2 + (b - r) / d
					: 4 + (r - g) / d) +
			6 * turn;
		h -= 6 * Math.floor(h / 6);
		const corner = h | 0;
		const f = h - corner;
		const q = ((max - d * f) * toLevel) | 0;
		const t = ((max - d * (1 - f)) * toLevel) | 0;
		switch (corner) {
			case 1:
				put(data, i, q, max, min);
				break;
			case 2:
				put(data, i, min, max, t);
				break;
			case 3:
				put(data, i, min, q, max);
				break;
			case 4:
				put(data, i, t, min, max);
				break;
			case 5:
				put(data, i, max, min, q);
				break;
			default: // 0, and 6 where rounding closed the circle (f = 0)
				put(data, i, max, t, min);
		}
	}
}

function put(
	data: Uint8Array,
	i: number,
	r: number,
	g: number,
	b: number,
): void {
	data[i] = r;
	data[i + 1] = g;
	data[i + 2] = b;
}

/** About the centre, counter-clockwise, same size, nearest pixel, black corners: torchvision's default. */
export function rotate(image: Image, degrees: number): Image {
	const [height, width] = sidesOf(image);
	const rotated = uint8(image.shape);
	drawRotated(rotated, image, degrees, 0, 0, height, width);
	return rotated;
}

/** Draws `source`, rotated about its centre, into the box of `target` at (top, left); outside of it the box stays as it is. */
export function drawRotated(
	target: Image,
	source: Image,
	degrees: number,
	top: number,
	left: number,
	height: number,
	width: number,
): void {
	const [sourceHeight, sourceWidth] = sidesOf(source);
	const [from, to] = [source.data, target.data];
	const stride = sidesOf(target)[1];
	const cos = Math.cos((degrees * Math.PI) / 180);
	const sin = Math.sin((degrees * Math.PI) / 180);
	const centreX = (sourceWidth - 1) / 2 + 0.5; // + .5: floor then rounds to the nearest pixel
	const centreY = (sourceHeight - 1) / 2 + 0.5;
	for (let y = 0; y < height; y++) {
		const dy = y - (height - 1) / 2;
		let t = ((top + y) * stride + left) * 3;
		for (let x = 0; x < width; x++, t += 3) {
			const dx = x - (width - 1) / 2;
			const sx = Math.floor(cos * dx - sin * dy + centreX);
			const sy = Math.floor(sin * dx + cos * dy + centreY);
			if (sx < 0 || sy < 0 || sx >= sourceWidth || sy >= sourceHeight) continue;
			const s = (sy * sourceWidth + sx) * 3;
			to[t] = from[s] as number;
			to[t + 1] = from[s + 1] as number;
			to[t + 2] = from[s + 2] as number;
		}
	}
}

/** A copy of the box [height, width] at (top, left). */
export function crop(
	image: Image,
	top: number,
	left: number,
	height: number,
	width: number,
): Image {
	const stride = sidesOf(image)[1] * 3;
	const cut = uint8([height, width, 3]);
	for (let y = 0; y < height; y++) {
		const start = (top + y) * stride + left * 3;
		cut.data.set(image.data.subarray(start, start + width * 3), y * width * 3);
	}
	return cut;
}

/** Puts `patch` into `target` (in place) with its corner at (top, left). */
export function paste(
	target: Image,
	patch: Image,
	top: number,
	left: number,
): void {
	const [height, width] = sidesOf(patch);
	const stride = sidesOf(target)[1] * 3;
	for (let y = 0; y < height; y++) {
		target.data.set(
			patch.data.subarray(y * width * 3, (y + 1) * width * 3),
			(top + y) * stride + left * 3,
		);
	}
}

/** Bilinear without antialiasing, pixel centres at .5, edges repeated: cv2.resize's default. */
export function resize(image: Image, height: number, width: number): Image {
	const [sourceHeight, sourceWidth] = sidesOf(image);
	if (height === sourceHeight && width === sourceWidth) return image;
	const from = image.data;
	const resized = uint8([height, width, 3]);
	let t = 0;
	for (let y = 0; y < height; y++) {
		const sy = Math.min(
			Math.max(((y + 0.5) * sourceHeight) / height - 0.5, 0),
			sourceHeight - 1,
		);
		const y0 = Math.floor(sy);
		const fy = sy - y0;
		const upper = y0 * sourceWidth * 3;
		const lower = Math.min(y0 + 1, sourceHeight - 1) * sourceWidth * 3;
		for (let x = 0; x < width; x++) {
			const sx = Math.min(
				Math.max(((x + 0.5) * sourceWidth) / width - 0.5, 0),
				sourceWidth - 1,
			);
			const x0 = Math.floor(sx);
			const fx = sx - x0;
			const a = x0 * 3;
			const b = Math.min(x0 + 1, sourceWidth - 1) * 3;
			for (let c = 0; c < 3; c++, t++) {
				const above =
					(from[upper + a + c] as number) * (1 - fx) +
					(from[upper + b + c] as number) * fx;
				const below =
					(from[lower + a + c] as number) * (1 - fx) +
					(from[lower + b + c] as number) * fx;
				resized.data[t] = Math.round(above * (1 - fy) + below * fy);
			}
		}
	}
	return resized;
}
