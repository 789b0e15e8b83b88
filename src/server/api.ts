/** What crosses the wire of `serve`: the one source of validation, of openapi.json and of the dashboard's types. Times are ISO 8601, scores as in score files. */
import { z } from "zod";
import { verdicts } from "../events.ts";

const id = z.int().positive();
const time = z.iso.datetime();
/** A product's name; what is known decides, never the disk. */
const taskName = z.string().min(1).max(120);
const verdict = z.enum(verdicts);
const count = z.int().min(0);

/** RFC 9457. */
export const problem = z.object({
	type: z.string().describe("about:blank: the title says it all"),
	title: z.string(),
	status: z.int(),
	detail: z.string(),
	/** Stable, as in docs/errors.md. */
	code: z.string(),
});

const prediction = z.object({
	id: id.describe("its place in the history, for feedback"),
	at: time,
	/** Of the file, where the sender gave one. */
	name: z.string().nullable(),
	score: z
		.number()
		.nullable()
		.describe("−log10 of the chance that a good part scores so high"),
	threshold: z.number().nullable(),
	verdict,
	anomalous: z.boolean().nullable(),
	task: z.string().nullable().describe("null: no product fits"),
	memoryVersion: id,
	latencyMs: z.number().describe("from the whole body to the answer"),
	reason: z.string().nullable().describe("why it is unusable"),
});

export const predictQuery = z.strictObject({
	task: taskName
		.optional()
		.describe("the product that is shown; absent: it is recognised"),
	map: z
		.literal("png")
		.optional()
		.describe("also the anomaly map over the picture"),
});
export const predicted = prediction.extend({
	id: id
		.nullable()
		.describe(
			"its place in the history, for feedback; null: the history cannot be written now",
		),
	map: z
		.string()
		.nullable()
		.describe("PNG in Base64; null: not asked for, or no map of this picture"),
});
export type PredictedReply = z.output<typeof predicted>;

// ---- products ----

export const task = z.object({
	id: z.string(),
	/** Good images it was learnt from. */
	images: count,
	bytes: count,
	threshold: z.number(),
	/** Whether a person has set the threshold. */
	thresholdSet: z.boolean(),
	/** Of this server's last images of it: how many and what share reached the threshold. */
	recent: z.object({ images: count, anomalous: z.number().nullable() }),
	drift: z.object({
		/** Share of the last good images that score above the middle one of those it was learnt from; .5: nothing changed. null: too few yet. */
		share: z.number().nullable(),
		recalibrate: z.boolean(),
	}),
});
export type TaskReply = z.output<typeof task>;
export const tasksReply = z.object({
	memoryVersion: id.nullable().describe("null: nothing is learnt yet"),
	tasks: z.array(task),
	replica: z
		.object({ writer: z.string().nullable().describe("null: not said") })
		.nullable()
		.describe("the server that takes changes; null: this one does"),
});

export const product = task.extend({
	memories: z.array(z.object({ name: z.string(), bytes: count })),
	/** Of the good images it was learnt from, each as if it had not been learnt; rising. */
	goodScores: z.array(z.number()),
	/** What operators said, with the score then. */
	feedback: z.array(
		z.object({ label: z.enum(["good", "bad"]), score: z.number().nullable() }),
	),
});
export type ProductReply = z.output<typeof product>;

export const thresholdBody = z.strictObject({
	/** null: as calibrated. */
	threshold: z.number().min(0).max(300).nullable(),
});
export const thresholdFromFeedback = z.strictObject({
	/** Just below the lowest score of what operators called bad. */
	fromFeedback: z.literal(true),
});

// ---- jobs ----

export const jobKinds = [
	"learn",
	"add",
	"recalibrate",
	"forget",
	"rollback",
	"threshold",
] as const;
export const jobStates = [
	/** Takes images. */
	"open",
	"running",
	/** Odd images wait for a person. */
	"review",
	"done",
	"failed",
	"cancelled",
] as const;
export const jobBody = z.strictObject({
	name: taskName,
	kind: z.enum(["learn", "add", "recalibrate"]).default("learn"),
	/** Odd images wait for a person before anything is learnt. */
	review: z.boolean().default(false),
});
export const job = z.object({
	id: z.string(),
	kind: z.enum(jobKinds),
	task: z.string(),
	state: z.enum(jobStates),
	/** Received. */
	images: count,
	progress: z
		.object({ phase: z.string(), done: count, total: count, unit: z.string() })
		.nullable(),
	/** For people: what came of it, or why it failed. */
	message: z.string().nullable(),
	/** Images that look unlike the others; their pictures are at /v1/jobs/:id/odd/:n. */
	odd: z.array(z.object({ image: count, score: z.number() })),
	/** The version it made. */
	memoryVersion: id.nullable(),
});
export type JobReply = z.output<typeof job>;
export const jobsReply = z.object({ jobs: z.array(job) });
export const reviewBody = z.strictObject({
	/** Numbers of odd images (as they were put) that are not good; the others are. */
	refused: z.array(count).max(10_000),
});

