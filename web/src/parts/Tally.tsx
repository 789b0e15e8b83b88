/** How many of the last pictures got which verdict. */
import type { HistoryRow } from "../../../src/server/api.ts";
import { formatCount } from "../format.ts";
import { text } from "../text.ts";
import { Verdict } from "./Verdict.tsx";

const order = ["good", "defect", "unsure", "unknown", "unusable"] as const;

export const Tally = ({ rows }: { readonly rows: readonly HistoryRow[] }) => (
	<div class="tally">
		<span class="soft">{text.live.shown(rows.length)}</span>
		<ul>
			{order.map((verdict) => {
				const n = rows.filter((row) => row.verdict === verdict).length;
				return n === 0 ? null : (
					<li key={verdict}>
						<strong>{formatCount(n)}</strong> <Verdict verdict={verdict} />
					</li>
				);
			})}
		</ul>
	</div>
);
