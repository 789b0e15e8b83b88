/**
 * Metrics of learning in sequence, over a matrix R[i][j]: the score on task j after learning task i (rows are time).
 * Average, backward and forward transfer: Lopez-Paz & Ranzato, Gradient Episodic Memory, 2017, eq. 2-4; forgetting:
 * Chaudhry et al., Riemannian Walk, 2018, eq. 3, with a task's best taken from its own learning on and before the last row,
 * so that it may be negative. Our addition: `learningTransfer`, the score right after learning against learning alone.
 *
 * T is the number of rows; columns beyond T (tasks still to come) are not looked at. A cell that a metric needs and that is
 * null makes the metric null, with the reason. `tasks` restricts every mean to some columns: a metric that exists for LOCO
 * products alone is summed up over those.
 */
import { type Measured, measured, undefinedBecause } from "./measured.ts";

export type Matrix = readonly (readonly (number | null)[])[];
export type Row = readonly (number | null)[];

/** Mean of the last row. */
export function average(matrix: Matrix, tasks = everyTask(matrix)): Measured {
	return meanOver(learnt(matrix, tasks), (j) =>
		cell(matrix, matrix.length - 1, j),
	);
}

/** Mean over rows i of the mean over the tasks learnt by then, j <= i. Rows before the first of `tasks` don't count. */
export function averageIncremental(
	matrix: Matrix,
	tasks = everyTask(matrix),
): Measured {
	const columns = learnt(matrix, tasks);
	const rows = matrix
		.map((_, i) => i)
		.filter((i) => columns.some((j) => j <= i));
	return meanOver(rows, (i) => {
		const row = columns.filter((j) => j <= i).map((j) => cell(matrix, i, j));
		return row.reduce((a, b) => a + b, 0) / row.length;
	});
}

/** Mean of the diagonal: each task right after it was learnt. */
export function learning(matrix: Matrix, tasks = everyTask(matrix)): Measured {
	return meanOver(learnt(matrix, tasks), (j) => cell(matrix, j, j));
}

/** Mean over all tasks but the last of (best of rows j..T−2) − (last row). */
export function forgetting(
	matrix: Matrix,
	tasks = everyTask(matrix),
): Measured {
	const last = matrix.length - 1;
	return meanOver(earlier(matrix, tasks), (j) => {
		let best = Number.NEGATIVE_INFINITY;
		for (let i = j; i < last; i++) best = Math.max(best, cell(matrix, i, j));
		return best - cell(matrix, last, j);
	});
}

/** Mean over all tasks but the last of R[T−1][j] − R[j][j]. */
export function backwardTransfer(
	matrix: Matrix,
	tasks = everyTask(matrix),
): Measured {
	return meanOver(
		earlier(matrix, tasks),
		(j) => cell(matrix, matrix.length - 1, j) - cell(matrix, j, j),
	);
}

/**
 * Mean over all tasks but the first of R[j−1][j] − baseline[j]: what the tasks before j give to j unseen. The baseline is
 * the untrained network's row, or one number for all tasks (chance: .5 for an AUROC).
 */
export function forwardTransfer(
	matrix: Matrix,
	baseline: Row | number,
	tasks = everyTask(matrix),
): Measured {
	const columns = learnt(matrix, tasks).filter((j) => j > 0);
	return meanOver(
		columns,
		(j) =>
			cell(matrix, j - 1, j) -
			(typeof baseline === "number"
				? baseline
				: present(baseline[j], `the baseline of task ${j + 1}`)),
	);
}

/** Mean of R[j][j] − isolated[j], `isolated` being each task learnt alone from the initial weights. */
export function learningTransfer(
	matrix: Matrix,
	isolated: Row,
	tasks = everyTask(matrix),
): Measured {
	return meanOver(
		learnt(matrix, tasks),
		(j) =>
			cell(matrix, j, j) - present(isolated[j], `task ${j + 1} learnt alone`),
	);
}

const everyTask = (matrix: Matrix): readonly number[] =>
	matrix.map((_, j) => j);
const learnt = (matrix: Matrix, tasks: readonly number[]) =>
	tasks.filter((j) => j < matrix.length);
const earlier = (matrix: Matrix, tasks: readonly number[]) =>
	tasks.filter((j) => j < matrix.length - 1);

/** Thrown inside a mean by a missing number, and turned into its reason. */
class Missing extends Error {}

function meanOver(
	indices: readonly number[],
	term: (index: number) => number,
): Measured {
	if (indices.length === 0) return undefinedBecause("needs more tasks");
	try {
		return measured(
			indices.reduce((sum, index) => sum + term(index), 0) / indices.length,
		);
	} catch (error) {
		if (error instanceof Missing) return undefinedBecause(error.message);
		throw error;
	}
}

function cell(matrix: Matrix, i: number, j: number): number {
	return present(matrix[i]?.[j], `task ${j + 1} after learning task ${i + 1}`);
}

function present(value: number | null | undefined, what: string): number {
	if (value === null || value === undefined)
		throw new Missing(`no value for ${what}`);
	return value;
}
