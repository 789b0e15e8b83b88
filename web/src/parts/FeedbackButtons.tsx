/** What an operator says of a picture: good or bad, in one press. */
import type { FeedbackReply } from "../../../src/server/api.ts";
import { useAction } from "../action.ts";
import { announce } from "../announce.ts";
import { send } from "../http.ts";
import { useReplica } from "../tasks.ts";
import { text } from "../text.ts";
import { Notice } from "./Notice.tsx";

export type Label = FeedbackReply["label"];

export function FeedbackButtons({
	prediction,
	what,
	said,
	comment,
	task,
	onSaid,
}: {
	readonly prediction: number;
	/** What a screen reader calls it. */
	readonly what: string;
	readonly said: Label | null;
	readonly comment?: string;
	/** What it really shows, where that was not recognised. */
	readonly task?: string;
	readonly onSaid: (label: Label) => void;
}) {
	const { busy, problem, run } = useAction();
	const replica = useReplica();
	if (replica) return null;
	const say = (label: Label) =>
		run(async () => {
			await send("POST", "/v1/feedback", {
				prediction,
				label,
				...(comment && { comment }),
				...(task && { task }),
			});
			onSaid(label);
			announce(text.feedback.thanks(label));
		});
	return (
		<>
			<fieldset class="say" aria-label={text.feedback.legend(what)}>
				{(["good", "bad"] as const).map((label) => (
					<button
						key={label}
						type="button"
						class={label}
						aria-pressed={said === label}
						aria-disabled={busy}
						onClick={() => say(label)}
					>
						{text.feedback[label]}
					</button>
				))}
			</fieldset>
			<Notice problem={problem} />
		</>
	);
}
