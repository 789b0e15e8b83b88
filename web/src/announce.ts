/** What a screen reader says although nothing has the focus: verdicts above all. */
import { createStore } from "./store.ts";

/** A number goes along, so that the same words twice are said twice. */
export const said = createStore({ words: "", count: 0 });

export function announce(words: string): void {
	said.set({ words, count: said.get().count + 1 });
}
