/** The pretext tasks by name: the one place that knows the names. A new one is a file beside this and a word in the table. */
import { registered } from "../errors.ts";
import { cutpaste, scar, threeWay } from "./cutpaste.ts";
import { nsa } from "./nsa.ts";
import type { PretextDefinition, PretextTask } from "./pretext.ts";

/** Every pretext task, by its name in a configuration. */
export const pretexts = { cutpaste, scar, threeWay, nsa } satisfies Record<
	string,
	PretextDefinition
>;

/** What a run's configuration holds: a name and that task's own options, left-out ones at their defaults. */
export interface PretextChoice {
	readonly name: string;
	readonly options?: Readonly<Record<string, unknown>>;
}

export function createPretext({
	name,
	options = {},
}: PretextChoice): PretextTask {
	const definition = registered<PretextDefinition>(
		pretexts,
		name,
		"pretext task",
		"pretext.name",
	);
	return definition.create(definition.options.parse(options));
}
