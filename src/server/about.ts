/** Routes about the server itself: health, metrics, openapi.json, runs, the dashboard's files. */
import { runFolders, runSummary } from "./runs.ts";
import { version } from "../version.ts";
import { health, type RunsReply, runsReply } from "./api.ts";
import type { WebFiles } from "./app.ts";
import type { Plant } from "./plant.ts";
import { problems, type Typed } from "./typed.ts";

/** Runs are read again after so long: they are many files. */
const RUNS_MS = 5000;

export function addAbout(app: Typed, plant: Plant, web: WebFiles): void {
	app.get(
		"/health",
		{
			schema: {
				summary: "Whether pictures can be scored",
				response: { 200: health, 503: health },
			},
		},
		async (_request, reply) => {
			const status = statusOf(plant);
			const able =
				status === "ok" ||
				(status === "empty" && plant.options.replica === null); // there is nobody to send a product to
			return reply.code(able ? 200 : 503).send({
				status,
				memoryVersion: plant.pool.active?.version ?? null,
				version,
				queue: plant.pool.pictures,
				workers: plant.pool.active?.workers ?? 0,
			});
		},
	);

	app.get(
		"/metrics",
		{ schema: { summary: "For Prometheus", produces: ["text/plain"] } },
		async (_request, reply) =>
			reply
				.header("content-type", plant.meters.registry.contentType)
				.send(await plant.meters.registry.metrics()),
	);

	app.get("/openapi.json", { schema: { hide: true } }, async () =>
		app.swagger(),
	);

	let read = Number.NEGATIVE_INFINITY;
	let found: RunsReply = { runs: [] };
	app.get(
		"/v1/runs",
		{
			schema: {
				summary: "Results of this run, and of those beside it",
				response: { 200: runsReply, ...problems },
			},
		},
		async () => {
			const { memDir, runs } = plant.options;
			const now = performance.now();
			if (now - read < RUNS_MS) return found;
			read = now;
			found = {
				runs: [
					memDir,
					...(runs === null ? [] : runFolders(runs, memDir)),
				].flatMap((dir) => runSummary(dir) ?? []),
			};
			return found;
		},
	);

	for (const [path, { type, bytes }] of web)
		app.get(path, { schema: { hide: true } }, async (_request, reply) =>
			reply
				.header("content-type", type)
				.header(
					"cache-control",
					path.startsWith("/assets/")
						? "public, max-age=31536000, immutable"
						: "no-cache",
				)
				.send(Buffer.from(bytes)),
		);
}

function statusOf({ draining, pool, versions }: Plant) {
	if (draining) return "draining";
	const { active } = pool;
	if (!active) return versions.begun ? "empty" : "starting";
	return active.workers > 0 ? "ok" : "failing";
}
