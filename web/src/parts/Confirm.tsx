/** A question before something that changes much. The browser's own dialog keeps the focus within and gives it back. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { text } from "../text.ts";

export function Confirm({
	title,
	action,
	onConfirm,
	onClose,
	children,
}: {
	readonly title: string;
	readonly action: string;
	readonly onConfirm: () => void;
	readonly onClose: () => void;
	readonly children: ComponentChildren;
}) {
	const dialog = useRef<HTMLDialogElement>(null);
	const id = useId();
	useEffect(() => {
		const opened = dialog.current;
		opened?.showModal();
		return () => opened?.close();
	}, []);
	return (
		<dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
			<h2 id={id}>{title}</h2>
			{children}
			<div class="buttons">
				<button type="button" onClick={() => dialog.current?.close()}>
					{text.cancel}
				</button>
				<button
					type="button"
					class="grave"
					onClick={() => {
						onConfirm();
						dialog.current?.close();
					}}
				>
					{action}
				</button>
			</div>
		</dialog>
	);
}
