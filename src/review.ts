/**
 * Good images that do not look like the others: for a person to look at before they are learnt. They are listed in a table beside their
 * pictures; a person writes yes or no in it, and the same command goes on from there.
 *
 * An image is odd by its cross-fitted score, as if it had not been learnt, under the tail of all of them, which a few defective images hardly
 * move. It is listed where fewer than three images of the folder, and fewer than one in twenty, would score so high by chance. All memories count alike here, whatever their
 * weight in detection: a person looks at what a single one of them sees.
 */
import { calibrate, fitTail } from "./calibration.ts";
import { csvPlain, csvText, parseCsv } from "./csv.ts";
import type { Sample } from "./data/task.ts";
import { fail } from "./errors.ts";
import type { Knowledge } from "./knowledge.ts";

/** Good images that are listed of a folder, on average and at most: so many, and this share. */
const EXPECTED = 3;
const SHARE = 0.05;

export interface Odd {
	readonly sample: Sample;
	/** −log10 of the chance that a good image scores so high. */
	readonly score: number;
}

/** Of a category's images, those calibrated on last; the oddest first. Empty where no memory can tell an image from the others. */
export function oddOf(
	knowledge: Knowledge,
	id: string,
	samples: readonly Sample[],
): readonly Odd[] {
	const scores = new Float64Array(samples.length).fill(
		Number.NEGATIVE_INFINITY,
	);
	const shift = -Math.log10(knowledge.memories.length);
	for (const memory of knowledge.memories) {
		const { scores: raw, optimism } = memory.crossFitted(id);
		if (raw.length !== samples.length || optimism !== null) continue; // not one an image, in their order
		const tail = fitTail(memory.tail, raw);
		for (const [k, value] of raw.entries())
			scores[k] = Math.max(scores[k] as number, calibrate(tail, value) + shift);
	}
	const limit = -Math.log10(Math.min(SHARE, EXPECTED / samples.length));
	return samples
		.map((sample, k) => ({ sample, score: scores[k] as number }))
		.filter(({ score }) => score > limit)
		.sort((a, b) => b.score - a.score);
}

const header = "keep,score,picture,path";
const undecided = "?";

/** One row an odd image; `pictures`: what shows where it is odd. */
export const formatReview = (
	odd: readonly Odd[],
	pictures: readonly string[],
): string =>
	tableOf(
		odd.map(({ sample: { path }, score }, i) => ({
			keep: undecided,
			score,
			picture: pictures[i] ?? "",
			path,
		})),
	);

const tableOf = (rows: readonly Omit<ReviewRow, "line">[]): string =>
	`${[
		header,
		...rows.map(({ keep, score, picture, path }) =>
			[keep, score.toFixed(2), csvText(picture), csvText(path)].join(","),
		),
	].join("\n")}\n`;

interface ReviewRow {
	readonly line: number;
	/** What was written there. */
	readonly keep: string;
	readonly score: number;
	readonly picture: string;
	readonly path: string;
}

const invalid = (file: string) => (line: number, problem: string) =>
	fail("REVIEW_INVALID", { file, line, problem });

export function readReview(text: string, file: string): readonly ReviewRow[] {
	const wrong = invalid(file);
	const [first, ...rows] = parseCsv(text.replace(/^\uFEFF/, ""), wrong);
	if (first?.fields.join() !== header)
		throw wrong(1, `the first line is not ${header}`);
	return rows.map(({ line, fields }) => {
		const [keep, score, picture, path] = fields as [
			string,
			string,
			string,
			string,
		];
		if (fields.length !== 4) throw wrong(line, "there are not four fields");
		if (score.trim() === "" || !Number.isFinite(Number(score)))
			throw wrong(line, `the score ${JSON.stringify(score)} is not a number`);
		return {
			line,
			keep,
			score: Number(score),
			picture: csvPlain(picture),
			path: csvPlain(path),
		};
	});
}

/** The table with every row decided. */
export const decideReview = (
	text: string,
	file: string,
	keep: (path: string) => boolean,
): string =>
	tableOf(
		readReview(text, file).map((row) => ({
			...row,
			keep: keep(row.path) ? "yes" : "no",
		})),
	);

/** Paths of the images that a person refused. All must be decided, and all must be among `samples`. */
export function refusedIn(
	text: string,
	file: string,
	samples: readonly Sample[],
): ReadonlySet<string> {
	const wrong = invalid(file);
	const known = new Set(samples.map(({ path }) => path));
	const refused = new Set<string>();
	for (const { line, keep: said, path } of readReview(text, file)) {
		const keep = said.trim().toLowerCase();
		if (!known.has(path))
			throw wrong(line, `${path} is not among the images any more`);
		if (keep !== "yes" && keep !== "no")
			throw wrong(line, `"${said}" is neither yes nor no`);
		if (keep === "no") refused.add(path);
	}
	return refused;
}
