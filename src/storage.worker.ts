/**
 * A thread that shows that the owner of a lock lives, also while a session holds the main thread: it touches the lock through an open
 * descriptor, which stays with the file when somebody moves it aside, so a late owner never touches another's lock.
 */
import { futimesSync } from "node:fs";
import { workerData } from "node:worker_threads";
import type { Heart } from "./storage.ts";

const { fd, beat, state } = workerData as Heart;
while (Atomics.compareExchange(state, 0, 0, 1) === 0) {
	try {
		futimesSync(fd, new Date(), new Date());
	} catch {} // a disk that fails for a moment; who finds the lock silent for too long takes it, and the owner is told
	Atomics.store(state, 0, 0);
	Atomics.notify(state, 0); // the main thread may wait to close the lock
	Atomics.wait(state, 0, 0, beat);
}
