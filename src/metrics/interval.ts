/**
 * Intervals: Clopper & Pearson (1934) for a rate, chi-square for a standard deviation, the percentile bootstrap (Efron 1979) for a
 * paired difference over images. The incomplete beta and gamma functions are series and Lentz's continued fractions (Numerical Recipes
 * 6.2, 6.4), their inverses plain bisection.
 */
import type { Random } from "../random.ts";

export type Interval = readonly [low: number, high: number];

/** Exact interval for a rate of `successes` in `trials`; the whole [0, 1] without trials. */
export function clopperPearson(
	successes: number,
	trials: number,
	confidence = 0.95,
): Interval {
	const alpha = (1 - confidence) / 2;
	return [
		successes === 0
			? 0
			: betaQuantile(alpha, successes, trials - successes + 1),
		successes === trials
			? 1
			: betaQuantile(1 - alpha, successes + 1, trials - successes),
	];
}

/**
 * What a rate stays below, with one-sided confidence, where nothing happened in n trials: (1 − rate)^n = 1 − confidence. For .95 about
 * 3 / n, the rule of three (Hanley & Lippman-Hand 1983).
 */
export const ruleOfThree = (trials: number, confidence = 0.95): number =>
	trials === 0 ? 1 : 1 - (1 - confidence) ** (1 / trials);

/** Interval of a normal standard deviation that was estimated as `deviation` with so many degrees of freedom f: f s² / χ²_f. */
export function deviationInterval(
	deviation: number,
	freedom: number,
	confidence = 0.95,
): Interval {
	const alpha = (1 - confidence) / 2;
	const end = (p: number) =>
		deviation * Math.sqrt(freedom / chiSquareQuantile(p, freedom));
	return [end(1 - alpha), end(alpha)];
}

/** How often something happened, and what that says. */
export interface Rate {
	readonly events: number;
	readonly trials: number;
	/** null: no trials. */
	readonly value: number | null;
	/** Clopper & Pearson, 95 %. */
	readonly interval: Interval;
	/** Where nothing happened: what the rate stays below, with 95 % confidence on one side; else null. */
	readonly below: number | null;
}

export const rateOf = (events: number, trials: number): Rate => ({
	events,
	trials,
	value: trials > 0 ? events / trials : null,
	interval: clopperPearson(events, trials),
	below: events === 0 && trials > 0 ? ruleOfThree(trials) : null,
});

/** The x at which I_x(a, b) = p. */
export const betaQuantile = (p: number, a: number, b: number): number =>
	bisected((x) => betaIncomplete(x, a, b) < p, 0, 1);

/** The x below which a chi-square variable of so many degrees of freedom lies with probability p. */
export function chiSquareQuantile(p: number, freedom: number): number {
	const below = (x: number) => gammaIncomplete(freedom / 2, x / 2) < p;
	let high = freedom;
	while (below(high)) high *= 2;
	return bisected(below, 0, high);
}

/** Where `below` turns from true to false, as exactly as numbers are. */
function bisected(
	below: (x: number) => boolean,
	low: number,
	high: number,
): number {
	for (;;) {
		const middle = (low + high) / 2;
		if (middle <= low || middle >= high) return middle; // no number between them
		if (below(middle)) low = middle;
		else high = middle;
	}
}

/** Regularised incomplete beta function I_x(a, b): the distribution function of Beta(a, b). */
export function betaIncomplete(x: number, a: number, b: number): number {
	if (x <= 0) return 0;
	if (x >= 1) return 1;
	// the continued fraction converges fast below the mean; above it, I_x(a, b) = 1 − I_{1−x}(b, a)
	if (x > (a + 1) / (a + b + 2)) return 1 - betaIncomplete(1 - x, b, a);
	const front =
		Math.exp(
			logGamma(a + b) -
				logGamma(a) -
				logGamma(b) +
				a * Math.log(x) +
				b * Math.log1p(-x),
		) / a;
	const tiny = 1e-300;
	let c = 1;
	let d = 1 / nonZero(1 - ((a + b) * x) / (a + 1), tiny);
	let fraction = d;
	for (let m = 1; m <= 10_000; m++) {
		const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
		d = 1 / nonZero(1 + even * d, tiny);
		c = nonZero(1 + even / c, tiny);
		fraction *= d * c;
		const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
		d = 1 / nonZero(1 + odd * d, tiny);
		c = nonZero(1 + odd / c, tiny);
		fraction *= d * c;
		if (Math.abs(d * c - 1) < 1e-15) break;
	}
	return front * fraction;
}

