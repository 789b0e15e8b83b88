/** A product to be picked, or none. */
import { useTasks } from "../tasks.ts";

export function TaskSelect({
	label,
	none,
	value,
	onChange,
}: {
	readonly label: string;
	/** What it means to pick none. */
	readonly none: string;
	/** "": none. */
	readonly value: string;
	readonly onChange: (value: string) => void;
}) {
	const tasks = useTasks().value?.tasks ?? [];
	return (
		<label class="field">
			{label}
			<select
				value={value}
				onChange={(event) => onChange(event.currentTarget.value)}
			>
				<option value="">{none}</option>
				{tasks.map(({ id }) => (
					<option key={id} value={id}>
						{id}
					</option>
				))}
			</select>
		</label>
	);
}
