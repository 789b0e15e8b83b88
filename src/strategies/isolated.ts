/** Reference: each task alone from the initial weights, which it keeps: the ceiling of plasticity, at the price of a network a task. */
import { z } from "zod";
import { defineStrategy } from "./strategy.ts";

export const isolated = defineStrategy({
	title: "Isolated networks",
	paper: "reference",
	options: z.strictObject({}),
	startsFrom: "initial",
	weightsPerTask: true,
	create: () => ({}),
});
