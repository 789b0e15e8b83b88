/** The last pictures of a product. */
import { useLoaded } from "../loaded.ts";
import type { HistoryRow } from "../../../src/server/api.ts";
import { formatScore, formatTime } from "../format.ts";
import { query } from "../http.ts";
import { text } from "../text.ts";
import { Notice } from "./Notice.tsx";
import { Picture } from "./Picture.tsx";
import { Verdict } from "./Verdict.tsx";

const shown = 12;

export function Examples({ task }: { readonly task: string }) {
	const { value, problem } = useLoaded<{
		readonly predictions: readonly HistoryRow[];
	}>(`/v1/history${query({ task, limit: shown })}`);
	return (
		<section aria-labelledby="examples">
			<h2 id="examples">{text.product.examples}</h2>
			<Notice problem={problem} />
			{value?.predictions.length === 0 && (
				<p class="soft">{text.product.noExamples}</p>
			)}
			<ul class="grid">
				{value?.predictions.map((row) => (
					<li key={row.id} class="card example">
						{row.image && (
							<Picture
								path={`/v1/history/${row.id}/image`}
								alt={text.pictureOf(row.name ?? text.unnamed(row.id))}
							/>
						)}
						<Verdict verdict={row.verdict} />
						<span class="soft">
							{formatScore(row.score)} · {formatTime(row.at)}
						</span>
					</li>
				))}
			</ul>
		</section>
	);
}
