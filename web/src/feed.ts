/** The one stream of what happens, shared by all of the page, opened again whenever it breaks. */
import { useEffect, useRef } from "preact/hooks";
import type { Feed } from "../../src/server/api.ts";
import { problemOf } from "./http.ts";
import { createStore } from "./store.ts";
import { streamOf } from "./stream.ts";

/** Whether it runs now. `renewed` counts its openings: what happened in between was missed and has to be asked for. */
export const connection = createStore<{
	readonly open: boolean;
	readonly renewed: number;
}>({ open: false, renewed: 0 });

/** The version that waits to be activated. */
export const waitingVersion = createStore<number | null>(null);

type Listener = (value: never) => void;
const listeners = new Map<keyof Feed, Set<Listener>>();

/** Runs until the signal; waits 1, 2, 4 ... 15 s between tries. */
export async function runFeed(signal: AbortSignal): Promise<void> {
	let wait = 1000;
	while (!signal.aborted) {
		try {
			const opened = () => {
				wait = 1000;
				const { renewed } = connection.get();
				connection.set({ open: true, renewed: renewed + 1 });
			};
			for await (const { name, data } of streamOf("/v1/events", signal, opened))
				for (const listener of listeners.get(name as keyof Feed) ?? [])
					listener(data as never);
		} catch (error) {
			if (signal.aborted || problemOf(error).status === 401) return;
		}
		connection.set({ ...connection.get(), open: false });
		await new Promise((resolve) => setTimeout(resolve, wait));
		wait = Math.min(15_000, 2 * wait);
	}
}

export function useFeed<K extends keyof Feed>(
	kind: K,
	listener: (value: Feed[K]) => void,
): void {
	const latest = useRef(listener);
	latest.current = listener;
	useEffect(() => {
		const listen = (value: Feed[K]) => latest.current(value);
		const set = listeners.get(kind) ?? new Set();
		listeners.set(kind, set);
		set.add(listen);
		return () => {
			set.delete(listen);
		};
	}, [kind]);
}
