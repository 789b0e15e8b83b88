/** The public API. */

// a run: its configuration, its folder
export { loadConfig, parseConfig, type RunConfig, runDir } from "./config.ts";
export { holdsRun, openRun, readScoreFolder } from "./run.ts";
export type { Job, JobResult } from "./job.ts";
export { type LaunchOptions, launch } from "./launch.ts";
export type { RunEvent } from "./events.ts";

// metrics
export {
	buildResults,
	formatMatrix,
	formatResults,
	metricsCsv,
	type Results,
} from "./metrics/results.ts";

// what a run can be made of: add an entry and every command knows it
export { strategies } from "./strategies/index.ts";
export { pretexts } from "./pretext/index.ts";
export { memories } from "./memory/index.ts";
export { backbones } from "./models/index.ts";
export {
	type CachedBackbone,
	importBackbone,
	listCached as listBackbones,
} from "./models/cache.ts";
export { pullBackbone, type PullOptions } from "./models/hub.ts";
export { readers } from "./data/index.ts";

// errors
export { type ErrorCode, errorCodes, KeepsightError } from "./errors.ts";
export { version } from "./version.ts";
