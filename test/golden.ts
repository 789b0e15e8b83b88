/** Reference values of ../shared/golden for tests, which are skipped where that folder is absent. */
import { existsSync, readFileSync } from "node:fs";
import { describe, test } from "vitest";
import type { Rows } from "../src/linalg/covariance.ts";

const dir = new URL("../../shared/golden/", import.meta.url);

/** Why a test is skipped, or false. */
export const goldenAbsent = existsSync(dir)
	? false
	: "../shared/golden is not on this machine";

/** A suite on reference values; where they are absent one skipped test that says so, since suites read files while they are collected. */
export const describeGolden = (title: string, suite: () => void): void => {
	describe(
		title,
		goldenAbsent ? () => test.skip(goldenAbsent, () => {}) : suite,
	);
};

export const goldenJson = (name: string): unknown =>
	JSON.parse(readFileSync(new URL(name, dir), "utf8"));

/** float32 tensors of a safetensors file as rows; a vector is one row. */
export function goldenRows(name: string): (tensor: string) => Rows {
	const file = readFileSync(new URL(name, dir));
	const length = Number(file.readBigUInt64LE(0));
	const header = JSON.parse(file.toString("utf8", 8, 8 + length)) as Record<
		string,
		{ shape: number[]; data_offsets: [number, number] }
	>;
	return (tensor) => {
		const entry = header[tensor];
		if (!entry) throw new Error(`${name} has no ${tensor}`);
		const [from, to] = entry.data_offsets;
		const data = Float64Array.from({ length: (to - from) / 4 }, (_, i) =>
			file.readFloatLE(8 + length + from + 4 * i),
		);
		const d = entry.shape.at(-1) ?? 1;
		return { n: data.length / d, d, data };
	};
}

/** max|a − b| / max|b| */
export function relativeError(
	a: ArrayLike<number>,
	b: ArrayLike<number>,
): number {
	if (a.length !== b.length) return Number.POSITIVE_INFINITY;
	let worst = 0;
	let scale = 0;
	for (let i = 0; i < b.length; i++) {
		const error = Math.abs((a[i] as number) - (b[i] as number));
		if (Number.isNaN(error)) return error; // passes no tolerance
		worst = Math.max(worst, error);
		scale = Math.max(scale, Math.abs(b[i] as number));
	}
	return worst / (scale || 1);
}
