/** The products, known to every page; asked for again whenever another version answers. */
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { TaskReply } from "../../src/server/api.ts";
import type { Loaded } from "./loaded.ts";

export interface Tasks {
	readonly memoryVersion: number | null;
	readonly tasks: readonly TaskReply[];
	/** The server that takes changes; null: this one does. */
	readonly replica: { readonly writer: string | null } | null;
}

export const TasksContext = createContext<Loaded<Tasks>>({
	value: null,
	problem: null,
	reload: () => {},
});

/** Whether nothing can be changed here. */
export const useReplica = (): boolean =>
	(useTasks().value?.replica ?? null) !== null;

export const useTasks = (): Loaded<Tasks> => useContext(TasksContext);
