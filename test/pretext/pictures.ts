/** Images drawn for the tests of pretext tasks. */
import type { Image } from "../../src/data/task.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { Random } from "../../src/random.ts";

/** Every value independent: a patch moved anywhere differs almost everywhere. */
export function noise(height: number, width: number, seed: number): Image {
	const random = new Random("noise", seed);
	return uint8(
		[height, width, 3],
		Uint8Array.from({ length: height * width * 3 }, () => random.integer(256)),
	);
}

export function plain(height: number, width: number, value: number): Image {
	const image = uint8([height, width, 3]);
	image.data.fill(value);
	return image;
}

/** A coloured disc with stripes on a light ground. */
export function disc(height: number, width: number, seed: number): Image {
	const random = new Random("disc", seed);
	const [cy, cx, r] = [
		random.uniform(0.4, 0.6) * height,
		random.uniform(0.4, 0.6) * width,
		0.35 * Math.min(height, width),
	];
	const image = plain(height, width, 230);
	for (let y = 0; y < height; y++) {
		for (let x = 0; x < width; x++) {
			if (Math.hypot(y - cy, x - cx) < r)
				image.data.set(
					[160, 60 + 80 * ((x >> 2) % 2), 40 + ((y * 2) % 60)],
					(y * width + x) * 3,
				);
		}
	}
	return image;
}

/** Far faster than vitest's toEqual on tens of thousands of bytes. */
export const sameBytes = (a: Image, b: Image): boolean =>
	Buffer.compare(a.data, b.data) === 0;

/** The box around all pixels that differ, and how many do. */
export function difference(
	a: Image,
	b: Image,
): { height: number; width: number; pixels: number } {
	const width = a.shape[1] as number;
	let [top, bottom, left, right, pixels] = [Infinity, -1, Infinity, -1, 0];
	for (let p = 0; p < a.data.length; p += 3) {
		if (
			a.data[p] === b.data[p] &&
			a.data[p + 1] === b.data[p + 1] &&
			a.data[p + 2] === b.data[p + 2]
		)
			continue;
		const y = Math.floor(p / 3 / width);
		const x = (p / 3) % width;
		top = Math.min(top, y);
		bottom = Math.max(bottom, y);
		left = Math.min(left, x);
		right = Math.max(right, x);
		pixels++;
	}
	return pixels === 0
		? { height: 0, width: 0, pixels }
		: { height: bottom - top + 1, width: right - left + 1, pixels };
}

/** Mean absolute change, in grey levels. */
export function meanChange(a: Image, b: Image): number {
	return (
		a.data.reduce((sum, x, i) => sum + Math.abs(x - (b.data[i] as number)), 0) /
		a.data.length
	);
}
