/** Tells MLflow of the runs of a command, where their configuration names a server. */
import { type RunConfig, runDir } from "../config.ts";
import type { RunEvent } from "../events.ts";
import { type Shipper, shipperOf } from "../tracking/mlflow.ts";

/** To send the rest when a command has done its work, of all its runs together. */
const PATIENCE_MS = 10_000;

export interface Tracking {
	/** An event of the run of this configuration. */
	onEvent(event: RunEvent, config: RunConfig): void;
	/** For when no run goes on any more. `others`: finished before, which may have something left to tell. */
	close(others?: readonly RunConfig[]): Promise<void>;
}

/** `notice`: for what could not be sent. */
export function createTracking(
	notice: (text: string) => void,
	patienceMs = PATIENCE_MS,
): Tracking {
	const shippers = new Map<string, Shipper>();
	const follow = (config: RunConfig) => {
		const dir = runDir(config);
		const shipper = shippers.has(dir) ? null : shipperOf(config, dir);
		if (shipper) shippers.set(dir, shipper);
	};
	return {
		onEvent(event, config) {
			if (event.type === "opened") {
				follow(config); // before, another process may be at it, and tells of it itself
				for (const shipper of shippers.values()) shipper.poke(); // the last lines of those that have ended
			}
			shippers.get(runDir(config))?.poke();
		},
		async close(others = []) {
			for (const config of others) follow(config);
			const deadline = performance.now() + patienceMs;
			let lines = 0;
			const behind: string[] = [];
			let problem = "";
			for (const [dir, shipper] of shippers) {
				const unsent = await shipper.close(
					Math.max(0, deadline - performance.now()),
				);
				if (!unsent) continue;
				lines += unsent.lines;
				behind.push(dir);
				problem ||= unsent.problem;
			}
			if (behind.length > 0)
				notice(
					`MLflow has not been told everything (${problem}): ${lines} lines wait in log.jsonl of ${behind.length === 1 ? behind[0] : `${behind.length} runs, such as ${behind[0]}`}. The same command sends them (train: with --resume, also when the run is finished).`,
				);
		},
	};
}
