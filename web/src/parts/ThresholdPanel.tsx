/** The threshold of a product: what another one would do to the good pictures it knows and to what was called bad. */
import { useEffect, useId, useMemo, useState } from "preact/hooks";
import type { JobReply, ProductReply } from "../../../src/server/api.ts";
import { useAction } from "../action.ts";
import { formatRarity, formatScore, formatShare } from "../format.ts";
import { send, taskPath } from "../http.ts";
import { useReplica } from "../tasks.ts";
import { text } from "../text.ts";
import { Histogram } from "./Histogram.tsx";
import { JobView } from "./JobView.tsx";
import { Notice } from "./Notice.tsx";

/** Largest that the server takes. */
const largest = 300;

export function ThresholdPanel({
	product,
	onChanged,
}: {
	readonly product: ProductReply;
	readonly onChanged: () => void;
}) {
	const { goodScores } = product;
	const [threshold, setThreshold] = useState(product.threshold);
	useEffect(() => setThreshold(product.threshold), [product.threshold]);
	const [job, setJob] = useState<string | null>(null);
	const { busy, problem, run } = useAction();
	const results = useId();
	const replica = useReplica();
	const bad = useMemo(
		() =>
			product.feedback.flatMap(({ label, score }) =>
				label === "bad" && score !== null ? [score] : [],
			),
		[product],
	);
	const end = useMemo(
		() => Math.max(4, 2 * product.threshold, 1.1 * (goodScores.at(-1) ?? 0)),
		[product],
	);
	const above = goodScores.filter((score) => score >= threshold).length;
	const caught = bad.filter((score) => score >= threshold).length;
	const put = (body: object) =>
		run(async () => {
			const { id } = await send<JobReply>(
				"PUT",
				`${taskPath(product.id)}/threshold`,
				body,
			);
			setJob(id);
		});
	return (
		<section class="card" aria-labelledby="threshold">
			<h2 id="threshold">{text.product.thresholdTitle}</h2>
			<Histogram
				scores={goodScores}
				bad={bad}
				threshold={threshold}
				end={end}
				label={text.product.histogram(
					goodScores.length,
					formatScore(threshold),
					above,
				)}
			/>
			<p class="soft small">{text.product.histogramHelp}</p>
			<div class="controls">
				<label class="field slide">
					{text.product.slider}
					<input
						type="range"
						min="0"
						max={Math.max(end, threshold)}
						step="0.01"
						value={threshold}
						aria-describedby={results}
						aria-valuetext={formatScore(threshold)}
						onInput={(event) => setThreshold(Number(event.currentTarget.value))}
					/>
				</label>
				<label class="field">
					{text.product.exact}
					<input
						type="number"
						min="0"
						max={largest}
						step="any"
						value={Number(threshold.toFixed(4))}
						onChange={(event) => {
							const value = event.currentTarget.valueAsNumber;
							if (value >= 0 && value <= largest) setThreshold(value);
						}}
					/>
				</label>
			</div>
			<ul class="results" id={results} aria-live="polite">
				<li>
					{text.product.rejects(
						above,
						goodScores.length,
						formatShare(above / Math.max(1, goodScores.length)),
					)}
				</li>
				<li>{text.product.catches(caught, bad.length)}</li>
				<li>{text.product.rarity(formatRarity(threshold))}</li>
			</ul>
			<Notice problem={problem} />
			<div class="buttons" hidden={replica}>
				<button
					type="button"
					class="main"
					disabled={busy || threshold === product.threshold}
					onClick={() => put({ threshold })}
				>
					{text.product.save}
				</button>
				<button
					type="button"
					disabled={busy || !product.thresholdSet}
					onClick={() => put({ threshold: null })}
				>
					{text.product.reset}
				</button>
				<button
					type="button"
					disabled={busy || bad.length === 0}
					onClick={() => put({ fromFeedback: true })}
				>
					{text.product.fromFeedback}
				</button>
			</div>
			{job && <JobView key={job} id={job} onDone={onChanged} />}
		</section>
	);
}
