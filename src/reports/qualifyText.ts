/** A qualification for a terminal: all figures, and the first of the names. */
import { inColumns, plainName } from "../columns.ts";
import { verdicts } from "../events.ts";
import type { Rate } from "../metrics/interval.ts";
import type { Measured } from "../metrics/measured.ts";
import type { Detection } from "../qualify/detection.ts";
import { changesOf, type Gauge } from "../qualify/gauge.ts";
import { isWrong, type Labelled } from "../qualify/labelled.ts";
import type { Qualification } from "../qualify/qualify.ts";

/** What the threshold is worth. */
export const aimText = ({
	ownThreshold,
	falseAlarms,
}: Qualification): string =>
	ownThreshold
		? "chosen by a person"
		: `aims at one good part in ${Number((1 / falseAlarms).toPrecision(3))}`;

/** Names in a list, at most. */
const NAMED = 20;

export function formatQualification(found: Qualification): string {
	const { labelled, gauge, detection } = found;
	return [
		[
			`${plainName(found.task)}, memory version ${found.memoryVersion}, learnt from ${found.images} images, threshold ${found.threshold.toFixed(2)} (${aimText(found)})${found.routed ? ", each picture recognised by itself" : ""}`,
			...found.notes.map((note) => `Note: ${plainName(note)}`),
		],
		...(labelled ? [labelledText(labelled)] : []),
		...(gauge ? [gaugeText(gauge)] : []),
		...(detection ? [detectionText(detection)] : []),
	]
		.map((lines) => lines.join("\n"))
		.join("\n\n");
}

export const percentText = (share: number): string =>
	`${(100 * share).toFixed(1)} %`;

/** "2 of 36, 5.6 % (95 %: 0.7 to 18.7 %)" */
export function rateText({
	events,
	trials,
	value,
	interval,
	below,
}: Rate): string {
	if (value === null) return "no pictures";
	const [low, high] = interval.map((end) => (100 * end).toFixed(1));
	return `${events} of ${trials}, ${percentText(value)} (95 %: ${low} to ${high} %${below === null ? "" : `; with 95 % confidence below ${percentText(below)}`})`;
}

/** A number, or why there is none. */
export const measuredText = (
	{ value, reason }: Measured,
	print: (value: number) => string,
): string => (value === null ? `- (${reason})` : print(value));

/** "12.2 px = 0.61 mm" */
export const sizeText = (px: number, mmPerPixel: number | null): string =>
	`${three(px)} px${mmPerPixel === null ? "" : ` = ${three(px * mmPerPixel)} mm`}`;

/** Three digits, as far as they are needed. */
const three = (value: number): string => String(Number(value.toPrecision(3)));

const named = (names: readonly string[]): string[] => [
	...names.slice(0, NAMED).map((name) => `  ${plainName(name)}`),
	...(names.length > NAMED
		? [`  and ${names.length - NAMED} more (--json)`]
		: []),
];

export const scoreText = (score: number | null): string =>
	score === null ? "-" : score.toFixed(2);

function labelledText(found: Labelled): string[] {
	const { kinds, withPerson, pictures } = found;
	const list = (title: string, good: boolean) => {
		const wrong = pictures.filter(
			(one) => isWrong(one) && (one.defect === null) === good,
		);
		return wrong.length === 0
			? []
			: [
					`${title}:`,
					...named(
						wrong.map(
							({ name, verdict, score, task }) =>
								`${name}  ${verdict} ${scoreText(score)}${found.otherProduct > 0 ? ` as ${task ?? "no product"}` : ""}`,
						),
					),
				];
	};
	return [
		`ESCAPES AND OVERKILL of ${pictures.length} pictures in ${plainName(found.dir)}`,
		...inColumns(
			[
				["", "pictures", ...verdicts, "wrong", "rate", "95 % interval"],
				...kinds.map(({ defect, pictures, verdicts: counts, wrong }) => [
					plainName(defect ?? "good"),
					String(pictures),
					...verdicts.map((verdict) => String(counts[verdict])),
					String(wrong.events),
					wrong.value === null ? "-" : percentText(wrong.value),
					wrong.value === null
						? "-"
						: wrong.interval.map((end) => (100 * end).toFixed(1)).join(" to "),
				]),
			],
			[1, 2, 3, 4, 5, 6, 7, 8, 9],
		),
		`escapes   ${rateText(found.escapes)}`,
		`overkill  ${rateText(found.overkill)}`,
		`if a person decides the unsure ones, ${rateText(withPerson.unsure)}:`,
		`  escapes   ${rateText(withPerson.escapes)}`,
		`  overkill  ${rateText(withPerson.overkill)}`,
		...(found.otherProduct > 0
			? [`taken for another product: ${found.otherProduct}`]
			: []),
		...list("escaped", false),
		...list("overkilled", true),
	];
}

