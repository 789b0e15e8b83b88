/** What the checks share: the folder of reference values, and how two tensors are compared. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TensorDict } from "../engine/tensor.ts";
import { readSafetensorsFile, toFloat32 } from "../models/safetensors.ts";

export interface Outcome {
	readonly name: string;
	readonly error: number;
	readonly tolerance: number;
}
export type Check = (dir: Folder) => Promise<Outcome[]>;

export class Folder {
	readonly #dir: string;
	constructor(dir: string) {
		this.#dir = dir;
	}
	path(name: string): string {
		return join(this.#dir, name);
	}
	json<T>(name: string): T {
		return JSON.parse(readFileSync(this.path(name), "utf8")) as T;
	}
	tensors(name: string): TensorDict {
		const path = this.path(name);
		return Object.fromEntries(
			Object.entries(readSafetensorsFile(path).tensors).map(([key, t]) => [
				key,
				toFloat32(t, path),
			]),
		);
	}
}

/** max|a − b| / max|b|; infinite where lengths differ. */
export function relative(a: ArrayLike<number>, b: ArrayLike<number>): number {
	return (
		absolute(a, b) /
		(Array.from(b).reduce((m, x) => Math.max(m, Math.abs(x)), 0) || 1)
	);
}
export function absolute(a: ArrayLike<number>, b: ArrayLike<number>): number {
	if (a.length !== b.length) return Number.POSITIVE_INFINITY;
	let worst = 0;
	for (let i = 0; i < b.length; i++) {
		const error = Math.abs((a[i] as number) - (b[i] as number));
		if (Number.isNaN(error)) return error; // passes no tolerance
		worst = Math.max(worst, error);
	}
	return worst;
}
export const isTrue = (name: string, holds: boolean): Outcome => ({
	name,
	error: holds ? 0 : 1,
	tolerance: 0,
});
