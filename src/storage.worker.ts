/**
 * A thread that shows that the owner of a lock lives, also while a session holds the main thread: it touches the lock through an open
 * descriptor, which stays with the file when somebody moves it aside, so a late owner never touches another's lock.
 */
import { closeSync, futimesSync } from "node:fs";
import { workerData } from "node:worker_threads";
import type { Heart } from "./storage.ts";

const { fd, beat, ended } = workerData as Heart;
do {
	try {
		futimesSync(fd, new Date(), new Date());
	} catch {} // a disk that fails for a moment; who finds the lock silent for too long takes it, and the owner is told
} while (Atomics.wait(ended, 0, 0, beat) === "timed-out");
closeSync(fd);
