/**
 * Calibration as a graph. A Gumbel's tail is its formula. A gamma's has none in operators, so near the normals −log10 p is a table with
 * cubic interpolation, in w = ∛(x / k): in that scale the gamma is nearly normal (Wilson & Hilferty 1931) and −log10 p close to a cubic,
 * which such an interpolation hits. Beyond the table it is the continued fraction of calibration.ts, some terms of it: far out it
 * converges at once. Above the median both are what was measured there, a straight line in how their −log p rises.
 */
import { type Calibration, calibrate, logGamma, rise } from "../calibration.ts";
import type { Value } from "../engine/graph.ts";
import {
	add,
	cast,
	div,
	exp,
	gather,
	lessOrEqual,
	log,
	max,
	min,
	mul,
	neg,
	sub,
	where,
} from "../engine/ops/index.ts";
import { float64 } from "../engine/tensor.ts";
import { type Chosen } from "../memory/chosen.ts";

type Gamma = Extract<Calibration, { kind: "gamma" }>;
type Gumbel = Extract<Calibration, { kind: "gumbel" }>;

/** `calibrate` of a raw score, float64 []. `of`: that of a category; all of one kind, as they are of one memory. */
export function calibratedOf(
	chosen: Chosen,
	of: (id: string) => Calibration,
	raw: Value,
): Value {
	const { form, risen } =
		of(chosen.ids[0] as string).kind === "gamma"
			? gammaOf(chosen, (id) => of(id) as Gamma, raw)
			: gumbelOf(zOf(chosen, (id) => of(id) as Gumbel, raw));
	const median = chosen.number(
		(id) => of(id).upper?.median ?? Number.MAX_VALUE,
	);
	const meets = chosen.number((id) => factorOf(of(id)));
	return where(
		lessOrEqual(raw, median),
		mul(form, meets),
		lineOf(chosen, of, risen),
	);
}

/** `straightened` of raw scores, float64 of any shape. */
export const straightenedOf = (
	chosen: Chosen,
	of: (id: string) => Calibration,
	raw: Value,
): Value =>
	lineOf(
		chosen,
		of,
		zOf(chosen, (id) => of(id) as Gumbel, raw),
	);

/** The upper half, as a line in what rises. */
function lineOf(
	chosen: Chosen,
	of: (id: string) => Calibration,
	risen: Value,
): Value {
	const slope = (id: string) => Math.LOG10E / (of(id).upper?.spread ?? 1);
	return add(
		mul(risen, chosen.number(slope)),
		chosen.number((id) => {
			const { upper } = of(id);
			return upper ? Math.log10(2) - rise(of(id), upper.median) * slope(id) : 0;
		}),
	);
}

const formOf = <C extends Calibration>(calibration: C): C => ({
	...calibration,
	upper: null,
});

/** What the lower half is stretched by to meet the upper one. */
function factorOf(calibration: Calibration): number {
	const { upper } = calibration;
	const middle = upper ? calibrate(formOf(calibration), upper.median) : 0;
	return middle > 0 ? Math.log10(2) / middle : 1;
}

/** −log10 p of the form, and how it rises. */
interface Risen {
	readonly form: Value;
	readonly risen: Value;
}

const zOf = (chosen: Chosen, of: (id: string) => Gumbel, raw: Value): Value =>
	div(
		sub(
			raw,
			chosen.number((id) => of(id).location),
		),
		chosen.number((id) => of(id).scale),
	);

/** −log10(1 − e^−t), t = e^−z; where that rounds to 0, what ranks on. */
function gumbelOf(z: Value): Risen {
	const t = exp(neg(z));
	// log(1 − e^−t) = log t − t/2 + t²/24 − ...
	const far = sub(mul(mul(t, t), 1 / 24), add(z, mul(t, 0.5)));
	const near = log(sub(1, exp(neg(t))));
	const score = mul(where(lessOrEqual(t, 1e-4), far, near), -Math.LOG10E);
	return {
		form: where(lessOrEqual(t, 690), score, mul(min(t, 1e300), -1e-303)),
		risen: mul(score, Math.LN10),
	};
}

