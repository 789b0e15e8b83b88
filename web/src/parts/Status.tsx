/** Whether the page is connected, which memory answers, what is under way. */
import { useEffect, useState } from "preact/hooks";
import type { JobReply, VersionsReply } from "../../../src/server/api.ts";
import { connection, useFeed, waitingVersion } from "../feed.ts";
import { isOver } from "../job.ts";
import { useLoaded } from "../loaded.ts";
import { hrefOf } from "../route.ts";
import { useStore } from "../store.ts";
import { useTasks } from "../tasks.ts";
import { text } from "../text.ts";

export function Status() {
	const { open, renewed } = useStore(connection);
	const { value } = useTasks();
	const waiting = useWaiting();
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
			{waiting !== null && (
				<a href={hrefOf("versions")}>{text.connection.waiting}</a>
			)}
			{jobs.map(({ id, kind, task }) => (
				<a key={id} href={hrefOf("jobs", id)}>
					<bdi>{text.connection.job(kind, task)}</bdi>
				</a>
			))}
		</div>
	);
}

/** The version that waits to be activated, if any; told to all of the page. */
function useWaiting(): number | null {
	const { value } = useLoaded<VersionsReply>("/v1/versions");
	useEffect(() => {
		const found = value?.versions.find(({ state }) => state === "waiting");
		waitingVersion.set(found?.version ?? null);
	}, [value]);
	useFeed("version", (version) => waitingVersion.set(version.waiting));
	return useStore(waitingVersion);
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
