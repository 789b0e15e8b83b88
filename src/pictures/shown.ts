/** Which few of a category's test images are worth looking at: the worst, the doubtful and the clearest. Numbers in, numbers out. */
import { isAnomalous } from "../metrics/image.ts";
import type { ScoreRow } from "../run.ts";

export const roles = [
	/** A defect below the threshold, the lowest first. */
	"missed",
	/** Where nothing is missed: the defects with the lowest scores. */
	"weakest defect",
	/** A good part at or above the threshold, the highest first. */
	"false alarm",
	/** Where there is no false alarm: the good parts with the highest scores. */
	"worst good",
	/** Closest to the threshold, on either side. */
	"borderline",
	/** What it should look like: the defects with the highest scores, the good parts with the lowest. */
	"best",
] as const;
export type Role = (typeof roles)[number];

export interface Choice {
	/** Of the row. */
	readonly index: number;
	readonly role: Role;
}

/**
 * For each of four roles (defects too low, good parts too high, borderline, best) at most `perRole` images, in that order. An image that was
 * chosen already is left out, not replaced, so a category has about 12 of them; equal scores go by their place in the list.
 */
export function chooseShown(
	rows: readonly ScoreRow[],
	perRole = 4,
): readonly Choice[] {
	const indices = rows.map((_, index) => index);
	const row = (index: number) => rows[index] as ScoreRow;
	const upwards = (list: readonly number[], by: (index: number) => number) =>
		list.toSorted((i, j) => order(by(i), by(j)) || i - j);
	const low = (index: number) => row(index).score;
	const high = (index: number) => -row(index).score;
	const defects = indices.filter((index) => row(index).label === 1);
	const good = indices.filter((index) => row(index).label === 0);
	const half = Math.ceil(perRole / 2);

	const judged = indices.filter((index) => row(index).threshold !== null);
	const above = judged.filter((index) => alarms(row(index)));
	const below = judged.filter((index) => !alarms(row(index)));
	const distance = (index: number) =>
		Math.abs(row(index).score - (row(index).threshold as number));

	const wanted: readonly Choice[] = [
		...upwards(defects, low)
			.slice(0, perRole)
			.map((index) => ({
				index,
				role: misses(row(index))
					? ("missed" as const)
					: ("weakest defect" as const),
			})),
		...upwards(good, high)
			.slice(0, perRole)
			.map((index) => ({
				index,
				role: alarms(row(index))
					? ("false alarm" as const)
					: ("worst good" as const),
			})),
		...[
			...upwards(above, distance).slice(0, half),
			...upwards(below, distance).slice(0, perRole - half),
		].map((index) => ({ index, role: "borderline" as const })),
		...[
			...upwards(defects, high).slice(0, half),
			...upwards(good, low).slice(0, perRole - half),
		].map((index) => ({ index, role: "best" as const })),
	];
	const seen = new Set<number>();
	return wanted.filter(({ index }) => {
		const fresh = !seen.has(index);
		seen.add(index);
		return fresh;
	});
}

const alarms = ({ score, threshold }: ScoreRow): boolean =>
	threshold !== null && isAnomalous(score, threshold);
const misses = ({ score, threshold }: ScoreRow): boolean =>
	threshold !== null && !isAnomalous(score, threshold);

/** Infinite scores have an order too, where a difference would be NaN. */
const order = (a: number, b: number): number => (a < b ? -1 : a > b ? 1 : 0);