/** Intervals of the table. */
const INTERVALS = 1024;
/** Terms of the fraction. */
const TERMS = 16;
/** The table's end in means of the gamma, and at least in its scales. */
const [MEANS, SCALES] = [64, 64];

const endOf = ({ shape }: Gamma): number =>
	Math.cbrt(Math.max(MEANS, SCALES / shape));

function gammaOf(chosen: Chosen, of: (id: string) => Gamma, raw: Value): Risen {
	const x = div(
		raw,
		chosen.number((id) => of(id).scale),
	);
	const k = chosen.number((id) => of(id).shape);
	const end = chosen.number((id) => endOf(of(id)));
	const w = exp(mul(log(max(div(x, k), 1e-300)), 1 / 3));
	const near = interpolated(
		chosen.pick(chosen.ids.map((id) => table(of(id)))),
		mul(min(div(w, end), 1), INTERVALS),
	);
	return {
		form: where(lessOrEqual(w, end), near, fractionOf(chosen, of, x, k)),
		risen: x,
	};
}

/** −log10 p at the ends of all intervals, and two more on either side for its slopes: [INTERVALS + 5]. */
function table(gamma: Gamma) {
	const step = endOf(gamma) / INTERVALS;
	return float64(
		[INTERVALS + 5],
		Float64Array.from({ length: INTERVALS + 5 }, (_, i) => {
			const w = Math.max(0, i - 2) * step;
			return Math.max(
				0,
				calibrate(formOf(gamma), gamma.scale * gamma.shape * w ** 3),
			); // what ranks on below 0 is less than the interpolation's error
		}),
	);
}

/** Hermite's cubic at a place in 0..INTERVALS, slopes by central differences of fourth order. */
function interpolated(values: Value, at: Value): Value {
	const index = min(cast(cast(at, "int64"), "float64"), INTERVALS - 1);
	const t = sub(at, index);
	const value = (shift: number) =>
		gather(values, cast(add(index, 2 + shift), "int64"));
	const v = [-2, -1, 0, 1, 2, 3].map(value) as [
		Value,
		Value,
		Value,
		Value,
		Value,
		Value,
	];
	const slope = (a: Value, b: Value, c: Value, d: Value) =>
		mul(add(sub(a, d), mul(sub(c, b), 8)), 1 / 12);
	const [y0, y1] = [v[2], v[3]];
	const m0 = slope(v[0], v[1], v[3], v[4]);
	const m1 = slope(v[1], v[2], v[4], v[5]);
	// y0 + t (m0 + t (3 Δ − 2 m0 − m1 + t (m0 + m1 − 2 Δ))), Δ = y1 − y0
	const rise = sub(y1, y0);
	const square = sub(mul(rise, 3), add(mul(m0, 2), m1));
	const cube = sub(add(m0, m1), mul(rise, 2));
	return add(y0, mul(t, add(m0, mul(t, add(square, mul(t, cube))))));
}

/** −log10 of Q = e^(k log x − x − log Γ(k)) / (x + 1 − k − 1(1 − k) / (x + 3 − k − ...)) (DLMF 8.9.2), from the last term back. */
function fractionOf(
	chosen: Chosen,
	of: (id: string) => Gamma,
	x: Value,
	k: Value,
): Value {
	const safe = max(x, k); // where the table counts, any number will do
	const b = (i: number) => add(sub(safe, k), 2 * i + 1);
	let fraction = b(TERMS);
	for (let i = TERMS; i > 0; i--)
		fraction = sub(b(i - 1), div(mul(sub(i, k), i), fraction));
	const density = sub(
		sub(mul(k, log(safe)), safe),
		chosen.number((id) => logGamma(of(id).shape)),
	);
	return mul(sub(log(fraction), density), Math.LOG10E);
}
