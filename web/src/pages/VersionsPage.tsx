/** Versions of the memory: what made them, what each would say otherwise, and the way back. */
import { useState } from "preact/hooks";
import type { JobReply, VersionsReply } from "../../../src/server/api.ts";
import { useAction } from "../action.ts";
import { useFeed } from "../feed.ts";
import { send } from "../http.ts";
import { useLoaded } from "../loaded.ts";
import { CheckView } from "../parts/CheckView.tsx";
import { Confirm } from "../parts/Confirm.tsx";
import { Head } from "../parts/Head.tsx";
import { JobView } from "../parts/JobView.tsx";
import { Notice } from "../parts/Notice.tsx";
import { useReplica } from "../tasks.ts";
import { text } from "../text.ts";

type Version = VersionsReply["versions"][number];

export function VersionsPage() {
	const { value, problem, reload } = useLoaded<VersionsReply>("/v1/versions");
	useFeed("version", reload);
	const [job, setJob] = useState<string | null>(null);
	const [asked, setAsked] = useState<number | null>(null);
	const action = useAction();
	const activate = (version: number) =>
		action.run(async () => {
			const reply = await send<JobReply | VersionsReply>(
				"POST",
				`/v1/versions/${version}/activate`,
			);
			if ("id" in reply) setJob(reply.id);
			reload();
		});
	const newestFirst = value?.versions.toSorted((a, b) => b.version - a.version);
	return (
		<>
			<Head title={text.pages.versions} help={text.versions.help} />
			<Notice problem={problem} retry={reload} />
			<Notice problem={action.problem} />
			{job && <JobView key={job} id={job} onDone={reload} />}
			{newestFirst?.length === 0 && <p class="soft">{text.versions.empty}</p>}
			<ol class="versions">
				{newestFirst?.map((version) => (
					<Row
						key={version.version}
						version={version}
						busy={action.busy}
						onActivate={() => activate(version.version)}
						onBack={() => setAsked(version.version)}
					/>
				))}
			</ol>
			{asked !== null && (
				<Confirm
					title={text.versions.backTitle(asked)}
					action={text.versions.back}
					onConfirm={() => activate(asked)}
					onClose={() => setAsked(null)}
				>
					<p>{text.versions.backHelp}</p>
				</Confirm>
			)}
		</>
	);
}

function Row({
	version,
	busy,
	onActivate,
	onBack,
}: {
	readonly version: Version;
	readonly busy: boolean;
	readonly onActivate: () => void;
	readonly onBack: () => void;
}) {
	const { state, check } = version;
	const replica = useReplica();
	return (
		<li class={`card version ${state}`}>
			<div class="row">
				<div>
					<h2>
						{text.versions.version(version.version)}{" "}
						<span class={`state ${state}`}>{text.versions.states[state]}</span>
					</h2>
					<p>
						<bdi>{version.change}</bdi>{" "}
						<span class="soft">
							· {text.versions.products(version.products)}
						</span>
					</p>
				</div>
				{!replica && state === "waiting" && (
					<button
						type="button"
						class="main"
						disabled={busy}
						onClick={onActivate}
					>
						{text.versions.activate}
					</button>
				)}
				{!replica && state === "earlier" && (
					<button type="button" disabled={busy} onClick={onBack}>
						{text.versions.back}
					</button>
				)}
			</div>
			{check ? (
				<CheckView version={version.version} check={check} />
			) : (
				state === "waiting" && <p class="soft">{text.versions.unchecked}</p>
			)}
		</li>
	);
}
