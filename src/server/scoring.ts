/** Routes that score, and what was scored: predict, history, events, feedback. */
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { fail, KeepsightError } from "../errors.ts";
import {
	applyBody,
	type FeedbackReply,
	feedback,
	feedbackBody,
	feedbackList,
	feedbackQuery,
	historyQuery,
	historyReply,
	idParams,
	job,
	predicted,
	predictQuery,
} from "./api.ts";
import { type Plant, soleTask } from "./plant.ts";
import { mediaType } from "./problem.ts";
import { problems, type Typed } from "./typed.ts";

/** Endings of pictures, for openapi.json. */
const pictures = [
	"image/png",
	"image/jpeg",
	"image/webp",
	"image/bmp",
	"image/tiff",
	"application/octet-stream",
	"multipart/form-data",
];

export function addScoring(app: Typed, plant: Plant): void {
	app.post(
		"/v1/predict",
		{
			schema: {
				summary: "Score one picture",
				description: "The picture is the body, or the one file of a form.",
				consumes: pictures,
				body: z.any(),
				querystring: predictQuery,
				response: { 200: predicted, ...problems },
			},
		},
		async (request, reply) => {
			const { bytes, name } = await pictureIn(request);
			const { task = null, map } = request.query;
			const { prediction, overlay } = await plant.predict(bytes, {
				name,
				task,
				overlay: map !== undefined,
				signal: whileConnected(reply),
			});
			return {
				...prediction,
				map: overlay && Buffer.from(overlay).toString("base64"),
			};
		},
	);

	app.get(
		"/v1/history",
		{
			schema: {
				summary: "What was scored, the newest first",
				querystring: historyQuery,
				response: { 200: historyReply, ...problems },
			},
		},
		async ({ query }) => ({
			predictions: plant.history.list(query).map((row) => plant.seen(row)),
		}),
	);

	const rowOf = (id: number) => {
		const row = plant.history.get(id);
		if (!row) throw fail("NOT_FOUND", { what: "prediction of this number" });
		return row;
	};
	const imageOf = (id: number) => {
		const image = plant.imageOf(id);
		if (!image)
			throw fail("NOT_FOUND", {
				what: "picture of this prediction, or not any more: --keep-images keeps them",
			});
		return image;
	};

	app.get(
		"/v1/history/:id/image",
		{
			schema: {
				summary: "The picture of a prediction, as it was sent",
				params: idParams,
				response: problems,
			},
		},
		async ({ params: { id } }, reply) => {
			const image = imageOf(id);
			return sendPicture(reply, image, typeOf(image));
		},
	);

	app.get(
		"/v1/history/:id/overlay",
		{
			schema: {
				summary:
					"Its anomaly map over the picture, as the version says that answers now",
				params: idParams,
				response: problems,
			},
		},
		async ({ params: { id } }, reply) => {
			const image = imageOf(id);
			const task = plant.history.get(id)?.task ?? null;
			const known = plant.products.some((product) => product.id === task);
			const { overlay } = await plant.score(image, {
				task: known ? task : null,
				overlay: true,
				signal: whileConnected(reply),
			});
			if (!overlay)
				throw fail("NOT_FOUND", { what: "anomaly map of this picture" });
			return sendPicture(reply, overlay, "image/png");
		},
	);

	app.get(
		"/v1/events",
		{
			schema: {
				summary: "Server-sent events: prediction, feedback, job, version",
				produces: ["text/event-stream"],
				response: problems,
			},
		},
		(request, reply) => {
			plant.hub.watch(reply, lastEventOf(request));
		},
	);

	const saidOf = (id: number) => {
		const said = plant.history.feedbackOf(id);
		if (!said) throw fail("NOT_FOUND", { what: "feedback of this number" });
		return said;
	};

	/** What is dark, empty or cannot be read has nothing to be learnt; what is blurred may be as the part is. */
	const unusable = (prediction: number): boolean => {
		const row = plant.history.get(prediction);
		return row?.verdict === "unusable" && row.reason !== "blurred";
	};

	/** Numbers of feedback that is being learnt. */
	const learning = new Set<number>();
	const checkOpen = ({ id, state }: FeedbackReply) => {
		if (state === "applied" || learning.has(id))
			throw fail("NOT_NOW", {
				what: `Feedback ${id} cannot be changed`,
				state:
					state === "applied"
						? "it was learnt; roll back to the version before"
						: "it is being learnt",
			});
	};

	app.post(
		"/v1/feedback",
		{
			schema: {
				summary: "Say that a prediction was wrong or right",
				body: feedbackBody,
				response: { 200: feedback, ...problems },
			},
		},
		async ({ body }) => {
			const row = rowOf(body.prediction);
			const task = body.task ?? row.task;
			if (body.task !== undefined) plant.product(body.task);
			const before = plant.history.feedbackTo(row.id);
			if (before) checkOpen(before);
			const said = plant.history.addFeedback(
				row,
				{
					label: body.label,
					comment: body.comment,
					task,
					image: plant.imageOf(row.id),
				},
				Date.now(),
			);
			plant.hub.publish("feedback", said);
			return said;
		},
	);

	app.get(
		"/v1/feedback",
		{
			schema: {
				summary: "What operators said, the newest first",
				querystring: feedbackQuery,
				response: { 200: feedbackList, ...problems },
			},
		},
		async ({ query }) => ({ feedback: plant.history.feedback(query) }),
	);

	app.delete(
		"/v1/feedback/:id",
		{
			schema: {
				summary: "Withdraw feedback that was not learnt yet",
				params: idParams,
				response: { 200: feedback, ...problems },
			},
		},
		async ({ params: { id } }) => {
			checkOpen(saidOf(id));
			plant.history.setFeedback([id], "withdrawn");
			const said = saidOf(id);
			plant.hub.publish("feedback", said);
			return said;
		},
	);

	app.post(
		"/v1/feedback/apply",
		{
			schema: {
				summary: "Learn the pictures that operators called good",
				body: applyBody,
				response: { 202: job, ...problems },
			},
		},
		async ({ body: { task, ids } }, reply) => {
			const images = new Map(
				[...new Set(ids)].map((id, n) => {
					const said = saidOf(id);
					const why =
						said.task !== task
							? `it is of ${said.task ?? "no product"}`
							: said.label !== "good"
								? "it was called bad"
								: learning.has(id)
									? "it is being learnt"
									: said.state !== "open"
										? `it is ${said.state}`
										: !said.image
											? "its picture was not kept"
											: unusable(said.prediction)
												? "its picture is unusable"
												: null;
					if (why !== null)
						throw fail("NOT_NOW", {
							what: `Feedback ${id} cannot be learnt`,
							state: why,
						});
					return [n, () => plant.imageOf(said.prediction)] as const;
				}),
			);
			const started = plant.jobs.change("add", soleTask(plant, task), images, {
				done: () => plant.history.setFeedback(ids, "applied"),
				ended: () => {
					for (const id of ids) learning.delete(id);
				},
			});
			for (const id of ids) learning.add(id);
			return reply.code(202).send(started);
		},
	);
}

