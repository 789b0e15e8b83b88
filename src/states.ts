/**
 * States of a task's training views, step by step: views from the augmenter's threads, states from the frozen trunk. With a pool, an
 * image has so many views and no more, epochs take turns, and each view's state is computed once.
 */
import { type Augmenter, prefetch } from "./augment.ts";
import type { Step } from "./draws.ts";
import { type AnyTensor, float32, sizeOf, uint8 } from "./engine/tensor.ts";
import type { Trunk } from "./trunk.ts";

export class States {
	readonly #trunk: Trunk;
	readonly #training: Augmenter;
	/** By the key of the views: all K of an image; null: nothing is kept. */
	readonly #kept: Map<string, AnyTensor["data"]> | null;

	constructor(trunk: Trunk, training: Augmenter, pool: number | null) {
		this.#trunk = trunk;
		this.#training = training;
		this.#kept = pool === null ? null : new Map();
	}

	/** Bytes that all images, rehearsed ones too, take with so many views each. */
	bytes(pool: number): number {
		const { backbone, from } = this.#trunk.network;
		const { config } = backbone;
		const state =
			from === 0
				? sizeOf([...config.imageSize, 3])
				: 4 * sizeOf(this.#trunk.stateShape);
		const { images, classes } = this.#training;
		return images.length * pool * classes.length * state;
	}

	/** Of each step in turn: [B, T, D], or the views themselves where everything trains. */
	async *of(steps: readonly Step[]): AsyncGenerator<AnyTensor> {
		let at = 0;
		for await (const views of prefetch(this.#views(steps), 2)) {
			const { jobs } = steps[at++] as Step;
			const known = jobs.map(({ key }) => this.#kept?.get(JSON.stringify(key)));
			if (views === null) {
				yield this.#together(known as AnyTensor["data"][]);
				continue;
			}
			const { imageSize } = this.#trunk.network.backbone.config;
			const batch = jobs.length * this.#training.classes.length;
			const states = await this.#trunk.states(
				uint8([batch, ...imageSize, 3], views),
			);
			const size = states.data.length / jobs.length;
			for (const [i, { key }] of jobs.entries())
				this.#kept?.set(
					JSON.stringify(key),
					states.data.slice(i * size, (i + 1) * size),
				);
			yield states;
		}
	}

	/** null where all of a step are known. */
	*#views(steps: readonly Step[]): Generator<Promise<Uint8Array | null>> {
		for (const { jobs } of steps)
			yield jobs.every(({ key }) => this.#kept?.has(JSON.stringify(key)))
				? Promise.resolve(null)
				: this.#training.views(jobs);
	}

	#together(parts: readonly AnyTensor["data"][]): AnyTensor {
		const { from, backbone } = this.#trunk.network;
		const batch = parts.length * this.#training.classes.length;
		const all =
			from === 0
				? uint8([batch, ...backbone.config.imageSize, 3])
				: float32([batch, ...this.#trunk.stateShape]);
		let at = 0;
		for (const part of parts) {
			(all.data as Float32Array).set(part as Float32Array, at);
			at += part.length;
		}
		return all;
	}
}
