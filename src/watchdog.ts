/** A thread of the child process: ends it when the parent is gone, whatever the main thread is doing. SIGKILL, so nothing more is written. */
import { workerData } from "node:worker_threads";

const { parent } = workerData as { parent: number };
setInterval(() => {
	if (process.ppid !== parent) process.kill(process.pid, "SIGKILL");
}, 200);
