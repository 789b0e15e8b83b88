/** All memories by their name in the configuration. */
import { dne } from "./dne.ts";
import { patches } from "./patches.ts";
import { words } from "./words.ts";

/** Every memory, by its name in a configuration. */
export const memories = { dne, patches, words };
