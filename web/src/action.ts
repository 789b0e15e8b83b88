/** Something a button starts: while it runs it cannot be started again, and what went wrong is kept to be shown. */
import { useState } from "preact/hooks";
import { type Problem, problemOf } from "./http.ts";

export interface Action {
	readonly busy: boolean;
	readonly problem: Problem | null;
	run(work: () => Promise<void>): void;
}

export function useAction(): Action {
	const [busy, setBusy] = useState(false);
	const [problem, setProblem] = useState<Problem | null>(null);
	return {
		busy,
		problem,
		run(work) {
			if (busy) return;
			setBusy(true);
			setProblem(null);
			work()
				.catch((error: unknown) => setProblem(problemOf(error)))
				.finally(() => setBusy(false));
		},
	};
}
