/** Reference: the backbone as it came; nothing is trained. Every gain of a strategy is measured against this. */
import { z } from "zod";
import { defineStrategy } from "./strategy.ts";

export const frozen = defineStrategy({
	title: "Frozen backbone",
	paper: "reference",
	options: z.strictObject({}),
	trains: false,
	create: () => ({}),
});
