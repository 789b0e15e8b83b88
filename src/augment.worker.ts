/** One thread of the augmenter: takes a share of a batch, writes its views into the shared output, answers with the id. */
import { parentPort, workerData } from "node:worker_threads";
import {
	makeJobs,
	viewImages,
	type WorkerReply,
	type WorkerRequest,
	type WorkerSetup,
} from "./augment.ts";
import { KeepsightError } from "./errors.ts";
import { createPretext } from "./pretext/index.ts";

const {
	pretext: choice,
	plugins,
	shape,
	memory,
	seed,
} = workerData as WorkerSetup;
if (plugins.length > 0)
	await (await import("./plugins.ts")).loadPlugins(plugins); // with all registries, which others need not wait for
const pretext = createPretext(choice);
const images = viewImages(memory, shape);

parentPort?.on("message", ({ id, jobs, output, offset }: WorkerRequest) => {
	let reply: WorkerReply = { id };
	try {
		makeJobs(pretext, images, seed, jobs, new Uint8Array(output, offset));
	} catch (e) {
		const error = e instanceof Error ? e : new Error(String(e));
		reply = {
			id,
			error: {
				message: error.message,
				...(error.stack && { stack: error.stack }),
				...(e instanceof KeepsightError && { code: e.code }),
			},
		};
	}
	parentPort?.postMessage(reply);
});
