/** Results of run folders, as the dashboard shows them. */
import { readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { KeepsightError } from "../errors.ts";
import { holdsRun, openRun } from "../run.ts";
import type { RunsReply } from "./api.ts";

const leaf = "Anomaly";

/** Run folders `<dir>/<name>/Anomaly`, other than this one. */
export const runFolders = (dir: string, except: string): readonly string[] =>
	readdirSync(dir, { withFileTypes: true })
		.filter((item) => item.isDirectory())
		.map(({ name }) => join(dir, name, leaf))
		.filter((run) => run !== except && holdsRun(run))
		.sort();

type Matrices = RunsReply["runs"][number]["matrices"];
type Summary = RunsReply["runs"][number]["summary"];

/** `train` writes `<name>/Anomaly`; what `learn` makes is called as its folder. */
const nameOf = (dir: string): string =>
	basename(dir) === leaf ? basename(dirname(dir)) : basename(dir);

/** null where there is no run that can be read. */
export function runSummary(dir: string): RunsReply["runs"][number] | null {
	try {
		if (!holdsRun(dir)) return null;
		const run = openRun(dir, "read");
		const { strategy } = run.record.config as {
			readonly strategy?: { readonly name?: string };
		};
		const metrics = run.readMetrics();
		return {
			name: nameOf(resolve(dir)),
			strategy: strategy?.name ?? "",
			tasks: [...run.tasksLearnt],
			matrices: (metrics?.matrices ?? {}) as Matrices,
			summary: (metrics?.summary ?? {}) as Summary,
		};
	} catch (error) {
		if (error instanceof KeepsightError) return null;
		throw error;
	}
}
