/** A new product, from a folder of good parts. */
import { useId, useState } from "preact/hooks";
import { Head } from "../parts/Head.tsx";
import { LearnForm } from "../parts/LearnForm.tsx";
import { go } from "../route.ts";
import { useTasks } from "../tasks.ts";
import { text } from "../text.ts";

export function AddPage() {
	const [name, setName] = useState("");
	const help = useId();
	const { value } = useTasks();
	const wanted = name.trim();
	const taken = value?.tasks.some(({ id }) => id === wanted) ?? false;
	return (
		<>
			<Head title={text.add.title} help={text.add.help} />
			<div class="form card">
				<label class="field">
					{text.add.name}
					<input
						value={name}
						maxLength={120}
						aria-describedby={help}
						aria-invalid={taken}
						autocomplete="off"
						spellcheck={false}
						onInput={(event) => setName(event.currentTarget.value)}
					/>
				</label>
				<p class={taken ? "wrong" : "soft"} id={help}>
					{taken ? text.add.taken : text.add.nameHelp}
				</p>
				<h2>{text.add.images}</h2>
				<LearnForm
					kind="learn"
					name={wanted === "" || taken ? null : wanted}
					onStarted={({ id }) => go("jobs", id)}
				/>
			</div>
		</>
	);
}
