/** The HTTP server: what every request passes, and the routes. */
import helmet from "@fastify/helmet";
import multipart from "@fastify/multipart";
import rateLimit from "@fastify/rate-limit";
import swagger from "@fastify/swagger";
import Fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import {
	jsonSchemaTransform,
	serializerCompiler,
	validatorCompiler,
	type ZodTypeProvider,
} from "fastify-type-provider-zod";
import { fail } from "../errors.ts";
import { version } from "../version.ts";
import { addAbout } from "./about.ts";
import { type GuardOptions, guard } from "./guard.ts";
import { addLearning } from "./learning.ts";
import type { Plant } from "./plant.ts";
import { busy } from "./pool.ts";
import { bodyLimit, errorHandler } from "./problem.ts";
import { addScoring } from "./scoring.ts";

/** Bytes of all bodies that arrive or are worked on. */
const BODIES = 1 << 29;

export interface AppOptions extends GuardOptions {
	/** Requests of one address in a second. */
	readonly rate: number;
	/** At a time. */
	readonly connections: number;
	/** Time in which a request must have arrived. */
	readonly receiveMs: number;
	/** Files of the dashboard. */
	readonly web: WebFiles;
}

/** By path. */
export type WebFiles = ReadonlyMap<
	string,
	{ readonly type: string; readonly bytes: Uint8Array }
>;

/** Open without a token: they tell nothing of what is learnt or scored. */
export const isOpen = (url: string, web: WebFiles): boolean =>
	url === "/health" || web.has(url);

export async function createApp(
	plant: Plant,
	{ token, self, hosts, rate, connections, receiveMs, web }: AppOptions,
): Promise<FastifyInstance> {
	const app = Fastify({
		bodyLimit,
		forceCloseConnections: "idle",
		keepAliveTimeout: 30_000,
		requestTimeout: receiveMs,
		routerOptions: { maxParamLength: 1000 },
		http: {
			headersTimeout: Math.min(10_000, receiveMs),
			connectionsCheckingInterval: Math.min(2000, receiveMs),
			maxHeaderSize: 16_384,
		},
	});
	app.server.maxConnections = connections;
	app.setValidatorCompiler(validatorCompiler);
	app.setSerializerCompiler(serializerCompiler);
	app.setErrorHandler(
		errorHandler({
			refused: (code) => plant.meters.refused(code),
			log: plant.options.log,
		}),
	);
	const admit = guard({ token, self, hosts });
	const { replica } = plant.options;
	let arriving = 0;
	app.addHook("onRequest", async (request, reply) => {
		admit(request, isOpen(pathOf(request.url), web));
		if (replica && !request.is404 && !changesNothing(request))
			throw fail("REPLICA", replica);
		const { headers } = request;
		const bytes =
			headers["transfer-encoding"] === undefined
				? Number(headers["content-length"] ?? 0)
				: bodyLimit;
		if (bytes > bodyLimit) return; // refused in a moment
		if (arriving + bytes > BODIES)
			throw busy("More is being sent than this server takes together");
		arriving += bytes;
		reply.raw.once("close", () => {
			arriving -= bytes;
		});
	});
	app.addHook("onSend", async (_request, reply) => {
		if (plant.draining) reply.header("connection", "close"); // kept alive, it would hold up the end
	});
	await app.register(helmet, {
		contentSecurityPolicy: {
			useDefaults: false,
			directives: {
				defaultSrc: ["'self'"],
				imgSrc: ["'self'", "blob:", "data:"],
				objectSrc: ["'none'"],
				baseUri: ["'none'"],
				formAction: ["'self'"],
				frameAncestors: ["'none'"],
			},
		},
		hsts: false, // it is whoever stands before this server that speaks TLS
	});
	await app.register(rateLimit, {
		max: rate,
		timeWindow: 1000,
		allowList: ({ url }) => url === "/health",
		errorResponseBuilder: () => fail("TOO_MANY_REQUESTS", { seconds: 1 }),
	});
	app.setNotFoundHandler({ preHandler: app.rateLimit() }, async () => {
		throw fail("NOT_FOUND", { what: "such address" });
	});
	await app.register(multipart, {
		limits: {
			files: 1,
			fields: 4,
			parts: 5,
			fieldSize: 1000,
			fieldNameSize: 100,
			headerPairs: 20,
			fileSize: bodyLimit,
		},
		throwFileSizeLimit: true,
	});
	app.addContentTypeParser(
		/^(image\/|application\/octet-stream$)/,
		{ parseAs: "buffer" },
		async (_request: unknown, body: Buffer) => body,
	);
	await app.register(swagger, {
		openapi: {
			openapi: "3.1.0",
			info: {
				title: "Keepsight",
				version,
				description:
					"Scores pictures of parts with what was learnt, and learns more products.",
			},
			...(token !== null && {
				components: {
					securitySchemes: { token: { type: "http", scheme: "bearer" } },
				},
				security: [{ token: [] }],
			}),
		},
		transform: jsonSchemaTransform,
	});
	await app.register(async (scope) => {
		const typed = scope.withTypeProvider<ZodTypeProvider>();
		addScoring(typed, plant);
		addLearning(typed, plant);
		addAbout(typed, plant, web);
	});
	app.addHook("preClose", async () => plant.hub.close()); // they would never end
	return app;
}

/** A picture that is scored is noted in the server's own history alone. */
const changesNothing = ({ method, routeOptions }: FastifyRequest): boolean =>
	["GET", "HEAD"].includes(method) || routeOptions.url === "/v1/predict";

const pathOf = (url: string): string => url.split("?")[0] ?? "";
