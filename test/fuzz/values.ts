/** What holds of every value that comes out of a parser, and short words for bytes. */
import { strict as assert } from "node:assert";
import { KeepsightError } from "../../src/errors.ts";

export const utf8 = (text: string): Uint8Array => Buffer.from(text);
export const text = (bytes: Uint8Array): string =>
	Buffer.from(bytes).toString("utf8");

/** No number in it is infinite or none, at any depth; nothing in it has another prototype than it ought to. */
export function finite(value: unknown): void {
	if (typeof value === "number")
		assert(Number.isFinite(value), `it is ${value}`);
	if (typeof value !== "object" || value === null) return;
	if (!Array.isArray(value) && !ArrayBuffer.isView(value))
		assert(
			[Object.prototype, null].includes(Object.getPrototypeOf(value)),
			"another prototype",
		);
	for (const item of Object.values(value)) finite(item);
}

/** Of a clear error; null: it is none. */
export const codeOf = (error: unknown): string | null =>
	error instanceof KeepsightError ? error.code : null;
