/** Shows the events of a job on stderr: one redrawn line on a terminal, else a plain line every few seconds. */
import type { RunEvent } from "../events.ts";
import type { ProgressFlags } from "./flags.ts";

export interface Screen {
	readonly isTTY?: boolean;
	readonly columns?: number;
	write(text: string): unknown;
}

export interface Progress {
	onEvent(event: RunEvent): void;
	/** For work that sends no events. */
	count(head: string, amount: Amount): void;
	/** Removes the redrawn line. */
	close(): void;
}

interface Amount {
	readonly done: number;
	readonly total: number;
	readonly unit: string;
	readonly detail?: string;
}

const redrawMs = 100;
const plainMs = 5000;
const verbs = {
	draw: "drawing",
	read: "reading",
	train: "training",
	memory: "remembering",
	evaluate: "evaluating",
} as const;

export function createProgress(
	flags: Omit<ProgressFlags, "json">,
	screen: Screen = process.stderr,
	now: () => number = () => performance.now(),
	cells: (event: Extract<RunEvent, { type: "cell" }>) => string = ({
		cell,
		state,
		message,
	}) => `${cell}  ${state}${message ? `: ${message}` : ""}`,
): Progress {
	const live = screen.isTTY === true;
	const color = live && flags.color && !process.env.NO_COLOR;
	const tint = (code: number, text: string) =>
		color ? `\x1b[${code}m${text}\x1b[0m` : text;
	let line = ""; // the redrawn line
	let shownAt = Number.NEGATIVE_INFINITY;
	/** By head: jobs at a time take turns. The line's own is forgotten once it is done. */
	const phases = new Map<string, { startedAt: number; startedDone: number }>();

	const clear = () => {
		if (line) screen.write("\r\x1b[2K");
	};
	const print = (text: string) => {
		clear();
		screen.write(`${text}\n`);
		if (line) screen.write(line);
	};

	/** Work that is `done` of `total`; its rate is counted from the first call with this `head`. */
	function count(head: string, { done, total, unit, detail }: Amount) {
		if (flags.quiet) return;
		const time = now();
		let phase = phases.get(head);
		const isNew = phase === undefined;
		phase ??= { startedAt: time, startedDone: done };
		if (done < total) phases.set(head, phase);
		else phases.delete(head);
		const due = time - shownAt >= (live ? redrawMs : plainMs);
		if (!due && !isNew && done < total) return;
		if (!live && !due) return; // at most one plain line every few seconds
		shownAt = time;
		const perSecond =
			((done - phase.startedDone) / (time - phase.startedAt)) * 1000;
		const parts = [`${done}/${total} ${unit}`];
		if (perSecond > 0 && Number.isFinite(perSecond)) {
			parts.push(
				`${perSecond.toPrecision(3)}/s`,
				`${duration((total - done) / perSecond)} left`,
			);
		}
		if (detail) parts.push(detail);
		if (!live) {
			screen.write(`${head}  ${parts.join("  ")}\n`);
			return;
		}
		clear();
		const bar = tint(36, progressBar(total > 0 ? done / total : 0, 20));
		const room = (screen.columns || 80) - 1 - 20 - 4;
		const text = `${head}  ${parts.join("  ")}`;
		line = `${bar}  ${text.length > room ? `${text.slice(0, Math.max(0, room - 1))}…` : text}`;
		screen.write(line);
	}

	return {
		count,
		onEvent(event) {
			switch (event.type) {
				case "notice":
					if (!flags.quiet) print(`${tint(33, "note:")} ${event.text}`);
					break;
				case "progress":
					count(headOf(event), event);
					break;
				case "epoch":
					if (flags.verbose && !flags.quiet) print(epochLine(event));
					break;
				case "opened":
					break;
				case "prediction":
					break; // a result, which the command prints
				case "cell":
					if (!flags.quiet) print(cells(event));
					break;
				case "row":
					if (!flags.quiet)
						print(
							`[${event.taskIndex + 1}/${event.taskCount}] ${event.task}  learnt  image AUROC (%) of tasks 1-${event.taskIndex + 1}: ${rowText(event.imageAuroc, event.taskIndex)}`,
						);
					break;
			}
		},
		close() {
			clear();
			line = "";
		},
	};
}

type ProgressEvent = Extract<RunEvent, { type: "progress" }>;

/** "[2/5] mvtec/bottle  training" */
const headOf = ({ taskIndex, taskCount, task, phase }: ProgressEvent) =>
	`[${taskIndex + 1}/${taskCount}] ${task}  ${verbs[phase]}`;

/** "[2/5] mvtec/bottle  training  34/100 steps" */
export const phaseText = (event: ProgressEvent): string =>
	`${headOf(event)}  ${event.done}/${event.total} ${event.unit}`;

const progressBar = (share: number, width: number): string => {
	const full = Math.round(Math.min(1, Math.max(0, share)) * width);
	return "█".repeat(full) + "░".repeat(width - full);
};

/** 75 -> "1:15", 3700 -> "1:01:40" */
export function duration(seconds: number): string {
	const s = Math.max(0, Math.round(seconds));
	const two = (n: number) => String(n).padStart(2, "0");
	const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
	return h > 0 ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

/** A line for --verbose. */
export function epochLine(event: Extract<RunEvent, { type: "epoch" }>): string {
	const diagnostics = Object.entries(event.diagnostics).map(
		([name, value]) => `${name} ${value.toPrecision(4)}`,
	);
	const parts = [
		`loss ${event.loss.toFixed(4)}`,
		`accuracy ${(100 * event.accuracy).toFixed(1)} %`,
		`${event.seconds.toFixed(1)} s`,
		...diagnostics,
	];
	return `${event.task}  epoch ${event.epoch}/${event.epochs}  ${parts.join("  ")}`;
}

const rowText = (row: readonly (number | null)[], taskIndex: number): string =>
	row
		.slice(0, taskIndex + 1)
		.map((value) => (value === null ? "-" : (100 * value).toFixed(1)))
		.join("  ");
