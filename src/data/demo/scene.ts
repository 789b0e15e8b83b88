/**
 * A small software rasteriser for the demo line: shapes are signed distance functions (negative inside, in millimetre-like units),
 * painted in order, anti-aliased, into buffers of colour, height and gloss. Lighting comes afterwards (photo.ts), so that a dent is a
 * dent in the height and catches the light as one.
 *
 * Units: a scene is 256 units wide whatever its pixels, origin in the centre, y downwards. A pose turns and shifts what is painted.
 */
import { Random } from "../../random.ts";

export type Colour = readonly [r: number, g: number, b: number]; // linear light, 0..1
export type Distance = (x: number, y: number) => number;
export type Box = readonly [x0: number, y0: number, x1: number, y1: number];

/** What a brush changes at one point; it finds the values painted so far. */
export interface Material {
	r: number;
	g: number;
	b: number;
	/** Units above the table. */
	height: number;
	/** 0 matt .. 1 polished. */
	gloss: number;
	/** 1: mirrors its surroundings in its own colour. */
	metal: number;
	/** How much of the new values is laid over the old; 1 when the brush is called. */
	alpha: number;
}
export type Brush = (
	m: Material,
	x: number,
	y: number,
	distance: number,
) => void;

export interface Pose {
	readonly x: number;
	readonly y: number;
	/** Radians, clockwise on the screen. */
	readonly angle: number;
	readonly scale: number;
}
export const upright: Pose = { x: 0, y: 0, angle: 0, scale: 1 };
/** Everywhere. */
export const whole: Box = [-256, -256, 256, 256];
export const everywhere: Distance = () => -1e3;

export class Scene {
	readonly size: number;
	/** Width of a pixel in units. */
	readonly pixel: number;
	readonly r: Float32Array; // [size, size], as all below
	readonly g: Float32Array;
	readonly b: Float32Array;
	readonly height: Float32Array;
	readonly gloss: Float32Array;
	readonly metal: Float32Array;
	#pose: Pose = upright;

	constructor(size: number) {
		this.size = size;
		this.pixel = 256 / size;
		const plane = () => new Float32Array(size * size);
		this.r = plane();
		this.g = plane();
		this.b = plane();
		this.height = plane();
		this.gloss = plane();
		this.metal = plane();
	}

	clear(): void {
		for (const plane of [
			this.r,
			this.g,
			this.b,
			this.height,
			this.gloss,
			this.metal,
		])
			plane.fill(0);
		this.#pose = upright;
	}