/** The body, or the one file of a form. */
async function pictureIn(
	request: FastifyRequest,
): Promise<{ readonly bytes: Uint8Array; readonly name: string | null }> {
	if (request.isMultipart()) return fileIn(request);
	if (Buffer.isBuffer(request.body)) return { bytes: request.body, name: null };
	throw mediaType(request);
}

async function fileIn(
	request: FastifyRequest,
): Promise<{ readonly bytes: Uint8Array; readonly name: string | null }> {
	try {
		const files = request.files();
		const { value: file } = await files.next();
		if (!file)
			throw fail("REQUEST_INVALID", { problem: "the form holds no file" });
		const bytes = await file.toBuffer();
		await files.next(); // more than one is an error of the limits
		return { bytes, name: file.filename.slice(0, 255) || null };
	} catch (error) {
		const { statusCode } = error as FastifyError;
		if (statusCode !== undefined || error instanceof KeepsightError)
			throw error;
		throw fail("REQUEST_INVALID", { problem: "the form cannot be read" }); // no boundary, an early end
	}
}

/** Aborted when the client goes before it is answered. */
export function whileConnected(reply: FastifyReply): AbortSignal {
	const controller = new AbortController();
	reply.raw.once("close", () => {
		if (!reply.raw.writableFinished)
			controller.abort(
				fail("REQUEST_INVALID", { problem: "the client is gone" }),
			);
	});
	return controller.signal;
}

export const lastEventOf = ({
	headers,
}: FastifyRequest): string | undefined => {
	const value = headers["last-event-id"];
	return typeof value === "string" ? value : undefined;
};

export const sendPicture = (
	reply: FastifyReply,
	bytes: Uint8Array,
	type: string,
): FastifyReply =>
	reply
		.header("content-type", type)
		.header("cache-control", "private, max-age=60")
		.send(Buffer.from(bytes));

/** Of a picture that was let in, from its first bytes. */
function typeOf(bytes: Uint8Array): string {
	const [a, b] = bytes;
	if (a === 0x89) return "image/png";
	if (a === 0xff) return "image/jpeg";
	if (a === 0x52) return "image/webp";
	return a === 0x42 && b === 0x4d ? "image/bmp" : "image/tiff";
}
