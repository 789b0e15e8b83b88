/** Pages by the address's hash: "#/products/line%201" -> ["products", "line 1"]. */
import { createStore } from "./store.ts";

const read = (): readonly string[] => {
	const parts = location.hash.replace(/^#\/?/, "").split("/");
	try {
		return parts.map(decodeURIComponent);
	} catch {
		return [""]; // a percent sign that encodes nothing
	}
};

export const route = createStore(read());
addEventListener("hashchange", () => route.set(read()));

export const hrefOf = (...parts: readonly string[]): string =>
	`#/${parts.map(encodeURIComponent).join("/")}`;

export function go(...parts: readonly string[]): void {
	location.hash = hrefOf(...parts);
}
