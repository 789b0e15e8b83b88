/** Backbones that come with the package, folders of its models/: they need neither network nor cache. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type CachedBackbone, readRecords } from "./cache.ts";

/** Of a configuration that names none. */
export const DEFAULT_BACKBONE = "keepsight-tiny";

const root = fileURLToPath(new URL("../../models", import.meta.url));

/** The folder of a name; null: none of this name is shipped. */
export function shippedFolder(name: string): string | null {
	const dir = join(root, name);
	return /^[a-z0-9-]+$/.test(name) && existsSync(dir) ? dir : null;
}

export const listShipped = (): CachedBackbone[] => readRecords(root);
