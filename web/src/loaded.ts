/** What a GET answers, asked again on demand; the earlier answer stays until the next one is there. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { get, type Problem, problemOf } from "./http.ts";

export interface Loaded<T> {
	readonly value: T | null;
	readonly problem: Problem | null;
	reload(): void;
}

export function useLoaded<T>(path: string): Loaded<T> {
	const [state, setState] = useState<{
		readonly path: string;
		readonly value: T | null;
		readonly problem: Problem | null;
	}>({ path, value: null, problem: null });
	const [round, setRound] = useState(0);
	useEffect(() => {
		const abort = new AbortController();
		get<T>(path, abort.signal).then(
			(value) => setState({ path, value, problem: null }),
			(error: unknown) => {
				if (abort.signal.aborted) return;
				setState((before) => ({
					path,
					value: before.path === path ? before.value : null,
					problem: problemOf(error),
				}));
			},
		);
		return () => abort.abort();
	}, [path, round]);
	const reload = useCallback(() => setRound((n) => n + 1), []);
	const current = state.path === path;
	return {
		value: current ? state.value : null,
		problem: current ? state.problem : null,
		reload,
	};
}
