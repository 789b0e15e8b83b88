/** A verdict by word, shape and colour: any one of them is enough. */
import type { FeedbackReply } from "../../../src/server/api.ts";
import { text } from "../text.ts";

type Name = FeedbackReply["verdict"];

const shapes: Readonly<Record<Name, preact.JSX.Element>> = {
	good: (
		<>
			<circle cx="8" cy="8" r="7" />
			<path class="cut" d="M4.6 8.3 7 10.7 11.5 5.6" />
		</>
	),
	defect: (
		<>
			<path d="M8 .6 15.4 8 8 15.4.6 8Z" />
			<path class="cut" d="M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4" />
		</>
	),
	unsure: (
		<>
			<path d="M8 1 15.5 14.5H.5Z" />
			<path class="cut" d="M8 6v4.2M8 12.2v.3" />
		</>
	),
	unknown: (
		<>
			<rect x="1.2" y="1.2" width="13.6" height="13.6" rx="3" />
			<path
				class="cut"
				d="M5.7 6.1a2.3 2.3 0 1 1 3.4 2c-.8.5-1.1.8-1.1 1.6M8 12v.3"
			/>
		</>
	),
	unusable: (
		<>
			<circle cx="8" cy="8" r="7" />
			<path class="cut" d="M4.4 8h7.2" />
		</>
	),
};

export const Verdict = ({ verdict }: { readonly verdict: Name }) => (
	<span class={`verdict ${verdict}`}>
		<svg viewBox="0 0 16 16" aria-hidden="true">
			{shapes[verdict]}
		</svg>
		{text.verdicts[verdict]}
	</span>
);
