/**
 * The version that goes on answering although a newer one is there: held until a person agrees. A file beside the memory, so that it
 * outlives the server and its replicas follow it. It is there before a newer version is: whoever reads the newest version first,
 * and this afterwards, never takes one for agreed to that waits.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { fail } from "../errors.ts";
import { serverFolder } from "../run.ts";
import { readJsonObject, stableJson, writeAtomic } from "../storage.ts";

const format = 1;
const remedy = "delete it: the newest version then answers";

export class Held {
	readonly path: string;

	constructor(memDir: string) {
		this.path = join(serverFolder(memDir), "held.json");
	}

	/** null: the newest answers. */
	get version(): number | null {
		const json = readJsonObject(this.path, remedy);
		if (!json) return null;
		if (json.format !== format)
			throw fail("FORMAT_VERSION", {
				path: this.path,
				found: json.format,
				known: format,
			});
		const { version } = json;
		if (
			version !== null &&
			!(Number.isSafeInteger(version) && Number(version) > 0)
		)
			throw fail("DAMAGED", {
				path: this.path,
				problem: "its version is not a whole number",
				remedy,
			});
		return version as number | null;
	}

	/** The file stays where nothing is held: on a network share, one that is read anew is seen sooner than one that appears. */
	set version(version: number | null) {
		if (this.stamp === "" || this.version !== version)
			writeAtomic(this.path, stableJson({ format, version }));
	}

	/** Changes whenever it is written; empty: there is none. */
	get stamp(): string {
		return stampOf(this.path);
	}
}

/** Another one for every file that takes this one's place; empty: there is none. */
export function stampOf(path: string): string {
	const stat = statSync(path, { throwIfNoEntry: false });
	return stat ? `${stat.ino} ${stat.mtimeMs} ${stat.size}` : "";
}
