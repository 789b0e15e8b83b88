/** Final scores of finished cells, laid out so that any draw of test images can be measured as the tables measure all of them. */
import { categoriesOf } from "../data/task.ts";
import {
	kindOf,
	type Layout,
	metrics,
	type ScoreRow as MetricRow,
} from "../metrics/index.ts";
import { type Measured, meanOf } from "../metrics/measured.ts";
import { metricRow } from "../run.ts";
import type { FinishedCell } from "./cells.ts";

/** What comparisons are made in. */
export const metric = "imageAuroc";

/** The final scores of a category: place in the list of all images, and row; from the highest score, which spares sorting the draws. */
export interface ScoredCategory {
	readonly layout: Layout;
	readonly rows: readonly (readonly [image: number, row: MetricRow])[];
}

/** Task -> its categories, in the order of learning. */
export type Scored = ReadonlyMap<string, readonly ScoredCategory[]>;

export interface TestImage {
	readonly category: string;
	readonly path: string;
	/** Images are drawn within it, so that every draw has as many of each class and kind as the test set. */
	readonly group: string;
}

/** Every test image that one of the cells scored, once. */
export function imagesOf(cells: readonly FinishedCell[]): TestImage[] {
	const images = new Map<string, TestImage>();
	for (const { category, rows } of cells.flatMap((cell) => cell.finalScores))
		for (const { path, label, defect } of rows)
			images.set(imageKey(category, path), {
				category,
				path,
				group: JSON.stringify([category, label, kindOf(defect ?? "good")]),
			});
	return [...images.values()];
}

const imageKey = (category: string, path: string) =>
	JSON.stringify([category, path]);

/** A text says why the cell cannot be compared. */
export function scoredOf(
	cell: FinishedCell,
	images: readonly TestImage[],
): Scored | string {
	const { results, finalScores } = cell;
	const categories = new Map<string, ScoredCategory>();
	for (const { category, rows } of finalScores) {
		const byPath = new Map(rows.map((row) => [row.path, metricRow(row)]));
		const sorted: [number, MetricRow][] = [];
		for (const [i, image] of images.entries()) {
			if (image.category !== category) continue;
			const row = byPath.get(image.path);
			if (!row)
				return `${nameOf(cell)} did not score ${image.path}, which others did`;
			sorted.push([i, row]);
		}
		sorted.sort(([, a], [, b]) =>
			a.score > b.score ? -1 : a.score < b.score ? 1 : 0,
		);
		categories.set(category, {
			layout: layoutOf(cell, category),
			rows: sorted,
		});
	}
	const tasks = new Map(
		results.tasks.map((id) => [
			id,
			categoriesOf(id).flatMap((category) => categories.get(category) ?? []),
		]),
	);
	const unscored = results.tasks.find((id) => tasks.get(id)?.length === 0);
	return unscored === undefined
		? tasks
		: `${nameOf(cell)} has no scores of ${unscored} after the last task`;
}

const nameOf = ({ label, seed, order }: FinishedCell) =>
	`${label} (seed ${seed}, order ${order})`;

/** metrics.json has the metrics of a kind for LOCO products and for no others. */
const layoutOf = ({ results }: FinishedCell, category: string): Layout =>
	"imageAurocLogical" in (results.categories[category] ?? {})
		? "loco"
		: "mvtec";

/** Image AUROC of a task: the mean over its categories, every image taken as often as it was drawn. */
export const taskOn = (
	categories: readonly ScoredCategory[],
	times: Uint32Array,
): Measured =>
	meanOf(
		categories.map(({ rows, layout }) => {
			const drawn: MetricRow[] = [];
			for (const [image, row] of rows)
				for (let k = times[image] as number; k > 0; k--) drawn.push(row);
			return metrics[metric].compute(drawn, layout);
		}),
	);

/** Its mean over the tasks. */
export const averageOn = (tasks: Scored, times: Uint32Array): Measured =>
	meanOf([...tasks.values()].map((categories) => taskOn(categories, times)));

/** How often each of `count` images was drawn. */
export function timesOf(drawn: readonly number[], count: number): Uint32Array {
	const times = new Uint32Array(count);
	for (const image of drawn) times[image] = (times[image] as number) + 1;
	return times;
}
