/**
 * Every parser of foreign bytes on mutated inputs: the same few cases in npm test, 10,000 others of each with npm run soak, which prints its seed
 * (KEEPSIGHT_FUZZ_SEED runs them again) and what came.
 */
import { afterAll, describe, expect, it } from "vitest";
import { fuzz, limitBytes, type Outcome, peakBytes } from "./harness.ts";
import { parsers } from "./parsers.ts";

const soak = Boolean(process.env.KEEPSIGHT_SOAK);
const seed = soak
	? Number(process.env.KEEPSIGHT_FUZZ_SEED ?? Date.now() % 1e9)
	: 1;
const SOAK = Number(process.env.KEEPSIGHT_FUZZ_CASES ?? 10_000);
const USUAL = 200;

describe(`parsers, seed ${seed}`, () => {
	const outcomes: [string, Outcome][] = [];
	afterAll(() => {
		if (soak) console.log(table(outcomes));
	});

	it.each(parsers.map((parser) => [parser.name, parser] as const))(
		"%s gives a correct value or a clear error",
		async (name, parser) => {
			const outcome = await fuzz(parser, {
				cases: soak ? SOAK : (parser.cases ?? USUAL),
				seed,
			});
			outcomes.push([name, outcome]);
			expect(peakBytes(), "bytes of memory").toBeLessThan(limitBytes);
		},
		3_600_000,
	);
});

const table = (outcomes: readonly (readonly [string, Outcome])[]): string =>
	[
		`seed ${seed}`,
		"parser | cases | values | errors | slowest ms | peak RSS MB",
		...outcomes.map(([name, { cases, values, slowestMs, peakBytes: peak }]) =>
			[
				name,
				cases,
				values,
				cases - values,
				Math.round(slowestMs),
				Math.round(peak / 2 ** 20),
			].join(" | "),
		),
	].join("\n");
