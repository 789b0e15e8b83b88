/**
 * Loaded before the built program (NODE_OPTIONS=--import) it makes one call on the disk of the process that computes go wrong:
 * KEEPSIGHT_FAULT={"call": "renameSync", "path": "a regular expression", "at": 1, "how": "SIGKILL"}.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { isMainThread } from "node:worker_threads";

const fault = JSON.parse(process.env.KEEPSIGHT_FAULT ?? "null");
if (fault && process.send && isMainThread) {
	const { call, path, at, how } = fault;
	const real = fs[call];
	const pathOf = (first) =>
		typeof first === "number"
			? fs.readlinkSync(`/proc/self/fd/${first}`)
			: first;
	let calls = 0;
	fs[call] = (...args) => {
		const named = [args[0], args[1]].some(
			(arg, i) =>
				(i === 0 || typeof arg === "string") &&
				new RegExp(path).test(pathOf(arg)),
		);
		if (!named || ++calls < at || (calls > at && how !== "ENOSPC"))
			return real(...args);
		if (how === "ENOSPC") {
			if (call === "writeSync" && calls === at)
				return real(args[0], args[1].subarray(0, args[1].length >> 1));
			throw Object.assign(new Error(how), { code: how, syscall: call });
		}
		if (how === "hang") {
			fs.writeFileSync(fault.marker, "");
			Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
		}
		if (how === "abort") process.abort();
		if (how === "heap")
			for (const kept = []; ; ) kept.push(new Array(10_000).fill(kept.length));
		process.kill(process.pid, how);
		return real(...args);
	};
	syncBuiltinESMExports();
}
