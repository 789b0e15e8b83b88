/** A self-supervised pretext task: from one normal image, one training view for every class the head tells apart. */
import type { z } from "zod";
import type { Image } from "../data/task.ts";
import type { Random } from "../random.ts";

/** What the network is trained on without any defect: telling a normal view from views with something drawn in. */
export interface PretextTask {
	/** K names; class 0 is always "normal". */
	readonly classes: readonly string[];
	/** One view per class, in the order of `classes`, each of the image's own size. `other` is another normal image of the task. */
	augment(image: Image, random: Random, other: Image): readonly Image[];
}

/** An entry of the registry of pretext tasks. */
export interface PretextDefinition<Options = unknown> {
	readonly title: string;
	readonly paper: string;
	readonly options: z.ZodType<Options>;
	create(options: Options): PretextTask;
}

/** A pretext task, its options typed by their schema. `options` is a z.strictObject; `create` gets what it parsed. */
export const definePretext = <Schema extends z.ZodType>(definition: {
	title: string;
	paper: string;
	options: Schema;
	create(options: z.output<Schema>): PretextTask;
}): PretextDefinition => definition as unknown as PretextDefinition;
