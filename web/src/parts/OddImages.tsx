/** Pictures that look unlike the others of a folder: a person says which are good before anything is learnt. */
import { useState } from "preact/hooks";
import type { JobReply } from "../../../src/server/api.ts";
import { useAction } from "../action.ts";
import { formatScore } from "../format.ts";
import { send } from "../http.ts";
import { text } from "../text.ts";
import { Choice } from "./Choice.tsx";
import { Notice } from "./Notice.tsx";
import { Picture } from "./Picture.tsx";

export function OddImages({ job }: { readonly job: JobReply }) {
	const [refused, setRefused] = useState<ReadonlySet<number>>(new Set());
	const { busy, problem, run } = useAction();
	const judge = (image: number, good: boolean) => {
		const next = new Set(refused);
		if (good) next.delete(image);
		else next.add(image);
		setRefused(next);
	};
	return (
		<section aria-labelledby="odd">
			<h2 id="odd">{text.odd.title}</h2>
			<p>{job.odd.length > 0 ? text.odd.help : text.odd.none}</p>
			<ul class="grid">
				{job.odd.map(({ image, score }) => {
					const name = text.odd.image(image);
					return (
						<li key={image} class="card">
							<Picture
								path={`/v1/jobs/${job.id}/odd/${image}`}
								alt={text.odd.alt(name)}
							/>
							<p>
								{name}{" "}
								<span class="soft">{text.odd.score(formatScore(score))}</span>
							</p>
							<Choice
								legend={text.odd.legend(name)}
								hideLegend
								options={{ good: text.odd.good, refused: text.odd.refused }}
								value={refused.has(image) ? "refused" : "good"}
								onChange={(value) => judge(image, value === "good")}
							/>
						</li>
					);
				})}
			</ul>
			<Notice problem={problem} />
			<div class="buttons">
				<button
					type="button"
					class="main"
					disabled={busy}
					onClick={() =>
						run(async () => {
							await send("POST", `/v1/jobs/${job.id}/review`, {
								refused: [...refused],
							});
						})
					}
				>
					{text.odd.go(job.images - refused.size, refused.size)}
				</button>
			</div>
		</section>
	);
}
