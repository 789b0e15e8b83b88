/** Server-sent events by fetch, since EventSource cannot send a token. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html */
import { request } from "./http.ts";

interface ServerEvent {
	readonly name: string;
	readonly data: unknown;
}

/** Events as they come, until the server ends the answer or the signal the wait. `opened` is called when it begins. */
export async function* streamOf(
	path: string,
	signal: AbortSignal,
	opened: () => void = () => {},
): AsyncGenerator<ServerEvent> {
	const { body } = await request("GET", path, {
		signal,
		headers: { accept: "text/event-stream" },
	});
	if (!body) return;
	opened();
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	for (;;) {
		const { done, value } = await reader
			.read()
			.catch(() => ({ done: true, value: undefined }));
		if (done || value === undefined) return;
		const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
		rest = blocks.pop() ?? "";
		for (const block of blocks) {
			const event = parse(block);
			if (event) yield event;
		}
	}
}

/** A block without data is a comment that keeps the line open. */
function parse(block: string): ServerEvent | null {
	let name = "message";
	const data: string[] = [];
	for (const line of block.split("\n")) {
		const [, field, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
		if (field === "event" && value !== undefined) name = value;
		if (field === "data" && value !== undefined) data.push(value);
	}
	return data.length === 0
		? null
		: { name, data: JSON.parse(data.join("\n")) as unknown };
}
