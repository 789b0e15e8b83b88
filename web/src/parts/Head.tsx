/** The head of a page; it can be given the focus when the page is entered. */
import type { ComponentChildren } from "preact";

export const Head = ({
	title,
	help,
	children,
}: {
	readonly title: string;
	readonly help?: string;
	readonly children?: ComponentChildren;
}) => (
	<div class="head">
		<div>
			<h1 tabIndex={-1}>{title}</h1>
			{help && <p class="soft">{help}</p>}
		</div>
		{children}
	</div>
);