/** Regularised incomplete gamma function P(a, x) = ∫₀ˣ t^(a−1) e^(−t) dt / Γ(a). */
export function gammaIncomplete(a: number, x: number): number {
	if (x <= 0) return 0;
	const front = Math.exp(a * Math.log(x) - x - logGamma(a));
	if (x < a + 1) {
		let term = 1 / a;
		let sum = term;
		for (let n = 1; term > sum * 1e-16; n++) {
			term *= x / (a + n);
			sum += term;
		}
		return front * sum;
	}
	const tiny = 1e-300;
	let b = x + 1 - a;
	let c = 1 / tiny;
	let d = 1 / nonZero(b, tiny);
	let fraction = d;
	for (let i = 1; i <= 10_000; i++) {
		const factor = -i * (i - a);
		b += 2;
		d = 1 / nonZero(factor * d + b, tiny);
		c = nonZero(b + factor / c, tiny);
		fraction *= d * c;
		if (Math.abs(d * c - 1) < 1e-15) break;
	}
	return 1 - front * fraction;
}

const nonZero = (x: number, tiny: number) => (Math.abs(x) < tiny ? tiny : x);

/** log Γ(x), x > 0: Stirling's series after shifting x above 10, 1e-14 relative. */
export function logGamma(x: number): number {
	let shift = 0;
	let z = x;
	for (; z < 10; z++) shift += Math.log(z);
	const q = 1 / (z * z);
	const series =
		(1 / 12 -
			q *
				(1 / 360 -
					q *
						(1 / 1260 -
							q * (1 / 1680 - q * (1 / 1188 - (q * 691) / 360360))))) /
		z;
	return (
		(z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series - shift
	);
}

export interface Difference {
	readonly estimate: number;
	readonly low: number;
	readonly high: number;
	/** Draws on which the difference was defined; the others are left out. */
	readonly draws: number;
}

export interface BootstrapOptions {
	/** Default 2000. */
	readonly draws?: number;
	/** Default .95. */
	readonly confidence?: number;
	/** A group per image (its label, or task and label): images are drawn within their group, so group sizes stay. */
	readonly groups?: ArrayLike<number | string>;
}

/**
 * Interval of a difference between two methods on the same images. `difference` gets the indices of the drawn images, with
 * repeats, and computes both methods on exactly those; null where it is not defined. Null if it is undefined on all images.
 */
export function pairedBootstrap(
	count: number,
	difference: (images: readonly number[]) => number | null,
	random: Random,
	{ draws = 2000, confidence = 0.95, groups }: BootstrapOptions = {},
): Difference | null {
	const members = new Map<number | string, number[]>();
	for (let i = 0; i < count; i++) {
		const group = groups?.[i] ?? 0;
		const list = members.get(group);
		if (list) list.push(i);
		else members.set(group, [i]);
	}
	const estimate = difference(Array.from({ length: count }, (_, i) => i));
	if (estimate === null) return null;
	const values: number[] = [];
	for (let draw = 0; draw < draws; draw++) {
		const images: number[] = [];
		for (const list of members.values())
			for (let k = 0; k < list.length; k++)
				images.push(list[random.integer(list.length)] as number);
		const value = difference(images);
		if (value !== null) values.push(value);
	}
	values.sort((a, b) => a - b);
	return {
		estimate,
		low: quantile(values, (1 - confidence) / 2),
		high: quantile(values, (1 + confidence) / 2),
		draws: values.length,
	};
}

/** Linear interpolation between the ranks, as NumPy's default. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
	const at = q * (sorted.length - 1);
	const low = sorted[Math.floor(at)] as number;
	const high = sorted[Math.ceil(at)] as number;
	return low + (high - low) * (at - Math.floor(at));
}
