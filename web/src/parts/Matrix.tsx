/** A result matrix as a heat table: row i after learning task i, column j on task j. The darker, the higher; the number says it too. */
import { text } from "../text.ts";

export function Matrix({
	tasks,
	matrix,
	metric,
}: {
	readonly tasks: readonly string[];
	readonly matrix: readonly (readonly (number | null)[])[];
	readonly metric: string;
}) {
	return (
		<div class="wide-table" tabIndex={0} role="group" aria-label={metric}>
			<table class="heat">
				<caption class="unseen">{text.runs.caption(metric)}</caption>
				<thead>
					<tr>
						<th scope="col">{text.runs.after}</th>
						{tasks.map((task) => (
							<th key={task} scope="col">
								{task}
							</th>
						))}
					</tr>
				</thead>
				<tbody>
					{matrix.map((row, i) => (
						<tr key={tasks[i]}>
							<th scope="row">{tasks[i]}</th>
							{row.map((value, j) => (
								<td key={tasks[j]} style={heatOf(value)}>
									{value === null ? text.none : (100 * value).toFixed(1)}
								</td>
							))}
						</tr>
					))}
				</tbody>
			</table>
		</div>
	);
}

/** Half right, as by chance, is empty; all right is full. */
const heatOf = (value: number | null) => ({
	"--heat": `${Math.round(100 * Math.max(0, 2 * (value ?? 0) - 1))}%`,
});
