/** All memories by their name in the configuration. */
import { dne } from "./dne.ts";
import { patches } from "./patches.ts";
import { words } from "./words.ts";

export const memories = { dne, patches, words };
