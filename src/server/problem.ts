/** Errors as RFC 9457 problem documents: what happened and what to do, without paths, stacks or versions. */
import { STATUS_CODES } from "node:http";
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { type ErrorCode, fail, KeepsightError } from "../errors.ts";

/** Errors that are the sender's or the moment's; every other is ours. */
export const statuses: Partial<Record<ErrorCode, number>> = {
	REQUEST_INVALID: 400,
	TASK_NAME: 400,
	THRESHOLD_UNUSABLE: 400,
	TOKEN_WRONG: 401,
	ORIGIN_REFUSED: 403,
	REPLICA: 403,
	NOT_FOUND: 404,
	UNKNOWN_NAME: 404,
	NOT_NOW: 409,
	IMAGE_TOO_LARGE: 413,
	BODY_TOO_LARGE: 413,
	IMAGE_UNREADABLE: 415,
	MEDIA_TYPE: 415,
	TOO_MANY_REQUESTS: 429,
	SERVER_BUSY: 503,
	SCORER_LOST: 503,
	REQUEST_TIMED_OUT: 503,
};

/** Bytes of a body. */
export const bodyLimit = 32 << 20;

export const mediaType = ({ headers }: FastifyRequest): KeepsightError =>
	fail("MEDIA_TYPE", { found: oneLine(headers["content-type"] ?? "none") });

/** What Fastify and its plugins refuse by themselves, in our words; null: it is our fault. */
function translated(
	error: FastifyError,
	request: FastifyRequest,
): KeepsightError | null {
	if (error instanceof KeepsightError) return error;
	if (error.validation)
		return fail("REQUEST_INVALID", { problem: oneLine(error.message) });
	const status = error.statusCode ?? 500;
	if (status === 413) return fail("BODY_TOO_LARGE", { limit: bodyLimit });
	if (status === 415 || status === 406) return mediaType(request); // 406: said to be a form, and is none
	if (status === 503)
		return fail("SERVER_BUSY", { what: "The server is stopping" });
	return status < 500
		? fail("REQUEST_INVALID", { problem: oneLine(error.message) })
		: null;
}

const oneLine = (text: string): string =>
	text.replaceAll(/\s+/g, " ").slice(0, 300);

export interface Refusals {
	readonly refused: (code: string) => void;
	/** Of what is ours, for who runs the server. */
	readonly log: (text: string) => void;
}

/** Fastify's error handler. */
export const errorHandler =
	({ refused, log }: Refusals) =>
	(error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
		const known = translated(error, request);
		const status = known ? statuses[known.code] : undefined;
		if (known && status !== undefined) {
			refused(known.code);
			if (known.code === "SERVER_BUSY" && !reply.hasHeader("retry-after"))
				void reply.header("retry-after", "1");
			if (status === 401) void reply.header("www-authenticate", "Bearer");
			return send(reply, status, known.code, known.message);
		}
		refused("INTERNAL");
		log(`${request.method} ${request.routeOptions.url ?? "?"}: ${error.stack}`);
		return send(
			reply,
			500,
			"INTERNAL",
			"Something failed that is not your fault. The server's log says more.",
		);
	};

function send(
	reply: FastifyReply,
	status: number,
	code: string,
	detail: string,
): FastifyReply {
	return reply
		.code(status)
		.header("content-type", "application/problem+json")
		.serializer(JSON.stringify)
		.send({
			type: "about:blank",
			title: STATUS_CODES[status] ?? "Error",
			status,
			detail,
			code,
		});
}