	/** Where what `draw` paints lies; poses nest. */
	placed(pose: Pose, draw: () => void): void {
		const outer = this.#pose;
		const [x, y] = toScreen(outer, pose.x, pose.y);
		this.#pose = {
			x,
			y,
			angle: outer.angle + pose.angle,
			scale: outer.scale * pose.scale,
		};
		draw();
		this.#pose = outer;
	}

	/** Paints the inside of a shape; `box` must hold it. */
	paint(box: Box, distance: Distance, brush: Brush): void {
		const { size, pixel, r, g, b, height, gloss, metal } = this;
		const pose = this.#pose;
		const c = Math.cos(pose.angle) / pose.scale;
		const s = Math.sin(pose.angle) / pose.scale;
		const corners = [
			toScreen(pose, box[0], box[1]),
			toScreen(pose, box[2], box[1]),
			toScreen(pose, box[0], box[3]),
			toScreen(pose, box[2], box[3]),
		];
		const xs = corners.map((p) => p[0]);
		const ys = corners.map((p) => p[1]);
		const low = (v: readonly number[]) =>
			Math.max(0, Math.floor((Math.min(...v) + 128) / pixel) - 1);
		const high = (v: readonly number[]) =>
			Math.min(size, Math.ceil((Math.max(...v) + 128) / pixel) + 1);
		const m: Material = {
			r: 0,
			g: 0,
			b: 0,
			height: 0,
			gloss: 0,
			metal: 0,
			alpha: 1,
		};
		const edge = pixel / pose.scale; // a pixel, in the shape's units
		const x1 = high(xs);
		const y1 = high(ys);
		for (let j = low(ys); j < y1; j++) {
			const sy = (j + 0.5) * pixel - 128 - pose.y;
			for (let i = low(xs); i < x1; i++) {
				const sx = (i + 0.5) * pixel - 128 - pose.x;
				const x = c * sx + s * sy;
				const y = c * sy - s * sx;
				const d = distance(x, y);
				if (d >= 0.5 * edge) continue;
				const at = j * size + i;
				const oldR = r[at] as number;
				const oldG = g[at] as number;
				const oldB = b[at] as number;
				const oldHeight = height[at] as number;
				const oldGloss = gloss[at] as number;
				const oldMetal = metal[at] as number;
				m.r = oldR;
				m.g = oldG;
				m.b = oldB;
				m.height = oldHeight;
				m.gloss = oldGloss;
				m.metal = oldMetal;
				m.alpha = 1;
				brush(m, x, y, d);
				const cover = d <= -0.5 * edge ? m.alpha : m.alpha * (0.5 - d / edge);
				r[at] = oldR + cover * (m.r - oldR);
				g[at] = oldG + cover * (m.g - oldG);
				b[at] = oldB + cover * (m.b - oldB);
				height[at] = oldHeight + cover * (m.height - oldHeight);
				gloss[at] = oldGloss + cover * (m.gloss - oldGloss);
				metal[at] = oldMetal + cover * (m.metal - oldMetal);
			}
		}
	}
}

function toScreen(pose: Pose, x: number, y: number): [number, number] {
	const c = Math.cos(pose.angle) * pose.scale;
	const s = Math.sin(pose.angle) * pose.scale;
	return [pose.x + c * x - s * y, pose.y + s * x + c * y];
}

// ---- colours ----

/** sRGB in 0..255 to linear light. */
export const rgb = (r: number, g: number, b: number): Colour => [
	(r / 255) ** 2.2,
	(g / 255) ** 2.2,
	(b / 255) ** 2.2,
];
export function mix(a: Colour, b: Colour, t: number): Colour {
	return [
		a[0] + t * (b[0] - a[0]),
		a[1] + t * (b[1] - a[1]),
		a[2] + t * (b[2] - a[2]),
	];
}
export function setColour(m: Material, c: Colour, by = 1): void {
	m.r = c[0] * by;
	m.g = c[1] * by;
	m.b = c[2] * by;
}
export function shade(m: Material, by: number): void {
	m.r *= by;
	m.g *= by;
	m.b *= by;
}

// ---- shapes ----

export const circle =
	(cx: number, cy: number, radius: number): Distance =>
	(x, y) =>
		Math.sqrt((x - cx) * (x - cx) + (y - cy) * (y - cy)) - radius;

/** A rectangle with rounded corners, given by its edges. */
export function rectangle([x0, y0, x1, y1]: Box, corner = 0): Distance {
	const cx = (x0 + x1) / 2;
	const cy = (y0 + y1) / 2;
	const hx = (x1 - x0) / 2 - corner;
	const hy = (y1 - y0) / 2 - corner;
	return (x, y) => {
		const dx = Math.abs(x - cx) - hx;
		const dy = Math.abs(y - cy) - hy;
		const ox = dx > 0 ? dx : 0;
		const oy = dy > 0 ? dy : 0;
		return (
			Math.sqrt(ox * ox + oy * oy) + Math.min(Math.max(dx, dy), 0) - corner
		);
	};
}

/** A stroke with round ends. */
export function stroke(
	x0: number,
	y0: number,
	x1: number,
	y1: number,
	width: number,
): Distance {
	const vx = x1 - x0;
	const vy = y1 - y0;
	const length2 = vx * vx + vy * vy || 1e-9;
	return (x, y) => {
		let t = ((x - x0) * vx + (y - y0) * vy) / length2;
		t = t < 0 ? 0 : t > 1 ? 1 : t;
		const dx = x - x0 - t * vx;
		const dy = y - y0 - t * vy;
		return Math.sqrt(dx * dx + dy * dy) - width / 2;
	};
}

