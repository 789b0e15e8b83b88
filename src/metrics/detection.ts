/**
 * Probability of detection over size from hits and misses: log(POD / (1 − POD)) = b₀ + b₁ ln a, a > 0 the size, fitted by maximum likelihood
 * (Berens, NDE Reliability Data Analysis, ASM Handbook 17, 1989; MIL-HDBK-1823A, 2009, hit/miss). Bounds are of the likelihood ratio, as there:
 * a value is inside while 2 (ℓ̂ − ℓ) <= 2.706, the 90 % point of chi-square with 1 degree of freedom, ℓ the largest log-likelihood with that
 * value: 95 % on one side, for one size (or one probability) at a time.
 */
import { chiSquareQuantile, type Interval } from "./interval.ts";
import { type Measured, measured, undefinedBecause } from "./measured.ts";

export interface Trial {
	readonly size: number;
	readonly hit: boolean;
}

export interface DetectionCurve {
	readonly b0: number;
	readonly b1: number;
	/** ℓ̂ */
	readonly logLikelihood: number;
}

export type DetectionFit =
	| { readonly curve: DetectionCurve; readonly reason: null }
	| { readonly curve: null; readonly reason: string };

const logit = (p: number) => Math.log(p / (1 - p));
/** log(1 + e^x) */
const softplus = (x: number) =>
	x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x));
const logistic = (x: number) => 1 / (1 + Math.exp(-x));

/** ℓ of the trials, `eta` their log odds of a hit. */
const logLikelihood = (
	trials: readonly Trial[],
	eta: (size: number) => number,
): number =>
	trials.reduce(
		(total, { size, hit }) => total - softplus(hit ? -eta(size) : eta(size)),
		0,
	);

/** The fitted curve, or why there is none: without hits and misses that overlap no finite one is the most likely (Albert & Anderson 1984). */
export function fitDetection(trials: readonly Trial[]): DetectionFit {
	const because = (reason: string) => ({ curve: null, reason });
	const of = (wanted: boolean) =>
		trials.filter(({ hit }) => hit === wanted).map(({ size }) => size);
	const [hits, misses] = [of(true), of(false)];
	if (trials.length === 0) return because("there are no trials");
	if (misses.length === 0) return because("all were hits");
	if (hits.length === 0) return because("all were misses");
	const sizes = new Set(trials.map(({ size }) => size));
	if (sizes.size < 2) return because("all were of one size");
	const between = (low: readonly number[], high: readonly number[]) =>
		Math.max(...low) <= Math.min(...high);
	if (between(misses, hits))
		return because(
			"hits and misses do not overlap: no hit is smaller than a miss, so any steep curve fits",
		);
	if (between(hits, misses))
		return because(
			"no hit is larger than a miss: detection does not grow with size",
		);
	// Newton's steps on the concave log-likelihood, about the mean of ln a, halved where they overshoot
	const centre =
		trials.reduce((total, { size }) => total + Math.log(size), 0) /
		trials.length;
	const at = (b: readonly [number, number]) =>
		logLikelihood(trials, (size) => b[0] + b[1] * (Math.log(size) - centre));
	let b: readonly [number, number] = [0, 0];
	let now = at(b);
	for (let step = 0; step < 100; step++) {
		let [g0, g1, h00, h01, h11] = [0, 0, 0, 0, 0];
		for (const { size, hit } of trials) {
			const z = Math.log(size) - centre;
			const p = logistic(b[0] + b[1] * z);
			const [rest, weight] = [Number(hit) - p, p * (1 - p)];
			g0 += rest;
			g1 += rest * z;
			h00 += weight;
			h01 += weight * z;
			h11 += weight * z * z;
		}
		const determinant = h00 * h11 - h01 * h01;
		const move = [
			(h11 * g0 - h01 * g1) / determinant,
			(h00 * g1 - h01 * g0) / determinant,
		] as const;
		let share = 1;
		let next = b;
		let then = Number.NEGATIVE_INFINITY;
		for (; share > 1e-10 && !(then >= now); share /= 2) {
			next = [b[0] + share * move[0], b[1] + share * move[1]];
			then = at(next);
		}
		if (!(then >= now)) return because("the fit did not converge");
		const done =
			Math.abs(next[0] - b[0]) < 1e-12 * (1 + Math.abs(b[0])) &&
			Math.abs(next[1] - b[1]) < 1e-12 * (1 + Math.abs(b[1]));
		[b, now] = [next, then];
		if (!done) continue;
		if (b[1] <= 0) return because("detection does not grow with size");
		return {
			curve: { b0: b[0] - b[1] * centre, b1: b[1], logLikelihood: now },
			reason: null,
		};
	}
	return because("the fit did not converge");
}

