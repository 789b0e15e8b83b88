/** All memories by their name in the configuration. */
import { dne } from "./dne.ts";

export const memories = { dne };
