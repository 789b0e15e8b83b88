/**
 * From a painted scene to a photograph: a lamp, the room, shadows, a lens, a sensor.
 * Lambert and Blinn-Phong by the normals of the height field, a mirrored soft box on metal, occlusion in hollows, cast shadows by
 * walking from each pixel towards the lamp; then uneven light, vignetting, blur, shot and read noise, gamma 1/2.2.
 */
import { Random } from "../../random.ts";
import type { Scene } from "./scene.ts";

export interface Photo {
	/** Where the lamp stands, radians, 0 = right, and how high. */
	readonly azimuth: number;
	readonly elevation: number;
	readonly exposure: number;
	/** Share of light from everywhere. */
	readonly ambient: number;
	/** Red against blue, around 0. */
	readonly warmth: number;
	/** Change of light over the picture, to the right and downwards. */
	readonly gradient: readonly [number, number];
	/** Standard deviation of the blur in units. */
	readonly blur: number;
	/** Sensor noise at white, share of full scale. */
	readonly noise: number;
	readonly noiseSeed: number;
}

export type Drift = "none" | "light" | "blur";

/** One shot of the same set-up: everything a little different. `light` is an ageing lamp that moved, `blur` a lens out of focus. */
export function takePhoto(random: Random, drift: Drift = "none"): Photo {
	const lamp = drift === "light";
	return {
		azimuth: -2.2 + random.normal(0, 0.05) + (lamp ? 0.5 : 0),
		elevation: 0.95 + random.normal(0, 0.02) - (lamp ? 0.12 : 0),
		exposure: random.normal(1, 0.025) * (lamp ? 0.78 : 1),
		ambient: 0.42 + random.normal(0, 0.015),
		warmth: random.normal(0, 0.012) + (lamp ? 0.07 : 0),
		gradient: [
			random.normal(-0.05, 0.02) + (lamp ? 0.15 : 0),
			random.normal(-0.04, 0.02),
		],
		blur: Math.abs(random.normal(0.45, 0.08)) + (drift === "blur" ? 1.1 : 0),
		noise: 0.011 * random.uniform(0.85, 1.15),
		noiseSeed: random.integer(1 << 18),
	};
}

/** RGB, [size, size, 3]. */
export function photograph(scene: Scene, photo: Photo): Uint8Array {
	const light = lightOf(scene, photo);
	const { size, pixel } = scene;
	const n = size * size;
	for (const plane of light) blur(plane, size, photo.blur / pixel);
	const out = new Uint8Array(n * 3);
	for (let i = 0, s = photo.noiseSeed; i < n; i++) {
		for (let k = 0; k < 3; k++, s++) {
			let v = (light[k] as Float32Array)[i] as number;
			v +=
				photo.noise *
				Math.sqrt(0.02 + Math.abs(v) * 0.6) *
				(grain[s & (grain.length - 1)] as number);
			v = v * 4095;
			out[3 * i + k] = gamma[v < 0 ? 0 : v > 4095 ? 4095 : v | 0] as number;
		}
	}
	return out;
}

function lightOf(
	scene: Scene,
	photo: Photo,
): readonly [Float32Array, Float32Array, Float32Array] {
	const { size, pixel, height } = scene;
	const n = size * size;
	const planes = [
		new Float32Array(n),
		new Float32Array(n),
		new Float32Array(n),
	] as const;
	const around = Float32Array.from(height);
	blur(around, size, 5 / pixel);
	const lx = Math.cos(photo.azimuth) * Math.cos(photo.elevation);
	const ly = Math.sin(photo.azimuth) * Math.cos(photo.elevation);
	const lz = Math.sin(photo.elevation);
	// the half vector between lamp and camera (camera straight above)
	const half = Math.hypot(lx, ly, lz + 1);
	const hx = lx / half;
	const hy = ly / half;
	const hz = (lz + 1) / half;
	const rise = Math.tan(photo.elevation);
	const shadowAt = shadows(
		scene,
		Math.cos(photo.azimuth),
		Math.sin(photo.azimuth),
		rise,
	);
	const [gx, gy] = photo.gradient;
	for (let y = 0; y < size; y++) {
		const up = (y > 0 ? y - 1 : y) * size;
		const down = (y < size - 1 ? y + 1 : y) * size;
		const v = (2 * (y + 0.5)) / size - 1;
		for (let x = 0; x < size; x++) {
			const i = y * size + x;
			const left = x > 0 ? i - 1 : i;
			const right = x < size - 1 ? i + 1 : i;
			const h = height[i] as number;
			let nx =
				((height[left] as number) - (height[right] as number)) / (2 * pixel);
			let ny =
				((height[up + x] as number) - (height[down + x] as number)) /
				(2 * pixel);
			const nz = 1 / Math.sqrt(1 + nx * nx + ny * ny);
			nx *= nz;
			ny *= nz;
			const hollow = (around[i] as number) - h;
			const open = hollow > 0 ? 1 / (1 + 0.12 * hollow) : 1;
			const lit = shadowAt[i] as number;
			const facing = nx * lx + ny * ly + nz * lz;
			const diffuse = facing > 0 ? facing * lit : 0;
			let shine = nx * hx + ny * hy + nz * hz;
			shine = shine > 0 ? shine * shine : 0; // power 2, then 4, 8, 16, 32
			shine *= shine;
			shine *= shine;
			shine *= shine;
			const broad = shine;
			shine *= shine;
			const gloss = scene.gloss[i] as number;
			const metal = scene.metal[i] as number;
			// metal mirrors a soft box on the lamp's side and a dim room on the other: towards the lamp bright, away dark
			const mirrored =
				0.22 +
				0.95 * smoothstep(-0.4, 0.85, 2 * nz * (nx * lx + ny * ly) + 0.22 * lz);
			const matt = photo.ambient * open + (1 - photo.ambient) * 1.25 * diffuse;
			const body =
				matt + metal * (mirrored * open * (0.45 + 0.55 * lit) - matt);
			const glint =
				gloss *
				(0.35 * broad + 0.65 * shine * shine) *
				(0.2 + 0.8 * lit) *
				0.55;
			const u = (2 * (x + 0.5)) / size - 1;
			const fall =
				photo.exposure * (1 + gx * u + gy * v) * (1 - 0.07 * (u * u + v * v));
			planes[0][i] =
				fall *
				(1 + photo.warmth) *
				((scene.r[i] as number) * body +
					glint * (1 - metal + metal * (scene.r[i] as number) * 1.4));
			planes[1][i] =
				fall *
				((scene.g[i] as number) * body +
					glint * (1 - metal + metal * (scene.g[i] as number) * 1.4));
			planes[2][i] =
				fall *
				(1 - photo.warmth) *
				((scene.b[i] as number) * body +
					glint * (1 - metal + metal * (scene.b[i] as number) * 1.4));
		}
	}
	return planes;
}

