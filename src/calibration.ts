/**
 * From raw scores to calibrated ones: score = −log10 p, p the chance that a good part of this product scores so high.
 * 2 means one good part in 100, on every product. The tail is fitted by maximum likelihood to cross-fitted scores of
 * normal images alone: a gamma for squared distances, a Gumbel for maxima (Fisher & Tippett 1928; Coles 2001, section 3.1).
 *
 * Strictly increasing everywhere: survival is computed as a logarithm, far out by its continued fraction, so it never
 * underflows; far below all normals, where p rounds to 1, the logarithm of 1 − p ranks on, as a tiny negative number.
 *
 * Departure from maximum likelihood: it finds too narrow a tail in few scores, so both scales of spread are corrected for
 * their first-order bias, k by 1 − 3/n and the Gumbel's scale by 1 + 0.77/n (n counted as at least 8).
 *
 * Second departure: the form is believed below the median only. Above it, how fast −log p rises is measured: exponential excesses over the
 * median (maximum likelihood under censoring from above, Epstein & Sobel 1953). The largest 8 % of all scores count as no more than the
 * largest of the others, and what is then far beyond all chance is left out. So 8 % of defective images among the good ones hardly move a threshold, and a tail heavier than its
 * form, which photographs of good parts have, is seen. What was measured: docs/experiments.md, 2026-11-26.
 *
 * Fewer than 8 scores say little about spread, so spread is then n parts measured and 8 − n parts assumed: a gamma
 * of shape 4 (deviation half the mean), a Gumbel of scale 0.2 |mean|. Without any score nothing is known: the tail
 * of a unit gamma or Gumbel only keeps the order, and every rate is extrapolated.
 */
import { fail } from "./errors.ts";
import { quantile } from "./metrics/interval.ts";

export type TailKind = "gamma" | "gumbel";

type Form =
	| {
			readonly kind: "gamma" /** Scores it was fitted to. */;
			readonly n: number;
			readonly shape: number;
			readonly scale: number;
	  }
	| {
			readonly kind: "gumbel";
			readonly n: number;
			readonly location: number;
			readonly scale: number;
	  };

/** Above the median: −log p = log 2 + (rise(raw) − rise(median)) / spread. */
interface UpperHalf {
	/** The raw score that half of all reach. */
	readonly median: number;
	/** Mean excess of `rise`. */
	readonly spread: number;
}

/** Plain data, ready for JSON. `upper` is null where too few scores say how they spread: the form is then believed everywhere. */
export type Calibration = Form & { readonly upper: UpperHalf | null };

const ENOUGH = 8;
const ASSUMED_SHAPE = 4;
const ASSUMED_SPREAD = 0.2;
/** Scores closer together than this (deviation 1/√1000 = 3 % of the mean) are taken as this far apart. */
const LARGEST_SHAPE = 1000;
/** The same for the Gumbel: its scale is at least this share of |mean|. */
const LEAST_SPREAD = 1e-3;
/** A score of which fewer than this many would be as large by chance is that of no good part. */
const EXPECTED = 0.05;
/** Share of the scores that may be those of defective images. */
const DOUBTFUL = 0.08;
/** The spread of the upper half is at least this: what is all alike says little. */
const LEAST_EXCESS = 0.1;

export function fitTail(
	kind: TailKind,
	scores: ArrayLike<number>,
): Calibration {
	const x = Float64Array.from(scores);
	if (!x.every(Number.isFinite))
		throw new Error(
			`fitTail: a cross-fitted score is not finite: ${x.find((value) => !Number.isFinite(value))}`,
		);
	const first = fitted(kind, x);
	const limit = Math.log10(x.length / EXPECTED);
	const kept = x.filter((value) => calibrate(first, value) <= limit);
	return kept.length < x.length ? fitted(kind, kept) : first;
}

function fitted(kind: TailKind, x: Float64Array): Calibration {
	const fit = kind === "gamma" ? fitGamma : fitGumbel;
	if (x.length < ENOUGH) return { ...fit(x), upper: null };
	const sorted = x.toSorted();
	const doubtful = Math.round(DOUBTFUL * x.length);
	sorted.fill(sorted[x.length - doubtful - 1] as number, x.length - doubtful);
	const form = fit(sorted);
	return { ...form, upper: upperHalf(form, sorted, doubtful) };
}

/**
 * The mean excess over the median of the scores [n], rising, of which the last are only known to be at least as large as the one before: (Σ excess) / r,
 * r the number of known ones above the median. Times 1 + 2/r: so much more is what a rate of 1 in 100 asks for where a mean of r is itself
 * uncertain (of the exponential's predictive distribution (1 + e/r)^−r, at e = log 50).
 */
