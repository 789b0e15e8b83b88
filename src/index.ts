/**
 * The public API: what a program needs, and what the author of a plugin needs. Everything else may change from one version to the next.
 * docs/add-your-own-strategy.md and examples/ use it.
 */

// a run: its configuration, its folder
export {
	loadConfig,
	type LoadedConfig,
	parseConfig,
	type RunConfig,
	runDir,
} from "./config.ts";
export {
	holdsRun,
	openRun,
	readScoreFolder,
	type Run,
	type RunRecord,
	type ScoreRow,
} from "./run.ts";

// work, in a process of its own: learning, evaluating, changes to what is known, export
export type { Job, JobResult } from "./job.ts";
export { type LaunchOptions, launch } from "./launch.ts";
export type { Change } from "./teach.ts";
export type { Prediction, RunEvent, Verdict } from "./events.ts";
export { usableDevice } from "./devices.ts";

// scores of pictures, in a process of its own
export { startScorer } from "./launch.ts";
export type {
	Answered,
	LearntProduct,
	RunningScorer,
	ScorerJob,
	ScorerReady,
	Sent,
} from "./scorer.ts";

// metrics
export {
	buildResults,
	formatMatrix,
	formatResults,
	metricsCsv,
	type Results,
} from "./metrics/results.ts";

// methods of one's own
export {
	definePlugin,
	type LoadedPlugin,
	loadedPlugins,
	loadPlugins,
	type Plugin,
} from "./plugins.ts";
/** Options of a definition are a z.strictObject of this zod. */
export { z } from "zod";

// a strategy of one's own
export {
	defineStrategy,
	type Forward,
	type Probe,
	type Rehearsal,
	type RehearsalPart,
	type Rows,
	type RowStatistics,
	type SampleGraph,
	type StepGraph,
	type Strategy,
	type StrategyDefinition,
	type ViewKey,
} from "./strategies/strategy.ts";
export type { StepBuilder, StepState } from "./engine/step.ts";

// a pretext task of one's own
export {
	definePretext,
	type PretextDefinition,
	type PretextTask,
} from "./pretext/pretext.ts";
export { type MakeAnomaly, makeViews, viewOptions } from "./pretext/views.ts";

// a memory of one's own
export {
	type CrossFitted,
	defineMemory,
	type Entry,
	type Features,
	type Memory,
	type MemoryContext,
	type MemoryDefinition,
	type Pace,
	type PatchReading,
	type RawScores,
} from "./memory/memory.ts";

// a reader of one's own
export type {
	Category,
	DatasetReader,
	Image,
	LearnTask,
	ReadOptions,
	Sample,
} from "./data/task.ts";
export { listImages } from "./data/files.ts";
export { sampleOf } from "./data/mvtec.ts";
export { readImage, readMask } from "./data/image.ts";

// tensors, and nodes of a training step's graph
export {
	type AnyTensor,
	type DType,
	float32,
	float64,
	type Shape,
	type Tensor,
	type TensorDict,
	uint8,
} from "./engine/tensor.ts";
export { scalar, type Value, type ValueDict } from "./engine/graph.ts";
export {
	add,
	concat,
	crossEntropy,
	div,
	exp,
	expand,
	gather,
	log,
	logSoftmax,
	matmul,
	max,
	mean,
	min,
	mul,
	neg,
	type Operand,
	reduceMax,
	reduceSum,
	reshape,
	slice,
	softmax,
	sqrt,
	stopGradient,
	sub,
	sum,
	sumSquare,
	transpose,
	where,
} from "./engine/ops/index.ts";
export { Random } from "./random.ts";

// what there is: to be looked at; plugins add to it
export { strategies } from "./strategies/index.ts";
export { pretexts } from "./pretext/index.ts";
export { memories } from "./memory/index.ts";
export { readers } from "./data/index.ts";
export { backbones } from "./models/index.ts";
export {
	type CachedBackbone,
	importBackbone,
	listCached as listBackbones,
} from "./models/cache.ts";
export { pullBackbone, type PullOptions } from "./models/hub.ts";

// errors
export {
	type ErrorCode,
	errorCodes,
	Interrupted,
	KeepsightError,
} from "./errors.ts";
export { version } from "./version.ts";
