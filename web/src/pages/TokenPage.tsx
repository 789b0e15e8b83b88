/** Asks for the token that the server was started with. */
import { useState } from "preact/hooks";
import { enter, gate } from "../session.ts";
import { useStore } from "../store.ts";
import { text } from "../text.ts";

export function TokenPage() {
	const [value, setValue] = useState("");
	const refused = useStore(gate) === "refused";
	return (
		<main class="token">
			<form
				class="card"
				onSubmit={(event) => {
					event.preventDefault();
					if (value.trim() !== "") enter(value.trim());
				}}
			>
				<h1>{text.token.title}</h1>
				<p class="soft" id="token-help">
					{text.token.help}
				</p>
				{refused && (
					<p class="notice" role="alert">
						{text.token.refused}
					</p>
				)}
				{/* a password manager asks for whose token it is */}
				<input hidden autocomplete="username" value={text.name} readOnly />
				<label class="field">
					{text.token.label}
					<input
						type="password"
						autocomplete="current-password"
						aria-describedby="token-help"
						value={value}
						onInput={(event) => setValue(event.currentTarget.value)}
					/>
				</label>
				<button type="submit" class="main">
					{text.token.enter}
				</button>
			</form>
		</main>
	);
}
