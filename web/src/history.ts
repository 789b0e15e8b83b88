/** What was scored, the newest first, and what is scored meanwhile. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { FeedbackReply, HistoryRow } from "../../src/server/api.ts";
import { connection, useFeed } from "./feed.ts";
import { get, type Problem, problemOf, query } from "./http.ts";
import { useStore } from "./store.ts";

export interface Filter {
	/** "": all. */
	readonly task: string;
	readonly verdict: string;
}

interface Page {
	readonly predictions: readonly HistoryRow[];
}

/** What comes is shown so often: a fast line must not keep the browser busy with drawing. */
const showMs = 200;

export interface History {
	/** null: not there yet. */
	readonly rows: readonly HistoryRow[] | null;
	/** Came while paused. */
	readonly held: readonly HistoryRow[];
	readonly more: boolean;
	readonly problem: Problem | null;
	older(): void;
	/** After feedback was given here. */
	mark(prediction: number, label: FeedbackReply["label"] | null): void;
}

/** `pageSize`: rows of one answer, at most 500. */
export function useHistory(
	{ task, verdict }: Filter,
	paused: boolean,
	pageSize: number,
): History {
	const [rows, setRows] = useState<readonly HistoryRow[] | null>(null);
	const [held, setHeld] = useState<readonly HistoryRow[]>([]);
	const [more, setMore] = useState(false);
	const [problem, setProblem] = useState<Problem | null>(null);
	const { renewed } = useStore(connection);
	const path = (before?: number) =>
		`/v1/history${query({ task, verdict, before, limit: pageSize })}`;

	useEffect(() => setRows(null), [task, verdict]);
	useEffect(() => {
		const abort = new AbortController();
		get<Page>(path(), abort.signal).then(
			({ predictions }) => {
				setRows(predictions);
				setHeld([]);
				setMore(predictions.length === pageSize);
				setProblem(null);
			},
			(error: unknown) => {
				if (!abort.signal.aborted) setProblem(problemOf(error));
			},
		);
		return () => abort.abort();
	}, [task, verdict, renewed]);

	const come = useRef<HistoryRow[]>([]); // the newest first
	useFeed("prediction", (row) => {
		if ((task && row.task !== task) || (verdict && row.verdict !== verdict))
			return;
		come.current.unshift(row);
		if (come.current.length > 1) return;
		setTimeout(() => {
			const some = come.current;
			come.current = [];
			setHeld((before) => joined(some, before, pageSize));
		}, showMs);
	});
	useEffect(() => {
		if (paused || held.length === 0) return;
		setRows((before) => joined(held, before ?? [], pageSize));
		setHeld([]);
	}, [paused, held]);

	const mark = (prediction: number, label: FeedbackReply["label"] | null) =>
		setRows(
			(before) =>
				before?.map((row) =>
					row.id === prediction ? { ...row, feedback: label } : row,
				) ?? null,
		);
	useFeed("feedback", ({ prediction, label, state }) =>
		mark(prediction, state === "withdrawn" ? null : label),
	);

	const older = () => {
		const last = rows?.at(-1);
		if (!last) return;
		get<Page>(path(last.id)).then(
			({ predictions }) => {
				setRows((before) => [...(before ?? []), ...predictions]);
				setMore(predictions.length === pageSize);
			},
			(error: unknown) => setProblem(problemOf(error)),
		);
	};
	return { rows, held, more, problem, older, mark };
}

/** Newer rows before the others; one that is there already stays once. By itself the list grows to two pages, no more. */
function joined(
	newer: readonly HistoryRow[],
	rows: readonly HistoryRow[],
	pageSize: number,
): readonly HistoryRow[] {
	const known = new Set(rows.map(({ id }) => id));
	return [...newer.filter(({ id }) => !known.has(id)), ...rows].slice(
		0,
		Math.max(2 * pageSize, rows.length),
	);
}
