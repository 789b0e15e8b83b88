/** What crosses the wire of `serve`: the one source of validation, of openapi.json and of the dashboard's types. Times are ISO 8601, scores as in score files. */
import { z } from "zod";
import { verdicts } from "../events.ts";

const id = z.int().positive();
const time = z.iso.datetime().describe("when");
/** A product's name; what is known decides, never the disk. */
const taskName = z.string().min(1).max(120).describe("the product's name");
const verdict = z
	.enum(verdicts)
	.describe(
		"unsure: near the threshold; unknown: no product fits; unusable: no picture to judge",
	);
const count = z.int().min(0);
const label = z.enum(["good", "bad"]);

/** RFC 9457. */
export const problem = z.object({
	type: z.string().describe("about:blank: the title says it all"),
	title: z.string().describe("the status in words"),
	status: z.int().describe("that of the answer"),
	detail: z.string().describe("what happened and what to do, for people"),
	code: z.string().describe("stable, as in docs/errors.md"),
});

const prediction = z.object({
	id: id.describe("its place in the history, for feedback"),
	at: time,
	name: z
		.string()
		.nullable()
		.describe("of the file, where the sender gave one"),
	score: z
		.number()
		.nullable()
		.describe("−log10 of the chance that a good part scores so high"),
	threshold: z
		.number()
		.nullable()
		.describe("the score from which parts of this product are rejected"),
	verdict,
	anomalous: z
		.boolean()
		.nullable()
		.describe(
			"whether the score reaches the threshold, near it or not; null: unusable, and so are score and threshold",
		),
	task: z.string().nullable().describe("null: no product fits"),
	memoryVersion: id.describe("the version of the memory that answered"),
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
	id: z.string().describe("the product's name"),
	images: count.describe("good images it was learnt from"),
	bytes: count.describe("what is kept of it"),
	threshold: z.number().describe("the score from which its parts are rejected"),
	thresholdSet: z.boolean().describe("whether a person has set the threshold"),
	recent: z
		.object({
			images: count.describe("how many"),
			anomalous: z
				.number()
				.nullable()
				.describe("the share that reached the threshold; null: none was seen"),
		})
		.describe("of this server's last images of it"),
	drift: z
		.object({
			share: z
				.number()
				.nullable()
				.describe(
					"share of the last good images that score above the middle one of those it was learnt from; .5: nothing changed. null: too few yet",
				),
			recalibrate: z
				.boolean()
				.describe("whether new good pictures should set its scale anew"),
		})
		.describe("whether parts still look as those it was learnt from"),
});
export type TaskReply = z.output<typeof task>;
export const tasksReply = z.object({
	memoryVersion: id.nullable().describe("null: nothing is learnt yet"),
	tasks: z.array(task).describe("in the order they were learnt"),
	replica: z
		.object({ writer: z.string().nullable().describe("null: not said") })
		.nullable()
		.describe("the server that takes changes; null: this one does"),
});

export const product = task.extend({
	memories: z
		.array(
			z.object({
				name: z.string().describe("as in the configuration"),
				bytes: count.describe("what it keeps of the product"),
			}),
		)
		.describe("what its parts are held against"),
	goodScores: z
		.array(z.number())
		.describe(
			"of the good images it was learnt from, each as if it had not been learnt; rising",
		),
	feedback: z
		.array(
			z.object({
				label: label.describe("what the part is"),
				score: z.number().nullable().describe("what it scored then"),
			}),
		)
		.describe("what operators said"),
});
export type ProductReply = z.output<typeof product>;

export const thresholdBody = z.strictObject({
	threshold: z
		.number()
		.min(0)
		.max(300)
		.nullable()
		.describe("null: as calibrated"),
});
export const thresholdFromFeedback = z.strictObject({
	fromFeedback: z
		.literal(true)
		.describe("just below the lowest score of what operators called bad"),
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
	kind: z
		.enum(["learn", "add", "recalibrate"])
		.default("learn")
		.describe(
			"learn: a new product; add: more good pictures of a known one; recalibrate: its scale anew, after a lamp or a lens was changed",
		),
	review: z
		.boolean()
		.default(false)
		.describe("odd images wait for a person before anything is learnt"),
});
export const job = z.object({
	id: z.string().describe("for its addresses"),
	kind: z.enum(jobKinds).describe("what it does"),
	task: z.string().describe("the product; empty: all (rollback)"),
	state: z
		.enum(jobStates)
		.describe(
			"open: takes pictures; review: odd ones wait for a person; done, failed and cancelled are its end",
		),
	images: count.describe("received"),
	progress: z
		.object({
			phase: z.string().describe("what it does now"),
			done: count.describe("of `total`"),
			total: count.describe("in all"),
			unit: z.string().describe("of what"),
		})
		.nullable()
		.describe("null: it does not run"),
	message: z
		.string()
		.nullable()
		.describe("for people: what came of it, or why it failed"),
	odd: z
		.array(
			z.object({
				image: count.describe("the number it was put under"),
				score: z.number().describe("how odd it is"),
			}),
		)
		.describe(
			"images that look unlike the others; their pictures are at /v1/jobs/:id/odd/:n",
		),
	memoryVersion: id.nullable().describe("the version it made"),
});
export type JobReply = z.output<typeof job>;
export const jobsReply = z.object({
	jobs: z.array(job).describe("the newest first"),
});
export const reviewBody = z.strictObject({
	refused: z
		.array(count)
		.max(10_000)
		.describe(
			"numbers of odd images (as they were put) that are not good; the others are",
		),
});

