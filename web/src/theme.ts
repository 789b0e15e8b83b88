/** Colours and sizes of the style sheet, for what is drawn on a canvas; read again when the scheme or the window changes. */
import { createStore } from "./store.ts";

export interface Theme {
	readonly ink: string;
	readonly soft: string;
	readonly line: string;
	readonly accent: string;
	readonly bad: string;
	readonly good: string;
	/** Of the page, in px: 1 rem. */
	readonly rem: number;
	readonly font: string;
}

function read(): Theme {
	const style = getComputedStyle(document.documentElement);
	const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
	return {
		ink: color("ink"),
		soft: color("soft"),
		line: color("faint"),
		accent: color("accent"),
		bad: color("defect"),
		good: color("good"),
		rem: Number.parseFloat(style.fontSize),
		font: getComputedStyle(document.body).fontFamily,
	};
}

export const theme = createStore(read());

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
	theme.set(read()),
);
addEventListener("resize", () => {
	const next = read();
	if (next.rem !== theme.get().rem) theme.set(next);
});
