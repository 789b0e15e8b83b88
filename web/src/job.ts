/** A job as it goes on: asked for once, then followed by its events, and asked for again where the stream ends early. */
import { useEffect, useState } from "preact/hooks";
import type { JobReply } from "../../src/server/api.ts";
import { get, type Problem, problemOf } from "./http.ts";
import { streamOf } from "./stream.ts";

const ended: readonly JobReply["state"][] = ["done", "failed", "cancelled"];
export const isOver = ({ state }: JobReply): boolean => ended.includes(state);

export function useJob(id: string): {
	readonly job: JobReply | null;
	readonly problem: Problem | null;
} {
	const [job, setJob] = useState<JobReply | null>(null);
	const [problem, setProblem] = useState<Problem | null>(null);
	useEffect(() => {
		const abort = new AbortController();
		setJob(null);
		setProblem(null);
		follow(id, setJob, abort.signal).catch((error: unknown) => {
			if (!abort.signal.aborted) setProblem(problemOf(error));
		});
		return () => abort.abort();
	}, [id]);
	return { job, problem };
}

async function follow(
	id: string,
	onJob: (job: JobReply) => void,
	signal: AbortSignal,
): Promise<void> {
	while (!signal.aborted) {
		const now = await get<JobReply>(`/v1/jobs/${id}`, signal);
		onJob(now);
		if (isOver(now)) return;
		for await (const { name, data } of streamOf(
			`/v1/jobs/${id}/events`,
			signal,
		)) {
			if (name !== "job") continue;
			onJob(data as JobReply);
			if (isOver(data as JobReply)) return;
		}
		await new Promise((resolve) => setTimeout(resolve, 1000));
	}
}
