/** What a job is doing, what it asks, and what came of it. */
import { useEffect, useRef } from "preact/hooks";
import type { JobReply } from "../../../src/server/api.ts";
import { useAction } from "../action.ts";
import { announce } from "../announce.ts";
import { send } from "../http.ts";
import { waitingVersion } from "../feed.ts";
import { isOver, useJob } from "../job.ts";
import { hrefOf } from "../route.ts";
import { useStore } from "../store.ts";
import { text } from "../text.ts";
import { Notice } from "./Notice.tsx";
import { OddImages } from "./OddImages.tsx";

export function JobView({
	id,
	onDone,
}: {
	readonly id: string;
	readonly onDone?: (job: JobReply) => void;
}) {
	const { job, problem } = useJob(id);
	const told = useRef<string | null>(null);
	useEffect(() => {
		if (!job || told.current === job.state) return;
		told.current = job.state;
		announce(
			`${text.job.title(job.kind, job.task)}: ${text.job.states[job.state]}`,
		);
		if (job.state === "done") onDone?.(job);
	}, [job, onDone]);
	if (problem) return <Notice problem={problem} />;
	if (!job) return <p class="soft">{text.loading}</p>;
	return (
		<div class={`job ${job.state}`}>
			<p>
				<strong>
					<bdi>{text.job.title(job.kind, job.task)}</bdi>
				</strong>{" "}
				<span class="soft">{text.job.states[job.state]}</span>
			</p>
			<State job={job} />
			{!isOver(job) && <Cancel id={id} />}
		</div>
	);
}

function State({ job }: { readonly job: JobReply }) {
	switch (job.state) {
		case "open":
		case "running":
			return <Progress progress={job.progress} />;
		case "review":
			return <OddImages job={job} />;
		case "done":
			return <Done job={job} />;
		case "failed":
			return (
				<div class="notice" role="alert">
					<strong>{text.job.failed}</strong>
					<p>{job.message}</p>
				</div>
			);
		case "cancelled":
			return <p>{text.job.cancelled}</p>;
	}
}

function Done({ job }: { readonly job: JobReply }) {
	const waits =
		useStore(waitingVersion) === job.memoryVersion &&
		job.memoryVersion !== null;
	return (
		<>
			<p>
				{text.job.done(job.memoryVersion)} <bdi>{job.message}</bdi>
			</p>
			{waits && <p class="flag">{text.job.waits}</p>}
			<div class="buttons">
				{job.kind !== "forget" && job.kind !== "rollback" && (
					<a class="button" href={hrefOf("products", job.task)}>
						{text.job.toProduct}
					</a>
				)}
				<a class={waits ? "button main" : "button"} href={hrefOf("versions")}>
					{text.job.toVersions}
				</a>
			</div>
		</>
	);
}

function Progress({ progress }: Pick<JobReply, "progress">) {
	if (!progress)
		return (
			<>
				<progress aria-label={text.job.progress} />
				<p class="soft">{text.job.waiting}</p>
			</>
		);
	const { phase, done, total, unit } = progress;
	return (
		<>
			<progress
				aria-label={text.job.progress}
				max={Math.max(1, total)}
				value={done}
			/>
			<p class="soft">
				{text.job.phase(phase)}: {text.job.ofTotal(done, total, unit)}
			</p>
		</>
	);
}

function Cancel({ id }: { readonly id: string }) {
	const { busy, problem, run } = useAction();
	return (
		<div class="buttons">
			<button
				type="button"
				disabled={busy}
				onClick={() =>
					run(async () => {
						await send("DELETE", `/v1/jobs/${id}`);
					})
				}
			>
				{text.job.cancel}
			</button>
			<Notice problem={problem} />
		</div>
	);
}
