/** One picture, scored: what it is, how sure that is, and where it stands out. */
import { useEffect, useState } from "preact/hooks";
import type { PredictedReply } from "../../../src/server/api.ts";
import { useAction } from "../action.ts";
import { announce } from "../announce.ts";
import { formatScore } from "../format.ts";
import { query, request } from "../http.ts";
import { FeedbackButtons, type Label } from "../parts/FeedbackButtons.tsx";
import { FileDrop } from "../parts/FileDrop.tsx";
import { Facts } from "../parts/Facts.tsx";
import { Head } from "../parts/Head.tsx";
import { Notice } from "../parts/Notice.tsx";
import { ScoreScale } from "../parts/ScoreScale.tsx";
import { TaskSelect } from "../parts/TaskSelect.tsx";
import { Verdict } from "../parts/Verdict.tsx";
import { useReplica } from "../tasks.ts";
import { text } from "../text.ts";

interface Scored {
	readonly file: File;
	readonly reply: PredictedReply;
}

export function ScorePage() {
	const [task, setTask] = useState("");
	const [scored, setScored] = useState<Scored | null>(null);
	const [working, setWorking] = useState<string | null>(null);
	const { problem, run } = useAction();
	const score = ([file]: readonly File[]) => {
		if (!file) return;
		run(async () => {
			setWorking(file.name);
			try {
				const body = new FormData();
				body.append("image", file, file.name);
				const response = await request(
					"POST",
					`/v1/predict${query({ task, map: "png" })}`,
					{ body },
				);
				const reply = (await response.json()) as PredictedReply;
				setScored({ file, reply });
				announce(
					text.score.verdict(
						reply.verdict,
						reply.task,
						formatScore(reply.score),
						formatScore(reply.threshold),
					),
				);
			} finally {
				setWorking(null);
			}
		});
	};
	return (
		<>
			<Head title={text.pages.score} help={text.score.help} />
			<div class="score-page">
				<div class="ask">
					<TaskSelect
						label={text.score.product}
						none={text.score.recognise}
						value={task}
						onChange={setTask}
					/>
					<FileDrop
						words={text.score.drop}
						choose={text.score.choose}
						onFiles={score}
					/>
					{working && <p class="soft">{text.score.working(working)}</p>}
					<Notice problem={problem} />
				</div>
				{scored && <Result key={scored.reply.at} scored={scored} />}
			</div>
		</>
	);
}

function Result({ scored: { file, reply } }: { readonly scored: Scored }) {
	const [said, setSaid] = useState<Label | null>(null);
	const [over, setOver] = useState(true);
	const source = useObjectUrl(file);
	const replica = useReplica();
	return (
		<section class="result card" aria-label={file.name}>
			<div class="seen">
				{source && (
					<img
						src={
							over && reply.map ? `data:image/png;base64,${reply.map}` : source
						}
						alt={
							over && reply.map
								? text.overlayOf(file.name)
								: text.pictureOf(file.name)
						}
					/>
				)}
				{reply.map ? (
					<label class="check">
						<input
							type="checkbox"
							checked={over}
							onChange={(event) => setOver(event.currentTarget.checked)}
						/>
						{text.score.show}
					</label>
				) : (
					<p class="soft">{text.score.noOverlay}</p>
				)}
			</div>
			<div class="told">
				<p class="large">
					<Verdict verdict={reply.verdict} />
				</p>
				<p>
					{text.score.explain[reply.verdict]} {reply.reason}
				</p>
				<ScoreScale score={reply.score} threshold={reply.threshold} />
				<p class="soft small">{text.scale.help}</p>
				<Facts prediction={reply} />
				{reply.id === null ? (
					<p class="soft">{text.feedback.noPlace}</p>
				) : (
					<>
						{!replica && <p class="soft small">{text.score.ask}</p>}
						<FeedbackButtons
							prediction={reply.id}
							what={file.name}
							said={said}
							onSaid={setSaid}
						/>
					</>
				)}
			</div>
		</section>
	);
}

function useObjectUrl(file: File): string | null {
	const [url, setUrl] = useState<string | null>(null);
	useEffect(() => {
		const made = URL.createObjectURL(file);
		setUrl(made);
		return () => URL.revokeObjectURL(made);
	}, [file]);
	return url;
}
