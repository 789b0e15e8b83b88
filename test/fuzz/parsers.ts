/** Every parser of bytes that come from elsewhere: a new one is an entry here. */
import type { Parser } from "./harness.ts";
import { pictures } from "./parsers/pictures.ts";
import { runs } from "./parsers/runs.ts";
import { servers } from "./parsers/servers.ts";
import { settings } from "./parsers/settings.ts";
import { weights } from "./parsers/weights.ts";

export const parsers: readonly Parser[] = [
	...settings,
	...pictures,
	...weights,
	...runs,
	...servers,
];
