/** One of a few, as radio buttons side by side. */
import { useId } from "preact/hooks";

export function Choice<K extends string>({
	legend,
	options,
	value,
	onChange,
	hideLegend = false,
}: {
	readonly legend: string;
	readonly options: Readonly<Record<K, string>>;
	readonly value: K;
	readonly onChange: (value: K) => void;
	readonly hideLegend?: boolean;
}) {
	const name = useId();
	return (
		<fieldset class="choice">
			<legend class={hideLegend ? "unseen" : ""}>{legend}</legend>
			{(Object.keys(options) as K[]).map((key) => (
				<label key={key}>
					<input
						class="unseen"
						type="radio"
						name={name}
						checked={key === value}
						onChange={() => onChange(key)}
					/>
					<span>{options[key]}</span>
				</label>
			))}
		</fieldset>
	);
}
