/** Every kind of backbone by the name a config gives it: one of the registry, one that is shipped, one of the cache (hub:..., local:...), else a folder. */
import { existsSync } from "node:fs";
import { fail } from "../errors.ts";
import { Random } from "../random.ts";
import {
	type Backbone,
	imagenetMean,
	imagenetStd,
	readBackbone,
} from "./backbone.ts";
import { isCacheName, openCached } from "./cache.ts";
import type { Precision } from "./quantise.ts";
import { listShipped, shippedFolder } from "./shipped.ts";
import { initialise, type VitConfig } from "./vit.ts";

export interface BackboneChoice {
	readonly name: string;
	/** hub:...: the commit it is pinned to, 40 hex. */
	readonly commit?: string | undefined;
	readonly width?: number | undefined;
	readonly depth?: number | undefined;
	readonly heads?: number | undefined;
	readonly patch?: number | undefined;
	/** Default float32. */
	readonly precision?: Precision | undefined;
}

type Source = (
	choice: BackboneChoice,
	imageSize: readonly [number, number],
	seed: number,
) => Backbone;

/** A ViT of the given sides with random weights, as timm initialises it. */
const vit: Source = (choice, imageSize, seed) => {
	const { width = 192, depth = 12, heads = width / 64, patch = 16 } = choice;
	if (imageSize[0] % patch !== 0 || imageSize[1] % patch !== 0)
		throw fail("IMAGE_SIZE_NOT_MULTIPLE", { imageSize, patch });
	if (!Number.isInteger(heads) || width % heads !== 0)
		throw fail("BACKBONE_UNSUPPORTED", {
			file: "backbone",
			problem: `width ${width} cannot be split into ${heads} heads`,
		});
	const config: VitConfig = {
		imageSize,
		patch,
		width,
		depth,
		heads,
		mlpRatio: 4,
		registers: 0,
		layerScale: false,
		classPosition: true,
		layerNormEps: 1e-6,
		mean: imagenetMean,
		std: imagenetStd,
	};
	return { config, weights: initialise(config, new Random(seed, "backbone")) };
};

/** Backbones that are made, not loaded: by their name in a configuration. */
export const backbones = { vit } satisfies Record<string, Source>;

/** Loads a backbone: a name of the registry, a shipped one, one of the cache, or a folder. Nothing is downloaded. `seed` is for random weights. */
export function loadBackbone(
	choice: BackboneChoice,
	imageSize: readonly [number, number],
	seed: number,
): Backbone {
	const known: Readonly<Record<string, Source>> = backbones;
	const { precision = "float32" } = choice;
	const source = Object.hasOwn(known, choice.name)
		? known[choice.name]
		: undefined;
	if (source) return { ...source(choice, imageSize, seed), precision };
	return { ...readBackbone(folderOf(choice), imageSize), precision };
}

/** Whether a configuration names a backbone by the folder it lies in. */
export const isFolderName = (name: string): boolean =>
	!Object.hasOwn(backbones, name) &&
	shippedFolder(name) === null &&
	!isCacheName(name);

/** The folder of pretrained weights: in the package, in the cache, or the name itself. */
export function folderOf(choice: BackboneChoice): string {
	const shipped = shippedFolder(choice.name);
	if (shipped !== null) return shipped;
	if (isCacheName(choice.name)) return openCached(choice);
	if (!existsSync(choice.name))
		throw fail("BACKBONE_MISSING", {
			name: choice.name,
			known: [
				...Object.keys(backbones),
				...listShipped().map(({ name }) => name),
			],
		});
	return choice.name;
}
