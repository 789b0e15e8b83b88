/**
 * Curves over all thresholds: a share of what should be found against a share of false alarms. ROC, precision and recall, PRO and
 * saturated PRO differ in the weights of the scores alone, so one sweep and one area serve them all:
 *   every distinct score is a threshold, score >= t is anomalous; from (0, 0) on, straight lines between the points (trapezium rule),
 *   the last one cut where the false alarms reach the limit; the area is divided by the limit.
 */
import type { Ranked } from "./tally.ts";

/** Share of false alarms, share found; ascending. */
export type Curve = readonly (readonly [x: number, y: number])[];

/** Weight at or above each distinct score, from the highest score to the lowest. */
export interface Sweep {
	readonly found: Float64Array;
	readonly alarms: Float64Array;
}

export function sweep(positives: Ranked, negatives: readonly Ranked[]): Sweep {
	const lists = [positives, ...negatives.filter(({ keys }) => keys.length > 0)];
	const at = new Uint32Array(lists.length);
	/** The key that comes next in each list; -1: none is left. */
	const next = Float64Array.from(lists, ({ keys }) => keys[0] ?? -1);
	const most = lists.reduce((sum, { keys }) => sum + keys.length, 0);
	const found = new Float64Array(most);
	const alarms = new Float64Array(most);
	let length = 0;
	let positive = 0;
	let negative = 0;
	for (;;) {
		let highest = -1;
		for (let k = 0; k < next.length; k++)
			highest = Math.max(highest, next[k] as number);
		if (highest < 0) break;
		for (let k = 0; k < next.length; k++) {
			if (next[k] !== highest) continue;
			const { keys, weights } = lists[k] as Ranked;
			const i = at[k] as number;
			if (k === 0) positive += weights[i] as number;
			else negative += weights[i] as number;
			at[k] = i + 1;
			next[k] = keys[i + 1] ?? -1;
		}
		found[length] = positive;
		alarms[length++] = negative;
	}
	return {
		found: found.subarray(0, length),
		alarms: alarms.subarray(0, length),
	};
}

/** A line of the curve; the last one ends at `limit`. `total`: the weight that counts as all found, one a region for PRO. */
function eachLine(
	{ found, alarms }: Sweep,
	total: number,
	limit: number,
	visit: (fromX: number, fromY: number, x: number, y: number) => void,
): void {
	const all = alarms.at(-1) as number;
	let x = 0;
	let y = 0;
	for (let i = 0; i < found.length && x < limit; i++) {
		let nextX = (alarms[i] as number) / all;
		let nextY = (found[i] as number) / total;
		if (nextX > limit) {
			nextY = y + ((nextY - y) * (limit - x)) / (nextX - x);
			nextX = limit;
		}
		visit(x, y, nextX, nextY);
		x = nextX;
		y = nextY;
	}
}

/** Area for alarms up to `limit`, in 0..1. */
export function area(counts: Sweep, total: number, limit: number): number {
	let sum = 0;
	eachLine(counts, total, limit, (fromX, fromY, x, y) => {
		sum += ((x - fromX) * (fromY + y)) / 2;
	});
	return sum / limit;
}

/** Σ over distinct scores, from the highest, of (recall − previous recall) · precision. */
export function stepwisePrecision({ found, alarms }: Sweep): number {
	const all = found.at(-1) as number;
	let before = 0;
	let sum = 0;
	for (let i = 0; i < found.length; i++) {
		const hits = found[i] as number;
		sum += ((hits - before) / all) * (hits / (hits + (alarms[i] as number)));
		before = hits;
	}
	return sum;
}

/** Steps of a thinned curve, over its height and again over its width. */
const steps = 100;

/** The curve up to `limit` for a chart: the points where it has gone on by a step, two hundred at most, and the end. */
export function thinned(counts: Sweep, total: number, limit: number): Curve {
	const points: [number, number][] = [[0, 0]];
	let gone = 0; // since the last one kept
	let last: [number, number] | null = null; // not kept
	eachLine(counts, total, limit, (fromX, fromY, x, y) => {
		gone += (x - fromX) / limit + (y - fromY);
		last = [x, y];
		if (gone * steps < 1) return;
		points.push(last);
		gone = 0;
		last = null;
	});
	return last ? [...points, last] : points;
}