// ---- history, feedback ----

export const historyQuery = z.strictObject({
	task: taskName.optional().describe("of this product alone"),
	verdict: verdict.optional().describe("of this verdict alone"),
	before: z.coerce
		.number()
		.int()
		.positive()
		.optional()
		.describe("older than the prediction of this number"),
	limit: z.coerce
		.number()
		.int()
		.min(1)
		.max(500)
		.default(50)
		.describe("so many"),
});
export const historyReply = z.object({
	predictions: z
		.array(
			prediction.extend({
				image: z
					.boolean()
					.describe(
						"whether its picture is at /v1/history/:id/image, and its map at .../overlay",
					),
				feedback: label
					.nullable()
					.describe("what an operator said of it; null: nothing"),
			}),
		)
		.describe("the newest first"),
});
export type HistoryRow = z.output<typeof historyReply>["predictions"][number];

export const feedbackBody = z.strictObject({
	prediction: id.describe("its place in the history"),
	label: label.describe("what the part is"),
	comment: z.string().max(1000).default("").describe("why, for people"),
	task: taskName
		.optional()
		.describe(
			"what is really shown, where the system took it for something else",
		),
});
export const feedback = z.object({
	id: id.describe("its number"),
	at: time,
	prediction: id.describe("what it is about: a place in the history"),
	task: z.string().nullable().describe("the product that is shown"),
	label: label.describe("what the part is"),
	comment: z.string().describe("why, for people"),
	verdict,
	score: z.number().nullable().describe("what it scored then"),
	state: z
		.enum(["open", "applied", "withdrawn"])
		.describe(
			"open: waits for review; applied: learnt; withdrawn: said by mistake",
		),
	image: z.boolean().describe("whether its picture could still be kept"),
});
export type FeedbackReply = z.output<typeof feedback>;
export const feedbackQuery = z.strictObject({
	task: taskName.optional().describe("of this product alone"),
	state: z
		.enum(["open", "applied", "withdrawn"])
		.optional()
		.describe("in this state alone"),
});
export const feedbackList = z.object({
	feedback: z.array(feedback).describe("the newest first"),
});
export const applyBody = z.strictObject({
	task: taskName,
	ids: z
		.array(id)
		.min(1)
		.max(1000)
		.describe("those called good that a person has looked at"),
});

// ---- versions ----

/** What a new version would say otherwise about the kept pictures. */
const judged = z.object({
	verdict,
	score: z.number().nullable().describe("null: unusable"),
});
export const check = z.object({
	from: id.describe("the version it was compared with"),
	images: count.describe("pictures that both scored"),
	changed: z
		.array(
			z.object({
				prediction: id.describe("of the history or of feedback"),
				task: z.string().nullable().describe("the product"),
				label: label
					.nullable()
					.describe("what an operator said of it; null: nothing"),
				before: judged.describe("by the version that answers"),
				after: judged.describe("by this one"),
			}),
		)
		.describe("pictures of which it says something else"),
});
export type Check = z.output<typeof check>;
export const versionsReply = z.object({
	active: id.nullable().describe("the one that answers; null: none yet"),
	versions: z
		.array(
			z.object({
				version: id.describe("its number"),
				change: z.string().describe("what made it, in few words"),
				products: count.describe("that it knows"),
				state: z
					.enum(["active", "waiting", "earlier"])
					.describe("waiting: a person has to activate it"),
				check: check
					.nullable()
					.describe(
						"what it says otherwise of the kept pictures; null: it was not compared",
					),
			}),
		)
		.describe("the newest first"),
});
export type VersionsReply = z.output<typeof versionsReply>;

// ---- runs, health ----

const matrix = z.array(z.array(z.number().nullable()));
export const runsReply = z.object({
	runs: z
		.array(
			z.object({
				name: z.string().describe("of the run"),
				strategy: z.string().describe("that it was trained with"),
				tasks: z.array(z.string()).describe("in the order they were learnt"),
				matrices: z
					.record(z.string(), matrix)
					.describe(
						"metrics.json, where the run was evaluated: metric -> [i][j], task j after learning task i",
					),
				summary: z
					.record(z.string(), z.record(z.string(), z.number().nullable()))
					.describe("metric -> average, forgetting, ..."),
			}),
		)
		.describe("this one first"),
});
export type RunsReply = z.output<typeof runsReply>;

export const health = z.object({
	status: z
		.enum(["ok", "starting", "empty", "draining", "failing"])
		.describe("draining: no new work is taken. empty: nothing is learnt yet"),
	memoryVersion: id
		.nullable()
		.describe("the version that answers; null: none yet"),
	version: z.string().describe("of Keepsight"),
	queue: count.describe("pictures that wait or are scored"),
	workers: count.describe("processes that score"),
});

export const idParams = z.strictObject({
	id: z.coerce.number().int().positive().describe("the number"),
});
export const jobParams = z.strictObject({
	id: z
		.string()
		.regex(/^[0-9a-f-]{36}$/)
		.describe("as it was given when the job was opened"),
});
export const jobImageParams = jobParams.extend({
	n: z.coerce.number().int().min(0).max(9999).describe("the picture's number"),
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
