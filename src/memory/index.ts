/** All memories by their name in the configuration. */
import { dne } from "./dne.ts";
import { patches } from "./patches.ts";

export const memories = { dne, patches };
