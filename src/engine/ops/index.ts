/** Every operator of the engine, by name: what the gradient test walks. */
import { loops } from "./each.ts";
import { elementwise } from "./elementwise.ts";
import { products } from "./matmul.ts";
import { norm } from "./norm.ts";
import { reduce } from "./reduce.ts";
import { shape } from "./shape.ts";

export const ops = {
	...elementwise,
	...reduce,
	...products,
	...norm,
	...shape,
	...loops,
};

export * from "./each.ts";
export * from "./elementwise.ts";
export * from "./loss.ts";
export * from "./matmul.ts";
export * from "./norm.ts";
export * from "./reduce.ts";
export * from "./shape.ts";
