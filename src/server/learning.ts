/** Routes that change what is known: products, jobs, thresholds, versions. */
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { fail } from "../errors.ts";
import { checkTaskName } from "../run.ts";
import type { LearntProduct } from "../scorer.ts";
import {
	idParams,
	job,
	jobBody,
	jobImageParams,
	jobParams,
	jobsReply,
	product,
	reviewBody,
	type TaskReply,
	taskParams,
	tasksReply,
	thresholdBody,
	thresholdFromFeedback,
	versionsReply,
} from "./api.ts";
import { type Plant, soleTask } from "./plant.ts";
import { lastEventOf, sendPicture, whileConnected } from "./scoring.ts";
import { mediaType } from "./problem.ts";
import { problems, type Typed } from "./typed.ts";

export function addLearning(app: Typed, plant: Plant): void {
	const described = (one: LearntProduct): TaskReply => ({
		id: one.id,
		images: one.images,
		bytes: one.bytes,
		threshold: one.threshold,
		thresholdSet: one.thresholdSet,
		recent: plant.meters.recentOf(one.id),
		drift: plant.meters.driftOf(one),
	});

	// ---- products ----

	app.get(
		"/v1/tasks",
		{
			schema: {
				summary: "The products that are known",
				response: { 200: tasksReply, ...problems },
			},
		},
		async () => ({
			memoryVersion: plant.pool.active?.version ?? null,
			tasks: plant.products.map(described),
			replica: plant.options.replica,
		}),
	);

	app.get(
		"/v1/tasks/:name",
		{
			schema: {
				summary: "One product (its name URL-encoded)",
				params: taskParams,
				response: { 200: product, ...problems },
			},
		},
		async ({ params: { name } }) => {
			const one = plant.product(name);
			return {
				...described(one),
				memories: [...one.memories],
				goodScores: [...one.goodScores],
				feedback: plant.history
					.feedback({ task: name })
					.filter(({ state }) => state !== "withdrawn")
					.map(({ label, score }) => ({ label, score })),
			};
		},
	);

	app.delete(
		"/v1/tasks/:name",
		{
			schema: {
				summary: "Forget a product",
				params: taskParams,
				response: { 202: job, ...problems },
			},
		},
		async ({ params: { name } }, reply) => {
			const task = soleTask(plant, name);
			return reply
				.code(202)
				.send(plant.jobs.change("forget", task, { kind: "forget", task }));
		},
	);

	app.put(
		"/v1/tasks/:name/threshold",
		{
			schema: {
				summary: "Set the score from which a product's pictures are rejected",
				params: taskParams,
				body: z.union([thresholdBody, thresholdFromFeedback]),
				response: { 202: job, ...problems },
			},
		},
		async ({ params: { name }, body }, reply) => {
			const task = soleTask(plant, name);
			const score =
				"threshold" in body
					? body.threshold
					: await lowestBad(plant, name, whileConnected(reply));
			return reply.code(202).send(
				plant.jobs.change("threshold", task, {
					kind: "threshold",
					task,
					score,
				}),
			);
		},
	);

	// ---- jobs ----

	app.post(
		"/v1/tasks",
		{
			schema: {
				summary: "Open a job that learns a product from pictures to come",
				body: jobBody,
				response: { 201: job, ...problems },
			},
		},
		async ({ body }, reply) => {
			checkJob(plant, body);
			return reply.code(201).send(plant.jobs.open(body));
		},
	);

	app.get(
		"/v1/jobs",
		{
			schema: {
				summary: "Jobs, the newest first",
				response: { 200: jobsReply, ...problems },
			},
		},
		async () => ({ jobs: [...plant.jobs.all] }),
	);

	app.get(
		"/v1/jobs/:id",
		{
			schema: {
				summary: "One job",
				params: jobParams,
				response: { 200: job, ...problems },
			},
		},
		async ({ params: { id } }) => plant.jobs.get(id),
	);

	app.put(
		"/v1/jobs/:id/images/:n",
		{
			schema: {
				summary:
					"One picture of a good part, as the body; the same number again replaces it",
				params: jobImageParams,
				consumes: ["image/png", "image/jpeg", "application/octet-stream"],
				body: z.any(),
				response: { 200: job, ...problems },
			},
		},
		async (request) => {
			const { id, n } = request.params;
			return plant.jobs.put(id, n, pictureOf(request));
		},
	);

	app.put(
		"/v1/jobs/:id/roi",
		{
			schema: {
				summary: "A picture that is white where to look",
				params: jobParams,
				consumes: ["image/png", "application/octet-stream"],
				body: z.any(),
				response: { 200: job, ...problems },
			},
		},
		async (request) => plant.jobs.putRoi(request.params.id, pictureOf(request)),
	);

	app.post(
		"/v1/jobs/:id/start",
		{
			schema: {
				summary: "Learn what was sent",
				params: jobParams,
				response: { 202: job, ...problems },
			},
		},
		async ({ params: { id } }, reply) =>
			reply.code(202).send(plant.jobs.start(id)),
	);

	app.post(
		"/v1/jobs/:id/review",
		{
			schema: {
				summary: "Say which of the odd pictures are not good, and go on",
				params: jobParams,
				body: reviewBody,
				response: { 202: job, ...problems },
			},
		},
		async ({ params: { id }, body: { refused } }, reply) =>
			reply.code(202).send(plant.jobs.decide(id, refused)),
	);

	app.get(
		"/v1/jobs/:id/odd/:n",
		{
			schema: {
				summary: "An odd picture with its anomaly map",
				params: jobImageParams,
				response: problems,
			},
		},
		async ({ params: { id, n } }, reply) =>
			sendPicture(reply, plant.jobs.odd(id, n), "image/png"),
	);

	app.delete(
		"/v1/jobs/:id",
		{
			schema: {
				summary: "Stop a job; what was learnt before is unchanged",
				params: jobParams,
				response: { 200: job, ...problems },
			},
		},
		async ({ params: { id } }) => plant.jobs.cancel(id),
	);

	app.get(
		"/v1/jobs/:id/events",
		{
			schema: {
				summary: "Server-sent events: job, whenever it changes",
				params: jobParams,
				produces: ["text/event-stream"],
				response: problems,
			},
		},
		(request, reply) => {
			const { id } = request.params;
			plant.jobs.get(id);
			plant.hub.watch(reply, lastEventOf(request), {
				name: "job",
				first: plant.jobs.get(id),
				wanted: (value) => value.id === id,
			});
		},
	);

	// ---- versions ----

	app.get(
		"/v1/versions",
		{
			schema: {
				summary: "Versions of the memory, the newest first",
				response: { 200: versionsReply, ...problems },
			},
		},
		async () => plant.versions.list(),
	);

	app.post(
		"/v1/versions/:id/activate",
		{
			schema: {
				summary: "Let a version answer: the one that waits, or an earlier one",
				params: idParams,
				response: { 200: versionsReply, 202: job, ...problems },
			},
		},
		async ({ params: { id } }, reply) => {
			const versions = plant.versions.list();
			const wanted = versions.versions.find(({ version }) => version === id);
			if (!wanted) throw fail("NOT_FOUND", { what: "version of this number" });
			if (id === versions.versions[0]?.version) {
				await plant.versions.activate();
				return reply.code(200).send(plant.versions.list());
			}
			return reply.code(202).send(
				plant.jobs.change(
					"rollback",
					"",
					{ kind: "rollback", to: id },
					{
						done: () => plant.versions.activate(),
					},
				),
			);
		},
	);
}

