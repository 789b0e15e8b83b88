/** Calibration as a graph against calibration.ts, over shapes, scales and the whole range of raw scores. */
import { describe, expect, it } from "vitest";
import {
	type Calibration,
	calibrate,
	straightened,
} from "../../src/calibration.ts";
import { input } from "../../src/engine/graph.ts";
import { Session } from "../../src/engine/runtime.ts";
import { float64, type Tensor } from "../../src/engine/tensor.ts";
import { calibratedOf, straightenedOf } from "../../src/export/tails.ts";
import { Chosen, positions } from "../../src/memory/chosen.ts";

const forms = [0.4, 0.9, 2.5, 4, 17, 96, 384, 1000].map(
	(shape, i) =>
		({ kind: "gamma", n: 50, shape, scale: 0.3 * (i + 1) }) as const,
);
/** Believed everywhere, and measured above the median. */
const gammas: readonly Calibration[] = forms.flatMap((form) => [
	{ ...form, upper: null },
	{
		...form,
		upper: {
			median:
				form.shape * form.scale * Math.max(0.2, 1 - 2 / (9 * form.shape)) ** 3, // nearly its own (Wilson & Hilferty 1931)
			spread: 1.7,
		},
	},
]);
const gumbels: readonly Calibration[] = [
	{ location: 0.31, scale: 0.012 },
	{ location: 0, scale: 1 },
	{ location: 0.2, scale: 2e-4 },
].flatMap(({ location, scale }) =>
	[null, { median: location + 0.4 * scale, spread: 0.8 }].map(
		(upper) => ({ kind: "gumbel", n: 50, location, scale, upper }) as const,
	),
);

/** What the graph of all of them says of raw scores, each by the calibration at `index`. */
async function through(
	all: readonly Calibration[],
	graph: typeof calibratedOf,
): Promise<(index: number, raw: number) => Promise<number>> {
	const ids = all.map((_, i) => String(i));
	const chosen = new Chosen(ids, input("index", [], "int64"));
	const y = graph(
		chosen,
		(id) => all[Number(id)] as Calibration,
		input("raw", [], "float64"),
	);
	const session = await Session.create({ y }, { threads: 1 });
	return async (index, raw) => {
		const [at] = [positions([index])];
		const out = await session.run({
			index: { ...at, shape: [] } as typeof at,
			raw: float64([], Float64Array.of(raw)),
		});
		return (out.y as Tensor).data[0] as number;
	};
}

describe("calibration as a graph", () => {
	it("is the gamma's, from its best score to far beyond its table", async () => {
		const graph = await through(gammas, calibratedOf);
		let worst = 0;
		for (const [i, calibration] of gammas.entries()) {
			if (calibration.kind !== "gamma") continue;
			const mean = calibration.shape * calibration.scale;
			for (let step = 0; step <= 600; step++) {
				const raw = mean * 10 ** (-2 + step / 120); // to 1000 means
				const wanted = calibrate(calibration, raw);
				const found = await graph(i, raw);
				const error = Math.abs(found - wanted) / Math.max(1, wanted);
				worst = Math.max(worst, error);
			}
		}
		expect(worst).toBeLessThan(1e-5);
	});

	it("is the Gumbel's, where its chance rounds to 1 and far out", async () => {
		const graph = await through(gumbels, calibratedOf);
		const straight = await through(gumbels, straightenedOf);
		for (const [i, calibration] of gumbels.entries()) {
			if (calibration.kind !== "gumbel") continue;
			for (let z = -1000; z <= 1000; z += 0.5) {
				const raw = calibration.location + z * calibration.scale;
				expect(await graph(i, raw)).toBeCloseTo(calibrate(calibration, raw), 8);
				expect(await straight(i, raw)).toBeCloseTo(
					straightened(calibration, raw),
					8,
				);
			}
		}
	});
});
