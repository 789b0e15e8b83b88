/** Where a score lies: from 0 to three times the threshold, as the colours of maps do; what is beyond stands at the end. */
import { formatScore } from "../format.ts";
import { text } from "../text.ts";

/** A verdict is unsure within a factor of two of chance, as src/predictor.ts has it. */
const near = Math.log10(2);

export function ScoreScale({
	score,
	threshold,
}: {
	readonly score: number | null;
	readonly threshold: number | null;
}) {
	if (score === null || threshold === null)
		return <div class="scale soft">{text.scale.noScore}</div>;
	const end = Math.max(1, 3 * threshold);
	const at = (value: number) =>
		`${(100 * Math.min(end, Math.max(0, value))) / end}%`;
	const words = text.scale.label(formatScore(score), formatScore(threshold));
	return (
		<div class="scale" role="img" aria-label={words} title={words}>
			<div class="track">
				<div class="over" style={{ left: at(threshold), right: "0" }} />
				<div
					class="near"
					style={{
						left: at(threshold - near),
						right: `calc(100% - ${at(threshold + near)})`,
					}}
				/>
				<div class="limit" style={{ left: at(threshold) }} />
				<div
					class={score > end ? "mark beyond" : "mark"}
					style={{ left: at(score) }}
				/>
			</div>
			<div class="ends" aria-hidden="true">
				<span class="at-limit" style={{ left: at(threshold) }}>
					{text.scale.threshold(formatScore(threshold))}
				</span>
			</div>
		</div>
	);
}