function upperHalf(
	form: Form,
	sorted: Float64Array,
	doubtful: number,
): UpperHalf {
	const median = quantile(sorted, 0.5);
	const base = rise(form, median);
	const upper = sorted.subarray(Math.ceil(sorted.length / 2));
	const r = upper.length - doubtful;
	const mean = sum(upper.map((value) => rise(form, value) - base)) / r;
	return { median, spread: Math.max(mean * (1 + 2 / r), LEAST_EXCESS) };
}

/** How −log p rises by its form: of a gamma as the line it approaches far out, since squared distances have heavier tails than it. */
export const rise = (form: Form, raw: number): number =>
	form.kind === "gamma"
		? raw / form.scale
		: -gumbelTails((raw - form.location) / form.scale).above;

/** −log10 p of a raw score. */
export function calibrate(calibration: Calibration, raw: number): number {
	if (Number.isNaN(raw))
		throw new Error("calibrate: the raw score is not a number");
	const { upper } = calibration;
	if (upper === null) return byForm(calibration, raw);
	if (raw > upper.median)
		return above(calibration, upper, rise(calibration, raw));
	const middle = byForm(calibration, upper.median);
	return (
		byForm(calibration, raw) * (middle > 0 ? Math.log10(2) / middle : 1) // so that the halves meet
	);
}

const above = (form: Form, { median, spread }: UpperHalf, risen: number) =>
	Math.log10(2) + ((risen - rise(form, median)) / spread) * Math.LOG10E;

/** −log10 p of the fitted form. */
function byForm(form: Form, raw: number): number {
	const { below, above } =
		form.kind === "gamma"
			? gammaTails(form.shape, raw / form.scale)
			: gumbelTails((raw - form.location) / form.scale);
	return below < -690 ? 1e-303 * Math.max(below, -1e300) : -above / Math.LN10;
}

/**
 * The straight line that −log10 p approaches far out where the form is a Gumbel, whose own is (x − location) / scale · log10 e: less than .003
 * from it at 2 and above, .03 at 1. It goes on below, so it keeps the order of patches that no float could tell apart by their p.
 */
export function straightened(calibration: Calibration, raw: number): number {
	if (calibration.kind !== "gumbel")
		throw new Error("straightened: only a Gumbel's tail is straight");
	const z = (raw - calibration.location) / calibration.scale;
	const { upper } = calibration;
	return upper === null ? z * Math.LOG10E : above(calibration, upper, z);
}

/** The calibrated score above which a good part falls with this rate: the same for every product. */
export function threshold(falseAlarms: number): number {
	if (!(falseAlarms > 0 && falseAlarms < 1))
		throw fail("FALSE_ALARMS_OUT_OF_RANGE", { value: falseAlarms });
	return -Math.log10(falseAlarms);
}

/** Whether a rate lies beyond what n normals can show: it then rests on the fitted form of the tail alone. */
export const isExtrapolated = (
	calibration: Calibration,
	falseAlarms: number,
): boolean => falseAlarms < 1 / (calibration.n + 1);

/**
 * Maximum likelihood: scale = mean/k, and k solves log k − ψ(k) = s := log mean(x) − mean(log x), by Newton's method from
 * Minka's start (2002). Scores below 1e-3 of the mean count as that: a duplicate image must not shape the tail.
 */
function fitGamma(x: Float64Array): Form {
	const n = x.length;
	const mean = n > 0 ? sum(x) / n : 0;
	if (!(mean > 0))
		return { kind: "gamma", n, shape: ASSUMED_SHAPE, scale: 1 / ASSUMED_SHAPE };
	const measured =
		-sum(x.map((value) => Math.log(Math.max(value / mean, 1e-3)))) / n;
	const assumed = Math.log(ASSUMED_SHAPE) - digamma(ASSUMED_SHAPE);
	const weight = Math.min(1, n / ENOUGH);
	const s = Math.max(
		weight * measured + (1 - weight) * assumed,
		0.5 / LARGEST_SHAPE,
	); // log k − ψ(k) ≈ 1/(2k)
	let k = (3 - s + Math.sqrt((s - 3) ** 2 + 24 * s)) / (12 * s);
	for (let step = 0; step < 20; step++) {
		const next =
			1 / (1 / k + (Math.log(k) - digamma(k) - s) / (k - k * k * trigamma(k))); // Minka's generalised Newton, in 1/k
		if (Math.abs(next - k) <= 1e-14 * k) break;
		k = next;
	}
	const shape = k * (1 - 3 / Math.max(n, ENOUGH));
	return { kind: "gamma", n, shape, scale: mean / shape };
}

