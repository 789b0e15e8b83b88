/** Drops a product, after a question. */
import { useState } from "preact/hooks";
import type { JobReply } from "../../../src/server/api.ts";
import { useAction } from "../action.ts";
import { send, taskPath } from "../http.ts";
import { go } from "../route.ts";
import { text } from "../text.ts";
import { Confirm } from "./Confirm.tsx";
import { Notice } from "./Notice.tsx";

export function Forget({ task }: { readonly task: string }) {
	const [asked, setAsked] = useState(false);
	const { busy, problem, run } = useAction();
	return (
		<section aria-labelledby="forget">
			<h2 id="forget">{text.product.remove}</h2>
			<p class="soft">{text.product.removeHelp}</p>
			<Notice problem={problem} />
			<button
				type="button"
				class="grave"
				disabled={busy}
				onClick={() => setAsked(true)}
			>
				{text.product.remove}
			</button>
			{asked && (
				<Confirm
					title={text.product.removeTitle(task)}
					action={text.product.removeAction}
					onClose={() => setAsked(false)}
					onConfirm={() =>
						run(async () => {
							const { id } = await send<JobReply>("DELETE", taskPath(task));
							go("jobs", id);
						})
					}
				>
					<p>{text.product.removeHelp}</p>
				</Confirm>
			)}
		</section>
	);
}
