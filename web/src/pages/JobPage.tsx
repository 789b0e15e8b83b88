/** One job. */
import { Head } from "../parts/Head.tsx";
import { JobView } from "../parts/JobView.tsx";
import { useTasks } from "../tasks.ts";
import { text } from "../text.ts";

export function JobPage({ id }: { readonly id: string }) {
	const { reload } = useTasks();
	return (
		<>
			<Head title={text.products.running} />
			<JobView id={id} onDone={reload} />
		</>
	);
}
