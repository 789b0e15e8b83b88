/** The token of a server that asks for one: kept for this tab alone, until it is closed. */
import { createStore } from "./store.ts";

const key = "keepsight-token";

export const token = (): string | null => sessionStorage.getItem(key);

/** open: calls are answered. asked: the server wants a token. refused: it did not take the one it was given. */
export type Gate = "open" | "asked" | "refused";
export const gate = createStore<Gate>("open");

export function enter(value: string): void {
	sessionStorage.setItem(key, value);
	gate.set("open");
}

/** After a 401. `used`: the token that the call went with; an answer to an old one says nothing about a new one. */
export function shut(used: string | null): void {
	if (used !== token()) return;
	sessionStorage.removeItem(key);
	gate.set(used === null ? "asked" : "refused");
}
