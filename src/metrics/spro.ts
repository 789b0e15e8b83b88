/**
 * Saturated per-region overlap of MVTec LOCO AD (Bergmann et al. 2022, section 4.2), as MVTec's evaluation script has it:
 *   sPRO(t) = mean over regions of min(|region found at t| / s, 1), s the area at which that kind of defect counts as found.
 * A region's share grows by 1/s with each of its s highest scores and then no more: so it is PRO with those scores alone, weight 1/s.
 * s is whole pixels: the script takes the integer part of a relative saturation, we also that of an absolute one.
 */

/** Where a kind of defect is saturated, from defects_config.json. */
export interface Saturation {
	/** Pixels, or a share of the region's area if relative. */
	readonly threshold: number;
	readonly relative: boolean;
}

/** s for a region of `area` pixels: ⌊t·area⌋, or ⌊t⌋ but never more than the region has; at least one. */
export const saturatedAt = (
	{ threshold, relative }: Saturation,
	area: number,
): number =>
	Math.max(
		1,
		Math.floor(relative ? threshold * area : Math.min(threshold, area)),
	);

/** The s highest scores of a region; all where it has fewer. */
export const highest = (scores: Float32Array, s: number): Float32Array =>
	s < scores.length ? scores.toSorted().subarray(scores.length - s) : scores;
