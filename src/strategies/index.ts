/** Every strategy by the name a config gives it. A new one is a file beside these and a line here. */
import { finetune } from "./finetune.ts";
import { frozen } from "./frozen.ts";
import { gpm } from "./gpm.ts";
import { isolated } from "./isolated.ts";
import { joint } from "./joint.ts";
import type { StrategyDefinition } from "./strategy.ts";

export const strategies = {
	frozen,
	finetune,
	isolated,
	joint,
	gpm,
} satisfies Record<string, StrategyDefinition>;
