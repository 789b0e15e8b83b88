/** What a version says otherwise than the one before it: "3 of 1,200 change", and which. */
import type { Check } from "../../../src/server/api.ts";
import { formatScore } from "../format.ts";
import { text } from "../text.ts";
import { Picture } from "./Picture.tsx";
import { Verdict } from "./Verdict.tsx";

type Side = Check["changed"][number]["before"];

export function CheckView({
	version,
	check,
}: {
	readonly version: number;
	readonly check: Check;
}) {
	const { changed, images, from } = check;
	if (images === 0) return <p class="soft">{text.versions.unchecked}</p>;
	return (
		<>
			<p>{text.versions.changed(changed.length, images, from)}</p>
			{changed.length > 0 && (
				<ul class="grid" aria-label={text.versions.changes(version)}>
					{changed.map((change) => (
						<li key={change.prediction} class="card example">
							<Picture
								path={`/v1/history/${change.prediction}/image`}
								alt={text.pictureOf(text.unnamed(change.prediction))}
							/>
							<strong>{change.task ?? text.unknownProduct}</strong>
							<dl class="sides">
								<Said title={text.versions.before} side={change.before} />
								<Said title={text.versions.after} side={change.after} />
							</dl>
							{change.label && (
								<p class="soft small">{text.versions.called(change.label)}</p>
							)}
						</li>
					))}
				</ul>
			)}
		</>
	);
}

const Said = ({
	title,
	side,
}: {
	readonly title: string;
	readonly side: Side;
}) => (
	<>
		<dt>{title}</dt>
		<dd>
			<Verdict verdict={side.verdict} />{" "}
			<span class="soft">{formatScore(side.score)}</span>
		</dd>
	</>
);
