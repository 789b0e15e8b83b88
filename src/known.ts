/** What a run folder knows, to be listed. */
import { fail } from "./errors.ts";
import { Knowledge, taskIds } from "./knowledge.ts";
import { openRun, type Run, taskFolder } from "./run.ts";

export interface Product {
	readonly id: string;
	/** Good images it was learnt from. */
	readonly images: number;
	readonly bytes: number;
	/** Time it took to learn; null: not known. */
	readonly seconds: number | null;
}

export interface KeptVersion {
	readonly version: number;
	/** What made it, in few words. */
	readonly change: string;
	readonly products: number;
}

export function known(memDir: string): {
	readonly version: KeptVersion;
	readonly products: readonly Product[];
	readonly earlier: readonly KeptVersion[];
} {
	const run = openRun(memDir, "read");
	if (run.memory.version === 0) throw fail("NOTHING_LEARNT", { dir: memDir });
	const knowledge = Knowledge.load(run.memory, 1, []);
	return {
		...versionsOf(run),
		products: knowledge.tasks.map(({ id, categories }) => ({
			id,
			images: categories.reduce(
				(sum, category) => sum + knowledge.imagesOf(category),
				0,
			),
			bytes: run.memory.bytes((path) => path.startsWith(`${taskFolder(id)}/`)),
			seconds: run.record.tasks.find((task) => task.id === id)?.seconds ?? null,
		})),
	};
}

/** From manifests alone. */
export const versionsOf = ({
	memory,
}: Pick<Run, "memory">): {
	readonly version: KeptVersion;
	/** The newest first. */
	readonly earlier: readonly KeptVersion[];
} => ({
	version: described(memory),
	earlier: memory.earlier.map(described),
});

const described = ({
	version,
	meta,
}: {
	readonly version: number;
	readonly meta: Readonly<Record<string, unknown>>;
}): KeptVersion => ({
	version,
	change: typeof meta.change === "string" ? meta.change : "train",
	products: taskIds({ meta }).length,
});