/** Before many pictures are sent for nothing. */
function checkJob(
	plant: Plant,
	{ name, kind, review }: z.output<typeof jobBody>,
): void {
	if (kind !== "learn") {
		plant.product(name);
		if (review)
			throw fail("REQUEST_INVALID", {
				problem: "review belongs to the kind learn",
			});
		return;
	}
	checkTaskName(name);
	if (plant.products.some(({ id }) => id === name))
		throw fail("NOT_NOW", {
			what: `${JSON.stringify(name)} cannot be learnt`,
			state:
				"it is learnt already; send more pictures of it with the kind add, or forget it first",
		});
}

/** Just below what operators called bad and the system takes for the best now. Of pictures that were not kept it is known what they scored then. */
async function lowestBad(
	plant: Plant,
	name: string,
	signal: AbortSignal,
): Promise<number> {
	const scores: number[] = [];
	for (const said of plant.history.feedback({ task: name })) {
		if (said.label !== "bad" || said.state === "withdrawn") continue;
		const bytes = plant.imageOf(said.prediction);
		const asked = { task: name, overlay: false, signal };
		const score = bytes
			? (await plant.score(bytes, asked)).prediction.score
			: said.score;
		if (score !== null) scores.push(score);
	}
	if (scores.length === 0)
		throw fail("NOT_NOW", {
			what: "There is nothing to set the threshold by",
			state: `no picture of ${name} was called bad`,
		});
	return Math.max(0, Math.min(...scores) - Math.log10(2)); // outside what is unsure
}

function pictureOf(request: FastifyRequest): Uint8Array {
	const { body } = request;
	if (!Buffer.isBuffer(body)) throw mediaType(request);
	return body;
}