function gaugeText({ dir, parts, score, decision, verdict }: Gauge): string[] {
	const three = (value: number) => value.toPrecision(3);
	const changing = parts.filter((part) => changesOf(part) !== null);
	return [
		`REPEATABILITY of ${parts.length} parts, ${parts.reduce((sum, { pictures }) => sum + pictures, 0)} pictures in ${plainName(dir)}`,
		...inColumns(
			[
				["part", "pictures", "mean score", "deviation", "stopped", "passed"],
				...parts.map((part) => [
					plainName(part.name),
					String(part.pictures),
					scoreText(part.mean),
					scoreText(part.deviation),
					String(part.stopped),
					String(part.passed),
				]),
			],
			[1, 2, 3, 4, 5],
		),
		`score     within a part (EV) ${measuredText(score.repeatability, three)}${score.interval ? ` (95 %: ${score.interval.map(three).join(" to ")})` : ""}, between parts (PV) ${measuredText(score.partVariation, three)}`,
		`          share of the variance within parts ${measuredText(score.shareWithin, percentText)}, %GRR of the total variation ${measuredText(score.grr, percentText)}`,
		`decision  parts that never change ${rateText(decision.steady)}, Fleiss' kappa ${measuredText(decision.kappa, (value) => value.toFixed(3))}`,
		`verdict   parts that never change ${rateText(verdict.steady)}, Fleiss' kappa ${measuredText(verdict.kappa, (value) => value.toFixed(3))}`,
		...(changing.length > 0
			? [
					"parts that change:",
					...named(
						changing.map(
							(part) =>
								`${part.name}  ${verdicts
									.filter((one) => part.verdicts[one] > 0)
									.map((one) => `${part.verdicts[one]} ${one}`)
									.join(
										", ",
									)}${changesOf(part) === "decision" ? `; ${part.stopped} stopped, ${part.passed} passed` : ""}`,
						),
					),
				]
			: []),
	];
}

function detectionText(found: Detection): string[] {
	const { sizes, mmPerPixel, curve, trials } = found;
	const size = (value: number) => sizeText(value, mmPerPixel);
	return [
		`PROBABILITY OF DETECTION of ${trials.length} discs of ${found.contrast} grey levels pasted into pictures of ${plainName(found.dir)}`,
		`stopped with nothing pasted  ${rateText(found.untouched)}${found.untouched.events > 0 ? "; no disc went into these" : ""}`,
		...(found.unusable.length > 0
			? [`unusable pictures, left out  ${found.unusable.length}`]
			: []),
		...(sizes.length > 0
			? inColumns(
					[
						["diameter", "discs", "found", "rate", "95 % interval"],
						...sizes.map(({ diameter, hits }) => [
							sizeText(diameter, mmPerPixel),
							String(hits.trials),
							String(hits.events),
							hits.value === null ? "-" : percentText(hits.value),
							hits.interval.map((end) => (100 * end).toFixed(1)).join(" to "),
						]),
					],
					[0, 1, 2, 3, 4],
				)
			: []),
		...(curve
			? [
					`log odds  ${curve.b0.toPrecision(4)} + ${curve.b1.toPrecision(4)} ln(diameter in px)`,
				]
			: []),
		`a50     ${measuredText(found.a50, size)}`,
		`a90     ${measuredText(found.a90, size)}`,
		`a90/95  ${measuredText(found.a90Safe, size)}`,
	];
}