/** 1 lit .. 0 in full shadow: how far the height field between pixel and lamp rises above the ray. */
function shadows(
	scene: Scene,
	dx: number,
	dy: number,
	rise: number,
): Float32Array {
	const { size, pixel, height } = scene;
	const out = new Float32Array(size * size);
	let highest = 0;
	for (const h of height) highest = Math.max(highest, h);
	if (highest < 3) return out.fill(1); // cloth and print: nothing stands up
	const step = Math.max(1.5, highest / rise / 14); // at most 14 steps
	const reach = Math.ceil(highest / rise / step);
	for (let k = 1; k <= reach; k++) {
		const ox = Math.round((dx * k * step) / pixel);
		const oy = Math.round((dy * k * step) / pixel);
		const climbed = k * step * rise;
		for (let y = Math.max(0, -oy); y < Math.min(size, size - oy); y++) {
			const last = y * size + Math.min(size, size - ox);
			for (
				let i = y * size + Math.max(0, -ox), j = i + oy * size + ox;
				i < last;
				i++, j++
			) {
				const over = (height[j] as number) - (height[i] as number) - climbed;
				if (over > (out[i] as number)) out[i] = over;
			}
		}
	}
	for (let i = 0; i < out.length; i++)
		out[i] = 1 - smoothstep(0.2, 2.5, out[i] as number);
	blur(out, size, 1.2 / pixel);
	return out;
}

/** Gaussian, in place: three-tap kernels [k, 1 - 2k, k] (variance 2k) for narrow ones, three boxes for wide ones. */
function blur(plane: Float32Array, size: number, sigma: number): void {
	if (sigma < 0.05) return;
	const narrow = sigma <= 2;
	const rounds = narrow ? Math.ceil((sigma * sigma) / 0.5) : 3;
	const k = (sigma * sigma) / rounds / 2;
	const radius = Math.max(
		1,
		Math.round((Math.sqrt(4 * sigma * sigma + 1) - 1) / 2),
	); // three boxes of 2r + 1 have variance r(r + 1)
	for (let r = 0; r < rounds; r++) {
		for (const turn of [0, 1]) {
			// rows, then columns: walked so that memory is read in order either way
			if (narrow) threeTaps(plane, size, turn === 0 ? 1 : size, k);
			else box(plane, size, turn === 0 ? 1 : size, radius);
		}
	}
}

function threeTaps(
	plane: Float32Array,
	size: number,
	stride: number,
	k: number,
): void {
	const n = plane.length;
	const before = new Float32Array(stride); // the old values one stride back
	for (let line = 0; line < n; line += stride * size) {
		for (let j = 0; j < stride; j++) before[j] = plane[line + j] as number;
		for (let i = line, j = 0; i < line + stride * size; i++) {
			const here = plane[i] as number;
			const next =
				i + stride < line + stride * size
					? (plane[i + stride] as number)
					: here;
			plane[i] = here + k * ((before[j] as number) + next - 2 * here);
			before[j] = here;
			j = j + 1 === stride ? 0 : j + 1;
		}
	}
}

function box(
	plane: Float32Array,
	size: number,
	stride: number,
	radius: number,
): void {
	const old = Float32Array.from(plane);
	const other = stride === 1 ? size : 1;
	const share = 1 / (2 * radius + 1);
	for (let line = 0; line < size; line++) {
		const start = line * other;
		let sum = 0;
		for (let i = -radius; i <= radius; i++)
			sum += old[start + clampIndex(i, size) * stride] as number;
		for (let i = 0; i < size; i++) {
			plane[start + i * stride] = sum * share;
			sum +=
				(old[start + clampIndex(i + radius + 1, size) * stride] as number) -
				(old[start + clampIndex(i - radius, size) * stride] as number);
		}
	}
}

const clampIndex = (i: number, size: number): number =>
	i < 0 ? 0 : i >= size ? size - 1 : i;

function smoothstep(low: number, high: number, v: number): number {
	const t = v <= low ? 0 : v >= high ? 1 : (v - low) / (high - low);
	return t * t * (3 - 2 * t);
}

const gamma = Uint8Array.from({ length: 4096 }, (_, i) =>
	Math.round(255 * ((i + 0.5) / 4096) ** (1 / 2.2)),
);
/** Normal numbers, drawn once: a picture starts somewhere in them. */
const grain = (() => {
	const random = new Random("demo grain");
	return Float32Array.from({ length: 1 << 18 }, () => random.normal());
})();
