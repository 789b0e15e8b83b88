/**
 * Poisson blending with the source's gradients, "seamless cloning" (Pérez, Gangnet & Blake, SIGGRAPH 2003, eq. 4).
 * On a rectangle, f = g + u: g the source, u harmonic inside, u = target - g on the ring of edge pixels.
 * Solved directly, exact but for rounding: sine transform down the columns, then one tridiagonal system for each
 * frequency (Buzbee, Golub & Nielson 1970, Fourier analysis). O(h² w); no iteration, no tolerance to choose.
 */
import type { Image } from "../data/task.ts";
import { sidesOf } from "./transforms.ts";

/**
 * Blends `patch` into `target`, in place, with its corner at (top, left); the patch's outermost pixels keep the target's values.
 * Patches below 3 x 3 have no inside and change nothing. Returns the mean absolute change over the patch, in grey levels.
 */
export function blendSeamlessly(
	target: Image,
	patch: Image,
	top: number,
	left: number,
): number {
	const [height, width] = sidesOf(patch);
	if (height < 3 || width < 3) return 0;
	const stride = sidesOf(target)[1] * 3;
	const corner = top * stride + left * 3;
	const row = width * 3;
	const [f, g] = [target.data, patch.data];
	const u = new Float64Array(height * row); // [h, w, 3]
	for (let y = 0; y < height; y++) {
		const step = y === 0 || y === height - 1 ? 1 : width - 1; // inner rows: first and last pixel only
		for (let x = 0; x < width; x += step) {
			for (let c = 0; c < 3; c++) {
				const p = y * row + x * 3 + c;
				u[p] =
					(f[corner + y * stride + x * 3 + c] as number) - (g[p] as number);
			}
		}
	}
	fillHarmonic(u, height, width);
	let change = 0;
	for (let y = 1; y < height - 1; y++) {
		for (let x = 3; x < row - 3; x++) {
			const p = y * row + x;
			const t = corner + y * stride + x;
			const value = Math.min(
				Math.max(Math.round((g[p] as number) + (u[p] as number)), 0),
				255,
			);
			change += Math.abs(value - (f[t] as number));
			f[t] = value;
		}
	}
	return change / (height * row);
}

/**
 * Fills the inside of u [h, w, 3] with the solution of the 5-point Laplace equation, given the ring around it.
 * With n = h - 2 inner rows and u(y, x) = Σ_k û_k(x) sin(π y k / (n + 1)):
 *   -û_k(x-1) + (4 - 2 cos(π k / (n + 1))) û_k(x) - û_k(x+1) = b̂_k(x),
 * b̂ the transform of the ring's upper and lower row, û_k(0) and û_k(w - 1) that of its left and right column.
 */
export function fillHarmonic(
	u: Float64Array,
	height: number,
	width: number,
): void {
	const n = height - 2;
	const row = width * 3;
	const last = (n + 1) * row;
	const sines = sineTable(n);
	const spectrum = new Float64Array(n * row); // û: [n, w, 3]
	const shrink = new Float64Array(width); // of the elimination
	for (let k = 0; k < n; k++) {
		const s = k * row;
		for (let i = 0; i < n; i++) {
			const sine = ((sines[k * n + i] as number) * 2) / (n + 1);
			for (let c = 0; c < 3; c++) {
				spectrum[s + c] =
					(spectrum[s + c] as number) + sine * (u[(i + 1) * row + c] as number);
				spectrum[s + row - 3 + c] =
					(spectrum[s + row - 3 + c] as number) +
					sine * (u[(i + 2) * row - 3 + c] as number);
			}
		}
		const upper = ((sines[k * n] as number) * 2) / (n + 1);
		const lower = ((sines[k * n + n - 1] as number) * 2) / (n + 1);
		const diagonal = 4 - 2 * Math.cos((Math.PI * (k + 1)) / (n + 1));
		for (let x = 1; x < width - 1; x++) {
			const r = 1 / (diagonal - (shrink[x - 1] as number));
			shrink[x] = r;
			for (let p = x * 3; p < x * 3 + 3; p++) {
				const right =
					upper * (u[p] as number) + lower * (u[last + p] as number);
				spectrum[s + p] = (right + (spectrum[s + p - 3] as number)) * r;
			}
		}
		for (let x = width - 2; x > 0; x--) {
			const r = shrink[x] as number;
			for (let p = s + x * 3; p < s + x * 3 + 3; p++)
				spectrum[p] = (spectrum[p] as number) + r * (spectrum[p + 3] as number);
		}
	}
	// back: rows i and n-1-i share their products, since sin(π (n+1-y) k / (n+1)) = ± sin(π y k / (n+1)), + for odd k (even index)
	const [even, odd] = [new Float64Array(row), new Float64Array(row)];
	for (let i = 0; i < (n + 1) >> 1; i++) {
		even.fill(0);
		odd.fill(0);
		for (let k = 0; k < n; k++) {
			const sum = k % 2 === 0 ? even : odd;
			const sine = sines[i * n + k] as number;
			const s = k * row;
			for (let p = 3; p < row - 3; p++)
				sum[p] = (sum[p] as number) + sine * (spectrum[s + p] as number);
		}
		for (let p = 3; p < row - 3; p++) {
			u[(i + 1) * row + p] = (even[p] as number) + (odd[p] as number);
			u[(n - i) * row + p] = (even[p] as number) - (odd[p] as number);
		}
	}
}

const tables = new Map<number, Float64Array>();

/** [n, n]: sin(π (i + 1)(k + 1) / (n + 1)); a few dozen sizes occur, each is kept. */
function sineTable(n: number): Float64Array {
	let table = tables.get(n);
	if (!table) {
		table = new Float64Array(n * n);
		for (let i = 0; i < n; i++)
			for (let k = 0; k < n; k++)
				table[i * n + k] = Math.sin((Math.PI * (i + 1) * (k + 1)) / (n + 1));
		tables.set(n, table);
	}
	return table;
}
