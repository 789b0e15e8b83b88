/** Where the run folders of a sweep lie, so that who ran a cell and who sums it up see the same: a shared folder, or an S3-compatible store. */
import type { RunConfig } from "../../config.ts";
import { fail } from "../../errors.ts";
import { readJsonObject } from "../../storage.ts";
import { markerPath } from "./jobs.ts";

/** The run that one start of a cell leaves. */
export interface Artefact {
	readonly study: string;
	readonly config: RunConfig;
	readonly start: string;
}

export interface Store {
	/** As jobs call it. */
	readonly name: string;
	/** Makes a study known to workers, beside the marker in its folder. */
	announce(study: string): Promise<void>;
	/** Whether a worker sees what the sweep announced; what is wrong, else null. */
	problemWith(study: string, dir: string): Promise<string | null>;
	/** After a run: puts it where the sweep finds it. */
	publish(artefact: Artefact, signal: AbortSignal): Promise<void>;
	/** Before it is counted: brings it into its run folder. */
	retrieve(artefact: Artefact): Promise<void>;
}

/** The folder that all were started in: nothing is copied. */
export const folderStore: Store = {
	name: "folder",
	announce: () => Promise.resolve(),
	async problemWith(study, dir) {
		const found = readJsonObject(markerPath(dir));
		return found?.study === study
			? null
			: `${dir} here is not the folder that the sweep writes into`;
	},
	publish: () => Promise.resolve(),
	retrieve: () => Promise.resolve(),
};

/** The store of an address: s3://BUCKET/PREFIX, or the shared folder where none is given. */
export async function openStore(url: string | undefined): Promise<Store> {
	if (url === undefined) return folderStore;
	if (!URL.canParse(url) || new URL(url).protocol !== "s3:")
		throw fail("STORE_UNUSABLE", {
			store: "of the address given", // which may hold a password
			problem: "it is no s3://BUCKET/PREFIX",
		});
	const { S3Store } = await import("./s3.ts"); // the client takes a while to load
	return new S3Store(new URL(url));
}
