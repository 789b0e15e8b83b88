/** A table of runs that is redrawn in place on a terminal: how many are done, and what is at each that runs. */
import type { RunEvent } from "../events.ts";
import type { Cell } from "../study/cells.ts";
import { duration, epochLine, phaseText, type Screen } from "./progress.ts";

const REDRAW_MS = 200;
/** Running ones that are shown. */
const ROWS = 12;

export interface LiveTable {
	onEvent(event: RunEvent, cell: Cell | null): void;
	/** Leaves the last state on the screen, without those that run. */
	close(): void;
}

/** `cells`: those that are to be run. */
export function createLiveTable(
	cells: readonly Cell[],
	nameOf: (cell: Cell) => string,
	screen: Screen,
	{
		color,
		verbose = false,
		now = () => performance.now(),
	}: {
		readonly color: boolean;
		readonly verbose?: boolean;
		readonly now?: () => number;
	},
): LiveTable {
	const tint = (code: number, text: string) =>
		color ? `\x1b[${code}m${text}\x1b[0m` : text;
	const state = new Map<string, "finished" | "failed">();
	const running = new Map<
		string,
		{ readonly cell: Cell; readonly began: number; at: string }
	>();
	const took: number[] = [];
	const open = cells.length;
	let drawn = 0; // lines on the screen
	let drawnAt = Number.NEGATIVE_INFINITY;

	const cut = (text: string) => {
		const room = (screen.columns || 80) - 1;
		return text.length > room ? `${text.slice(0, room - 1)}…` : text;
	};
	const clear = () => {
		if (drawn > 0) screen.write(`\x1b[${drawn}A\x1b[0J`);
		drawn = 0;
	};
	const headline = () => {
		const values = [...state.values()];
		const failed = values.filter((one) => one === "failed").length;
		const waiting = open - values.length - running.size;
		const mean = took.reduce((sum, s) => sum + s, 0) / took.length;
		const left =
			took.length > 0 && running.size > 0
				? `  about ${duration((mean * (open - values.length - running.size / 2)) / running.size)} left`
				: "";
		return `${values.length - failed}/${open} runs finished  ${running.size} running  ${waiting} waiting${failed > 0 ? tint(31, `  ${failed} failed`) : ""}${left}`;
	};
	const draw = (force: boolean) => {
		if (!force && now() - drawnAt < REDRAW_MS) return;
		drawnAt = now();
		const rows = [...running.values()]
			.slice(0, ROWS)
			.map(
				({ cell, began, at }) =>
					`  ${duration((now() - began) / 1000).padStart(7)}  ${nameOf(cell)}  ${at}`,
			);
		const hidden = running.size - rows.length;
		const lines = [
			headline(),
			...rows.map(cut),
			...(hidden > 0 ? [`  and ${hidden} more`] : []),
		];
		clear();
		screen.write(`${lines.join("\n")}\n`);
		drawn = lines.length;
	};
	const print = (text: string) => {
		clear();
		screen.write(`${text}\n`);
		draw(true);
	};

	return {
		onEvent(event, cell) {
			if (event.type === "notice") print(`${tint(33, "note:")} ${event.text}`);
			if (event.type === "epoch" && verbose && cell)
				print(`${nameOf(cell)}  ${epochLine(event)}`);
			if (event.type === "progress" && cell) {
				const row = running.get(cell.key);
				if (row) row.at = phaseText(event);
				draw(false);
			}
			if (event.type !== "cell" || !cell) return;
			const row = running.get(event.cell);
			running.delete(event.cell);
			if (event.state === "started") {
				state.delete(event.cell); // tried again
				running.set(event.cell, { cell, began: now(), at: "" });
				draw(true);
				return;
			}
			state.set(event.cell, event.state);
			if (event.state === "finished" && row)
				took.push((now() - row.began) / 1000);
			if (event.state === "failed")
				print(
					`${tint(31, "failed:")} ${nameOf(cell)}: ${event.message ?? ""}${event.stack === undefined ? "" : `\n${event.stack}`}`,
				);
			else draw(true);
		},
		close() {
			running.clear();
			draw(true);
		},
	};
}
