/** Reference: plain training, one task after the other, with nothing against forgetting: the lower bound. */
import { z } from "zod";
import { defineStrategy } from "./strategy.ts";

export const finetune = defineStrategy({
	title: "Finetuning",
	paper: "reference",
	options: z.strictObject({}),
	create: () => ({}),
});
