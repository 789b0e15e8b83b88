/** What a metric gives: a number, or null with the reason why it is not defined. Never NaN, never a stand-in 0. */
export type Measured =
	| { readonly value: number; readonly reason: null }
	| { readonly value: null; readonly reason: string };

export const measured = (value: number): Measured => ({ value, reason: null });
export const undefinedBecause = (reason: string): Measured => ({
	value: null,
	reason,
});

/** The mean of all, or the first reason why one is missing. */
export function meanOf(parts: readonly Measured[]): Measured {
	if (parts.length === 0) return undefinedBecause("nothing to average");
	let sum = 0;
	for (const part of parts) {
		if (part.value === null) return part;
		sum += part.value;
	}
	return measured(sum / parts.length);
}
