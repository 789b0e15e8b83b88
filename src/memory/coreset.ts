/**
 * Which patches to keep: greedy k-centre (Gonzalez 1985; Sener & Savarese, ICLR 2018; Roth et al., PatchCore, CVPR 2022), on a
 * random projection. The first centre is the patch nearest the mean, then always the patch farthest from all centres so far;
 * of equals the first. Sums are float32 in a fixed order, so that the same patches give the same centres.
 */
import { input, type Value } from "../engine/graph.ts";
import { add, argMax, gemm, min, mul, reshape } from "../engine/ops/index.ts";
import { Session } from "../engine/runtime.ts";
import { float32, type Tensor } from "../engine/tensor.ts";
import type { Random } from "../random.ts";
import type { Pace } from "./memory.ts";

/** Width of the projection (Johnson & Lindenstrauss): distances keep their order well enough. */
const PROJECTED = 64;
/** Squared distances that float32 cannot tell from 0, rows being of length 1: three sums of 64 products each. */
const SAME = 2e-6;

/** Positions of at most `wanted` patches, in the order of choice; `rows` are n of [N, D], counted through. */
export async function kCentre(
	rows: readonly Tensor[],
	wanted: number,
	random: Random,
	threads: number,
	pace?: Pace,
): Promise<number[]> {
	const count = rows.reduce((sum, { shape }) => sum + (shape[0] as number), 0);
	if (wanted >= count) return Array.from({ length: count }, (_, i) => i);
	const points = await projected(rows, count, random, threads);
	return greedy(points, count, wanted, threads, pace);
}

/** [64, P]: columns are patches, so that distances of all to one are one pass over the memory. */
async function projected(
	rows: readonly Tensor[],
	count: number,
	random: Random,
	threads: number,
): Promise<Float32Array> {
	const d = rows[0]?.shape[1] as number;
	const directions = float32(
		[PROJECTED, d],
		Float32Array.from(
			{ length: PROJECTED * d },
			() => random.normal() / Math.sqrt(PROJECTED),
		),
	);
	const sessions = new Map<number, Promise<Session>>();
	const points = new Float32Array(PROJECTED * count);
	try {
		let at = 0;
		for (const patches of rows) {
			const n = patches.shape[0] as number;
			if (n === 0) continue;
			let session = sessions.get(n);
			if (!session) {
				session = Session.create(
					{
						y: gemm(
							input("directions", [PROJECTED, d]),
							input("patches", [n, d]),
							{ transB: true },
						),
					},
					{ threads },
				);
				sessions.set(n, session);
			}
			const { y } = await (await session).run({ directions, patches });
			for (let k = 0; k < PROJECTED; k++)
				points.set(
					(y as Tensor).data.subarray(k * n, (k + 1) * n),
					k * count + at,
				);
			at += n;
		}
		return points;
	} finally {
		for (const session of sessions.values()) await (await session).release();
	}
}

async function greedy(
	points: Float32Array /* [64, P] */,
	count: number,
	wanted: number,
	threads: number,
	pace?: Pace,
): Promise<number[]> {
	const squares = float32([1, count]);
	const mean = float32([1, PROJECTED]);
	for (let k = 0; k < PROJECTED; k++) {
		let sum = 0;
		for (let i = 0, at = k * count; i < count; i++, at++) {
			const x = points[at] as number;
			squares.data[i] = (squares.data[i] as number) + x * x;
			sum += x;
		}
		mean.data[k] = sum / count;
	}
	const session = await Session.create(step(count), {
		threads,
		weights: { points: float32([PROJECTED, count], points), squares },
	});
	try {
		const centre = mean; // rewritten with every choice
		const far = float32([1, count], new Float32Array(count).fill(1e30));
		// distances to the mean
		const first = await session.run({
			centre,
			shift: float32([1, 1], Float32Array.of(normOf(centre))),
			nearest: far,
		});
		const toMean = (first.next as Tensor).data;
		let at = toMean.indexOf(toMean.reduce((a, b) => Math.min(a, b)));
		const chosen = [at];
		let [nearest, next] = [far, float32([1, count])];
		const shift = float32([1, 1]);
		while (chosen.length < wanted) {
			if (chosen.length % 64 === 0)
				await pace?.(chosen.length, wanted, "centres");
			for (let k = 0; k < PROJECTED; k++)
				centre.data[k] = points[k * count + at] as number;
			shift.data[0] = normOf(centre);
			const { farthest } = await session.run(
				{ centre, shift, nearest },
				{ next },
			);
			[nearest, next] = [next, nearest];
			nearest.data[at] = -1; // never again, whatever rounding says
			at = Number((farthest as Tensor).data[0]);
			if ((nearest.data[at] as number) <= SAME) break; // all that is left is there already
			chosen.push(at);
		}
		return chosen;
	} finally {
		await session.release();
	}
}

/** nearest [1, P] -> next = min(nearest, ‖x − c‖²), and the position of its maximum. */
function step(count: number): Record<string, Value> {
	const centre = input("centre", [1, PROJECTED]);
	const cross = gemm(centre, input("points", [PROJECTED, count]));
	const distance = add(
		add(mul(cross, -2), input("squares", [1, count])),
		input("shift", [1, 1]),
	);
	const next = min(input("nearest", [1, count]), distance);
	return { next, farthest: reshape(argMax(next, 1), [1]) };
}

const normOf = ({ data }: Tensor): number =>
	data.reduce((sum, x) => sum + x * x, 0);
