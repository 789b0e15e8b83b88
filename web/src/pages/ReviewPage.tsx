/** Feedback that waits: good parts are learnt once a person has looked at them, what was said by mistake is withdrawn. */
import { useState } from "preact/hooks";
import type { FeedbackReply, JobReply } from "../../../src/server/api.ts";
import { useAction } from "../action.ts";
import { useFeed } from "../feed.ts";
import { formatScore, formatTime } from "../format.ts";
import { byTask } from "../groups.ts";
import { send } from "../http.ts";
import { useLoaded } from "../loaded.ts";
import { Head } from "../parts/Head.tsx";
import { JobView } from "../parts/JobView.tsx";
import { Notice } from "../parts/Notice.tsx";
import { Picture } from "../parts/Picture.tsx";
import { Verdict } from "../parts/Verdict.tsx";
import { hrefOf } from "../route.ts";
import { text } from "../text.ts";

export function ReviewPage() {
	const { value, problem, reload } = useLoaded<{
		readonly feedback: readonly FeedbackReply[];
	}>("/v1/feedback?state=open");
	useFeed("feedback", reload);
	const [job, setJob] = useState<string | null>(null);
	const groups = byTask(value?.feedback ?? []);
	return (
		<>
			<Head title={text.pages.review} help={text.review.help} />
			<Notice problem={problem} retry={reload} />
			{job && <JobView key={job} id={job} onDone={reload} />}
			{value?.feedback.length === 0 && <p class="soft">{text.review.empty}</p>}
			{[...groups].map(([task, items]) => (
				<Group
					key={task}
					task={task}
					items={items}
					onJob={setJob}
					onChanged={reload}
				/>
			))}
		</>
	);
}

/** All that was said of one product. */
function Group({
	task,
	items,
	onJob,
	onChanged,
}: {
	readonly task: string | null;
	readonly items: readonly FeedbackReply[];
	readonly onJob: (id: string) => void;
	readonly onChanged: () => void;
}) {
	const [chosen, setChosen] = useState<ReadonlySet<number>>(new Set());
	const { busy, problem, run } = useAction();
	const good = items.filter(({ label }) => label === "good");
	const bad = items.filter(({ label }) => label === "bad");
	const ids = good
		.filter((item) => canLearn(item) && chosen.has(item.id))
		.map(({ id }) => id);
	const choose = (id: number, on: boolean) => {
		const next = new Set(chosen);
		if (on) next.add(id);
		else next.delete(id);
		setChosen(next);
	};
	const withdraw = (id: number) =>
		run(async () => {
			await send("DELETE", `/v1/feedback/${id}`);
			onChanged();
		});
	return (
		<section class="card" aria-label={task ?? text.unknownProduct}>
			<h2>{task ?? text.unknownProduct}</h2>
			<Notice problem={problem} />
			<div class="columns">
				{good.length > 0 && (
					<div class="group">
						<h3>{text.review.good}</h3>
						<ul class="grid">
							{good.map((item) => (
								<Item
									key={item.id}
									item={item}
									busy={busy}
									onWithdraw={withdraw}
								>
									{canLearn(item) ? (
										<label class="check">
											<input
												type="checkbox"
												checked={chosen.has(item.id)}
												onChange={(event) =>
													choose(item.id, event.currentTarget.checked)
												}
											/>
											{text.review.choose(text.unnamed(item.prediction))}
										</label>
									) : (
										<p class="soft">
											{item.task === null
												? text.review.noProduct
												: text.review.notKept}
										</p>
									)}
								</Item>
							))}
						</ul>
						<div class="buttons">
							<button
								type="button"
								class="main"
								disabled={busy || ids.length === 0}
								onClick={() =>
									run(async () => {
										const { id } = await send<JobReply>(
											"POST",
											"/v1/feedback/apply",
											{ task, ids },
										);
										onJob(id);
									})
								}
							>
								{text.review.apply(ids.length)}
							</button>
							<button
								type="button"
								onClick={() =>
									setChosen(new Set(good.filter(canLearn).map(({ id }) => id)))
								}
							>
								{text.review.all}
							</button>
						</div>
					</div>
				)}
				{bad.length > 0 && (
					<div class="group">
						<h3>{text.review.bad}</h3>
						<p class="soft">
							{text.review.badHelp}{" "}
							{task !== null && (
								<a href={hrefOf("products", task)}>{text.review.toThreshold}</a>
							)}
						</p>
						<ul class="grid">
							{bad.map((item) => (
								<Item
									key={item.id}
									item={item}
									busy={busy}
									onWithdraw={withdraw}
								/>
							))}
						</ul>
					</div>
				)}
			</div>
		</section>
	);
}

const canLearn = ({ image, task }: FeedbackReply): boolean =>
	image && task !== null;

function Item({
	item,
	busy,
	onWithdraw,
	children,
}: {
	readonly item: FeedbackReply;
	readonly busy: boolean;
	readonly onWithdraw: (id: number) => void;
	readonly children?: preact.ComponentChildren;
}) {
	const name = text.unnamed(item.prediction);
	return (
		<li class="card example">
			{item.image && (
				<Picture
					path={`/v1/history/${item.prediction}/overlay`}
					alt={text.overlayOf(name)}
				/>
			)}
			<p>
				<Verdict verdict={item.verdict} />{" "}
				<span class="soft">
					{formatScore(item.score)} · {formatTime(item.at)}
				</span>
			</p>
			<p class="small">{text.review.said(item.label, item.verdict)}</p>
			{item.comment && <blockquote>{item.comment}</blockquote>}
			{children}
			<button
				type="button"
				class="quiet"
				disabled={busy}
				aria-label={text.review.withdrawAt(name)}
				onClick={() => onWithdraw(item.id)}
			>
				{text.review.withdraw}
			</button>
		</li>
	);
}
