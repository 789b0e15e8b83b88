/**
 * Reference: one training on the union of all tasks, from the initial weights, with every image seen as often as in the sequence.
 * It bounds the pretext loss, not AUROC. Only the final row is filled; `cumulative` trains anew for every row.
 */
import { z } from "zod";
import { defineStrategy } from "./strategy.ts";

export const joint = defineStrategy({
	title: "Joint training",
	paper: "reference",
	options: z.strictObject({
		cumulative: z
			.boolean()
			.default(false)
			.describe(
				"Train anew on the union after every task, so that all rows are filled.",
			),
	}),
	startsFrom: "initial",
	joint: ({ cumulative }) => (cumulative ? "every" : "last"),
	create: () => ({}),
});
