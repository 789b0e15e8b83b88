/**
 * Scores pictures with all that was learnt: each is routed on its own, or scored as the product that is told, and gets the bits that
 * evaluation gives it, alone or with others.
 */
import type { Found } from "./data/find.ts";
import { flawOf } from "./data/flaw.ts";
import { decodeImage, readBytes } from "./data/image.ts";
import type { Image, Sample } from "./data/task.ts";
import { fail, KeepsightError } from "./errors.ts";
import { Eyes, localiserOf, networkOf } from "./evaluate.ts";
import type { Prediction, Verdict } from "./events.ts";
import { type Judgement, Knowledge } from "./knowledge.ts";
import type { Localiser } from "./localise.ts";
import { isAnomalous } from "./metrics/image.ts";
import { overlayOf } from "./pictures/pictures.ts";
import type { VersionedFolder } from "./storage.ts";
import { Trunk } from "./trunk.ts";

/** Pictures in memory at a time, at most. */
const AT_ONCE = 32;
/** Score and threshold are logarithms: within a factor of two of chance. */
export const NEAR = Math.log10(2);

export const verdictOf = ({
	score,
	threshold,
	unknown,
}: Pick<Judgement, "score" | "threshold" | "unknown">): Verdict => {
	if (unknown) return "unknown";
	return Math.abs(score - threshold) < NEAR
		? "unsure"
		: isAnomalous(score, threshold)
			? "defect"
			: "good";
};

/** A picture whose bytes are there, decoded once for every size it is looked at. */
export interface Picture extends Sample {
	/** The product that it is known to show; null: to be recognised. */
	readonly told: string | null;
	/** performance.now() when it was begun with. */
	readonly openedAt: number;
	/** Why it cannot be scored; null: it can. */
	readonly flaw: string | null;
	/** At its own size. */
	whole(): Promise<Image>;
}

/** A picture that was read, and where it was found. */
export interface FoundPicture extends Picture {
	readonly found: Found;
}

export interface Scored<P extends Picture = Picture> {
	readonly picture: P;
	readonly prediction: Prediction;
	/** Score of every patch; null: unusable, or no memory tells. */
	readonly map: Float32Array | null;
}

/** Everything that was learnt, and what looks at pictures with it. */
export class Predictor {
	readonly knowledge: Knowledge;
	readonly localiser: Localiser;
	/** Pictures that are best scored together. */
	readonly together: number;
	readonly #eyes: Eyes;
	readonly #version: number;

	constructor(memory: VersionedFolder, threads: number) {
		this.knowledge = Knowledge.load(memory, threads);
		this.localiser = localiserOf(this.knowledge);
		this.#version = memory.version;
		const trunk = new Trunk(networkOf(this.knowledge, threads));
		this.together = Math.min(trunk.together, AT_ONCE);
		this.#eyes = new Eyes(trunk);
	}

	get #size(): readonly [number, number] {
		return this.knowledge.backbone.config.imageSize;
	}

	/** `task`: what --task names. */
	checkKnown(task: string): void {
		const known = this.knowledge.router.ids;
		if (!known.includes(task))
			throw fail("UNKNOWN_NAME", {
				kind: "product",
				name: task,
				where: "--task",
				known,
			});
	}

	/** Files, as many at a time as are best seen together. */
	async *read(
		images: AsyncIterable<readonly Found[]> | Iterable<readonly Found[]>,
		told: string | null,
	): AsyncGenerator<readonly FoundPicture[]> {
		for await (const all of images)
			for (let i = 0; i < all.length; i += this.together)
				yield Promise.all(
					all.slice(i, i + this.together).map(async (found) => {
						const { path } = found;
						const source = { path, name: path, told };
						const bytes = () => readBytes(path);
						return { ...(await pictureOf(source, bytes, this.#size)), found };
					}),
				);
	}

	/** A picture that is no file; see `pictureOf`. */
	picture(source: PictureSource, bytes: Uint8Array): Promise<Picture> {
		return pictureOf(source, async () => bytes, this.#size);
	}

	/** In their order. */
	async *score<P extends Picture>(
		pictures: readonly P[],
	): AsyncGenerator<Scored<P>> {
		const usable = pictures.filter(({ flaw }) => flaw === null);
		const seen = this.#eyes.each(usable);
		for (const picture of pictures) {
			if (picture.flaw !== null) {
				const prediction = this.#unusable(picture, picture.flaw);
				yield { picture, map: null, prediction };
				continue;
			}
			await seen.next();
			yield this.#judge(picture);
		}
		this.#eyes.forget(usable);
	}

	/** The anomaly map over its picture, as PNG. */
	async overlay(
		picture: Picture,
		cells: Float32Array,
		threshold: number | null,
	): Promise<Uint8Array> {
		const map = await this.localiser.pictureOf(picture, cells);
		return overlayOf({ image: await picture.whole(), map, threshold });
	}

	async #judge<P extends Picture>(picture: P): Promise<Scored<P>> {
		const { knowledge } = this;
		const eyes = this.#eyes;
		const { told } = picture;
		const routed = told ?? knowledge.route(await eyes.frozen(picture));
		const judgement = await knowledge.judge(
			routed,
			await eyes.features(picture, knowledge.weightsOf(routed)),
		);
		if (judgement.blurred)
			return {
				picture,
				map: null,
				prediction: this.#unusable(picture, "blurred"),
			};
		const { score, threshold, map } = judgement;
		const unknown = judgement.unknown && told === null; // who tells the product knows it
		return {
			picture,
			map,
			prediction: {
				path: picture.path,
				score,
				threshold,
				verdict: verdictOf({ score, threshold, unknown }),
				anomalous: isAnomalous(score, threshold),
				task: unknown ? null : routed,
				...this.#circumstances(picture),
				reason: null,
			},
		};
	}

	#unusable(picture: Picture, reason: string): Prediction {
		return {
			path: picture.path,
			score: null,
			threshold: null,
			verdict: "unusable",
			anomalous: null,
			task: null,
			...this.#circumstances(picture),
			reason,
		};
	}

	#circumstances({ openedAt }: Picture) {
		return {
			memoryVersion: this.#version,
			latencyMs: Math.round(10 * (performance.now() - openedAt)) / 10,
		};
	}

	async release(): Promise<void> {
		await this.#eyes.release();
		await this.knowledge.release();
	}
}

interface PictureSource {
	/** Its own among those that are scored together. */
	readonly path: string;
	/** What messages call it. */
	readonly name: string;
	readonly told: string | null;
}

/** `size`: at which it is looked at first. What no decoder reads is no error here, since other pictures wait. */
async function pictureOf(
	{ path, name, told }: PictureSource,
	read: () => Promise<Uint8Array>,
	size: readonly [number, number],
): Promise<Picture> {
	const openedAt = performance.now();
	let bytes: Uint8Array = new Uint8Array();
	const decoded = new Map<string, Promise<Image>>();
	const at = (wanted?: readonly [number, number]): Promise<Image> => {
		const key = String(wanted);
		const image = decoded.get(key) ?? decodeImage(bytes, name, wanted);
		decoded.set(key, image);
		return image;
	};
	let flaw: string | null;
	try {
		bytes = await read();
		flaw = flawOf(await at(size));
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		flaw = error.message;
	}
	return {
		id: path,
		path,
		defect: null,
		kind: null,
		read: at,
		async size() {
			const [h, w] = (await at()).shape as [number, number, number];
			return [h, w];
		},
		told,
		openedAt,
		flaw,
		whole: () => at(),
	};
}
