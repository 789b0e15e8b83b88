/** What several runs in one process need not do twice: decode a picture, load a backbone, run its frozen part on the same pixels. */
import { totalmem } from "node:os";
import type { RunConfig } from "./config.ts";
import type { Image, LearnTask, Sample } from "./data/task.ts";
import type { Backbone } from "./models/backbone.ts";
import { loadBackbone } from "./models/index.ts";
import { type Network, StateCache, Trunk } from "./trunk.ts";

/** Share of the machine's memory for states and for decoded pictures. */
const STATES = 0.2;
const PICTURES = 0.05;

export class Reuse {
	readonly #backbones = new Map<string, Backbone>();
	readonly #trunks: Trunk[] = [];
	readonly #pictures = new Map<string, Promise<Image>>();
	readonly #memory: number;
	#pictureBytes = 0;

	/** `processes`: how many of this kind share the machine's memory. */
	constructor(processes: number) {
		const limit = process.constrainedMemory(); // 0, or far more than there is, where nothing limits it
		const total = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
		this.#memory = total / processes;
	}

	backbone({ backbone, imageSize, seed }: RunConfig): Backbone {
		const key = JSON.stringify([backbone, imageSize, seed]);
		let known = this.#backbones.get(key);
		if (!known) {
			known = loadBackbone(backbone, imageSize, seed);
			this.#backbones.set(key, known);
		}
		return known;
	}

	/** One trunk for all runs with the same backbone object. */
	trunk(network: Network): Trunk {
		const known = this.#trunks.find(
			({ network: n }) =>
				n.backbone === network.backbone &&
				n.from === network.from &&
				n.patchBlocks.join() === network.patchBlocks.join() &&
				n.patchTiles?.join() === network.patchTiles?.join() &&
				n.threads === network.threads,
		);
		if (known) return known;
		const trunk = new Trunk(network, new StateCache(STATES * this.#memory));
		this.#trunks.push(trunk);
		return trunk;
	}

	/** The same tasks with pictures that are decoded once. */
	tasks<T extends LearnTask>(tasks: readonly T[]): T[] {
		const once = (samples: readonly Sample[] | undefined) =>
			samples?.map(
				(s) => ({ ...s, read: (size) => this.#read(s, size) }) satisfies Sample,
			);
		return tasks.map((task) => ({
			...task,
			categories: task.categories.map((category) => ({
				...category,
				normals: once(category.normals),
				heldOut: once(category.heldOut),
				...("test" in category && {
					test: once(category.test as readonly Sample[]),
				}),
			})),
		}));
	}

	async #read(sample: Sample, size: readonly [number, number]): Promise<Image> {
		const key = `${size.join("x")} ${sample.path}`;
		const known = this.#pictures.get(key);
		if (known) return known;
		const picture = sample.read(size);
		const { data } = await picture;
		if (this.#pictureBytes + data.byteLength <= PICTURES * this.#memory) {
			this.#pictureBytes += data.byteLength;
			this.#pictures.set(key, picture);
		}
		return picture;
	}
}
