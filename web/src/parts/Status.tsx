/** Whether the page is connected, which memory answers, what is under way. */
import { useEffect, useState } from "preact/hooks";
import type { JobReply } from "../../../src/server/api.ts";
import { connection, useFeed } from "../feed.ts";
import { isOver } from "../job.ts";
import { useLoaded } from "../loaded.ts";
import { hrefOf } from "../route.ts";
import { useStore } from "../store.ts";
import { useTasks } from "../tasks.ts";
import { text } from "../text.ts";

export function Status() {
	const { open, renewed } = useStore(connection);
	const { value } = useTasks();
	const [waiting, setWaiting] = useState(false);
	useFeed("version", (version) => setWaiting(version.waiting !== null));
	const jobs = useJobs(renewed);
	return (
		<div class="status">
			<span class={open ? "line open" : "line"}>
				{open ? text.connection.open : text.connection.lost}
			</span>
			{value && (
				<a href={hrefOf("versions")}>
					{value.memoryVersion === null
						? text.connection.empty
						: text.connection.version(value.memoryVersion)}
				</a>
			)}
			{waiting && <a href={hrefOf("versions")}>{text.connection.waiting}</a>}
			{jobs.map(({ id, kind, task }) => (
				<a key={id} href={hrefOf("jobs", id)}>
					{text.connection.job(kind, task)}
				</a>
			))}
		</div>
	);
}

/** Jobs that are not over, as the feed tells of them. */
function useJobs(renewed: number): readonly JobReply[] {
	const { value, reload } = useLoaded<{ readonly jobs: readonly JobReply[] }>(
		"/v1/jobs",
	);
	const [jobs, setJobs] = useState<readonly JobReply[]>([]);
	useEffect(() => {
		if (value) setJobs(value.jobs);
	}, [value]);
	useEffect(() => {
		if (renewed > 1) reload();
	}, [renewed]);
	useFeed("job", (job) =>
		setJobs((before) => [job, ...before.filter(({ id }) => id !== job.id)]),
	);
	return jobs.filter((job) => !isOver(job) && job.state !== "open");
}
