/** Server-sent events (WHATWG HTML, section 9.2): what happens, to whoever watches. A viewer that does not keep up is let go, and comes back with the number of the last event it saw. */
import type { ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";
import { busy } from "./pool.ts";

/** Events kept for viewers that come back. */
const KEPT = 200;
const VIEWERS = 1000;
/** Bytes that may wait for a viewer. */
const BACKLOG = 1_000_000;
const HEARTBEAT_MS = 15_000;

interface Event {
	readonly id: number;
	readonly name: string;
	readonly value: unknown;
}

/** Which events a viewer is sent. */
interface Only<Value> {
	readonly name: string;
	/** Sent at once. */
	readonly first: Value;
	readonly wanted: (value: Value) => boolean;
}

/** Events of `Events`: by name, what is sent as JSON. */
export class Hub<Events extends object> {
	readonly #viewers = new Map<ServerResponse, (event: Event) => boolean>();
	readonly #kept: Event[] = [];
	readonly #heartbeat: NodeJS.Timeout;
	#events = 0;

	constructor() {
		this.#heartbeat = setInterval(() => {
			for (const raw of this.#viewers.keys()) raw.write(":\n\n");
		}, HEARTBEAT_MS);
		this.#heartbeat.unref();
	}

	get viewers(): number {
		return this.#viewers.size;
	}

	publish<Name extends keyof Events & string>(
		name: Name,
		value: Events[Name],
	): void {
		const event = { id: ++this.#events, name, value };
		this.#kept.push(event);
		if (this.#kept.length > KEPT) this.#kept.shift();
		const text = textOf(event);
		for (const [raw, wants] of this.#viewers) {
			if (wants(event)) raw.write(text);
			if (raw.writableLength > BACKLOG) raw.destroy();
		}
	}

	/** Answers with all that comes, after what came since the event of this number; or with some events only. */
	watch<Name extends keyof Events & string>(
		reply: FastifyReply,
		lastEventId: string | undefined,
		only?: Only<Events[Name]> & { readonly name: Name },
	): void {
		if (this.#viewers.size >= VIEWERS)
			throw busy("Too many viewers watch already");
		reply.hijack();
		const { raw } = reply;
		raw.writeHead(200, {
			...(reply.getHeaders() as Record<string, string>),
			"content-type": "text/event-stream",
			"cache-control": "no-store",
			connection: "close",
		});
		raw.write("retry: 2000\n\n");
		const wants = ({ name, value }: Event) =>
			!only || (name === only.name && only.wanted(value as Events[Name]));
		const seen = Number(lastEventId);
		if (lastEventId !== undefined && Number.isSafeInteger(seen)) {
			for (const event of this.#kept)
				if (event.id > seen && wants(event)) raw.write(textOf(event));
		}
		if (only)
			raw.write(
				textOf({ id: this.#events, name: only.name, value: only.first }),
			);
		this.#viewers.set(raw, wants);
		raw.on("error", () => this.#viewers.delete(raw));
		raw.on("close", () => this.#viewers.delete(raw));
	}

	/** Lets all viewers go. */
	close(): void {
		clearInterval(this.#heartbeat);
		for (const raw of this.#viewers.keys()) raw.end();
		this.#viewers.clear();
	}
}

/** JSON has no line breaks. */
const textOf = ({ id, name, value }: Event): string =>
	`id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(value)}\n\n`;
