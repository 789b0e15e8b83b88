/** A value that several parts of the page watch. */
import { useEffect, useState } from "preact/hooks";

export interface Store<T> {
	get(): T;
	set(value: T): void;
	/** Returns what ends the watching. */
	watch(listener: (value: T) => void): () => void;
}

export function createStore<T>(initial: T): Store<T> {
	let value = initial;
	const listeners = new Set<(value: T) => void>();
	return {
		get: () => value,
		set(next) {
			if (Object.is(next, value)) return;
			value = next;
			for (const listener of listeners) listener(next);
		},
		watch(listener) {
			listeners.add(listener);
			return () => listeners.delete(listener);
		},
	};
}

export function useStore<T>(store: Store<T>): T {
	const [value, setValue] = useState(() => store.get());
	useEffect(() => {
		setValue(() => store.get()); // it may have changed before this effect ran
		return store.watch((next) => setValue(() => next));
	}, [store]);
	return value;
}
