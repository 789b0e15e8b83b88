/** Repeatability of score and verdict, of parts that were photographed again and again. */
import { type Verdict, verdicts } from "../events.ts";
import {
	fleissKappa,
	type Repeatability,
	repeatabilityOf,
} from "../metrics/gauge.ts";
import { type Rate, rateOf } from "../metrics/interval.ts";
import type { Measured } from "../metrics/measured.ts";
import { countsOf, type ScoredGroup, stopped } from "./scoring.ts";

export interface GaugePart {
	readonly name: string;
	readonly pictures: number;
	/** Of usable pictures. */
	readonly answers: readonly {
		readonly score: number;
		readonly stopped: boolean;
	}[];
	readonly mean: number | null;
	/** Sample standard deviation; null: fewer than two usable pictures. */
	readonly deviation: number | null;
	readonly verdicts: Readonly<Record<Verdict, number>>;
	readonly stopped: number;
	readonly passed: number;
}

/** How far the answers of a part agree. */
export interface Agreement {
	/** Parts, of those with two answers at least, whose answer never changes. */
	readonly steady: Rate;
	readonly kappa: Measured;
}

export interface Gauge {
	readonly dir: string;
	readonly parts: readonly GaugePart[];
	readonly score: Repeatability;
	/** Stopped or passed; unusable pictures are left out. */
	readonly decision: Agreement;
	/** One of the five verdicts. */
	readonly verdict: Agreement;
}

export function gaugeOf(dir: string, groups: readonly ScoredGroup[]): Gauge {
	const parts = groups.map(({ name, predictions }): GaugePart => {
		const answers = predictions.flatMap((prediction) => {
			const { score } = prediction;
			const decision = stopped(prediction);
			return score === null || decision === null
				? []
				: [{ score, stopped: decision }];
		});
		const scores = answers.map(({ score }) => score);
		const { repeatability } = repeatabilityOf([scores]);
		return {
			name,
			pictures: predictions.length,
			answers,
			mean:
				scores.length > 0
					? scores.reduce((a, b) => a + b, 0) / scores.length
					: null,
			deviation: repeatability.value,
			verdicts: countsOf(predictions),
			stopped: answers.filter((one) => one.stopped).length,
			passed: answers.filter((one) => !one.stopped).length,
		};
	});
	return {
		dir,
		parts,
		score: repeatabilityOf(
			parts.map(({ answers }) => answers.map(({ score }) => score)),
		),
		decision: agreementOf(
			parts.map(({ stopped, passed }) => [stopped, passed]),
		),
		verdict: agreementOf(
			parts.map((part) => verdicts.map((verdict) => part.verdicts[verdict])),
		),
	};
}

function agreementOf(counts: readonly (readonly number[])[]): Agreement {
	const answers = (row: readonly number[]) => row.reduce((a, b) => a + b, 0);
	const seen = counts.filter((row) => answers(row) > 1);
	return {
		steady: rateOf(
			seen.filter((row) => row.includes(answers(row))).length,
			seen.length,
		),
		kappa: fleissKappa(counts),
	};
}

/** What changes from picture to picture of the part. */
export const changesOf = (part: GaugePart): "decision" | "verdict" | null =>
	part.stopped > 0 && part.passed > 0
		? "decision"
		: verdicts.filter((verdict) => part.verdicts[verdict] > 0).length > 1
			? "verdict"
			: null;
