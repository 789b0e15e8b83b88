/** Escapes and overkill: defects that pass and good parts that are stopped, of pictures whose truth is known. */
import type { Found } from "../data/find.ts";
import type { Verdict } from "../events.ts";
import { type Rate, rateOf } from "../metrics/interval.ts";
import { GOOD } from "./pictures.ts";
import { countsOf, type ScoredGroup, stopped } from "./scoring.ts";

/** What became of a picture of known truth. */
export interface Outcome {
	/** With forward slashes, from the folder that was named. */
	readonly name: string;
	/** Kind of defect; null: good. */
	readonly defect: string | null;
	readonly verdict: Verdict;
	readonly score: number | null;
	/** The product it was scored as. */
	readonly task: string | null;
	/** Whether the station takes it out: its score reaches the threshold, or no product fits; null: unusable, so there is no verdict on the part. */
	readonly stopped: boolean | null;
}

export interface KindCounts {
	readonly defect: string | null;
	readonly pictures: number;
	readonly verdicts: Readonly<Record<Verdict, number>>;
	/** Escapes of a defect, overkill of good parts; of the usable pictures. */
	readonly wrong: Rate;
}

/** Defects that pass, and good parts that are stopped. */
export interface Errors {
	readonly escapes: Rate;
	readonly overkill: Rate;
}

export interface Labelled extends Errors {
	readonly dir: string;
	/** Good parts first. */
	readonly kinds: readonly KindCounts[];
	/** Where a person looks at every part that is `unsure` and decides rightly. */
	readonly withPerson: Errors & { readonly unsure: Rate };
	/** Usable pictures that were taken for another product; 0 where the product is told. */
	readonly otherProduct: number;
	readonly pictures: readonly Outcome[];
}

export function labelledOf(
	dir: string,
	groups: readonly ScoredGroup[],
	task: string,
): Labelled {
	const pictures = groups
		.toSorted((a, b) => Number(b.name === GOOD) - Number(a.name === GOOD))
		.flatMap(({ name, found, predictions }) =>
			predictions.map(
				(prediction, i): Outcome => ({
					name: (found[i] as Found).name,
					defect: name === GOOD ? null : name,
					verdict: prediction.verdict,
					score: prediction.score,
					task: prediction.task,
					stopped: stopped(prediction),
				}),
			),
		);
	const usable = pictures.filter((one) => one.stopped !== null);
	const unsure = (one: Outcome) => one.verdict === "unsure";
	return {
		dir,
		kinds: [...new Set(pictures.map(({ defect }) => defect))].map((defect) => {
			const own = pictures.filter((one) => one.defect === defect);
			return {
				defect,
				pictures: own.length,
				verdicts: countsOf(own),
				wrong: rateOf(
					own.filter(isWrong).length,
					own.filter((one) => one.stopped !== null).length,
				),
			};
		}),
		...errorsOf(usable, isWrong),
		withPerson: {
			...errorsOf(usable, (one) => isWrong(one) && !unsure(one)),
			unsure: rateOf(usable.filter(unsure).length, usable.length),
		},
		otherProduct: usable.filter((one) => one.task !== null && one.task !== task)
			.length,
		pictures,
	};
}

/** A defect that passes, or a good part that is stopped. */
export const isWrong = ({ defect, stopped }: Outcome): boolean =>
	stopped !== null && stopped === (defect === null);

function errorsOf(
	usable: readonly Outcome[],
	wrong: (one: Outcome) => boolean,
): Errors {
	const rate = (good: boolean) => {
		const own = usable.filter(({ defect }) => (defect === null) === good);
		return rateOf(own.filter(wrong).length, own.length);
	};
	return { escapes: rate(false), overkill: rate(true) };
}
