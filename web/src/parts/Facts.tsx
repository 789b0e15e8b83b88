/** What is known of one answer, as a list of names and values. */
import type { PredictedReply } from "../../../src/server/api.ts";
import { formatCount, formatRarity, formatScore } from "../format.ts";
import { text } from "../text.ts";

const { facts } = text.live;

export const Facts = ({
	prediction: p,
}: {
	readonly prediction: Omit<PredictedReply, "map">;
}) => (
	<dl class="facts">
		<dt>{facts.task}</dt>
		<dd>{p.task ?? text.unknownProduct}</dd>
		<dt>{facts.score}</dt>
		<dd>{formatScore(p.score)}</dd>
		<dt>{facts.threshold}</dt>
		<dd>{formatScore(p.threshold)}</dd>
		<dt>{facts.rarity}</dt>
		<dd>{p.score === null ? text.none : formatRarity(p.score)}</dd>
		<dt>{facts.version}</dt>
		<dd>{formatCount(p.memoryVersion)}</dd>
		<dt>{facts.latency}</dt>
		<dd>{text.live.ms(p.latencyMs)}</dd>
		<dt>{facts.id}</dt>
		<dd>{p.id ?? text.none}</dd>
		{p.reason && (
			<>
				<dt>{facts.reason}</dt>
				<dd>{p.reason}</dd>
			</>
		)}
	</dl>
);
