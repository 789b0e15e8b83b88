import { describe, expect, it } from "vitest";
import type { ProgressFlags } from "../../src/commands/flags.ts";
import { createProgress, duration } from "../../src/commands/progress.ts";
import type { RunEvent } from "../../src/events.ts";

const step = (done: number, more: object = {}): RunEvent => ({
	type: "progress",
	phase: "train",
	task: "mvtec/bottle",
	taskIndex: 0,
	taskCount: 2,
	done,
	total: 100,
	unit: "steps",
	detail: "loss 0.5",
	...more,
});

/** What is written, for events at the given milliseconds. */
function written(
	isTTY: boolean,
	flags: Partial<ProgressFlags>,
	...events: [number, RunEvent][]
): string {
	let text = "";
	let now = 0;
	const progress = createProgress(
		{ color: false, ...flags },
		{ isTTY, columns: 100, write: (part) => (text += part) },
		() => now,
	);
	for (const [time, event] of events) {
		now = time;
		progress.onEvent(event);
	}
	progress.close();
	return text;
}

describe("without a terminal", () => {
	it("plain lines, every few seconds at most, with rate and time left", () => {
		const text = written(
			false,
			{},
			[0, step(0)],
			[1000, step(10)],
			[5000, step(50)],
			[5001, step(51)],
		);
		expect(text).toBe(
			"[1/2] mvtec/bottle  training  0/100 steps  loss 0.5\n[1/2] mvtec/bottle  training  50/100 steps  10.0/s  0:05 left  loss 0.5\n",
		);
	});
	it("a row names every task learnt so far", () => {
		expect(
			written(false, {}, [
				0,
				{
					type: "row",
					task: "b",
					taskIndex: 1,
					taskCount: 3,
					imageAuroc: [0.981, null, null],
				},
			]),
		).toBe("[2/3] b  learnt  image AUROC (%) of tasks 1-2: 98.1  -\n");
	});
});

describe("on a terminal", () => {
	it("redraws one line no wider than the screen and removes it at the end", () => {
		const text = written(
			true,
			{},
			[0, step(0)],
			[50, step(1)],
			[1000, step(50, { detail: "x".repeat(200) })],
		);
		const lines = text.split("\r\x1b[2K");
		expect(lines).toHaveLength(3); // the second event came too soon
		expect(lines[1]).toContain("██████████░░░░░░░░░░");
		expect(lines.at(-1)).toBe("");
		expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(100);
	});
	it("a notice stays above the line", () => {
		expect(
			written(true, {}, [0, step(0)], [10, { type: "notice", text: "hello" }]),
		).toContain("\r\x1b[2Knote: hello\n");
	});
});

describe("flags", () => {
	const epoch: RunEvent = {
		type: "epoch",
		task: "a",
		taskIndex: 0,
		epoch: 1,
		epochs: 2,
		steps: 4,
		loss: 0.5,
		accuracy: 0.75,
		seconds: 2,
		diagnostics: { freeRank: 12 },
	};
	it("--quiet: nothing", () => {
		expect(
			written(
				false,
				{ quiet: true },
				[0, step(0)],
				[1, { type: "notice", text: "x" }],
			),
		).toBe("");
	});
	it("--verbose: epochs with the strategy's diagnostics", () => {
		expect(written(false, {}, [0, epoch])).toBe("");
		expect(written(false, { verbose: true }, [0, epoch])).toBe(
			"a  epoch 1/2  loss 0.5000  accuracy 75.0 %  2.0 s  freeRank 12.00\n",
		);
	});
});

it("durations", () => {
	expect([5, 75, 3700].map(duration)).toEqual(["0:05", "1:15", "1:01:40"]);
});