/** Maximum likelihood: the scale β solves β = mean(x) − Σx e^(−x/β) / Σe^(−x/β), by bisection; location = −β log mean(e^(−x/β)). */
function fitGumbel(x: Float64Array): Form {
	const n = x.length;
	if (n === 0) return { kind: "gumbel", n, location: 0, scale: 1 };
	const mean = sum(x) / n;
	const least = x.reduce((a, b) => Math.min(a, b));
	const weights = (beta: number) =>
		x.map((value) => Math.exp((least - value) / beta));
	const excess = (beta: number): number => {
		const w = weights(beta);
		return (
			beta - mean + sum(x.map((value, i) => value * (w[i] as number))) / sum(w)
		);
	};
	const floor = LEAST_SPREAD * Math.abs(mean) || 1e-300; // beside a session a denormal number counts as 0
	let low = floor;
	let high = Math.max(mean - least, floor); // excess is at least 0 there
	for (let step = 0; step < 100 && high > low * (1 + 1e-14); step++) {
		const middle = (low + high) / 2;
		if (excess(middle) > 0) high = middle;
		else low = middle;
	}
	const weight = Math.min(1, n / ENOUGH);
	const spread = weight * high + (1 - weight) * ASSUMED_SPREAD * Math.abs(mean);
	const scale = Math.max(spread * (1 + 0.77 / Math.max(n, ENOUGH)), floor);
	return {
		kind: "gumbel",
		n,
		location: least - scale * Math.log(sum(weights(scale)) / n),
		scale,
	};
}

interface Tails {
	/** log P(X <= x) */
	readonly below: number;
	/** log P(X > x) */
	readonly above: number;
}

/** Of a Gumbel at z = (x − location) / scale: log P(X <= x) = −e^(−z). */
function gumbelTails(z: number): Tails {
	const t = Math.exp(-z);
	// log(1 − e^−t) = log t − t/2 + t²/24 − ...
	return { below: -t, above: t < 1e-8 ? -z - t / 2 : logOneMinusExp(-t) };
}

/** Of a gamma with shape k and scale 1: the regularised incomplete gamma functions as logarithms (DLMF 8.11.4 and 8.9.2). */
export function gammaTails(k: number, x: number): Tails {
	if (x <= 0) return { below: Number.NEGATIVE_INFINITY, above: 0 };
	const density = k * Math.log(x) - x - logGamma(k);
	if (x < k + 1) {
		// P = e^density Σ xⁱ / (k (k+1) ... (k+i))
		let term = 1 / k;
		let series = term;
		for (let i = 1; term > series * 1e-17; i++) {
			term *= x / (k + i);
			series += term;
		}
		const below = Math.min(density + Math.log(series), 0);
		return { below, above: logOneMinusExp(below) };
	}
	// Q = e^density / (x + 1 − k − 1(1 − k) / (x + 3 − k − 2(2 − k) / ...)), by Lentz's method
	let b = x + 1 - k;
	let c = Number.POSITIVE_INFINITY;
	let d = 1 / b;
	let fraction = d;
	for (let i = 1; i < 10_000; i++) {
		const a = -i * (i - k);
		b += 2;
		d = 1 / (b + a * d);
		c = b + a / c;
		fraction *= c * d;
		if (Math.abs(c * d - 1) < 1e-16) break;
	}
	const above = Math.min(density + Math.log(fraction), 0);
	return { below: logOneMinusExp(above), above };
}

/** log(1 − e^a) for a <= 0 (Maechler 2012). */
const logOneMinusExp = (a: number): number =>
	a > -Math.LN2 ? Math.log(-Math.expm1(a)) : Math.log1p(-Math.exp(a));

/** log Γ(x), x > 0: Stirling's series after shifting x beyond 10. */
export function logGamma(x: number): number {
	let shift = 0;
	while (x < 10) shift += Math.log(x++);
	const r = 1 / (x * x);
	return (
		(x - 0.5) * Math.log(x) -
		x +
		0.5 * Math.log(2 * Math.PI) +
		(1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / x -
		shift
	);
}

/** ψ(x), x > 0. */
function digamma(x: number): number {
	let shift = 0;
	while (x < 10) shift += 1 / x++;
	const r = 1 / (x * x);
	return (
		Math.log(x) -
		0.5 / x -
		r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132)))) -
		shift
	);
}

/** ψ′(x), x > 0. */
function trigamma(x: number): number {
	let shift = 0;
	while (x < 10) shift += 1 / (x * x++);
	const r = 1 / (x * x);
	return (
		1 / x +
		r / 2 +
		(r / x) *
			(1 / 6 - r * (1 / 30 - r * (1 / 42 - r * (1 / 30 - (r * 5) / 66)))) +
		shift
	);
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);
