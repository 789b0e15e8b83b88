/** The place a screen reader listens to. */
import { said } from "../announce.ts";
import { useStore } from "../store.ts";

export function Announcer() {
	const { words, count } = useStore(said);
	return (
		<div class="unseen" role="status" aria-live="polite">
			<span key={count}>{words}</span>
		</div>
	);
}