export const probabilityAt = ({ b0, b1 }: DetectionCurve, size: number) =>
	logistic(b0 + b1 * Math.log(size));

/** The size that is found with probability p: ln a = (logit p − b₀) / b₁. Null outside of the sizes that were tried. */
export const sizeAt = (
	{ b0, b1 }: DetectionCurve,
	p: number,
	trials: readonly Trial[],
): Measured => within(Math.exp((logit(p) - b0) / b1), trials);

/**
 * The size that is found with probability p at least, with 95 % confidence: the largest a of the likelihood-ratio bound. For p = .9 this is
 * a90/95.
 */
export function safeSizeAt(
	curve: DetectionCurve,
	p: number,
	trials: readonly Trial[],
): Measured {
	const [, largest] = rangeOf(trials);
	const start = (logit(p) - curve.b0) / curve.b1;
	const end = Math.log(largest);
	const outside = (x: number) =>
		deviance(curve, trials, x, logit(p)) > critical;
	if (start > end) return within(Math.exp(start), trials);
	if (!outside(end))
		return undefinedBecause(
			`the trials do not bound it within the sizes tried (up to ${largest} px)`,
		);
	return within(Math.exp(turn(outside, start, end)), trials);
}

/** Lower 95 % bound of the probability at a size. */
export function safeProbabilityAt(
	curve: DetectionCurve,
	trials: readonly Trial[],
	size: number,
): number {
	const x = Math.log(size);
	const start = curve.b0 + curve.b1 * x;
	const outside = (level: number) =>
		deviance(curve, trials, x, level) > critical;
	let low = start - 1;
	while (!outside(low) && low > start - 700) low -= start - low;
	return outside(low) ? logistic(turn(outside, start, low)) : 0;
}

const critical = chiSquareQuantile(0.9, 1);

/** 2 (ℓ̂ − ℓ) of the likeliest curve, not falling, with log odds `level` at ln a = x: level + s (ln a − x), s >= 0, by Newton's steps. */
function deviance(
	curve: DetectionCurve,
	trials: readonly Trial[],
	x: number,
	level: number,
): number {
	const at = (s: number) =>
		logLikelihood(trials, (size) => level + s * (Math.log(size) - x));
	let s = curve.b1;
	let now = at(s);
	for (let step = 0; step < 200; step++) {
		let [gradient, curvature] = [0, 0];
		for (const { size, hit } of trials) {
			const z = Math.log(size) - x;
			const p = logistic(level + s * z);
			gradient += (Number(hit) - p) * z;
			curvature += p * (1 - p) * z * z;
		}
		let move = curvature > 0 ? gradient / curvature : Math.sign(gradient);
		let next = Math.max(0, s + move);
		let then = at(next);
		while (!(then >= now) && Math.abs(move) > 1e-12) {
			move /= 2;
			next = Math.max(0, s + move);
			then = at(next);
		}
		if (!(then >= now) || Math.abs(next - s) < 1e-12) break;
		[s, now] = [next, then];
	}
	return 2 * (curve.logLikelihood - now);
}

/** Where `outside` begins between a place inside and one outside. */
function turn(
	outside: (x: number) => boolean,
	inside: number,
	beyond: number,
): number {
	let [from, to] = [inside, beyond];
	for (let step = 0; step < 60; step++) {
		const middle = (from + to) / 2;
		if (outside(middle)) to = middle;
		else from = middle;
	}
	return (from + to) / 2;
}

const rangeOf = (trials: readonly Trial[]): Interval => {
	const sizes = trials.map(({ size }) => size);
	return [Math.min(...sizes), Math.max(...sizes)];
};

/** A curve says nothing beyond what it was fitted to. */
function within(size: number, trials: readonly Trial[]): Measured {
	const [smallest, largest] = rangeOf(trials);
	if (size > largest)
		return undefinedBecause(
			`it lies above the largest size tried (${largest} px)`,
		);
	return size < smallest
		? undefinedBecause(`it lies below the smallest size tried (${smallest} px)`)
		: measured(size);
}
