/** Numbers and times as people read them. */
import { text } from "./text.ts";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const dayAndClock = new Intl.DateTimeFormat("en-GB", {
	dateStyle: "medium",
	timeStyle: "short",
});

export const formatCount = (n: number): string => whole.format(n);

export const formatScore = (score: number | null): string =>
	score === null
		? "–"
		: score >= 100
			? whole.format(score)
			: score.toFixed(2).replace("-", "−");

/** 0.0123 -> "1.2 %" */
export const formatShare = (share: number): string =>
	`${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

export function formatBytes(bytes: number): string {
	const units = ["B", "kB", "MB", "GB"];
	const power = Math.min(
		units.length - 1,
		Math.floor(Math.log10(Math.max(1, bytes)) / 3),
	);
	const value = bytes / 1000 ** power;
	return `${value.toFixed(power === 0 || value >= 100 ? 0 : 1)} ${units[power]}`;
}

/** Beyond this a rarity is a number without a meaning. */
const rarest = 9;
const rarity = (score: number): string =>
	whole.format(Number((10 ** score).toPrecision(2)));

/** The rarity that a score stands for: 2 -> "1 in 100". */
export function formatRarity(score: number): string {
	if (score <= 0) return text.anyPart;
	if (score > rarest) return text.fewerThanOneIn(rarity(rarest));
	return text.oneIn(rarity(score));
}

const minutes = new Intl.DateTimeFormat("en-GB", {
	hour: "2-digit",
	minute: "2-digit",
});
const days = new Intl.DateTimeFormat("en-GB", {
	day: "numeric",
	month: "short",
});

/** Of seconds since 1970, where marks are `step` seconds apart: "14:05:30", "14:05", or the day where it begins. */
export function formatClock(seconds: number, step: number): string {
	const time = new Date(1000 * seconds);
	const midnight = time.getHours() + time.getMinutes() === 0;
	const format = step < 60 ? clock : midnight ? days : minutes;
	return format.format(time);
}

/** Today's times without the day. */
export function formatTime(iso: string): string {
	const time = new Date(iso);
	const today = time.toDateString() === new Date().toDateString();
	return (today ? clock : dayAndClock).format(time);
}
