/** All products. */
import type { TaskReply } from "../../../src/server/api.ts";
import { formatBytes, formatScore, formatShare } from "../format.ts";
import { Head } from "../parts/Head.tsx";
import { Notice } from "../parts/Notice.tsx";
import { hrefOf } from "../route.ts";
import { useTasks } from "../tasks.ts";
import { text } from "../text.ts";

export function ProductsPage() {
	const { value, problem, reload } = useTasks();
	return (
		<>
			<Head title={text.pages.products} help={text.products.help}>
				{!value?.replica && (
					<a class="button main" href={hrefOf("add")}>
						{text.products.add}
					</a>
				)}
			</Head>
			<Notice problem={problem} retry={reload} />
			{value?.tasks.length === 0 && <p>{text.products.empty}</p>}
			<ul class="grid wide">
				{value?.tasks.map((task) => (
					<li key={task.id}>
						<Card task={task} />
					</li>
				))}
			</ul>
		</>
	);
}

const Card = ({ task }: { readonly task: TaskReply }) => (
	<a class="card product" href={hrefOf("products", task.id)}>
		<strong>{task.id}</strong>
		<span class="soft">
			{text.products.images(task.images)}, {formatBytes(task.bytes)}
		</span>
		<span class="soft">
			{text.scale.threshold(formatScore(task.threshold))},{" "}
			{task.thresholdSet ? text.product.set : text.product.calibrated}
		</span>
		<span class="soft">
			{task.recent.anomalous === null
				? text.products.notSeen
				: text.products.recent(
						task.recent.images,
						formatShare(task.recent.anomalous),
					)}
		</span>
		{task.drift.recalibrate && (
			<span class="flag">{text.product.driftTitle}</span>
		)}
	</a>
);
