/**
 * What a measuring system says when it is shown the same parts again: repeatability of a number by a one-way random-effects analysis of
 * variance (AIAG, Measurement Systems Analysis, 4th ed. 2010: EV, PV, TV; the ANOVA estimators of Searle, Casella & McCulloch, Variance
 * Components, 1992, 3.6, for parts seen unequally often), of a verdict by Fleiss' kappa.
 */
import { deviationInterval, type Interval } from "./interval.ts";
import { type Measured, measured, undefinedBecause } from "./measured.ts";

export interface Repeatability {
	/**
	 * EV, the pooled standard deviation within parts: √MSW, MSW = Σᵢ Σⱼ (xᵢⱼ − x̄ᵢ)² / (N − k). k parts, nᵢ numbers of part i, N in all.
	 */
	readonly repeatability: Measured;
	/** Its 95 % interval, where numbers of one part are normal; null where it is. */
	readonly interval: Interval | null;
	/** N − k. */
	readonly freedom: number;
	/**
	 * PV, the standard deviation between parts: PV² = (MSB − MSW) / n₀, at least 0, with MSB = Σᵢ nᵢ (x̄ᵢ − x̄)² / (k − 1) and
	 * n₀ = (N − Σ nᵢ² / N) / (k − 1).
	 */
	readonly partVariation: Measured;
	/** EV² / (EV² + PV²). */
	readonly shareWithin: Measured;
	/** EV / √(EV² + PV²), AIAG's %GRR of the total variation, here of one appraiser: the station itself (AV = 0). */
	readonly grr: Measured;
}

/** `parts`: of every part the numbers that it got. */
export function repeatabilityOf(
	parts: readonly (readonly number[])[],
): Repeatability {
	const seen = parts.filter((part) => part.length > 0);
	const k = seen.length;
	const n = sum(seen.map((part) => part.length));
	const freedom = n - k;
	const because = (reason: string): Repeatability => {
		const none = undefinedBecause(reason);
		return {
			repeatability: none,
			interval: null,
			freedom,
			partVariation: none,
			shareWithin: none,
			grr: none,
		};
	};
	if (freedom < 1) return because("no part was seen twice");
	if (!seen.every((part) => part.every(Number.isFinite)))
		return because("a score is infinite");
	const means = seen.map((part) => sum(part) / part.length);
	const within =
		sum(
			seen.map((part, i) =>
				sum(part.map((x) => (x - (means[i] as number)) ** 2)),
			),
		) / freedom;
	const deviation = Math.sqrt(within);
	const repeatability = {
		repeatability: measured(deviation),
		interval: deviationInterval(deviation, freedom),
		freedom,
	};
	if (k < 2) {
		const none = undefinedBecause("there is only one part");
		return {
			...repeatability,
			partVariation: none,
			shareWithin: none,
			grr: none,
		};
	}
	const mean = sum(seen.map(sum)) / n;
	const between =
		sum(
			seen.map((part, i) => part.length * ((means[i] as number) - mean) ** 2),
		) /
		(k - 1);
	const often = (n - sum(seen.map((part) => part.length ** 2)) / n) / (k - 1); // n₀
	const part = Math.max(0, (between - within) / often);
	const total = within + part;
	const share =
		total > 0
			? measured(within / total)
			: undefinedBecause("all numbers are equal");
	return {
		...repeatability,
		partVariation: measured(Math.sqrt(part)),
		shareWithin: share,
		grr: share.value === null ? share : measured(Math.sqrt(share.value)),
	};
}

/**
 * Fleiss' kappa: agreement of the verdicts of a part beyond what their frequencies alone would give; 1 full, 0 none beyond chance.
 * `counts[i][j]`: how often part i got verdict j. Parts seen once say nothing and are left out.
 *
 * κ = 1 − Σⱼ Σᵢ xᵢⱼ (mᵢ − xᵢⱼ) / mᵢ / (k (m̄ − 1) Σⱼ pⱼ (1 − pⱼ)), mᵢ = Σⱼ xᵢⱼ, pⱼ = Σᵢ xᵢⱼ / (k m̄): Fleiss, Levin & Paik,
 * Statistical Methods for Rates and Proportions, 3rd ed. 2003, 18.3; where all mᵢ are equal, Fleiss (1971).
 */
export function fleissKappa(counts: readonly (readonly number[])[]): Measured {
	const seen = counts.filter((row) => sum(row) > 1);
	const k = seen.length;
	if (k < 2) return undefinedBecause("fewer than two parts were seen twice");
	const sizes = seen.map(sum);
	const all = sum(sizes);
	let disagreement = 0;
	let chance = 0;
	for (let j = 0; j < (seen[0] as readonly number[]).length; j++) {
		const of = seen.map((row) => row[j] as number);
		const p = sum(of) / all;
		chance += p * (1 - p);
		disagreement += sum(
			of.map((x, i) => (x * ((sizes[i] as number) - x)) / (sizes[i] as number)),
		);
	}
	return chance > 0
		? measured(1 - disagreement / ((all - k) * chance)) // k (m̄ − 1) = N − k
		: undefinedBecause("all pictures got the same verdict");
}

const sum = (values: readonly number[]): number =>
	values.reduce((total, value) => total + value, 0);
