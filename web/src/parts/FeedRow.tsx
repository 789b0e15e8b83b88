/** One scored picture in the feed: verdict, product, score; closer to it on demand. */
import { useId, useState } from "preact/hooks";
import type { HistoryRow } from "../../../src/server/api.ts";
import { formatScore, formatTime } from "../format.ts";
import { text } from "../text.ts";
import { Facts } from "./Facts.tsx";
import { FeedbackButtons, type Label } from "./FeedbackButtons.tsx";
import { Picture } from "./Picture.tsx";
import { ScoreScale } from "./ScoreScale.tsx";
import { TaskSelect } from "./TaskSelect.tsx";
import { Verdict } from "./Verdict.tsx";

export function FeedRow({
	row,
	onSaid,
}: {
	readonly row: HistoryRow;
	readonly onSaid: (label: Label) => void;
}) {
	const [open, setOpen] = useState(false);
	const [comment, setComment] = useState("");
	const [task, setTask] = useState("");
	const id = useId();
	const name = row.name ?? text.unnamed(row.id);
	return (
		<li class={`card row-card ${row.verdict}`}>
			<div class="thumb">
				{row.image && (
					<Picture
						path={`/v1/history/${row.id}/image`}
						alt={text.pictureOf(name)}
					/>
				)}
			</div>
			<div class="what">
				<Verdict verdict={row.verdict} />
				{row.task !== null && (
					<strong class="task" title={row.task}>
						<bdi>{row.task}</bdi>
					</strong>
				)}
				<span class="number">{formatScore(row.score)}</span>
				<span class="soft">
					<time dateTime={row.at}>{formatTime(row.at)}</time> ·{" "}
					<bdi>{name}</bdi>
				</span>
			</div>
			<ScoreScale score={row.score} threshold={row.threshold} />
			<div class="do">
				<FeedbackButtons
					prediction={row.id}
					what={name}
					said={row.feedback}
					comment={comment}
					task={task}
					onSaid={onSaid}
				/>
				<button
					type="button"
					class="quiet"
					aria-expanded={open}
					aria-controls={id}
					aria-label={text.live.closerAt(name)}
					onClick={() => setOpen(!open)}
				>
					{text.live.closer}
				</button>
			</div>
			<div class="closer" id={id} hidden={!open}>
				{open && (
					<>
						{row.image ? (
							<div class="pair">
								<Picture
									path={`/v1/history/${row.id}/image`}
									alt={text.pictureOf(name)}
								/>
								<Picture
									path={`/v1/history/${row.id}/overlay`}
									alt={text.overlayOf(name)}
								/>
							</div>
						) : (
							<p class="soft">{text.live.notKept}</p>
						)}
						<div>
							<Facts prediction={row} />
							<div class="controls">
								<label class="field">
									{text.feedback.comment}
									<input
										value={comment}
										maxLength={1000}
										onInput={(event) => setComment(event.currentTarget.value)}
									/>
								</label>
								<TaskSelect
									label={text.feedback.product}
									none={text.feedback.productAsSeen}
									value={task}
									onChange={setTask}
								/>
							</div>
						</div>
					</>
				)}
			</div>
		</li>
	);
}
