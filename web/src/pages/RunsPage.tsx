/** Runs of `keepsight train`: how well each product is known after each step, and how much was forgotten. */
import { useState } from "preact/hooks";
import type { RunsReply } from "../../../src/server/api.ts";
import { useLoaded } from "../loaded.ts";
import { Head } from "../parts/Head.tsx";
import { Matrix } from "../parts/Matrix.tsx";
import { Notice } from "../parts/Notice.tsx";
import { text } from "../text.ts";

type Run = RunsReply["runs"][number];

export function RunsPage() {
	const { value, problem, reload } = useLoaded<RunsReply>("/v1/runs");
	return (
		<>
			<Head title={text.pages.runs} help={text.runs.help} />
			<Notice problem={problem} retry={reload} />
			{value?.runs.length === 0 && <p class="soft">{text.runs.empty}</p>}
			{value?.runs.map((run) => (
				<RunView key={run.name} run={run} />
			))}
		</>
	);
}

function RunView({ run }: { readonly run: Run }) {
	const names = Object.keys(run.matrices);
	const [metric, setMetric] = useState(
		names.includes("imageAuroc") ? "imageAuroc" : names[0],
	);
	const matrix = metric === undefined ? undefined : run.matrices[metric];
	return (
		<section class="card run" aria-label={run.name}>
			<div class="row">
				<h2>
					<bdi>{run.name}</bdi>{" "}
					<span class="soft">{text.runs.strategy(run.strategy)}</span>
				</h2>
				{names.length > 1 && (
					<label class="field">
						{text.runs.metric}
						<select
							value={metric}
							onChange={(event) => setMetric(event.currentTarget.value)}
						>
							{names.map((name) => (
								<option key={name} value={name}>
									{text.runs.metricName(name)}
								</option>
							))}
						</select>
					</label>
				)}
			</div>
			{metric !== undefined && matrix ? (
				<>
					<Summary values={run.summary[metric] ?? {}} />
					<Matrix
						tasks={run.tasks}
						matrix={matrix}
						metric={text.runs.metricName(metric)}
					/>
					<p class="soft small">{text.runs.summaryHelp}</p>
				</>
			) : (
				<p class="soft">{text.runs.noMatrix}</p>
			)}
		</section>
	);
}

const Summary = ({
	values,
}: {
	readonly values: Readonly<Record<string, number | null>>;
}) => (
	<dl class="figures">
		{Object.entries(values)
			.filter(([, value]) => value !== null)
			.map(([name, value]) => (
				<div key={name}>
					<dt>{text.runs.summary[name] ?? name}</dt>
					<dd>{(100 * (value ?? 0)).toFixed(1)}</dd>
				</div>
			))}
	</dl>
);