// ---- history, feedback ----

export const historyQuery = z.strictObject({
	task: taskName.optional(),
	verdict: verdict.optional(),
	before: z.coerce.number().int().positive().optional(),
	limit: z.coerce.number().int().min(1).max(500).default(50),
});
export const historyReply = z.object({
	predictions: z.array(
		prediction.extend({
			/** Whether its picture is at /v1/history/:id/image, and its map at .../overlay. */
			image: z.boolean(),
			feedback: z.enum(["good", "bad"]).nullable(),
		}),
	),
});
export type HistoryRow = z.output<typeof historyReply>["predictions"][number];

export const feedbackBody = z.strictObject({
	prediction: id,
	label: z.enum(["good", "bad"]),
	comment: z.string().max(1000).default(""),
	/** What is really shown, where the system took it for something else. */
	task: taskName.optional(),
});
export const feedback = z.object({
	id,
	at: time,
	prediction: id,
	task: z.string().nullable(),
	label: z.enum(["good", "bad"]),
	comment: z.string(),
	verdict,
	score: z.number().nullable(),
	/** open: waits for review; applied: learnt; withdrawn: said by mistake. */
	state: z.enum(["open", "applied", "withdrawn"]),
	/** Whether its picture could still be kept. */
	image: z.boolean(),
});
export type FeedbackReply = z.output<typeof feedback>;
export const feedbackQuery = z.strictObject({
	task: taskName.optional(),
	state: z.enum(["open", "applied", "withdrawn"]).optional(),
});
export const feedbackList = z.object({ feedback: z.array(feedback) });
export const applyBody = z.strictObject({
	task: taskName,
	/** Those called good that a person has looked at. */
	ids: z.array(id).min(1).max(1000),
});

// ---- versions ----

/** What a new version would say otherwise about the kept pictures. */
export const check = z.object({
	from: id,
	images: count,
	changed: z.array(
		z.object({
			/** Of the history or of feedback. */
			prediction: id,
			task: z.string().nullable(),
			label: z.enum(["good", "bad"]).nullable(),
			before: z.object({ verdict, score: z.number().nullable() }),
			after: z.object({ verdict, score: z.number().nullable() }),
		}),
	),
});
export type Check = z.output<typeof check>;
export const versionsReply = z.object({
	active: id.nullable(),
	versions: z.array(
		z.object({
			version: id,
			/** What made it, in few words. */
			change: z.string(),
			products: count,
			state: z.enum(["active", "waiting", "earlier"]),
			check: check.nullable(),
		}),
	),
});
export type VersionsReply = z.output<typeof versionsReply>;

// ---- runs, health ----

const matrix = z.array(z.array(z.number().nullable()));
export const runsReply = z.object({
	runs: z.array(
		z.object({
			name: z.string(),
			strategy: z.string(),
			tasks: z.array(z.string()),
			/** metrics.json, where the run was evaluated: metric -> [i][j], task j after learning task i. */
			matrices: z.record(z.string(), matrix),
			summary: z.record(
				z.string(),
				z.record(z.string(), z.number().nullable()),
			),
		}),
	),
});
export type RunsReply = z.output<typeof runsReply>;

export const health = z.object({
	/** draining: no new work is taken. empty: nothing is learnt yet. */
	status: z.enum(["ok", "starting", "empty", "draining", "failing"]),
	memoryVersion: id.nullable(),
	version: z.string(),
	queue: count.describe("pictures that wait or are scored"),
	workers: count,
});

export const idParams = z.strictObject({
	id: z.coerce.number().int().positive(),
});
export const jobParams = z.strictObject({
	id: z.string().regex(/^[0-9a-f-]{36}$/),
});
export const jobImageParams = jobParams.extend({
	n: z.coerce.number().int().min(0).max(9999),
});
export const taskParams = z.strictObject({ name: taskName });

/** Server-sent events of /v1/events; the name is `event:`, the value `data:` as JSON. */
export interface Feed {
	readonly prediction: HistoryRow;
	/** Which version answers from now on, or which waits to be activated. */
	readonly version: {
		readonly active: number | null;
		readonly waiting: number | null;
	};
	/** A learning job's state changed. */
	readonly job: JobReply;
	readonly feedback: FeedbackReply;
}
