/** The pretext tasks by name: the one place that knows the names. A new one is a file beside this and a word in the table. */
import { fail } from "../errors.ts";
import { cutpaste, scar, threeWay } from "./cutpaste.ts";
import { nsa } from "./nsa.ts";
import type { PretextDefinition, PretextTask } from "./pretext.ts";

export const pretexts = { cutpaste, scar, threeWay, nsa } satisfies Record<
	string,
	PretextDefinition
>;
export type PretextName = keyof typeof pretexts;

/** What a run's configuration holds: a name and that task's own options, left-out ones at their defaults. */
export interface PretextChoice {
	readonly name: string;
	readonly options?: Readonly<Record<string, unknown>>;
}

export function createPretext({
	name,
	options = {},
}: PretextChoice): PretextTask {
	if (!Object.hasOwn(pretexts, name)) {
		throw fail("UNKNOWN_NAME", {
			kind: "pretext task",
			name,
			where: "pretext.name",
			known: Object.keys(pretexts),
		});
	}
	const definition = pretexts[name as PretextName];
	return definition.create(definition.options.parse(options));
}
