/** What is scored, as it comes. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { announce } from "../announce.ts";
import { useFeed } from "../feed.ts";
import { byTask } from "../groups.ts";
import { type Filter, useHistory } from "../history.ts";
import { FeedRow } from "../parts/FeedRow.tsx";
import { Head } from "../parts/Head.tsx";
import { Notice } from "../parts/Notice.tsx";
import { ScoresOverTime } from "../parts/ScoresOverTime.tsx";
import { Tally } from "../parts/Tally.tsx";
import { TaskSelect } from "../parts/TaskSelect.tsx";
import { useTasks } from "../tasks.ts";
import { hrefOf } from "../route.ts";
import { text } from "../text.ts";

/** Charts that are drawn at once; the filter shows any other product. */
const charts = 6;
/** A screen reader is told of news at most so often. */
const tellMs = 5000;

export function LivePage() {
	const [filter, setFilter] = useState<Filter>({ task: "", verdict: "" });
	const [paused, setPaused] = useState(false);
	const { rows, held, more, problem, older, mark } = useHistory(
		filter,
		paused,
		60,
	);
	const { value: known } = useTasks();
	useNews();
	const filtered = filter.task !== "" || filter.verdict !== "";
	return (
		<>
			<Head title={text.pages.live} help={text.live.help}>
				{rows && rows.length > 0 && filter.verdict === "" && (
					<Tally rows={rows} />
				)}
			</Head>
			<div class="controls">
				<TaskSelect
					label={text.live.product}
					none={text.live.allProducts}
					value={filter.task}
					onChange={(task) => setFilter({ ...filter, task })}
				/>
				<label class="field">
					{text.live.verdict}
					<select
						value={filter.verdict}
						onChange={(event) =>
							setFilter({ ...filter, verdict: event.currentTarget.value })
						}
					>
						<option value="">{text.live.allVerdicts}</option>
						{Object.entries(text.verdicts).map(([key, words]) => (
							<option key={key} value={key}>
								{words}
							</option>
						))}
					</select>
				</label>
				<button
					type="button"
					aria-pressed={paused}
					onClick={() => setPaused(!paused)}
				>
					{paused
						? held.length > 0
							? text.live.held(held.length)
							: text.live.resume
						: text.live.pause}
				</button>
			</div>
			<Notice problem={problem} />
			{known?.tasks.length === 0 && (
				<p>
					{text.products.empty} <a href={hrefOf("add")}>{text.products.add}</a>
				</p>
			)}
			<div class="live">
				<Charts task={filter.task} paused={paused} />
				<section class="rows" aria-label={text.live.feed}>
					{rows === null && !problem && <p class="soft">{text.loading}</p>}
					{rows?.length === 0 && (
						<p class="soft">
							{filtered ? text.live.emptyFilter : text.live.empty}
						</p>
					)}
					<ul class="feed">
						{rows?.map((row) => (
							<FeedRow
								key={row.id}
								row={row}
								onSaid={(label) => mark(row.id, label)}
							/>
						))}
					</ul>
					{more && (
						<button type="button" onClick={older}>
							{text.live.older}
						</button>
					)}
				</section>
			</div>
		</>
	);
}

/** One for each of the products that were seen last, whatever the verdicts: a chart of defects alone would tell nothing. */
function Charts({
	task: only,
	paused,
}: {
	readonly task: string;
	readonly paused: boolean;
}) {
	const { rows } = useHistory({ task: only, verdict: "" }, paused, 300);
	const groups = useMemo(
		() =>
			[...byTask(rows ?? [])]
				.flatMap(([task, group]) => (task === null ? [] : { task, group }))
				.slice(0, charts)
				.toSorted((a, b) => (a.task < b.task ? -1 : 1)),
		[rows],
	);
	return (
		<section aria-labelledby="charts" class="charts">
			<h2 id="charts">{text.live.charts}</h2>
			{groups.length === 0 && <p class="soft">{text.live.noChart}</p>}
			<div
				class="plots"
				tabIndex={groups.length > 1 ? 0 : undefined}
				role="group"
				aria-labelledby="charts"
			>
				{groups.map(({ task, group }) => (
					<ScoresOverTime key={task} task={task} rows={group} />
				))}
			</div>
		</section>
	);
}

/** Says how many came and how many of them are defects, a few seconds together. */
function useNews(): void {
	const news = useRef({ all: 0, defects: 0 });
	useFeed("prediction", ({ verdict }) => {
		news.current.all++;
		if (verdict === "defect") news.current.defects++;
	});
	useEffect(() => {
		const timer = setInterval(() => {
			const { all, defects } = news.current;
			news.current = { all: 0, defects: 0 };
			if (all > 0) announce(text.live.news(all, defects));
		}, tellMs);
		return () => clearInterval(timer);
	}, []);
}
