/** What went wrong, and a way on. */
import type { Problem } from "../http.ts";
import { text } from "../text.ts";

export function Notice({
	problem,
	retry,
}: {
	readonly problem: Problem | null;
	readonly retry?: () => void;
}) {
	if (problem === null || problem.status === 401) return null; // the token is asked for instead
	return (
		<div class="notice" role="alert">
			<strong>{problem.title}</strong>
			<p>{problem.message}</p>
			{retry && (
				<button type="button" onClick={retry}>
					{text.problem.again}
				</button>
			)}
		</div>
	);
}
