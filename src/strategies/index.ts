/** Every strategy by the name a config gives it. A new one is a file beside these and a line here. */
import { der, derPlusPlus } from "./der.ts";
import { ewc } from "./ewc.ts";
import { finetune } from "./finetune.ts";
import { frozen } from "./frozen.ts";
import { gpm } from "./gpm.ts";
import { isolated } from "./isolated.ts";
import { joint } from "./joint.ts";
import { lwf } from "./lwf.ts";
import { replay } from "./replay.ts";
import { si } from "./si.ts";
import type { StrategyDefinition } from "./strategy.ts";

/** Every strategy, by its name in a configuration. */
export const strategies = {
	frozen,
	finetune,
	isolated,
	joint,
	ewc,
	si,
	replay,
	der,
	"der++": derPlusPlus,
	lwf,
	gpm,
} satisfies Record<string, StrategyDefinition>;
