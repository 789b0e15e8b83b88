/** Registry of the families of drawn products, in the order in which products are dealt. */
import { bottle } from "./bottle.ts";
import { fabric } from "./fabric.ts";
import { flange } from "./flange.ts";
import { kit } from "./kit.ts";
import type { Family } from "./product.ts";
import { tablet } from "./tablet.ts";

export const families: readonly Family[] = [
	fabric,
	flange,
	tablet,
	kit,
	bottle,
];
