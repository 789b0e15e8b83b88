/** The talk of a process that measures: it says that it is ready, then gives a line of JSON for every line that names a measurement. */
import { createInterface } from "node:readline";

export async function answerLines(
	answers: Readonly<Record<string, () => Promise<number>>>,
): Promise<never> {
	console.log(JSON.stringify("ready"));
	for await (const line of createInterface({ input: process.stdin })) {
		const answer = answers[line.trim()];
		console.log(
			JSON.stringify(answer ? await answer() : `no measurement "${line}"`),
		);
	}
	process.exit(0);
}