/** Strokes through the points. */
export function polyline(
	points: readonly (readonly [number, number])[],
	width: number,
): Distance {
	const strokes = points
		.slice(1)
		.map(([x, y], i) =>
			stroke(
				(points[i] as readonly [number, number])[0],
				(points[i] as readonly [number, number])[1],
				x,
				y,
				width,
			),
		);
	return (x, y) => {
		let d = 1e9;
		for (const s of strokes) d = Math.min(d, s(x, y));
		return d;
	};
}

/** A regular polygon around the origin with n sides; `inner` is the distance of its sides. */
export function polygon(n: number, inner: number): Distance {
	const normals = Array.from(
		{ length: n },
		(_, k) =>
			[
				Math.cos((2 * Math.PI * k) / n),
				Math.sin((2 * Math.PI * k) / n),
			] as const,
	);
	return (x, y) => {
		let d = -1e9;
		for (const [nx, ny] of normals) d = Math.max(d, x * nx + y * ny);
		return d - inner;
	};
}

export const union =
	(...parts: readonly Distance[]): Distance =>
	(x, y) => {
		let d = 1e9;
		for (const p of parts) d = Math.min(d, p(x, y));
		return d;
	};
export const without =
	(solid: Distance, ...holes: readonly Distance[]): Distance =>
	(x, y) => {
		let d = solid(x, y);
		for (const h of holes) d = Math.max(d, -h(x, y));
		return d;
	};
export const within =
	(a: Distance, b: Distance): Distance =>
	(x, y) =>
		Math.max(a(x, y), b(x, y));
/** A shape with a ragged outline: no real chip or stain is a circle. */
export function ragged(
	shape: Distance,
	amount: number,
	grain: number,
	seed: number,
): Distance {
	return (x, y) =>
		shape(x, y) +
		amount * (noise(x / grain + seed, y / grain - seed) - 0.5) * 2;
}
export const around = (x: number, y: number, radius: number): Box => [
	x - radius,
	y - radius,
	x + radius,
	y + radius,
];

// ---- noise ----

const side = 256;
const lattice = (() => {
	const random = new Random("demo noise");
	return Float32Array.from({ length: side * side }, () => random.uniform());
})();

/** Value noise in 0..1 with one feature a unit, smooth, repeating after 256. */
export function noise(x: number, y: number): number {
	const i = Math.floor(x);
	const j = Math.floor(y);
	let u = x - i;
	let v = y - j;
	u = u * u * (3 - 2 * u);
	v = v * v * (3 - 2 * v);
	const i0 = i & 255;
	const i1 = (i + 1) & 255;
	const j0 = (j & 255) << 8;
	const j1 = ((j + 1) & 255) << 8;
	const a = lattice[j0 | i0] as number;
	const b = lattice[j0 | i1] as number;
	const c = lattice[j1 | i0] as number;
	const d = lattice[j1 | i1] as number;
	return a + u * (b - a) + v * (c - a + u * (a - b - c + d));
}
/** Two octaves more: cloudy. */
export const clouds = (x: number, y: number): number =>
	0.55 * noise(x, y) +
	0.3 * noise(2.1 * x + 17, 2.1 * y + 5) +
	0.15 * noise(4.3 * x + 3, 4.3 * y + 41);
/** 0..1, of a whole number; for what varies by yarn or by row. */
export const hash = (i: number, j: number): number =>
	lattice[(((j * 37 + 11) & 255) << 8) | ((i * 101 + 7) & 255)] as number;

export const clamp = (v: number, low = 0, high = 1): number =>
	v < low ? low : v > high ? high : v;
export function smooth(low: number, high: number, v: number): number {
	const t = clamp((v - low) / (high - low));
	return t * t * (3 - 2 * t);
}
