/**
 * The paper's evaluation: one Gaussian for everything learnt so far.
 * Li et al., "Towards Continual Adaptation in Industrial Anomaly Detection" (DNE), ACM MM 2022: N_i vectors are drawn
 * from the Gaussian of every earlier task, joined with the newest task's embeddings, L2-normalised, refitted once.
 * The draws come from the SHRUNK covariance, x = μ + L·z, and the refit is Ledoit-Wolf's again.
 */
import {
	concatRows,
	drawFrom,
	type Gaussian,
	gaussianMoments,
	type Moments,
	mergeMoments,
	momentsOf,
	type Rows,
} from "../linalg/covariance.ts";
import { normalised } from "./memory.ts";

/** An earlier task: its shrunk Gaussian and the standard normals to draw with, one row an image it was learnt from. */
export interface EarlierTask {
	readonly gaussian: Gaussian;
	readonly normals: Rows; // [N_i, D]
}

/** Draws of every earlier task in order, then the newest embeddings, L2-normalised. `gaussianOf(momentsOf(...))` is the refit. */
export const pooledSample = (
	earlier: readonly EarlierTask[],
	newest: Rows,
): Rows =>
	normalised(
		concatRows(
			[...earlier.map((task) => drawFrom(task.gaussian, task.normals)), newest],
			newest.d,
		),
	);

/**
 * Moments of that sample averaged over all draws, in closed form (`analytic`): the mixture's, without the noise of drawing.
 * Departure: draws are taken as they fall, not L2-normalised. Their square length is 1 on average already, as shrinkage keeps
 * the trace; on the golden tasks normalising changes the covariance by 2 % and the fourth moment by 6 %.
 */
export function pooledMoments(
	earlier: readonly EarlierTask[],
	newest: Rows,
): Moments {
	const parts = earlier.map(({ gaussian, normals }) =>
		gaussianMoments(normals.n, gaussian.mean, covarianceOf(gaussian)),
	);
	if (newest.n > 0) parts.push(momentsOf(newest));
	return parts.reduce(mergeMoments);
}

/** L·Lᵀ. */
function covarianceOf({ factor, mean }: Gaussian): Float64Array {
	const d = mean.length;
	const out = new Float64Array(d * d);
	for (let i = 0; i < d; i++) {
		for (let j = 0; j <= i; j++) {
			let sum = 0;
			for (let k = 0; k <= j; k++)
				sum += (factor[i * d + k] as number) * (factor[j * d + k] as number);
			out[i * d + j] = out[j * d + i] = sum;
		}
	}
	return out;
}
