/** Fastify as its routes see it: requests and replies have the types of their schemas. */
import type {
	FastifyBaseLogger,
	FastifyInstance,
	RawReplyDefaultExpression,
	RawRequestDefaultExpression,
	RawServerDefault,
} from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { problem } from "./api.ts";

export type Typed = FastifyInstance<
	RawServerDefault,
	RawRequestDefaultExpression,
	RawReplyDefaultExpression,
	FastifyBaseLogger,
	ZodTypeProvider
>;

/** What any route may answer instead. */
export const problems = { "4xx": problem, "5xx": problem };
