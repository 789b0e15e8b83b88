/** The table of runs on a terminal, as it stands on the screen. */
import { describe, expect, it } from "vitest";
import { createLiveTable } from "../../src/commands/live.ts";
import type { Cell } from "../../src/study/cells.ts";

/** What a terminal shows of the text it was given: lines, cursor up, erase below. */
function shown(text: string): string[] {
	let lines = [""];
	let row = 0;
	const parts = /<(\d+)A|(<0J)|([\s\S])/g;
	for (const [, up, erase, ch] of text
		.replaceAll("\x1b[", "<")
		.matchAll(parts)) {
		if (up !== undefined) row -= Number(up);
		else if (erase !== undefined) lines = [...lines.slice(0, row), ""];
		else if (ch === "\n") {
			row += 1;
			lines[row] ??= "";
		} else lines[row] += ch as string;
	}
	return lines;
}

const cells = Array.from({ length: 20 }, (_, i) => ({
	key: `k${i}`,
	label: `gpm lr=${i}`,
})) as unknown as Cell[];

function table() {
	let text = "";
	let time = 0;
	const live = createLiveTable(
		cells,
		({ label }) => label,
		{ isTTY: true, columns: 40, write: (more) => (text += more) },
		{ color: false, now: () => time },
	);
	const tell = (
		i: number,
		state: "started" | "finished" | "failed",
		message?: string,
	) =>
		live.onEvent(
			{
				type: "cell",
				cell: `k${i}`,
				state,
				...(message !== undefined && { message }),
			},
			cells[i] as Cell,
		);
	return {
		live,
		tell,
		wait: (ms: number) => {
			time += ms;
		},
		screen: () => shown(text),
	};
}

describe("the live table", () => {
	it("says what is done, what runs and for how long, and what is left", () => {
		const { live, tell, wait, screen } = table();
		tell(0, "started");
		tell(1, "started");
		wait(61_000);
		tell(0, "finished");
		live.onEvent(
			{
				type: "progress",
				phase: "train",
				task: "mvtec/a-rather-long-name",
				taskIndex: 0,
				taskCount: 2,
				done: 3,
				total: 9,
				unit: "steps",
			},
			cells[1] as Cell,
		);
		wait(300);
		tell(2, "started");
		expect(screen()).toEqual([
			"1/20 runs finished  2 running  17 waiting  about 9:09 left",
			"     1:01  gpm lr=1  [1/2] mvtec/a-rat…",
			"     0:00  gpm lr=2  ",
			"",
		]);
	});

	it("keeps what failed above the table, and counts it once it is tried again", () => {
		const { live, tell, screen } = table();
		tell(3, "started");
		tell(3, "failed", "no memory");
		expect(screen()).toEqual([
			"failed: gpm lr=3: no memory",
			"0/20 runs finished  0 running  19 waiting  1 failed",
			"",
		]);
		tell(3, "started");
		tell(3, "finished");
		live.onEvent({ type: "notice", text: "Redis is back." }, null);
		live.close();
		expect(screen()).toEqual([
			"failed: gpm lr=3: no memory",
			"note: Redis is back.",
			"1/20 runs finished  0 running  19 waiting",
			"",
		]);
	});

	it("shows twelve of many", () => {
		const { tell, screen } = table();
		for (let i = 0; i < 15; i++) tell(i, "started");
		expect(screen()).toHaveLength(1 + 12 + 1 + 1);
		expect(screen().at(-2)).toBe("  and 3 more");
	});
});
