/** Pictures scored as `predict` scores them, from files or from memory, and what the station makes of a verdict. */
import type { Found } from "../data/find.ts";
import { encodePng } from "../data/image.ts";
import type { Image } from "../data/task.ts";
import {
	heed,
	type Prediction,
	type RunEvent,
	type Stop,
	type Verdict,
	verdicts,
} from "../events.ts";
import type { Predictor } from "../predictor.ts";
import type { Group } from "./pictures.ts";

export interface Watcher {
	readonly emit: (event: RunEvent) => void;
	readonly stop: Stop;
}

export interface ScoredGroup extends Group {
	readonly predictions: readonly Prediction[];
}

export class Scoring {
	readonly #predictor: Predictor;
	readonly #task: string;
	/** What a picture is said to show; null: it is recognised by itself. */
	readonly #told: string | null;
	readonly #watcher: Watcher;

	constructor(
		predictor: Predictor,
		{ task, routed }: { readonly task: string; readonly routed: boolean },
		watcher: Watcher,
	) {
		this.#predictor = predictor;
		this.#task = task;
		this.#told = routed ? null : task;
		this.#watcher = watcher;
	}

	/** In their order. */
	async files(found: readonly Found[], done = 0, total = found.length) {
		const predictions: Prediction[] = [];
		for await (const pictures of this.#predictor.read([found], this.#told))
			for await (const { prediction } of this.#predictor.score(pictures)) {
				predictions.push(prediction);
				await this.told(done + predictions.length, total);
			}
		return predictions;
	}

	async groups(groups: readonly Group[]): Promise<readonly ScoredGroup[]> {
		const total = groups.reduce((sum, { found }) => sum + found.length, 0);
		const scored: ScoredGroup[] = [];
		let done = 0;
		for (const group of groups) {
			const predictions = await this.files(group.found, done, total);
			done += predictions.length;
			scored.push({ ...group, predictions });
		}
		return scored;
	}

	/** Pictures that lie in memory; each has a name of its own. */
	async images(
		images: readonly { readonly name: string; readonly image: Image }[],
	): Promise<readonly Prediction[]> {
		const pictures = await Promise.all(
			images.map(async ({ name, image }) =>
				this.#predictor.picture(
					{ path: name, name, told: this.#told },
					await encodePng(image, 0),
				),
			),
		);
		const predictions: Prediction[] = [];
		for await (const { prediction } of this.#predictor.score(pictures))
			predictions.push(prediction);
		return predictions;
	}

	async told(done: number, total: number): Promise<void> {
		await heed(this.#watcher.stop);
		this.#watcher.emit({
			type: "progress",
			phase: "evaluate",
			task: this.#task,
			taskIndex: 0,
			taskCount: 1,
			done,
			total,
			unit: "images",
		});
	}
}

/** Whether the station takes the part out; null: it saw none. */
export const stopped = ({ verdict, anomalous }: Prediction): boolean | null =>
	verdict === "unusable" ? null : verdict === "unknown" || anomalous === true;

export const countsOf = (
	list: readonly { readonly verdict: Verdict }[],
): Readonly<Record<Verdict, number>> =>
	Object.fromEntries(
		verdicts.map((verdict) => [
			verdict,
			list.filter((one) => one.verdict === verdict).length,
		]),
	) as Record<Verdict, number>;
