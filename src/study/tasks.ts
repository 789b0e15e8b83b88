/**
 * What each row of a comparison reaches on each task at the end, and what would be reached by choosing a row without a look at the task that
 * it is reported on: leave one task out. Intervals are a bootstrap over test images.
 */
import { pairedBootstrap } from "../metrics/interval.ts";
import {
	type Measured,
	meanOf,
	undefinedBecause,
} from "../metrics/measured.ts";
import { Random } from "../random.ts";
import type { FinishedCell } from "./cells.ts";
import {
	imagesOf,
	type Scored,
	scoredOf,
	type TestImage,
	taskOn,
	timesOf,
} from "./scored.ts";

export interface Estimate {
	readonly value: number | null;
	/** 95 % over test images; null where no draw gave a value. */
	readonly low: number | null;
	readonly high: number | null;
	/** Why the value is null. */
	readonly reason: string | null;
}

export interface TaskTable {
	/** In the order of the first cell. */
	readonly tasks: readonly string[];
	readonly rows: readonly {
		readonly label: string;
		/** A task each: image AUROC after the last task, the mean over the row's cells. */
		readonly values: readonly Estimate[];
	}[];
	/** null with fewer than two complete rows or two tasks. */
	readonly leaveOneOut: {
		/** For each task the label that is best on the mean of all others, and what it has on this one. */
		readonly chosen: readonly string[];
		readonly values: readonly number[];
		/** Of `values`; every draw of the bootstrap chooses anew. */
		readonly mean: Estimate;
	} | null;
}

/** A row: its cells' scores, or why one of them has none. */
interface Row {
	readonly label: string;
	readonly scored: readonly Scored[] | string;
}

export function taskTable(
	cells: readonly FinishedCell[],
	draws: number,
): TaskTable {
	const images = imagesOf(cells);
	const tasks = cells[0]?.results.tasks ?? [];
	const labels = [...new Set(cells.map(({ label }) => label))];
	const rows = labels.map((label): Row => {
		const own = cells.filter((cell) => cell.label === label);
		const scored = own.map((cell) => scoredOf(cell, images));
		const problem = scored.find((one) => typeof one === "string");
		return { label, scored: problem ?? (scored as Scored[]) };
	});
	return {
		tasks,
		rows: rows.map((row) => ({
			label: row.label,
			values: tasks.map((task) =>
				estimate(images, draws, (times) => valueOn(row, task, times)),
			),
		})),
		leaveOneOut: leaveOneOut(rows, tasks, images, draws),
	};
}

function valueOn({ scored }: Row, task: string, times: Uint32Array): Measured {
	if (typeof scored === "string") return undefinedBecause(scored);
	return meanOf(
		scored.map((cell) => {
			const categories = cell.get(task);
			return categories
				? taskOn(categories, times)
				: undefinedBecause(`no scores of ${task} after the last task`);
		}),
	);
}

function estimate(
	images: readonly TestImage[],
	draws: number,
	measure: (times: Uint32Array) => Measured,
): Estimate {
	const on = (drawn: readonly number[]) =>
		measure(timesOf(drawn, images.length));
	const { value, reason } = on([...images.keys()]);
	if (value === null) return { value, low: null, high: null, reason };
	const found = pairedBootstrap(
		images.length,
		(drawn) => on(drawn).value,
		new Random("comparison", "by task"),
		{ draws, groups: images.map(({ group }) => group) },
	);
	const drawn = found && found.draws > 0 ? found : null;
	return {
		value,
		low: drawn?.low ?? null,
		high: drawn?.high ?? null,
		reason: null,
	};
}

function leaveOneOut(
	rows: readonly Row[],
	tasks: readonly string[],
	images: readonly TestImage[],
	draws: number,
): TaskTable["leaveOneOut"] {
	const everything = timesOf([...images.keys()], images.length);
	const complete = rows.filter((row) =>
		tasks.every((task) => valueOn(row, task, everything).value !== null),
	);
	if (complete.length < 2 || tasks.length < 2) return null;
	const choose = (times: Uint32Array) => {
		const table = complete.map((row) =>
			tasks.map((task) => valueOn(row, task, times)),
		);
		return tasks.map((_, left) => {
			const others = table.map(
				(values) => meanOf(values.filter((_, j) => j !== left)).value ?? 0,
			);
			const best = others.indexOf(Math.max(...others));
			return { best, value: table[best]?.[left] as Measured };
		});
	};
	const chosen = choose(everything);
	return {
		chosen: chosen.map(({ best }) => (complete[best] as Row).label),
		values: chosen.map(({ value }) => value.value as number),
		mean: estimate(images, draws, (times) =>
			meanOf(choose(times).map(({ value }) => value)),
		),
	};
}
