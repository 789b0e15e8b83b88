/** What the gates on packages share: the lock file, and names of packages. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../project.js";

export { root };

export const lockFile = () =>
	JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));

/** "node_modules/a/node_modules/@b/c" -> "@b/c" */
export const nameOf = (path) => path.split("node_modules/").at(-1);

/** "a*" fits whatever begins with a. */
export const matches = (pattern, name) =>
	pattern.endsWith("*")
		? name.startsWith(pattern.slice(0, -1))
		: name === pattern;
